/**
 * Strongest paths: the highest product of confidences within maxDepth hops; ties take fewer hops; zero is impassable.
 *
 * With a bound on hops, Dijkstra over nodes is wrong: the best way to a node may have used up the hops that a worse one
 * still has. So the search settles labels (node, hops, product) in the order product descending, hops ascending, and
 * drops a label that an earlier one at the same node dominates (product at least as high, hops at most as many):
 * multi-criteria label setting (Martins, "On a multicriteria shortest path problem", 1984). Confidences are at most 1 and
 * float64 multiplication is monotone under rounding, so products only fall along a path and the order is that of
 * Dijkstra. Products are float32 confidences multiplied in float64 from start to end. One that underflows to 0 is weak,
 * not impassable. At most maxDepth labels are settled per node, with ever fewer hops.
 *
 * First comes a search by hops, without the impassable: it tells at once when there is no path, and the product of what
 * it finds bounds the labels worth keeping. Ties beyond product and hops go to the lower slot, then to the parent that
 * was settled first, so that the answer does not depend on the order in which associations are stored.
 *
 * When the graph changed during a pause, what was found is described again and the search starts over when it is broken;
 * see hop-path.ts. A path that is returned exists when it is returned, with the product it then has.
 */

import { MAX_RESTARTS, type Traversal, type TraversalBudget, runTraversal } from './budget.js';
import type { AdjacencyCursor, GraphView } from './graph-view.js';
import { HopSearch, inconsistentView } from './hop-path.js';
import { type FoundPath, PathDescription, type PathQuery, productOf } from './path-steps.js';
import { ViewPool, clearSlots, grown, trimmed } from './scratch.js';

const FEASIBLE = 0;
const SEARCH = 1;
const DESCRIBE = 2;
const DONE = 3;

/** A strongest path within query.maxDepth hops, or null when there is none or an end is not live. */
export function findStrongestPath(
  view: GraphView,
  start: number,
  end: number,
  query: PathQuery,
  budget: TraversalBudget,
): FoundPath | null | Promise<FoundPath | null> {
  const search = pool.take(view);
  search.begin(start, end, query);
  return runTraversal(search, budget);
}

/** Labels waiting to be settled: a binary heap over parallel arrays, the next one at 0. */
class LabelHeap {
  products = new Float64Array(256);
  slots = new Uint32Array(256);
  /** The settled label it extends. */
  parents = new Uint32Array(256);
  hops = new Uint8Array(256);
  length = 0;

  push(product: number, hops: number, slot: number, parent: number): void {
    if (this.length === this.products.length) this.grow();
    const { products, slots, parents } = this;
    const allHops = this.hops;
    let i = this.length++;
    while (i > 0) {
      const up = (i - 1) >>> 1;
      if (
        !precedes(
          product,
          hops,
          slot,
          parent,
          products[up]!,
          allHops[up]!,
          slots[up]!,
          parents[up]!,
        )
      ) {
        break;
      }
      this.move(up, i);
      i = up;
    }
    products[i] = product;
    allHops[i] = hops;
    slots[i] = slot;
    parents[i] = parent;
  }

  /** Removes the entry at 0; the caller has read it. */
  pop(): void {
    const last = --this.length;
    if (last === 0) return;
    const { products, slots, parents } = this;
    const allHops = this.hops;
    const product = products[last]!;
    const hops = allHops[last]!;
    const slot = slots[last]!;
    const parent = parents[last]!;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= last) break;
      if (child + 1 < last && this.isBefore(child + 1, child)) child++;
      if (
        precedes(
          product,
          hops,
          slot,
          parent,
          products[child]!,
          allHops[child]!,
          slots[child]!,
          parents[child]!,
        )
      ) {
        break;
      }
      this.move(child, i);
      i = child;
    }
    products[i] = product;
    allHops[i] = hops;
    slots[i] = slot;
    parents[i] = parent;
  }

  clear(): void {
    this.length = 0;
    this.products = trimmed(this.products);
    this.slots = trimmed(this.slots);
    this.parents = trimmed(this.parents);
    this.hops = trimmed(this.hops);
  }

  private isBefore(a: number, b: number): boolean {
    const { products, hops, slots, parents } = this;
    return precedes(
      products[a]!,
      hops[a]!,
      slots[a]!,
      parents[a]!,
      products[b]!,
      hops[b]!,
      slots[b]!,
      parents[b]!,
    );
  }

  private move(from: number, to: number): void {
    this.products[to] = this.products[from]!;
    this.slots[to] = this.slots[from]!;
    this.parents[to] = this.parents[from]!;
    this.hops[to] = this.hops[from]!;
  }

  private grow(): void {
    const needed = this.length * 2;
    this.products = grown(this.products, needed);
    this.slots = grown(this.slots, needed);
    this.parents = grown(this.parents, needed);
    this.hops = grown(this.hops, needed);
  }
}

class StrongestSearch implements Traversal<FoundPath | null> {
  private readonly view: GraphView;
  private readonly cursor: AdjacencyCursor;
  private readonly hopSearch: HopSearch;
  private readonly description: PathDescription;
  private readonly heap = new LabelHeap();
  private start = 0;
  private end = 0;
  private query: PathQuery = NO_QUERY;

  private phase = FEASIBLE;
  private restarts = 0;

  /** Per slot: hops + 1 of the label settled last (0: none), and product and hops + 1 of the one pushed last. */
  private settledHops = new Uint8Array(0);
  private pushedHops = new Uint8Array(0);
  private pushedProducts = new Float64Array(0);
  /** Slots with an entry in those. */
  private touched = new Uint32Array(256);
  private touchedCount = 0;

  /** Settled labels, in order. */
  private labelSlots = new Uint32Array(256);
  private labelParents = new Uint32Array(256);
  private labelCount = 0;
  /** The last of them, and whether its associations are being followed. */
  private expanding = false;
  private product = 0;
  private hops = 0;
  /** A path this good is known: labels that cannot beat it are not kept. */
  private boundProduct = 0;
  private boundHops = 0;

  private path: number[] = [];
  private found: FoundPath | null = null;

  constructor(view: GraphView) {
    this.view = view;
    this.cursor = view.openCursor();
    this.hopSearch = new HopSearch(view);
    this.description = new PathDescription(view);
  }

  get uninterrupted(): boolean {
    return (
      this.restarts >= MAX_RESTARTS ||
      (this.phase === FEASIBLE && this.hopSearch.uninterrupted) ||
      (this.phase === DESCRIBE && this.description.uninterrupted)
    );
  }

  begin(start: number, end: number, query: PathQuery): void {
    this.start = start;
    this.end = end;
    this.query = query;
    this.restarts = 0;
    this.found = null;
    this.beginFeasible();
  }

  step(work: number): boolean {
    if (this.phase === FEASIBLE) {
      if (!this.hopSearch.step(work)) return false;
      this.endFeasible();
    } else if (this.phase === SEARCH) {
      this.search(work);
    } else if (this.phase === DESCRIBE) {
      if (!this.description.step(work)) return false;
      const steps = this.description.result();
      const confidence = steps === null ? NO_PATH : productOf(steps);
      // Below the product it was chosen for: it lost an association, or one of its confidences fell, during a pause.
      if (steps === null || confidence < this.product) {
        this.restart();
      } else {
        this.found = { slots: this.path, steps, confidence };
        this.phase = DONE;
      }
    }
    return this.phase === DONE;
  }

  result(): FoundPath | null {
    return this.found;
  }

  release(): void {
    this.hopSearch.clear();
    this.description.forget();
    this.clearLabels();
    this.query = NO_QUERY;
    this.found = null;
    this.path = [];
    pool.give(this.view, this);
  }

  private beginFeasible(): void {
    this.hopSearch.begin(this.start, this.end, this.query, true);
    this.phase = FEASIBLE;
  }

  /** Nothing to improve on: no path at all, or no more than one concept. */
  private endFeasible(): void {
    const feasible = this.hopSearch.result();
    this.hopSearch.clear();
    if (feasible === null || feasible.steps.length === 0) {
      this.found = feasible;
      this.phase = DONE;
      return;
    }
    this.clearLabels();
    this.boundProduct = feasible.confidence;
    this.boundHops = feasible.steps.length;
    this.phase = SEARCH;
    this.ensureSlots();
    this.push(this.start, 1, 0, 0);
  }

  private restart(): void {
    if (this.restarts === MAX_RESTARTS) throw inconsistentView();
    this.restarts++;
    this.clearLabels();
    this.beginFeasible();
  }

  private search(work: number): void {
    this.ensureSlots();
    const { cursor, heap, query, end, settledHops } = this;
    let rest = work;
    while (rest > 0) {
      if (this.expanding) {
        const n = cursor.fill();
        rest -= n + 1;
        if (n === 0) this.expanding = false;
        else this.extend(n);
        continue;
      }
      if (heap.length === 0) {
        // A path was there when the search began, so its confidence or its associations changed during a pause.
        this.restart();
        return;
      }
      const slot = heap.slots[0]!;
      const hops = heap.hops[0]!;
      const parent = heap.parents[0]!;
      const product = heap.products[0]!;
      heap.pop();
      rest--;
      const settled = settledHops[slot]!;
      if (settled !== 0 && settled <= hops + 1) continue;
      settledHops[slot] = hops + 1;
      this.settle(slot, parent);
      this.product = product;
      this.hops = hops;
      if (slot === end) {
        this.endSearch();
        return;
      }
      if (hops === query.maxDepth) continue;
      this.expanding = true;
      cursor.start(slot, query.direction, query.types);
    }
  }

  /** Pushes what the last label reaches through a batch of the cursor. */
  private extend(n: number): void {
    const { slots, confidences } = this.cursor;
    const { product, settledHops } = this;
    const hops = this.hops + 1;
    const parent = this.labelCount - 1;
    for (let i = 0; i < n; i++) {
      const confidence = confidences[i]!;
      if (confidence === 0) continue;
      const slot = slots[i]!;
      const settled = settledHops[slot]!;
      if (settled !== 0 && settled <= hops + 1) continue;
      this.push(slot, product * confidence, hops, parent);
    }
  }

  private push(slot: number, product: number, hops: number, parent: number): void {
    const { pushedHops, pushedProducts, boundProduct, boundHops } = this;
    if (product < boundProduct) return;
    const atEnd = slot === this.end;
    if (product === boundProduct && (atEnd ? hops > boundHops : hops >= boundHops)) return;
    const pushed = pushedHops[slot]!;
    if (pushed === 0) {
      this.touched = grown(this.touched, this.touchedCount + 1);
      this.touched[this.touchedCount++] = slot;
    } else if (pushed <= hops + 1 && pushedProducts[slot]! >= product) {
      return;
    }
    pushedHops[slot] = hops + 1;
    pushedProducts[slot] = product;
    if (atEnd) {
      this.boundProduct = product;
      this.boundHops = hops;
    }
    this.heap.push(product, hops, slot, parent);
  }

  private settle(slot: number, parent: number): void {
    const count = this.labelCount;
    this.labelSlots = grown(this.labelSlots, count + 1);
    this.labelParents = grown(this.labelParents, count + 1);
    this.labelSlots[count] = slot;
    this.labelParents[count] = parent;
    this.labelCount = count + 1;
  }

  private endSearch(): void {
    const path: number[] = [];
    for (let at = this.labelCount - 1; at !== 0; at = this.labelParents[at]!) {
      path.push(this.labelSlots[at]!);
    }
    path.push(this.start);
    path.reverse();
    this.path = path;
    this.phase = DESCRIBE;
    this.description.begin(path, this.query, true);
  }

  private ensureSlots(): void {
    const capacity = this.view.slotCapacity;
    this.settledHops = grown(this.settledHops, capacity);
    this.pushedHops = grown(this.pushedHops, capacity);
    this.pushedProducts = grown(this.pushedProducts, capacity);
  }

  private clearLabels(): void {
    const { touched, touchedCount } = this;
    clearSlots(this.settledHops, touched, touchedCount);
    clearSlots(this.pushedHops, touched, touchedCount);
    clearSlots(this.pushedProducts, touched, touchedCount);
    this.touchedCount = 0;
    this.labelCount = 0;
    this.expanding = false;
    this.touched = trimmed(this.touched);
    this.labelSlots = trimmed(this.labelSlots);
    this.labelParents = trimmed(this.labelParents);
    this.heap.clear();
  }
}

/** The order in which labels are settled. */
function precedes(
  productA: number,
  hopsA: number,
  slotA: number,
  parentA: number,
  productB: number,
  hopsB: number,
  slotB: number,
  parentB: number,
): boolean {
  if (productA !== productB) return productA > productB;
  if (hopsA !== hopsB) return hopsA < hopsB;
  if (slotA !== slotB) return slotA < slotB;
  return parentA < parentB;
}

/** Below every product. */
const NO_PATH = -1;
const NO_QUERY: PathQuery = { maxDepth: 1, direction: 0, types: null };

const pool = new ViewPool((view) => new StrongestSearch(view));
