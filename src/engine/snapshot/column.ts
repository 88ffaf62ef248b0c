/**
 * One mapped section as a typed array, with what it takes to find the block of any of its bytes. Positions within a column
 * are below 2 GiB (the format's limit), so all of this is int32 arithmetic even where file offsets are not.
 */

import {
  BLOCK_BYTES,
  BLOCK_SHIFT,
  sectionOf,
  type SectionKind,
} from '../format/snapshot-format.js';
import type { SnapshotFile } from './snapshot-file.js';
import type { Windows } from './windows.js';

export type ColumnArray =
  | Uint8Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>;

interface ColumnArrayType<T extends ColumnArray> {
  new (buffer: ArrayBuffer, byteOffset: number, length: number): T;
  readonly BYTES_PER_ELEMENT: number;
}

export class Column<T extends ColumnArray> {
  /** Empty after `close`. */
  values: T;
  /** File offset of the first byte. */
  readonly offset: number;
  private readonly firstBlock: number;
  /** Where in its first block the column begins. */
  private readonly skew: number;
  private readonly type: ColumnArrayType<T>;

  constructor(
    type: ColumnArrayType<T>,
    kind: SectionKind,
    snapshot: SnapshotFile,
    windows: Windows,
  ) {
    const section = sectionOf(snapshot.header, kind);
    const { buffer, byteOffset } = windows.locate(section, kind);
    this.values = new type(buffer, byteOffset, section.byteLength / type.BYTES_PER_ELEMENT);
    this.offset = section.offset;
    this.firstBlock = Math.floor(section.offset / BLOCK_BYTES);
    this.skew = section.offset % BLOCK_BYTES;
    this.type = type;
  }

  /** The block that holds the column's byte `byte`. */
  blockOf(byte: number): number {
    return this.firstBlock + ((this.skew + byte) >>> BLOCK_SHIFT);
  }

  /** Lets go of the memory, so that a late read finds nothing instead of an address that is gone. */
  close(): void {
    this.values = new this.type(new ArrayBuffer(0), 0, 0);
  }
}
