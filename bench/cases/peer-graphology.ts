/**
 * The same graph in graphology, in memory: an undirected graph by the same ids, without contents, types or confidences, which is
 * less than the store holds. Paths by the bidirectional search of graphology-shortest-path.
 */

import { ask, type ReadFigures } from '../ask.js';
import { memory, verify } from '../measure.js';
import { requirePeer } from '../peer.js';
import { Questions } from '../questions.js';
import { hexId, RandomGraph } from '../workload.js';

export interface GraphologyFigures extends ReadFigures {
  readonly buildSeconds: number;
  /** What the graph takes: resident after building it, less before it. MiB. */
  readonly residentMb: number;
}

/** The parts of the packages that are used. */
interface UndirectedGraph {
  readonly order: number;
  addNode(id: string): void;
  mergeEdge(source: string, target: string): void;
  neighbors(id: string): string[];
}
interface Graphology {
  readonly UndirectedGraph: new () => UndirectedGraph;
}
interface ShortestPath {
  readonly bidirectional: (graph: UndirectedGraph, from: string, to: string) => string[] | null;
}

export async function peerGraphology(parameters: {
  readonly concepts: number;
  readonly associations: number;
  readonly rounds: number;
  readonly calls: number;
}): Promise<GraphologyFigures> {
  const { concepts, associations, rounds, calls } = parameters;
  const { UndirectedGraph } = requirePeer('graphology') as Graphology;
  const { bidirectional } = requirePeer('graphology-shortest-path') as ShortestPath;
  const random = new RandomGraph(concepts, associations);
  collect();
  const before = memory();
  const start = performance.now();
  const graph = new UndirectedGraph();
  let ids = Array.from({ length: concepts }, (_, i) => hexId(i));
  const idOf = (i: number): string => ids[i] ?? '';
  for (const id of ids) graph.addNode(id);
  for (let e = 0; e < associations; e++) {
    graph.mergeEdge(idOf(random.sources[e] ?? 0), idOf(random.targets[e] ?? 0));
  }
  const buildSeconds = (performance.now() - start) / 1000;
  verify(graph.order === concepts, 'graphology holds the concepts');
  ids = [];
  collect();
  const residentMb = memory().rssMb - before.rssMb;
  const figures = ask(
    {
      keyOf: hexId,
      neighbors: (id: string) => graph.neighbors(id),
      hops: (from: string, to: string) => (bidirectional(graph, from, to)?.length ?? 0) - 1,
    },
    new Questions(random, calls),
    { rounds, pairs: calls },
  );
  return { ...figures, buildSeconds, residentMb };
}

/** The process is started with --expose-gc. */
function collect(): void {
  if (globalThis.gc === undefined) throw new Error('graphology is weighed with --expose-gc');
  globalThis.gc();
}
