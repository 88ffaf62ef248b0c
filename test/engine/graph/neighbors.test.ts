import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BOTH, IN, OUT } from '#sutra/engine/graph/graph-view';
import { type NeighborList, collectNeighbors } from '#sutra/engine/graph/neighbors';
import { pausing, unhurried } from '../../support/budgets.js';
import {
  applyChange,
  buildGraph,
  changes,
  graphPlans,
  neighborsBySorting,
} from '../../support/graph-oracles.js';
import { MapGraph, type SeenEdge, maskOf } from '../../support/map-graph.js';

const ALL = { direction: BOTH, types: null, limit: 0 };

function entries(list: NeighborList): SeenEdge[] {
  return Array.from(list.slots, (slot, i) => ({
    slot,
    type: list.types[i] ?? -1,
    confidence: list.confidences[i] ?? -1,
    direction: list.directions[i] ?? -1,
  }));
}

/** For a traversal that must not need a pause. */
function atOnce<T>(answer: T | Promise<T>): T {
  if (answer instanceof Promise) throw new Error('expected an answer without a promise');
  return answer;
}

/** A hub with `leaves` neighbours, confidences from a few values so that many tie. */
function star(leaves: number, batch: number): MapGraph {
  const graph = new MapGraph({ batch });
  graph.learn(leaves + 1);
  for (let leaf = 1; leaf <= leaves; leaf++) {
    const confidence = ((leaf * 7919) % 16) / 16;
    if (leaf % 3 === 0) graph.link(leaf, 0, leaf % 5, confidence);
    else graph.link(0, leaf, leaf % 5, confidence);
  }
  return graph;
}

describe('collectNeighbors', () => {
  it('lists each neighbour once, with its strongest association, strongest first', () => {
    const graph = new MapGraph();
    graph.learn(4);
    graph.link(0, 1, 3, 0.5);
    graph.link(1, 0, 2, 0.9);
    graph.link(2, 0, 1, 0.7);
    graph.link(0, 2, 1, 0.7);
    graph.link(0, 3, 4, 0.95);
    graph.link(3, 0, 0, 0.95);
    expect(entries(atOnce(collectNeighbors(graph, 0, ALL, unhurried)))).toEqual([
      { slot: 3, type: 0, confidence: Math.fround(0.95), direction: IN },
      { slot: 1, type: 2, confidence: Math.fround(0.9), direction: IN },
      { slot: 2, type: 1, confidence: Math.fround(0.7), direction: OUT },
    ]);
  });

  it('lists the concept itself once for a self-loop, whichever way it is asked', () => {
    const graph = new MapGraph();
    graph.learn(1);
    graph.link(0, 0, 2, 0.5);
    for (const direction of [OUT, IN, BOTH]) {
      const list = atOnce(collectNeighbors(graph, 0, { ...ALL, direction }, unhurried));
      expect([...list.slots]).toEqual([0]);
    }
  });

  it('knows none for a forgotten slot and one out of range', () => {
    const graph = new MapGraph();
    graph.learn(2);
    graph.link(0, 1);
    graph.forget(0);
    for (const slot of [0, 1, 2, 4_000_000_000]) {
      expect(atOnce(collectNeighbors(graph, slot, ALL, unhurried)).slots).toHaveLength(0);
    }
  });

  it('agrees with sorting, for every direction, filter, limit and batch', () => {
    fc.assert(
      fc.property(
        graphPlans,
        fc.constantFrom(OUT, IN, BOTH),
        fc.subarray([0, 1, 2, 3]),
        fc.nat(6),
        (plan, direction, types, limit) => {
          const graph = buildGraph(plan);
          const mask = maskOf(types);
          for (let slot = 0; slot < plan.concepts; slot++) {
            const expected = neighborsBySorting(graph, slot, direction, mask);
            const query = { direction, types: mask, limit };
            const list = atOnce(collectNeighbors(graph, slot, query, unhurried));
            expect(entries(list)).toEqual(limit === 0 ? expected : expected.slice(0, limit));
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it.each([31, 32, 33, 64, 500, 3000])('sorts and limits %i neighbours', (leaves) => {
    for (const batch of [1, 3, 256]) {
      const graph = star(leaves, batch);
      const expected = neighborsBySorting(graph, 0, BOTH, null);
      for (const limit of [0, 1, 30, leaves - 1, leaves, leaves + 1]) {
        const list = atOnce(collectNeighbors(graph, 0, { ...ALL, limit }, unhurried));
        expect(entries(list)).toEqual(limit === 0 ? expected : expected.slice(0, limit));
      }
    }
  });

  it('gives the same answer whatever the slices', async () => {
    const graph = star(300, 3);
    const expected = neighborsBySorting(graph, 0, BOTH, null);
    for (const checkEvery of [1, 2, 7, 100, 250]) {
      for (const limit of [0, 40]) {
        const budget = pausing(() => undefined, { checkEvery });
        const list = await collectNeighbors(graph, 0, { ...ALL, limit }, budget);
        expect(entries(list)).toEqual(limit === 0 ? expected : expected.slice(0, limit));
        expect(budget.pauses).toBeGreaterThan(0);
      }
    }
  });

  it('answers for a supernode of 200,000 in slices', async () => {
    const graph = star(200_000, 256);
    const expected = neighborsBySorting(graph, 0, BOTH, null);
    const budget = pausing(() => undefined, { checkEvery: 4096 });
    expect(entries(await collectNeighbors(graph, 0, ALL, budget))).toEqual(expected);
    // Collecting, 14 rounds of merging and the rest: in proportion to n log n, far from n squared.
    expect(budget.pauses).toBeGreaterThan(200_000 / 4096);
    expect(budget.pauses).toBeLessThan((20 * 200_000) / 4096);
    const few = await collectNeighbors(graph, 0, { ...ALL, limit: 10 }, budget);
    expect(entries(few)).toEqual(expected.slice(0, 10));
  });

  it('keeps every stable neighbour and no forgotten one when the graph changes in pauses', async () => {
    await fc.assert(
      fc.asyncProperty(graphPlans, changes, fc.nat(8), async (plan, schedule, limit) => {
        const graph = buildGraph(plan);
        const before = new Set(neighborsBySorting(graph, 0, BOTH, null).map(({ slot }) => slot));
        const ever = new Set(before);
        const stable = new Set(before);
        let at = 0;
        const budget = pausing(() => {
          const change = schedule[at++];
          if (change === undefined) return;
          applyChange(graph, change);
          const now = new Set(neighborsBySorting(graph, 0, BOTH, null).map(({ slot }) => slot));
          for (const slot of now) ever.add(slot);
          for (const slot of stable) if (!now.has(slot)) stable.delete(slot);
        });
        const list = await collectNeighbors(graph, 0, { ...ALL, limit }, budget);
        const got = [...list.slots];
        expect(new Set(got).size).toBe(got.length);
        for (const slot of got) {
          expect(ever).toContain(slot);
          expect(graph.isLive(slot)).toBe(true);
        }
        if (limit === 0) expect(got).toEqual(expect.arrayContaining([...stable]));
        else expect(got.length).toBeLessThanOrEqual(limit);
        for (let i = 1; i < got.length; i++) {
          expect(list.confidences[i]).toBeLessThanOrEqual(list.confidences[i - 1] ?? -1);
        }
        if (!graph.isLive(0)) expect(got).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });

  it('leaves clean scratch behind a failure at any fill', () => {
    const graph = star(100, 3);
    const expected = neighborsBySorting(graph, 0, BOTH, null);
    for (let fills = 1; fills < 36; fills++) {
      graph.fillsUntilFailure = fills;
      const attempt = (): unknown => collectNeighbors(graph, 0, ALL, unhurried);
      if (fills <= 35) expect(attempt).toThrow('injected');
      graph.fillsUntilFailure = Number.POSITIVE_INFINITY;
      expect(entries(atOnce(collectNeighbors(graph, 0, ALL, unhurried)))).toEqual(expected);
    }
  });
});
