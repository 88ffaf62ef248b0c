/**
 * An open storage.dat: one immutable state, read in place. Opening reads the header page and the block table and maps the
 * columns, whatever the size; a block of the file is verified against the block table when something in it is first read,
 * and the rest by `verifyRest` in the background. Contents and vectors have a checksum each, and are read by offset. Contents of
 * a file that is mapped in one piece are read in place once their blocks were verified, which saves a system call; vectors are
 * not, because a few hundred searches would make all pages of them resident.
 *
 * Invariants:
 * - No byte of a column is used before its block was verified. Accessors see to that themselves; who reads the public arrays
 *   directly first calls `touchOut` or `touchIn` for the positions it will read (`findEdge` does so for the one it returns).
 *   Where the disk cannot map, touching is also what loads the block: an untouched one reads as zeros.
 * - A good checksum is not a good value: a file can be made with both. Whatever is used as an index is checked against a count
 *   of the header, and out of range is DAMAGED. The one check left to the caller is that of `outTargets` and `inSources`
 *   against `slotCount`, in loops that run over the arrays.
 * - Methods take a slot below `slotCount`; the caller guarantees it.
 * - Lifetime is counted. When the last holder releases, the arrays are replaced by empty ones before the memory is unmapped;
 *   after that methods throw CLOSED. A view taken earlier (an array in a const, a name) must not outlive the holder's claim:
 *   reading unmapped memory ends the process.
 */

import { SutraError } from '../../errors.js';
import type { Disk, FileIdentity } from '../disk.js';
import { crc32Range } from '../format/crc32.js';
import { Digest } from '../format/digest.js';
import { hashKey } from '../format/id.js';
import {
  BLOCK_BYTES,
  HAS_NAME,
  HAS_VECTOR,
  KIND,
  LIVE,
  MAX_NAME_BYTES,
  damaged,
  hex32,
  sectionOf,
} from '../format/snapshot-format.js';
import { utf8 } from '../format/utf8.js';
import { Column, type ColumnArray } from './column.js';
import { NO_SLOT } from '../memtable/slot-map.js';
import { ReadAhead } from './read-ahead.js';
import { openSnapshotFile, readBlock, readExactly, type SnapshotFile } from './snapshot-file.js';
import type { ConceptRecord } from './snapshot-source.js';
import { Windows } from './windows.js';

export interface SnapshotOpenOptions {
  /** Files shorter than this are mapped in one piece, others column by column. Default 1 GiB, at most 2 GiB. */
  readonly mapWholeBelowBytes?: number;
  /** Every block of this very file was just read and checked, so that no reader has to. Default false. */
  readonly isVerified?: boolean;
}

const DEFAULT_MAP_WHOLE_BELOW_BYTES = 2 ** 30;

const VERIFIED = 1;

export class Snapshot {
  readonly path: string;
  /** Tells whether the file at `path` is still this one. */
  readonly identity: FileIdentity;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  readonly sequence: number;
  readonly epoch: number;
  readonly digest: Digest;
  /** 0 when the store has no dimension yet. */
  readonly dimension: number;
  readonly slotCount: number;
  readonly conceptCount: number;
  readonly edgeCount: number;
  readonly vectorCount: number;
  /** When the file was written; 0 when not known. (`createdUs` is a concept's.) */
  readonly writtenUs: number;
  readonly fileBytes: number;

  private readonly source: SnapshotFile;
  private readonly windows: Windows;
  private holders = 1;

  /** One byte per block, VERIFIED or 0. Empty when closed, so that every touch is a slow one. */
  private verified: Uint8Array;
  private unverifiedCount: number;
  /** Where `verifyRest` goes on. */
  private verifyCursor = 0;
  /** False when there is nothing left to verify: then accessors skip it all. */
  private checking = true;
  private readonly block = new Uint8Array(BLOCK_BYTES);

  private readonly keys: Column<Uint32Array<ArrayBuffer>>;
  private readonly keyIndex: Column<Uint32Array<ArrayBuffer>>;
  private readonly keyIndexMask: number;
  private readonly flags: Column<Uint8Array<ArrayBuffer>>;
  private readonly strengths: Column<Float32Array<ArrayBuffer>>;
  private readonly confidences: Column<Float32Array<ArrayBuffer>>;
  private readonly createdTimes: Column<Float64Array<ArrayBuffer>>;
  private readonly updatedTimes: Column<Float64Array<ArrayBuffer>>;
  private readonly contentOffsets: Column<Float64Array<ArrayBuffer>>;
  private readonly contentLengths: Column<Uint32Array<ArrayBuffer>>;
  private readonly contentCrcs: Column<Uint32Array<ArrayBuffer>>;
  private readonly nameOffsets: Column<Uint32Array<ArrayBuffer>>;
  private readonly vectorRows: Column<Uint32Array<ArrayBuffer>>;
  private readonly vectorCrcs: Column<Uint32Array<ArrayBuffer>>;
  private readonly outOffsets: Column<Uint32Array<ArrayBuffer>>;
  private readonly outTargetColumn: Column<Uint32Array<ArrayBuffer>>;
  private readonly outTypeColumn: Column<Uint16Array<ArrayBuffer>>;
  private readonly outConfidenceColumn: Column<Float32Array<ArrayBuffer>>;
  private readonly outCreatedColumn: Column<Float64Array<ArrayBuffer>>;
  private readonly inOffsets: Column<Uint32Array<ArrayBuffer>>;
  private readonly inSourceColumn: Column<Uint32Array<ArrayBuffer>>;
  private readonly inTypeColumn: Column<Uint16Array<ArrayBuffer>>;
  private readonly inConfidenceColumn: Column<Float32Array<ArrayBuffer>>;
  private readonly free: Column<Uint32Array<ArrayBuffer>>;
  private readonly names: Column<Uint8Array<ArrayBuffer>>;
  private readonly columns: Column<ColumnArray>[] = [];
  private readonly contentStart: number;
  private readonly contentBytes: number;
  private readonly vectorStart: number;
  /** The mapped file, when it is mapped in one piece. */
  private mapped: Buffer | null;
  /** Where a payload of usual length is read to when it is not read in place. */
  private readonly payload = Buffer.allocUnsafeSlow(4096);
  /** Result of `payloadBytes`. */
  private payloadStart = 0;
  /** Of everything that was touched, so that no compiler leaves the reading out. */
  touched = 0;
  private contentsAhead: ReadAhead | null = null;
  private vectorsAhead: ReadAhead | null = null;

  /**
   * Opens storage.dat at `path`; the opener is the first holder. Throws UNSUPPORTED_FORMAT for another version or unknown
   * features, DAMAGED when header, section table or block table are wrong, and whatever the disk throws (ENOENT).
   */
  static open(disk: Disk, path: string, options: SnapshotOpenOptions = {}): Snapshot {
    const source = openSnapshotFile(disk, path);
    let windows: Windows | null = null;
    try {
      windows = new Windows(source, options.mapWholeBelowBytes ?? DEFAULT_MAP_WHOLE_BELOW_BYTES);
      return new Snapshot(source, windows, options.isVerified ?? false);
    } catch (error) {
      windows?.close();
      source.file.close();
      throw error;
    }
  }

  private constructor(source: SnapshotFile, windows: Windows, isVerified: boolean) {
    const { file, identity, header, blockCrcs } = source;
    this.source = source;
    this.windows = windows;
    this.path = file.path;
    this.identity = identity;
    this.uuid = header.uuid;
    this.sequence = header.sequence;
    this.epoch = header.epoch;
    this.digest = new Digest();
    this.digest.lanes.set(header.digest);
    this.dimension = header.dimension;
    this.slotCount = header.slotCount;
    this.conceptCount = header.conceptCount;
    this.edgeCount = header.edgeCount;
    this.vectorCount = header.vectorCount;
    this.writtenUs = header.createdUs;
    this.fileBytes = header.fileBytes;
    this.verified = new Uint8Array(blockCrcs.length);
    this.unverifiedCount = blockCrcs.length;
    // Blocks that must be loaded are, when they are verified.
    if (isVerified && !windows.needsLoading) this.checking = false;

    this.keys = this.add(new Column(Uint32Array, KIND.KEYS, source, windows));
    this.keyIndex = this.add(new Column(Uint32Array, KIND.KEY_INDEX, source, windows));
    this.keyIndexMask = this.keyIndex.values.length - 1;
    this.flags = this.add(new Column(Uint8Array, KIND.FLAGS, source, windows));
    this.strengths = this.add(new Column(Float32Array, KIND.STRENGTH, source, windows));
    this.confidences = this.add(new Column(Float32Array, KIND.CONFIDENCE, source, windows));
    this.createdTimes = this.add(new Column(Float64Array, KIND.CREATED_US, source, windows));
    this.updatedTimes = this.add(new Column(Float64Array, KIND.UPDATED_US, source, windows));
    this.contentOffsets = this.add(new Column(Float64Array, KIND.CONTENT_OFFSET, source, windows));
    this.contentLengths = this.add(new Column(Uint32Array, KIND.CONTENT_LENGTH, source, windows));
    this.contentCrcs = this.add(new Column(Uint32Array, KIND.CONTENT_CRC, source, windows));
    this.nameOffsets = this.add(new Column(Uint32Array, KIND.NAME_OFFSET, source, windows));
    this.vectorRows = this.add(new Column(Uint32Array, KIND.VECTOR_ROW, source, windows));
    this.vectorCrcs = this.add(new Column(Uint32Array, KIND.VECTOR_CRC, source, windows));
    this.outOffsets = this.add(new Column(Uint32Array, KIND.OUT_OFFSETS, source, windows));
    this.outTargetColumn = this.add(new Column(Uint32Array, KIND.OUT_TARGETS, source, windows));
    this.outTypeColumn = this.add(new Column(Uint16Array, KIND.OUT_TYPES, source, windows));
    this.outConfidenceColumn = this.add(
      new Column(Float32Array, KIND.OUT_CONFIDENCES, source, windows),
    );
    this.outCreatedColumn = this.add(
      new Column(Float64Array, KIND.OUT_CREATED_US, source, windows),
    );
    this.inOffsets = this.add(new Column(Uint32Array, KIND.IN_OFFSETS, source, windows));
    this.inSourceColumn = this.add(new Column(Uint32Array, KIND.IN_SOURCES, source, windows));
    this.inTypeColumn = this.add(new Column(Uint16Array, KIND.IN_TYPES, source, windows));
    this.inConfidenceColumn = this.add(
      new Column(Float32Array, KIND.IN_CONFIDENCES, source, windows),
    );
    this.free = this.add(new Column(Uint32Array, KIND.FREE_SLOTS, source, windows));
    this.names = this.add(new Column(Uint8Array, KIND.NAMES, source, windows));

    const content = sectionOf(header, KIND.CONTENT);
    this.contentStart = content.offset;
    this.contentBytes = content.byteLength;
    this.vectorStart = sectionOf(header, KIND.VECTORS).offset;
    this.mapped = windows.whole === null ? null : Buffer.from(windows.whole);
  }

  // --- lifetime ---

  /** One more holder. */
  retain(): void {
    if (this.holders === 0) throw this.closedError();
    this.holders++;
  }

  /** One holder less; with the last one the snapshot closes. */
  release(): void {
    if (this.holders === 0) throw this.closedError();
    if (--this.holders > 0) return;
    this.checking = true;
    this.verified = new Uint8Array(0);
    for (const column of this.columns) column.close();
    this.contentsAhead = this.vectorsAhead = this.mapped = null;
    try {
      this.windows.close();
    } finally {
      this.source.file.close();
    }
  }

  get isClosed(): boolean {
    return this.holders === 0;
  }

  // --- verification ---

  /**
   * Verifies up to `maxBlocks` more blocks; true when the whole file is verified. About 30 us a block when it is cached,
   * so 32 blocks are a millisecond. Throws DAMAGED at a bad block, and does so again when called again.
   */
  verifyRest(maxBlocks: number): boolean {
    let left = maxBlocks;
    const { verified } = this;
    while (this.checking && left > 0) {
      if (this.holders === 0) throw this.closedError();
      const block = this.verifyCursor;
      if (verified[block] !== VERIFIED) {
        this.verifyBlock(block);
        left--;
      }
      this.verifyCursor = block + 1;
    }
    return !this.checking;
  }

  get isVerified(): boolean {
    return !this.checking;
  }

  /** Sees that the block of a column's byte was verified. Callers test `checking` first: that is the fast path. */
  private touch(column: Column<ColumnArray>, byte: number): void {
    const block = column.blockOf(byte);
    if (this.verified[block] !== VERIFIED) this.verifyBlock(block);
  }

  /** The same for bytes [first, end). */
  private touchRange(column: Column<ColumnArray>, first: number, end: number): void {
    const last = column.blockOf(end - 1);
    for (let block = column.blockOf(first); block <= last; block++) {
      if (this.verified[block] !== VERIFIED) this.verifyBlock(block);
    }
  }

  /**
   * By a plain read, not over the mapping: where the disk fails or the file was cut short, that is an error, not SIGBUS.
   * Both see the same page cache.
   */
  private verifyBlock(block: number): void {
    if (this.holders === 0) throw this.closedError();
    const { windows, source } = this;
    if (block >= this.verified.length) throw new RangeError(`${this.path} has no block ${block}`);
    const end = readBlock(source, block, this.block);
    if (windows.needsLoading) windows.load(block, this.block.subarray(0, end));
    this.verified[block] = VERIFIED;
    if (--this.unverifiedCount === 0) this.checking = false;
  }

  // --- concepts ---

  /** The slot of a key (four uint32), or -1. */
  findKey(k0: number, k1: number, k2: number, k3: number): number {
    const { keyIndex, keys, slotCount, keyIndexMask, checking, verified } = this;
    const entries = keyIndex.values;
    const words = keys.values;
    let at = hashKey(k0, k1, k2, k3) & keyIndexMask;
    // At most conceptCount entries are taken, so after as many misses the next one is empty.
    for (let misses = this.conceptCount; misses >= 0; misses--) {
      if (checking) {
        const block = keyIndex.blockOf(at << 2);
        if (verified[block] !== VERIFIED) this.verifyBlock(block);
      }
      const entry = entries[at]!;
      if (entry === 0) return -1;
      const slot = entry - 1;
      if (slot >= slotCount) throw this.badEntry(at, `slot ${slot}`, `below ${slotCount}`);
      const word = slot << 2;
      if (checking) {
        const block = keys.blockOf(word << 2);
        if (verified[block] !== VERIFIED) this.verifyBlock(block);
      }
      if (
        words[word] === k0 &&
        words[word + 1] === k1 &&
        words[word + 2] === k2 &&
        words[word + 3] === k3
      ) {
        if (this.isLive(slot)) return slot;
        throw this.badEntry(at, `free slot ${slot}`, 'a live one');
      }
      at = (at + 1) & keyIndexMask;
    }
    throw this.badEntry(at, 'no empty entry', `${this.conceptCount} of ${keyIndexMask + 1} taken`);
  }

  /**
   * For prefetch.ts: reads what `findKey` will, of blocks that were verified (of others a mapping may not even have the bytes),
   * and sets the slots that are not known yet to those of the candidates.
   */
  touchKeys(hashes: Uint32Array, count: number, slots: Uint32Array): number {
    const { keyIndex, keys, flags, slotCount, keyIndexMask, checking, verified } = this;
    const entries = keyIndex.values;
    const words = keys.values;
    const flagBytes = flags.values;
    let sum = 0;
    for (let i = 0; i < count; i++) {
      if (slots[i] !== NO_SLOT) continue;
      const at = hashes[i]! & keyIndexMask;
      if (checking && verified[keyIndex.blockOf(at << 2)] !== VERIFIED) continue;
      const entry = entries[at]!;
      if (entry !== 0 && entry <= slotCount) slots[i] = entry - 1;
    }
    for (let i = 0; i < count; i++) {
      const slot = slots[i]!;
      if (slot >= slotCount) continue;
      if (checking && verified[keys.blockOf(slot << 4)] !== VERIFIED) continue;
      sum += words[slot << 2]!;
      if (!checking || verified[flags.blockOf(slot)] === VERIFIED) sum += flagBytes[slot]!;
    }
    return sum | 0;
  }

  /** The same of what `findEdge` will read of the rows of sources. */
  touchRows(slots: Uint32Array, sources: Uint16Array, count: number): number {
    const { outOffsets, outTargetColumn, slotCount, edgeCount, checking, verified } = this;
    const targets = outTargetColumn.values;
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const slot = slots[sources[i]!]!;
      if (slot >= slotCount) continue;
      if (checking && verified[outOffsets.blockOf(slot << 2)] !== VERIFIED) continue;
      const at = outOffsets.values[slot]!;
      if (at >= edgeCount) continue;
      if (checking && verified[outTargetColumn.blockOf(at << 2)] !== VERIFIED) continue;
      sum += targets[at]!;
    }
    return sum | 0;
  }

  /**
   * Reads what reading a key's likeliest concept will look at: one wait for its slot, one for all its columns and one for its
   * content instead of one for each of them. Decides nothing, and leaves out what was not verified.
   */
  touchConcept(k0: number, k1: number, k2: number, k3: number): void {
    const slot = this.likelySlot(k0, k1, k2, k3);
    if (slot < 0) return;
    const { mapped } = this;
    const offset = this.contentOffsets.values[slot]!;
    this.touched +=
      this.strengths.values[slot]! +
      this.confidences.values[slot]! +
      this.createdTimes.values[slot]! +
      this.updatedTimes.values[slot]! +
      this.contentLengths.values[slot]! +
      this.contentCrcs.values[slot]! +
      (mapped === null ? 0 : (mapped[this.contentStart + offset] ?? 0));
  }

  /** The same of its associations in both directions. */
  touchAdjacency(k0: number, k1: number, k2: number, k3: number): void {
    const slot = this.likelySlot(k0, k1, k2, k3);
    if (slot < 0) return;
    const out = this.outOffsets.values[slot]!;
    const into = this.inOffsets.values[slot]!;
    this.touched +=
      (this.outTargets[out] ?? 0) +
      (this.inSources[into] ?? 0) +
      (this.outTypes[out] ?? 0) +
      (this.inTypes[into] ?? 0) +
      (this.outConfidences[out] ?? 0) +
      (this.inConfidences[into] ?? 0);
  }

  private likelySlot(k0: number, k1: number, k2: number, k3: number): number {
    if (this.checking) return -1;
    const slot = this.keyIndex.values[hashKey(k0, k1, k2, k3) & this.keyIndexMask]! - 1;
    if (slot < 0 || slot >= this.slotCount) return -1;
    this.touched += this.keys.values[slot << 2]! + this.flags.values[slot]!;
    return slot;
  }

  /** The same of what the ids of slots[from..end) are made of; names are not followed. */
  touchIds(slots: ArrayLike<number>, from: number, end: number): void {
    const { keys, flags, slotCount, checking, verified } = this;
    const words = keys.values;
    const flagBytes = flags.values;
    let sum = 0;
    for (let i = from; i < end; i++) {
      const slot = slots[i]!;
      if (slot >= slotCount) continue;
      if (!checking || verified[flags.blockOf(slot)] === VERIFIED) sum += flagBytes[slot]!;
      if (!checking || verified[keys.blockOf(slot << 4)] === VERIFIED) sum += words[slot << 2]!;
    }
    this.touched += sum;
  }

  isLive(slot: number): boolean {
    return (this.flagsOf(slot) & LIVE) !== 0;
  }

  hasName(slot: number): boolean {
    return (this.flagsOf(slot) & HAS_NAME) !== 0;
  }

  hasVector(slot: number): boolean {
    return (this.flagsOf(slot) & HAS_VECTOR) !== 0;
  }

  private flagsOf(slot: number): number {
    if (this.checking) this.touch(this.flags, slot);
    return this.flags.values[slot]!;
  }

  /** A word (0 to 3, most significant first) of a slot's key. */
  keyWord(slot: number, index: number): number {
    if (this.checking) this.touch(this.keys, slot << 4);
    return this.keys.values[(slot << 2) + index]!;
  }

  /** Writes the four words of a slot's key to out[at, at + 4). */
  readKey(slot: number, out: Uint32Array, at: number): void {
    if (this.checking) this.touch(this.keys, slot << 4);
    const words = this.keys.values;
    const word = slot << 2;
    out[at] = words[word]!;
    out[at + 1] = words[word + 1]!;
    out[at + 2] = words[word + 2]!;
    out[at + 3] = words[word + 3]!;
  }

  /** Orders two slots by the bytes of their keys: negative, 0 or positive. */
  compareKeys(a: number, b: number): number {
    if (this.checking) {
      this.touch(this.keys, a << 4);
      this.touch(this.keys, b << 4);
    }
    const words = this.keys.values;
    const wordA = a << 2;
    const wordB = b << 2;
    for (let i = 0; i < 4; i++) {
      const difference = words[wordA + i]! - words[wordB + i]!;
      if (difference !== 0) return difference;
    }
    return 0;
  }

  strength(slot: number): number {
    if (this.checking) this.touch(this.strengths, slot << 2);
    return this.strengths.values[slot]!;
  }

  confidence(slot: number): number {
    if (this.checking) this.touch(this.confidences, slot << 2);
    return this.confidences.values[slot]!;
  }

  createdUs(slot: number): number {
    if (this.checking) this.touch(this.createdTimes, slot << 3);
    return this.createdTimes.values[slot]!;
  }

  updatedUs(slot: number): number {
    if (this.checking) this.touch(this.updatedTimes, slot << 3);
    return this.updatedTimes.values[slot]!;
  }

  contentLength(slot: number): number {
    if (this.checking) this.touch(this.contentLengths, slot << 2);
    return this.contentLengths.values[slot]!;
  }

  contentCrc(slot: number): number {
    if (this.checking) this.touch(this.contentCrcs, slot << 2);
    return this.contentCrcs.values[slot]!;
  }

  vectorCrc(slot: number): number {
    if (this.checking) this.touch(this.vectorCrcs, slot << 2);
    return this.vectorCrcs.values[slot]!;
  }

  /** The name's bytes, a view that goes with the snapshot; null when the concept is known by its key only. */
  name(slot: number): Uint8Array | null {
    if (!this.hasName(slot)) return null;
    const { nameOffsets, names } = this;
    if (this.checking) this.touch(nameOffsets, slot << 2);
    const offset = nameOffsets.values[slot]!;
    const limit = names.values.length;
    // Offset 0 means no name, which contradicts the flags.
    if (offset < 1 || offset + 2 > limit) throw this.badName(slot, 'offset', offset, limit - 2);
    if (this.checking) this.touchRange(names, offset, offset + 2);
    const length = names.values[offset]! | (names.values[offset + 1]! << 8);
    const start = offset + 2;
    const longest = Math.min(MAX_NAME_BYTES, limit - start);
    if (length < 1 || length > longest) throw this.badName(slot, 'length', length, longest);
    if (this.checking) this.touchRange(names, start, start + length);
    return names.values.subarray(start, start + length);
  }

  /** Fills `out` with a slot's concept; false for a free slot. Its name is a view, as that of `name`. */
  readConcept(slot: number, out: ConceptRecord): boolean {
    const flags = this.flagsOf(slot);
    if ((flags & LIVE) === 0) return false;
    if (this.checking) this.touch(this.keys, slot << 4);
    const words = this.keys.values;
    const word = slot << 2;
    out.k0 = words[word]!;
    out.k1 = words[word + 1]!;
    out.k2 = words[word + 2]!;
    out.k3 = words[word + 3]!;
    out.strength = this.strength(slot);
    out.confidence = this.confidence(slot);
    out.createdUs = this.createdUs(slot);
    out.updatedUs = this.updatedUs(slot);
    out.name = (flags & HAS_NAME) === 0 ? null : this.name(slot);
    out.contentLength = this.contentLength(slot);
    out.contentCrc = this.contentCrc(slot);
    out.hasVector = (flags & HAS_VECTOR) !== 0;
    out.vectorCrc = out.hasVector ? this.vectorCrc(slot) : 0;
    return true;
  }

  // --- payloads ---

  /** The bytes of a slot's content, checked; valid until the next call. */
  readContent(slot: number): Buffer {
    const bytes = this.checkedContent(slot);
    return bytes.subarray(this.payloadStart, this.payloadStart + this.contentLength(slot));
  }

  /** A slot's content as text, checked. */
  readText(slot: number): string {
    const bytes = this.checkedContent(slot);
    return utf8(bytes, this.payloadStart, this.payloadStart + this.contentLength(slot));
  }

  /** The same for one who reads in slot order: read ahead, and valid until the next call. */
  readContentAhead(slot: number): Uint8Array {
    const position = this.contentPosition(slot);
    this.contentsAhead ??= new ReadAhead(this.source.file, this.contentStart + this.contentBytes);
    const bytes = this.contentsAhead.read(position, this.contentLength(slot));
    this.checkPayload('content', slot, bytes, 0, bytes.length, this.contentCrc(slot), position);
    return bytes;
  }

  /** Reads a slot's vector to out[0, dimension), checked; false when it has none. */
  readVector(slot: number, out: Float32Array): boolean {
    if (!this.hasVector(slot)) return false;
    if (out.length < this.dimension) {
      throw new RangeError(`room for ${out.length} of ${this.dimension} numbers`);
    }
    const bytes = this.vectorBytes(slot);
    new Uint8Array(out.buffer, out.byteOffset, bytes.length).set(bytes);
    return true;
  }

  /** The bytes of a slot's vector, checked; valid until the next call. The slot has one. */
  vectorBytes(slot: number): Uint8Array {
    const position = this.vectorPosition(slot);
    this.vectorsAhead ??= new ReadAhead(this.source.file, this.contentStart);
    const bytes = this.vectorsAhead.read(position, this.dimension * 4);
    this.checkPayload('vector', slot, bytes, 0, bytes.length, this.vectorCrc(slot), position);
    return bytes;
  }

  private contentPosition(slot: number): number {
    if (this.checking) this.touch(this.contentOffsets, slot << 3);
    const offset = this.contentOffsets.values[slot]!;
    const length = this.contentLength(slot);
    // Not safe: NaN, fractions, and what is too large to be exact.
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > this.contentBytes) {
      throw damaged(
        this.path,
        this.contentOffsets.offset + slot * 8,
        `place of content ${slot}`,
        `${length} bytes at ${offset}`,
        `a range in ${this.contentBytes} bytes`,
      );
    }
    return this.contentStart + offset;
  }

  private vectorPosition(slot: number): number {
    const { vectorRows, vectorCount } = this;
    if (this.checking) this.touch(vectorRows, slot << 2);
    const row = vectorRows.values[slot]!;
    if (row >= vectorCount) {
      const offset = vectorRows.offset + slot * 4;
      throw damaged(this.path, offset, `vector row of slot ${slot}`, row, `below ${vectorCount}`);
    }
    return this.vectorStart + row * this.dimension * 4;
  }

  /** What holds a slot's content, from `payloadStart` on. */
  private checkedContent(slot: number): Buffer {
    const position = this.contentPosition(slot);
    const length = this.contentLength(slot);
    const bytes = this.payloadBytes(position, length);
    const crc = this.contentCrc(slot);
    this.checkPayload('content', slot, bytes, this.payloadStart, length, crc, position);
    return bytes;
  }

  /**
   * What holds bytes [position, position + length) of the file, from `payloadStart` on: the mapped file itself, or else a buffer
   * they were read to, which is good until the next call. Only blocks that were read whole before are read in place, so that a bad
   * sector is an error of the read that finds it, not SIGBUS.
   */
  private payloadBytes(position: number, length: number): Buffer {
    const { mapped } = this;
    if (mapped !== null && (!this.checking || this.areVerified(position, length))) {
      this.payloadStart = position;
      return mapped;
    }
    this.payloadStart = 0;
    const bytes = length <= this.payload.length ? this.payload : Buffer.allocUnsafe(length);
    readExactly(this.source.file, bytes, length, position);
    return bytes;
  }

  private areVerified(position: number, length: number): boolean {
    const last = Math.floor((position + length - 1) / BLOCK_BYTES);
    for (let block = Math.floor(position / BLOCK_BYTES); block <= last; block++) {
      if (this.verified[block] !== VERIFIED) return false;
    }
    return true;
  }

  private checkPayload(
    what: string,
    slot: number,
    bytes: Uint8Array,
    start: number,
    length: number,
    stored: number,
    position: number,
  ): void {
    const actual = crc32Range(bytes, start, start + length);
    if (actual === stored) return;
    throw damaged(
      this.path,
      position,
      `checksum of ${what} of slot ${slot}`,
      hex32(actual),
      hex32(stored),
    );
  }

  // --- associations ---

  /** First position of a slot's row in the out arrays. */
  outStart(slot: number): number {
    return this.rowStart(this.outOffsets, slot);
  }

  /** One past the last position of the row. */
  outEnd(slot: number): number {
    return this.rowEnd(this.outOffsets, slot);
  }

  inStart(slot: number): number {
    return this.rowStart(this.inOffsets, slot);
  }

  inEnd(slot: number): number {
    return this.rowEnd(this.inOffsets, slot);
  }

  private rowStart(column: Column<Uint32Array<ArrayBuffer>>, slot: number): number {
    if (this.checking) this.touch(column, slot << 2);
    const start = column.values[slot]!;
    if (start > this.edgeCount) throw this.badRow(column, slot, start);
    return start;
  }

  private rowEnd(column: Column<Uint32Array<ArrayBuffer>>, slot: number): number {
    if (this.checking) this.touchRange(column, slot << 2, (slot + 2) << 2);
    const end = column.values[slot + 1]!;
    if (end > this.edgeCount || end < column.values[slot]!)
      throw this.badRow(column, slot + 1, end);
    return end;
  }

  /** Verifies what `outTargets`, `outTypes`, `outConfidences` and `outCreatedUs` hold at positions [from, to). */
  touchOut(from: number, to: number): void {
    if (!this.checking || from >= to) return;
    this.touchRange(this.outTargetColumn, from << 2, to << 2);
    this.touchRange(this.outTypeColumn, from << 1, to << 1);
    this.touchRange(this.outConfidenceColumn, from << 2, to << 2);
    this.touchRange(this.outCreatedColumn, from << 3, to * 8);
  }

  /** Verifies what `inSources`, `inTypes` and `inConfidences` hold at positions [from, to). */
  touchIn(from: number, to: number): void {
    if (!this.checking || from >= to) return;
    this.touchRange(this.inSourceColumn, from << 2, to << 2);
    this.touchRange(this.inTypeColumn, from << 1, to << 1);
    this.touchRange(this.inConfidenceColumn, from << 2, to << 2);
  }

  /**
   * Slots at the other end, in rows sorted by (target, type). For loops: take the array once, `touchOut` the range, and
   * check every value against `slotCount` before it is used as a slot.
   */
  get outTargets(): Uint32Array<ArrayBuffer> {
    return this.outTargetColumn.values;
  }

  get outTypes(): Uint16Array<ArrayBuffer> {
    return this.outTypeColumn.values;
  }

  get outConfidences(): Float32Array<ArrayBuffer> {
    return this.outConfidenceColumn.values;
  }

  get outCreatedUs(): Float64Array<ArrayBuffer> {
    return this.outCreatedColumn.values;
  }

  /** As `outTargets`, with `touchIn`; rows sorted by (source, type). */
  get inSources(): Uint32Array<ArrayBuffer> {
    return this.inSourceColumn.values;
  }

  get inTypes(): Uint16Array<ArrayBuffer> {
    return this.inTypeColumn.values;
  }

  get inConfidences(): Float32Array<ArrayBuffer> {
    return this.inConfidenceColumn.values;
  }

  /** Position of an association in the out arrays, which may then be read there, or -1. By halves: rows are sorted. */
  findEdge(source: number, target: number, type: number): number {
    let low = this.outStart(source);
    let high = this.outEnd(source);
    const targets = this.outTargetColumn.values;
    const types = this.outTypeColumn.values;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.checking) {
        this.touch(this.outTargetColumn, middle << 2);
        this.touch(this.outTypeColumn, middle << 1);
      }
      const order = targets[middle]! - target || types[middle]! - type;
      if (order === 0) {
        this.touchOut(middle, middle + 1);
        return middle;
      }
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return -1;
  }

  /** Free slots in the order they will be reused, copied and checked: each free, below slotCount, and named once. */
  freeSlots(): Uint32Array {
    const { free, slotCount } = this;
    const count = free.values.length;
    if (this.checking && count > 0) this.touchRange(free, 0, count * 4);
    const slots = free.values.slice();
    const seen = new Uint8Array(count === 0 ? 0 : Math.ceil(slotCount / 8));
    for (let i = 0; i < count; i++) {
      const slot = slots[i]!;
      const bit = 1 << (slot & 7);
      if (slot >= slotCount || (seen[slot >>> 3]! & bit) !== 0 || this.isLive(slot)) {
        const expected = `a free slot below ${slotCount}, once`;
        throw damaged(this.path, free.offset + i * 4, 'free slot', slot, expected);
      }
      seen[slot >>> 3]! |= bit;
    }
    return slots;
  }

  // --- private helpers ---

  private add<T extends Column<ColumnArray>>(column: T): T {
    this.columns.push(column);
    return column;
  }

  private badRow(column: Column<ColumnArray>, index: number, got: number): SutraError {
    const expected = `ascending, at most ${this.edgeCount}`;
    return damaged(this.path, column.offset + index * 4, `row offset ${index}`, got, expected);
  }

  private badEntry(at: number, got: string, expected: string): SutraError {
    return damaged(this.path, this.keyIndex.offset + at * 4, 'key index entry', got, expected);
  }

  private badName(slot: number, what: string, got: number, limit: number): SutraError {
    const offset = this.nameOffsets.offset + slot * 4;
    return damaged(this.path, offset, `${what} of name ${slot}`, got, `1 to ${limit}`);
  }

  private closedError(): SutraError {
    return new SutraError('CLOSED', `${this.path}: the snapshot was released`);
  }
}
