/** An open snapshot as a source for the writer: what a checkpoint without anything new would write. */

import { SutraError } from '#sutra/errors';
import type { Digest } from '#sutra/engine/format/digest';
import type { Snapshot } from '#sutra/engine/snapshot/snapshot';
import type {
  ConceptRecord,
  EdgeRow,
  SnapshotSource,
} from '#sutra/engine/snapshot/snapshot-source';

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

  readKey(slot: number, out: Uint32Array): boolean {
    if (!this.snapshot.isLive(slot)) return false;
    this.snapshot.readKey(slot, out, 0);
    return true;
  }

  readContent(slot: number): Uint8Array {
    return this.snapshot.readContentAhead(slot);
  }

  readVector(slot: number): Uint8Array {
    return this.snapshot.vectorBytes(slot);
  }

  outEdges(slot: number, row: EdgeRow): void {
    readOutRow(this.snapshot, slot, row);
  }

  inEdges(slot: number, row: EdgeRow): void {
    readInRow(this.snapshot, slot, row);
  }
}

/** Replaces `row` with a slot's outgoing associations. */
function readOutRow(snapshot: Snapshot, slot: number, row: EdgeRow): void {
  const from = snapshot.outStart(slot);
  const to = snapshot.outEnd(slot);
  snapshot.touchOut(from, to);
  row.reserve(to - from);
  row.length = to - from;
  row.slots.set(checked(snapshot, snapshot.outTargets.subarray(from, to)));
  row.types.set(snapshot.outTypes.subarray(from, to));
  row.confidences.set(snapshot.outConfidences.subarray(from, to));
  row.createdUs.set(snapshot.outCreatedUs.subarray(from, to));
}

/** Replaces `row` with a slot's incoming associations; their creation times are in the outgoing rows only, and here 0. */
function readInRow(snapshot: Snapshot, slot: number, row: EdgeRow): void {
  const from = snapshot.inStart(slot);
  const to = snapshot.inEnd(slot);
  snapshot.touchIn(from, to);
  row.reserve(to - from);
  row.length = to - from;
  row.slots.set(checked(snapshot, snapshot.inSources.subarray(from, to)));
  row.types.set(snapshot.inTypes.subarray(from, to));
  row.confidences.set(snapshot.inConfidences.subarray(from, to));
  row.createdUs.fill(0, 0, to - from);
}

/** What everyone does who uses a value of these arrays as a slot. */
function checked(snapshot: Snapshot, slots: Uint32Array): Uint32Array {
  const wild = slots.find((slot) => slot >= snapshot.slotCount);
  if (wild === undefined) return slots;
  throw new SutraError(
    'DAMAGED',
    `${snapshot.path}: an association leads to slot ${wild}, expected below ${snapshot.slotCount}`,
  );
}
