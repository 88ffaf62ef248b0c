import { describe, expect, it } from 'vitest';
import { BOTH, IN, OUT } from '#sutra/engine/graph/graph-view';
import { describeSteps } from '#sutra/engine/graph/path-steps';
import { pausing, unhurried } from '../../support/budgets.js';
import { MapGraph, maskOf } from '../../support/map-graph.js';

const ANY = { direction: BOTH, types: null };

describe('describeSteps', () => {
  it('names the strongest association of each hop: confidence, then lower type, then out before in', () => {
    const graph = new MapGraph({ batch: 1 });
    graph.learn(4);
    graph.link(0, 1, 4, 0.25);
    graph.link(1, 0, 5, 0.75);
    graph.link(1, 2, 3, 0.5);
    graph.link(1, 2, 2, 0.5);
    graph.link(3, 2, 1, 0.5);
    graph.link(2, 3, 1, 0.5);
    expect(describeSteps(graph, [0, 1, 2, 3], ANY, unhurried)).toEqual([
      { type: 5, confidence: 0.75, direction: IN },
      { type: 2, confidence: 0.5, direction: OUT },
      { type: 1, confidence: 0.5, direction: OUT },
    ]);
    const outward = { direction: OUT, types: null };
    expect(describeSteps(graph, [0, 1], outward, unhurried)).toEqual([
      { type: 4, confidence: 0.25, direction: OUT },
    ]);
    const third = { direction: BOTH, types: maskOf([3]) };
    expect(describeSteps(graph, [2, 1], third, unhurried)).toEqual([
      { type: 3, confidence: 0.5, direction: IN },
    ]);
  });

  it('is null when a hop has no association that the filters admit', () => {
    const graph = new MapGraph();
    graph.learn(3);
    graph.link(0, 1, 1);
    expect(describeSteps(graph, [0, 1, 2], ANY, unhurried)).toBeNull();
    expect(describeSteps(graph, [1, 0], { direction: OUT, types: null }, unhurried)).toBeNull();
    expect(
      describeSteps(graph, [0, 1], { direction: BOTH, types: maskOf([2]) }, unhurried),
    ).toBeNull();
    expect(describeSteps(graph, [0], ANY, unhurried)).toEqual([]);
    expect(describeSteps(graph, [3], ANY, unhurried)).toBeNull();
  });

  it('scans a leaf rather than the supernode it hangs on, from either end', () => {
    const graph = new MapGraph({ batch: 64 });
    graph.learn(50_001);
    for (let leaf = 1; leaf <= 50_000; leaf++) {
      if (leaf % 2 === 0) graph.link(0, leaf, 1, 0.5);
      else graph.link(leaf, 0, 2, 0.25);
    }
    graph.examined = 0;
    expect(describeSteps(graph, [0, 50_000, 0, 49_999], ANY, unhurried)).toEqual([
      { type: 1, confidence: 0.5, direction: OUT },
      { type: 1, confidence: 0.5, direction: IN },
      { type: 2, confidence: 0.25, direction: IN },
    ]);
    expect(graph.examined).toBeLessThan(1000);
  });

  it('describes one version of the graph although it paused', async () => {
    const graph = new MapGraph({ batch: 1 });
    graph.learn(3);
    graph.link(0, 1, 0, 0.5);
    graph.link(1, 2, 0, 0.5);
    // The first hop changes after it was described; the second goes away and comes back.
    const budget = pausing((pauses) => {
      if (pauses === 2) graph.unlink(1, 2, 0);
      if (pauses === 3) {
        graph.link(1, 2, 0, 0.25);
        graph.link(0, 1, 0, 0.75);
      }
    });
    expect(await describeSteps(graph, [0, 1, 2], ANY, budget)).toEqual([
      { type: 0, confidence: 0.75, direction: OUT },
      { type: 0, confidence: 0.25, direction: OUT },
    ]);
  });

  it('ends although every pause changes the graph', async () => {
    const graph = new MapGraph({ batch: 1 });
    graph.learn(3);
    graph.link(0, 1);
    graph.link(1, 2);
    const budget = pausing((pauses) => graph.link(0, 1, 0, 1 / (pauses + 1)));
    const steps = await describeSteps(graph, [0, 1, 2], ANY, budget);
    expect(steps?.[0]?.confidence).toBe(Math.fround(1 / (budget.pauses + 1)));
  });
});
