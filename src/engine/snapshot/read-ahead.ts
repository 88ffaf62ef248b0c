/**
 * A window of a file that moves forward, a megabyte at a time, for reading payloads in the order in which they lie: the
 * checkpoint copies contents in slot order, and one read serves thousands of them.
 */

import type { DiskFile } from '../disk.js';
import { readExactly } from './snapshot-file.js';

const READ_AHEAD_BYTES = 1024 * 1024;

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
      this.fill(position, Math.min(Math.max(length, READ_AHEAD_BYTES), this.end - position));
    }
    const at = position - this.start;
    return this.buffer.subarray(at, at + length);
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
