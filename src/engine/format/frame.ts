/**
 * Bytes of the write log: segment headers, frame headers and commands. No I/O, no policy; docs/FILE_FORMAT.md has the
 * offset tables. Everything is little-endian and 8-byte aligned, so that words and embeddings can be viewed in place.
 *
 *   segment = segment header (64 B), frame*
 *   frame   = frame header (48 B), payload (padded to 8 B)
 *   payload = command*                      one frame per group commit; a frame is applied whole or not at all
 *
 * Each frame header carries its own checksum, the payload's, the previous header's (the chain), and the highest sequence
 * that was synced when it was written (reliability.md, rules 1 and 2). Header checksums are seeded with the store's UUID, so
 * that a frame image inside a client's content is never taken for a frame of this store.
 */

import { crc32, crc32Range } from './crc32.js';

export const LOG_VERSION = 1;
export const SEGMENT_HEADER_BYTES = 64;
export const FRAME_HEADER_BYTES = 48;
/** Hard cap of a payload: an atomic batch of 16 MiB on the wire grows at most 8-fold when encoded. */
export const MAX_PAYLOAD_BYTES = 256 * 1024 * 1024;

/** "SUTRALOG" as two little-endian words. */
const SEGMENT_MAGIC_0 = 0x52545553;
const SEGMENT_MAGIC_1 = 0x474f4c41;
/** "SFRM". */
export const FRAME_MAGIC = 0x4d524653;

export const FrameKind = { Commands: 0, Closed: 1, Seal: 2 } as const;

export const CommandKind = {
  Learn: 1,
  Associate: 2,
  ForgetConcept: 3,
  ForgetAssociation: 4,
  /** A Learn that also says when the concept was created, for restoring one. A reader that is older refuses it. */
  LearnTimed: 5,
} as const;

/** Flag of a Learn: an embedding follows. */
export const LEARN_HAS_VECTOR = 1;
/** Flag of a ForgetAssociation: every type between the two. */
export const FORGET_ALL_TYPES = 1;

/** Fixed parts in bytes. A Learn is followed by vector, name and content; all are padded to 8. */
export const LEARN_BYTES = 56;
export const LEARN_TIMED_BYTES = 64;
export const ASSOCIATE_BYTES = 48;
export const FORGET_CONCEPT_BYTES = 32;
export const FORGET_ASSOCIATION_BYTES = 48;

const TWO_32 = 4294967296;
/** Sequences and times travel as u64 but live in doubles: the high word stays below 2^21. */
const MAX_HIGH_WORD = 0x1fffff;

export function pad8(bytes: number): number {
  return (bytes + 7) & ~7;
}

export interface SegmentHeader {
  readonly ordinal: number;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  /** The sequence its first command will take. */
  readonly firstSequence: number;
  readonly epoch: number;
  /** Header checksum of the last frame before it (its seal not counted); 0 in a store's first segment. */
  readonly chain: number;
  readonly createdUs: number;
}

export interface FrameHeader {
  kind: number;
  epoch: number;
  /** Commands in the payload. */
  count: number;
  /** Sequence of the first command; for Closed and Seal the next sequence. */
  firstSequence: number;
  /** Highest sequence that was synced when this was written. */
  syncedThrough: number;
  payloadBytes: number;
  payloadCrc: number;
  chain: number;
  headerCrc: number;
}

/** What header checksums of a store start from. */
export function headerSeed(uuid: Uint8Array): number {
  return crc32(uuid);
}

function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % TWO_32, true);
  view.setUint32(at + 4, Math.floor(value / TWO_32), true);
}

/** A u64 as a number, or -1 where it does not fit 53 bits. */
function getU64(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  return high > MAX_HIGH_WORD ? -1 : high * TWO_32 + view.getUint32(at, true);
}

function viewOf(bytes: Uint8Array, at: number, length: number): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset + at, length);
}

export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  const view = viewOf(bytes, 0, SEGMENT_HEADER_BYTES);
  view.setUint32(0, SEGMENT_MAGIC_0, true);
  view.setUint32(4, SEGMENT_MAGIC_1, true);
  view.setUint32(8, LOG_VERSION, true);
  view.setUint32(12, header.ordinal, true);
  bytes.set(header.uuid, 16);
  setU64(view, 32, header.firstSequence);
  view.setUint32(40, header.epoch, true);
  view.setUint32(44, header.chain, true);
  setU64(view, 48, header.createdUs);
  // 56: incompatible feature bits, none yet.
  view.setUint32(60, crc32Range(bytes, 0, 60), true);
  return bytes;
}

/**
 * Decodes a segment header. Returns why not when it is bad: 'short', 'magic', 'checksum', or 'version' / 'features' for
 * one that is whole but written by something newer.
 */
export function decodeSegmentHeader(
  bytes: Uint8Array,
): SegmentHeader | 'short' | 'magic' | 'checksum' | 'version' | 'features' {
  if (bytes.length < SEGMENT_HEADER_BYTES) return 'short';
  const view = viewOf(bytes, 0, SEGMENT_HEADER_BYTES);
  if (view.getUint32(0, true) !== SEGMENT_MAGIC_0 || view.getUint32(4, true) !== SEGMENT_MAGIC_1) {
    return 'magic';
  }
  if (view.getUint32(60, true) !== crc32Range(bytes, 0, 60)) return 'checksum';
  if (view.getUint32(8, true) !== LOG_VERSION) return 'version';
  if (view.getUint32(56, true) !== 0) return 'features';
  const firstSequence = getU64(view, 32);
  const createdUs = getU64(view, 48);
  if (firstSequence < 1 || createdUs < 0) return 'checksum';
  return {
    ordinal: view.getUint32(12, true),
    uuid: bytes.slice(16, 32),
    firstSequence,
    epoch: view.getUint32(40, true),
    chain: view.getUint32(44, true),
    createdUs,
  };
}

/** Writes a frame header at bytes[0..48) and sets `header.headerCrc`; payload fields must be filled in. */
export function encodeFrameHeader(bytes: Uint8Array, header: FrameHeader, seed: number): void {
  const view = viewOf(bytes, 0, FRAME_HEADER_BYTES);
  view.setUint32(0, FRAME_MAGIC, true);
  view.setUint32(4, LOG_VERSION | (header.kind << 8), true);
  view.setUint32(8, header.epoch, true);
  view.setUint32(12, header.count, true);
  setU64(view, 16, header.firstSequence);
  setU64(view, 24, header.syncedThrough);
  view.setUint32(32, header.payloadBytes, true);
  view.setUint32(36, header.payloadCrc, true);
  view.setUint32(40, header.chain, true);
  header.headerCrc = crc32Range(bytes, 0, 44, seed);
  view.setUint32(44, header.headerCrc, true);
}

/** Decodes the frame header at bytes[at..]; null when it is not a whole, valid one of the store with this seed. */
export function decodeFrameHeader(bytes: Uint8Array, at: number, seed: number): FrameHeader | null {
  if (at + FRAME_HEADER_BYTES > bytes.length) return null;
  const view = viewOf(bytes, at, FRAME_HEADER_BYTES);
  if (view.getUint32(0, true) !== FRAME_MAGIC) return null;
  const headerCrc = view.getUint32(44, true);
  if (headerCrc !== crc32Range(bytes, at, at + 44, seed)) return null;
  const versionAndKind = view.getUint32(4, true);
  const kind = versionAndKind >>> 8;
  if ((versionAndKind & 255) !== LOG_VERSION || kind > FrameKind.Seal) return null;
  const header: FrameHeader = {
    kind,
    epoch: view.getUint32(8, true),
    count: view.getUint32(12, true),
    firstSequence: getU64(view, 16),
    syncedThrough: getU64(view, 24),
    payloadBytes: view.getUint32(32, true),
    payloadCrc: view.getUint32(36, true),
    chain: view.getUint32(40, true),
    headerCrc,
  };
  if (header.firstSequence < 1 || header.syncedThrough < 0) return null;
  if (header.payloadBytes > MAX_PAYLOAD_BYTES || (header.payloadBytes & 7) !== 0) return null;
  // The smallest command is 32 bytes, which bounds the count before anything loops over it.
  if (header.count * FORGET_CONCEPT_BYTES > header.payloadBytes) return null;
  if (kind !== FrameKind.Commands && (header.count !== 0 || header.payloadBytes !== 0)) return null;
  if (kind === FrameKind.Commands && header.count === 0) return null;
  return header;
}

/**
 * A cursor over the commands of one payload. The words are views of the buffer, so nothing is copied: read the fields by
 * the accessors right after `next()`. `bad` is set when the bytes do not parse; the payload's checksum was right then, so
 * that is hostile or a bug, never a torn write.
 */
export class CommandReader {
  private u32: Uint32Array = new Uint32Array(0);
  private f32: Float32Array = new Float32Array(0);
  private bytes: Uint8Array = new Uint8Array(0);
  private position = 0;
  private end = 0;
  /** Byte offset of the current command in the buffer given to `open`. */
  at = 0;
  bad: string | null = null;

  /** payload starts at bytes[from]; bytes.byteOffset + from must be a multiple of 8. */
  open(bytes: Uint8Array, from: number, length: number): void {
    this.bytes = bytes;
    const base = bytes.byteOffset;
    this.u32 = new Uint32Array(bytes.buffer, base, (from + length) >>> 2);
    this.f32 = new Float32Array(bytes.buffer, base, (from + length) >>> 2);
    this.position = from;
    this.end = from + length;
    this.bad = null;
  }

  /** Steps to the next command; false at the end or when `bad`. */
  next(): boolean {
    const at = this.position;
    if (at >= this.end) return false;
    const room = this.end - at;
    if (room < FORGET_CONCEPT_BYTES) return this.refuse('command header beyond its frame');
    const u32 = this.u32;
    const w = at >>> 2;
    const word = u32[w]!;
    const kind = word & 255;
    const isLearn = kind === CommandKind.Learn || kind === CommandKind.LearnTimed;
    let size: number;
    switch (kind) {
      case CommandKind.Learn:
      case CommandKind.LearnTimed: {
        const fixed = kind === CommandKind.Learn ? LEARN_BYTES : LEARN_TIMED_BYTES;
        if (room < fixed) return this.refuse('learn beyond its frame');
        const dimension = u32[w + 12]!;
        const hasVector = (word & 0x100) !== 0;
        if (hasVector ? dimension < 1 || dimension > 4096 : dimension !== 0) {
          return this.refuse(`learn with dimension ${dimension}`);
        }
        size = pad8(fixed + dimension * 4 + (word >>> 16) + u32[w + 1]!);
        if (u32[w + 11]! > MAX_HIGH_WORD || (fixed > LEARN_BYTES && u32[w + 15]! > MAX_HIGH_WORD))
          return this.refuse('learn with a time beyond 2^53');
        if (word >>> 16 > 512) return this.refuse('learn with a name over 512 bytes');
        if (!(this.f32[w + 8]! >= 0 && this.f32[w + 8]! < Infinity)) {
          return this.refuse(`learn with strength ${this.f32[w + 8]!}`);
        }
        if (!(this.f32[w + 9]! >= 0 && this.f32[w + 9]! <= 1)) {
          return this.refuse(`learn with confidence ${this.f32[w + 9]!}`);
        }
        break;
      }
      case CommandKind.Associate:
        if (room < ASSOCIATE_BYTES) return this.refuse('associate beyond its frame');
        if (!(this.f32[w + 1]! >= 0 && this.f32[w + 1]! <= 1)) {
          return this.refuse(`associate with confidence ${this.f32[w + 1]!}`);
        }
        size = ASSOCIATE_BYTES;
        break;
      case CommandKind.ForgetConcept:
        size = FORGET_CONCEPT_BYTES;
        break;
      case CommandKind.ForgetAssociation:
        size = FORGET_ASSOCIATION_BYTES;
        break;
      default:
        return this.refuse(`unknown command kind ${kind}`);
    }
    // pad8 works on int32: a content length near 2^32 comes out negative or tiny, so check the parts too.
    if (size <= 0 || size > room || (isLearn && u32[w + 1]! > room)) {
      return this.refuse(`command of ${size} bytes in ${room}`);
    }
    if (!isLearn && u32[w + 3]! > MAX_HIGH_WORD) {
      return this.refuse('command with a time beyond 2^53');
    }
    this.at = at;
    this.position = at + size;
    // The digest takes the checksum of a name from here, and from the name itself later on: they must agree.
    if (isLearn) {
      const nameAt = this.nameAt;
      if (u32[w + 3]! !== crc32Range(this.bytes, nameAt, nameAt + (word >>> 16))) {
        return this.refuse('learn with the checksum of another name');
      }
    }
    return true;
  }

  private refuse(why: string): false {
    this.bad = why;
    return false;
  }

  get kind(): number {
    return this.u32[this.at >>> 2]! & 255;
  }
  get flags(): number {
    return (this.u32[this.at >>> 2]! >>> 8) & 255;
  }
  /** Words 4..7: the concept's or the source's key; 8..11: the target's. */
  word(index: number): number {
    return this.u32[(this.at >>> 2) + index]!;
  }
  float(index: number): number {
    return this.f32[(this.at >>> 2) + index]!;
  }
  /** Learn: words 10 and 11; others: words 2 and 3. */
  timeUs(lowWord: number): number {
    const w = (this.at >>> 2) + lowWord;
    return this.u32[w + 1]! * TWO_32 + this.u32[w]!;
  }
  /** Of a LearnTimed. */
  get createdUs(): number {
    return this.timeUs(14);
  }
  get nameLength(): number {
    return this.u32[this.at >>> 2]! >>> 16;
  }
  get associationType(): number {
    return this.u32[this.at >>> 2]! >>> 16;
  }
  get contentLength(): number {
    return this.u32[(this.at >>> 2) + 1]!;
  }
  get dimension(): number {
    return this.u32[(this.at >>> 2) + 12]!;
  }
  /** Byte offsets of the parts of a Learn, in the buffer. */
  get vectorAt(): number {
    return this.at + (this.kind === CommandKind.Learn ? LEARN_BYTES : LEARN_TIMED_BYTES);
  }
  get nameAt(): number {
    return this.vectorAt + this.dimension * 4;
  }
  get contentAt(): number {
    return this.nameAt + this.nameLength;
  }
  get name(): Uint8Array {
    return this.bytes.subarray(this.nameAt, this.nameAt + this.nameLength);
  }
}
