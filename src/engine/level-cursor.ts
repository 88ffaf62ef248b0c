/**
 * The adjacency cursor over the merged levels: a slot's associations from the active generation, then the frozen one, then
 * the snapshot, leaving out what an upper level hides, overrides or deletes. Work per `fill` is bounded by the batch plus
 * a bounded number of skipped entries. It may be held across ticks: when a checkpoint swaps levels meanwhile it starts
 * the slot over, so an association may then come twice, never not at all.
 */

import { SutraError } from '../errors.js';
import { IN, OUT, type AdjacencyCursor, type TypeMask } from './graph/graph-view.js';
import type { Levels } from './levels.js';
import type { Generation } from './memtable/generation.js';
import type { Snapshot } from './snapshot/snapshot.js';

const BATCH = 512;

/** Phases in order; each OUT is followed by its IN, so the lowest bit tells the direction. */
const ACTIVE_OUT = 0;
const FROZEN_OUT = 2;
const BASE_OUT = 4;
const DONE = 6;

export class LevelCursor implements AdjacencyCursor {
  readonly slots = new Uint32Array(BATCH);
  readonly types = new Uint16Array(BATCH);
  readonly confidences = new Float32Array(BATCH);
  readonly directions = new Uint8Array(BATCH);

  private slot = 0;
  private direction = 0;
  private mask: TypeMask = null;
  private phase = DONE;
  /** Next list row, or next snapshot position. */
  private at = 0;
  /** End of the snapshot row. */
  private end = 0;
  private swaps = -1;
  private count = 0;

  constructor(private readonly levels: Levels) {}

  start(slot: number, direction: number, types: TypeMask): void {
    this.slot = slot;
    this.direction = direction;
    this.mask = types;
    this.begin();
  }

  private begin(): void {
    this.swaps = this.levels.swaps;
    this.enter(ACTIVE_OUT);
  }

  /** Enters the next phase that has something to say, from `phase` on. */
  private enter(phase: number): void {
    const { levels, slot, direction } = this;
    const { active, frozen, base } = levels;
    for (; phase < DONE; phase++) {
      if (phase === FROZEN_OUT && active.hides(slot)) break;
      if (phase === BASE_OUT && frozen !== null && frozen.hides(slot)) break;
      if ((direction & ((phase & 1) === 0 ? OUT : IN)) === 0) continue;
      if (phase >= BASE_OUT) {
        if (base === null || slot >= base.slotCount) break;
        this.at = phase === BASE_OUT ? base.outStart(slot) : base.inStart(slot);
        this.end = phase === BASE_OUT ? base.outEnd(slot) : base.inEnd(slot);
        if (this.at < this.end) {
          if (phase === BASE_OUT) base.touchOut(this.at, this.end);
          else base.touchIn(this.at, this.end);
          this.phase = phase;
          return;
        }
        continue;
      }
      const generation = phase < FROZEN_OUT ? active : frozen;
      if (generation === null) continue;
      this.at = (phase & 1) === 0 ? generation.outHead(slot) : generation.inHead(slot);
      if (this.at !== 0) {
        this.phase = phase;
        return;
      }
    }
    this.phase = DONE;
  }

  fill(): number {
    if (this.swaps !== this.levels.swaps && this.phase !== DONE) this.begin();
    this.count = 0;
    while (this.phase !== DONE && this.count < BATCH) {
      const { active, frozen, base } = this.levels;
      let finished: boolean;
      if (this.phase >= BASE_OUT) finished = base === null || this.fillFromBase(base);
      else if (this.phase >= FROZEN_OUT) finished = frozen === null || this.fillFromList(frozen);
      else finished = this.fillFromList(active);
      if (finished) this.enter(this.phase + 1);
    }
    return this.count;
  }

  /** Appends from a generation's linked list; true when the list is at its end. */
  private fillFromList(generation: Generation): boolean {
    const { levels, slot, mask, direction } = this;
    const isOut = (this.phase & 1) === 0;
    const upper = this.phase >= FROZEN_OUT ? levels.active : null;
    const checkHidden = upper !== null && upper.hiddenCount > 0;
    const checkOverride = upper?.overridesAt(slot) ?? false;
    const { dyingSlot } = levels;
    let row = this.at;
    let count = this.count;
    for (
      ;
      row !== 0 && count < BATCH;
      row = isOut ? generation.nextOut(row) : generation.nextIn(row)
    ) {
      if (!generation.isEdgeLive(row)) continue;
      const type = generation.edgeType(row);
      if (mask !== null && mask[type] !== 1) continue;
      const other = isOut ? generation.edgeTarget(row) : generation.edgeSource(row);
      // A self-loop is in both lists; it counts once, as OUT when that is asked for.
      if (!isOut && other === slot && (direction & OUT) !== 0) continue;
      if (other === dyingSlot) continue;
      if (upper !== null) {
        if (checkHidden && upper.hides(other)) continue;
        if (checkOverride && overrides(upper, isOut, slot, other, type)) continue;
      }
      this.slots[count] = other;
      this.types[count] = type;
      this.confidences[count] = generation.edgeConfidence(row);
      this.directions[count] = isOut ? OUT : IN;
      count++;
    }
    this.at = row;
    this.count = count;
    return row === 0;
  }

  /** Appends from the snapshot's row; true when the row is at its end. */
  private fillFromBase(base: Snapshot): boolean {
    const { levels, slot, mask, direction, slots, types, confidences, directions } = this;
    const isOut = this.phase === BASE_OUT;
    const others = isOut ? base.outTargets : base.inSources;
    const rowTypes = isOut ? base.outTypes : base.inTypes;
    const rowConfidences = isOut ? base.outConfidences : base.inConfidences;
    const { active, frozen } = levels;
    const slotCount = base.slotCount;
    const checkHidden = active.hiddenCount > 0 || (frozen !== null && frozen.hiddenCount > 0);
    const activeOverrides = active.overridesAt(slot);
    const frozenOverrides = frozen?.overridesAt(slot) ?? false;
    const { dyingSlot } = levels;
    const end = this.end;
    let at = this.at;
    let count = this.count;
    for (; at < end && count < BATCH; at++) {
      const other = others[at]!;
      const type = rowTypes[at]!;
      if (mask !== null && mask[type] !== 1) continue;
      if (!isOut && other === slot && (direction & OUT) !== 0) continue;
      if (other >= slotCount) {
        throw new SutraError(
          'DAMAGED',
          `${base.path}: association ${at} leads to slot ${other}, expected below ${slotCount}`,
        );
      }
      if (other === dyingSlot) continue;
      if (checkHidden && (active.hides(other) || (frozen !== null && frozen.hides(other))))
        continue;
      if (activeOverrides && overrides(active, isOut, slot, other, type)) continue;
      if (frozenOverrides && frozen !== null && overrides(frozen, isOut, slot, other, type))
        continue;
      slots[count] = other;
      types[count] = type;
      confidences[count] = rowConfidences[at]!;
      directions[count] = isOut ? OUT : IN;
      count++;
    }
    this.at = at;
    this.count = count;
    return at >= end;
  }
}

function overrides(
  upper: Generation,
  isOut: boolean,
  slot: number,
  other: number,
  type: number,
): boolean {
  return (isOut ? upper.findEdge(slot, other, type) : upper.findEdge(other, slot, type)) !== 0;
}
