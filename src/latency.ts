/**
 * Latencies counted in buckets, from the engine's syncs to the dashboard's percentiles: a leaf that every room may use. The
 * bounds are Renard's R10 series (ISO 3), ten to a decade from 10 us to 100 s, so that a percentile is known to within a
 * quarter of itself, and 1, 2.5 and 5 of each decade, which Prometheus shows, are among them. Counts only grow: what happened
 * between two moments is the difference of two histograms.
 */

const SERIES = [10, 12.5, 16, 20, 25, 32, 40, 50, 63, 80];

/** Upper bounds of the buckets in microseconds, each included in its bucket. One more bucket holds what is above the last. */
export const LATENCY_BOUNDS_US: readonly number[] = bounds();

function bounds(): number[] {
  const all: number[] = [];
  for (let decade = 1; decade < 1e7; decade *= 10) {
    // Whole microseconds, because that is what travels: 12.5 is 13 in the first decade.
    for (const value of SERIES) all.push(Math.round(value * decade));
  }
  all.push(1e8);
  return all;
}

export interface LatencyHistogram {
  /** By bucket; buckets behind the last one that holds something are left out. */
  readonly counts: readonly number[];
  readonly sumUs: number;
}

export const NO_LATENCIES: LatencyHistogram = { counts: [], sumUs: 0 };

/** Counts latencies; allocates nothing as it does. */
export class LatencyRecorder {
  private readonly counts = new Float64Array(LATENCY_BOUNDS_US.length + 1);
  private readonly bounds = Float64Array.from(LATENCY_BOUNDS_US);
  private sumUs = 0;

  record(us: number): void {
    const { bounds } = this;
    let low = 0;
    let high = bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (us <= (bounds[middle] ?? Infinity)) high = middle;
      else low = middle + 1;
    }
    this.counts[low] = (this.counts[low] ?? 0) + 1;
    this.sumUs += us;
  }

  histogram(): LatencyHistogram {
    let length = this.counts.length;
    while (length > 0 && this.counts[length - 1] === 0) length--;
    return {
      counts: Array.from(this.counts.subarray(0, length)),
      sumUs: Math.round(this.sumUs),
    };
  }
}

/** How many latencies a histogram counts. */
export function latencyCount({ counts }: LatencyHistogram): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** What came after `before`. A server that was restarted in between counts from zero: then all of `now` is new. */
export function latenciesSince(now: LatencyHistogram, before: LatencyHistogram): LatencyHistogram {
  const restarted =
    now.sumUs < before.sumUs || before.counts.some((count, i) => count > (now.counts[i] ?? 0));
  if (restarted) return now;
  return {
    counts: now.counts.map((count, i) => count - (before.counts[i] ?? 0)),
    sumUs: now.sumUs - before.sumUs,
  };
}

/**
 * The latency in microseconds that a share `q` of 0 to 1 of all does not exceed, supposing that a bucket's lie evenly in it;
 * null when there are none. `boundsUs` are the histogram's own, which a server sends along.
 */
export function latencyQuantileUs(
  histogram: LatencyHistogram,
  q: number,
  boundsUs: readonly number[] = LATENCY_BOUNDS_US,
): number | null {
  const rank = q * latencyCount(histogram);
  if (rank === 0) return null;
  let below = 0;
  for (let i = 0; i < histogram.counts.length; i++) {
    const count = histogram.counts[i] ?? 0;
    if (below + count >= rank && count > 0) {
      const low = boundsUs[i - 1] ?? 0;
      const high = boundsUs[i] ?? low;
      return low + ((high - low) * (rank - below)) / count;
    }
    below += count;
  }
  return boundsUs.at(-1) ?? null;
}
