/**
 * One generation of the memtable: what commands changed between two seals, over the levels below it. It holds a row for
 * every concept learned, updated or forgotten in it, and a row for every association learned, updated or deleted in it.
 * Rows refer to slots, which are stable across checkpoints, so a generation stays valid when the snapshot below it is
 * replaced by one that stands for the same sequence. It only grows, and goes whole when a snapshot covers it.
 *
 * Invariants: a concept row is found by its key even when it is dead (its tombstone hides lower levels); slot entries
 * with HIDES_LOWER stand for slots whose lower-level meaning is void; a live edge row is linked in the out list of its
 * source and the in list of its target; a tombstone of a lower-level edge is in the index only.
 */

import { hashKey } from '../format/id.js';
import { PagedRows } from './paged-rows.js';
import { SegmentedIndex } from './segmented-index.js';
import {
  CONCEPT_ROW,
  entry,
  FLAGS,
  HIDES_LOWER,
  IN_HEAD,
  NO_SLOT,
  OUT_HEAD,
  OVERRIDES_EDGES,
  SlotMap,
} from './slot-map.js';

/** Words of a concept row; float64 fields (created, updated, content and vector position) sit at even words. */
const C_SLOT = 4;
const C_FLAGS = 5;
const C_STRENGTH = 6;
const C_CONFIDENCE = 7;
const C_CREATED = 8;
const C_UPDATED = 10;
const C_CONTENT_AT = 12;
const C_CONTENT_FILE = 14;
const C_CONTENT_LENGTH = 15;
const C_VECTOR_AT = 16;
const C_VECTOR_FILE = 18;
const C_VECTOR_CRC = 19;
const C_CONTENT_CRC = 20;
const C_NAME = 21;
const CONCEPT_WORDS = 22;

const LIVE = 1;
const HAS_VECTOR = 2;
/** The vector is the one that a lower level holds for this slot. */
const INHERITS_VECTOR = 4;

/** Words of an edge row. */
const E_SOURCE = 0;
const E_TARGET = 1;
const E_TYPE = 2;
const E_CONFIDENCE = 3;
const E_CREATED = 4;
const E_NEXT_OUT = 6;
const E_NEXT_IN = 7;
const EDGE_WORDS = 8;

/** In E_TYPE, above the 16 bits of the type. */
const DELETED = 0x10000;
const LINKED = 0x20000;

/** Names live in chunks of 1 MiB: u16 length, bytes; a reference is chunk * 2^20 + offset, so 4 GiB at most. */
const NAME_CHUNK = 1 << 20;

export function hashEdge(source: number, target: number, type: number): number {
  return hashKey(source, target, type, 0);
}

export class Generation {
  readonly slots = new SlotMap();
  private readonly concepts = new PagedRows(CONCEPT_WORDS);
  private readonly edges = new PagedRows(EDGE_WORDS);
  private readonly keyIndex = new SegmentedIndex();
  private readonly edgeIndex = new SegmentedIndex();
  private readonly nameChunks: Buffer[] = [Buffer.allocUnsafeSlow(NAME_CHUNK)];
  /** Offset 0 means no name, so the first starts behind it. */
  private nameEnd = 8;
  /** Slots with HIDES_LOWER; while it is 0 nobody has to look. */
  hiddenCount = 0;

  get bytes(): number {
    return (
      this.slots.bytes +
      this.concepts.bytes +
      this.edges.bytes +
      this.keyIndex.bytes +
      this.edgeIndex.bytes +
      this.nameChunks.length * NAME_CHUNK
    );
  }

  // --- concepts ---

  /** The row of a key, live or dead; 0 when this generation says nothing of it. */
  findConcept(k0: number, k1: number, k2: number, k3: number): number {
    const index = this.keyIndex;
    const concepts = this.concepts;
    for (let row = index.first(hashKey(k0, k1, k2, k3)); row !== 0; row = index.next()) {
      const u32 = concepts.u32(row);
      const b = concepts.base(row);
      if (u32[b] === k0 && u32[b + 1] === k1 && u32[b + 2] === k2 && u32[b + 3] === k3) return row;
    }
    return 0;
  }

  /** For prefetch.ts: reads what `findConcept` will, and sets the slots that are not known yet to those of the candidates. */
  touchKeys(hashes: Uint32Array, count: number, rows: Uint32Array, slots: Uint32Array): number {
    const concepts = this.concepts;
    this.keyIndex.touch(hashes, count, rows);
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const row = rows[i]!;
      if (row === 0 || slots[i] !== NO_SLOT) continue;
      const u32 = concepts.u32(row);
      const b = concepts.base(row);
      sum += u32[b]!;
      slots[i] = u32[b + C_SLOT]!;
    }
    return sum | 0;
  }

  /** The same of what `findEdge` and linking will read, of associations between slots[sources[i]] and the one behind it. */
  touchEdges(
    slots: Uint32Array,
    sources: Uint16Array,
    types: Uint16Array,
    count: number,
    hashes: Uint32Array,
  ): number {
    for (let i = 0; i < count; i++) {
      const at = sources[i]!;
      hashes[i] = hashEdge(slots[at]!, slots[at + 1]!, types[i]!);
    }
    this.edgeIndex.touch(hashes, count, hashes);
    const map = this.slots;
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const at = sources[i]!;
      sum += map.get(slots[at]!, OUT_HEAD) + map.get(slots[at + 1]!, IN_HEAD);
    }
    return sum | 0;
  }

  /** A row for a key that has none, bound to a slot. The caller fills it with `setConcept` or `kill`. */
  addConcept(k0: number, k1: number, k2: number, k3: number, slot: number): number {
    const row = this.concepts.add();
    const u32 = this.concepts.u32(row);
    const b = this.concepts.base(row);
    u32[b] = k0;
    u32[b + 1] = k1;
    u32[b + 2] = k2;
    u32[b + 3] = k3;
    this.keyIndex.insert(hashKey(k0, k1, k2, k3), row);
    this.bind(row, slot);
    return row;
  }

  /** Gives a row its slot: at birth, and when a forgotten concept is learned again under another slot. */
  bind(row: number, slot: number): void {
    this.concepts.u32(row)[this.concepts.base(row) + C_SLOT] = slot;
    this.slots.touch(slot)[entry(slot) + CONCEPT_ROW] = row;
  }

  setConcept(
    row: number,
    strength: number,
    confidence: number,
    createdUs: number,
    updatedUs: number,
    contentFile: number,
    contentAt: number,
    contentLength: number,
    contentCrc: number,
  ): void {
    const { concepts } = this;
    const b = concepts.base(row);
    const u32 = concepts.u32(row);
    const f32 = concepts.f32(row);
    const f64 = concepts.f64(row);
    u32[b + C_FLAGS] = u32[b + C_FLAGS]! | LIVE;
    f32[b + C_STRENGTH] = strength;
    f32[b + C_CONFIDENCE] = confidence;
    f64[(b + C_CREATED) >>> 1] = createdUs;
    f64[(b + C_UPDATED) >>> 1] = updatedUs;
    f64[(b + C_CONTENT_AT) >>> 1] = contentAt;
    u32[b + C_CONTENT_FILE] = contentFile;
    u32[b + C_CONTENT_LENGTH] = contentLength;
    u32[b + C_CONTENT_CRC] = contentCrc;
  }

  setVector(row: number, file: number, at: number, crc: number): void {
    const b = this.concepts.base(row);
    const u32 = this.concepts.u32(row);
    u32[b + C_FLAGS] = (u32[b + C_FLAGS]! & ~INHERITS_VECTOR) | HAS_VECTOR;
    u32[b + C_VECTOR_FILE] = file;
    u32[b + C_VECTOR_CRC] = crc;
    this.concepts.f64(row)[(b + C_VECTOR_AT) >>> 1] = at;
  }

  inheritVector(row: number, crc: number): void {
    const b = this.concepts.base(row);
    const u32 = this.concepts.u32(row);
    u32[b + C_FLAGS] = u32[b + C_FLAGS]! | HAS_VECTOR | INHERITS_VECTOR;
    u32[b + C_VECTOR_CRC] = crc;
  }

  setName(row: number, name: Uint8Array): void {
    let chunk = this.nameChunks.length - 1;
    if (this.nameEnd + 2 + name.length > NAME_CHUNK) {
      this.nameChunks.push(Buffer.allocUnsafeSlow(NAME_CHUNK));
      chunk++;
      this.nameEnd = 0;
    }
    const bytes = this.nameChunks[chunk]!;
    bytes.writeUInt16LE(name.length, this.nameEnd);
    bytes.set(name, this.nameEnd + 2);
    this.concepts.u32(row)[this.concepts.base(row) + C_NAME] = chunk * NAME_CHUNK + this.nameEnd;
    this.nameEnd += 2 + name.length;
  }

  /** Turns a row into its key's tombstone: no name, no vector. */
  kill(row: number): void {
    const u32 = this.concepts.u32(row);
    const b = this.concepts.base(row);
    const slot = u32[b + C_SLOT]!;
    u32[b + C_FLAGS] = 0;
    u32[b + C_NAME] = 0;
    this.slots.touch(slot)[entry(slot) + CONCEPT_ROW] = 0;
  }

  isLive(row: number): boolean {
    return (this.concepts.u32(row)[this.concepts.base(row) + C_FLAGS]! & LIVE) !== 0;
  }
  hasVector(row: number): boolean {
    return (this.concepts.u32(row)[this.concepts.base(row) + C_FLAGS]! & HAS_VECTOR) !== 0;
  }
  inheritsVector(row: number): boolean {
    return (this.concepts.u32(row)[this.concepts.base(row) + C_FLAGS]! & INHERITS_VECTOR) !== 0;
  }
  slot(row: number): number {
    return this.concepts.u32(row)[this.concepts.base(row) + C_SLOT]!;
  }
  keyWord(row: number, index: number): number {
    return this.concepts.u32(row)[this.concepts.base(row) + index]!;
  }
  readKey(row: number, out: Uint32Array, at: number): void {
    const words = this.concepts.u32(row);
    const from = this.concepts.base(row);
    for (let i = 0; i < 4; i++) out[at + i] = words[from + i]!;
  }
  strength(row: number): number {
    return this.concepts.f32(row)[this.concepts.base(row) + C_STRENGTH]!;
  }
  confidence(row: number): number {
    return this.concepts.f32(row)[this.concepts.base(row) + C_CONFIDENCE]!;
  }
  createdUs(row: number): number {
    return this.concepts.f64(row)[(this.concepts.base(row) + C_CREATED) >>> 1]!;
  }
  updatedUs(row: number): number {
    return this.concepts.f64(row)[(this.concepts.base(row) + C_UPDATED) >>> 1]!;
  }
  contentAt(row: number): number {
    return this.concepts.f64(row)[(this.concepts.base(row) + C_CONTENT_AT) >>> 1]!;
  }
  contentFile(row: number): number {
    return this.concepts.u32(row)[this.concepts.base(row) + C_CONTENT_FILE]!;
  }
  contentLength(row: number): number {
    return this.concepts.u32(row)[this.concepts.base(row) + C_CONTENT_LENGTH]!;
  }
  contentCrc(row: number): number {
    return this.concepts.u32(row)[this.concepts.base(row) + C_CONTENT_CRC]!;
  }
  vectorAt(row: number): number {
    return this.concepts.f64(row)[(this.concepts.base(row) + C_VECTOR_AT) >>> 1]!;
  }
  vectorFile(row: number): number {
    return this.concepts.u32(row)[this.concepts.base(row) + C_VECTOR_FILE]!;
  }
  vectorCrc(row: number): number {
    return this.concepts.u32(row)[this.concepts.base(row) + C_VECTOR_CRC]!;
  }
  /** The name's bytes, a view; null without one. */
  name(row: number): Uint8Array | null {
    const reference = this.concepts.u32(row)[this.concepts.base(row) + C_NAME]!;
    if (reference === 0) return null;
    const bytes = this.nameChunks[Math.floor(reference / NAME_CHUNK)]!;
    const at = reference % NAME_CHUNK;
    return bytes.subarray(at + 2, at + 2 + bytes.readUInt16LE(at));
  }

  // --- slots ---

  hide(slot: number): void {
    const page = this.slots.touch(slot);
    const at = entry(slot) + FLAGS;
    if ((page[at]! & HIDES_LOWER) === 0) {
      page[at] = page[at]! | HIDES_LOWER;
      this.hiddenCount++;
    }
  }
  hides(slot: number): boolean {
    return this.hiddenCount !== 0 && (this.slots.get(slot, FLAGS) & HIDES_LOWER) !== 0;
  }
  /** Whether lower-level associations at this slot must be looked up in the edge index before they count. */
  overridesAt(slot: number): boolean {
    return (this.slots.get(slot, FLAGS) & OVERRIDES_EDGES) !== 0;
  }

  // --- associations ---

  /** The row of an association, live or deleted; 0 when this generation says nothing of it. */
  findEdge(source: number, target: number, type: number): number {
    const index = this.edgeIndex;
    const edges = this.edges;
    for (let row = index.first(hashEdge(source, target, type)); row !== 0; row = index.next()) {
      const u32 = edges.u32(row);
      const b = edges.base(row);
      if (
        u32[b + E_SOURCE] === source &&
        u32[b + E_TARGET] === target &&
        (u32[b + E_TYPE]! & 0xffff) === type
      ) {
        return row;
      }
    }
    return 0;
  }

  /** A live row for an association that has none here. */
  addEdge(
    source: number,
    target: number,
    type: number,
    confidence: number,
    createdUs: number,
    overridesLower: boolean,
  ): void {
    const row = this.newEdgeRow(source, target, type, overridesLower);
    this.setEdge(row, confidence, createdUs);
  }

  /** A tombstone for an association that lives in a lower level and has no row here. */
  addEdgeTombstone(source: number, target: number, type: number): void {
    const row = this.newEdgeRow(source, target, type, true);
    this.deleteEdge(row);
  }

  private newEdgeRow(source: number, target: number, type: number, overrides: boolean): number {
    const edges = this.edges;
    const row = edges.add();
    const b = edges.base(row);
    const u32 = edges.u32(row);
    u32[b + E_SOURCE] = source;
    u32[b + E_TARGET] = target;
    u32[b + E_TYPE] = type;
    this.edgeIndex.insert(hashEdge(source, target, type), row);
    if (overrides) {
      const s = this.slots.touch(source);
      s[entry(source) + FLAGS] = s[entry(source) + FLAGS]! | OVERRIDES_EDGES;
      const t = this.slots.touch(target);
      t[entry(target) + FLAGS] = t[entry(target) + FLAGS]! | OVERRIDES_EDGES;
    }
    return row;
  }

  /** Sets a row's values and makes it live, whether it was new, live or deleted. */
  setEdge(row: number, confidence: number, createdUs: number): void {
    const edges = this.edges;
    const b = edges.base(row);
    const u32 = edges.u32(row);
    edges.f32(row)[b + E_CONFIDENCE] = confidence;
    edges.f64(row)[(b + E_CREATED) >>> 1] = createdUs;
    const word = u32[b + E_TYPE]!;
    u32[b + E_TYPE] = (word & ~DELETED) | LINKED;
    if ((word & LINKED) !== 0) return;
    const source = u32[b + E_SOURCE]!;
    const target = u32[b + E_TARGET]!;
    const out = this.slots.touch(source);
    u32[b + E_NEXT_OUT] = out[entry(source) + OUT_HEAD]!;
    out[entry(source) + OUT_HEAD] = row;
    const into = this.slots.touch(target);
    u32[b + E_NEXT_IN] = into[entry(target) + IN_HEAD]!;
    into[entry(target) + IN_HEAD] = row;
  }

  deleteEdge(row: number): void {
    const b = this.edges.base(row);
    const u32 = this.edges.u32(row);
    u32[b + E_TYPE] = u32[b + E_TYPE]! | DELETED;
  }

  isEdgeLive(row: number): boolean {
    return (this.edges.u32(row)[this.edges.base(row) + E_TYPE]! & DELETED) === 0;
  }
  outHead(slot: number): number {
    return this.slots.get(slot, OUT_HEAD);
  }
  inHead(slot: number): number {
    return this.slots.get(slot, IN_HEAD);
  }
  nextOut(row: number): number {
    return this.edges.u32(row)[this.edges.base(row) + E_NEXT_OUT]!;
  }
  nextIn(row: number): number {
    return this.edges.u32(row)[this.edges.base(row) + E_NEXT_IN]!;
  }
  edgeSource(row: number): number {
    return this.edges.u32(row)[this.edges.base(row) + E_SOURCE]!;
  }
  edgeTarget(row: number): number {
    return this.edges.u32(row)[this.edges.base(row) + E_TARGET]!;
  }
  edgeType(row: number): number {
    return this.edges.u32(row)[this.edges.base(row) + E_TYPE]! & 0xffff;
  }
  edgeConfidence(row: number): number {
    return this.edges.f32(row)[this.edges.base(row) + E_CONFIDENCE]!;
  }
  edgeCreatedUs(row: number): number {
    return this.edges.f64(row)[(this.edges.base(row) + E_CREATED) >>> 1]!;
  }
}
