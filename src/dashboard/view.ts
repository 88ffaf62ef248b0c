/**
 * From samples to figures: what the screen shows of a state, without a word about how. Rates are of the last few seconds, so
 * that numbers can be read; sparklines have a mark for each poll; percentiles are of the last half minute, so that there are
 * calls enough to speak of a 99th one.
 */

import { latenciesSince, latencyQuantileUs, type LatencyHistogram } from '../latency.js';
import type { CallStats, StorageStats } from '../storage/storage.js';
import type { DashboardState, Sample } from './model.js';

const RATE_WINDOW_MS = 4_500;
export const LATENCY_WINDOW_MS = 30_000;

export interface Percentiles {
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

export interface CallRow extends Percentiles {
  readonly method: string;
  readonly perSecond: number | null;
  /** Of the calls that ended in the last half minute; null when none did. */
  readonly errorShare: number | null;
  readonly inFlight: number;
  /** Calls a second, poll by poll, oldest first. */
  readonly series: readonly number[];
}

type History = readonly Sample[];
type Counter = (stats: StorageStats) => number;

/** The newest sample that is at least so old, else the oldest; null while there is only one. */
function baseline(history: History, ms: number): Sample | null {
  const last = history.at(-1);
  if (last === undefined || history.length < 2) return null;
  return history.findLast(({ atMs }) => last.atMs - atMs >= ms) ?? history[0] ?? null;
}

/** What a counter grew by each second of the last few; null while there are not two samples. */
export function perSecond(history: History, counter: Counter): number | null {
  const last = history.at(-1);
  const first = baseline(history, RATE_WINDOW_MS);
  if (last === undefined || first === null) return null;
  return growth(first, last, counter);
}

/** The same between each two polls. */
export function series(history: History, counter: Counter): number[] {
  return history.slice(1).map((sample, i) => growth(history[i] ?? sample, sample, counter));
}

function growth(first: Sample, last: Sample, counter: Counter): number {
  const seconds = (last.atMs - first.atMs) / 1000;
  return seconds > 0 ? Math.max(0, counter(last.stats) - counter(first.stats)) / seconds : 0;
}

/** What a histogram gained in the last half minute; of a single sample, all of it. */
export function recent(
  history: History,
  histogram: (stats: StorageStats) => LatencyHistogram | undefined,
): LatencyHistogram {
  const none = { counts: [], sumUs: 0 };
  const last = history.at(-1);
  const now = (last === undefined ? undefined : histogram(last.stats)) ?? none;
  const first = baseline(history, LATENCY_WINDOW_MS);
  return first === null ? now : latenciesSince(now, histogram(first.stats) ?? none);
}

export function percentiles(histogram: LatencyHistogram, boundsUs: readonly number[]): Percentiles {
  const at = (share: number): number | null => latencyQuantileUs(histogram, share, boundsUs);
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99) };
}

export function callOf(stats: StorageStats, method: string): CallStats | undefined {
  return stats.server?.calls.find((call) => call.method === method);
}

const NOT_CALLED: CallStats = {
  method: '',
  type: '',
  started: 0,
  inFlight: 0,
  received: 0,
  sent: 0,
  handled: [],
  latency: { counts: [], sumUs: 0 },
};

function started(method: string): Counter {
  return (stats) => (callOf(stats, method) ?? NOT_CALLED).started;
}

function handled({ handled: codes }: CallStats): { readonly all: number; readonly failed: number } {
  let all = 0;
  let failed = 0;
  for (const { code, count } of codes) {
    all += count;
    if (code !== 0) failed += count;
  }
  return { all, failed };
}

/** The share that ended with anything but OK, of what ended in the last half minute. */
function errorShare(history: History, pick: (stats: StorageStats) => readonly CallStats[]) {
  const last = history.at(-1);
  const first = baseline(history, LATENCY_WINDOW_MS);
  if (last === undefined) return null;
  const sum = (calls: readonly CallStats[]): { all: number; failed: number } => {
    const total = { all: 0, failed: 0 };
    for (const call of calls) {
      const { all, failed } = handled(call);
      total.all += all;
      total.failed += failed;
    }
    return total;
  };
  const now = sum(pick(last.stats));
  const then = first === null ? { all: 0, failed: 0 } : sum(pick(first.stats));
  const all = now.all - then.all;
  return all > 0 ? (now.failed - then.failed) / all : null;
}

/** The calls that were ever made, in the chosen order. */
export function callRows({ history, sort }: Pick<DashboardState, 'history' | 'sort'>): CallRow[] {
  const last = history.at(-1);
  if (last === undefined) return [];
  const rows = (last.stats.server?.calls ?? [])
    .filter((call) => call.started > 0)
    .map(({ method, inFlight }): CallRow => {
      const latencies = recent(history, (stats) => callOf(stats, method)?.latency);
      return {
        method,
        perSecond: perSecond(history, started(method)),
        errorShare: errorShare(history, (stats) => [callOf(stats, method) ?? NOT_CALLED]),
        inFlight,
        ...percentiles(latencies, last.stats.latencyBoundsUs),
        series: series(history, started(method)),
      };
    });
  const by: Record<DashboardState['sort'], (row: CallRow) => number> = {
    rate: (row) => row.perSecond ?? 0,
    errors: (row) => row.errorShare ?? 0,
    p99: (row) => row.p99 ?? 0,
    name: () => 0,
  };
  const key = by[sort];
  // Rows that are alike keep one order, or idle ones would jump about.
  return rows.sort((a, b) => key(b) - key(a) || (a.method < b.method ? -1 : 1));
}

export interface Totals {
  readonly perSecond: number | null;
  readonly errorShare: number | null;
  readonly p99: number | null;
  readonly inFlight: number;
  readonly series: readonly number[];
}

/** Over all calls. */
export function totals(history: History): Totals {
  const calls = (stats: StorageStats): readonly CallStats[] => stats.server?.calls ?? [];
  const all: Counter = (stats) => calls(stats).reduce((sum, call) => sum + call.started, 0);
  const last = history.at(-1);
  const merged = recent(history, (stats) => merge(calls(stats).map(({ latency }) => latency)));
  return {
    perSecond: perSecond(history, all),
    errorShare: errorShare(history, calls),
    p99: percentiles(merged, last?.stats.latencyBoundsUs ?? []).p99,
    inFlight: last === undefined ? 0 : calls(last.stats).reduce((sum, c) => sum + c.inFlight, 0),
    series: series(history, all),
  };
}

function merge(histograms: readonly LatencyHistogram[]): LatencyHistogram {
  const counts: number[] = [];
  let sumUs = 0;
  for (const histogram of histograms) {
    sumUs += histogram.sumUs;
    histogram.counts.forEach((count, i) => {
      counts[i] = (counts[i] ?? 0) + count;
    });
  }
  return { counts: Array.from(counts, (count: number | undefined) => count ?? 0), sumUs };
}

export interface Bucket {
  /** Upper bound; null: above the last one. */
  readonly upToUs: number | null;
  readonly count: number;
}

/** The buckets between the lowest and the highest that hold something, merged in groups until they fit so many lines. */
export function buckets(
  { counts }: LatencyHistogram,
  boundsUs: readonly number[],
  lines: number,
): Bucket[] {
  const first = counts.findIndex((count) => count > 0);
  if (first < 0) return [];
  const last = counts.findLastIndex((count) => count > 0);
  const group = Math.max(1, Math.ceil((last - first + 1) / lines));
  const merged: Bucket[] = [];
  for (let low = first; low <= last; low += group) {
    const high = Math.min(low + group - 1, counts.length - 1);
    const count = counts.slice(low, high + 1).reduce((sum, value) => sum + value, 0);
    merged.push({ upToUs: boundsUs[high] ?? null, count });
  }
  return merged;
}
