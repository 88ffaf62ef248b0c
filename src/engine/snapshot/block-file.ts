/**
 * Writes a file of sections that all grow at once. Each section has a cursor; the file is assembled in blocks of 64 KiB in
 * memory, and a block is checksummed and written as soon as all its bytes are there. A block that neighbouring sections
 * share waits for all of them. So memory is one block per section, the checksums are of the bytes as they were handed to
 * the disk (nothing is read back), and the disk sees whole blocks.
 */

import { SutraError } from '../../errors.js';
import type { DiskFile } from '../disk.js';
import { crc32Range } from '../format/crc32.js';
import { BLOCK_BYTES, alignSection, blockCountOf, blockStart } from '../format/snapshot-format.js';

/** A block under assembly. Sections are 64-byte aligned, so an element never straddles two blocks. */
class Block {
  index = 0;
  /** Bytes that are there; the block is complete at BLOCK_BYTES. */
  filledBytes = 0;
  readonly bytes = new Uint8Array(BLOCK_BYTES);
  readonly u16 = new Uint16Array(this.bytes.buffer);
  readonly u32 = new Uint32Array(this.bytes.buffer);
  readonly f32 = new Float32Array(this.bytes.buffer);
  readonly f64 = new Float64Array(this.bytes.buffer);
}

export class BlockFile {
  readonly file: DiskFile;
  writtenBytes = 0;
  private readonly afterBlock: (bytes: number) => void;
  private readonly open = new Map<number, Block>();
  private readonly spare: Block[] = [];
  private crcs = new Uint32Array(1024);

  /** `afterBlock` is told of every write to the file: the place to sync and to pause. */
  constructor(file: DiskFile, afterBlock: (bytes: number) => void) {
    this.file = file;
    this.afterBlock = afterBlock;
  }

  /** The block at `index`, begun when it is not yet there. */
  take(index: number): Block {
    let block = this.open.get(index);
    if (block === undefined) {
      block = this.spare.pop() ?? new Block();
      block.bytes.fill(0);
      block.index = index;
      // The header page counts as there from the start.
      block.filledBytes = blockStart(index) - index * BLOCK_BYTES;
      this.open.set(index, block);
    }
    return block;
  }

  /** A section has put `bytes` bytes into `block`, and will put no more there. */
  filled(block: Block, bytes: number): void {
    block.filledBytes += bytes;
    if (block.filledBytes === BLOCK_BYTES) this.flush(block, BLOCK_BYTES);
  }

  /** Writes what is left of the last block and returns the block table. Every section must be closed. */
  finish(bodyEnd: number): Uint32Array {
    const blockCount = blockCountOf(bodyEnd);
    for (const block of this.open.values()) {
      const end = bodyEnd - block.index * BLOCK_BYTES;
      if (block.index !== blockCount - 1 || block.filledBytes !== end) {
        throw new Error(`block ${block.index} has ${block.filledBytes} bytes at the end`);
      }
      this.flush(block, end);
    }
    return this.crcs.slice(0, blockCount);
  }

  private flush(block: Block, end: number): void {
    const start = blockStart(block.index);
    const skip = start - block.index * BLOCK_BYTES;
    if (block.index >= this.crcs.length) {
      const crcs = new Uint32Array(Math.max(this.crcs.length * 2, block.index + 1));
      crcs.set(this.crcs);
      this.crcs = crcs;
    }
    this.crcs[block.index] = crc32Range(block.bytes, skip, end);
    writeFully(this.file, block.bytes, skip, end - skip, start);
    this.writtenBytes += end - skip;
    this.open.delete(block.index);
    this.spare.push(block);
    this.afterBlock(end - skip);
  }
}

/** Appends to one section. `endOffset` is where it must end, or Infinity where that is only known at its end. */
export class SectionCursor {
  readonly offset: number;
  private readonly target: BlockFile;
  private readonly endOffset: number;
  private block: Block | null = null;
  /** Position within the block, where this cursor's part of the block began, and where it must stop. */
  private at = 0;
  private from = 0;
  private limit = 0;
  /** File offset of the current block; before the first one, such that offset = base + at. */
  private base: number;

  constructor(target: BlockFile, offset: number, endOffset: number) {
    this.target = target;
    this.offset = offset;
    this.endOffset = endOffset;
    this.base = offset;
  }

  get byteLength(): number {
    return this.base + this.at - this.offset;
  }

  u8(value: number): void {
    const block = this.room();
    block.bytes[this.at] = value;
    this.at += 1;
  }

  u16(value: number): void {
    const block = this.room();
    block.u16[this.at >>> 1] = value;
    this.at += 2;
  }

  u32(value: number): void {
    const block = this.room();
    block.u32[this.at >>> 2] = value;
    this.at += 4;
  }

  f32(value: number): void {
    const block = this.room();
    block.f32[this.at >>> 2] = value;
    this.at += 4;
  }

  f64(value: number): void {
    const block = this.room();
    block.f64[this.at >>> 3] = value;
    this.at += 8;
  }

  bytes(source: Uint8Array): void {
    let done = 0;
    while (done < source.length) {
      const block = this.room();
      const count = Math.min(source.length - done, this.limit - this.at);
      if (count === source.length) block.bytes.set(source, this.at);
      else block.bytes.set(source.subarray(done, done + count), this.at);
      this.at += count;
      done += count;
    }
  }

  /** Ends the section, with zeros up to where the next one begins. Returns that offset. */
  close(): number {
    const end = this.base + this.at;
    if (this.endOffset !== Infinity && end !== this.endOffset) {
      throw new Error(`section at ${this.offset} ends at ${end}, expected ${this.endOffset}`);
    }
    const next = alignSection(end);
    if (this.block !== null) {
      this.at += next - end;
      this.target.filled(this.block, this.at - this.from);
      this.block = null;
    }
    this.limit = this.at = 0;
    this.base = end;
    return next;
  }

  /** The current block, with room for at least one element. */
  private room(): Block {
    const { block } = this;
    return this.at < this.limit && block !== null ? block : this.advance();
  }

  private advance(): Block {
    const position = this.base + this.at;
    if (position >= this.endOffset) {
      throw new Error(`section at ${this.offset} is longer than ${this.endOffset - this.offset}`);
    }
    if (this.block !== null) this.target.filled(this.block, this.at - this.from);
    const index = Math.floor(position / BLOCK_BYTES);
    const block = this.target.take(index);
    this.block = block;
    this.base = index * BLOCK_BYTES;
    this.at = this.from = position - this.base;
    this.limit = Math.min(BLOCK_BYTES, this.endOffset - this.base);
    return block;
  }
}

/** Writes all of it: a write may be short, and one that takes nothing is a failure. */
export function writeFully(
  file: DiskFile,
  source: Uint8Array,
  offset: number,
  length: number,
  position: number,
): void {
  let done = 0;
  while (done < length) {
    const count = file.write(source, offset + done, length - done, position + done);
    if (count <= 0) {
      throw new SutraError(
        'DISK_FAILED',
        `${file.path}: write at offset ${position + done}: got ${count} bytes written, expected ${length - done}`,
      );
    }
    done += count;
  }
}
