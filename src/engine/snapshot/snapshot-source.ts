/**
 * What the snapshot writer needs to know of a state: every slot in order, with its concept, payloads and adjacency. The
 * checkpoint's read view (old snapshot + replayed log) implements it; so can anything else that wants to be a storage.dat.
 */

import { crc32 } from '../format/crc32.js';
import type { Digest } from '../format/digest.js';

/** One concept; the same instance is refilled for each slot. */
export class ConceptRecord {
  k0 = 0;
  k1 = 0;
  k2 = 0;
  k3 = 0;
  strength = 0;
  confidence = 0;
  /** Microseconds since 1970, integers below 2^53. */
  createdUs = 0;
  updatedUs = 0;
  /** UTF-8, 1..512 bytes, or null for a concept known by its key only. Valid until the next read. */
  name: Uint8Array | null = null;
  contentLength = 0;
  contentCrc = 0;
  hasVector = false;
  vectorCrc = 0;

  /** Adds it to a digest (1) or takes it off (-1); `dimension` is that of the store's vectors. */
  addTo(digest: Digest, sign: 1 | -1, dimension: number): void {
    const { name, hasVector } = this;
    digest.concept(
      sign,
      this.k0,
      this.k1,
      this.k2,
      this.k3,
      name === null ? 0 : name.length,
      name === null ? 0 : crc32(name),
      this.contentLength,
      this.contentCrc,
      hasVector ? dimension : 0,
      hasVector ? this.vectorCrc : 0,
      this.strength,
      this.confidence,
      this.createdUs,
      this.updatedUs,
    );
  }
}

/** A slot's associations in one direction, sorted by (other slot, type), no duplicates; grows as needed, reused. */
export class EdgeRow {
  length = 0;
  slots = new Uint32Array(64);
  types = new Uint16Array(64);
  confidences = new Float32Array(64);
  createdUs = new Float64Array(64);

  /** Makes room for `capacity` entries, keeping what is there. */
  reserve(capacity: number): void {
    if (capacity <= this.slots.length) return;
    const size = Math.max(capacity, this.slots.length * 2);
    const { slots, types, confidences, createdUs } = this;
    (this.slots = new Uint32Array(size)).set(slots);
    (this.types = new Uint16Array(size)).set(types);
    (this.confidences = new Float32Array(size)).set(confidences);
    (this.createdUs = new Float64Array(size)).set(createdUs);
  }
}

export interface SnapshotSource {
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  readonly sequence: number;
  readonly epoch: number;
  readonly digest: Digest;
  /** 0 when the store has no dimension yet. */
  readonly dimension: number;
  /** One past the highest slot ever used. */
  readonly slotCount: number;
  readonly conceptCount: number;
  readonly edgeCount: number;
  readonly vectorCount: number;
  /** Free slots, in the order they will be reused. */
  readonly freeSlots: Uint32Array;
  /** False for a free slot. */
  readConcept(slot: number, out: ConceptRecord): boolean;
  /** Puts a slot's key at out[0..4); false for a free slot. */
  readKey(slot: number, out: Uint32Array): boolean;
  /** contentLength bytes, checked against contentCrc; valid until the next call. */
  readContent(slot: number): Uint8Array;
  /** dimension * 4 bytes of little-endian float32, checked against vectorCrc; valid until the next call. */
  readVector(slot: number): Uint8Array;
  outEdges(slot: number, row: EdgeRow): void;
  inEdges(slot: number, row: EdgeRow): void;
}
