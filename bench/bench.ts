/**
 * One run of the benchmark: its sizes, its work directory, the rows measured so far, and how a case is run. The files in rows/
 * turn the figures of cases into rows, a section each.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { CaseFigures, CaseName, CaseParameters } from './case.js';
import { median, verify } from './measure.js';
import type { Row } from './report.js';
import { SIZES, type Form, type Sizes } from './sizes.js';

const CASE = fileURLToPath(new URL('./case.js', import.meta.url));

/** For those that do not fit Node's own limit, or whose memory is weighed and must not hold garbage. */
const NODE_OPTIONS: Partial<Record<CaseName, readonly string[]>> = {
  peerGraphology: ['--max-old-space-size=14000', '--expose-gc'],
};

export interface Bar {
  readonly text: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface RowOptions {
  readonly bar?: Bar | undefined;
  readonly note?: string | undefined;
  /** What the published table and the chart know the row by, whatever its sizes. */
  readonly key?: string | undefined;
}

export class Bench {
  readonly size: Sizes;
  readonly rows: Row[] = [];
  readonly skipped: string[] = [];
  readonly detail: Record<string, unknown> = {};
  private directories = 0;
  private readonly start = performance.now();
  private readonly children = new Set<ChildProcess>();

  constructor(
    readonly form: Form,
    readonly work: string,
    readonly chosen: ReadonlySet<string>,
    sizes: Partial<Sizes> = {},
  ) {
    this.size = { ...SIZES[form], ...sizes };
  }

  freshDirectory(): string {
    return this.makeDirectory(join(this.work, `run-${++this.directories}`));
  }

  makeDirectory(path: string): string {
    mkdirSync(path);
    return path;
  }

  row(
    section: string,
    work: string,
    unit: string,
    runs: readonly number[],
    { bar, note, key }: RowOptions = {},
  ): void {
    const figure = median(runs);
    const judged = bar !== undefined && this.form !== 'quick';
    this.rows.push({
      section,
      work,
      unit,
      runs,
      ...(key === undefined ? {} : { key }),
      ...(bar === undefined ? {} : { bar: bar.text }),
      ...(judged && bar.atLeast !== undefined ? { ok: figure >= bar.atLeast } : {}),
      ...(judged && bar.atMost !== undefined ? { ok: figure <= bar.atMost } : {}),
      ...(note === undefined ? {} : { note }),
    });
  }

  /** Runs a case to its end. */
  runCase<N extends CaseName>(name: N, parameters: CaseParameters<N>): Promise<CaseFigures<N>> {
    this.announce(name, parameters);
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, argumentsOf(name, parameters), {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      this.watch(child);
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
      child.on('error', reject);
      child.on('close', (code) => {
        if (code !== 0) {
          reject(new Error(`case ${name} ended with ${code ?? 'a signal'}`));
          return;
        }
        resolve(JSON.parse(output.trim().split('\n').at(-1) ?? '') as CaseFigures<N>);
      });
    });
  }

  /** Starts a server case, waits for its port, and ends it by closing its stdin. */
  async withServer<T>(
    name: 'grpcNoop' | 'grpcServer',
    parameters: object,
    work: (port: number) => Promise<T>,
  ): Promise<T> {
    this.announce(name, parameters);
    const child = spawn(process.execPath, argumentsOf(name, parameters), {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.watch(child);
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    const lines = createInterface({ input: child.stdout });
    const first = new Promise<string>((resolve, reject) => {
      lines.once('line', resolve);
      void ended.then(() => reject(new Error(`${name} ended before it listened`)));
    });
    try {
      const { port } = JSON.parse(await first) as { port: number };
      return await work(port);
    } finally {
      child.stdin.end();
      const code = await ended;
      verify(code === 0, `${name} ended with ${code}`);
    }
  }

  /** Of whatever case is running. */
  stop(): void {
    for (const child of this.children) child.kill('SIGKILL');
  }

  private watch(child: ChildProcess): void {
    this.children.add(child);
    child.on('close', () => this.children.delete(child));
  }

  private announce(name: string, parameters: unknown): void {
    const seconds = Math.round((performance.now() - this.start) / 1000);
    say(
      `${String(seconds).padStart(4)} s  ${name} ${JSON.stringify(parameters).replaceAll(this.work, '.work')}`,
    );
  }
}

/** Progress goes to stderr, the table to stdout. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

export async function repeated<T>(runs: number, run: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let index = 0; index < runs; index++) results.push(await run(index));
  return results;
}

/** As a table has it. */
export function grouped(value: number): string {
  return value.toLocaleString('en-US');
}

function argumentsOf(name: CaseName, parameters: unknown): string[] {
  return [...(NODE_OPTIONS[name] ?? []), CASE, name, JSON.stringify(parameters)];
}
