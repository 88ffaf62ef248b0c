/**
 * Open addressing tables over rows that lie in typed arrays: a key's row, and a pair's row. Both are made for a number of
 * rows that is known before, and are at most half full.
 */

import { hashKey } from '../format/id.js';

function capacityFor(rows: number): number {
  let capacity = 16;
  while (capacity < rows * 2) capacity *= 2;
  return capacity;
}

/** 128-bit keys, four words a row in `keys`. */
export class KeyTable {
  private readonly table: Uint32Array;

  constructor(
    private readonly keys: Uint32Array,
    rows: number,
  ) {
    this.table = new Uint32Array(capacityFor(rows));
  }

  /** The row of a key, or -1; then, with `add` a row number, the key there is entered. */
  find(k0: number, k1: number, k2: number, k3: number, add = -1): number {
    const { table, keys } = this;
    const mask = table.length - 1;
    let at = hashKey(k0, k1, k2, k3) & mask;
    for (; table[at] !== 0; at = (at + 1) & mask) {
      const row = table[at]! - 1;
      const k = row * 4;
      if (keys[k] === k0 && keys[k + 1] === k1 && keys[k + 2] === k2 && keys[k + 3] === k3) {
        return row;
      }
    }
    if (add >= 0) table[at] = add + 1;
    return -1;
  }
}

/** Unordered pairs of numbers, of which row i has its two in `firsts` and `seconds`, in either order. */
export class PairTable {
  private readonly table: Uint32Array;

  constructor(
    private readonly firsts: Uint32Array,
    private readonly seconds: Uint32Array,
    rows: number,
  ) {
    this.table = new Uint32Array(capacityFor(rows));
  }

  /** The row of a pair, or -1; then the pair is entered as row `add`. */
  find(a: number, b: number, add: number): number {
    const { table, firsts, seconds } = this;
    const mask = table.length - 1;
    const low = Math.min(a, b);
    const high = Math.max(a, b);
    let at = hashKey(low, high, 0, 0) & mask;
    for (; table[at] !== 0; at = (at + 1) & mask) {
      const row = table[at]! - 1;
      const first = firsts[row]!;
      const second = seconds[row]!;
      if (Math.min(first, second) === low && Math.max(first, second) === high) return row;
    }
    table[at] = add + 1;
    return -1;
  }
}
