/** Runs limits-server.mjs, reads its memory, and keeps an honest client at work beside whatever a test does to it. */

import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { StorageClient } from '#sutra/storage/remote';
import type { ServerOptions } from '#sutra/server/server';
import { temporaryPath } from './fixture.js';

const SCRIPT = fileURLToPath(new URL('limits-server.mjs', import.meta.url));
export const MIB = 1024 * 1024;

export interface Watched {
  /** MiB of memory that belongs to the process alone: at rest, at its highest, and now. */
  readonly restMiB: number;
  readonly peakMiB: number;
  readonly honestCalls: number;
  /** Of honest calls, in milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
}

export class LimitsServer {
  readonly port: number;
  private readonly child: ChildProcess;
  private readonly output: { text: string };

  private constructor(child: ChildProcess, port: number, output: { text: string }) {
    this.child = child;
    this.port = port;
    this.output = output;
  }

  static async start(
    options: Partial<ServerOptions> = {},
    nodeArgs: readonly string[] = [],
  ): Promise<LimitsServer> {
    const child = spawn(
      process.execPath,
      [...nodeArgs, SCRIPT, temporaryPath(), JSON.stringify(options)],
      { stdio: ['pipe', 'pipe', 'pipe'] },
    );
    const kill = (): void => void child.kill('SIGKILL');
    process.once('exit', kill);
    child.once('exit', () => process.off('exit', kill));
    const output = { text: '' };
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output.text += text));
    const port = await new Promise<number>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`ended with ${code}: ${output.text}`)));
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        output.text += text;
        const match = /listening on \S+:(\d+)/.exec(output.text);
        if (match !== null) resolve(Number(match[1]));
      });
    });
    return new LimitsServer(child, port, output);
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** What it has printed. */
  get log(): string {
    return this.output.text;
  }

  memoryMiB(): number {
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'utf8');
    return Number(/RssAnon:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
  }

  /** Established connections to the port, from the kernel's table. */
  connections(): number {
    const port = this.port.toString(16).toUpperCase().padStart(4, '0');
    const table = readFileSync('/proc/net/tcp', 'utf8');
    // state 01: established
    const established = new RegExp(`^ *\\d+: \\w+:${port} \\w+:\\w+ 01`);
    return table.split('\n').filter((line) => established.test(line)).length;
  }

  /** Ends it in order; resolves to its exit code. */
  async stop(): Promise<number | null> {
    if (this.child.exitCode !== null) return this.child.exitCode;
    const exited = new Promise<number | null>((resolve) => this.child.once('exit', resolve));
    this.child.stdin?.end();
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 15_000);
    const code = await exited;
    clearTimeout(timer);
    return code;
  }

  /** Runs `attack` while an honest client asks and writes; every honest call must be answered. */
  async watch(label: string, attack: () => Promise<void>, token?: string): Promise<Watched> {
    const client = new StorageClient(this.address, {
      timeoutMs: 30_000,
      ...(token === undefined ? {} : { token }),
    });
    await client.learnConcept({ id: 'honest', content: 'kept' });
    for (let i = 0; i < 200; i++) await client.queryConcept('honest');
    const restMiB = this.memoryMiB();
    let peakMiB = restMiB;
    const sampler = setInterval(() => (peakMiB = Math.max(peakMiB, this.memoryMiB())), 20);
    const latencies: number[] = [];
    let going = true;
    const honest = async (): Promise<void> => {
      while (going) {
        const began = performance.now();
        const { found } = await client.queryConcept('honest');
        if (!found) throw new Error('an honest client got a wrong answer');
        latencies.push(performance.now() - began);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    };
    try {
      const asking = honest();
      await Promise.race([attack(), asking]);
      going = false;
      await asking;
      // It still takes writes.
      await client.learnConcept({ id: 'honest', content: 'kept' });
    } finally {
      going = false;
      clearInterval(sampler);
      await client.close();
    }
    latencies.sort((a, b) => a - b);
    const at = (share: number): number =>
      latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
    const watched = {
      restMiB,
      peakMiB: Math.max(peakMiB, this.memoryMiB()),
      honestCalls: latencies.length,
      p50: at(0.5),
      p99: at(0.99),
      longest: at(1),
    };
    process.stdout.write(
      `${label}: memory ${restMiB.toFixed(0)} -> ${watched.peakMiB.toFixed(0)} MiB, ` +
        `${watched.honestCalls} honest calls, p50 ${watched.p50.toFixed(1)} ms, ` +
        `p99 ${watched.p99.toFixed(1)} ms, longest ${watched.longest.toFixed(1)} ms\n`,
    );
    return watched;
  }
}
