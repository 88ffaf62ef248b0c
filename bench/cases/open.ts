/** What a fresh process pays: the first answered read of a flushed store, and the memory of walking all of it. */

import { latencies, memory, verify, type Latencies, type Memory } from '../measure.js';
import { contentOf, hexId, Random } from '../workload.js';

export interface FirstReadFigures {
  /** From the call of open to the first answer; from the start of the process to it; and the engine's modules alone. */
  readonly openToAnswerMs: number;
  readonly processToAnswerMs: number;
  readonly importMs: number;
  /** Of the next reads of other concepts, the worst: first touches of further blocks. Microseconds. */
  readonly nextUs: Latencies;
  readonly before: Memory;
  readonly after: Memory;
}

/** Imports the engine itself, so that the time of that is seen. */
export async function firstRead(parameters: {
  readonly directory: string;
  readonly concepts: number;
}): Promise<FirstReadFigures> {
  const { directory, concepts } = parameters;
  const random = new Random(process.pid);
  const wanted = Array.from({ length: 101 }, () => random.below(concepts));
  const ids = wanted.map(hexId);
  const contents = wanted.map(contentOf);
  const importStart = performance.now();
  const { ConcurrentStorage } = await import('#sutra/storage/embedded');
  const importMs = performance.now() - importStart;
  const before = memory();
  const start = performance.now();
  const storage = await ConcurrentStorage.open(directory, { readOnly: true });
  const first = await storage.queryConcept(ids[0] ?? '');
  const end = performance.now();
  const after = memory();
  verify(first.found && first.content === contents[0], 'the first answer');
  const took: number[] = [];
  for (let n = 1; n < ids.length; n++) {
    const before = performance.now();
    const answer = await storage.queryConcept(ids[n] ?? '');
    took.push((performance.now() - before) * 1000);
    verify(answer.content === contents[n], `answer ${n}`);
  }
  await storage.close();
  return {
    openToAnswerMs: end - start,
    processToAnswerMs: end,
    importMs,
    nextUs: latencies(took),
    before,
    after,
  };
}

export async function memoryAfterTraversal(parameters: {
  readonly directory: string;
  readonly concepts: number;
}): Promise<Memory & { readonly traversalMs: number }> {
  const { ConcurrentStorage } = await import('#sutra/storage/embedded');
  const storage = await ConcurrentStorage.open(parameters.directory, { readOnly: true });
  const start = performance.now();
  let ends = 0;
  for (let i = 0; i < parameters.concepts; i++) {
    ends += (await storage.getNeighbors(hexId(i))).neighbors.length;
  }
  const traversalMs = performance.now() - start;
  const { edges } = await storage.stats();
  // Each association is seen from both ends, but for the few that share their pair: about (associations / concepts)^2 of them.
  const sharing = 8 * (edges / parameters.concepts) ** 2;
  verify(ends <= edges * 2 && ends > edges * 2 - sharing, `${ends} ends of ${edges} associations`);
  const figures = { ...memory(), traversalMs };
  await storage.close();
  return figures;
}
