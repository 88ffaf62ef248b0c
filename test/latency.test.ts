/** Latencies in buckets: exact counts, and percentiles against the sorted values themselves. */

import { expect, test } from 'vitest';
import {
  LATENCY_BOUNDS_US,
  LatencyRecorder,
  NO_LATENCIES,
  latenciesSince,
  latencyCount,
  latencyQuantileUs,
} from '#sutra/latency';
import { seededRandom } from './support/random.js';

function recorded(values: readonly number[]): LatencyRecorder {
  const recorder = new LatencyRecorder();
  for (const value of values) recorder.record(value);
  return recorder;
}

test('the bounds rise from 10 us to 100 s and hold 1, 2.5 and 5 of each decade from 100 us', () => {
  expect(LATENCY_BOUNDS_US[0]).toBe(10);
  expect(LATENCY_BOUNDS_US.at(-1)).toBe(100_000_000);
  expect([...LATENCY_BOUNDS_US].sort((a, b) => a - b)).toEqual(LATENCY_BOUNDS_US);
  expect(new Set(LATENCY_BOUNDS_US).size).toBe(LATENCY_BOUNDS_US.length);
  for (let decade = 100; decade < 1e8; decade *= 10) {
    for (const one of [1, 2.5, 5]) expect(LATENCY_BOUNDS_US).toContain(one * decade);
  }
});

test('a bucket includes its bound, and one more holds what is above the last', () => {
  const { counts, sumUs } = recorded([0, 10, 10.5, 13, 1e8, 1e8 + 1, 1e9]).histogram();
  expect(counts.slice(0, 2)).toEqual([2, 2]);
  expect(counts.at(-2)).toBe(1);
  expect(counts.at(-1)).toBe(2);
  expect(counts).toHaveLength(LATENCY_BOUNDS_US.length + 1);
  expect(latencyCount({ counts, sumUs })).toBe(7);
  expect(sumUs).toBe(Math.round(10 + 10.5 + 13 + 1e8 + 1e8 + 1 + 1e9));
});

test('percentiles are within a bucket of the true ones', () => {
  const random = seededRandom(6);
  const values = Array.from({ length: 5_000 }, () => 20 * Math.exp(random() * 10));
  const histogram = recorded(values).histogram();
  values.sort((a, b) => a - b);
  for (const q of [0.01, 0.5, 0.95, 0.99, 0.999]) {
    const exact = values[Math.ceil(q * values.length) - 1] ?? NaN;
    const told = latencyQuantileUs(histogram, q) ?? NaN;
    expect(told / exact).toBeGreaterThan(1 / 1.3);
    expect(told / exact).toBeLessThan(1.3);
  }
  expect(latencyQuantileUs(NO_LATENCIES, 0.5)).toBeNull();
});

test('the difference of two histograms is what came in between; after a restart it is all of the new one', () => {
  const recorder = recorded([50, 2_000]);
  const before = recorder.histogram();
  recorder.record(2_000);
  recorder.record(900_000);
  const between = latenciesSince(recorder.histogram(), before);
  expect(latencyCount(between)).toBe(2);
  expect(between.sumUs).toBe(902_000);
  const restarted = recorded([50]).histogram();
  expect(latenciesSince(restarted, before)).toEqual(restarted);
});
