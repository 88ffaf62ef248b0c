/**
 * Reads a storage.dat of version 2 into columns, checking everything that can be checked. What is wrong goes to `onBad`, item by
 * item: whoever migrates throws there; whoever salvages notes it and gets what is whole. All memory is bounded by what the
 * file's length allows, never by a count that it claims.
 *
 * How the old model becomes the new one: ids are keys; times are the header's; an edge that was stored in both directions is
 * one semantic association, in the direction of the first record of the pair and, as if learned again, with the
 * confidence of the last; a concept or vector that comes twice with the same bytes counts once, with different ones it is bad.
 */

import { isUtf8 } from 'node:buffer';

import { SutraError } from '../../errors.js';
import type { DiskFile } from '../disk.js';
import { crc32 } from '../format/crc32.js';
import {
  decodeVersion2Header,
  V2_CONCEPT,
  V2_CONCEPT_BYTES,
  V2_EDGE,
  V2_EDGE_BYTES,
  V2_HEADER_BYTES,
  V2_VECTOR,
  V2_VECTOR_BYTES,
  type Version2Header,
} from '../format/version2.js';
import type { StepProgress, Steps } from '../steps.js';
import { FileWindow } from './file-window.js';
import { KeyTable, PairTable } from './key-table.js';

/** Of the interface: content at most 1 MiB, embeddings at most 4,096 numbers. */
const MAX_CONTENT_BYTES = 1 << 20;
const MAX_DIMENSION = 4096;
const WINDOW_BYTES = 2 << 20;
/** Records between two steps, less one: a millisecond or two. */
const STEP_MASK = 4095;

export type BadKind = 'header' | 'concept' | 'association' | 'vector' | 'file';

export interface BadItem {
  readonly kind: BadKind;
  /** Its number within its kind, from 0; null for header and file. */
  readonly index: number | null;
  /** Where in the file it begins. */
  readonly offset: number;
  readonly what: string;
}

/** Told of each bad item; what it throws ends the reading. */
export type OnBad = (item: BadItem) => void;

/** What a file of version 2 holds. Row i of the concepts is slot i of the store that it becomes. */
export class Version2Graph {
  conceptCount = 0;
  /** Four words a concept. */
  readonly keys: Uint32Array;
  readonly strengths: Float32Array;
  readonly confidences: Float32Array;
  readonly contentAts: Float64Array;
  readonly contentLengths: Uint32Array;
  readonly contentCrcs: Uint32Array;
  /** Where a concept's vector begins in the file; 0 for none. */
  readonly vectorAts: Float64Array;
  readonly vectorCrcs: Uint32Array;
  dimension = 0;
  vectorCount = 0;

  edgeCount = 0;
  readonly sources: Uint32Array;
  readonly targets: Uint32Array;
  readonly edgeConfidences: Float32Array;
  /** Records that said again what one before them had said. */
  collapsed = 0;

  constructor(
    readonly header: Version2Header,
    concepts: number,
    edges: number,
  ) {
    this.keys = new Uint32Array(concepts * 4);
    this.strengths = new Float32Array(concepts);
    this.confidences = new Float32Array(concepts);
    this.contentAts = new Float64Array(concepts);
    this.contentLengths = new Uint32Array(concepts);
    this.contentCrcs = new Uint32Array(concepts);
    this.vectorAts = new Float64Array(concepts);
    this.vectorCrcs = new Uint32Array(concepts);
    this.sources = new Uint32Array(edges);
    this.targets = new Uint32Array(edges);
    this.edgeConfidences = new Float32Array(edges);
  }
}

/** `file` is one of version 2 (`isVersion2`). @throws DAMAGED when it has no header, and what `onBad` throws */
export function* readVersion2(file: DiskFile, onBad: OnBad): Steps<Version2Graph> {
  const { size } = file.identity();
  const window = new FileWindow(file, WINDOW_BYTES);
  const head = window.at(0, Math.min(size, V2_HEADER_BYTES));
  const header = decodeVersion2Header(window.bytes.subarray(head, Math.min(size, V2_HEADER_BYTES)));
  if (header === null) {
    throw badToError(file.path, {
      kind: 'header',
      index: null,
      offset: 0,
      what: `the header is cut short: got ${size} bytes, expected ${V2_HEADER_BYTES}`,
    });
  }
  const reading = new Reading(window, header, onBad);
  reading.header();
  // One that lost its place cannot say where anything behind it begins.
  if ((yield* reading.concepts()) && (yield* reading.edges()) && (yield* reading.vectors())) {
    reading.end();
  }
  return reading.graph;
}

/** The error that a bad item is for whoever wants the file whole. */
export function badToError(path: string, { kind, index, offset, what }: BadItem): SutraError {
  const item = index === null ? '' : `${kind} ${index}, `;
  return new SutraError('DAMAGED', `${path}: version 2: ${item}at offset ${offset}: ${what}`, {
    offset,
    hint:
      'Nothing was changed. Restore a good copy of this file, or take what is whole with ' +
      '`sutra migrate --salvage`, which lists the rest and keeps this file.',
  });
}

class Reading {
  readonly graph: Version2Graph;
  private readonly table: KeyTable;
  private readonly key = new Uint32Array(4);
  private position = V2_HEADER_BYTES;

  constructor(
    private readonly window: FileWindow,
    private readonly head: Version2Header,
    private readonly onBad: OnBad,
  ) {
    const room = window.size - V2_HEADER_BYTES;
    const concepts = Math.min(head.concepts, Math.floor(room / V2_CONCEPT_BYTES));
    const edges = Math.min(head.edges, Math.floor(room / V2_EDGE_BYTES));
    this.graph = new Version2Graph(head, concepts, edges);
    this.table = new KeyTable(this.graph.keys, concepts);
  }

  header(): void {
    const { head, window } = this;
    const bad = (offset: number, what: string): void => {
      this.onBad({ kind: 'header', index: null, offset, what });
    };
    if (head.writtenUs > Number.MAX_SAFE_INTEGER) {
      bad(24, `got a time of ${head.writtenUs} microseconds, expected one below 2^53`);
    }
    if (!head.isPadded) bad(32, 'got other bytes than zeros in the last 32 of the header');
    const least =
      V2_HEADER_BYTES +
      head.concepts * V2_CONCEPT_BYTES +
      head.edges * V2_EDGE_BYTES +
      head.vectors * V2_VECTOR_BYTES;
    if (window.size < least) {
      bad(
        12,
        `got ${window.size} bytes, expected at least ${least} for ${head.concepts} concepts, ` +
          `${head.edges} edges and ${head.vectors} vectors: it is cut short, or a count is wrong`,
      );
    }
  }

  /** False: it lost its place. */
  *concepts(): Steps<boolean> {
    const { window, graph, head, table, key } = this;
    const { bytes, view } = window;
    for (let index = 0; index < head.concepts; index++) {
      if ((index & STEP_MASK) === STEP_MASK) yield this.progress();
      const offset = this.position;
      if (!this.hasRoom('concept', index, V2_CONCEPT_BYTES, head.concepts)) return false;
      let at = window.at(offset, V2_CONCEPT_BYTES);
      this.readKey(at);
      const contentLength = view.getUint32(at + V2_CONCEPT.CONTENT_LENGTH, true);
      const strength = view.getFloat32(at + V2_CONCEPT.STRENGTH, true);
      const confidence = view.getFloat32(at + V2_CONCEPT.CONFIDENCE, true);
      const contentAt = offset + V2_CONCEPT_BYTES;
      const rest = window.size - contentAt;
      if (contentLength > rest) {
        this.bad(
          'concept',
          index,
          offset,
          `${this.id()}: got a content of ${contentLength} bytes, but the file ends after ${rest}; ` +
            `${head.concepts - index} concepts and all behind them cannot be read`,
        );
        return false;
      }
      this.position = contentAt + contentLength;
      const problem = conceptProblem(contentLength, strength, confidence);
      if (problem !== null) {
        this.bad('concept', index, offset, `${this.id()}: ${problem}`);
        continue;
      }
      at = window.at(contentAt, contentLength);
      const content = bytes.subarray(at, at + contentLength);
      if (!isUtf8(content)) {
        this.bad('concept', index, offset, `${this.id()}: its content is not UTF-8`);
        continue;
      }
      const crc = contentLength === 0 ? 0 : crc32(content);
      const slot = graph.conceptCount;
      const known = table.find(key[0]!, key[1]!, key[2]!, key[3]!, slot);
      if (known < 0) {
        graph.keys.set(key, slot * 4);
        graph.strengths[slot] = strength;
        graph.confidences[slot] = confidence;
        graph.contentAts[slot] = contentAt;
        graph.contentLengths[slot] = contentLength;
        graph.contentCrcs[slot] = crc;
        graph.conceptCount++;
      } else if (
        graph.strengths[known] === strength &&
        graph.confidences[known] === confidence &&
        graph.contentLengths[known] === contentLength &&
        graph.contentCrcs[known] === crc
      ) {
        graph.collapsed++;
      } else {
        const what = `${this.id()}: the same id came before, with something else`;
        this.bad('concept', index, offset, what);
      }
    }
    return true;
  }

  *edges(): Steps<boolean> {
    const { window, graph, head } = this;
    const { view } = window;
    const { sources, targets, edgeConfidences } = graph;
    const pairs = new PairTable(sources, targets, sources.length);
    for (let index = 0; index < head.edges; index++) {
      if ((index & STEP_MASK) === STEP_MASK) yield this.progress();
      const offset = this.position;
      if (!this.hasRoom('association', index, V2_EDGE_BYTES, head.edges)) return false;
      this.position += V2_EDGE_BYTES;
      const at = window.at(offset, V2_EDGE_BYTES);
      const confidence = view.getFloat32(at + V2_EDGE.CONFIDENCE, true);
      const source = this.slotAt(at);
      if (source < 0) {
        this.bad('association', index, offset, `from ${this.id()}, which is no concept`);
        continue;
      }
      const target = this.slotAt(at + V2_EDGE.TARGET);
      if (target < 0) {
        this.bad('association', index, offset, `to ${this.id()}, which is no concept`);
        continue;
      }
      if (!isConfidence(confidence)) {
        const what = `got confidence ${confidence}, expected a number from 0 to 1`;
        this.bad('association', index, offset, what);
        continue;
      }
      const known = pairs.find(source, target, graph.edgeCount);
      if (known >= 0) {
        edgeConfidences[known] = confidence;
        graph.collapsed++;
        continue;
      }
      sources[graph.edgeCount] = source;
      targets[graph.edgeCount] = target;
      edgeConfidences[graph.edgeCount] = confidence;
      graph.edgeCount++;
    }
    return true;
  }

  *vectors(): Steps<boolean> {
    const { window, graph, head } = this;
    const { bytes, view } = window;
    for (let index = 0; index < head.vectors; index++) {
      if ((index & STEP_MASK) === STEP_MASK) yield this.progress();
      const offset = this.position;
      if (!this.hasRoom('vector', index, V2_VECTOR_BYTES, head.vectors)) return false;
      let at = window.at(offset, V2_VECTOR_BYTES);
      const slot = this.slotAt(at);
      const id = this.id();
      const dimension = view.getUint32(at + V2_VECTOR.DIMENSION, true);
      const vectorAt = offset + V2_VECTOR_BYTES;
      const byteLength = dimension * 4;
      const rest = window.size - vectorAt;
      if (byteLength > rest) {
        this.bad(
          'vector',
          index,
          offset,
          `of ${id}: got ${dimension} dimensions, but the file ends after ${rest} bytes; ` +
            `${head.vectors - index} vectors cannot be read`,
        );
        return false;
      }
      this.position = vectorAt + byteLength;
      const expected = graph.dimension;
      if (slot < 0) {
        this.bad('vector', index, offset, `of ${id}, which is no concept`);
        continue;
      }
      if (dimension < 1 || dimension > MAX_DIMENSION) {
        const what = `of ${id}: got ${dimension} dimensions, expected 1 to ${MAX_DIMENSION}`;
        this.bad('vector', index, offset, what);
        continue;
      }
      if (expected !== 0 && dimension !== expected) {
        const what = `of ${id}: got ${dimension} dimensions, but those before have ${expected}`;
        this.bad('vector', index, offset, what);
        continue;
      }
      at = window.at(vectorAt, byteLength);
      const problem = vectorProblem(view, at, dimension);
      if (problem !== null) {
        this.bad('vector', index, offset, `of ${id}: ${problem}`);
        continue;
      }
      const crc = crc32(bytes.subarray(at, at + byteLength));
      if (graph.vectorAts[slot] === 0) {
        graph.dimension = dimension;
        graph.vectorAts[slot] = vectorAt;
        graph.vectorCrcs[slot] = crc;
        graph.vectorCount++;
      } else if (graph.vectorCrcs[slot] === crc) {
        graph.collapsed++;
      } else {
        this.bad('vector', index, offset, `of ${id}: the concept had another vector before`);
      }
    }
    return true;
  }

  end(): void {
    const { window, position } = this;
    if (position === window.size) return;
    const what = `${window.size - position} bytes behind the end of what the header counts`;
    this.onBad({ kind: 'file', index: null, offset: position, what });
  }

  private progress(): StepProgress {
    const { position, window } = this;
    return { phase: 'reading the old file', unit: 'bytes', done: position, total: window.size };
  }

  private bad(kind: BadKind, index: number, offset: number, what: string): void {
    this.onBad({ kind, index, offset, what });
  }

  /** Whether the fixed part of an item lies within the file. */
  private hasRoom(kind: BadKind, index: number, length: number, count: number): boolean {
    const { window, position } = this;
    if (position + length <= window.size) return true;
    const what =
      `the file ends at ${window.size}, expected ${length} bytes here: ` +
      `${count - index} of ${count} ${kind}s and all behind them are missing`;
    this.onBad({ kind, index, offset: position, what });
    return false;
  }

  /** Into `key`: 16 bytes, the first one most significant. */
  private readKey(at: number): void {
    const { key } = this;
    const { view } = this.window;
    for (let word = 0; word < 4; word++) key[word] = view.getUint32(at + 4 * word, false);
  }

  private slotAt(at: number): number {
    const { key, table } = this;
    this.readKey(at);
    return table.find(key[0]!, key[1]!, key[2]!, key[3]!);
  }

  private id(): string {
    return Array.from(this.key, (word) => word.toString(16).padStart(8, '0')).join('');
  }
}

function isConfidence(value: number): boolean {
  return value >= 0 && value <= 1;
}

function conceptProblem(length: number, strength: number, confidence: number): string | null {
  if (length > MAX_CONTENT_BYTES) {
    return `got a content of ${length} bytes, expected at most ${MAX_CONTENT_BYTES}`;
  }
  if (!(Number.isFinite(strength) && strength >= 0)) {
    return `got strength ${strength}, expected a finite number of at least 0`;
  }
  if (!isConfidence(confidence)) {
    return `got confidence ${confidence}, expected a number from 0 to 1`;
  }
  return null;
}

function vectorProblem(view: DataView, at: number, dimension: number): string | null {
  let isZero = true;
  for (let i = 0; i < dimension; i++) {
    const value = view.getFloat32(at + 4 * i, true);
    if (!Number.isFinite(value)) return `got ${value} at ${i}, expected finite numbers`;
    if (value !== 0) isZero = false;
  }
  return isZero ? 'got zeros only, which have no direction' : null;
}
