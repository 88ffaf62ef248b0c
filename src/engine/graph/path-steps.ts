/**
 * The associations along a path: for each hop the strongest one between its two ends that the filters admit (higher
 * confidence, then lower type, then out before in). This is also the proof that a path exists: a search that paused
 * describes what it found, and takes null for "broken meanwhile". The description itself holds at one version of the
 * graph: when that changed during a pause, it is made again.
 *
 * A hop is scanned from its near end; when that turns out to be large, from both ends in turn, and whichever list ends
 * first decides, so that a leaf on a supernode costs the leaf's degree.
 */

import { MAX_RESTARTS, type Traversal, type TraversalBudget, runTraversal } from './budget.js';
import {
  type AdjacencyCursor,
  BOTH,
  type GraphView,
  IN,
  OUT,
  type TypeMask,
} from './graph-view.js';
import { isStronger } from './neighbors.js';
import { ViewPool } from './scratch.js';

export interface AssociationFilter {
  /** OUT: each hop follows an association from source to target; IN: against it; BOTH: either. */
  readonly direction: number;
  readonly types: TypeMask;
}

/** The association that one hop goes along. */
export interface AssociationStep {
  readonly type: number;
  readonly confidence: number;
  /** OUT: it points the way the path goes; IN: against it. */
  readonly direction: number;
}

export interface PathQuery extends AssociationFilter {
  /** The most hops, 1 to 64. */
  readonly maxDepth: number;
}

export interface FoundPath {
  /** From start to end, both included. */
  readonly slots: readonly number[];
  /** One per hop. */
  readonly steps: readonly AssociationStep[];
  /** Product of the steps' confidences, multiplied in float64 from start to end; 1 without steps. */
  readonly confidence: number;
}

/** The same way seen from the other end. */
export function flipDirection(direction: number): number {
  return direction === BOTH ? BOTH : direction === OUT ? IN : OUT;
}

/** One step per hop of `slots`, or null when some hop has no association that the filter admits. */
export function describeSteps(
  view: GraphView,
  slots: readonly number[],
  filter: AssociationFilter,
  budget: TraversalBudget,
): readonly AssociationStep[] | null | Promise<readonly AssociationStep[] | null> {
  const description = pool.take(view);
  description.begin(slots, filter, false);
  return runTraversal(description, budget);
}

export class PathDescription implements Traversal<readonly AssociationStep[] | null> {
  private readonly view: GraphView;
  private readonly near: AdjacencyCursor;
  private readonly far: AdjacencyCursor;
  private slots: readonly number[] = [];
  private direction = BOTH;
  private types: TypeMask = null;
  private positiveOnly = false;
  private version = 0;
  private restarts = 0;

  private steps: AssociationStep[] = [];
  private broken = false;
  /** The hop being scanned: batches taken at its near end (0: not yet started), whether the far end joined, the best. */
  private nearBatches = 0;
  private farStarted = false;
  private bestType = 0;
  private bestConfidence = NONE;
  private bestDirection = 0;

  constructor(view: GraphView) {
    this.view = view;
    this.near = view.openCursor();
    this.far = view.openCursor();
  }

  get uninterrupted(): boolean {
    return this.restarts >= MAX_RESTARTS;
  }

  /** positiveOnly: an association of zero confidence counts as absent. */
  begin(slots: readonly number[], filter: AssociationFilter, positiveOnly: boolean): void {
    this.slots = slots;
    this.direction = filter.direction;
    this.types = filter.types;
    this.positiveOnly = positiveOnly;
    this.restarts = 0;
    this.rewind();
  }

  step(work: number): boolean {
    let rest = work;
    while (!this.broken && this.steps.length < this.slots.length - 1) {
      if (rest <= 0) return false;
      rest -= this.scan();
    }
    if (this.view.version === this.version) return true;
    this.restarts++;
    this.rewind();
    return false;
  }

  result(): readonly AssociationStep[] | null {
    return this.broken ? null : this.steps;
  }

  /** Only for a description that came from this file's pool; one that belongs to a search is kept by it. */
  release(): void {
    this.forget();
    pool.give(this.view, this);
  }

  /** Lets go of the caller's arrays. */
  forget(): void {
    this.slots = [];
    this.steps = [];
    this.types = null;
  }

  private rewind(): void {
    this.version = this.view.version;
    this.steps = [];
    this.broken = this.slots.length === 1 && !this.view.isLive(this.slots[0]!);
    this.nearBatches = 0;
  }

  /** One batch from each end that takes part; returns the work done. */
  private scan(): number {
    const { near, far, slots, steps } = this;
    const from = slots[steps.length]!;
    const to = slots[steps.length + 1]!;
    if (this.nearBatches === 0) {
      this.farStarted = false;
      this.bestConfidence = NONE;
      near.start(from, this.direction, this.types);
    }
    let work = near.fill();
    if (work === 0) {
      this.endHop();
      return 1;
    }
    this.absorb(near, work, to, false);
    this.nearBatches++;
    if (this.nearBatches >= FAR_JOINS_AT && from !== to) {
      if (!this.farStarted) {
        far.start(to, flipDirection(this.direction), this.types);
        this.farStarted = true;
      }
      const n = far.fill();
      if (n === 0) this.endHop();
      else this.absorb(far, n, from, true);
      work += n;
    }
    return work;
  }

  private absorb(cursor: AdjacencyCursor, n: number, wanted: number, flipped: boolean): void {
    const slots = cursor.slots;
    for (let i = 0; i < n; i++) {
      if (slots[i] !== wanted) continue;
      const type = cursor.types[i]!;
      const confidence = cursor.confidences[i]!;
      const there = cursor.directions[i]!;
      const direction = flipped ? flipDirection(there) : there;
      if (this.positiveOnly && confidence === 0) continue;
      if (
        isStronger(
          confidence,
          type,
          direction,
          this.bestConfidence,
          this.bestType,
          this.bestDirection,
        )
      ) {
        this.bestType = type;
        this.bestConfidence = confidence;
        this.bestDirection = direction;
      }
    }
  }

  private endHop(): void {
    this.nearBatches = 0;
    if (this.bestConfidence === NONE) {
      this.broken = true;
      return;
    }
    this.steps.push({
      type: this.bestType,
      confidence: this.bestConfidence,
      direction: this.bestDirection,
    });
  }
}

/** Multiplied from start to end, as the search does, so that both get the same float64. */
export function productOf(steps: readonly AssociationStep[]): number {
  let product = 1;
  for (const step of steps) product *= step.confidence;
  return product;
}

/** Below every confidence. */
const NONE = -1;
/** The far end joins once the near end has given so many batches. */
const FAR_JOINS_AT = 2;

const pool = new ViewPool((view) => new PathDescription(view));
