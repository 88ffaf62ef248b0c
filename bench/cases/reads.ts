/** Reads of a flushed store in a warm process: by id, neighbours, and paths, each checked against the generated graph. */

import { ConcurrentStorage } from '#sutra/storage/embedded';
import { latencies, median, verify, type Latencies } from '../measure.js';
import { Adjacency, contentOf, hexId, Random, RandomGraph } from '../workload.js';

export interface ReadFigures {
  /** Microseconds a call, one per round. */
  readonly pointUs: readonly number[];
  readonly neighborsUs: readonly number[];
  readonly pathUs: Latencies;
  readonly pathRoundsP50Us: readonly number[];
}

const DEGREE = 10;
const HOPS = 3;

export async function reads(parameters: {
  readonly directory: string;
  readonly concepts: number;
  readonly associations: number;
  readonly rounds: number;
  readonly calls: number;
}): Promise<ReadFigures> {
  const { directory, concepts, associations, rounds, calls } = parameters;
  const storage = await ConcurrentStorage.open(directory, { readOnly: true });
  storage.verifyInBackground();
  const graph = new RandomGraph(concepts, associations);
  const adjacency = new Adjacency(graph);
  const random = new Random(1);

  const asked = Array.from({ length: calls }, () => random.below(concepts));
  const ids = asked.map(hexId);
  const pointUs: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    let bytes = 0;
    const start = performance.now();
    for (const id of ids) bytes += (await storage.queryConcept(id)).content.length;
    const us = ((performance.now() - start) * 1000) / calls;
    verify(bytes === calls * 60, 'contents read');
    // The first round is for the compiler and the block checks.
    if (round > 0) pointUs.push(us);
  }
  for (let n = 0; n < 1000; n++) {
    const i = asked[n % calls] ?? 0;
    verify((await storage.queryConcept(hexId(i))).content === contentOf(i), `content of ${i}`);
  }

  const hubs: number[] = [];
  for (let i = 0; i < concepts && hubs.length < Math.min(calls, 20_000); i++) {
    if (adjacency.degree(i) === DEGREE && adjacency.neighbors(i).length === DEGREE) hubs.push(i);
  }
  verify(hubs.length > 0, `there are concepts of degree ${DEGREE}`);
  const hubIds = hubs.map(hexId);
  const neighborsUs: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    let found = 0;
    const start = performance.now();
    for (const id of hubIds) found += (await storage.getNeighbors(id)).neighbors.length;
    const us = ((performance.now() - start) * 1000) / hubs.length;
    verify(found === hubs.length * DEGREE, 'neighbours found');
    if (round > 0) neighborsUs.push(us);
  }
  for (const hub of hubs.slice(0, 100)) {
    const { neighbors } = await storage.getNeighbors(hexId(hub));
    const expected = adjacency.neighbors(hub).map(hexId).sort();
    verify(
      neighbors
        .map(({ id }) => id)
        .sort()
        .join() === expected.join(),
      `neighbours of ${hub}`,
    );
  }

  const pairs: (readonly [string, string])[] = [];
  while (pairs.length < Math.min(calls, 2000)) {
    const from = random.below(concepts);
    const far = adjacency.atDistance(from, HOPS);
    const to = far[random.below(far.length)];
    if (to !== undefined) pairs.push([hexId(from), hexId(to)]);
  }
  const pathUs: number[] = [];
  const pathRoundsP50Us: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const took: number[] = [];
    for (const [from, to] of pairs) {
      const start = performance.now();
      const { path } = await storage.findPath(from, to);
      took.push((performance.now() - start) * 1000);
      verify(path.length === HOPS + 1, `a path of ${path.length - 1} hops`);
    }
    if (round === 0) continue;
    pathUs.push(...took);
    pathRoundsP50Us.push(median(took));
  }
  await storage.close();
  return { pointUs, neighborsUs, pathUs: latencies(pathUs), pathRoundsP50Us };
}
