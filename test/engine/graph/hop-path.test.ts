import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BOTH, IN, OUT } from '#sutra/engine/graph/graph-view';
import { findShortestPath } from '#sutra/engine/graph/hop-path';
import type { FoundPath, PathQuery } from '#sutra/engine/graph/path-steps';
import { pausing, unhurried } from '../../support/budgets.js';
import {
  StablePart,
  applyChange,
  buildGraph,
  changes,
  graphPlans,
  hopDistance,
  largerPlans,
  pathProblem,
} from '../../support/graph-oracles.js';
import { MapGraph, maskOf } from '../../support/map-graph.js';

const ANY: PathQuery = { maxDepth: 6, direction: BOTH, types: null };

/** For a search that must not need a pause. */
function shortest(
  graph: MapGraph,
  start: number,
  end: number,
  query: PathQuery = ANY,
): FoundPath | null {
  const answer = findShortestPath(graph, start, end, query, unhurried);
  if (answer instanceof Promise) throw new Error('expected an answer without a promise');
  return answer;
}

function chain(hops: number, batch = 3): MapGraph {
  const graph = new MapGraph({ batch });
  graph.learn(hops + 1);
  for (let slot = 0; slot < hops; slot++) graph.link(slot, slot + 1);
  return graph;
}

const queries = fc.record({
  maxDepth: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.constant(64)),
  direction: fc.constantFrom(OUT, IN, BOTH),
  types: fc.subarray([0, 1, 2, 3]).map(maskOf),
});

describe('findShortestPath', () => {
  it('finds the association between two neighbours, and which way it points', () => {
    const graph = new MapGraph();
    graph.learn(2);
    graph.link(0, 1, 3, 0.5);
    expect(shortest(graph, 0, 1)).toEqual({
      slots: [0, 1],
      steps: [{ type: 3, confidence: 0.5, direction: OUT }],
      confidence: 0.5,
    });
    expect(shortest(graph, 1, 0)?.steps).toEqual([{ type: 3, confidence: 0.5, direction: IN }]);
    expect(shortest(graph, 1, 0, { ...ANY, direction: OUT })).toBeNull();
    expect(shortest(graph, 1, 0, { ...ANY, direction: IN })?.slots).toEqual([1, 0]);
    expect(shortest(graph, 0, 1, { ...ANY, types: maskOf([1, 2]) })).toBeNull();
  });

  it('takes one concept for a path when start is end and known', () => {
    const graph = chain(1);
    expect(shortest(graph, 1, 1)).toEqual({ slots: [1], steps: [], confidence: 1 });
    graph.forget(1);
    expect(shortest(graph, 1, 1)).toBeNull();
  });

  it('finds nothing at a forgotten slot, one out of range, or across components', () => {
    const graph = chain(4);
    graph.learn();
    expect(shortest(graph, 0, 5)).toBeNull();
    expect(shortest(graph, 0, 6)).toBeNull();
    expect(shortest(graph, 4_000_000_000, 0)).toBeNull();
    graph.forget(2);
    expect(shortest(graph, 0, 4)).toBeNull();
    expect(shortest(graph, 0, 2)).toBeNull();
  });

  it('bounds hops exactly, up to 64', () => {
    for (const hops of [1, 2, 3, 7, 63, 64]) {
      for (const direction of [OUT, BOTH]) {
        const graph = chain(hops);
        const path = shortest(graph, 0, hops, { ...ANY, direction, maxDepth: hops });
        expect(path?.slots).toEqual(Array.from({ length: hops + 1 }, (_, slot) => slot));
        if (hops > 1) {
          expect(shortest(graph, 0, hops, { ...ANY, direction, maxDepth: hops - 1 })).toBeNull();
        }
      }
    }
  });

  it('is as long as plain breadth-first search says, for every pair, direction, filter and depth', () => {
    fc.assert(
      fc.property(graphPlans, queries, (plan, query) => {
        const graph = buildGraph(plan);
        for (let start = 0; start < plan.concepts; start++) {
          for (let end = 0; end < plan.concepts; end++) {
            const expected = hopDistance(graph, start, end, query);
            const path = shortest(graph, start, end, query);
            expect(path === null ? Infinity : path.steps.length).toBe(expected);
            if (path !== null) {
              expect(pathProblem(graph, start, end, query, path)).toBeNull();
            }
          }
        }
      }),
      { numRuns: 150 },
    );
  });

  it('stays shortest when levels are suspended half-way and the sides race', () => {
    // Several hubs of thousands of leaves, so that both sides suspend levels; the leaves of two hubs overlap here and
    // there, so that meetings longer than the shortest are found first.
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(5), fc.nat(5)), { maxLength: 12 }),
        fc.array(fc.tuple(fc.nat(8999), fc.nat(8999)), { maxLength: 40 }),
        fc.integer({ min: 1, max: 6 }),
        (hubLinks, leafLinks, maxDepth) => {
          const hubs = 6;
          const graph = new MapGraph({ batch: 64 });
          graph.learn(hubs + 9000);
          for (let leaf = 0; leaf < 9000; leaf++) {
            graph.link(leaf % hubs, hubs + leaf);
          }
          for (const [a, b] of hubLinks) graph.link(a, hubs + ((b * 2003) % 9000));
          for (const [a, b] of leafLinks) graph.link(hubs + a, hubs + b);
          for (let start = 0; start < hubs; start++) {
            for (const end of [(start + 1) % hubs, hubs + 5, hubs + 8995]) {
              const query = { ...ANY, maxDepth };
              const path = shortest(graph, start, end, query);
              const expected = hopDistance(graph, start, end, query);
              expect(path === null ? Infinity : path.steps.length).toBe(expected);
            }
          }
        },
      ),
      { numRuns: 10 },
    );
  });

  it('does not take the first meeting for the shortest', () => {
    // Two hubs with a common leaf at the head of their lists and an association between them at the very end. Both levels
    // are half expanded when the leaf is met, two hops from end to end; with a hop before each hub, four.
    for (const leaves of [1500, 3000, 20_000]) {
      const graph = new MapGraph({ batch: 64 });
      graph.learn(5 + 2 * leaves);
      for (let leaf = 0; leaf <= leaves; leaf++) {
        graph.link(0, 4 + leaf);
        graph.link(1, 4 + (leaf === 0 ? 0 : leaf + leaves));
      }
      graph.link(0, 1);
      graph.link(2, 0);
      graph.link(1, 3);
      expect(shortest(graph, 0, 1)?.slots).toEqual([0, 1]);
      expect(shortest(graph, 1, 0)?.slots).toEqual([1, 0]);
      expect(shortest(graph, 2, 3)?.slots).toEqual([2, 0, 1, 3]);
    }
  });

  it('does not scan a supernode of 200,000 to find its leaf, nor what hangs on the leaf', () => {
    const graph = new MapGraph({ batch: 256 });
    graph.learn(200_003);
    for (let leaf = 1; leaf <= 200_000; leaf++) graph.link(0, leaf);
    graph.link(200_000, 200_001);
    graph.link(200_001, 200_002);
    graph.examined = 0;
    for (const [start, end, hops] of [
      [0, 200_000, 1],
      [200_000, 0, 1],
      [0, 200_002, 3],
      [200_002, 0, 3],
    ] as const) {
      expect(shortest(graph, start, end)?.steps).toHaveLength(hops);
    }
    expect(graph.examined).toBeLessThan(20_000);
    expect(shortest(graph, 1, 199_999)?.slots).toEqual([1, 0, 199_999]);
  });

  it('gives the same answer whatever the slices, several at a time', async () => {
    await fc.assert(
      fc.asyncProperty(
        graphPlans,
        queries,
        fc.integer({ min: 1, max: 9 }),
        async (plan, query, n) => {
          const graph = buildGraph(plan);
          const pairs = Array.from({ length: 8 }, (_, i) => [0, i % plan.concepts] as const);
          const paths = await Promise.all(
            pairs.map(async ([start, end]) => {
              const budget = pausing(() => undefined, { checkEvery: n });
              return findShortestPath(graph, start, end, query, budget);
            }),
          );
          for (const [i, [start, end]] of pairs.entries()) {
            const length = paths[i]?.steps.length ?? Infinity;
            expect(length).toBe(hopDistance(graph, start, end, query));
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it('never returns what does not exist, nor misses what was stable, when the graph changes in pauses', async () => {
    let found = 0;
    let changedAndFound = 0;
    await fc.assert(
      fc.asyncProperty(
        largerPlans,
        queries,
        changes,
        fc.nat(23),
        async (plan, query, schedule, to) => {
          const graph = buildGraph(plan);
          const end = to % plan.concepts;
          const stable = new StablePart(graph);
          const budget = pausing((pauses) => {
            const change = schedule[pauses - 1];
            if (change === undefined) return;
            applyChange(graph, change);
            stable.keepUp();
          });
          const path = await findShortestPath(graph, 0, end, query, budget);
          const atMost = hopDistance(stable.toGraph(), 0, end, query);
          expect(path?.steps.length ?? Infinity).toBeLessThanOrEqual(atMost);
          if (path !== null) {
            expect(pathProblem(graph, 0, end, query, path)).toBeNull();
            found++;
            if (budget.pauses > 1 && schedule.length > 0) changedAndFound++;
          }
        },
      ),
      { numRuns: 1000 },
    );
    expect(found).toBeGreaterThan(50);
    expect(changedAndFound).toBeGreaterThan(50);
  });

  it('gives up its pauses when every path it finds is broken, and then answers', async () => {
    // Thousands of ways of two hops each. The search finds the first in the list, and every other pause takes the first
    // away, so that none lives long enough to be described.
    const ways = 4000;
    const graph = new MapGraph({ batch: 3 });
    graph.learn(2 + ways);
    for (let way = 2; way < 2 + ways; way++) {
      graph.link(0, way);
      graph.link(way, 1);
    }
    let first = 2;
    const budget = pausing((pauses) => {
      if (pauses % 2 === 0) graph.unlink(0, first++, 0);
    });
    graph.examined = 0;
    const path = await findShortestPath(graph, 0, 1, ANY, budget);
    expect(path?.slots).toEqual([0, first, 1]);
    if (path !== null) expect(pathProblem(graph, 0, 1, ANY, path)).toBeNull();
    // The first search and three new ones each read the start's list; the last of them took no pause.
    const examined = graph.examined;
    graph.examined = 0;
    expect(shortest(graph, 0, 1)).toEqual(path);
    expect(examined).toBeGreaterThan(3.5 * graph.examined);
    expect(examined).toBeLessThan(6 * graph.examined);
    expect(budget.pauses).toBeLessThan(examined / 3);
  });

  it('fails rather than search for ever when the view contradicts itself', () => {
    const graph = chain(3);
    const query = { ...ANY, direction: OUT };
    // With more to do at the start, the search goes on from the end, and the backward half comes to 1 by an association that 1 does not know of.
    const leaves = graph.learn(10);
    for (let leaf = leaves; leaf < leaves + 10; leaf++) graph.link(0, leaf);
    graph.outgoing.get(1)?.clear();
    expect(() => shortest(graph, 0, 3, query)).toThrow(
      expect.objectContaining({ code: 'INTERNAL' }),
    );
    graph.link(1, 2);
    expect(shortest(graph, 0, 3, query)?.steps).toHaveLength(3);
  });

  it('leaves clean scratch behind a failure at any fill', () => {
    const graph = new MapGraph({ batch: 1 });
    graph.learn(40);
    for (let slot = 0; slot < 39; slot++) {
      graph.link(slot, slot + 1);
      graph.link(slot, (slot * 7) % 40);
    }
    let failures = 0;
    for (let fills = 1; fills < 200; fills++) {
      graph.fillsUntilFailure = fills;
      try {
        shortest(graph, 0, 39, { ...ANY, maxDepth: 64 });
      } catch (error) {
        expect(String(error)).toContain('injected');
        failures++;
      }
      graph.fillsUntilFailure = Number.POSITIVE_INFINITY;
      for (const end of [5, 20, 39]) {
        const query = { ...ANY, maxDepth: 64 };
        expect(shortest(graph, 0, end, query)?.steps).toHaveLength(
          hopDistance(graph, 0, end, query),
        );
      }
    }
    expect(failures).toBeGreaterThan(10);
  });

  it('keeps up with concepts learned after its scratch was made', () => {
    const graph = chain(3);
    expect(shortest(graph, 0, 3)?.steps).toHaveLength(3);
    const first = graph.learn(5000);
    graph.link(3, first + 4999);
    expect(shortest(graph, 0, first + 4999)?.slots).toEqual([0, 1, 2, 3, first + 4999]);
  });
});
