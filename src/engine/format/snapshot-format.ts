/**
 * storage.dat as bytes: its header page, section table and block checksums, and their validation. No I/O and no policy.
 *
 * Invariants of a valid file, all checked by `parseHeader`:
 * - Byte 0 to 4095 is the header page, protected by its own checksum; then come the sections in ascending order, each at
 *   the next multiple of 64 bytes; the block table is the last one and ends with the file. So every byte of the file is
 *   either in the header page, in the block table (whose checksum is in the header), or in a block of the body.
 * - The body is what lies between the header page and the block table. Block i is the file's bytes [64 KiB * i,
 *   64 KiB * (i + 1)) as far as they belong to the body; the block table holds one CRC-32 for each.
 * - Every section's length follows from the counts in the header; only contents, names and the key index have a length of
 *   their own.
 *
 * All numbers are little-endian, and the sections are used in place through typed arrays. docs/FILE_FORMAT.md is the page.
 */

import { endianness } from 'node:os';

import { SutraError } from '../../errors.js';
import { crc32, crc32Range } from './crc32.js';

export const SNAPSHOT_VERSION = 3;
export const HEADER_BYTES = 4096;
export const BLOCK_BYTES = 65536;
/** x >>> BLOCK_SHIFT is the block of byte x. */
export const BLOCK_SHIFT = 16;
export const SECTION_ALIGNMENT = 64;

/** No incompatible feature is known to this version: a file with any such bit is refused. */
const KNOWN_INCOMPATIBLE = 0;

/**
 * A section that is mapped is less than 2 GiB, widened to whole blocks at both ends: a larger view over foreign memory can
 * abort the process, and positions within it stay int32.
 */
export const MAX_MAPPED_SECTION_BYTES = 2 ** 31 - 2 * BLOCK_BYTES;
/** A format limit; the interface allows less. It bounds what a hostile header can make a reader allocate. */
export const MAX_DIMENSION = 65536;
export const MAX_NAME_BYTES = 512;

const MAGIC = Buffer.from('SUTRADAT', 'latin1');
/** magic and version, as far as version 2 and all later ones agree. */
const PREFIX_BYTES = 12;

const AT = {
  VERSION: 8,
  HEADER_CRC: 12,
  HEADER_BYTES: 16,
  COMPATIBLE: 20,
  INCOMPATIBLE: 24,
  EPOCH: 28,
  UUID: 32,
  SEQUENCE: 48,
  CREATED_US: 56,
  FILE_BYTES: 64,
  BLOCK_BYTES: 72,
  DIMENSION: 76,
  SLOTS: 80,
  CONCEPTS: 84,
  EDGES: 88,
  VECTORS: 92,
  FREE: 96,
  SECTIONS: 100,
  DIGEST: 104,
  BLOCK_TABLE_CRC: 120,
  SECTION_TABLE: 128,
} as const;

/** kind u32, element bytes u32, offset u64, byte length u64. */
const SECTION_ENTRY_BYTES = 24;

/** Bits of a slot's flags byte; 0 is a free slot. */
export const LIVE = 1;
export const HAS_NAME = 2;
export const HAS_VECTOR = 4;

/** Kinds of sections, in the order they lie in the file. */
export const KIND = {
  KEYS: 1,
  KEY_INDEX: 2,
  FLAGS: 3,
  STRENGTH: 4,
  CONFIDENCE: 5,
  CREATED_US: 6,
  UPDATED_US: 7,
  CONTENT_OFFSET: 8,
  CONTENT_LENGTH: 9,
  CONTENT_CRC: 10,
  NAME_OFFSET: 11,
  VECTOR_ROW: 12,
  VECTOR_CRC: 13,
  OUT_OFFSETS: 14,
  OUT_TARGETS: 15,
  OUT_TYPES: 16,
  OUT_CONFIDENCES: 17,
  OUT_CREATED_US: 18,
  IN_OFFSETS: 19,
  IN_SOURCES: 20,
  IN_TYPES: 21,
  IN_CONFIDENCES: 22,
  FREE_SLOTS: 23,
  VECTORS: 24,
  CONTENT: 25,
  NAMES: 26,
  BLOCK_TABLE: 27,
} as const;

export type SectionKind = (typeof KIND)[keyof typeof KIND];

/** What a section is made of: its element's size, how many there are, and whether it is mapped. */
export interface SectionShape {
  readonly kind: SectionKind;
  readonly name: string;
  /** Bytes of one array element: keys are 4 elements a slot, vectors `dimension` elements a row. */
  readonly elementBytes: number;
  /** Elements that the header's counts call for; null where the section has a length of its own. */
  readonly count: ((header: SnapshotCounts) => number) | null;
  readonly isMapped: boolean;
}

export interface SnapshotCounts {
  /** 0 when the store has no dimension yet. */
  readonly dimension: number;
  readonly slotCount: number;
  readonly conceptCount: number;
  readonly edgeCount: number;
  readonly vectorCount: number;
  readonly freeCount: number;
}

export interface Section {
  readonly kind: number;
  readonly elementBytes: number;
  readonly offset: number;
  readonly byteLength: number;
}

export interface SnapshotHeader extends SnapshotCounts {
  readonly compatible: number;
  readonly incompatible: number;
  readonly epoch: number;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  readonly sequence: number;
  readonly createdUs: number;
  readonly fileBytes: number;
  /** Four lanes. */
  readonly digest: Uint32Array;
  readonly blockTableCrc: number;
  /** In file order. */
  readonly sections: readonly Section[];
}

const perSlot = (counts: SnapshotCounts): number => counts.slotCount;
const perRow = (counts: SnapshotCounts): number => counts.slotCount + 1;
const perEdge = (counts: SnapshotCounts): number => counts.edgeCount;

function shape(
  kind: SectionKind,
  name: string,
  elementBytes: number,
  count: ((counts: SnapshotCounts) => number) | null,
  isMapped = true,
): SectionShape {
  return { kind, name, elementBytes, count, isMapped };
}

/** Every section of version 3, in file order. */
export const SECTION_SHAPES: readonly SectionShape[] = [
  shape(KIND.KEYS, 'keys', 4, (counts) => counts.slotCount * 4),
  shape(KIND.KEY_INDEX, 'key index', 4, null),
  shape(KIND.FLAGS, 'flags', 1, perSlot),
  shape(KIND.STRENGTH, 'strengths', 4, perSlot),
  shape(KIND.CONFIDENCE, 'confidences', 4, perSlot),
  shape(KIND.CREATED_US, 'creation times', 8, perSlot),
  shape(KIND.UPDATED_US, 'update times', 8, perSlot),
  shape(KIND.CONTENT_OFFSET, 'content offsets', 8, perSlot),
  shape(KIND.CONTENT_LENGTH, 'content lengths', 4, perSlot),
  shape(KIND.CONTENT_CRC, 'content checksums', 4, perSlot),
  shape(KIND.NAME_OFFSET, 'name offsets', 4, perSlot),
  shape(KIND.VECTOR_ROW, 'vector rows', 4, perSlot),
  shape(KIND.VECTOR_CRC, 'vector checksums', 4, perSlot),
  shape(KIND.OUT_OFFSETS, 'out offsets', 4, perRow),
  shape(KIND.OUT_TARGETS, 'out targets', 4, perEdge),
  shape(KIND.OUT_TYPES, 'out types', 2, perEdge),
  shape(KIND.OUT_CONFIDENCES, 'out confidences', 4, perEdge),
  shape(KIND.OUT_CREATED_US, 'out creation times', 8, perEdge),
  shape(KIND.IN_OFFSETS, 'in offsets', 4, perRow),
  shape(KIND.IN_SOURCES, 'in sources', 4, perEdge),
  shape(KIND.IN_TYPES, 'in types', 2, perEdge),
  shape(KIND.IN_CONFIDENCES, 'in confidences', 4, perEdge),
  shape(KIND.FREE_SLOTS, 'free slots', 4, (counts) => counts.freeCount),
  shape(KIND.VECTORS, 'vectors', 4, (counts) => counts.vectorCount * counts.dimension, false),
  shape(KIND.CONTENT, 'contents', 1, null, false),
  shape(KIND.NAMES, 'names', 1, null),
  shape(KIND.BLOCK_TABLE, 'block table', 4, null, false),
];

const SHAPE_OF_KIND: ReadonlyMap<number, SectionShape> = new Map(
  SECTION_SHAPES.map((entry) => [entry.kind, entry]),
);

/** The next multiple of 64 at or above `offset`. */
export function alignSection(offset: number): number {
  return Math.ceil(offset / SECTION_ALIGNMENT) * SECTION_ALIGNMENT;
}

/** Blocks of a body that ends (where the block table starts) at `bodyEnd`. */
export function blockCountOf(bodyEnd: number): number {
  return Math.ceil(bodyEnd / BLOCK_BYTES);
}

/** Where the checksum of a block begins: behind the header page in block 0, which has a checksum of its own. */
export function blockStart(block: number): number {
  return block === 0 ? HEADER_BYTES : block * BLOCK_BYTES;
}

/** Slots of the key index: a power of two, at least 16, never more than half full. */
export function keyIndexCapacity(conceptCount: number): number {
  let capacity = 16;
  while (capacity < conceptCount * 2) capacity *= 2;
  return capacity;
}

/** Damage found in a file: what and where, got and expected. */
export function damaged(
  path: string,
  offset: number,
  what: string,
  got: string | number,
  expected: string | number,
): SutraError {
  return new SutraError(
    'DAMAGED',
    `${path}: ${what} at offset ${offset}: got ${got}, expected ${expected}`,
    { offset },
  );
}

export function hex32(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}

/** Sections are viewed in place, so the machine must have the file's byte order. */
export function checkByteOrder(): void {
  if (endianness() !== 'LE') {
    throw new SutraError(
      'UNSUPPORTED_FORMAT',
      'storage.dat is little-endian and used in place: got a big-endian machine, expected a little-endian one',
    );
  }
}

/** The header page of a new file. The counts and sections are the writer's own; `parseHeader` is what checks them. */
export function encodeHeader(header: SnapshotHeader): Uint8Array {
  const page = new Uint8Array(HEADER_BYTES);
  const view = new DataView(page.buffer);
  page.set(MAGIC, 0);
  view.setUint32(AT.VERSION, SNAPSHOT_VERSION, true);
  view.setUint32(AT.HEADER_BYTES, HEADER_BYTES, true);
  view.setUint32(AT.COMPATIBLE, header.compatible, true);
  view.setUint32(AT.INCOMPATIBLE, header.incompatible, true);
  view.setUint32(AT.EPOCH, header.epoch, true);
  page.set(header.uuid, AT.UUID);
  setUint64(view, AT.SEQUENCE, header.sequence);
  setUint64(view, AT.CREATED_US, header.createdUs);
  setUint64(view, AT.FILE_BYTES, header.fileBytes);
  view.setUint32(AT.BLOCK_BYTES, BLOCK_BYTES, true);
  view.setUint32(AT.DIMENSION, header.dimension, true);
  view.setUint32(AT.SLOTS, header.slotCount, true);
  view.setUint32(AT.CONCEPTS, header.conceptCount, true);
  view.setUint32(AT.EDGES, header.edgeCount, true);
  view.setUint32(AT.VECTORS, header.vectorCount, true);
  view.setUint32(AT.FREE, header.freeCount, true);
  view.setUint32(AT.SECTIONS, header.sections.length, true);
  for (let i = 0; i < 4; i++) view.setUint32(AT.DIGEST + 4 * i, header.digest[i] ?? 0, true);
  view.setUint32(AT.BLOCK_TABLE_CRC, header.blockTableCrc, true);
  let at: number = AT.SECTION_TABLE;
  for (const section of header.sections) {
    view.setUint32(at, section.kind, true);
    view.setUint32(at + 4, section.elementBytes, true);
    setUint64(view, at + 8, section.offset);
    setUint64(view, at + 16, section.byteLength);
    at += SECTION_ENTRY_BYTES;
  }
  view.setUint32(AT.HEADER_CRC, headerCrc(page), true);
  return page;
}

/**
 * Reads and checks a header page. `page` is the first min(4096, fileBytes) bytes of the file at `path`. Throws
 * UNSUPPORTED_FORMAT for another version or an unknown incompatible feature, DAMAGED for anything else that is wrong. The
 * magic and the version are looked at first: of another version we know neither the size nor the place of its checksum.
 */
export function parseHeader(page: Uint8Array, fileBytes: number, path: string): SnapshotHeader {
  if (fileBytes < PREFIX_BYTES || page.length < PREFIX_BYTES) {
    throw damaged(path, 0, 'file length', fileBytes, `at least ${HEADER_BYTES}`);
  }
  const magic = Buffer.from(page.buffer, page.byteOffset, MAGIC.length);
  if (!magic.equals(MAGIC)) {
    throw damaged(path, 0, 'magic', magic.toString('hex'), MAGIC.toString('hex'));
  }
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const version = view.getUint32(AT.VERSION, true);
  if (version !== SNAPSHOT_VERSION) {
    throw new SutraError(
      'UNSUPPORTED_FORMAT',
      `${path}: storage.dat version ${version} found, version ${SNAPSHOT_VERSION} expected`,
    );
  }
  if (fileBytes < HEADER_BYTES || page.length < HEADER_BYTES) {
    throw damaged(path, 0, 'file length', fileBytes, `at least ${HEADER_BYTES}`);
  }
  const storedCrc = view.getUint32(AT.HEADER_CRC, true);
  const actualCrc = headerCrc(page);
  if (storedCrc !== actualCrc) {
    throw damaged(path, AT.HEADER_CRC, 'header checksum', hex32(actualCrc), hex32(storedCrc));
  }

  const incompatible = view.getUint32(AT.INCOMPATIBLE, true);
  if ((incompatible & ~KNOWN_INCOMPATIBLE) !== 0) {
    throw new SutraError(
      'UNSUPPORTED_FORMAT',
      `${path}: storage.dat needs features ${hex32(incompatible)}, this version knows ${hex32(KNOWN_INCOMPATIBLE)}`,
    );
  }
  expect(
    path,
    AT.HEADER_BYTES,
    'header length',
    view.getUint32(AT.HEADER_BYTES, true),
    HEADER_BYTES,
  );
  expect(path, AT.BLOCK_BYTES, 'block length', view.getUint32(AT.BLOCK_BYTES, true), BLOCK_BYTES);
  const statedBytes = getUint64(view, AT.FILE_BYTES, 'file length', path);
  expect(path, AT.FILE_BYTES, 'file length', fileBytes, statedBytes);

  const counts: SnapshotCounts = {
    dimension: view.getUint32(AT.DIMENSION, true),
    slotCount: view.getUint32(AT.SLOTS, true),
    conceptCount: view.getUint32(AT.CONCEPTS, true),
    edgeCount: view.getUint32(AT.EDGES, true),
    vectorCount: view.getUint32(AT.VECTORS, true),
    freeCount: view.getUint32(AT.FREE, true),
  };
  checkCounts(counts, path);

  return {
    ...counts,
    compatible: view.getUint32(AT.COMPATIBLE, true),
    incompatible,
    epoch: view.getUint32(AT.EPOCH, true),
    uuid: page.slice(AT.UUID, AT.UUID + 16),
    sequence: getUint64(view, AT.SEQUENCE, 'sequence', path),
    createdUs: getUint64(view, AT.CREATED_US, 'creation time', path),
    fileBytes,
    digest: Uint32Array.from({ length: 4 }, (_, i) => view.getUint32(AT.DIGEST + 4 * i, true)),
    blockTableCrc: view.getUint32(AT.BLOCK_TABLE_CRC, true),
    sections: parseSections(view, counts, fileBytes, path),
  };
}

/** The section of that kind; a parsed header has every kind of SECTION_SHAPES. */
export function sectionOf(header: SnapshotHeader, kind: SectionKind): Section {
  const section = header.sections.find((candidate) => candidate.kind === kind);
  if (section === undefined) throw new Error(`header without section ${kind}`);
  return section;
}

/**
 * Checks the block table's bytes against the header and returns it. The table's length was checked by `parseHeader`.
 */
export function parseBlockTable(
  bytes: Uint8Array,
  header: SnapshotHeader,
  path: string,
): Uint32Array {
  const { offset } = sectionOf(header, KIND.BLOCK_TABLE);
  const actual = crc32(bytes);
  if (actual !== header.blockTableCrc) {
    throw damaged(path, offset, 'block table checksum', hex32(actual), hex32(header.blockTableCrc));
  }
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

/** The whole page but the four bytes that hold the checksum itself. */
function headerCrc(page: Uint8Array): number {
  const before = crc32Range(page, 0, AT.HEADER_CRC);
  return crc32Range(page, AT.HEADER_CRC + 4, HEADER_BYTES, before);
}

function checkCounts(counts: SnapshotCounts, path: string): void {
  const { dimension, slotCount, conceptCount, vectorCount, freeCount } = counts;
  atMost(path, AT.DIMENSION, 'dimension', dimension, MAX_DIMENSION);
  atMost(path, AT.CONCEPTS, 'concept count', conceptCount, slotCount);
  atMost(path, AT.VECTORS, 'vector count', vectorCount, dimension === 0 ? 0 : conceptCount);
  atMost(path, AT.FREE, 'free slot count', freeCount, slotCount - conceptCount);
}

function parseSections(
  view: DataView,
  counts: SnapshotCounts,
  fileBytes: number,
  path: string,
): Section[] {
  const sectionCount = view.getUint32(AT.SECTIONS, true);
  expect(path, AT.SECTIONS, 'section count', sectionCount, SECTION_SHAPES.length);

  const sections: Section[] = [];
  let end = HEADER_BYTES;
  let at: number = AT.SECTION_TABLE;
  for (const { kind, name, elementBytes, count, isMapped } of SECTION_SHAPES) {
    const offset = getUint64(view, at + 8, `offset of ${name}`, path);
    const byteLength = getUint64(view, at + 16, `length of ${name}`, path);
    expect(path, at, `kind of section ${name}`, view.getUint32(at, true), kind);
    expect(path, at + 4, `element size of ${name}`, view.getUint32(at + 4, true), elementBytes);
    // The only place a section can be; so sections neither overlap nor leave bytes between them that belong to none.
    expect(path, at + 8, `offset of ${name}`, offset, alignSection(end));
    atMost(path, at + 16, `length of ${name}`, byteLength, fileBytes - offset);
    if (count !== null) {
      expect(path, at + 16, `length of ${name}`, byteLength, count(counts) * elementBytes);
    }
    if (isMapped) atMost(path, at + 16, `length of ${name}`, byteLength, MAX_MAPPED_SECTION_BYTES);
    sections.push({ kind, elementBytes, offset, byteLength });
    end = offset + byteLength;
    at += SECTION_ENTRY_BYTES;
  }
  // The table ends with the file, and follows from where it starts.
  expect(path, AT.FILE_BYTES, 'file length', fileBytes, end);
  checkOwnLengths(sections, counts, path);
  return sections;
}

/** The sections whose length the counts do not give. */
function checkOwnLengths(sections: readonly Section[], counts: SnapshotCounts, path: string): void {
  for (const { kind, offset, byteLength } of sections) {
    const what = `length of ${SHAPE_OF_KIND.get(kind)?.name ?? 'section'}`;
    if (kind === KIND.KEY_INDEX) {
      const capacity = byteLength / 4;
      if (!isPowerOfTwo(capacity) || capacity < 16 || capacity < counts.conceptCount * 2) {
        const expected = `a power of two of u32, at least 16 and twice ${counts.conceptCount}`;
        throw damaged(path, offset, what, byteLength, expected);
      }
    } else if (kind === KIND.BLOCK_TABLE) {
      expect(path, offset, what, byteLength, blockCountOf(offset) * 4);
    }
  }
}

function isPowerOfTwo(value: number): boolean {
  // Values are at most 2^29 here: mapped sections are less than 2 GiB.
  return Number.isInteger(value) && value > 0 && (value & (value - 1)) === 0;
}

function expect(path: string, offset: number, what: string, got: number, expected: number): void {
  if (got !== expected) throw damaged(path, offset, what, got, expected);
}

function atMost(path: string, offset: number, what: string, got: number, limit: number): void {
  if (got > limit) throw damaged(path, offset, what, got, `at most ${limit}`);
}

function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

/** A u64 that must be below 2^53, as all of ours are. */
function getUint64(view: DataView, at: number, what: string, path: string): number {
  const high = view.getUint32(at + 4, true);
  if (high >= 2 ** 21)
    throw damaged(path, at, what, `a high half of ${high}`, 'a value below 2^53');
  return high * 2 ** 32 + view.getUint32(at, true);
}
