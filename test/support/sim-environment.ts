/**
 * An Environment in which nothing happens by itself: the disk is the one given, the clock stands still until it is advanced,
 * timers run when that reaches them, randomness is seeded, and a checkpoint runs in place, in one turn, over the same
 * disk. So a whole run replays from its seed.
 */

import type { Disk } from '#sutra/engine/disk';
import { runCheckpoint } from '#sutra/engine/checkpoint';
import type { Environment, RunningCheckpoint } from '#sutra/engine/environment';
import type { Logger } from '#sutra/engine/logger';
import { translate } from '#sutra/engine/recovery';
import { SutraError, toSutraError } from '#sutra/errors';

import { seededRandom } from './random.js';

interface Timer {
  readonly dueUs: number;
  readonly order: number;
  readonly task: () => void;
}

export class SimEnvironment implements Environment {
  /** Microseconds since 1970, and the monotonic clock too. */
  clockUs = 1_700_000_000_000_000;
  /** What was logged: `level: message`. */
  readonly logged: string[] = [];
  readonly logger: Logger = {
    info: (message) => this.logged.push(`info: ${message}`),
    warn: (message) => this.logged.push(`warn: ${message}`),
    error: (message) => this.logged.push(`error: ${message}`),
  };
  /** While set, a checkpoint waits for it before it begins. */
  holdCheckpoint: Promise<void> | null = null;
  /** Checkpoints that were begun. */
  checkpointsBegun = 0;
  private readonly timers = new Set<Timer>();
  private order = 0;
  private readonly random: () => number;

  constructor(
    readonly disk: Disk,
    seed = 1,
  ) {
    this.random = seededRandom(seed);
  }

  nowUs(): number {
    return this.clockUs;
  }

  nowMs(): number {
    return this.clockUs / 1000;
  }

  randomBytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => Math.floor(this.random() * 256));
  }

  schedule(ms: number, task: () => void): () => void {
    const timer = { dueUs: this.clockUs + ms * 1000, order: this.order++, task };
    this.timers.add(timer);
    return () => {
      this.timers.delete(timer);
    };
  }

  /** Lets `ms` pass: timers run in the order in which they are due, and what they start gets its turns in between. */
  async advance(ms: number): Promise<void> {
    const untilUs = this.clockUs + ms * 1000;
    for (;;) {
      let next: Timer | null = null;
      for (const timer of this.timers) {
        if (timer.dueUs > untilUs) continue;
        if (
          next === null ||
          timer.dueUs < next.dueUs ||
          (timer.dueUs === next.dueUs && timer.order < next.order)
        ) {
          next = timer;
        }
      }
      if (next === null) break;
      this.timers.delete(next);
      this.clockUs = Math.max(this.clockUs, next.dueUs);
      next.task();
      await this.settle();
    }
    this.clockUs = untilUs;
  }

  /** Lets everything that waits on microtasks come to rest. */
  settle(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  pause(): Promise<void> {
    return this.settle();
  }

  startCheckpoint(
    request: Parameters<typeof runCheckpoint>[1],
    onProgress?: Parameters<typeof runCheckpoint>[3],
  ): RunningCheckpoint {
    let cancelled = false;
    const run = async (): Promise<ReturnType<typeof runCheckpoint>> => {
      await Promise.resolve();
      while (this.holdCheckpoint !== null && !cancelled) await this.holdCheckpoint;
      if (cancelled) throw new SutraError('CANCELLED', 'the checkpoint was stopped');
      this.checkpointsBegun++;
      try {
        return runCheckpoint(this.disk, { ...request, pauseMs: 0 }, this.logger, onProgress);
      } catch (error) {
        // As checkpoint-worker.ts reports it.
        throw toSutraError(translate(error, 'checkpoint'));
      }
    };
    const done = run();
    return {
      done,
      cancel: async () => {
        cancelled = true;
        await done.catch(() => undefined);
      },
    };
  }
}
