/**
 * One group of commands on its way to the log: each accepted write is encoded once, straight into this buffer, which then
 * becomes a frame's payload as it is, and is what apply reads. Room for the frame header is kept in front. Buffers are
 * pooled by the group commit; nothing is allocated per command.
 */

import { crc32Range } from '../format/crc32.js';
import {
  ASSOCIATE_BYTES,
  CommandKind,
  FORGET_ALL_TYPES,
  FORGET_ASSOCIATION_BYTES,
  FORGET_CONCEPT_BYTES,
  FRAME_HEADER_BYTES,
  LEARN_BYTES,
  LEARN_HAS_VECTOR,
  LEARN_TIMED_BYTES,
  pad8,
} from '../format/frame.js';
import type { ParsedId } from '../format/id.js';

const TWO_32 = 4294967296;
const INITIAL_BYTES = 64 * 1024;

/** Where a buffer stood, for undoing the commands of a refused batch. */
export interface BufferMark {
  readonly position: number;
  readonly count: number;
}

export class CommandBuffer {
  bytes: Buffer;
  private u32: Uint32Array;
  private f32: Float32Array;
  /** Byte offset one past the last command. */
  position = FRAME_HEADER_BYTES;
  count = 0;

  constructor(capacity = INITIAL_BYTES) {
    // Not from Buffer's pool: its slices are not 8-byte aligned.
    this.bytes = Buffer.from(new ArrayBuffer(capacity));
    this.u32 = new Uint32Array(this.bytes.buffer);
    this.f32 = new Float32Array(this.bytes.buffer);
  }

  get payloadBytes(): number {
    return this.position - FRAME_HEADER_BYTES;
  }

  reset(): void {
    this.position = FRAME_HEADER_BYTES;
    this.count = 0;
  }

  mark(): BufferMark {
    return { position: this.position, count: this.count };
  }

  rewind(mark: BufferMark): void {
    this.position = mark.position;
    this.count = mark.count;
  }

  private reserve(bytes: number): void {
    const needed = this.position + bytes;
    if (needed <= this.bytes.length) return;
    let capacity = this.bytes.length * 2;
    while (capacity < needed) capacity *= 2;
    const grown = Buffer.from(new ArrayBuffer(capacity));
    this.bytes.copy(grown, 0, 0, this.position);
    this.bytes = grown;
    this.u32 = new Uint32Array(grown.buffer);
    this.f32 = new Float32Array(grown.buffer);
  }

  /**
   * `nameCrc` is the checksum of the id's name, 0 for a hex id; the caller has computed it for its own checks. `createdUs`: when
   * a concept that is new was created; -1: now learned is now created.
   */
  learn(
    id: ParsedId,
    nameCrc: number,
    content: string,
    strength: number,
    confidence: number,
    embedding: ArrayLike<number> | null,
    timeUs: number,
    createdUs = -1,
  ): void {
    const dimension = embedding === null ? 0 : embedding.length;
    // A UTF-16 unit takes at most three bytes of UTF-8.
    const fixed = createdUs < 0 ? LEARN_BYTES : LEARN_TIMED_BYTES;
    this.reserve(fixed + dimension * 4 + id.nameLength + content.length * 3 + 8);
    const at = this.position;
    const w = at >>> 2;
    const { bytes, u32, f32 } = this;
    let vectorCrc = 0;
    let tail = at + fixed;
    if (embedding !== null) {
      f32.set(embedding, tail >>> 2);
      vectorCrc = crc32Range(bytes, tail, tail + dimension * 4, 0);
      tail += dimension * 4;
    }
    if (id.nameLength > 0) {
      id.nameBytes.copy(bytes, tail, 0, id.nameLength);
      tail += id.nameLength;
    }
    const contentLength = writeUtf8(bytes, tail, content);
    u32[w] =
      (createdUs < 0 ? CommandKind.Learn : CommandKind.LearnTimed) |
      (embedding === null ? 0 : LEARN_HAS_VECTOR << 8) |
      (id.nameLength << 16);
    u32[w + 1] = contentLength;
    u32[w + 2] = crc32Range(bytes, tail, tail + contentLength, 0);
    u32[w + 3] = nameCrc;
    u32[w + 4] = id.k0;
    u32[w + 5] = id.k1;
    u32[w + 6] = id.k2;
    u32[w + 7] = id.k3;
    f32[w + 8] = strength;
    f32[w + 9] = confidence;
    // No `%`: a remainder of doubles is a call into C, and this is exact.
    const timeHigh = Math.floor(timeUs / TWO_32);
    u32[w + 10] = timeUs - timeHigh * TWO_32;
    u32[w + 11] = timeHigh;
    u32[w + 12] = dimension;
    u32[w + 13] = vectorCrc;
    if (createdUs >= 0) {
      const createdHigh = Math.floor(createdUs / TWO_32);
      u32[w + 14] = createdUs - createdHigh * TWO_32;
      u32[w + 15] = createdHigh;
    }
    this.finish(tail + contentLength);
  }

  associate(
    source: ParsedId,
    target: ParsedId,
    type: number,
    confidence: number,
    timeUs: number,
  ): void {
    this.reserve(ASSOCIATE_BYTES);
    const w = this.position >>> 2;
    this.u32[w] = CommandKind.Associate | (type << 16);
    this.f32[w + 1] = confidence;
    this.setTimeAndSource(w, timeUs, source);
    this.setTarget(w, target);
    this.finish(this.position + ASSOCIATE_BYTES);
  }

  forgetConcept(id: ParsedId, timeUs: number): void {
    this.reserve(FORGET_CONCEPT_BYTES);
    const w = this.position >>> 2;
    this.u32[w] = CommandKind.ForgetConcept;
    this.u32[w + 1] = 0;
    this.setTimeAndSource(w, timeUs, id);
    this.finish(this.position + FORGET_CONCEPT_BYTES);
  }

  /** type null: every type from source to target. */
  forgetAssociation(source: ParsedId, target: ParsedId, type: number | null, timeUs: number): void {
    this.reserve(FORGET_ASSOCIATION_BYTES);
    const w = this.position >>> 2;
    this.u32[w] =
      CommandKind.ForgetAssociation |
      (type === null ? FORGET_ALL_TYPES << 8 : 0) |
      ((type ?? 0) << 16);
    this.u32[w + 1] = 0;
    this.setTimeAndSource(w, timeUs, source);
    this.setTarget(w, target);
    this.finish(this.position + FORGET_ASSOCIATION_BYTES);
  }

  private setTimeAndSource(w: number, timeUs: number, id: ParsedId): void {
    const u32 = this.u32;
    const timeHigh = Math.floor(timeUs / TWO_32);
    u32[w + 2] = timeUs - timeHigh * TWO_32;
    u32[w + 3] = timeHigh;
    u32[w + 4] = id.k0;
    u32[w + 5] = id.k1;
    u32[w + 6] = id.k2;
    u32[w + 7] = id.k3;
  }

  private setTarget(w: number, id: ParsedId): void {
    const u32 = this.u32;
    u32[w + 8] = id.k0;
    u32[w + 9] = id.k1;
    u32[w + 10] = id.k2;
    u32[w + 11] = id.k3;
  }

  /** Pads to 8 with zeros, so that the same commands are the same bytes. */
  private finish(end: number): void {
    const padded = pad8(end);
    const bytes = this.bytes;
    for (let i = end; i < padded; i++) bytes[i] = 0;
    this.position = padded;
    this.count++;
  }
}

/** Writes a well-formed string as UTF-8 at bytes[at..] and returns its length; short ASCII, the usual case, without a call. */
function writeUtf8(bytes: Buffer, at: number, text: string): number {
  const length = text.length;
  if (length > 96) return bytes.write(text, at, 'utf8');
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) return bytes.write(text, at, 'utf8');
    bytes[at + i] = code;
  }
  return length;
}
