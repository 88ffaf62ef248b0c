/** Budgets for traversal tests: a clock that only moves when told to, and pauses that tests can act in. */

import type { TraversalBudget } from '#sutra/engine/graph/budget';

/** Never pauses: a traversal that asks for a pause fails the test. */
export const unhurried: TraversalBudget = {
  checkEvery: 4096,
  sliceMs: 4,
  now: () => 0,
  pause: () => Promise.reject(new Error('paused, although its slice was not over')),
};

export interface PausingBudget extends TraversalBudget {
  readonly pauses: number;
}

/** Pauses after every step of `checkEvery` units; `onPause` runs in each pause. */
export function pausing(
  onPause: (pauses: number) => void,
  more: Partial<TraversalBudget> = {},
): PausingBudget {
  return {
    checkEvery: 1,
    sliceMs: 0,
    now: () => 0,
    ...more,
    pauses: 0,
    async pause() {
      await Promise.resolve();
      (this as { pauses: number }).pauses++;
      onPause(this.pauses);
    },
  };
}
