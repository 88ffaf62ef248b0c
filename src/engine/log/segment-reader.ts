/**
 * Reads one log segment frame by frame and says how it ends. It tells what is there, not what to make of it: whether a bad
 * end is a torn tail or damage is for recovery to decide, which knows the other segments and the lock file.
 *
 * Frames are checked in full (both checksums, chain, sequence) before they are handed on. Nothing is allocated from a length
 * that the file does not hold: a frame's length is checked against the hard cap and the bytes that remain.
 */

import type { DiskFile } from '../disk.js';
import { crc32Range } from '../format/crc32.js';
import {
  decodeFrameHeader,
  FRAME_HEADER_BYTES,
  FRAME_MAGIC,
  FrameKind,
  headerSeed,
  pad8,
  SEGMENT_HEADER_BYTES,
  type FrameHeader,
  type SegmentHeader,
} from '../format/frame.js';

const CHUNK_BYTES = 1 << 20;

export interface BadFrame {
  /** Where in the file the first byte that is not a good frame lies. */
  readonly offset: number;
  readonly reason: string;
  /** Highest synced-through of any valid frame header found behind it; 0 when there is none. */
  readonly laterSynced: number;
  /** Highest sequence that it, or any valid frame header behind it, claims to hold; 0 when there is none. */
  readonly laterSequence: number;
  /** Highest epoch of these headers. */
  readonly laterEpoch: number;
}

/** What valid frame headers tell that are found without following the chain. */
export interface StrayFrames {
  readonly synced: number;
  readonly sequence: number;
  readonly epoch: number;
}

export interface SegmentEnd {
  /** One past the last good frame. */
  readonly offset: number;
  /** Header checksum of the last frame that counts for the chain (the seal does not). */
  readonly chain: number;
  readonly nextSequence: number;
  readonly syncedThrough: number;
  /** Highest epoch seen. */
  readonly epoch: number;
  /** The last frame is a Closed marker: the writer ended cleanly. */
  readonly closed: boolean;
  readonly sealed: boolean;
  /** Size of the file when it was read, or the limit. */
  readonly fileBytes: number;
  readonly bad: BadFrame | null;
}

/**
 * Takes a whole, checked frame: its payload is bytes[at, at + header.payloadBytes), valid during the call and 8-byte
 * aligned; `offset` is where the payload lies in the file. Returning false stops the reading before this frame.
 */
export type FrameVisitor = (
  header: FrameHeader,
  bytes: Uint8Array,
  at: number,
  offset: number,
) => boolean;

/** Reads at most `length` bytes at `position`, fewer only at the end of the file. */
export function readFully(
  file: DiskFile,
  target: Uint8Array,
  offset: number,
  length: number,
  position: number,
): number {
  let done = 0;
  while (done < length) {
    const got = file.read(target, offset + done, length - done, position + done);
    if (got === 0) break;
    done += got;
  }
  return done;
}

/** `limitBytes`: read as if the file ended there; for readers beside a live writer. */
export function readSegment(
  file: DiskFile,
  segment: SegmentHeader,
  limitBytes: number,
  visit: FrameVisitor,
): SegmentEnd {
  const seed = headerSeed(segment.uuid);
  const fileBytes = Math.min(file.identity().size, limitBytes);
  let bytes = new Uint8Array(pad8(Math.min(CHUNK_BYTES, fileBytes)));
  /** The buffer holds file bytes [start, start + held). */
  let start = SEGMENT_HEADER_BYTES;
  let held = 0;
  let offset = SEGMENT_HEADER_BYTES;
  let chain = segment.chain;
  let nextSequence = segment.firstSequence;
  let syncedThrough = segment.firstSequence - 1;
  let epoch = segment.epoch;
  let closed = false;
  let sealed = false;
  /** The last sequence of a frame whose header is good, while its payload is not known to be. */
  let claimed = 0;

  /** Makes file bytes [offset, offset + length) available, or as many as there are. */
  const ensure = (length: number): number => {
    const at = offset - start;
    if (at + length <= held) return length;
    if (length > bytes.length) {
      const grown = new Uint8Array((length + CHUNK_BYTES - 1) & ~(CHUNK_BYTES - 1));
      grown.set(bytes.subarray(at, held));
      bytes = grown;
    } else {
      bytes.copyWithin(0, at, held);
    }
    held -= at;
    start = offset;
    const wanted = Math.min(bytes.length - held, fileBytes - start - held);
    held += readFully(file, bytes, held, wanted, start + held);
    return Math.min(length, held);
  };

  const end = (reason: string | null): SegmentEnd => {
    let bad: BadFrame | null = null;
    if (reason !== null) {
      const later = scanForFrames(file, offset + 8, fileBytes, seed);
      const laterSequence = Math.max(claimed, later.sequence);
      const { synced: laterSynced, epoch: laterEpoch } = later;
      bad = { offset, reason, laterSynced, laterSequence, laterEpoch };
    }
    return {
      offset,
      chain,
      nextSequence,
      syncedThrough,
      epoch,
      closed,
      sealed,
      fileBytes,
      bad,
    };
  };

  for (;;) {
    const available = ensure(FRAME_HEADER_BYTES);
    if (available === 0) return end(null);
    if (available < FRAME_HEADER_BYTES) return end(`got ${available} bytes of a frame header`);
    if (sealed) return end('bytes behind the seal');
    const header = decodeFrameHeader(bytes, offset - start, seed);
    if (header === null) return end('no valid frame header');
    if (header.chain !== chain) {
      return end(`broken chain: got ${hex(header.chain)}, expected ${hex(chain)}`);
    }
    if (header.firstSequence !== nextSequence) {
      return end(`frame begins with sequence ${header.firstSequence}, expected ${nextSequence}`);
    }
    claimed = header.firstSequence + header.count - 1;
    const size = FRAME_HEADER_BYTES + header.payloadBytes;
    if (offset + size > fileBytes) {
      return end(`frame of ${size} bytes with ${fileBytes - offset} left in the file`);
    }
    if (ensure(size) < size) return end('the file ended while it was read');
    const at = offset - start + FRAME_HEADER_BYTES;
    const payloadCrc = crc32Range(bytes, at, at + header.payloadBytes);
    if (payloadCrc !== header.payloadCrc) {
      return end(`payload checksum: got ${hex(payloadCrc)}, expected ${hex(header.payloadCrc)}`);
    }
    if (header.kind === FrameKind.Commands) {
      if (!visit(header, bytes, at, offset + FRAME_HEADER_BYTES)) return end(null);
      nextSequence += header.count;
    }
    sealed = header.kind === FrameKind.Seal;
    closed = header.kind === FrameKind.Closed;
    if (!sealed) chain = header.headerCrc;
    syncedThrough = Math.max(syncedThrough, header.syncedThrough);
    epoch = Math.max(epoch, header.epoch);
    offset += size;
    claimed = 0;
  }
}

/** The highest synced-through and sequence that any valid frame header of this store at or behind `from` carries. */
export function scanForFrames(
  file: DiskFile,
  from: number,
  fileBytes: number,
  seed: number,
): StrayFrames {
  const chunk = new Uint8Array(pad8(Math.min(CHUNK_BYTES, fileBytes)));
  const words = new Uint32Array(chunk.buffer);
  let synced = 0;
  let sequence = 0;
  let epoch = 0;
  // Not by masking: a segment may pass 2 GiB.
  for (
    let start = from - (from % 8);
    start < fileBytes;
    start += CHUNK_BYTES - FRAME_HEADER_BYTES
  ) {
    const held = readFully(file, chunk, 0, Math.min(chunk.length, fileBytes - start), start);
    const last = held - FRAME_HEADER_BYTES;
    for (let at = 0; at <= last; at += 8) {
      if (words[at >>> 2] !== FRAME_MAGIC) continue;
      const header = decodeFrameHeader(chunk.subarray(0, held), at, seed);
      if (header === null) continue;
      synced = Math.max(synced, header.syncedThrough);
      sequence = Math.max(sequence, header.firstSequence + header.count - 1);
      epoch = Math.max(epoch, header.epoch);
    }
    if (held < CHUNK_BYTES) break;
  }
  return { synced, sequence, epoch };
}

function hex(word: number): string {
  return word.toString(16).padStart(8, '0');
}
