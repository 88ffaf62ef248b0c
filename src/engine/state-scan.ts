/**
 * A cursor over a whole state that stands still: its concepts in slot order, then its associations by source slot, target slot
 * and type, so that importing what a scan gave and scanning that gives the same again. Each `step` does a bounded piece of
 * work, so that whoever drives it may give way in between; only a row that the log touched is merged in one piece.
 *
 * Invariant: nothing of the snapshot is held between steps but positions. A released snapshot has empty columns, so a step
 * after that fails and reads nothing; `release` ends the scan's own claim.
 */

import { SutraError } from '../errors.js';
import { MergedRows } from './merged-rows.js';
import type { Levels } from './levels.js';
import {
  SCAN_ASSOCIATIONS,
  SCAN_CONCEPTS,
  encodeScanToken,
  type ScanIdentity,
  type ScanPosition,
} from './scan-token.js';
import { ConceptRecord, EdgeRow } from './snapshot/snapshot-source.js';

/** What a step came upon. */
export const STEP_NOTHING = 0;
export const STEP_CONCEPT = 1;
export const STEP_ASSOCIATION = 2;
export const STEP_END = 3;

/** Associations of the snapshot are verified so many at a time. */
const TOUCH = 512;

export interface ScannedState extends ScanIdentity {
  readonly conceptCount: number;
  readonly edgeCount: number;
}

export class StateScan {
  /** Of the concept a step came upon. */
  readonly record = new ConceptRecord();
  slot = 0;
  /** Of the association a step came upon: slots, and the rest. */
  source = 0;
  target = 0;
  type = 0;
  confidence = 0;
  createdUs = 0;

  private readonly rows: MergedRows;
  private readonly row = new EdgeRow();
  /** The slot whose row `row` holds, or -1. */
  private rowSlot = -1;
  private readonly kinds: number;
  private phase: number;
  private nextSlot: number;
  private nextEdge: number;
  private touchedTo = -1;
  private releaseClaim: ((finished: boolean) => void) | null;

  /** `levels` has no frozen generation. `release` gives the claim to it back. */
  constructor(
    private readonly levels: Levels,
    readonly state: ScannedState,
    from: ScanPosition,
    release: (finished: boolean) => void,
  ) {
    this.rows = new MergedRows(levels);
    this.kinds = from.kinds;
    this.phase = from.phase;
    this.nextSlot = from.slot;
    this.nextEdge = from.edge;
    this.releaseClaim = release;
  }

  /** Gives the state back; `finished`: nobody will come back for the rest. */
  release(finished: boolean): void {
    const release = this.releaseClaim;
    this.releaseClaim = null;
    release?.(finished);
  }

  /** What the next step begins with, for a scan that goes on from there. */
  get token(): string {
    return encodeScanToken(this.state, {
      kinds: this.kinds,
      phase: this.phase,
      slot: this.nextSlot,
      edge: this.nextEdge,
    });
  }

  /** Whether a step would find the end; may be false when only free slots are left. */
  get isAtEnd(): boolean {
    return (
      this.nextSlot >= this.state.slotCount &&
      (this.phase === SCAN_ASSOCIATIONS || (this.kinds & SCAN_ASSOCIATIONS) === 0)
    );
  }

  /** One slot or one association further. @throws DAMAGED */
  step(): number {
    if (this.nextSlot >= this.state.slotCount) {
      if (this.isAtEnd) return STEP_END;
      this.phase = SCAN_ASSOCIATIONS;
      this.nextSlot = 0;
      this.nextEdge = 0;
      return STEP_NOTHING;
    }
    if (this.phase === SCAN_CONCEPTS) {
      const slot = this.nextSlot++;
      if (!this.rows.readConcept(slot, this.record)) return STEP_NOTHING;
      this.slot = slot;
      return STEP_CONCEPT;
    }
    if (this.isUntouched(this.nextSlot) ? this.fromSnapshot() : this.fromRow()) {
      this.source = this.nextSlot;
      this.nextEdge++;
      if (this.target >= this.state.slotCount || !this.levels.isLive(this.target)) {
        throw new SutraError(
          'DAMAGED',
          `association ${this.nextEdge - 1} of slot ${this.source} leads to slot ${this.target}, ` +
            'expected a live one',
        );
      }
      return STEP_ASSOCIATION;
    }
    this.nextSlot++;
    this.nextEdge = 0;
    this.touchedTo = -1;
    return STEP_NOTHING;
  }

  /** Of the concept a step came upon. @throws DAMAGED */
  content(): string {
    const bytes = this.rows.readContent(this.slot);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  }

  /** Of the concept a step came upon, which has one. @throws DAMAGED */
  embedding(): Float32Array {
    const vector = new Float32Array(this.levels.dimension);
    new Uint8Array(vector.buffer).set(this.rows.readVector(this.slot));
    return vector;
  }

  /** A live slot's id as it was learned. */
  idOf(slot: number): string {
    return this.levels.id(slot);
  }

  /** Whether the snapshot alone says what associations lead from a slot. */
  private isUntouched(slot: number): boolean {
    const { active } = this.levels;
    return active.hiddenCount === 0 && !active.overridesAt(slot) && active.outHead(slot) === 0;
  }

  /** Reads the next association of a row in place: a row may have a million. False at its end. */
  private fromSnapshot(): boolean {
    const { base } = this.levels;
    const slot = this.nextSlot;
    if (base === null || slot >= base.slotCount) return false;
    const at = base.outStart(slot) + this.nextEdge;
    const end = base.outEnd(slot);
    if (at >= end) return false;
    if (at >= this.touchedTo) {
      this.touchedTo = Math.min(at + TOUCH, end);
      base.touchOut(at, this.touchedTo);
    }
    this.target = base.outTargets[at]!;
    this.type = base.outTypes[at]!;
    this.confidence = base.outConfidences[at]!;
    this.createdUs = base.outCreatedUs[at]!;
    return true;
  }

  private fromRow(): boolean {
    const { row } = this;
    if (this.rowSlot !== this.nextSlot) {
      this.rows.outEdges(this.nextSlot, row);
      this.rowSlot = this.nextSlot;
    }
    const at = this.nextEdge;
    if (at >= row.length) return false;
    this.target = row.slots[at]!;
    this.type = row.types[at]!;
    this.confidence = row.confidences[at]!;
    this.createdUs = row.createdUs[at]!;
    return true;
  }
}
