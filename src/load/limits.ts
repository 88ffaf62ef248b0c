/**
 * Limits that a load is held against: `query.p99=5ms`, `max=1s`, `errors=0`, `rate=1000`. Whether a limit on latency holds is
 * counted exactly, call by call, not read off the buckets of the histogram; a call that failed counts as slower than any.
 */

import { latencyQuantileUs } from '../latency.js';
import { refuse } from '../storage/settings.js';
import { callsOf, errorsOf, type CallMeter } from './meter.js';
import { isLoadCall, LOAD_CALLS, type LoadCall } from './mix.js';

/** The share of calls that must not exceed the latency. */
const QUANTILES = { p50: 0.5, p90: 0.9, p99: 0.99, 'p99.9': 0.999, max: 1 } as const;

interface LimitTarget {
  /** As it was given. */
  readonly text: string;
  /** Null: all calls together. */
  readonly call: LoadCall | null;
}

export type Limit = LimitTarget &
  (
    | { readonly kind: 'latency'; readonly quantile: number; readonly us: number }
    | { readonly kind: 'errors'; readonly most: number }
    | { readonly kind: 'rate'; readonly least: number }
  );

export interface Verdict {
  readonly limit: Limit;
  readonly pass: boolean;
  /** Microseconds, errors or calls a second; null when there was nothing to measure. */
  readonly measured: number | null;
}

/** What passes when nothing else is said about errors. */
export const NO_ERRORS: Limit = { text: 'errors=0', call: null, kind: 'errors', most: 0 };

/** A paced load ends with its last answer, a little after its time. */
const RATE_TOLERANCE = 0.01;

const EXPECTED =
  '[CALL.]p50|p90|p99|p99.9|max=TIME (5ms, 800us, 1s), [CALL.]errors=N or [CALL.]rate=N';

export function parseLimit(text: string, source: string): Limit {
  const match = /^(?:([a-z]+)\.)?(p50|p90|p99|p99\.9|max|errors|rate)=(\S+)$/.exec(text);
  if (match === null) throw refuse(source, text, EXPECTED);
  const [, name, measure = '', value = ''] = match;
  if (name !== undefined && !isLoadCall(name)) {
    throw refuse(source, text, `one of ${LOAD_CALLS.join(', ')} before the point`);
  }
  const target = { text, call: name ?? null };
  if (measure === 'errors' || measure === 'rate') {
    const number = /^\d{1,12}$/.test(value) ? Number(value) : Number.NaN;
    if (Number.isNaN(number)) throw refuse(source, text, `a whole number behind ${measure}=`);
    return measure === 'errors'
      ? { ...target, kind: 'errors', most: number }
      : { ...target, kind: 'rate', least: number };
  }
  const [, digits = '', unit = ''] = /^(\d{1,9}(?:\.\d{1,6})?)(us|ms|s)$/.exec(value) ?? [];
  const us = Number(digits) * ({ us: 1, ms: 1e3, s: 1e6 }[unit] ?? Number.NaN);
  if (!(us > 0)) throw refuse(source, text, `a time above zero behind ${measure}=: 5ms, 800us, 1s`);
  return { ...target, kind: 'latency', quantile: QUANTILES[measure as keyof typeof QUANTILES], us };
}

/** How the calls of a limit did; `meters` are those of all calls. */
export function judge(
  limit: Limit,
  meters: ReadonlyMap<LoadCall, CallMeter>,
  elapsedUs: number,
): Verdict {
  const own = [...meters].filter(([call]) => limit.call === null || limit.call === call);
  const concerned = own.map(([, meter]) => meter);
  const answered = callsOf(concerned);
  const errors = errorsOf(concerned);
  switch (limit.kind) {
    case 'errors':
      return { limit, measured: errors, pass: errors <= limit.most };
    case 'rate': {
      const rate = elapsedUs === 0 ? 0 : (answered * 1e6) / elapsedUs;
      return { limit, measured: rate, pass: rate >= limit.least * (1 - RATE_TOLERANCE) };
    }
    case 'latency': {
      const calls = answered + errors;
      if (calls === 0) return { limit, measured: null, pass: false };
      const slower = errors + concerned.reduce((sum, meter) => sum + meter.slowerThan(limit.us), 0);
      return {
        limit,
        measured: quantileOf(concerned, limit.quantile),
        // The product of a share such as 0.01 is a hair off.
        pass: slower <= calls * (1 - limit.quantile) + 1e-6,
      };
    }
  }
}

/** Of answered calls, in microseconds. */
export function quantileOf(meters: readonly CallMeter[], quantile: number): number | null {
  const maxUs = Math.max(0, ...meters.map((meter) => meter.maxUs));
  const counts: number[] = [];
  for (const meter of meters) {
    meter.histogram().counts.forEach((count, i) => {
      counts[i] = (counts[i] ?? 0) + count;
    });
  }
  // Gaps of a sparse array would not be counted as zero.
  const whole = Array.from(counts, (count: number | undefined) => count ?? 0);
  const us = latencyQuantileUs({ counts: whole, sumUs: 0 }, quantile);
  return us === null ? null : quantile === 1 ? maxUs : Math.min(us, maxUs);
}
