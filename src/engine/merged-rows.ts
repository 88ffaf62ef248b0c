/**
 * A state that stands still, row by row: snapshot and one generation merged, in the order of slots. Slots that the log did
 * not touch are read straight from the snapshot's rows, payloads of neighbours with one read. For what reads a whole
 * state: the checkpoint's writer and scans.
 */

import { LEVEL_BASE, LEVEL_NONE, type Levels } from './levels.js';
import { SegmentAhead } from './log/segment-ahead.js';
import type { Generation } from './memtable/generation.js';
import type { Snapshot } from './snapshot/snapshot.js';
import type { ConceptRecord, EdgeRow } from './snapshot/snapshot-source.js';

export class MergedRows {
  private readonly logAhead = new SegmentAhead();
  private vector = new Float32Array(0);
  private vectorBytes = new Uint8Array(0);

  /** `levels` has no frozen generation: it was recovered, or is a snapshot alone. */
  constructor(readonly levels: Levels) {}

  readConcept(slot: number, out: ConceptRecord): boolean {
    return this.levels.readConcept(slot, out);
  }

  readKey(slot: number, out: Uint32Array): boolean {
    return this.levels.readKey(slot, out, 0) !== LEVEL_NONE;
  }

  /** Valid until the next call. @throws DAMAGED */
  readContent(slot: number): Uint8Array {
    const { levels } = this;
    if (levels.base !== null && levels.locate(slot) === LEVEL_BASE) {
      return levels.base.readContentAhead(slot);
    }
    return levels.readContentAhead(slot, this.logAhead);
  }

  /** Of a slot that has one: little-endian float32, valid until the next call. @throws DAMAGED */
  readVector(slot: number): Uint8Array {
    const { levels } = this;
    if (levels.base !== null && levels.locate(slot) === LEVEL_BASE) {
      return levels.base.vectorBytes(slot);
    }
    if (this.vector.length !== levels.dimension) {
      this.vector = new Float32Array(levels.dimension);
      this.vectorBytes = new Uint8Array(this.vector.buffer);
    }
    levels.readVector(slot, this.vector);
    return this.vectorBytes;
  }

  outEdges(slot: number, row: EdgeRow): void {
    const { active, base } = this.levels;
    row.length = 0;
    if (base !== null && slot < base.slotCount && !active.hides(slot)) {
      const from = base.outStart(slot);
      const to = base.outEnd(slot);
      base.touchOut(from, to);
      const { outTargets, outTypes, outConfidences, outCreatedUs } = base;
      appendBase(
        row,
        active,
        slot,
        true,
        from,
        to,
        base,
        outTargets,
        outTypes,
        outConfidences,
        outCreatedUs,
      );
    }
    const fromBase = row.length;
    for (let at = active.outHead(slot); at !== 0; at = active.nextOut(at)) {
      if (active.isEdgeLive(at)) appendActive(row, active, at, active.edgeTarget(at));
    }
    if (row.length > fromBase) sortRow(row);
  }

  inEdges(slot: number, row: EdgeRow): void {
    const { active, base } = this.levels;
    row.length = 0;
    if (base !== null && slot < base.slotCount && !active.hides(slot)) {
      const from = base.inStart(slot);
      const to = base.inEnd(slot);
      base.touchIn(from, to);
      const { inSources, inTypes, inConfidences } = base;
      appendBase(row, active, slot, false, from, to, base, inSources, inTypes, inConfidences, null);
    }
    const fromBase = row.length;
    for (let at = active.inHead(slot); at !== 0; at = active.nextIn(at)) {
      if (active.isEdgeLive(at)) appendActive(row, active, at, active.edgeSource(at));
    }
    if (row.length > fromBase) sortRow(row);
  }
}

function appendBase(
  row: EdgeRow,
  active: Generation,
  slot: number,
  isOut: boolean,
  from: number,
  to: number,
  base: Snapshot,
  others: Uint32Array,
  types: Uint16Array,
  confidences: Float32Array,
  createdUs: Float64Array | null,
): void {
  row.reserve(row.length + to - from);
  const checkHidden = active.hiddenCount > 0;
  const checkOverride = active.overridesAt(slot);
  const { slotCount } = base;
  let length = row.length;
  for (let at = from; at < to; at++) {
    const other = others[at]!;
    const type = types[at]!;
    // A target beyond the table is damage that the writer will refuse; hides() must not be asked about it.
    if (checkHidden && other < slotCount && active.hides(other)) continue;
    if (
      checkOverride &&
      (isOut ? active.findEdge(slot, other, type) : active.findEdge(other, slot, type)) !== 0
    ) {
      continue;
    }
    row.slots[length] = other;
    row.types[length] = type;
    row.confidences[length] = confidences[at]!;
    row.createdUs[length] = createdUs === null ? 0 : createdUs[at]!;
    length++;
  }
  row.length = length;
}

function appendActive(row: EdgeRow, active: Generation, at: number, other: number): void {
  row.reserve(row.length + 1);
  const length = row.length++;
  row.slots[length] = other;
  row.types[length] = active.edgeType(at);
  row.confidences[length] = active.edgeConfidence(at);
  row.createdUs[length] = active.edgeCreatedUs(at);
}

/** Sorts by (slot, type): insertion sort for short rows, an index sort for long ones. */
function sortRow(row: EdgeRow): void {
  const { length, slots, types, confidences, createdUs } = row;
  if (length <= 32) {
    for (let i = 1; i < length; i++) {
      const slot = slots[i]!;
      const type = types[i]!;
      const confidence = confidences[i]!;
      const created = createdUs[i]!;
      let at = i - 1;
      while (at >= 0 && (slots[at]! > slot || (slots[at] === slot && types[at]! > type))) {
        slots[at + 1] = slots[at]!;
        types[at + 1] = types[at]!;
        confidences[at + 1] = confidences[at]!;
        createdUs[at + 1] = createdUs[at]!;
        at--;
      }
      slots[at + 1] = slot;
      types[at + 1] = type;
      confidences[at + 1] = confidence;
      createdUs[at + 1] = created;
    }
    return;
  }
  // slot * 2^16 + type is below 2^48, and the index comes along in a second array.
  const keys = new Float64Array(length);
  const order = new Uint32Array(length);
  for (let i = 0; i < length; i++) {
    keys[i] = slots[i]! * 65536 + types[i]!;
    order[i] = i;
  }
  order.sort((a, b) => keys[a]! - keys[b]!);
  permute(slots, order, length);
  permute(types, order, length);
  permute(confidences, order, length);
  permute(createdUs, order, length);
}

function permute(
  values: Uint32Array | Uint16Array | Float32Array | Float64Array,
  order: Uint32Array,
  length: number,
): void {
  const copy = values.slice(0, length);
  for (let i = 0; i < length; i++) values[i] = copy[order[i]!]!;
}
