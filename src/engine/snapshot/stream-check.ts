/**
 * Checks a storage.dat as it goes by, front to back, when there is no file to go back in: the header (its own checksum, the length,
 * the place of every section), every block against the block table, which comes last, and the table against the header. That is
 * every byte of it. What needs the whole file at hand is not checked: that indexes and associations agree with each other, and that
 * the contents give the digest that the header has.
 */

import { SutraError } from '../../errors.js';
import { crc32Range } from '../format/crc32.js';
import {
  BLOCK_BYTES,
  HEADER_BYTES,
  KIND,
  blockCountOf,
  damaged,
  hex32,
  parseBlockTable,
  parseHeader,
  sectionOf,
  type SnapshotHeader,
} from '../format/snapshot-format.js';

export class StreamCheck {
  private readonly page = new Uint8Array(HEADER_BYTES);
  private header: SnapshotHeader | null = null;
  private bodyEnd = 0;
  private crcs = new Uint32Array(0);
  private table = new Uint8Array(0);
  private position = 0;

  /** `path` is what messages call it; `fileBytes` how long it is said to be. */
  constructor(
    private readonly path: string,
    private readonly fileBytes: number,
  ) {}

  /** The next bytes. @throws DAMAGED, UNSUPPORTED_FORMAT */
  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) at += this.take(bytes, at);
  }

  /** That was all. @throws DAMAGED */
  end(): SnapshotHeader {
    const { path, position, fileBytes, header, crcs } = this;
    if (header === null || position !== fileBytes) {
      throw damaged(path, position, 'end of file', `${position} bytes`, `${fileBytes} bytes`);
    }
    const stored = parseBlockTable(this.table, header, path);
    for (let block = 0; block < crcs.length; block++) {
      const got = crcs[block] ?? 0;
      const expected = stored[block] ?? 0;
      if (got === expected) continue;
      const what = `checksum of block ${block}`;
      throw damaged(path, block * BLOCK_BYTES, what, hex32(got), hex32(expected));
    }
    return header;
  }

  /** Takes bytes from `at` to the end of what they are a part of; how many. */
  private take(bytes: Uint8Array, at: number): number {
    const { position, bodyEnd, fileBytes } = this;
    const rest = bytes.length - at;
    if (this.header === null) {
      const length = Math.min(rest, HEADER_BYTES - position);
      this.page.set(bytes.subarray(at, at + length), position);
      this.position += length;
      if (this.position === HEADER_BYTES) this.begin();
      return length;
    }
    if (position >= fileBytes) {
      throw new SutraError('DAMAGED', `${this.path}: got bytes behind the end at ${fileBytes}`, {
        offset: fileBytes,
      });
    }
    if (position >= bodyEnd) {
      const length = Math.min(rest, fileBytes - position);
      this.table.set(bytes.subarray(at, at + length), position - bodyEnd);
      this.position += length;
      return length;
    }
    const block = Math.floor(position / BLOCK_BYTES);
    const end = Math.min((block + 1) * BLOCK_BYTES, bodyEnd);
    const length = Math.min(rest, end - position);
    this.crcs[block] = crc32Range(bytes, at, at + length, this.crcs[block] ?? 0);
    this.position += length;
    return length;
  }

  private begin(): void {
    const header = parseHeader(this.page, this.fileBytes, this.path);
    const { offset, byteLength } = sectionOf(header, KIND.BLOCK_TABLE);
    this.header = header;
    this.bodyEnd = offset;
    this.crcs = new Uint32Array(blockCountOf(offset));
    this.table = new Uint8Array(byteLength);
  }
}
