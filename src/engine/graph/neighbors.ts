/**
 * Neighbours of one concept: distinct slots, each with its strongest association, strongest first. A concept with a few
 * dozen associations (nearly all are) is answered in one step over small reused arrays: linear search for duplicates,
 * insertion sort. A supernode goes through the same phases in bounded steps: duplicates by a flat index over slots, the
 * best `limit` by a bounded heap, order by a bottom-up merge sort whose merges can stop anywhere.
 *
 * Strongest: higher confidence, then lower type, then out before in. Order: confidence descending, ties by key bytes.
 * A query may ask for parallel associations too; then nothing is merged, and what ties is ordered by type and direction.
 * When the graph changes during a pause, the answer holds every neighbour that was there all the while, with an
 * association that existed at some moment of the call, and no concept forgotten before it was returned.
 */

import { type Traversal, type TraversalBudget, runTraversal } from './budget.js';
import type { AdjacencyCursor, GraphView, TypeMask } from './graph-view.js';
import { ViewPool, clearSlots, grown, trimmed } from './scratch.js';

export interface NeighborQuery {
  /** OUT, IN or BOTH. */
  readonly direction: number;
  readonly types: TypeMask;
  /** At most so many, strongest first; 0: all. */
  readonly limit: number;
  /** Every association, so that a slot comes once for each; default: the strongest to each slot. */
  readonly parallel?: boolean;
}

/** Parallel arrays, strongest first. */
export interface NeighborList {
  readonly slots: Uint32Array;
  readonly types: Uint16Array;
  readonly confidences: Float32Array;
  /** OUT: from the concept asked about to this neighbour. */
  readonly directions: Uint8Array;
}

/** Below this, comparing with each neighbour found so far beats any index. */
const LINEAR_LIMIT = 32;
/** Sorted by insertion before merging starts. */
const RUN_LENGTH = 16;

const COLLECT = 0;
const RANK = 1;
const SORT = 2;
const GATHER = 3;

export function collectNeighbors(
  view: GraphView,
  slot: number,
  query: NeighborQuery,
  budget: TraversalBudget,
): NeighborList | Promise<NeighborList> {
  if (slot >= view.slotCapacity || !view.isLive(slot)) return EMPTY;
  const search = pool.take(view);
  search.begin(slot, query);
  return runTraversal(search, budget);
}

class NeighborSearch implements Traversal<NeighborList> {
  readonly uninterrupted = false;
  private readonly view: GraphView;
  private readonly cursor: AdjacencyCursor;
  private phase = COLLECT;
  private slot = 0;
  private limit = 0;
  private parallel = false;
  private version = 0;

  /** Neighbours as found, duplicates merged. */
  private count = 0;
  private slots = new Uint32Array(64);
  private types = new Uint16Array(64);
  private confidences = new Float32Array(64);
  private directions = new Uint8Array(64);
  /** Slot -> position + 1 in the arrays above; used once there are more than LINEAR_LIMIT. */
  private index = new Uint32Array(0);
  private indexed = false;

  /** Positions that are in the answer, in its order once sorted; while ranking with a limit, a heap, worst first. */
  private order = new Uint32Array(64);
  private ordered = 0;
  private ranked = 0;

  /** Merge sort: the runs made so far, the width merged now, and where in which merge it stopped. */
  private spare = new Uint32Array(0);
  private runsEnd = 0;
  private width = RUN_LENGTH;
  private low = 0;
  private left = 0;
  private right = 0;
  private to = 0;

  private list: NeighborList = EMPTY;
  private gathered = 0;

  constructor(view: GraphView) {
    this.view = view;
    this.cursor = view.openCursor();
  }

  begin(slot: number, query: NeighborQuery): void {
    this.phase = COLLECT;
    this.slot = slot;
    this.parallel = query.parallel === true;
    this.limit = query.limit === 0 ? 0x7fffffff : query.limit;
    this.version = this.view.version;
    this.ordered = 0;
    this.ranked = 0;
    this.runsEnd = 0;
    this.width = RUN_LENGTH;
    this.low = this.left = this.right = this.to = 0;
    this.list = EMPTY;
    this.gathered = 0;
    this.cursor.start(slot, query.direction, query.types);
  }

  step(work: number): boolean {
    let rest = work;
    if (this.phase === COLLECT) {
      rest = this.collect(rest);
      if (rest <= 0) return false;
      this.phase = RANK;
    }
    if (this.phase === RANK) {
      rest = this.rank(rest);
      if (rest <= 0) return false;
      this.phase = SORT;
    }
    if (this.phase === SORT) {
      rest = this.sort(rest);
      if (rest <= 0) return false;
      this.phase = GATHER;
    }
    return this.gather(rest) > 0;
  }

  result(): NeighborList {
    if (this.view.version === this.version) return this.list;
    return this.stillLive();
  }

  release(): void {
    if (this.indexed) {
      clearSlots(this.index, this.slots, this.count);
      this.indexed = false;
      this.slots = trimmed(this.slots);
      this.types = trimmed(this.types);
      this.confidences = trimmed(this.confidences);
      this.directions = trimmed(this.directions);
      this.order = trimmed(this.order);
      this.spare = trimmed(this.spare);
    }
    this.count = 0;
    this.list = EMPTY;
    pool.give(this.view, this);
  }

  // Each phase returns the work that is left; 0 or less: it was not finished.

  private collect(work: number): number {
    const { cursor } = this;
    if (this.indexed) this.index = grown(this.index, this.view.slotCapacity);
    let rest = work;
    while (rest > 0) {
      const n = cursor.fill();
      if (n === 0) return rest;
      this.absorb(n);
      rest -= n;
    }
    return 0;
  }

  private absorb(n: number): void {
    const { parallel } = this;
    if (!parallel && !this.indexed && this.count + n > LINEAR_LIMIT) this.startIndex();
    this.reserve(this.count + n);
    const { slots, types, confidences, directions, index, indexed } = this;
    const { cursor } = this;
    const fromSlots = cursor.slots;
    const fromTypes = cursor.types;
    const fromConfidences = cursor.confidences;
    const fromDirections = cursor.directions;
    let count = this.count;
    for (let i = 0; i < n; i++) {
      const slot = fromSlots[i]!;
      let at: number;
      if (parallel) {
        at = -1;
      } else if (indexed) {
        at = index[slot]! - 1;
      } else {
        at = count - 1;
        while (at >= 0 && slots[at] !== slot) at--;
      }
      const type = fromTypes[i]!;
      const confidence = fromConfidences[i]!;
      const direction = fromDirections[i]!;
      if (at < 0) {
        at = count++;
        slots[at] = slot;
        // The entry counts before it is indexed, so that release() finds it whatever happens.
        this.count = count;
        if (indexed) index[slot] = count;
      } else if (
        !isStronger(confidence, type, direction, confidences[at]!, types[at]!, directions[at]!)
      ) {
        continue;
      }
      types[at] = type;
      confidences[at] = confidence;
      directions[at] = direction;
    }
  }

  private startIndex(): void {
    this.index = grown(this.index, this.view.slotCapacity);
    this.indexed = true;
    const { slots, index, count } = this;
    for (let i = 0; i < count; i++) index[slots[i]!] = i + 1;
  }

  private reserve(needed: number): void {
    if (needed <= this.slots.length) return;
    this.slots = grown(this.slots, needed);
    this.types = grown(this.types, needed);
    this.confidences = grown(this.confidences, needed);
    this.directions = grown(this.directions, needed);
  }

  /** Chooses what is in the answer: all, or the strongest `limit` by a heap whose root is the weakest of them. */
  private rank(work: number): number {
    const { count, limit, view, slots } = this;
    const changed = view.version !== this.version;
    this.order = grown(this.order, Math.min(count, limit));
    const { order } = this;
    const heaped = limit < count;
    const end = Math.min(count, this.ranked + work);
    let ordered = this.ordered;
    for (let at = this.ranked; at < end; at++) {
      if (changed && !view.isLive(slots[at]!)) continue;
      if (ordered < limit) {
        order[ordered++] = at;
        if (heaped) this.siftUp(ordered - 1);
      } else if (this.precedes(at, order[0]!)) {
        order[0] = at;
        this.siftDown(ordered);
      }
    }
    this.ordered = ordered;
    const rest = work - (end - this.ranked);
    this.ranked = end;
    // An exhausted step is told from a finished phase by the rest, so a finished one leaves at least 1.
    return end === count ? Math.max(rest, 1) : 0;
  }

  private sort(work: number): number {
    const { ordered } = this;
    let rest = work;
    while (this.runsEnd < ordered) {
      if (rest <= 0) return 0;
      const end = Math.min(this.runsEnd + RUN_LENGTH, ordered);
      this.insertionSort(this.runsEnd, end);
      rest -= RUN_LENGTH;
      this.runsEnd = end;
    }
    while (this.width < ordered) {
      this.spare = grown(this.spare, ordered);
      while (this.low < ordered) {
        if (rest <= 0) return 0;
        rest = this.merge(rest);
      }
      [this.order, this.spare] = [this.spare, this.order];
      this.width *= 2;
      this.low = this.left = this.right = this.to = 0;
    }
    return Math.max(rest, 1);
  }

  private insertionSort(from: number, end: number): void {
    const { order } = this;
    for (let i = from + 1; i < end; i++) {
      const at = order[i]!;
      let j = i - 1;
      while (j >= from && this.precedes(at, order[j]!)) {
        order[j + 1] = order[j]!;
        j--;
      }
      order[j + 1] = at;
    }
  }

  /** Goes on with the merge at `low`: [low, middle) and [middle, high) of `order` into `spare`. */
  private merge(work: number): number {
    const { order, spare, ordered, width, low } = this;
    const middle = Math.min(low + width, ordered);
    const high = Math.min(middle + width, ordered);
    let { left, right, to } = this;
    if (to === low) {
      left = low;
      right = middle;
    }
    const end = Math.min(high, to + work);
    const done = end - to;
    while (to < end) {
      const takeRight =
        left >= middle || (right < high && this.precedes(order[right]!, order[left]!));
      spare[to++] = takeRight ? order[right++]! : order[left++]!;
    }
    this.left = left;
    this.right = right;
    this.to = to;
    if (to === high) this.low = high;
    return work - done;
  }

  /** Copies the answer out of the scratch. */
  private gather(work: number): number {
    const { ordered, order, slots, types, confidences, directions } = this;
    if (this.gathered === 0 && ordered > 0) {
      this.list = {
        slots: new Uint32Array(ordered),
        types: new Uint16Array(ordered),
        confidences: new Float32Array(ordered),
        directions: new Uint8Array(ordered),
      };
    }
    const list = this.list;
    const end = Math.min(ordered, this.gathered + work);
    for (let i = this.gathered; i < end; i++) {
      const at = order[i]!;
      list.slots[i] = slots[at]!;
      list.types[i] = types[at]!;
      list.confidences[i] = confidences[at]!;
      list.directions[i] = directions[at]!;
    }
    this.gathered = end;
    return end === ordered ? 1 : 0;
  }

  /** The answer without what was forgotten during a pause. */
  private stillLive(): NeighborList {
    const { view, list } = this;
    if (!view.isLive(this.slot)) return EMPTY;
    const { slots, types, confidences, directions } = list;
    let kept = 0;
    for (let i = 0; i < slots.length; i++) {
      if (!view.isLive(slots[i]!)) continue;
      slots[kept] = slots[i]!;
      types[kept] = types[i]!;
      confidences[kept] = confidences[i]!;
      directions[kept] = directions[i]!;
      kept++;
    }
    if (kept === slots.length) return list;
    return {
      slots: slots.slice(0, kept),
      types: types.slice(0, kept),
      confidences: confidences.slice(0, kept),
      directions: directions.slice(0, kept),
    };
  }

  /** Whether the neighbour at position a comes before the one at b in the answer. */
  private precedes(a: number, b: number): boolean {
    const difference = this.confidences[a]! - this.confidences[b]!;
    if (difference !== 0) return difference > 0;
    const keys = this.view.compareKeys(this.slots[a]!, this.slots[b]!);
    if (keys !== 0) return keys < 0;
    // Parallel associations.
    const types = this.types[a]! - this.types[b]!;
    return types !== 0 ? types < 0 : this.directions[a]! < this.directions[b]!;
  }

  private siftUp(from: number): void {
    const { order } = this;
    const at = order[from]!;
    let i = from;
    while (i > 0) {
      const parent = (i - 1) >>> 1;
      if (!this.precedes(order[parent]!, at)) break;
      order[i] = order[parent]!;
      i = parent;
    }
    order[i] = at;
  }

  private siftDown(length: number): void {
    const { order } = this;
    const at = order[0]!;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= length) break;
      if (child + 1 < length && this.precedes(order[child]!, order[child + 1]!)) child++;
      if (!this.precedes(at, order[child]!)) break;
      order[i] = order[child]!;
      i = child;
    }
    order[i] = at;
  }
}

/** Whether association a is stronger than b: higher confidence, then lower type, then out before in. */
export function isStronger(
  confidenceA: number,
  typeA: number,
  directionA: number,
  confidenceB: number,
  typeB: number,
  directionB: number,
): boolean {
  if (confidenceA !== confidenceB) return confidenceA > confidenceB;
  if (typeA !== typeB) return typeA < typeB;
  return directionA < directionB;
}

const EMPTY: NeighborList = {
  slots: new Uint32Array(0),
  types: new Uint16Array(0),
  confidences: new Float32Array(0),
  directions: new Uint8Array(0),
};

const pool = new ViewPool((view) => new NeighborSearch(view));
