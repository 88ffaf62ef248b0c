/** Times and spreads. A figure is the median of several runs; the spread is from the least to the greatest. */

import { readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { ThreadAccount } from './thread-account.js';

export function percentile(sorted: Float64Array | readonly number[], p: number): number {
  if (sorted.length === 0) return NaN;
  const at = Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100));
  return sorted[at] ?? NaN;
}

export function sortedOf(values: readonly number[]): Float64Array {
  return Float64Array.from(values).sort();
}

/** Of an even number of values, the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = sortedOf(values);
  const upper = percentile(sorted, 50);
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[sorted.length / 2 - 1] ?? NaN)) / 2;
}

export interface Latencies {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** In the unit they were taken in. */
export function latencies(values: readonly number[]): Latencies {
  const sorted = sortedOf(values);
  return {
    count: sorted.length,
    p50: percentile(sorted, 50),
    p99: percentile(sorted, 99),
    max: sorted.at(-1) ?? NaN,
  };
}

/** A turn of the event loop, in milliseconds; what is in neither part is sleep, as of a sync that the thread itself waits for. */
export interface Turn {
  readonly ms: number;
  /** Of the main thread, to a tick of the scheduler (see thread-account.ts); null: the system keeps no account of it. */
  readonly cpuMs: number | null;
  /** The main thread could have run and had no processor; null as above. */
  readonly waitedMs: number | null;
}

/** Keeps the event loop turning, for which it takes a processor whole, and remembers the longest turn. */
export class LoopWatch {
  private longest: Turn = { ms: 0, cpuMs: null, waitedMs: null };
  private running = true;
  private readonly done: Promise<void>;

  constructor(private readonly account: ThreadAccount | null = ThreadAccount.open()) {
    this.done = this.watch();
  }

  /** The longest turn; of as long ones, the first. */
  async stop(): Promise<Turn> {
    this.running = false;
    await this.done;
    this.account?.close();
    return this.longest;
  }

  private async watch(): Promise<void> {
    const { account } = this;
    let cpuMs = account?.cpuMs ?? 0;
    let waitedMs = account?.waitedMs ?? 0;
    let last = performance.now();
    while (this.running) {
      await setImmediate();
      // In every turn, for whether it will be the longest is not known when it begins: 1.8 us each, which no load was seen to notice.
      account?.read();
      const now = performance.now();
      const ms = now - last;
      if (ms > this.longest.ms) {
        this.longest =
          account === null
            ? { ms, cpuMs: null, waitedMs: null }
            : turnOf(ms, account.cpuMs - cpuMs, account.waitedMs - waitedMs);
      }
      cpuMs = account?.cpuMs ?? 0;
      waitedMs = account?.waitedMs ?? 0;
      last = now;
    }
  }
}

/** The account's ticks can put CPU of the turn before into this one: no more than the waiting leaves. */
function turnOf(ms: number, cpuMs: number, waitedMs: number): Turn {
  const waited = Math.min(waitedMs, ms);
  return { ms, cpuMs: Math.min(cpuMs, ms - waited), waitedMs: waited };
}

/**
 * The longest between two looks of a timer at the event loop, in milliseconds: 2 to 3 when nothing holds it. Takes no time of its
 * own, as LoopWatch does.
 */
export class DelayWatch {
  private readonly delay = monitorEventLoopDelay({ resolution: 2 });

  constructor() {
    this.delay.enable();
  }

  async stop(): Promise<number> {
    // One more look: what held the loop until now is only seen when the next timer comes.
    await sleep(5);
    this.delay.disable();
    return this.delay.max / 1e6;
  }
}

export interface Memory {
  /** Resident in all, and of that what is the process's own and what are pages of mapped files. MiB. */
  readonly rssMb: number;
  readonly anonymousMb: number;
  readonly fileMb: number;
}

/** Linux's own account; where there is none, only the resident size. */
export function memory(): Memory {
  try {
    const status = readFileSync('/proc/self/status', 'utf8');
    const field = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? NaN) / 1024;
    return { rssMb: field('VmRSS'), anonymousMb: field('RssAnon'), fileMb: field('RssFile') };
  } catch {
    return { rssMb: process.memoryUsage().rss / 2 ** 20, anonymousMb: NaN, fileMb: NaN };
  }
}

/** A benchmark that measured the wrong thing measured nothing. */
export function verify(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`verification failed: ${what}`);
}

/** Runs `count` calls of `call`, `window` of them at a time, in order of index. */
export async function windowed(
  count: number,
  window: number,
  call: (index: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await call(next++);
  };
  await Promise.all(Array.from({ length: Math.min(window, count) }, lane));
}
