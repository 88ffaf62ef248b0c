/**
 * Everything within so many hops of one concept: breadth first over associations both ways, level by level. The answer is a
 * set of slots, the start among them, in ascending order, as a search that looks slots up in it wants them.
 *
 * Order without a sort that holds the event loop: a few slots are sorted; many are read off the index of visited slots,
 * which lists them in ascending order, in bounded steps.
 *
 * When the graph changes during a pause, the answer holds every concept that was within so many hops by associations that
 * were there all the while; one that lay near by associations of different moments may be in it. Slots of concepts
 * forgotten meanwhile may be in it too: whoever uses it looks whether a slot is live.
 */

import { type Traversal, type TraversalBudget, runTraversal } from './budget.js';
import { BOTH, type AdjacencyCursor, type GraphView } from './graph-view.js';
import { ViewPool, clearSlots, grown, trimmed } from './scratch.js';

/** So many are sorted at once, in less than a millisecond. */
const SORTED_AT_ONCE = 4096;

const EXPAND = 0;
const ORDER = 1;

/** The slots at most maxHops associations away from `slot`, ascending; none when it is not live. */
export function collectNeighborhood(
  view: GraphView,
  slot: number,
  maxHops: number,
  budget: TraversalBudget,
): Uint32Array | Promise<Uint32Array> {
  if (slot >= view.slotCapacity || !view.isLive(slot)) return new Uint32Array(0);
  const search = pool.take(view);
  search.begin(slot, maxHops);
  return runTraversal(search, budget);
}

class NeighborhoodSearch implements Traversal<Uint32Array> {
  readonly uninterrupted = false;
  private readonly cursor: AdjacencyCursor;
  private phase = EXPAND;
  private maxHops = 0;
  /** Slot -> 1 when it is in the queue. */
  private visited = new Uint8Array(0);
  /** In breadth-first order; queue[0..levelEnd) is complete up to `depth` hops. */
  private queue = new Uint32Array(256);
  private count = 0;
  private depth = 0;
  private levelEnd = 0;
  /** The next to expand, and whether the cursor stands in the middle of the one before. */
  private head = 0;
  private expanding = false;
  private found = new Uint32Array(0);
  private scanned = 0;
  private ordered = 0;

  constructor(private readonly view: GraphView) {
    this.cursor = view.openCursor();
  }

  begin(slot: number, maxHops: number): void {
    this.visited = grown(this.visited, this.view.slotCapacity);
    this.phase = EXPAND;
    this.maxHops = maxHops;
    this.queue[0] = slot;
    this.visited[slot] = 1;
    this.count = 1;
    this.depth = 0;
    this.levelEnd = 1;
    this.head = 0;
    this.expanding = false;
    this.scanned = 0;
    this.ordered = 0;
  }

  step(work: number): boolean {
    if (this.phase === EXPAND) {
      if (!this.expand(work)) return false;
      this.phase = ORDER;
      this.found = new Uint32Array(this.count);
      if (this.count > SORTED_AT_ONCE) return false;
      this.found.set(this.queue.subarray(0, this.count));
      this.found.sort();
      return true;
    }
    return this.order(work);
  }

  result(): Uint32Array {
    return this.found;
  }

  release(): void {
    clearSlots(this.visited, this.queue, this.count);
    this.count = 0;
    this.queue = trimmed(this.queue);
    this.found = new Uint32Array(0);
    pool.give(this.view, this);
  }

  /** True when every concept within maxHops is in the queue. */
  private expand(work: number): boolean {
    const { cursor, view } = this;
    // New slots may have come during a pause.
    this.visited = grown(this.visited, view.slotCapacity);
    let rest = work;
    while (rest > 0) {
      if (!this.expanding) {
        if (this.head === this.levelEnd) {
          if (this.levelEnd === this.count) return true;
          this.levelEnd = this.count;
          this.depth++;
        }
        if (this.depth >= this.maxHops) return true;
        cursor.start(this.queue[this.head++]!, BOTH, null);
        this.expanding = true;
      }
      const n = cursor.fill();
      this.expanding = n > 0;
      this.absorb(n);
      // A concept costs a unit even without associations, so that a long level of those cannot hold the loop.
      rest -= n + 1;
    }
    return false;
  }

  private absorb(n: number): void {
    this.queue = grown(this.queue, this.count + n);
    const { visited, queue } = this;
    const { slots } = this.cursor;
    let count = this.count;
    for (let i = 0; i < n; i++) {
      const slot = slots[i]!;
      if (visited[slot] !== 0) continue;
      visited[slot] = 1;
      queue[count++] = slot;
    }
    this.count = count;
  }

  /** Reads the visited slots off their index; a look at a slot is a fraction of the work of an association. */
  private order(work: number): boolean {
    const { visited, found } = this;
    const end = Math.min(visited.length, this.scanned + work * 8);
    let ordered = this.ordered;
    for (let slot = this.scanned; slot < end; slot++) {
      if (visited[slot] !== 0) found[ordered++] = slot;
    }
    this.ordered = ordered;
    this.scanned = end;
    return ordered === found.length;
  }
}

const pool = new ViewPool((view) => new NeighborhoodSearch(view));
