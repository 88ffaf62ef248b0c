import { expect, test } from 'vitest';
import { joinedRows, normalizeRows, unitRows } from '#sutra/engine/vector/unit-rows';

test('rows get unit length, also where their squares overflow or vanish in float32', () => {
  const rows = Float32Array.of(3, 4, 3e30, -4e30, 3e-30, 4e-30);
  normalizeRows(rows, 2);
  const expected = [0.6, 0.8, 0.6, -0.8, 0.6, 0.8];
  expect([...rows]).toEqual(expected.map((value) => expect.closeTo(value, 6) as number));
});

test('copies of unit length leave the vectors as they were', () => {
  const vectors = [Float32Array.of(0, 2), Float32Array.of(-5, 0)];
  expect([...unitRows(vectors)]).toEqual([0, 1, -1, 0]);
  expect(vectors.map((vector) => [...vector])).toEqual([
    [0, 2],
    [-5, 0],
  ]);
});

test('rows that lie one behind the other are joined in place, others are copied', () => {
  const all = Float32Array.from({ length: 12 }, (_, i) => i);
  const row = (i: number): Float32Array => all.subarray(3 * i, 3 * i + 3);
  const inPlace = joinedRows([row(1), row(2)]);
  expect([...inPlace]).toEqual([3, 4, 5, 6, 7, 8]);
  expect(inPlace.buffer).toBe(all.buffer);
  for (const others of [
    [row(2), row(1)],
    [row(1), row(3)],
    [row(1), row(2).slice()],
    [row(1), row(1)],
  ]) {
    const joined = joinedRows(others);
    expect([...joined]).toEqual(others.flatMap((vector) => [...vector]));
    expect(joined.buffer).not.toBe(all.buffer);
  }
});
