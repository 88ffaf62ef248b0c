/**
 * What every system is asked about the shared graph, and what the right answers are. A function of the graph alone, so that
 * processes ask the same without a file between them.
 */

import { Adjacency, Random, type RandomGraph } from './workload.js';

export const DEGREE = 10;
export const HOPS = 3;
/** No system is told how far apart two concepts are; this is where it may give up: sutra's own default. */
export const MAX_DEPTH = 6;
const MOST_HUBS = 20_000;
const MOST_PAIRS = 2000;
/** Distances that are asked for to be compared, not timed; so many pairs of each. */
const CHECKED_DISTANCES = [0, 1, 2, 3, 4];
const CHECKED_EACH = 5;

export interface Pair {
  readonly from: number;
  readonly to: number;
  readonly hops: number;
}

export class Questions {
  readonly adjacency: Adjacency;
  /** Concepts to read, in no order. */
  readonly asked: readonly number[];
  /** Concepts of degree 10 without parallel associations. */
  readonly hubs: readonly number[];
  /** Pairs three hops apart. */
  readonly pairs: readonly Pair[];
  /** A few pairs of every distance up to four. */
  readonly checked: readonly Pair[];

  constructor(graph: RandomGraph, calls: number) {
    const { concepts } = graph;
    const adjacency = new Adjacency(graph);
    const random = new Random(1);
    this.adjacency = adjacency;
    this.asked = Array.from({ length: calls }, () => random.below(concepts));
    const hubs: number[] = [];
    for (let i = 0; i < concepts && hubs.length < Math.min(calls, MOST_HUBS); i++) {
      if (adjacency.degree(i) === DEGREE && adjacency.neighbors(i).length === DEGREE) hubs.push(i);
    }
    if (hubs.length === 0) throw new Error(`no concept has degree ${DEGREE}`);
    this.hubs = hubs;
    const pair = (hops: number): Pair => {
      for (;;) {
        const from = random.below(concepts);
        const far = adjacency.atDistance(from, hops);
        const to = far[random.below(far.length)];
        if (to !== undefined) return { from, to, hops };
      }
    };
    this.pairs = Array.from({ length: Math.min(calls, MOST_PAIRS) }, () => pair(HOPS));
    this.checked = CHECKED_DISTANCES.flatMap((hops) =>
      Array.from({ length: CHECKED_EACH }, () => pair(hops)),
    );
  }
}
