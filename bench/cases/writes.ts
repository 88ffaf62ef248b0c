/** Durable embedded writes: through batches, awaited one by one, and many single ones at once; and replaying their log. */

import { nodeEnvironment } from '#sutra/engine/environment';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import type { AssociationInput, ConceptInput } from '#sutra/storage/storage';
import { latencies, LoopWatch, verify, windowed, type Latencies, type Turn } from '../measure.js';
import { contentOf, hexId, nameId, Random, RandomGraph } from '../workload.js';

export const BATCH = 1000;
/** Batches under way at once. */
export const WINDOW = 8;

export interface WriteParameters {
  readonly directory: string;
  readonly count: number;
  readonly ids: 'hex' | 'names';
  readonly mode: 'batch' | 'awaited' | 'concurrent';
}

export interface WriteFigures {
  readonly perSecond: number;
  /** Of all threads, checkpoint included: what does not change when others use the machine. Microseconds. */
  readonly cpuUs: number;
  readonly checkpoints: number;
  /** Per call; of awaited calls only. Microseconds. */
  readonly latencyUs: Latencies | null;
}

export async function writes(parameters: WriteParameters): Promise<WriteFigures> {
  const { directory, count, ids, mode } = parameters;
  const storage = await ConcurrentStorage.open(directory);
  const idOf = ids === 'hex' ? hexId : nameId;
  const names = Array.from({ length: count }, (_, i) => idOf(i));
  contentOf(0);
  const took: number[] = [];
  const cpu = process.cpuUsage();
  const start = performance.now();
  if (mode === 'batch') {
    await learnBatches(storage, count, (i) => names[i] ?? '');
  } else if (mode === 'awaited') {
    for (let i = 0; i < count; i++) {
      const before = performance.now();
      await storage.learnConcept({ id: names[i] ?? '', content: contentOf(i) });
      took.push((performance.now() - before) * 1000);
    }
  } else {
    await windowed(count, 1000, (i) =>
      storage.learnConcept({ id: names[i] ?? '', content: contentOf(i) }),
    );
  }
  const seconds = (performance.now() - start) / 1000;
  const cpuUs = cpuSince(cpu) / count;
  await verifyConcepts(storage, count, idOf);
  const { checkpoints } = await storage.stats();
  await storage.close({ cancelCheckpoint: true });
  return {
    perSecond: count / seconds,
    cpuUs,
    checkpoints,
    latencyUs: mode === 'awaited' ? latencies(took) : null,
  };
}

export interface LoadFigures {
  readonly conceptsPerSecond: number;
  readonly conceptCpuUs: number;
  readonly associationsPerSecond: number;
  readonly associationCpuUs: number;
  /** While concepts and associations were written. */
  readonly longestTurn: Turn;
  readonly checkpoints: number;
  readonly flushMs: number;
  readonly snapshotBytes: number;
}

/** Builds the store that the reading cases open: concepts, associations, with background checkpoints, and a flush. */
export async function load(parameters: {
  readonly directory: string;
  readonly concepts: number;
  readonly associations: number;
  /** Ids are made of bytes when they are used, which takes 0.1 us each; else they are strings on the heap from the start. */
  readonly idsOffHeap?: boolean;
}): Promise<LoadFigures> {
  const { directory, concepts, associations, idsOffHeap = false } = parameters;
  const storage = await ConcurrentStorage.open(directory);
  const idOf = idsOffHeap ? idsInBytes(concepts) : idsInStrings(concepts);
  const graph = new RandomGraph(concepts, associations);
  const watch = new LoopWatch();

  let cpu = process.cpuUsage();
  let start = performance.now();
  await learnBatches(storage, concepts, idOf);
  const conceptSeconds = (performance.now() - start) / 1000;
  const conceptCpuUs = cpuSince(cpu) / concepts;

  cpu = process.cpuUsage();
  start = performance.now();
  await linkBatches(storage, idOf, graph);
  const associationSeconds = (performance.now() - start) / 1000;
  const associationCpuUs = cpuSince(cpu) / associations;
  const longestTurn = await watch.stop();

  start = performance.now();
  await storage.flush();
  const flushMs = performance.now() - start;

  await verifyConcepts(storage, concepts, hexId);
  const stats = await storage.stats();
  // Pairs drawn twice are one association when their types agree too.
  verify(
    stats.edges <= associations && stats.edges > associations * 0.999,
    `${stats.edges} associations of ${associations}`,
  );
  verify(stats.snapshotSequence === concepts + associations, 'the flush holds every write');
  await storage.close();
  return {
    conceptsPerSecond: concepts / conceptSeconds,
    conceptCpuUs,
    associationsPerSecond: associations / associationSeconds,
    associationCpuUs,
    longestTurn,
    checkpoints: stats.checkpoints,
    flushMs,
    snapshotBytes: stats.snapshotBytes,
  };
}

/** A store whose writes are all in the log: its checkpoints never come. */
export async function makeLog(parameters: {
  readonly directory: string;
  readonly concepts: number;
}): Promise<{ readonly walBytes: number }> {
  const storage = await ConcurrentStorage.open(parameters.directory, {
    environment: {
      ...nodeEnvironment(),
      startCheckpoint: () => {
        let stop = (): void => undefined;
        const done = new Promise<never>((_, reject) => {
          stop = () => reject(new Error('stopped'));
        });
        return { done, cancel: async () => stop() };
      },
    },
  });
  await learnBatches(storage, parameters.concepts, idsInStrings(parameters.concepts));
  const { walBytes } = await storage.stats();
  await storage.close({ cancelCheckpoint: true });
  return { walBytes };
}

export async function replay(parameters: {
  readonly directory: string;
  readonly concepts: number;
}): Promise<{ readonly perSecond: number; readonly openMs: number }> {
  const start = performance.now();
  const storage = await ConcurrentStorage.open(parameters.directory, { readOnly: true });
  const openMs = performance.now() - start;
  verify(storage.opened.replayed === parameters.concepts, `${storage.opened.replayed} replayed`);
  await verifyConcepts(storage, parameters.concepts, hexId);
  await storage.close();
  return { perSecond: parameters.concepts / (openMs / 1000), openMs };
}

function cpuSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

type IdOf = (i: number) => string;

function idsInStrings(count: number): IdOf {
  const ids = Array.from({ length: count }, (_, i) => hexId(i));
  return (i) => ids[i] ?? '';
}

/** For so many that strings would keep the garbage collector busy on the benchmark's account. */
function idsInBytes(count: number): IdOf {
  const digits = 32;
  const bytes = Buffer.allocUnsafe(count * digits);
  for (let i = 0; i < count; i++) bytes.write(hexId(i), i * digits, 'latin1');
  return (i) => bytes.toString('latin1', i * digits, (i + 1) * digits);
}

async function learnBatches(storage: ConcurrentStorage, count: number, idOf: IdOf): Promise<void> {
  await windowed(Math.ceil(count / BATCH), WINDOW, async (batch) => {
    const concepts: ConceptInput[] = [];
    const end = Math.min(count, (batch + 1) * BATCH);
    for (let i = batch * BATCH; i < end; i++) {
      concepts.push({ id: idOf(i), content: contentOf(i) });
    }
    await storage.learnBatch({ concepts });
  });
}

async function linkBatches(
  storage: ConcurrentStorage,
  idOf: IdOf,
  graph: RandomGraph,
): Promise<void> {
  await windowed(Math.ceil(graph.associations / BATCH), WINDOW, async (batch) => {
    const associations: AssociationInput[] = [];
    const end = Math.min(graph.associations, (batch + 1) * BATCH);
    for (let e = batch * BATCH; e < end; e++) {
      associations.push({
        source: idOf(graph.sources[e] ?? 0),
        target: idOf(graph.targets[e] ?? 0),
        type: graph.typeOf(e),
        confidence: graph.confidenceOf(e),
      });
    }
    await storage.learnBatch({ associations });
  });
}

async function verifyConcepts(
  storage: ConcurrentStorage,
  count: number,
  idOf: IdOf,
): Promise<void> {
  const stats = await storage.stats();
  verify(stats.concepts === count, `${stats.concepts} concepts, expected ${count}`);
  const random = new Random(7);
  for (let n = 0; n < 1000; n++) {
    const i = random.below(count);
    const found = await storage.queryConcept(idOf(i));
    verify(found.found && found.id === idOf(i) && found.content === contentOf(i), `concept ${i}`);
  }
}
