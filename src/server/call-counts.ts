/**
 * What the server counts of its calls: by method how many began, how many ended with which status code, and how long they
 * took. Counting is a few additions a call, whether anybody looks or not, so it is always on.
 */

import { LatencyRecorder } from '../latency.js';
import type { CallStats, CallType, StatusCount } from '../storage/storage.js';

/** google.rpc.Code runs from 0 to 16. */
const CODES = 17;

export class CallCounter {
  started = 0;
  /** Messages; of a unary call at most one each way. A stream's are counted by whoever reads and writes them. */
  received = 0;
  sent = 0;
  readonly latency = new LatencyRecorder();
  private ended = 0;
  private readonly codes = new Float64Array(CODES);

  constructor(
    readonly method: string,
    readonly type: CallType,
  ) {}

  begin(): void {
    this.started++;
    if (this.type === 'unary' || this.type === 'server_stream') this.received++;
  }

  /** Pairs with one begin(). */
  end(code: number, ms: number): void {
    this.ended++;
    if (this.type === 'unary' && code === 0) this.sent++;
    this.codes[code] = (this.codes[code] ?? 0) + 1;
    this.latency.record(ms * 1000);
  }

  /** One that came to an end before there was a request to handle: it has no latency. */
  refused(code: number): void {
    this.started++;
    this.ended++;
    this.codes[code] = (this.codes[code] ?? 0) + 1;
  }

  stats(): CallStats {
    const handled: StatusCount[] = [];
    this.codes.forEach((count, code) => {
      if (count > 0) handled.push({ code, count });
    });
    return {
      method: this.method,
      type: this.type,
      started: this.started,
      inFlight: this.started - this.ended,
      received: this.received,
      sent: this.sent,
      handled,
      latency: this.latency.histogram(),
    };
  }
}

export class CallCounts {
  private readonly counters = new Map<string, CallCounter>();

  /** The counter of a method; the same for the same name. */
  of(method: string, type: CallType = 'unary'): CallCounter {
    let counter = this.counters.get(method);
    if (counter === undefined) {
      counter = new CallCounter(method, type);
      this.counters.set(method, counter);
    }
    return counter;
  }

  /** A call that was refused from its headers or its size. Paths that are none of ours are not counted by name. */
  refused(path: string, code: number): void {
    this.counters.get(path.slice(path.lastIndexOf('/') + 1))?.refused(code);
  }

  stats(): CallStats[] {
    return Array.from(this.counters.values(), (counter) => counter.stats());
  }
}
