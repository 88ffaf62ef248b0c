import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BOTH, IN, OUT } from '#sutra/engine/graph/graph-view';
import type { FoundPath, PathQuery } from '#sutra/engine/graph/path-steps';
import { findStrongestPath } from '#sutra/engine/graph/strongest-path';
import { pausing, unhurried } from '../../support/budgets.js';
import {
  StablePart,
  applyChange,
  buildGraph,
  changes,
  graphPlans,
  largerPlans,
  pathProblem,
  strongestProduct,
} from '../../support/graph-oracles.js';
import { MapGraph, maskOf } from '../../support/map-graph.js';

const ANY: PathQuery = { maxDepth: 6, direction: BOTH, types: null };

function strongest(
  graph: MapGraph,
  start: number,
  end: number,
  query: PathQuery = ANY,
): FoundPath | null {
  const answer = findStrongestPath(graph, start, end, query, unhurried);
  if (answer instanceof Promise) throw new Error('expected an answer without a promise');
  return answer;
}

const queries = fc.record({
  maxDepth: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.constant(64)),
  direction: fc.constantFrom(OUT, IN, BOTH),
  types: fc.subarray([0, 1, 2, 3]).map(maskOf),
});

describe('findStrongestPath', () => {
  it('prefers a longer way of higher product, and fewer hops when products tie', () => {
    const graph = new MapGraph();
    graph.learn(4);
    graph.link(0, 3, 0, 0.25);
    graph.link(0, 1, 0, 0.75);
    graph.link(1, 3, 0, 0.5);
    expect(strongest(graph, 0, 3)).toMatchObject({ slots: [0, 1, 3], confidence: 0.375 });
    graph.link(0, 3, 1, 0.375);
    expect(strongest(graph, 0, 3)).toMatchObject({ slots: [0, 3], confidence: 0.375 });
  });

  it('finds the way that the hop bound admits behind a stronger one that it does not', () => {
    // To 4 the strongest way takes 3 hops, and then 5 is out of reach within 3; Dijkstra over nodes would miss 0-4-5.
    const graph = new MapGraph();
    graph.learn(6);
    graph.link(0, 1);
    graph.link(1, 2);
    graph.link(2, 4);
    graph.link(0, 4, 0, 0.5);
    graph.link(4, 5);
    expect(strongest(graph, 0, 5)?.slots).toEqual([0, 1, 2, 4, 5]);
    expect(strongest(graph, 0, 5, { ...ANY, maxDepth: 3 })).toMatchObject({
      slots: [0, 4, 5],
      confidence: 0.5,
    });
    expect(strongest(graph, 0, 5, { ...ANY, maxDepth: 1 })).toBeNull();
  });

  it('does not pass zero, but passes a product that underflows', () => {
    const graph = new MapGraph();
    graph.learn(65);
    for (let slot = 0; slot < 64; slot++) graph.link(slot, slot + 1, 0, 1e-30);
    const path = strongest(graph, 0, 64, { ...ANY, maxDepth: 64 });
    expect(path?.steps).toHaveLength(64);
    expect(path?.confidence).toBe(0);
    graph.link(63, 64, 0, 0);
    expect(strongest(graph, 0, 64, { ...ANY, maxDepth: 64 })).toBeNull();
  });

  it('takes the strongest of parallel associations under the filters', () => {
    const graph = new MapGraph();
    graph.learn(2);
    graph.link(0, 1, 0, 0.25);
    graph.link(0, 1, 7, 0.75);
    graph.link(1, 0, 3, 0.75);
    expect(strongest(graph, 0, 1)?.steps).toEqual([{ type: 3, confidence: 0.75, direction: IN }]);
    expect(strongest(graph, 0, 1, { ...ANY, direction: OUT })?.steps).toEqual([
      { type: 7, confidence: 0.75, direction: OUT },
    ]);
    expect(strongest(graph, 0, 1, { ...ANY, types: maskOf([0]) })?.confidence).toBe(0.25);
  });

  it('takes one concept for a path when start is end and known', () => {
    const graph = new MapGraph();
    graph.learn(2);
    expect(strongest(graph, 1, 1)).toEqual({ slots: [1], steps: [], confidence: 1 });
    expect(strongest(graph, 0, 1)).toBeNull();
    expect(strongest(graph, 0, 2)).toBeNull();
  });

  it('has the product and hops of exhaustive search, for every pair, direction, filter and depth', () => {
    fc.assert(
      fc.property(graphPlans, queries, (plan, query) => {
        const graph = buildGraph(plan);
        const bounded = { ...query, maxDepth: Math.min(query.maxDepth, plan.concepts) };
        for (let start = 0; start < plan.concepts; start += 2) {
          for (let end = 0; end < plan.concepts; end++) {
            const expected = strongestProduct(graph, start, end, bounded);
            const path = strongest(graph, start, end, query);
            expect(
              path === null ? null : { product: path.confidence, hops: path.steps.length },
            ).toEqual(expected);
            if (path !== null) expect(pathProblem(graph, start, end, query, path)).toBeNull();
          }
        }
      }),
      { numRuns: 150 },
    );
  });

  it('takes the lower slot where product and hops tie, in whatever order they were learned', () => {
    for (const middle of [
      [1, 2, 3],
      [3, 2, 1],
      [2, 3, 1],
    ]) {
      const graph = new MapGraph();
      graph.learn(6);
      for (const slot of middle) {
        graph.link(slot, 4, 0, 0.5);
        graph.link(0, slot, 0, 0.5);
      }
      expect(strongest(graph, 0, 4)?.slots).toEqual([0, 1, 4]);
      expect(strongest(graph, 4, 0)?.slots).toEqual([4, 1, 0]);
    }
  });

  it('does not depend on the order in which associations were learned, nor on batches', () => {
    fc.assert(
      fc.property(graphPlans, queries, fc.nat(), (plan, query, seed) => {
        const links = new Map(plan.links.map((link) => [link.slice(0, 3).join(), link]));
        const shuffled = [...links.values()]
          .map((link, i) => ({ link, rank: Math.imul(i + seed, 0x9e3779b1) >>> 0 }))
          .sort((a, b) => a.rank - b.rank)
          .map(({ link }) => link);
        const one = buildGraph(plan);
        const other = buildGraph({ ...plan, links: shuffled, batch: 2 });
        for (let end = 0; end < plan.concepts; end++) {
          expect(strongest(other, 0, end, query)).toEqual(strongest(one, 0, end, query));
        }
      }),
      { numRuns: 120 },
    );
  });

  it('gives the same answer whatever the slices, several at a time', async () => {
    await fc.assert(
      fc.asyncProperty(
        graphPlans,
        queries,
        fc.integer({ min: 1, max: 9 }),
        async (plan, query, n) => {
          const graph = buildGraph(plan);
          const ends = Array.from({ length: 6 }, (_, i) => i % plan.concepts);
          const paths = await Promise.all(
            ends.map(async (end) => {
              const budget = pausing(() => undefined, { checkEvery: n });
              return findStrongestPath(graph, 0, end, query, budget);
            }),
          );
          for (const [i, end] of ends.entries()) {
            expect(paths[i]).toEqual(strongest(graph, 0, end, query));
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  it('never returns what does not exist, nor less than what was stable, when the graph changes in pauses', async () => {
    let found = 0;
    await fc.assert(
      fc.asyncProperty(
        largerPlans,
        queries,
        changes,
        fc.nat(23),
        async (plan, query, schedule, to) => {
          const graph = buildGraph(plan);
          const bounded = { ...query, maxDepth: Math.min(query.maxDepth, 24) };
          const end = to % plan.concepts;
          const stable = new StablePart(graph);
          const budget = pausing((pauses) => {
            const change = schedule[pauses - 1];
            if (change === undefined) return;
            applyChange(graph, change);
            stable.keepUp();
          });
          const path = await findStrongestPath(graph, 0, end, bounded, budget);
          const atLeast = strongestProduct(stable.toGraph(), 0, end, bounded);
          expect(path?.confidence ?? -1).toBeGreaterThanOrEqual(atLeast?.product ?? -1);
          if (path !== null) {
            expect(pathProblem(graph, 0, end, bounded, path)).toBeNull();
            expect(path.steps.every((step) => step.confidence > 0)).toBe(true);
            found++;
          }
        },
      ),
      { numRuns: 1000 },
    );
    expect(found).toBeGreaterThan(50);
  });

  it('starts over when what it found has become weaker than it was chosen for', async () => {
    let began = 0;
    for (let at = 1; at < 60; at++) {
      const graph = new MapGraph({ batch: 1 });
      graph.learn(5);
      graph.link(0, 4, 0, 0.5);
      for (let slot = 0; slot < 4; slot++) graph.link(slot, slot + 1, 0, 0.99);
      const budget = pausing((pauses) => {
        if (pauses === at) graph.link(0, 1, 0, 0.1);
      });
      const path = await findStrongestPath(graph, 0, 4, ANY, budget);
      if (budget.pauses >= at) {
        expect(path).toMatchObject({ slots: [0, 4], confidence: 0.5 });
        began++;
      }
    }
    expect(began).toBeGreaterThan(20);
  });

  it('leaves clean scratch behind a failure at any fill', () => {
    const graph = new MapGraph({ batch: 1 });
    graph.learn(30);
    for (let slot = 0; slot < 29; slot++) {
      graph.link(slot, slot + 1, 0, 0.9);
      graph.link(slot, (slot * 7) % 30, 1, 0.3);
    }
    const query = { ...ANY, maxDepth: 64 };
    const expected = strongest(graph, 0, 29, query);
    let failures = 0;
    for (let fills = 1; fills < 400; fills += 3) {
      graph.fillsUntilFailure = fills;
      try {
        strongest(graph, 0, 29, query);
      } catch (error) {
        expect(String(error)).toContain('injected');
        failures++;
      }
      graph.fillsUntilFailure = Number.POSITIVE_INFINITY;
      expect(strongest(graph, 0, 29, query)).toEqual(expected);
    }
    expect(failures).toBeGreaterThan(20);
  });

  it('settles a supernode of 200,000 in slices', async () => {
    const graph = new MapGraph({ batch: 256 });
    graph.learn(200_002);
    for (let leaf = 1; leaf <= 200_000; leaf++) {
      graph.link(0, leaf, 0, 0.5);
      if (leaf % 1000 === 0) graph.link(leaf, 200_001, 0, leaf / 200_000);
    }
    const budget = pausing(() => undefined, { checkEvery: 4096 });
    const path = await findStrongestPath(graph, 0, 200_001, ANY, budget);
    expect(path).toMatchObject({ slots: [0, 200_000, 200_001], confidence: 0.5 });
  });
});
