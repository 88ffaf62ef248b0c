import { describe, expect, it } from 'vitest';
import { SutraError } from '#sutra/errors';
import { type Traversal, type TraversalBudget, runTraversal } from '#sutra/engine/graph/budget';
import { BOTH } from '#sutra/engine/graph/graph-view';
import { findShortestPath } from '#sutra/engine/graph/hop-path';
import { collectNeighbors } from '#sutra/engine/graph/neighbors';
import { findStrongestPath } from '#sutra/engine/graph/strongest-path';
import { pausing, unhurried } from '../../support/budgets.js';
import { MapGraph } from '../../support/map-graph.js';

/** Counts to `steps`. */
class Counting implements Traversal<number> {
  uninterrupted = false;
  taken = 0;
  released = 0;

  constructor(private readonly steps: number) {}

  step(): boolean {
    return ++this.taken === this.steps;
  }

  result(): number {
    return this.taken;
  }

  release(): void {
    this.released++;
  }
}

/** A budget whose clock moves one millisecond each time it is read. */
function ticking(more: Partial<TraversalBudget> = {}): TraversalBudget & { pauses: number } {
  let time = 0;
  return {
    checkEvery: 1,
    sliceMs: 4,
    now: () => time++,
    pauses: 0,
    async pause() {
      this.pauses++;
      await Promise.resolve();
    },
    ...more,
  };
}

function grid(side: number): MapGraph {
  const graph = new MapGraph();
  graph.learn(side * side);
  for (let slot = 0; slot < side * side; slot++) {
    if ((slot + 1) % side !== 0) graph.link(slot, slot + 1, 0, 0.9);
    if (slot + side < side * side) graph.link(slot, slot + side, 0, 0.9);
  }
  return graph;
}

describe('runTraversal', () => {
  it('answers without a promise, and without looking at the clock, when one step is enough', () => {
    const traversal = new Counting(1);
    const budget = { ...unhurried, now: () => expect.unreachable('looked at the clock') };
    expect(runTraversal(traversal, budget)).toBe(1);
    expect(traversal.released).toBe(1);
  });

  it('pauses after each slice, and not while a traversal asks for no interruption', async () => {
    const traversal = new Counting(20);
    const budget = ticking();
    expect(await runTraversal(traversal, budget)).toBe(20);
    // One step before the clock is read, then four in each slice.
    expect(budget.pauses).toBe(3);
    expect(traversal.released).toBe(1);

    const urgent = new Counting(20);
    urgent.uninterrupted = true;
    expect(runTraversal(urgent, ticking())).toBe(20);
  });

  it('throws at once for a signal that is already aborted or a deadline that has passed', () => {
    for (const [more, code] of [
      [{ signal: AbortSignal.abort() }, 'CANCELLED'],
      [
        { signal: AbortSignal.abort(new DOMException('late', 'TimeoutError')) },
        'DEADLINE_EXCEEDED',
      ],
      [{ signal: AbortSignal.abort(new SutraError('UNAVAILABLE', 'draining')) }, 'UNAVAILABLE'],
      [{ deadlineMs: 0 }, 'DEADLINE_EXCEEDED'],
    ] as const) {
      const traversal = new Counting(1);
      expect(() => runTraversal(traversal, ticking(more))).toThrow(
        expect.objectContaining({ code }),
      );
      expect(traversal.taken).toBe(0);
      expect(traversal.released).toBe(1);
    }
  });

  it('rejects CANCELLED when aborted in a pause, DEADLINE_EXCEEDED when the reason is a timeout', async () => {
    for (const [reason, code] of [
      [undefined, 'CANCELLED'],
      ['enough', 'CANCELLED'],
      [new DOMException('late', 'TimeoutError'), 'DEADLINE_EXCEEDED'],
    ] as const) {
      const controller = new AbortController();
      const traversal = new Counting(1000);
      const budget = pausing((pauses) => pauses === 5 && controller.abort(reason), {
        signal: controller.signal,
      });
      await expect(runTraversal(traversal, budget)).rejects.toMatchObject({ code });
      expect(traversal.taken).toBe(5);
      expect(traversal.released).toBe(1);
    }
  });

  it('rejects when the deadline passes in a pause, and throws when it passes in the first slice', async () => {
    let time = 0;
    const later = new Counting(1000);
    const budget = pausing(() => (time += 10), { now: () => time, deadlineMs: 25 });
    await expect(runTraversal(later, budget)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(later.taken).toBe(3);

    const sooner = new Counting(1000);
    expect(() => runTraversal(sooner, ticking({ sliceMs: 1000, deadlineMs: 25 }))).toThrow(
      expect.objectContaining({ code: 'DEADLINE_EXCEEDED' }),
    );
    const urgent = new Counting(1000);
    urgent.uninterrupted = true;
    expect(() => runTraversal(urgent, ticking({ deadlineMs: 25 }))).toThrow(
      expect.objectContaining({ code: 'DEADLINE_EXCEEDED' }),
    );
    expect([later.released, sooner.released, urgent.released]).toEqual([1, 1, 1]);
  });

  it('releases and rejects when a pause fails', async () => {
    const traversal = new Counting(1000);
    const budget = ticking({ pause: () => Promise.reject(new Error('no pause')) });
    await expect(runTraversal(traversal, budget)).rejects.toThrow('no pause');
    expect(traversal.released).toBe(1);
  });
});

describe('a cancelled traversal', () => {
  it('leaves scratch clean at whatever step it was', async () => {
    const graph = grid(12);
    const query = { direction: BOTH, types: null, maxDepth: 64, limit: 0 };
    const last = 143;
    const hops = findShortestPath(graph, 0, last, query, unhurried);
    const strongest = findStrongestPath(graph, 0, last, query, unhurried);
    const neighbors = collectNeighbors(graph, 13, query, unhurried);
    expect(hops).toMatchObject({ steps: { length: 22 } });
    let cancelled = 0;
    for (let at = 1; at < 800; at += 7) {
      for (const run of [findShortestPath, findStrongestPath]) {
        const controller = new AbortController();
        const budget = pausing((pauses) => pauses === at && controller.abort(), {
          signal: controller.signal,
        });
        try {
          await run(graph, 0, last, query, budget);
        } catch (error) {
          expect(error).toMatchObject({ code: 'CANCELLED' });
          cancelled++;
        }
      }
      expect(findShortestPath(graph, 0, last, query, unhurried)).toEqual(hops);
      expect(findStrongestPath(graph, 0, last, query, unhurried)).toEqual(strongest);
      expect(collectNeighbors(graph, 13, query, unhurried)).toEqual(neighbors);
    }
    expect(cancelled).toBeGreaterThan(50);
  });
});
