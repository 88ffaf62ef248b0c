/**
 * Payloads of log segments for one who reads them in about the order in which they lie, as a checkpoint does with what was
 * learned since the last one: one read then serves thousands. A read that does not go on behind the one before takes no
 * more than it needs, so that reading in any other order costs what it would without this.
 */

import type { DiskFile } from '../disk.js';
import { readFully } from './segment-reader.js';

const WINDOW_BYTES = 256 * 1024;
/** What lies between two payloads that follow each other: commands without a payload, frame headers. */
const NEAR_BYTES = 64 * 1024;

export class SegmentAhead {
  private file: DiskFile | null = null;
  private buffer = new Uint8Array(0);
  private start = 0;
  private length = 0;
  /** Where the last payload ended. */
  private last = 0;

  /** Bytes [position, position + length) of the file, fewer where it ends before; valid until the next call. */
  read(file: DiskFile, position: number, length: number): Uint8Array {
    const isNear =
      file === this.file && position >= this.last && position - this.last <= NEAR_BYTES;
    if (
      file !== this.file ||
      position < this.start ||
      position + length > this.start + this.length
    ) {
      this.fill(file, position, isNear ? Math.max(length, WINDOW_BYTES) : length);
    }
    this.last = position + length;
    const at = position - this.start;
    return this.buffer.subarray(at, Math.min(at + length, this.length));
  }

  private fill(file: DiskFile, position: number, length: number): void {
    if (this.buffer.length < length) this.buffer = new Uint8Array(length);
    this.file = file;
    this.start = position;
    // Empty while it is being filled, in case that fails.
    this.length = 0;
    this.length = readFully(file, this.buffer, 0, length, position);
  }
}
