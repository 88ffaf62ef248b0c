/** Runs honest-client.mjs: a client whose latencies no attack in the test's own process can disturb, and that can be stopped. */

import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('honest-client.mjs', import.meta.url));

export interface Measured {
  readonly calls: number;
  readonly failures: readonly string[];
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

export class HonestClient {
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>) {
    this.child = child;
    this.lines = lines;
  }

  /** Resolves when it is asking for `id`, `atOnce` calls at a time. */
  static async start(address: string, id: string, atOnce = 1): Promise<HonestClient> {
    const child = spawn(process.execPath, [SCRIPT, address, id, `${atOnce}`], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const kill = (): void => void child.kill('SIGKILL');
    process.once('exit', kill);
    child.once('exit', () => process.off('exit', kill));
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const client = new HonestClient(child, lines);
    while ((await client.measured()).calls === 0);
    return client;
  }

  /** Since this was last asked. */
  async measured(): Promise<Measured> {
    this.child.stdin?.write('\n');
    const line = await this.lines.next();
    if (line.done === true) throw new Error('the client has ended');
    return JSON.parse(line.value) as Measured;
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.child.kill(signal);
  }

  async stop(): Promise<void> {
    const exited = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.stdin?.end();
    await exited;
  }

  /** For one that is stopped, and cannot end by itself. */
  async kill(): Promise<void> {
    const exited = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await exited;
  }
}
