/** What was measured of one kind of call: latencies of what was answered rightly, and what went wrong how often. */

import { LatencyRecorder, type LatencyHistogram } from '../latency.js';

/** Answered, but not with what was learned. */
export const WRONG_ANSWER = 'WRONG_ANSWER';
/** Still waiting for its turn when the time was over: the store was slower than the rate. */
export const NOT_SENT = 'NOT_SENT';

export class CallMeter {
  private readonly recorder = new LatencyRecorder();
  private readonly slower: Float64Array;
  /** Answered rightly. */
  answered = 0;
  maxUs = 0;
  /** By error code. */
  readonly errors = new Map<string, number>();
  /** Searches that did not find the concept whose embedding they asked for. */
  missed = 0;

  /** `thresholdsUs`: latencies of which it is counted exactly how many exceed them. */
  constructor(private readonly thresholdsUs: readonly number[]) {
    this.slower = new Float64Array(thresholdsUs.length);
  }

  record(us: number): void {
    this.answered++;
    this.recorder.record(us);
    if (us > this.maxUs) this.maxUs = us;
    this.thresholdsUs.forEach((threshold, i) => {
      if (us > threshold) this.slower[i] = (this.slower[i] ?? 0) + 1;
    });
  }

  fail(code: string, count = 1): void {
    this.errors.set(code, (this.errors.get(code) ?? 0) + count);
  }

  /** Answered calls that took longer than one of the thresholds. */
  slowerThan(thresholdUs: number): number {
    return this.slower[this.thresholdsUs.indexOf(thresholdUs)] ?? 0;
  }

  histogram(): LatencyHistogram {
    return this.recorder.histogram();
  }
}

export function callsOf(meters: readonly CallMeter[]): number {
  return meters.reduce((sum, { answered }) => sum + answered, 0);
}

export function errorsOf(meters: readonly CallMeter[]): number {
  let sum = 0;
  for (const { errors } of meters) for (const count of errors.values()) sum += count;
  return sum;
}
