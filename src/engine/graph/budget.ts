/**
 * How a traversal shares the event loop. A traversal is a state machine that advances in bounded steps; `runTraversal`
 * runs it synchronously for one slice, which is all that a fast one ever needs (no promise is made), and only then goes
 * on asynchronously, with a pause between slices. Between slices the caller may cancel it and its deadline may pass.
 * Whatever happens, the traversal gives its scratch back.
 *
 * What a paused traversal answers: a path that exists when it is returned, and that no path that existed unchanged all
 * the while would have beaten; null only when no such path existed. See hop-path.ts and strongest-path.ts.
 */

import { SutraError } from '../../errors.js';

/** Associations (or comparisons) between two looks at the clock: a few tenths of a millisecond. */
export const DEFAULT_CHECK_EVERY = 4096;
export const DEFAULT_SLICE_MS = 4;

/** A traversal that others keep breaking starts over so many times; the last time it runs without a pause. */
export const MAX_RESTARTS = 3;

export interface TraversalBudget {
  /** Units of work, one per association examined, between two looks at the clock; at least 1. */
  readonly checkEvery: number;
  /** How long to hold the event loop before a pause. */
  readonly sliceMs: number;
  /** Milliseconds on any scale that only grows. */
  now(): number;
  /** On the scale of `now`. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
  /** Resolves when others have had their turn: setImmediate in production. */
  pause(): Promise<void>;
}

export interface Traversal<T> {
  /** True: go on without a pause until done. */
  readonly uninterrupted: boolean;
  /** Does about `work` units of work, overshooting by at most a batch; true when the result is there. */
  step(work: number): boolean;
  /** Once, after `step` returned true. Nothing in it belongs to the scratch. */
  result(): T;
  /** Once, always: cleans the scratch and gives it back. */
  release(): void;
}

/** Runs to the end: the result itself when one slice was enough, else a promise of it. Throws (or rejects) SutraError. */
export function runTraversal<T>(traversal: Traversal<T>, budget: TraversalBudget): T | Promise<T> {
  let paused = false;
  try {
    if (budget.signal !== undefined || budget.deadlineMs !== undefined) checkBudget(budget);
    if (traversal.step(budget.checkEvery)) return traversal.result();
    if (runSlice(traversal, budget)) return traversal.result();
    paused = true;
  } finally {
    if (!paused) traversal.release();
  }
  return resumeTraversal(traversal, budget);
}

async function resumeTraversal<T>(traversal: Traversal<T>, budget: TraversalBudget): Promise<T> {
  try {
    do {
      await budget.pause();
      checkBudget(budget);
    } while (!traversal.step(budget.checkEvery) && !runSlice(traversal, budget));
    return traversal.result();
  } finally {
    traversal.release();
  }
}

/** Steps until done (true) or until the slice is over (false). */
function runSlice<T>(traversal: Traversal<T>, budget: TraversalBudget): boolean {
  let now = budget.now();
  const end = now + budget.sliceMs;
  while (now < end || traversal.uninterrupted) {
    if (traversal.step(budget.checkEvery)) return true;
    now = budget.now();
    if (budget.deadlineMs !== undefined && now >= budget.deadlineMs) throw deadlineExceeded();
  }
  return false;
}

/** Throws when the caller has given up or the deadline has passed. */
export function checkBudget(budget: TraversalBudget): void {
  const signal = budget.signal;
  if (signal?.aborted === true) throw abortError(signal.reason);
  if (budget.deadlineMs !== undefined && budget.now() >= budget.deadlineMs) {
    throw deadlineExceeded();
  }
}

function abortError(reason: unknown): SutraError {
  if (reason instanceof SutraError) return reason;
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new SutraError('DEADLINE_EXCEEDED', 'the deadline passed during the traversal', {
      cause: reason,
    });
  }
  return new SutraError('CANCELLED', 'the traversal was cancelled', { cause: reason });
}

function deadlineExceeded(): SutraError {
  return new SutraError('DEADLINE_EXCEEDED', 'the deadline passed during the traversal');
}
