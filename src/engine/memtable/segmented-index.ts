/**
 * A hash index from a 32-bit hash to row numbers, open addressing with linear probing, in 256 segments chosen by the hash's
 * top bits. Each segment doubles on its own, so no insertion rehashes more than 1/256 of the table. Nothing is ever removed:
 * rows carry their own tombstones and the whole index goes with its generation. The owner compares keys:
 *
 *   for (let p = index.first(hash); (row = index.row(p)) !== 0; p = index.next(p)) if (matches(row)) ...
 */

const SEGMENTS = 256;
const INITIAL_CAPACITY = 16;

export class SegmentedIndex {
  private readonly tables: Uint32Array[] = [];
  private readonly counts = new Uint32Array(SEGMENTS);
  private table: Uint32Array = new Uint32Array(0);

  /** `hashOf` gives the hash of a row, for growing. */
  constructor(private readonly hashOf: (row: number) => number) {
    for (let i = 0; i < SEGMENTS; i++) this.tables.push(new Uint32Array(INITIAL_CAPACITY));
  }

  get bytes(): number {
    let total = 0;
    for (const table of this.tables) total += table.byteLength;
    return total;
  }

  /** Aims at the hash's segment and returns the first probe position. Valid until the next `first` or `insert`. */
  first(hash: number): number {
    const table = this.tables[hash >>> 24]!;
    this.table = table;
    return hash & (table.length - 1);
  }

  /** The row at a position; 0 ends the probe. A segment is never more than half full, so every probe ends. */
  row(position: number): number {
    return this.table[position]!;
  }

  next(position: number): number {
    return (position + 1) & (this.table.length - 1);
  }

  /** Adds a row that is not there yet. */
  insert(hash: number, row: number): void {
    const segment = hash >>> 24;
    let table = this.tables[segment]!;
    if ((this.counts[segment]! + 1) * 2 > table.length) table = this.grow(segment, table);
    place(table, hash, row);
    this.counts[segment] = this.counts[segment]! + 1;
  }

  private grow(segment: number, old: Uint32Array): Uint32Array {
    const table = new Uint32Array(old.length * 2);
    for (const row of old) if (row !== 0) place(table, this.hashOf(row), row);
    this.tables[segment] = table;
    return table;
  }
}

function place(table: Uint32Array, hash: number, row: number): void {
  const mask = table.length - 1;
  let position = hash & mask;
  while (table[position] !== 0) position = (position + 1) & mask;
  table[position] = row;
}
