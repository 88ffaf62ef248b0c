/**
 * Shortest paths by hops: breadth-first from both ends at once, level by level (Pohl, "Bi-directional search", 1971).
 *
 * Invariant: with f levels complete at the start and b at the end, each side knows every node within its depth, so every
 * path of at most f + b hops has been met in some node. A meeting of f + b + 1 hops or less is therefore shortest, and
 * the search stops at the first such one; longer ones are kept until a level is complete. (Taking the first meeting,
 * whatever its length, is the classic mistake once both sides have a half-expanded level.)
 *
 * The side that is cheaper by estimate (nodes left in the level times its average degree) expands; a level that turns out
 * to be much dearer than the other side's is suspended between two batches, and the two sides race. So a supernode
 * beside a leaf costs the leaf's neighbourhood, not the supernode's.
 *
 * When the search paused and the graph changed, the path is described again at one version, and when it is broken, the
 * search starts over, at most MAX_RESTARTS times, the last time without a pause. So a path that is returned exists when
 * it is returned, and is no longer than any path that existed unchanged all the while; null means there was none such.
 */

import { SutraError } from '../../errors.js';
import { MAX_RESTARTS, type Traversal, type TraversalBudget, runTraversal } from './budget.js';
import type { AdjacencyCursor, GraphView, TypeMask } from './graph-view.js';
import {
  type FoundPath,
  PathDescription,
  type PathQuery,
  flipDirection,
  productOf,
} from './path-steps.js';
import { ViewPool, clearSlots, grown, trimmed } from './scratch.js';

/** A level is not suspended before it has cost so much, nor before it costs so many times the other side's estimate. */
const SUSPEND_WORK = 1024;
const SUSPEND_FACTOR = 4;

const SEARCH = 0;
const DESCRIBE = 1;
const DONE = 2;

/** A shortest path within query.maxDepth hops, or null when there is none or an end is not live. */
export function findShortestPath(
  view: GraphView,
  start: number,
  end: number,
  query: PathQuery,
  budget: TraversalBudget,
): FoundPath | null | Promise<FoundPath | null> {
  const search = pool.take(view);
  search.begin(start, end, query, false);
  return runTraversal(search, budget);
}

/** One end's half of the search: a queue in breadth-first order, and which slots are in it. */
class Side {
  readonly cursor: AdjacencyCursor;
  /** Slot -> queue index + 1; 0: not visited. */
  visited = new Uint32Array(0);
  queue = new Uint32Array(256);
  /** Queue index of the node it was reached from; the root's own. */
  parents = new Uint32Array(256);
  count = 0;
  /** Levels complete: queue[levelStart..levelEnd) are the nodes at this depth, those behind are one deeper. */
  depth = 0;
  levelStart = 0;
  levelEnd = 0;
  /** The next node of the level to expand. */
  head = 0;
  /** Whether the cursor stands in the middle of node head - 1. */
  expanding = false;
  direction = 0;
  /** Associations seen in this level, and in all. */
  levelWork = 0;
  totalWork = 0;

  constructor(view: GraphView) {
    this.cursor = view.openCursor();
  }

  begin(root: number, direction: number): void {
    this.direction = direction;
    this.queue[0] = root;
    this.parents[0] = 0;
    this.count = 1;
    this.visited[root] = 1;
    this.depth = 0;
    this.levelStart = 0;
    this.levelEnd = 1;
    this.head = 0;
    this.expanding = false;
    this.levelWork = 0;
    this.totalWork = 0;
  }

  /** What completing this level will have cost, in associations, as far as one can tell. */
  get cost(): number {
    const degree = Math.max(1, this.totalWork / Math.max(1, this.head));
    return this.levelWork + (this.levelEnd - this.head) * degree;
  }

  get exhausted(): boolean {
    return this.levelStart === this.levelEnd;
  }

  completeLevel(): void {
    this.depth++;
    this.levelStart = this.levelEnd;
    this.levelEnd = this.count;
    this.levelWork = 0;
  }

  /** Hops from the root to a queue entry. */
  depthOf(index: number): number {
    if (index >= this.levelEnd) return this.depth + 1;
    if (index >= this.levelStart) return this.depth;
    // Only reached when the graph changed during a pause; the parents tell, in at most maxDepth steps.
    let depth = 0;
    for (let at = index; at !== 0; at = this.parents[at]!) depth++;
    return depth;
  }

  clear(): void {
    clearSlots(this.visited, this.queue, this.count);
    this.count = 0;
    this.queue = trimmed(this.queue);
    this.parents = trimmed(this.parents);
  }
}

export class HopSearch implements Traversal<FoundPath | null> {
  private readonly view: GraphView;
  private readonly forward: Side;
  private readonly backward: Side;
  private readonly description: PathDescription;
  private start = 0;
  private end = 0;
  private maxDepth = 1;
  private direction = 0;
  private types: TypeMask = null;
  private positiveOnly = false;
  private query: PathQuery = NO_QUERY;

  private phase = SEARCH;
  private restarts = 0;
  private active: Side;
  /** Length of the shortest meeting so far, and its node in both queues. */
  private best = NO_MEETING;
  private meetingForward = 0;
  private meetingBackward = 0;
  private path: number[] = [];
  private found: FoundPath | null = null;

  constructor(view: GraphView) {
    this.view = view;
    this.forward = new Side(view);
    this.backward = new Side(view);
    this.active = this.forward;
    this.description = new PathDescription(view);
  }

  get uninterrupted(): boolean {
    return (
      this.restarts >= MAX_RESTARTS || (this.phase === DESCRIBE && this.description.uninterrupted)
    );
  }

  /** positiveOnly: an association of zero confidence counts as absent. */
  begin(start: number, end: number, query: PathQuery, positiveOnly: boolean): void {
    this.start = start;
    this.end = end;
    this.query = query;
    this.maxDepth = query.maxDepth;
    this.direction = query.direction;
    this.types = query.types;
    this.positiveOnly = positiveOnly;
    this.restarts = 0;
    this.found = null;
    this.beginSearch();
  }

  step(work: number): boolean {
    let rest = work;
    if (this.phase === SEARCH) {
      rest = this.search(work);
      if (rest <= 0) return false;
    }
    if (this.phase === DESCRIBE) {
      if (!this.description.step(rest)) return false;
      const steps = this.description.result();
      if (steps === null) {
        if (this.restarts === MAX_RESTARTS) throw inconsistentView();
        this.restarts++;
        this.beginSearch();
        return false;
      }
      this.found = { slots: this.path, steps, confidence: productOf(steps) };
      this.phase = DONE;
    }
    return true;
  }

  result(): FoundPath | null {
    return this.found;
  }

  release(): void {
    this.clear();
    pool.give(this.view, this);
  }

  /** Cleans the scratch, for one that belongs to another search and is kept by it. */
  clear(): void {
    this.forward.clear();
    this.backward.clear();
    this.description.forget();
    this.query = NO_QUERY;
    this.types = null;
    this.found = null;
    this.path = [];
  }

  private beginSearch(): void {
    const { view, start, end, forward, backward } = this;
    forward.clear();
    backward.clear();
    this.best = NO_MEETING;
    this.path = [];
    const capacity = view.slotCapacity;
    if (start >= capacity || end >= capacity || !view.isLive(start) || !view.isLive(end)) {
      this.phase = DONE;
      return;
    }
    if (start === end) {
      this.found = { slots: [start], steps: [], confidence: 1 };
      this.phase = DONE;
      return;
    }
    forward.visited = grown(forward.visited, capacity);
    backward.visited = grown(backward.visited, capacity);
    forward.begin(start, this.direction);
    backward.begin(end, flipDirection(this.direction));
    this.active = forward;
    this.phase = SEARCH;
  }

  /** Returns the work that is left, at least 1; 0: the search has not ended. */
  private search(work: number): number {
    const capacity = this.view.slotCapacity;
    this.forward.visited = grown(this.forward.visited, capacity);
    this.backward.visited = grown(this.backward.visited, capacity);
    let rest = work;
    while (rest > 0) {
      rest -= this.advance(rest);
      if (this.phase !== SEARCH) return Math.max(rest, 1);
    }
    return 0;
  }

  /** Expands the active side until its level is complete, it is suspended, or the work is done; returns the work. */
  private advance(work: number): number {
    const { forward, backward, active } = this;
    const other = active === forward ? backward : forward;
    const done = this.expand(active, other, work);
    const complete = active.head === active.levelEnd && !active.expanding;
    if (complete) active.completeLevel();
    const depth = forward.depth + backward.depth;
    if (this.best <= depth + 1) {
      this.endSearch();
    } else if (complete) {
      if (active.exhausted || depth >= this.maxDepth) this.endSearch();
      else if (other.cost < active.cost) this.active = other;
    } else if (active.levelWork > SUSPEND_WORK + SUSPEND_FACTOR * other.cost) {
      this.active = other;
    }
    return done;
  }

  private expand(side: Side, other: Side, work: number): number {
    const { cursor, levelEnd, visited } = side;
    const { types, positiveOnly } = this;
    const otherVisited = other.visited;
    const levelLimit = SUSPEND_WORK + SUSPEND_FACTOR * other.cost;
    // A meeting so short ends the search at once.
    const enough = this.forward.depth + this.backward.depth + 1;
    let done = 0;
    do {
      if (!side.expanding) {
        if (side.head === levelEnd) break;
        cursor.start(side.queue[side.head]!, side.direction, types);
        side.head++;
        side.expanding = true;
      }
      const n = cursor.fill();
      done += n + 1;
      side.levelWork += n;
      side.totalWork += n;
      if (n === 0) {
        side.expanding = false;
        continue;
      }
      side.queue = grown(side.queue, side.count + n);
      side.parents = grown(side.parents, side.count + n);
      const { queue, parents } = side;
      const { slots, confidences } = cursor;
      const parent = side.head - 1;
      let count = side.count;
      for (let i = 0; i < n; i++) {
        const slot = slots[i]!;
        if (visited[slot] !== 0) continue;
        if (positiveOnly && confidences[i] === 0) continue;
        queue[count] = slot;
        parents[count] = parent;
        count++;
        // The queue holds the slot before it is marked, so that clear() finds every mark whatever happens.
        side.count = count;
        visited[slot] = count;
        const met = otherVisited[slot]!;
        if (met !== 0) this.meet(side, count - 1, other, met - 1);
      }
      if (this.best <= enough) break;
    } while (done < work && side.levelWork <= levelLimit);
    return done;
  }

  private meet(side: Side, index: number, other: Side, otherIndex: number): void {
    const length = side.depth + 1 + other.depthOf(otherIndex);
    if (length >= this.best || length > this.maxDepth) return;
    this.best = length;
    this.meetingForward = side === this.forward ? index : otherIndex;
    this.meetingBackward = side === this.forward ? otherIndex : index;
  }

  private endSearch(): void {
    if (this.best === NO_MEETING) {
      this.phase = DONE;
      return;
    }
    const { forward, backward } = this;
    const path: number[] = [];
    for (let at = this.meetingForward; at !== 0; at = forward.parents[at]!) {
      path.push(forward.queue[at]!);
    }
    path.push(this.start);
    path.reverse();
    for (let at = this.meetingBackward; at !== 0;) {
      at = backward.parents[at]!;
      path.push(backward.queue[at]!);
    }
    this.path = path;
    this.phase = DESCRIBE;
    this.description.begin(path, this.query, this.positiveOnly);
  }
}

/**
 * A search that ran without a pause found a path that is not there: the view's two directions of adjacency disagree, or
 * this file is wrong. Searching on would never end.
 */
export function inconsistentView(): SutraError {
  return new SutraError('INTERNAL', 'the adjacency of the read view contradicts itself');
}

/** More than any path. */
const NO_MEETING = 0x7fffffff;
const NO_QUERY: PathQuery = { maxDepth: 1, direction: 0, types: null };

const pool = new ViewPool((view) => new HopSearch(view));
