/**
 * A window of a file for reading payloads: of one alone as much as it takes, of many in the order in which they lie more and more
 * at once, up to a megabyte. The checkpoint copies contents in slot order, and one read serves thousands of them.
 */

import type { DiskFile } from '../disk.js';
import { readExactly } from './snapshot-file.js';

const MIN_READ_BYTES = 4096;
const MAX_READ_BYTES = 1024 * 1024;

export class ReadAhead {
  private buffer = new Uint8Array(0);
  private start = 0;
  private length = 0;

  /** Never reads beyond `end`. */
  constructor(
    private readonly file: DiskFile,
    private readonly end: number,
  ) {}

  /** Bytes [position, position + length) of the file, which end by `end`; valid until the next call. */
  read(position: number, length: number): Uint8Array {
    if (position < this.start || position + length > this.start + this.length) {
      const wanted = Math.max(length, this.follows(position) ? 2 * this.length : MIN_READ_BYTES);
      const most = Math.max(length, MAX_READ_BYTES);
      this.fill(position, Math.min(wanted, most, this.end - position));
    }
    const at = position - this.start;
    return this.buffer.subarray(at, at + length);
  }

  /** Whether it lies in the window or behind it, no further than the window is long: some are left out. */
  private follows(position: number): boolean {
    return position >= this.start && position < this.start + 2 * this.length;
  }

  private fill(position: number, length: number): void {
    if (this.buffer.length < length) this.buffer = new Uint8Array(length);
    // Empty while it is being filled, in case that fails.
    this.length = 0;
    readExactly(this.file, this.buffer, length, position);
    this.start = position;
    this.length = length;
  }
}
