/**
 * The oracle is exact: a float32 and the half-way points to its neighbours are rationals with a power-of-two
 * denominator, so `rounds to` and `is the shortest` can be decided in BigInt without any floating point.
 */

import { describe, expect, it } from 'vitest';
import { shortFloat32 } from '#sutra/formats/float32';

const bits = new DataView(new ArrayBuffer(4));

function fromBits(pattern: number): number {
  bits.setUint32(0, pattern);
  return bits.getFloat32(0);
}

/** value = numerator / 2^200, exactly; every float32 and every midpoint is one. */
const SCALE = 200n;

function magnitudeOf(pattern: number): bigint {
  const exponent = (pattern >>> 23) & 0xff;
  const mantissa = BigInt(pattern & 0x7fffff);
  return exponent === 0
    ? mantissa << (SCALE - 149n)
    : (mantissa | 0x800000n) << (SCALE - 150n + BigInt(exponent));
}

/** The decimals that round to this float32, as exact numbers over 2 * 2^200; ends belong to it when its mantissa is even. */
function interval(pattern: number): { low: bigint; high: bigint; closed: boolean } {
  const magnitude = pattern & 0x7fffffff;
  const self = magnitudeOf(magnitude);
  return {
    low: self + magnitudeOf(magnitude - 1),
    high: self + magnitudeOf(magnitude + 1),
    closed: (magnitude & 1) === 0,
  };
}

/** A decimal `digits * 10^exponent` compared with a bound over 2 * 2^200. */
function compare(digits: bigint, exponent: number, bound: bigint): number {
  let left = digits << (SCALE + 1n);
  let right = bound;
  if (exponent >= 0) left *= 10n ** BigInt(exponent);
  else right *= 10n ** BigInt(-exponent);
  return left < right ? -1 : left > right ? 1 : 0;
}

function inside(digits: bigint, exponent: number, pattern: number): boolean {
  const { low, high, closed } = interval(pattern);
  const a = compare(digits, exponent, low);
  const b = compare(digits, exponent, high);
  return closed ? a >= 0 && b <= 0 : a > 0 && b < 0;
}

function decimalOf(value: number): { digits: bigint; count: number; exponent: number } {
  const [, lead = '', fraction = '', power = '0'] =
    /^(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(Math.abs(value).toExponential()) ?? [];
  return {
    digits: BigInt(lead + fraction),
    count: lead.length + fraction.length,
    exponent: Number(power) - fraction.length,
  };
}

/** Is there any decimal with fewer digits that rounds to it? */
function shorterExists(pattern: number, count: number, power: number): boolean {
  const { low, high } = interval(pattern);
  for (let digits = 1; digits < count; digits++) {
    // The leading digit's place can move by one at either end of the interval.
    for (const exponent of [power - digits + 1, power - digits + 2]) {
      const step = exponent >= 0 ? (10n ** BigInt(exponent)) << (SCALE + 1n) : 1n << (SCALE + 1n);
      const scale = exponent >= 0 ? 1n : 10n ** BigInt(-exponent);
      const first = (low * scale) / step;
      const last = (high * scale) / step + 1n;
      for (let n = first; n <= last && n - first < 4n; n++) {
        if (n > 0n && inside(n, exponent, pattern)) return true;
      }
    }
  }
  return false;
}

function checkPattern(pattern: number): void {
  const value = fromBits(pattern);
  if (!Number.isFinite(value) || value === 0) return;
  const short = shortFloat32(value);
  const note = `0x${pattern.toString(16)} ${value} -> ${short}`;
  expect(Math.fround(short), note).toBe(value);
  const { digits, count, exponent } = decimalOf(short);
  expect(inside(digits, exponent, pattern), `${note} rounds elsewhere`).toBe(true);
  if (!Number.isInteger(value) || Math.abs(value) > 0x1000000) {
    expect(shorterExists(pattern, count, exponent + count - 1), `${note} is not shortest`).toBe(
      false,
    );
  }
}

describe('shortFloat32', () => {
  it('prints what was typed', () => {
    for (const text of [
      '0.9',
      '0.1',
      '0.3',
      '1.5',
      '0.7071068',
      '3.4028235e+38',
      '1e-45',
      '123456.79',
    ]) {
      expect(String(shortFloat32(Math.fround(Number(text))))).toBe(text);
    }
    expect([0, 1, 16777216, -2.5].map(shortFloat32)).toEqual([0, 1, 16777216, -2.5]);
    expect(shortFloat32(Number.NaN)).toBeNaN();
    expect(Object.is(shortFloat32(-0), -0)).toBe(true);
    expect(shortFloat32(Infinity)).toBe(Infinity);
  });

  it('is the shortest decimal that rounds to the same float32, over random bit patterns', () => {
    let state = 0x9e3779b9;
    for (let i = 0; i < 20_000; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      checkPattern((state ^ (state >>> 15)) >>> 0);
    }
  });

  it('is so for every power of two, where the gaps on the two sides differ, and its neighbours', () => {
    for (let exponent = 0; exponent <= 254; exponent++) {
      for (const mantissa of [0, 1, 0x7fffff]) checkPattern(((exponent << 23) | mantissa) >>> 0);
    }
    for (let bit = 0; bit < 23; bit++) checkPattern(1 << bit);
  });

  it('is so for every confidence with up to three decimals', () => {
    for (let i = 0; i <= 1000; i++) {
      const typed = i / 1000;
      expect(shortFloat32(Math.fround(typed))).toBe(typed);
    }
  });
});
