/**
 * A file read from front to back through one buffer: `at` makes a range of it available and says where in the buffer it is.
 * The buffer holds the longest range that is ever asked for, whatever lengths the file claims.
 */

import type { DiskFile } from '../disk.js';
import { readExactly } from '../snapshot/snapshot-file.js';

export class FileWindow {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly size: number;
  private from = 0;
  private filled = 0;

  constructor(
    private readonly file: DiskFile,
    capacity: number,
  ) {
    this.size = file.identity().size;
    this.bytes = new Uint8Array(Math.max(1, Math.min(capacity, this.size)));
    this.view = new DataView(this.bytes.buffer);
  }

  /** Where in `bytes` the file's bytes [position, position + length) are; they lie within the file and fit the buffer. */
  at(position: number, length: number): number {
    if (position < this.from || position + length > this.from + this.filled) {
      this.from = position;
      this.filled = Math.min(this.bytes.length, this.size - position);
      readExactly(this.file, this.bytes, this.filled, position);
    }
    return position - this.from;
  }
}
