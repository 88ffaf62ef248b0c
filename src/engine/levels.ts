/**
 * The read view: the active generation over the frozen one (while a checkpoint runs) over the snapshot. Every question
 * is answered by the highest level that knows; HIDES_LOWER and tombstones end the descent. It is always current: the
 * serving thread applies and reads in turn, so each synchronous read sees one state. `epoch` counts swaps of levels.
 */

import { SutraError } from '../errors.js';
import { crc32 } from './format/crc32.js';
import { keyToId } from './format/id.js';
import { nameText, utf8 } from './format/utf8.js';
import type { DiskFile } from './disk.js';
import type { SegmentAhead } from './log/segment-ahead.js';
import { readFully } from './log/segment-reader.js';
import { Generation } from './memtable/generation.js';
import { CONCEPT_ROW, entry, FLAGS, HIDES_LOWER } from './memtable/slot-map.js';
import type { Snapshot } from './snapshot/snapshot.js';
import type { ConceptRecord } from './snapshot/snapshot-source.js';

/** What `locate` found. */
export const LEVEL_NONE = 0;
export const LEVEL_ACTIVE = 1;
export const LEVEL_FROZEN = 2;
export const LEVEL_BASE = 3;

/** Opens the log segment with this ordinal for reading payloads, and keeps it open. */
export type SegmentFiles = (ordinal: number) => DiskFile;

export class Levels {
  active = new Generation();
  frozen: Generation | null = null;
  base: Snapshot | null;
  /** Counts freezes and swaps, so that a cursor held across ticks can tell that its level went. */
  swaps = 0;
  /** Dimension of the store's vectors; 0 until the first. */
  dimension: number;

  /** A slot whose concept is being forgotten over several turns: dead for everybody who looks here. -1: none is. */
  dyingSlot = -1;

  /** Results of `findEdge`, in fields so that nothing is allocated: level, and the row or the snapshot position. */
  edgeLevel = LEVEL_NONE;
  edgeAt = 0;
  /** Of the concept whose id is being made. */
  private readonly key = new Uint32Array(4);
  /** Results of `locate`: the generation's row, when the level is a generation. */
  row = 0;

  constructor(
    base: Snapshot | null,
    private readonly segmentFiles: SegmentFiles,
  ) {
    this.base = base;
    this.dimension = base === null ? 0 : base.dimension;
  }

  freeze(): void {
    this.frozen = this.active;
    this.active = new Generation();
    this.swaps++;
  }

  /** Puts the snapshot that stands for the frozen generation in place of it; the caller releases the old one. */
  swap(base: Snapshot): void {
    this.base = base;
    this.frozen = null;
    this.swaps++;
  }

  /** Becomes a second look at `other`: the same levels, which stay whatever is swapped there, and nothing dying. */
  lookAt(other: Levels): void {
    this.active = other.active;
    this.frozen = other.frozen;
    this.base = other.base;
    this.dimension = other.dimension;
  }

  // --- concepts ---

  /** The slot of a key's live concept, or -1. */
  findSlot(k0: number, k1: number, k2: number, k3: number): number {
    const inActive = this.active.findConcept(k0, k1, k2, k3);
    let slot: number;
    if (inActive === 0) slot = this.findSlotBelow(k0, k1, k2, k3);
    else slot = this.active.isLive(inActive) ? this.active.slot(inActive) : -1;
    return slot === this.dyingSlot ? -1 : slot;
  }

  /** The same for a key that the active generation says nothing of. */
  findSlotBelow(k0: number, k1: number, k2: number, k3: number): number {
    const frozen = this.frozen;
    if (frozen !== null) {
      const inFrozen = frozen.findConcept(k0, k1, k2, k3);
      if (inFrozen !== 0) return frozen.isLive(inFrozen) ? frozen.slot(inFrozen) : -1;
    }
    return this.base === null ? -1 : this.base.findKey(k0, k1, k2, k3);
  }

  /** The level that holds a slot's live concept; `row` then holds its row when that is a generation. */
  locate(slot: number): number {
    if (slot === this.dyingSlot) return LEVEL_NONE;
    const page = this.active.slots.page(slot);
    if (page !== undefined) {
      const at = entry(slot);
      this.row = page[at + CONCEPT_ROW]!;
      if (this.row !== 0) return LEVEL_ACTIVE;
      if ((page[at + FLAGS]! & HIDES_LOWER) !== 0) return LEVEL_NONE;
    }
    const frozen = this.frozen;
    if (frozen !== null) {
      this.row = frozen.slots.get(slot, CONCEPT_ROW);
      if (this.row !== 0) return LEVEL_FROZEN;
      if (frozen.hides(slot)) return LEVEL_NONE;
    }
    const base = this.base;
    return base !== null && slot < base.slotCount && base.isLive(slot) ? LEVEL_BASE : LEVEL_NONE;
  }

  /** The generation that `locate` answered with. */
  generation(level: number): Generation {
    return level === LEVEL_FROZEN && this.frozen !== null ? this.frozen : this.active;
  }

  isLive(slot: number): boolean {
    return this.locate(slot) !== LEVEL_NONE;
  }

  /** A word of a live concept's key; 0 of a dead one, which a read that paused may still hold. */
  keyWord(slot: number, index: number): number {
    const level = this.locate(slot);
    if (level === LEVEL_NONE) return 0;
    if (level === LEVEL_BASE) return this.base!.keyWord(slot, index);
    return this.generation(level).keyWord(this.row, index);
  }

  /** Puts a live concept's key at out[at..at + 4) and tells its level, as `locate` does. */
  readKey(slot: number, out: Uint32Array, at: number): number {
    const level = this.locate(slot);
    if (level === LEVEL_BASE) this.base!.readKey(slot, out, at);
    else if (level !== LEVEL_NONE) this.generation(level).readKey(this.row, out, at);
    return level;
  }

  compareKeys(a: number, b: number): number {
    for (let i = 0; i < 4; i++) {
      const difference = this.keyWord(a, i) - this.keyWord(b, i);
      if (difference !== 0) return difference;
    }
    return 0;
  }

  /** A live concept's name as bytes (a view that may go with the next write), or null. */
  name(slot: number): Uint8Array | null {
    const level = this.locate(slot);
    if (level === LEVEL_NONE) return null;
    return level === LEVEL_BASE ? this.base!.name(slot) : this.generation(level).name(this.row);
  }

  /** A live concept's id as it was learned. */
  id(slot: number): string {
    const level = this.locate(slot);
    if (level === LEVEL_BASE) {
      const base = this.base!;
      const name = base.name(slot);
      if (name !== null) return nameText(name);
      const key = this.key;
      base.readKey(slot, key, 0);
      return keyToId(key[0]!, key[1]!, key[2]!, key[3]!);
    }
    const generation = this.generation(level);
    const row = this.row;
    const name = generation.name(row);
    if (name !== null) return nameText(name);
    return keyToId(
      generation.keyWord(row, 0),
      generation.keyWord(row, 1),
      generation.keyWord(row, 2),
      generation.keyWord(row, 3),
    );
  }

  /** Fills `out` with a slot's live concept; false when there is none. */
  readConcept(slot: number, out: ConceptRecord): boolean {
    const level = this.locate(slot);
    if (level === LEVEL_NONE) return false;
    if (level === LEVEL_BASE) return this.base!.readConcept(slot, out);
    const g = this.generation(level);
    const row = this.row;
    out.k0 = g.keyWord(row, 0);
    out.k1 = g.keyWord(row, 1);
    out.k2 = g.keyWord(row, 2);
    out.k3 = g.keyWord(row, 3);
    out.strength = g.strength(row);
    out.confidence = g.confidence(row);
    out.createdUs = g.createdUs(row);
    out.updatedUs = g.updatedUs(row);
    out.name = g.name(row);
    out.contentLength = g.contentLength(row);
    out.contentCrc = g.contentCrc(row);
    out.hasVector = g.hasVector(row);
    out.vectorCrc = out.hasVector ? g.vectorCrc(row) : 0;
    return true;
  }

  /** The checksum of a slot's vector; -1 when there is none. Looks at nothing else. */
  vectorCrc(slot: number): number {
    const level = this.locate(slot);
    if (level === LEVEL_NONE) return -1;
    if (level === LEVEL_BASE) return this.base!.hasVector(slot) ? this.base!.vectorCrc(slot) : -1;
    const g = this.generation(level);
    return g.hasVector(this.row) ? g.vectorCrc(this.row) : -1;
  }

  /** A live concept's content as text, checked. @throws DAMAGED */
  readText(slot: number): string {
    const level = this.locate(slot);
    if (level === LEVEL_BASE) return this.base!.readText(slot);
    const bytes = this.contentInLog(this.generation(level), this.row);
    return utf8(bytes, 0, bytes.length);
  }

  /** The same as bytes, valid until the next call. */
  readContent(slot: number): Buffer {
    const level = this.locate(slot);
    if (level === LEVEL_BASE) return this.base!.readContent(slot);
    return this.contentInLog(this.generation(level), this.row);
  }

  private contentInLog(g: Generation, row: number): Buffer {
    const length = g.contentLength(row);
    const bytes = Buffer.allocUnsafe(length);
    this.readPayload(g.contentFile(row), g.contentAt(row), bytes, g.contentCrc(row), 'content');
    return bytes;
  }

  /** The same for one who reads in the order of the log, of a concept above the snapshot; valid until the next call. */
  readContentAhead(slot: number, ahead: SegmentAhead): Uint8Array {
    const g = this.generation(this.locate(slot));
    const { row } = this;
    const file = this.segmentFiles(g.contentFile(row));
    const at = g.contentAt(row);
    const length = g.contentLength(row);
    const bytes = ahead.read(file, at, length);
    checkPayload(file.path, at, bytes, length, g.contentCrc(row), 'content');
    return bytes;
  }

  /** Reads a live concept's vector into out[0..dimension); the concept has one. @throws DAMAGED */
  readVector(slot: number, out: Float32Array): void {
    let level = this.locate(slot);
    if (level === LEVEL_ACTIVE && this.active.inheritsVector(this.row)) {
      const below = this.frozen === null ? 0 : this.frozen.slots.get(slot, CONCEPT_ROW);
      this.row = below;
      level = below === 0 ? LEVEL_BASE : LEVEL_FROZEN;
    }
    if (level === LEVEL_FROZEN && this.generation(level).inheritsVector(this.row))
      level = LEVEL_BASE;
    if (level === LEVEL_BASE) {
      this.base!.readVector(slot, out);
      return;
    }
    const g = this.generation(level);
    const row = this.row;
    const bytes = new Uint8Array(out.buffer, out.byteOffset, this.dimension * 4);
    this.readPayload(g.vectorFile(row), g.vectorAt(row), bytes, g.vectorCrc(row), 'vector');
  }

  private readPayload(
    ordinal: number,
    at: number,
    target: Uint8Array,
    crc: number,
    what: string,
  ): void {
    const file = this.segmentFiles(ordinal);
    const done = readFully(file, target, 0, target.length, at);
    const got = done === target.length ? target : target.subarray(0, done);
    checkPayload(file.path, at, got, target.length, crc, what);
  }

  // --- associations ---

  /** Looks a live association up; true when found, with edgeLevel and edgeAt set. */
  findEdge(source: number, target: number, type: number): boolean {
    const active = this.active;
    let row = active.findEdge(source, target, type);
    if (row !== 0) return this.foundEdge(LEVEL_ACTIVE, row, active.isEdgeLive(row));
    if (active.hides(source) || active.hides(target)) return this.foundEdge(LEVEL_NONE, 0, false);
    const frozen = this.frozen;
    if (frozen !== null) {
      row = frozen.findEdge(source, target, type);
      if (row !== 0) return this.foundEdge(LEVEL_FROZEN, row, frozen.isEdgeLive(row));
      if (frozen.hides(source) || frozen.hides(target)) return this.foundEdge(LEVEL_NONE, 0, false);
    }
    const base = this.base;
    if (base === null || source >= base.slotCount || target >= base.slotCount) {
      return this.foundEdge(LEVEL_NONE, 0, false);
    }
    const position = base.findEdge(source, target, type);
    return this.foundEdge(LEVEL_BASE, position, position >= 0);
  }

  private foundEdge(level: number, at: number, live: boolean): boolean {
    this.edgeLevel = live ? level : LEVEL_NONE;
    this.edgeAt = at;
    return live;
  }

  /** Of the association that `findEdge` found. */
  edgeConfidence(): number {
    if (this.edgeLevel === LEVEL_BASE) return this.base!.outConfidences[this.edgeAt]!;
    return this.generation(this.edgeLevel).edgeConfidence(this.edgeAt);
  }
  edgeCreatedUs(): number {
    if (this.edgeLevel === LEVEL_BASE) return this.base!.outCreatedUs[this.edgeAt]!;
    return this.generation(this.edgeLevel).edgeCreatedUs(this.edgeAt);
  }
}

/** `bytes` is what came of a payload of `length`. */
function checkPayload(
  path: string,
  at: number,
  bytes: Uint8Array,
  length: number,
  crc: number,
  what: string,
): void {
  const found = bytes.length === length ? crc32(bytes) : -1;
  if (found === crc) return;
  throw new SutraError(
    'DAMAGED',
    `${path}: ${what} at offset ${at} is damaged: ` +
      (found < 0
        ? `got ${bytes.length} of ${length} bytes`
        : `got checksum ${found}, expected ${crc}`),
  );
}
