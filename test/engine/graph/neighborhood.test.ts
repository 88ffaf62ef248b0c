import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BOTH } from '#sutra/engine/graph/graph-view';
import { collectNeighborhood } from '#sutra/engine/graph/neighborhood';
import { pausing, unhurried } from '../../support/budgets.js';
import {
  applyChange,
  buildGraph,
  changes,
  graphPlans,
  hopDistance,
} from '../../support/graph-oracles.js';
import { MapGraph } from '../../support/map-graph.js';

/** By plain breadth-first distances. */
function byDistance(graph: MapGraph, start: number, maxHops: number): number[] {
  const query = { maxDepth: maxHops, direction: BOTH, types: null };
  const near: number[] = [];
  for (let slot = 0; slot < graph.slotCapacity; slot++) {
    if (hopDistance(graph, start, slot, query) <= maxHops) near.push(slot);
  }
  return near;
}

function atOnce(answer: Uint32Array | Promise<Uint32Array>): number[] {
  if (answer instanceof Promise) throw new Error('expected an answer without a promise');
  return [...answer];
}

function chain(length: number, batch = 3): MapGraph {
  const graph = new MapGraph({ batch });
  graph.learn(length);
  // Every other association points backwards: both ways count.
  for (let i = 1; i < length; i++) graph.link(i % 2 === 0 ? i : i - 1, i % 2 === 0 ? i - 1 : i);
  return graph;
}

describe('collectNeighborhood', () => {
  it('holds the concept itself and what is at most so many hops away, ascending', () => {
    const graph = chain(9);
    expect(atOnce(collectNeighborhood(graph, 4, 1, unhurried))).toEqual([3, 4, 5]);
    expect(atOnce(collectNeighborhood(graph, 4, 2, unhurried))).toEqual([2, 3, 4, 5, 6]);
    expect(atOnce(collectNeighborhood(graph, 8, 64, unhurried))).toHaveLength(9);
    graph.learn(1);
    expect(atOnce(collectNeighborhood(graph, 9, 64, unhurried))).toEqual([9]);
  });

  it('is empty for a forgotten slot and one out of range', () => {
    const graph = chain(3);
    graph.forget(0);
    for (const slot of [0, 3, 4_000_000_000]) {
      expect(atOnce(collectNeighborhood(graph, slot, 3, unhurried))).toEqual([]);
    }
  });

  it('agrees with distances, for every start, reach, batch and slice', async () => {
    await fc.assert(
      fc.asyncProperty(graphPlans, fc.integer({ min: 1, max: 5 }), async (plan, maxHops) => {
        const graph = buildGraph(plan);
        for (let slot = 0; slot < plan.concepts; slot++) {
          const expected = byDistance(graph, slot, maxHops);
          expect(atOnce(collectNeighborhood(graph, slot, maxHops, unhurried))).toEqual(expected);
          const budget = pausing(() => undefined, { checkEvery: 1 + (slot % 5) });
          expect([...(await collectNeighborhood(graph, slot, maxHops, budget))]).toEqual(expected);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('takes in 100,000 in slices, and in order without sorting them', async () => {
    const graph = new MapGraph({ batch: 256 });
    const count = 100_000;
    graph.learn(count);
    // A tree of hubs, numbered so that breadth-first order is far from ascending.
    const at = (i: number): number => (i * 7919) % count;
    for (let i = 1; i < count; i++) graph.link(at(i), at(Math.floor(i / 50)));
    const budget = pausing(() => undefined, { checkEvery: 4096 });
    const found = await collectNeighborhood(graph, 0, 64, budget);
    expect(found).toEqual(Uint32Array.from({ length: count }, (_, i) => i));
    expect(budget.pauses).toBeGreaterThan(count / 4096);
    expect(budget.pauses).toBeLessThan((8 * count) / 4096);
    // 49 below the root, and 50 below each of those.
    const near = [...(await collectNeighborhood(graph, 0, 2, budget))];
    const tree = Array.from({ length: 50 * 50 }, (_, i) => at(i)).sort((a, b) => a - b);
    expect(near).toEqual(tree);
  });

  it('keeps whatever stays near while the graph changes in pauses', async () => {
    await fc.assert(
      fc.asyncProperty(graphPlans, changes, async (plan, schedule) => {
        const graph = buildGraph(plan);
        const before = byDistance(graph, 0, 2);
        // Near by associations that are there all the while: distances in what no change has touched.
        const untouched = buildGraph(plan);
        let at = 0;
        const budget = pausing(() => {
          const change = schedule[at++];
          if (change === undefined) return;
          applyChange(graph, change);
          for (const edge of [...untouched.edges()]) {
            const kept = graph.outgoing.get(edge.source)?.has(`${edge.target}/${edge.type}`);
            if (kept !== true) untouched.unlink(edge.source, edge.target, edge.type);
          }
        });
        const got = [...(await collectNeighborhood(graph, 0, 2, budget))];
        const stable = byDistance(untouched, 0, 2).filter((slot) => graph.isLive(slot));
        expect(got).toEqual(expect.arrayContaining(stable));
        expect(got).toEqual([...new Set(got)].sort((a, b) => a - b));
        if (at === 0) expect(got).toEqual(before);
      }),
      { numRuns: 200 },
    );
  });

  it('leaves clean scratch behind a failure at any fill', () => {
    const graph = chain(60);
    const expected = byDistance(graph, 30, 10);
    for (let fills = 1; fills < 30; fills++) {
      graph.fillsUntilFailure = fills;
      expect(() => collectNeighborhood(graph, 30, 10, unhurried)).toThrow('injected');
      graph.fillsUntilFailure = Number.POSITIVE_INFINITY;
      expect(atOnce(collectNeighborhood(graph, 30, 10, unhurried))).toEqual(expected);
    }
  });
});
