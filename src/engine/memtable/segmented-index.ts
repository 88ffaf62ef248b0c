/**
 * A hash index from a 32-bit hash to row numbers, open addressing with linear probing, in 256 segments chosen by the hash's
 * top bits. Each segment doubles on its own, so no insertion rehashes more than 1/256 of the table. Nothing is ever removed:
 * rows carry their own tombstones and the whole index goes with its generation.
 *
 * An entry is the row and its hash side by side. So a search passes over other keys without reading their rows, each of
 * which would be a cache miss, and a segment doubles without reading any. The owner compares keys:
 *
 *   for (let row = index.first(hash); row !== 0; row = index.next()) if (matches(row)) ...
 */

const SEGMENTS = 256;
const INITIAL_CAPACITY = 16;

export class SegmentedIndex {
  /** Per segment: capacity times (row, hash). */
  private readonly tables: Uint32Array[] = [];
  private readonly counts = new Uint32Array(SEGMENTS);
  /** Of the search that `first` began. */
  private table: Uint32Array = new Uint32Array(0);
  private hash = 0;
  private at = 0;

  constructor() {
    for (let i = 0; i < SEGMENTS; i++) this.tables.push(new Uint32Array(INITIAL_CAPACITY * 2));
  }

  get bytes(): number {
    let total = 0;
    for (const table of this.tables) total += table.byteLength;
    return total;
  }

  /** The first row with this hash, 0 when there is none. A segment is never more than half full, so every search ends. */
  first(hash: number): number {
    const table = this.tables[hash >>> 24]!;
    const mask = table.length - 1;
    let at = (hash << 1) & mask;
    for (;;) {
      const row = table[at]!;
      if (row === 0) return 0;
      if (table[at + 1] === hash) {
        this.table = table;
        this.hash = hash;
        this.at = at;
        return row;
      }
      at = (at + 2) & mask;
    }
  }

  /** The next row with the hash given to `first`; valid until the next `first` or `insert`. */
  next(): number {
    const { table, hash } = this;
    const mask = table.length - 1;
    for (let at = (this.at + 2) & mask; ; at = (at + 2) & mask) {
      const row = table[at]!;
      if (row === 0) return 0;
      if (table[at + 1] === hash) {
        this.at = at;
        return row;
      }
    }
  }

  /** The row at the place where a search for each hash begins, whatever its hash: 0 when none is there. `rows` may be `hashes`. */
  touch(hashes: Uint32Array, count: number, rows: Uint32Array): void {
    const tables = this.tables;
    for (let i = 0; i < count; i++) {
      const hash = hashes[i]!;
      const table = tables[hash >>> 24]!;
      rows[i] = table[(hash << 1) & (table.length - 1)]!;
    }
  }

  /** Adds a row that is not there yet; `hash` is a uint32. */
  insert(hash: number, row: number): void {
    const segment = hash >>> 24;
    let table = this.tables[segment]!;
    const count = this.counts[segment]! + 1;
    // Two words an entry, at most half of them taken.
    if (count * 4 > table.length) table = this.grow(segment, table);
    place(table, hash, row);
    this.counts[segment] = count;
  }

  private grow(segment: number, old: Uint32Array): Uint32Array {
    const table = new Uint32Array(old.length * 2);
    for (let at = 0; at < old.length; at += 2) {
      const row = old[at]!;
      if (row !== 0) place(table, old[at + 1]!, row);
    }
    this.tables[segment] = table;
    return table;
  }
}

function place(table: Uint32Array, hash: number, row: number): void {
  const mask = table.length - 1;
  let at = (hash << 1) & mask;
  while (table[at] !== 0) at = (at + 2) & mask;
  table[at] = row;
  table[at + 1] = hash;
}
