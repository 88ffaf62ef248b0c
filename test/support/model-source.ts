/**
 * A state in plain arrays as a source for the snapshot writer, random states of every awkward shape, and one description of
 * a state, made from the model and from an open snapshot alike, so that a round trip is one comparison.
 */

import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

import { SutraError } from '#sutra/errors';
import { Digest } from '#sutra/engine/format/digest';
import type { Snapshot } from '#sutra/engine/snapshot/snapshot';
import {
  ConceptRecord,
  type EdgeRow,
  type SnapshotSource,
} from '#sutra/engine/snapshot/snapshot-source';

export type Key = readonly [number, number, number, number];

export interface ModelConcept {
  key: Key;
  name: string | null;
  content: Buffer;
  strength: number;
  confidence: number;
  createdUs: number;
  updatedUs: number;
  vector: Float32Array | null;
}

export interface ModelEdge {
  source: number;
  target: number;
  type: number;
  confidence: number;
  createdUs: number;
}

export interface ModelState {
  readonly dimension: number;
  readonly slots: readonly (ModelConcept | null)[];
  readonly edges: readonly ModelEdge[];
  readonly freeSlots: readonly number[];
}

const key = (concept: ModelConcept): string =>
  concept.key.map((word) => word.toString(16).padStart(8, '0')).join('');

function vectorBytes(vector: Float32Array): Uint8Array {
  return new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
}

function bySlotAndType(slotOf: (edge: ModelEdge) => number) {
  return (a: ModelEdge, b: ModelEdge): number => slotOf(a) - slotOf(b) || a.type - b.type;
}

/** Everything is computed from the model by the plainest means; tests overwrite fields to make it lie. */
export class ModelSource implements SnapshotSource {
  uuid: Uint8Array = Uint8Array.from({ length: 16 }, (_, i) => i * 17);
  sequence = 2 ** 40 + 7;
  epoch = 3;
  digest = new Digest();
  dimension: number;
  slotCount: number;
  conceptCount: number;
  edgeCount: number;
  vectorCount: number;
  freeSlots: Uint32Array;
  readonly outRows: ModelEdge[][];
  readonly inRows: ModelEdge[][];

  constructor(readonly state: ModelState) {
    const { slots, edges } = state;
    const concepts = slots.filter((concept) => concept !== null);
    this.dimension = state.dimension;
    this.slotCount = slots.length;
    this.conceptCount = concepts.length;
    this.edgeCount = edges.length;
    this.vectorCount = concepts.filter((concept) => concept.vector !== null).length;
    this.freeSlots = Uint32Array.from(state.freeSlots);
    this.outRows = slots.map(() => []);
    this.inRows = slots.map(() => []);
    for (const edge of edges) {
      this.outRows[edge.source]?.push(edge);
      this.inRows[edge.target]?.push(edge);
    }
    for (const row of this.outRows) row.sort(bySlotAndType((edge) => edge.target));
    for (const row of this.inRows) row.sort(bySlotAndType((edge) => edge.source));
    this.addUp();
  }

  concept(slot: number): ModelConcept {
    const concept = this.state.slots[slot];
    if (concept === null || concept === undefined) throw new Error(`slot ${slot} is free`);
    return concept;
  }

  readConcept(slot: number, out: ConceptRecord): boolean {
    const concept = this.state.slots[slot];
    if (concept === null || concept === undefined) return false;
    [out.k0, out.k1, out.k2, out.k3] = concept.key;
    out.strength = concept.strength;
    out.confidence = concept.confidence;
    out.createdUs = concept.createdUs;
    out.updatedUs = concept.updatedUs;
    out.name = concept.name === null ? null : Buffer.from(concept.name);
    out.contentLength = concept.content.length;
    out.contentCrc = crc32(concept.content);
    out.hasVector = concept.vector !== null;
    out.vectorCrc = concept.vector === null ? 0 : crc32(vectorBytes(concept.vector));
    return true;
  }

  readKey(slot: number, out: Uint32Array): boolean {
    const concept = this.state.slots[slot];
    if (concept === null || concept === undefined) return false;
    out.set(concept.key);
    return true;
  }

  readContent(slot: number): Uint8Array {
    return this.concept(slot).content;
  }

  readVector(slot: number): Uint8Array {
    return vectorBytes(this.concept(slot).vector ?? new Float32Array(0));
  }

  outEdges(slot: number, row: EdgeRow): void {
    fill(row, this.outRows[slot] ?? [], (edge) => edge.target);
  }

  inEdges(slot: number, row: EdgeRow): void {
    fill(row, this.inRows[slot] ?? [], (edge) => edge.source);
  }

  private addUp(): void {
    const record = new ConceptRecord();
    for (let slot = 0; slot < this.slotCount; slot++) {
      if (!this.readConcept(slot, record)) continue;
      const { k0, k1, k2, k3, name } = record;
      this.digest.concept(
        1,
        k0,
        k1,
        k2,
        k3,
        name === null ? 0 : name.length,
        name === null ? 0 : crc32(name),
        record.contentLength,
        record.contentCrc,
        record.hasVector ? this.dimension : 0,
        record.vectorCrc,
        record.strength,
        record.confidence,
        record.createdUs,
        record.updatedUs,
      );
    }
    for (const { source, target, type, confidence, createdUs } of this.state.edges) {
      const from = this.state.slots[source]?.key;
      const to = this.state.slots[target]?.key;
      if (from === undefined || to === undefined) throw new Error('an edge to a free slot');
      this.digest.association(1, ...from, ...to, type, confidence, createdUs);
    }
  }
}

function fill(row: EdgeRow, edges: readonly ModelEdge[], otherOf: (edge: ModelEdge) => number) {
  row.reserve(edges.length);
  row.length = edges.length;
  edges.forEach((edge, i) => {
    row.slots[i] = otherOf(edge);
    row.types[i] = edge.type;
    row.confidences[i] = edge.confidence;
    row.createdUs[i] = edge.createdUs;
  });
}

/** mulberry32: a small seeded generator of numbers in [0, 1). */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export interface RandomShape {
  readonly slots: number;
  readonly edges: number;
  readonly dimension?: number;
  /** Share of slots that are free. */
  readonly free?: number;
  /** Edges of one concept to and from many. */
  readonly supernode?: number;
  /** Adds a content of 1 MiB. */
  readonly hasLargeContent?: boolean;
}

const NAMES = [
  'a',
  'ünïcödé',
  '知識のグラフ',
  '🕸️ web',
  'x'.repeat(512),
  'tab\tand\nline',
  'é'.repeat(256),
];

export function randomState(seed: number, shape: RandomShape): ModelState {
  const random = seededRandom(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const word = (): number => below(2 ** 32);
  const time = (): number => 1_700_000_000_000_000 + below(2 ** 45);
  const dimension = shape.dimension ?? 0;

  const slots: (ModelConcept | null)[] = [];
  const freeSlots: number[] = [];
  for (let slot = 0; slot < shape.slots; slot++) {
    if (random() < (shape.free ?? 0)) {
      slots.push(null);
      freeSlots.push(slot);
      continue;
    }
    const kind = below(4);
    const base = NAMES[below(NAMES.length)] ?? '';
    slots.push({
      // Keys whose second half is zero, keys that differ in one word only, and ordinary ones.
      key:
        kind === 0
          ? [word(), slot, 0, 0]
          : kind === 1
            ? [0, 0, 0, slot]
            : [word(), word(), word(), slot],
      name: kind === 2 ? `${base}${slot}`.slice(-100) : kind === 3 ? base : null,
      content: Buffer.from(['', 'short', '内容', 'y'.repeat(below(400))][below(4)] ?? ''),
      strength: Math.fround(random() * 10),
      confidence: Math.fround(random()),
      createdUs: time(),
      updatedUs: time(),
      vector:
        dimension > 0 && random() < 0.4
          ? Float32Array.from({ length: dimension }, () => random() - 0.5)
          : null,
    });
  }
  const live = slots.flatMap((concept, slot) => (concept === null ? [] : [slot]));
  const first = slots[live[0] ?? -1];
  if (shape.hasLargeContent === true && first) first.content = Buffer.alloc(2 ** 20, 'large ');

  // Free slots are reused in an order of their own.
  for (let i = freeSlots.length - 1; i > 0; i--) {
    const j = below(i + 1);
    [freeSlots[i], freeSlots[j]] = [freeSlots[j] ?? 0, freeSlots[i] ?? 0];
  }

  const edges = new Map<string, ModelEdge>();
  const link = (source: number, target: number, type: number): void => {
    const confidence = Math.fround(random());
    edges.set(`${source} ${target} ${type}`, {
      source,
      target,
      type,
      confidence,
      createdUs: time(),
    });
  };
  const any = (): number => live[below(live.length)] ?? 0;
  if (live.length > 0) {
    for (let i = 0; i < shape.edges; i++) {
      const source = any();
      const kind = below(5);
      if (kind === 0) link(source, source, below(3));
      else if (kind === 1) for (const type of [0, 4, 65535]) link(source, any(), type);
      else link(source, any(), below(65536));
    }
    const hub = any();
    for (let i = 0; i < (shape.supernode ?? 0); i++) {
      link(hub, any(), i % 7);
      link(any(), hub, i % 7);
    }
  }
  return { dimension, slots, edges: [...edges.values()], freeSlots };
}

const digestOf = (bytes: Uint8Array): string =>
  bytes.length < 40
    ? Buffer.from(bytes).toString('hex')
    : createHash('md5').update(bytes).digest('hex');

/** All there is to know of a state, as lines. */
export function describeModel(source: ModelSource): string[] {
  const { state } = source;
  const lines = [
    headLine(source, source.digest.toString()),
    `free ${[...source.freeSlots].join(' ')}`,
  ];
  state.slots.forEach((concept, slot) => {
    if (concept === null) {
      lines.push(`${slot} free`);
      return;
    }
    const vector = concept.vector === null ? '-' : digestOf(vectorBytes(concept.vector));
    lines.push(
      `${slot} ${key(concept)} ${concept.name ?? '-'} ${concept.strength} ${concept.confidence} ` +
        `${concept.createdUs} ${concept.updatedUs} ${digestOf(concept.content)} ${vector}`,
      ...(source.outRows[slot] ?? []).map(
        (edge) => `> ${edge.target} ${edge.type} ${edge.confidence} ${edge.createdUs} found`,
      ),
      ...(source.inRows[slot] ?? []).map(
        (edge) => `< ${edge.source} ${edge.type} ${edge.confidence}`,
      ),
    );
  });
  return lines;
}

/** The same of a snapshot, read through every accessor; a value that does not fit together shows up as a line that differs. */
export function describeSnapshot(snapshot: Snapshot): string[] {
  const { slotCount } = snapshot;
  const lines = [
    headLine(snapshot, snapshot.digest.toString()),
    `free ${[...snapshot.freeSlots()].join(' ')}`,
  ];
  const record = new ConceptRecord();
  const words = new Uint32Array(6);
  const vector = new Float32Array(snapshot.dimension);
  for (let slot = 0; slot < slotCount; slot++) {
    if (!snapshot.readConcept(slot, record)) {
      lines.push(`${slot} free${snapshot.isLive(slot) ? ' but live' : ''}`);
      continue;
    }
    snapshot.readKey(slot, words, 1);
    const hex = Array.from(words.subarray(1, 5), (word) => word.toString(16).padStart(8, '0')).join(
      '',
    );
    const name = snapshot.name(slot);
    const hasVector = snapshot.readVector(slot, vector);
    lines.push(
      `${slot} ${hex} ${name === null ? '-' : Buffer.from(name).toString()} ` +
        `${snapshot.strength(slot)} ${snapshot.confidence(slot)} ` +
        `${snapshot.createdUs(slot)} ${snapshot.updatedUs(slot)} ` +
        `${digestOf(snapshot.readContent(slot))} ${hasVector ? digestOf(vectorBytes(vector)) : '-'}`,
      ...agreement(snapshot, slot, record, words),
    );
    const { outTargets, outTypes, outConfidences, outCreatedUs } = snapshot;
    const outEnd = snapshot.outEnd(slot);
    const outStart = snapshot.outStart(slot);
    snapshot.touchOut(outStart, outEnd);
    for (let at = outStart; at < outEnd; at++) {
      const target = checkSlot(outTargets[at], slotCount);
      const type = outTypes[at] ?? -1;
      const found = snapshot.findEdge(slot, target, type) === at ? 'found' : 'not found';
      lines.push(`> ${target} ${type} ${outConfidences[at]} ${outCreatedUs[at]} ${found}`);
    }
    const { inSources, inTypes, inConfidences } = snapshot;
    const inEnd = snapshot.inEnd(slot);
    const inStart = snapshot.inStart(slot);
    snapshot.touchIn(inStart, inEnd);
    for (let at = inStart; at < inEnd; at++) {
      lines.push(`< ${checkSlot(inSources[at], slotCount)} ${inTypes[at]} ${inConfidences[at]}`);
    }
  }
  return lines;
}

/** Lines only where two ways to ask the same thing differ. */
function agreement(
  snapshot: Snapshot,
  slot: number,
  record: ConceptRecord,
  words: Uint32Array,
): string[] {
  const { k0, k1, k2, k3 } = record;
  const name = snapshot.name(slot);
  // What is read ahead is never an answer; that it changes nothing is what is asked here.
  snapshot.touchConcept(k0, k1, k2, k3);
  snapshot.touchAdjacency(k0, k1, k2, k3);
  snapshot.touchIds([slot, slot + 1], 0, 2);
  const checks: Record<string, boolean> = {
    findKey: snapshot.findKey(k0, k1, k2, k3) === slot,
    readKey: words[1] === k0 && words[2] === k1 && words[3] === k2 && words[4] === k3,
    readKeyBounds: words[0] === 0 && words[5] === 0,
    keyWord: [k0, k1, k2, k3].every((word, i) => snapshot.keyWord(slot, i) === word),
    isLive: snapshot.isLive(slot),
    strength: Object.is(snapshot.strength(slot), record.strength),
    confidence: Object.is(snapshot.confidence(slot), record.confidence),
    createdUs: Object.is(snapshot.createdUs(slot), record.createdUs),
    updatedUs: Object.is(snapshot.updatedUs(slot), record.updatedUs),
    contentLength: snapshot.contentLength(slot) === record.contentLength,
    contentCrc: snapshot.contentCrc(slot) === record.contentCrc,
    text: snapshot.readText(slot) === snapshot.readContent(slot).toString('utf8'),
    contentAhead: snapshot.readContent(slot).equals(snapshot.readContentAhead(slot)),
    hasVector: snapshot.hasVector(slot) === record.hasVector,
    vectorCrc: !record.hasVector || snapshot.vectorCrc(slot) === record.vectorCrc,
    vectorAhead:
      !record.hasVector || crc32(snapshot.vectorBytes(slot)) === snapshot.vectorCrc(slot),
    hasName: snapshot.hasName(slot) === (name !== null),
    name: (name === null) === (record.name === null) && name?.length === record.name?.length,
  };
  return Object.entries(checks).flatMap(([what, holds]) => (holds ? [] : [`${what} disagrees`]));
}

function headLine(
  state: Omit<SnapshotSource, 'digest' | 'freeSlots' | `read${string}` | `${'out' | 'in'}Edges`>,
  digest: string,
): string {
  const { uuid, sequence, epoch, dimension, slotCount, conceptCount, edgeCount, vectorCount } =
    state;
  const numbers = [sequence, epoch, dimension, slotCount, conceptCount, edgeCount, vectorCount];
  return `${Buffer.from(uuid).toString('hex')} ${numbers.join(' ')} ${digest}`;
}

/** What a loop over the arrays must do before it uses a value as a slot. */
function checkSlot(slot: number | undefined, slotCount: number): number {
  if (slot === undefined || slot >= slotCount) {
    throw new SutraError('DAMAGED', `got slot ${slot}, expected below ${slotCount}`);
  }
  return slot;
}
