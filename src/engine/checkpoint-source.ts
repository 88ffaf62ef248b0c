/**
 * A recovered state as a snapshot source: its merged rows, and what the header says of them. The writer recomputes the digest
 * over all of it, so a wrong merge cannot pass.
 */

import type { Digest } from './format/digest.js';
import { MergedRows } from './merged-rows.js';
import type { SnapshotSource } from './snapshot/snapshot-source.js';
import type { State } from './state.js';

export class CheckpointSource extends MergedRows implements SnapshotSource {
  readonly sequence: number;
  readonly digest: Digest;
  readonly dimension: number;
  readonly slotCount: number;
  readonly conceptCount: number;
  readonly edgeCount: number;
  readonly vectorCount: number;
  readonly freeSlots: Uint32Array;

  /** `state` has no frozen generation: it was recovered, not served. */
  constructor(
    state: State,
    readonly uuid: Uint8Array,
    readonly epoch: number,
  ) {
    super(state.levels);
    this.sequence = state.sequence;
    this.digest = state.digest;
    this.dimension = state.levels.dimension;
    this.slotCount = state.slotCount;
    this.conceptCount = state.conceptCount;
    this.edgeCount = state.edgeCount;
    this.vectorCount = state.vectorCount;
    this.freeSlots = state.freeSlots();
  }
}
