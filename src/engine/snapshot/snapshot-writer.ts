/**
 * Writes a state as a new storage.dat: one pass over the slots for keys, columns, contents, vectors and outgoing
 * associations, a second for names and incoming ones (their place is known only when the contents have ended), then the
 * block table, and last the header, so that a file with a good header is a whole file. Meant for a worker thread: it is
 * synchronous, and paces its syncs so that those of the serving thread get their turn.
 *
 * Memory: one 64 KiB block per section, the key index (4 bytes x capacity), one bit per slot, and the longest row.
 *
 * Nothing is taken on trust. The state digest is computed anew from the bytes that are written, and compared with the
 * source's, as are all counts; rows must be sorted and end at live slots, and the incoming rows must be the outgoing ones.
 * A file whose source disagrees with itself is refused as DAMAGED, without a header.
 */

import { SutraError } from '../../errors.js';
import type { Disk } from '../disk.js';
import { crc32 } from '../format/crc32.js';
import { Digest } from '../format/digest.js';
import { hashKey } from '../format/id.js';
import {
  HAS_NAME,
  HAS_VECTOR,
  HEADER_BYTES,
  KIND,
  LIVE,
  MAX_DIMENSION,
  MAX_MAPPED_SECTION_BYTES,
  MAX_NAME_BYTES,
  SECTION_SHAPES,
  alignSection,
  checkByteOrder,
  encodeHeader,
  keyIndexCapacity,
  type Section,
  type SectionKind,
  type SnapshotCounts,
  type SnapshotHeader,
} from '../format/snapshot-format.js';
import { BlockFile, SectionCursor, writeFully } from './block-file.js';
import { ConceptRecord, EdgeRow, type SnapshotSource } from './snapshot-source.js';

export interface SnapshotWriteOptions {
  /** Recorded in the header; default 0, not known. */
  readonly createdUs?: number;
  /** Sync after so many bytes, so that no sync is ever long. Default 4 MiB. */
  readonly syncEveryBytes?: number;
  /** Sleep after each of these syncs, for the disk to serve others. Default 0. */
  readonly pauseMs?: number;
  /** After each of these syncs, and at the end with done = total. The total is an estimate until then. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

const DEFAULT_SYNC_EVERY_BYTES = 4 * 1024 * 1024;

/** Slots between two steps, less one: some milliseconds. */
const STEP_MASK = 1023;

/** Names begin behind two zero bytes, so that offset 0 can mean "no name". */
const NAMES_START = 2;

/**
 * Writes `source` to a new file at `path` (EEXIST when there is one) and syncs it. Renaming it, and syncing the directory,
 * is the caller's; so is removing the file when this throws. Throws DAMAGED when the source disagrees with its own digest
 * or counts, TOO_LARGE when it exceeds a limit of the format, and whatever the disk throws.
 */
export function writeSnapshot(
  disk: Disk,
  path: string,
  source: SnapshotSource,
  options: SnapshotWriteOptions = {},
): SnapshotHeader {
  const steps = writeSnapshotInSteps(disk, path, source, options);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** The same, yielding between slots, for those who have something else to look at meanwhile. */
export function* writeSnapshotInSteps(
  disk: Disk,
  path: string,
  source: SnapshotSource,
  options: SnapshotWriteOptions = {},
): Generator<undefined, SnapshotHeader, undefined> {
  checkByteOrder();
  checkLimits(path, source);
  const file = disk.open(path, 'create');
  try {
    const syncEveryBytes = options.syncEveryBytes ?? DEFAULT_SYNC_EVERY_BYTES;
    const pauseMs = options.pauseMs ?? 0;
    const pause = pauseMs > 0 ? new Int32Array(new SharedArrayBuffer(4)) : null;
    let unsyncedBytes = 0;
    const blocks = new BlockFile(file, (bytes) => {
      unsyncedBytes += bytes;
      if (unsyncedBytes < syncEveryBytes) return;
      unsyncedBytes = 0;
      file.datasync();
      options.onProgress?.(blocks.writtenBytes, writing.estimateBytes());
      if (pause !== null) Atomics.wait(pause, 0, 0, pauseMs);
    });
    const writing = new SnapshotWriting(path, source, blocks);
    yield* writing.writeConcepts();
    yield* writing.writeNamesAndIncoming();
    const header = writing.finish(options.createdUs ?? 0);
    options.onProgress?.(header.fileBytes, header.fileBytes);
    return header;
  } finally {
    file.close();
  }
}

/** One run of the writer. */
class SnapshotWriting {
  private readonly path: string;
  private readonly source: SnapshotSource;
  private readonly blocks: BlockFile;
  private readonly counts: SnapshotCounts;
  /** Cursors by kind; contents are the last with a known place, names follow when those have ended. */
  private readonly cursors = new Map<SectionKind, SectionCursor>();
  private readonly content: SectionCursor;
  private readonly live: Uint8Array;
  private readonly record = new ConceptRecord();
  private readonly row = new EdgeRow();
  private readonly targetKey = new Uint32Array(4);
  private slotsDone = 0;
  private namesBytes = 0;
  /** Of all names in slot order, to see that the second pass writes what the first one counted. */
  private namesCrc = 0;
  private outSum = 0;

  constructor(path: string, source: SnapshotSource, blocks: BlockFile) {
    this.path = path;
    this.source = source;
    this.blocks = blocks;
    const { dimension, slotCount, conceptCount, edgeCount, vectorCount } = source;
    const freeCount = source.freeSlots.length;
    this.counts = { dimension, slotCount, conceptCount, edgeCount, vectorCount, freeCount };
    this.live = new Uint8Array(Math.ceil(slotCount / 8));

    let offset = HEADER_BYTES;
    for (const { kind, elementBytes, count } of SECTION_SHAPES) {
      if (kind === KIND.CONTENT) break;
      const elements =
        kind === KIND.KEY_INDEX ? keyIndexCapacity(conceptCount) : count?.(this.counts);
      if (elements === undefined) throw new Error(`section ${kind} has no place yet`);
      const end = offset + elements * elementBytes;
      this.cursors.set(kind, new SectionCursor(blocks, offset, end));
      offset = alignSection(end);
    }
    this.content = new SectionCursor(blocks, offset, Infinity);
    this.cursors.set(KIND.CONTENT, this.content);
  }

  /** What the file will weigh, supposing that the slots to come are like those that have been. */
  estimateBytes(): number {
    const { slotCount } = this.counts;
    const seen = Math.max(this.slotsDone, 1);
    const payload = ((this.content.byteLength + this.namesBytes) * slotCount) / seen;
    return Math.max(Math.round(this.content.offset + payload), this.blocks.writtenBytes);
  }

  /** The first pass: everything but names and incoming associations. */
  *writeConcepts(): Generator<undefined, void, undefined> {
    const { source, record, row, live, content } = this;
    const { dimension, slotCount, conceptCount, edgeCount, vectorCount } = this.counts;
    const keys = this.cursor(KIND.KEYS);
    const flags = this.cursor(KIND.FLAGS);
    const strengths = this.cursor(KIND.STRENGTH);
    const confidences = this.cursor(KIND.CONFIDENCE);
    const createdUs = this.cursor(KIND.CREATED_US);
    const updatedUs = this.cursor(KIND.UPDATED_US);
    const contentOffsets = this.cursor(KIND.CONTENT_OFFSET);
    const contentLengths = this.cursor(KIND.CONTENT_LENGTH);
    const contentCrcs = this.cursor(KIND.CONTENT_CRC);
    const nameOffsets = this.cursor(KIND.NAME_OFFSET);
    const vectorRows = this.cursor(KIND.VECTOR_ROW);
    const vectorCrcs = this.cursor(KIND.VECTOR_CRC);
    const vectors = this.cursor(KIND.VECTORS);
    const outOffsets = this.cursor(KIND.OUT_OFFSETS);

    const index = new Uint32Array(keyIndexCapacity(conceptCount));
    const indexMask = index.length - 1;
    const digest = new Digest();
    const free = new ConceptRecord();
    let concepts = 0;
    let edges = 0;
    let vectorsDone = 0;

    for (let slot = 0; slot < slotCount; slot++) {
      this.slotsDone = slot;
      if ((slot & STEP_MASK) === STEP_MASK) yield;
      const isLive = source.readConcept(slot, record);
      // A free slot is all zeros, whatever the source left in the record.
      const concept = isLive ? record : free;
      const { k0, k1, k2, k3, name } = concept;
      let bits = 0;
      let nameOffset = 0;
      let contentOffset = 0;
      let contentCrc = 0;
      let vectorRow = 0;
      let vectorCrc = 0;

      if (isLive) {
        bits = LIVE;
        if (++concepts > conceptCount) throw this.disagrees('concepts', concepts, conceptCount);
        live[slot >>> 3]! |= 1 << (slot & 7);
        let at = hashKey(k0, k1, k2, k3) & indexMask;
        while (index[at] !== 0) at = (at + 1) & indexMask;
        index[at] = slot + 1;

        let nameLength = 0;
        let nameCrc = 0;
        if (name !== null) {
          bits |= HAS_NAME;
          nameLength = name.length;
          nameCrc = crc32(name);
          this.namesCrc = crc32(name, this.namesCrc);
          nameOffset = this.placeName(slot, nameLength);
        }

        contentOffset = content.byteLength;
        contentCrc = this.writeContent(slot, concept);

        if (concept.hasVector) {
          bits |= HAS_VECTOR;
          vectorRow = vectorsDone;
          if (++vectorsDone > vectorCount) {
            throw this.disagrees('vectors', vectorsDone, vectorCount);
          }
          vectorCrc = this.writeVector(slot, concept, vectors);
        }

        digest.concept(
          1,
          k0,
          k1,
          k2,
          k3,
          nameLength,
          nameCrc,
          concept.contentLength,
          contentCrc,
          concept.hasVector ? dimension : 0,
          vectorCrc,
          concept.strength,
          concept.confidence,
          concept.createdUs,
          concept.updatedUs,
        );
      }

      keys.u32(k0);
      keys.u32(k1);
      keys.u32(k2);
      keys.u32(k3);
      flags.u8(bits);
      strengths.f32(concept.strength);
      confidences.f32(concept.confidence);
      createdUs.f64(concept.createdUs);
      updatedUs.f64(concept.updatedUs);
      contentOffsets.f64(contentOffset);
      contentLengths.u32(concept.contentLength);
      contentCrcs.u32(contentCrc);
      nameOffsets.u32(nameOffset);
      vectorRows.u32(vectorRow);
      vectorCrcs.u32(vectorCrc);
      outOffsets.u32(edges);

      if (isLive) {
        source.outEdges(slot, row);
        edges += row.length;
        if (edges > edgeCount) throw this.disagrees('outgoing associations', edges, edgeCount);
        this.writeOutgoing(slot, k0, k1, k2, k3, digest);
      }
    }
    this.slotsDone = slotCount;
    outOffsets.u32(edges);

    if (concepts !== conceptCount) throw this.disagrees('concepts', concepts, conceptCount);
    if (edges !== edgeCount) throw this.disagrees('outgoing associations', edges, edgeCount);
    if (vectorsDone !== vectorCount) throw this.disagrees('vectors', vectorsDone, vectorCount);
    if (!digest.equals(source.digest)) {
      throw this.disagrees('state digest', digest.toString(), source.digest.toString());
    }
    this.cursor(KIND.KEY_INDEX).bytes(new Uint8Array(index.buffer));
    this.writeFreeSlots();
  }

  /** The second pass. Names go behind the contents, which have ended. */
  *writeNamesAndIncoming(): Generator<undefined, void, undefined> {
    const { source, record, row, live, namesBytes } = this;
    const { slotCount, edgeCount } = this.counts;
    const names = new SectionCursor(this.blocks, this.content.close(), Infinity);
    this.cursors.set(KIND.NAMES, names);
    const inOffsets = this.cursor(KIND.IN_OFFSETS);
    const inSources = this.cursor(KIND.IN_SOURCES);
    const inTypes = this.cursor(KIND.IN_TYPES);
    const inConfidences = this.cursor(KIND.IN_CONFIDENCES);
    const lengthBytes = new Uint8Array(2);
    let namesCrc = 0;
    let edges = 0;
    let sum = 0;

    if (namesBytes > 0) names.bytes(lengthBytes);
    for (let slot = 0; slot < slotCount; slot++) {
      inOffsets.u32(edges);
      if ((slot & STEP_MASK) === STEP_MASK) yield;
      if (!hasBit(live, slot)) continue;
      if (namesBytes > 0 && source.readConcept(slot, record) && record.name !== null) {
        const { name } = record;
        namesCrc = crc32(name, namesCrc);
        lengthBytes[0] = name.length & 255;
        lengthBytes[1] = name.length >>> 8;
        names.bytes(lengthBytes);
        names.bytes(name);
      }
      source.inEdges(slot, row);
      edges += row.length;
      if (edges > edgeCount) throw this.disagrees('incoming associations', edges, edgeCount);
      this.checkOrder(slot, 'incoming');
      const { length, slots, types, confidences } = row;
      for (let i = 0; i < length; i++) {
        const other = slots[i]!;
        const type = types[i]!;
        const confidence = confidences[i]!;
        if (!hasBit(live, other)) throw this.deadEnd(slot, other);
        sum = (sum + associationHash(other, slot, type, confidence)) | 0;
        inSources.u32(other);
        inTypes.u16(type);
        inConfidences.f32(confidence);
      }
    }
    inOffsets.u32(edges);

    if (edges !== edgeCount) throw this.disagrees('incoming associations', edges, edgeCount);
    if (sum !== this.outSum) {
      throw this.disagrees(
        'incoming associations’ checksum',
        sum,
        `the outgoing ones’, ${this.outSum}`,
      );
    }
    if (names.byteLength !== namesBytes || namesCrc !== this.namesCrc) {
      throw this.disagrees('names on the second reading', names.byteLength, namesBytes);
    }
  }

  /** Ends all sections; writes the block table and, when everything else is on disk, the header. */
  finish(createdUs: number): SnapshotHeader {
    const { source, counts, blocks } = this;
    const sections: Section[] = [];
    let bodyEnd = HEADER_BYTES;
    for (const { kind, elementBytes } of SECTION_SHAPES) {
      if (kind === KIND.BLOCK_TABLE) break;
      const cursor = this.cursor(kind);
      const { offset, byteLength } = cursor;
      sections.push({ kind, elementBytes, offset, byteLength });
      // The contents were closed when the names began.
      bodyEnd = kind === KIND.CONTENT ? alignSection(offset + byteLength) : cursor.close();
    }
    const crcs = blocks.finish(bodyEnd);
    const table = new Uint8Array(crcs.buffer);
    sections.push({
      kind: KIND.BLOCK_TABLE,
      elementBytes: 4,
      offset: bodyEnd,
      byteLength: table.length,
    });
    const header: SnapshotHeader = {
      ...counts,
      compatible: 0,
      incompatible: 0,
      epoch: source.epoch,
      uuid: source.uuid,
      sequence: source.sequence,
      createdUs,
      fileBytes: bodyEnd + table.length,
      digest: source.digest.lanes.slice(),
      blockTableCrc: crc32(table),
      sections,
    };
    const { file } = blocks;
    writeFully(file, table, 0, table.length, bodyEnd);
    file.datasync();
    writeFully(file, encodeHeader(header), 0, HEADER_BYTES, 0);
    file.sync();
    return header;
  }

  /** Room for a name in the names section; returns its offset there. */
  private placeName(slot: number, length: number): number {
    if (length < 1 || length > MAX_NAME_BYTES) {
      throw this.disagrees(`name of slot ${slot}, in bytes`, length, `1 to ${MAX_NAME_BYTES}`);
    }
    const offset = this.namesBytes === 0 ? NAMES_START : this.namesBytes;
    this.namesBytes = offset + 2 + length;
    if (this.namesBytes > MAX_MAPPED_SECTION_BYTES)
      throw sectionTooLarge(this.path, 'names', 'more');
    return offset;
  }

  private writeContent(slot: number, { contentLength, contentCrc }: ConceptRecord): number {
    if (contentLength === 0) {
      if (contentCrc !== 0)
        throw this.disagrees(`checksum of empty content ${slot}`, contentCrc, 0);
      return 0;
    }
    const bytes = this.source.readContent(slot);
    const crc = crc32(bytes);
    if (bytes.length !== contentLength) {
      throw this.disagrees(`content length of slot ${slot}`, bytes.length, contentLength);
    }
    if (crc !== contentCrc)
      throw this.disagrees(`content checksum of slot ${slot}`, crc, contentCrc);
    this.content.bytes(bytes);
    return crc;
  }

  private writeVector(slot: number, record: ConceptRecord, vectors: SectionCursor): number {
    const bytes = this.source.readVector(slot);
    const crc = crc32(bytes);
    const expectedBytes = this.counts.dimension * 4;
    if (bytes.length !== expectedBytes) {
      throw this.disagrees(`vector length of slot ${slot}`, bytes.length, expectedBytes);
    }
    if (crc !== record.vectorCrc) {
      throw this.disagrees(`vector checksum of slot ${slot}`, crc, record.vectorCrc);
    }
    vectors.bytes(bytes);
    return crc;
  }

  private writeOutgoing(
    slot: number,
    k0: number,
    k1: number,
    k2: number,
    k3: number,
    digest: Digest,
  ): void {
    const { source, targetKey } = this;
    const { length, slots, types, confidences, createdUs } = this.row;
    if (length === 0) return;
    this.checkOrder(slot, 'outgoing');
    const outTargets = this.cursor(KIND.OUT_TARGETS);
    const outTypes = this.cursor(KIND.OUT_TYPES);
    const outConfidences = this.cursor(KIND.OUT_CONFIDENCES);
    const outCreatedUs = this.cursor(KIND.OUT_CREATED_US);
    let sum = this.outSum;
    let read = -1;
    for (let i = 0; i < length; i++) {
      const target = slots[i]!;
      const type = types[i]!;
      const confidence = confidences[i]!;
      const created = createdUs[i]!;
      // Parallel associations lie side by side, so the target's key is often the one just read.
      if (target !== read) {
        if (!source.readKey(target, targetKey)) throw this.deadEnd(slot, target);
        read = target;
      }
      const t0 = targetKey[0]!;
      const t1 = targetKey[1]!;
      const t2 = targetKey[2]!;
      const t3 = targetKey[3]!;
      digest.association(1, k0, k1, k2, k3, t0, t1, t2, t3, type, confidence, created);
      sum = (sum + associationHash(slot, target, type, confidence)) | 0;
      outTargets.u32(target);
      outTypes.u16(type);
      outConfidences.f32(confidence);
      outCreatedUs.f64(created);
    }
    this.outSum = sum;
  }

  /** The row must ascend strictly by (other slot, type): lookups search it by halves. */
  private checkOrder(slot: number, direction: string): void {
    const { length, slots, types } = this.row;
    const { slotCount } = this.counts;
    for (let i = 0; i < length; i++) {
      const other = slots[i]!;
      if (other >= slotCount) throw this.deadEnd(slot, other);
      if (i === 0) continue;
      const before = slots[i - 1]!;
      if (other < before || (other === before && types[i]! <= types[i - 1]!)) {
        throw this.disagrees(
          `order of ${direction} associations of slot ${slot}`,
          `${before}/${types[i - 1]!} before ${other}/${types[i]!}`,
          'ascending slot and type',
        );
      }
    }
  }

  private writeFreeSlots(): void {
    const { freeSlots } = this.source;
    const { slotCount, freeCount } = this.counts;
    const cursor = this.cursor(KIND.FREE_SLOTS);
    // A slot on the list twice, or one in use, would one day be given to two concepts.
    const taken = this.live.slice();
    for (let i = 0; i < freeCount; i++) {
      const slot = freeSlots[i]!;
      if (slot >= slotCount || hasBit(taken, slot)) {
        throw this.disagrees('free slot', slot, `a free one below ${slotCount}, once`);
      }
      taken[slot >>> 3]! |= 1 << (slot & 7);
      cursor.u32(slot);
    }
  }

  private cursor(kind: SectionKind): SectionCursor {
    const cursor = this.cursors.get(kind);
    if (cursor === undefined) throw new Error(`section ${kind} has no place yet`);
    return cursor;
  }

  private deadEnd(slot: number, other: number): SutraError {
    return this.disagrees(`other end of an association of slot ${slot}`, other, 'a live slot');
  }

  private disagrees(what: string, got: string | number, expected: string | number): SutraError {
    return new SutraError(
      'DAMAGED',
      `${this.path}: not written, because the state disagrees with itself: ${what}: got ${got}, expected ${expected}`,
    );
  }
}

function hasBit(bits: Uint8Array, slot: number): boolean {
  return ((bits[slot >>> 3] ?? 0) & (1 << (slot & 7))) !== 0;
}

const f32 = new Float32Array(1);
const f32Bits = new Uint32Array(f32.buffer);

/** A hash whose sum over all associations compares the outgoing rows with the incoming ones. murmur3's mixing. */
function associationHash(source: number, target: number, type: number, confidence: number): number {
  f32[0] = confidence;
  let h = Math.imul(source, 0xcc9e2d51);
  h = Math.imul((h << 13) | (h >>> 19), 0x1b873593) ^ target;
  h = Math.imul((h << 13) | (h >>> 19), 0x85ebca6b) ^ type;
  h = Math.imul((h << 13) | (h >>> 19), 0xc2b2ae35) ^ f32Bits[0]!;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  return h ^ (h >>> 13);
}

function checkLimits(path: string, source: SnapshotSource): void {
  const { dimension, slotCount, conceptCount, edgeCount, vectorCount } = source;
  const freeCount = source.freeSlots.length;
  if (dimension > MAX_DIMENSION) {
    throw tooLarge(path, `dimension ${dimension}`, MAX_DIMENSION);
  }
  if (source.sequence > Number.MAX_SAFE_INTEGER) {
    throw tooLarge(path, `sequence ${source.sequence}`, Number.MAX_SAFE_INTEGER);
  }
  const counts = { dimension, slotCount, conceptCount, edgeCount, vectorCount, freeCount };
  for (const { kind, name, elementBytes, count, isMapped } of SECTION_SHAPES) {
    if (!isMapped) continue;
    const elements = kind === KIND.KEY_INDEX ? keyIndexCapacity(conceptCount) : count?.(counts);
    if (elements !== undefined && elements * elementBytes > MAX_MAPPED_SECTION_BYTES) {
      throw sectionTooLarge(path, name, elements * elementBytes);
    }
  }
}

function sectionTooLarge(path: string, name: string, bytes: number | string): SutraError {
  return tooLarge(path, `section ${name} of ${bytes} bytes`, MAX_MAPPED_SECTION_BYTES);
}

function tooLarge(path: string, what: string, limit: number): SutraError {
  return new SutraError('TOO_LARGE', `${path}: ${what} exceeds the format's limit of ${limit}`, {
    hint: 'A storage.dat holds at most 134 million slots and 268 million associations; split the store.',
  });
}
