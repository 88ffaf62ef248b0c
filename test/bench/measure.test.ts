/** Medians and percentiles, on which every figure of the benchmark rests. */

import { expect, test } from 'vitest';
import { latencies, median, percentile, sortedOf } from '../../bench/measure.js';

test('a median is the middle, or the mean of the two in the middle', () => {
  expect(median([3])).toBe(3);
  expect(median([9, 1, 5])).toBe(5);
  expect(median([10, 2, 4, 100])).toBe(7);
  expect(median([])).toBeNaN();
});

test('percentiles are values that were taken, and the last of them is the greatest', () => {
  const taken = Array.from({ length: 100 }, (_, i) => 100 - i);
  expect(percentile(sortedOf(taken), 99)).toBe(100);
  expect(latencies(taken)).toEqual({ count: 100, p50: 51, p99: 100, max: 100 });
});
