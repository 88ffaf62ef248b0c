/**
 * What the server counts of its calls: by method how many began, how many ended with which status code, and how long they
 * took. Counting is a few additions a call, whether anybody looks or not, so it is always on.
 */

import { LatencyRecorder } from '../latency.js';
import type { CallStats, StatusCount } from '../storage/storage.js';

/** google.rpc.Code runs from 0 to 16. */
const CODES = 17;

export class CallCounter {
  started = 0;
  readonly latency = new LatencyRecorder();
  private ended = 0;
  private readonly codes = new Float64Array(CODES);

  constructor(readonly method: string) {}

  begin(): void {
    this.started++;
  }

  /** Pairs with one begin(). */
  end(code: number, ms: number): void {
    this.ended++;
    this.codes[code] = (this.codes[code] ?? 0) + 1;
    this.latency.record(ms * 1000);
  }

  stats(): CallStats {
    const handled: StatusCount[] = [];
    this.codes.forEach((count, code) => {
      if (count > 0) handled.push({ code, count });
    });
    return {
      method: this.method,
      started: this.started,
      inFlight: this.started - this.ended,
      handled,
      latency: this.latency.histogram(),
    };
  }
}

export class CallCounts {
  private readonly counters = new Map<string, CallCounter>();

  /** The counter of a method; the same for the same name. */
  of(method: string): CallCounter {
    let counter = this.counters.get(method);
    if (counter === undefined) {
      counter = new CallCounter(method);
      this.counters.set(method, counter);
    }
    return counter;
  }

  stats(): CallStats[] {
    return Array.from(this.counters.values(), (counter) => counter.stats());
  }
}
