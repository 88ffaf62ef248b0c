/** Reads of a flushed store in a warm process: by id, neighbours, and paths, each checked against the generated graph. */

import { setTimeout as sleep } from 'node:timers/promises';

import { ConcurrentStorage } from '#sutra/storage/embedded';
import { verifyLengths, type ReadFigures } from '../ask.js';
import { latencies, median, verify } from '../measure.js';
import { DEGREE, HOPS, Questions } from '../questions.js';
import { contentOf, hexId, RandomGraph } from '../workload.js';

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
  // A warm process has checked its file; before that each first look at a block also checks it.
  while (!storage.isVerified) await sleep(20);
  const questions = new Questions(new RandomGraph(concepts, associations), calls);
  const { adjacency, asked, hubs, pairs, checked } = questions;

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
  for (const i of asked.slice(0, 1000)) {
    verify((await storage.queryConcept(hexId(i))).content === contentOf(i), `content of ${i}`);
  }

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
    const found = neighbors.map(({ id }) => id).sort();
    const expected = adjacency.neighbors(hub).map(hexId).sort();
    verify(found.join() === expected.join(), `neighbours of ${hub}`);
  }

  const ends = pairs.map(({ from, to }) => [hexId(from), hexId(to)] as const);
  const pathUs: number[] = [];
  const pathRoundsP50Us: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const took: number[] = [];
    for (const [from, to] of ends) {
      const start = performance.now();
      const { path } = await storage.findPath(from, to);
      took.push((performance.now() - start) * 1000);
      verify(path.length === HOPS + 1, `a path of ${path.length - 1} hops`);
    }
    if (round === 0) continue;
    pathUs.push(...took);
    pathRoundsP50Us.push(median(took));
  }
  const lengths: number[] = [];
  for (const { from, to } of checked) {
    const { path } = await storage.findPath(hexId(from), hexId(to));
    lengths.push(path.length - 1);
  }
  verifyLengths(lengths, checked);
  await storage.close();
  return { pointUs, neighborsUs, pathUs: latencies(pathUs), pathRoundsP50Us, lengths };
}
