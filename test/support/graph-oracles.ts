/** Slow and plain answers that traversals are compared with, and random graphs to compare them on. */

import fc from 'fast-check';
import type { TypeMask } from '#sutra/engine/graph/graph-view';
import type { AssociationStep, FoundPath, PathQuery } from '#sutra/engine/graph/path-steps';
import { MapGraph, type SeenEdge } from './map-graph.js';

/** Plain breadth-first distance, or Infinity. */
export function hopDistance(graph: MapGraph, start: number, end: number, query: PathQuery): number {
  if (!graph.isLive(start) || !graph.isLive(end)) return Infinity;
  const distance = new Map([[start, 0]]);
  for (const [slot, hops] of distance) {
    if (slot === end) return hops;
    if (hops === query.maxDepth) continue;
    for (const edge of graph.seen(slot, query.direction, query.types)) {
      if (!distance.has(edge.slot)) distance.set(edge.slot, hops + 1);
    }
  }
  return Infinity;
}

/** Over walks of exactly h hops, for every h up to the bound: the best product, and the fewest hops that reach it. */
export function strongestProduct(
  graph: MapGraph,
  start: number,
  end: number,
  query: PathQuery,
): { product: number; hops: number } | null {
  if (!graph.isLive(start) || !graph.isLive(end)) return null;
  let reached = new Map([[start, 1]]);
  let best = start === end ? { product: 1, hops: 0 } : null;
  for (let hops = 1; hops <= query.maxDepth; hops++) {
    const next = new Map<number, number>();
    for (const [slot, product] of reached) {
      for (const edge of graph.seen(slot, query.direction, query.types)) {
        if (edge.confidence === 0) continue;
        const extended = product * edge.confidence;
        if (extended > (next.get(edge.slot) ?? -1)) next.set(edge.slot, extended);
      }
    }
    reached = next;
    const product = reached.get(end);
    if (product !== undefined && (best === null || product > best.product)) {
      best = { product, hops };
    }
  }
  return best;
}

export function compareStrength(
  a: Pick<SeenEdge, 'type' | 'confidence' | 'direction'>,
  b: Pick<SeenEdge, 'type' | 'confidence' | 'direction'>,
): number {
  return b.confidence - a.confidence || a.type - b.type || a.direction - b.direction;
}

/** The strongest association between two slots, or undefined. */
export function strongestStep(
  graph: MapGraph,
  from: number,
  to: number,
  query: Pick<PathQuery, 'direction' | 'types'>,
): AssociationStep | undefined {
  const [best] = [...graph.seen(from, query.direction, query.types)]
    .filter((edge) => edge.slot === to)
    .sort(compareStrength);
  if (best === undefined) return undefined;
  return { type: best.type, confidence: best.confidence, direction: best.direction };
}

export function neighborsBySorting(
  graph: MapGraph,
  slot: number,
  direction: number,
  types: TypeMask,
): SeenEdge[] {
  const strongest = new Map<number, SeenEdge>();
  for (const edge of [...graph.seen(slot, direction, types)].sort(compareStrength)) {
    if (!strongest.has(edge.slot)) strongest.set(edge.slot, edge);
  }
  return [...strongest.values()].sort(
    (a, b) => b.confidence - a.confidence || graph.compareKeys(a.slot, b.slot),
  );
}

/** What is wrong with a path as an answer about `graph` as it is now; null when nothing is. */
export function pathProblem(
  graph: MapGraph,
  start: number,
  end: number,
  query: PathQuery,
  path: FoundPath,
): string | null {
  const { slots, steps } = path;
  if (slots[0] !== start || slots.at(-1) !== end) return `ends are ${String(slots)}`;
  if (new Set(slots).size !== slots.length) return `visits a slot twice: ${String(slots)}`;
  if (!slots.every((slot) => graph.isLive(slot))) return `visits a forgotten slot`;
  if (steps.length !== slots.length - 1) return `${steps.length} steps for ${slots.length} slots`;
  if (steps.length > query.maxDepth) return `${steps.length} hops`;
  let product = 1;
  for (const [i, step] of steps.entries()) {
    const expected = strongestStep(graph, slots[i] ?? -1, slots[i + 1] ?? -1, query);
    if (expected === undefined) return `hop ${i} has no association`;
    if (compareStrength(step, expected) !== 0) {
      return `hop ${i}: got ${JSON.stringify(step)}, expected ${JSON.stringify(expected)}`;
    }
    product *= step.confidence;
  }
  return product === path.confidence ? null : `product ${path.confidence}, expected ${product}`;
}

export interface GraphPlan {
  readonly concepts: number;
  readonly links: readonly (readonly [number, number, number, number])[];
  readonly forgotten: readonly number[];
  readonly batch: number;
  readonly keySeed: number;
}

/** Few distinct values, so that products and confidences tie; zero is among them. */
export const confidences = fc.oneof(
  fc.constantFrom(0, 0.25, 0.5, 0.75, 1, 1),
  fc.float({ min: 0, max: 1, noNaN: true }),
);

/** Sparse to dense, with self-loops, parallel associations of several types, mirrored ones, and tombstones. */
function plansOf(minConcepts: number, minDensity: number): fc.Arbitrary<GraphPlan> {
  return fc
    .record({
      concepts: fc.integer({ min: minConcepts, max: 24 }),
      density: fc.double({ min: minDensity, max: 3, noNaN: true }),
    })
    .chain(({ concepts, density }) => {
      const slot = fc.nat(concepts - 1);
      const links = Math.ceil(concepts * density);
      return fc.record({
        concepts: fc.constant(concepts),
        links: fc.array(fc.tuple(slot, slot, fc.nat(3), confidences), {
          minLength: Math.floor(links / 2),
          maxLength: links * 2,
          size: 'max',
        }),
        forgotten: fc.array(slot, { maxLength: Math.floor(concepts / 8) }),
        batch: fc.constantFrom(1, 3, 64),
        keySeed: fc.nat(1000),
      });
    });
}

export const graphPlans = plansOf(1, 0.2);
/** Mostly connected, so that paths are there to be broken. */
export const largerPlans = plansOf(12, 1);

export function buildGraph(plan: GraphPlan): MapGraph {
  const graph = new MapGraph({ batch: plan.batch, keySeed: plan.keySeed });
  graph.learn(plan.concepts);
  for (const [source, target, type, confidence] of plan.links) {
    graph.link(source, target, type, confidence);
  }
  for (const slot of plan.forgotten) graph.forget(slot);
  return graph;
}

export type Change = readonly [
  kind: number,
  a: number,
  b: number,
  type: number,
  confidence: number,
];

export const changes: fc.Arbitrary<Change[]> = fc.array(
  fc.tuple(fc.nat(9), fc.nat(1000), fc.nat(1000), fc.nat(3), confidences),
  { maxLength: 40, size: 'max' },
);

/** Applies one change: mostly unlinks and links, now and then a forgotten or a new concept. */
export function applyChange(graph: MapGraph, [kind, a, b, type, confidence]: Change): void {
  const source = a % graph.slotCapacity;
  const target = b % graph.slotCapacity;
  if (kind <= 4) {
    const edges = [...graph.edges()];
    const edge = edges[a % Math.max(1, edges.length)];
    if (edge !== undefined) graph.unlink(edge.source, edge.target, edge.type);
  } else if (kind === 5) {
    graph.forget(source);
  } else if (kind === 6) {
    const slot = graph.learn();
    if (graph.isLive(source)) graph.link(source, slot, type, confidence);
    if (graph.isLive(target)) graph.link(slot, target, type, confidence);
  } else if (graph.isLive(source) && graph.isLive(target)) {
    graph.link(source, target, type, confidence);
  }
}

/** The part of a graph that no change has touched so far: associations that were there from the first, unaltered. */
export class StablePart {
  private readonly first: Map<string, { readonly confidence: number }>;
  private readonly firstCapacity: number;

  constructor(private readonly graph: MapGraph) {
    this.first = new Map(
      [...graph.edges()].map((edge) => [edgeKey(edge), { confidence: edge.confidence }]),
    );
    this.firstCapacity = graph.slotCapacity;
  }

  /** Call after every change. */
  keepUp(): void {
    const now = new Map([...this.graph.edges()].map((edge) => [edgeKey(edge), edge.confidence]));
    for (const [key, edge] of this.first) {
      if (now.get(key) !== edge.confidence) this.first.delete(key);
    }
  }

  toGraph(): MapGraph {
    const stable = new MapGraph({ batch: this.graph.batch });
    stable.learn(this.firstCapacity);
    for (const edge of this.graph.edges()) {
      if (this.first.has(edgeKey(edge))) {
        stable.link(edge.source, edge.target, edge.type, edge.confidence);
      }
    }
    for (let slot = 0; slot < this.firstCapacity; slot++) {
      if (!this.graph.isLive(slot)) stable.forget(slot);
    }
    return stable;
  }
}

function edgeKey(edge: { source: number; target: number; type: number }): string {
  return `${edge.source}>${edge.target}/${edge.type}`;
}
