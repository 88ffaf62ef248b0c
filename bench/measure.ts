/** Times and spreads. A figure is the median of several runs; the spread is from the least to the greatest. */

import { readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';

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

/** Keeps the event loop turning and remembers the longest turn, in milliseconds. */
export class LoopWatch {
  longestMs = 0;
  private running = true;
  private readonly done: Promise<void>;

  constructor() {
    this.done = this.watch();
  }

  async stop(): Promise<number> {
    this.running = false;
    await this.done;
    return this.longestMs;
  }

  private async watch(): Promise<void> {
    let last = performance.now();
    while (this.running) {
      await setImmediate();
      const now = performance.now();
      this.longestMs = Math.max(this.longestMs, now - last);
      last = now;
    }
  }
}

/** How late the event loop comes to a timer, at its worst, in milliseconds; takes no time of its own, as LoopWatch does. */
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
