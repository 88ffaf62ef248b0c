/**
 * Asks the server for its figures, again and again, and says what came of it. A server that does not answer is asked again by
 * a new connection, so that it is found as soon as it is back, whatever its old address resolves to by then.
 */

import { toSutraError } from '../errors.js';
import type { HealthAnswer, Storage, StorageStats } from '../storage/storage.js';

export interface PollerOptions {
  /** Makes a connection; called again after each failure. */
  readonly connect: () => Promise<Storage>;
  /** How long one answer may take. */
  readonly timeoutMs: number;
  readonly onAnswer: (stats: StorageStats, health: HealthAnswer) => void;
  readonly onFailure: (message: string) => void;
}

export class Poller {
  private storage: Storage | null = null;
  private stopped = false;
  private waking: (() => void) | null = null;

  constructor(private readonly options: PollerOptions) {}

  /** Until `stop`. `intervalMs` is asked before each wait; null: do not poll until `wake`. */
  async run(intervalMs: () => number | null): Promise<void> {
    while (!this.stopped) {
      const startMs = performance.now();
      if (intervalMs() !== null) await this.poll();
      const wait = intervalMs();
      await this.sleep(wait === null ? null : Math.max(0, wait - (performance.now() - startMs)));
    }
    await this.disconnect();
  }

  /** Polls now rather than later. */
  wake(): void {
    this.waking?.();
  }

  stop(): void {
    this.stopped = true;
    this.wake();
  }

  private async poll(): Promise<void> {
    const { connect, timeoutMs, onAnswer, onFailure } = this.options;
    try {
      this.storage ??= await connect();
      const [stats, health] = await Promise.all([
        this.storage.stats({ timeoutMs }),
        this.storage.healthCheck({ timeoutMs }),
      ]);
      if (!this.stopped) onAnswer(stats, health);
    } catch (error) {
      await this.disconnect();
      if (!this.stopped) onFailure(toSutraError(error).message);
    }
  }

  private async disconnect(): Promise<void> {
    const { storage } = this;
    this.storage = null;
    // A connection that failed may fail to close for the same reason, and there is nothing to lose in it.
    await storage?.close().catch(() => undefined);
  }

  private sleep(ms: number | null): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms === null ? undefined : setTimeout(resolve, ms);
      this.waking = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
