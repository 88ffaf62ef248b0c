/**
 * When calls begin. The open loop begins them at a fixed rate, however slow the answers are, and each is timed from the moment
 * at which it was meant to begin: a store that stalls is charged for every call that would have come meanwhile, which a
 * loop that waits for answers leaves out ("coordinated omission", Gil Tene). The closed loop keeps so many calls under way,
 * and each begins when the one before it is answered.
 *
 * Both let the event loop turn at least every half millisecond: an embedded store answers reads without waiting for it, and
 * syncs, timers and Ctrl-C must come in between.
 */

import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { LatencyRecorder, NO_LATENCIES, type LatencyHistogram } from '../latency.js';

const TURN_EVERY_MS = 0.5;
/** Timers are late by up to about a millisecond; the last stretch before a call is waited for turn by turn. */
const TIMER_SLACK_MS = 1.5;
/** So that a slow rate notices that it is to stop. */
const LONGEST_SLEEP_MS = 100;
/** Calls under way in the open loop; more wait, and their wait counts. */
export const MAX_IN_FLIGHT = 10_000;
/** How long after its end an open loop still begins calls that were due. */
const GRACE_MS = 1_000;

/** Makes one call; never rejects. `dueMs` is when it was meant to begin (performance.now); null: now. */
export type MakeCall = (dueMs: number | null) => Promise<void>;

export interface PaceOptions {
  readonly durationMs: number;
  readonly stopped: () => boolean;
}

export interface Paced {
  /** From the first call to the last answer. */
  readonly elapsedMs: number;
  /** Calls that were due and never began. */
  readonly unsent: number;
  /** How long after their time calls of an open loop began. */
  readonly late: LatencyHistogram;
}

export async function closedLoop(
  concurrency: number,
  { durationMs, stopped }: PaceOptions,
  call: MakeCall,
): Promise<Paced> {
  const startMs = performance.now();
  let turnedMs = startMs;
  const worker = async (): Promise<void> => {
    while (!stopped() && performance.now() - startMs < durationMs) {
      await call(null);
      if (performance.now() - turnedMs > TURN_EVERY_MS) {
        await turn();
        turnedMs = performance.now();
      }
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return { elapsedMs: performance.now() - startMs, unsent: 0, late: NO_LATENCIES };
}

export async function openLoop(
  ratePerSecond: number,
  { durationMs, stopped }: PaceOptions,
  call: MakeCall,
): Promise<Paced> {
  const everyMs = 1000 / ratePerSecond;
  const total = Math.max(1, Math.floor(durationMs / everyMs));
  const startMs = performance.now();
  let begun = 0;
  let due = 0;
  const lateness = new LatencyRecorder();
  const underWay = new Set<Promise<void>>();
  while (begun < total && !stopped()) {
    const nowMs = performance.now();
    if (nowMs - startMs > durationMs + GRACE_MS) break;
    due = Math.min(total, Math.floor((nowMs - startMs) / everyMs) + 1);
    while (
      begun < due &&
      underWay.size < MAX_IN_FLIGHT &&
      performance.now() - nowMs < TURN_EVERY_MS
    ) {
      const dueMs = startMs + begun * everyMs;
      lateness.record((performance.now() - dueMs) * 1000);
      const one: Promise<void> = call(dueMs).finally(() => {
        underWay.delete(one);
      });
      underWay.add(one);
      begun++;
    }
    const waitMs = startMs + begun * everyMs - performance.now() - TIMER_SLACK_MS;
    if (waitMs >= 1) await sleep(Math.min(waitMs, LONGEST_SLEEP_MS));
    else await turn();
  }
  await Promise.all(underWay);
  return {
    elapsedMs: Math.max(performance.now() - startMs, begun * everyMs),
    unsent: Math.max(0, due - begun),
    late: lateness.histogram(),
  };
}
