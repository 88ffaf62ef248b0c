/**
 * An open snapshot as a source for the writer: what a checkpoint without anything new would write, and what a copy, a
 * restore or a check can start from.
 */

import { SutraError } from '../../errors.js';
import type { Digest } from '../format/digest.js';
import type { Snapshot } from './snapshot.js';
import type { ConceptRecord, EdgeRow, SnapshotSource } from './snapshot-source.js';

export class StoredSource implements SnapshotSource {
  readonly uuid: Uint8Array;
  readonly sequence: number;
  readonly epoch: number;
  readonly digest: Digest;
  readonly dimension: number;
  readonly slotCount: number;
  readonly conceptCount: number;
  readonly edgeCount: number;
  readonly vectorCount: number;
  readonly freeSlots: Uint32Array;

  /** The snapshot must be held for as long as this is used. */
  constructor(private readonly snapshot: Snapshot) {
    this.uuid = snapshot.uuid;
    this.sequence = snapshot.sequence;
    this.epoch = snapshot.epoch;
    this.digest = snapshot.digest;
    this.dimension = snapshot.dimension;
    this.slotCount = snapshot.slotCount;
    this.conceptCount = snapshot.conceptCount;
    this.edgeCount = snapshot.edgeCount;
    this.vectorCount = snapshot.vectorCount;
    this.freeSlots = snapshot.freeSlots();
  }

  readConcept(slot: number, out: ConceptRecord): boolean {
    return this.snapshot.readConcept(slot, out);
  }

  readContent(slot: number): Uint8Array {
    return this.snapshot.readContentAhead(slot);
  }

  readVector(slot: number): Uint8Array {
    return this.snapshot.readVectorAhead(slot);
  }

  outEdges(slot: number, row: EdgeRow): void {
    readOutRow(this.snapshot, slot, row);
  }

  inEdges(slot: number, row: EdgeRow): void {
    readInRow(this.snapshot, slot, row);
  }
}

/** Replaces `row` with a slot's outgoing associations, checked to end at slots of the snapshot. */
export function readOutRow(snapshot: Snapshot, slot: number, row: EdgeRow): void {
  const from = snapshot.outStart(slot);
  const to = snapshot.outEnd(slot);
  snapshot.touchOut(from, to);
  row.reserve(to - from);
  row.length = to - from;
  const { outTargets, outTypes, outConfidences, outCreatedUs, slotCount } = snapshot;
  const { slots, types, confidences, createdUs } = row;
  for (let at = from, i = 0; at < to; at++, i++) {
    const target = outTargets[at]!;
    if (target >= slotCount) throw wildSlot(snapshot, at, target);
    slots[i] = target;
    types[i] = outTypes[at]!;
    confidences[i] = outConfidences[at]!;
    createdUs[i] = outCreatedUs[at]!;
  }
}

/** Replaces `row` with a slot's incoming associations; their creation times are in the outgoing rows only, and here 0. */
export function readInRow(snapshot: Snapshot, slot: number, row: EdgeRow): void {
  const from = snapshot.inStart(slot);
  const to = snapshot.inEnd(slot);
  snapshot.touchIn(from, to);
  row.reserve(to - from);
  row.length = to - from;
  const { inSources, inTypes, inConfidences, slotCount } = snapshot;
  const { slots, types, confidences, createdUs } = row;
  for (let at = from, i = 0; at < to; at++, i++) {
    const source = inSources[at]!;
    if (source >= slotCount) throw wildSlot(snapshot, at, source);
    slots[i] = source;
    types[i] = inTypes[at]!;
    confidences[i] = inConfidences[at]!;
    createdUs[i] = 0;
  }
}

function wildSlot(snapshot: Snapshot, position: number, slot: number): SutraError {
  return new SutraError(
    'DAMAGED',
    `${snapshot.path}: association ${position} leads to slot ${slot}, expected below ${snapshot.slotCount}`,
  );
}
