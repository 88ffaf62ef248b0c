/**
 * Vector search, embedded, beside the usearch package alone with the same parameters over the same data in the same process:
 * their rounds alternate, so that whatever else the machine does happens to both. Recall is against an exact scan of the
 * full vectors by the package; similarities of answers are checked against a plain sum in float64.
 */

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Index, MetricKind, ScalarKind, exactSearch } from 'usearch';
import { nodeEnvironment } from '#sutra/engine/environment';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { DiskAccount } from '../disk-account.js';
import {
  DelayWatch,
  latencies,
  memory,
  verify,
  windowed,
  type Latencies,
  type Memory,
} from '../measure.js';
import { VectorData, type VectorKind } from '../vector-data.js';
import { contentOf, hexId } from '../workload.js';
import { SteadyLoad, type PhaseFigures } from './checkpoint.js';

export interface VectorSet {
  readonly directory: string;
  readonly kind: VectorKind;
  readonly count: number;
  readonly dimension: number;
}

/** One way of searching at one ef. */
export interface SearchFigures {
  readonly recall: number;
  /** One after another; one figure per round. */
  readonly perSecond: readonly number[];
  readonly latencyUs: Latencies;
  /** Of all threads, a search. */
  readonly cpuUs: readonly number[];
}

export interface EfFigures {
  readonly ef: number;
  readonly sutra: SearchFigures;
  readonly alone: SearchFigures;
  /** WINDOW searches at once. */
  readonly atOncePerSecond: readonly number[];
}

export interface BuildFigures {
  /** From the first vector to the last one in the index. */
  readonly perSecond: number;
  readonly cpuUs: number;
}

export interface VectorFigures {
  /** Durable, in batches, while the index is built. */
  readonly learnedPerSecond: number;
  readonly build: BuildFigures;
  readonly aloneBuild: BuildFigures;
  readonly longestTurnMs: number;
  readonly indexBytesPerVector: number;
  readonly closeMs: number;
  readonly exactUs: Latencies;
  readonly efs: readonly EfFigures[];
}

/** As src/engine/vector/vector-index.ts has them. */
const CONNECTIVITY = 16;
const EF_CONSTRUCTION = 128;

const K = 10;
const BATCH = 1000;
const WINDOW = 8;
/** Each query so often, in a round of searches at once: what begins and ends a round is then little of it. */
const TIMES_AT_ONCE = 4;
/** No index takes this long; a bench that waits for ever measures nothing. */
const LONGEST_BUILD_MS = 7_200_000;

interface Usearch {
  readonly Index: typeof Index;
  readonly MetricKind: typeof MetricKind;
  readonly ScalarKind: typeof ScalarKind;
  readonly exactSearch: typeof exactSearch;
}

export async function vectors(
  parameters: VectorSet & {
    readonly efs: readonly number[];
    readonly queries: number;
    readonly rounds: number;
  },
): Promise<VectorFigures> {
  const { directory, kind, count, dimension, rounds } = parameters;
  const usearch = createRequire(import.meta.url)('usearch') as Usearch;
  const data = new VectorData(kind, count, dimension);
  const queries = data.queries(parameters.queries);
  const matrix = data.matrix();
  const truth = exactly(usearch, matrix, queries, dimension);

  let storage = await ConcurrentStorage.open(join(directory, 'store'));
  const watch = new DelayWatch();
  const clock = new Stopwatch();
  await learn(storage, matrix, 0, count, dimension);
  const learnedPerSecond = (count * 1000) / clock.ms();
  await indexed(storage, count);
  const build = { perSecond: (count * 1000) / clock.ms(), cpuUs: clock.cpuUs() / count };
  const longestTurnMs = await watch.stop();
  const { indexBytes, dimension: known } = await storage.stats();
  verify(known === dimension, `dimension ${known}`);

  // Both are searched as loaded from their files: one that was built in the process is 6 % slower, in the package too.
  await storage.flush();
  await storage.close();
  storage = await ConcurrentStorage.open(join(directory, 'store'));
  await storage.vectorSearch(matrix.subarray(0, dimension));
  await indexed(storage, count);
  // A warm process has checked its file.
  storage.verifyInBackground();
  while (!storage.isVerified) await sleep(20);

  const { path, figures: aloneBuild } = buildAlone(usearch, directory, matrix, dimension);
  const efs: EfFigures[] = [];
  for (const ef of parameters.efs) {
    const alone = openAlone(usearch, path, dimension, ef);
    const sutraRounds = new Rounds(queries.length);
    const aloneRounds = new Rounds(queries.length);
    const atOncePerSecond: number[] = [];
    let recall = 0;
    let aloneRecall = 0;
    for (let round = 0; round <= rounds; round++) {
      // The first is for the compiler and the caches.
      const counts = round > 0;
      sutraRounds.begin();
      for (const [q, query] of queries.entries()) {
        const start = performance.now();
        const matches = await storage.vectorSearch(query, { k: K, efSearch: ef });
        sutraRounds.took(performance.now() - start);
        verify(matches.length === K, `${matches.length} matches`);
        if (counts) continue;
        recall += matches.filter(({ id }) => truth[q]?.has(id)).length;
        matches.forEach(({ id, similarity }, i) => {
          const before = matches[i - 1]?.similarity ?? 1;
          verify(similarity <= before, `match ${i} after a worse one`);
          const row = data.vector(indexOf(id, count));
          verify(Math.abs(similarity - cosine(query, row)) < 1e-6, `similarity of ${id}`);
        });
      }
      sutraRounds.end(counts);
      aloneRounds.begin();
      for (const [q, query] of queries.entries()) {
        const start = performance.now();
        const { keys } = alone.search(query, K, 1);
        aloneRounds.took(performance.now() - start);
        verify(keys.length === K, `${keys.length} keys`);
        if (counts) continue;
        for (const key of keys) if (truth[q]?.has(hexId(Number(key)))) aloneRecall++;
      }
      aloneRounds.end(counts);
      const start = performance.now();
      const searches = TIMES_AT_ONCE * queries.length;
      await windowed(searches, WINDOW, async (i) => {
        const query = queries[i % queries.length] ?? new Float32Array(0);
        const matches = await storage.vectorSearch(query, { k: K, efSearch: ef });
        verify(matches.length === K, `${matches.length} matches`);
      });
      if (counts) atOncePerSecond.push((searches * 1000) / (performance.now() - start));
    }
    efs.push({
      ef,
      sutra: sutraRounds.figures(recall / (K * queries.length)),
      alone: aloneRounds.figures(aloneRecall / (K * queries.length)),
      atOncePerSecond,
    });
  }
  const exactUs = await exactSearches(storage, queries, truth, count);
  const closing = performance.now();
  await storage.close();
  return {
    learnedPerSecond,
    build,
    aloneBuild,
    longestTurnMs,
    indexBytesPerVector: indexBytes / count,
    closeMs: performance.now() - closing,
    exactUs,
    efs,
  };
}

export interface VectorOpenFigures {
  readonly openToReadMs: number;
  readonly openToSearchMs: number;
  readonly openToIndexMs: number;
  /** Of all threads, until then. */
  readonly cpuMs: number;
  readonly before: Memory;
  readonly after: Memory;
  /** Resident memory that opening and searching took, by vectors. */
  readonly residentPerVector: number;
}

/** A store with its index, in a process that has done nothing else. */
export async function vectorOpen(
  parameters: VectorSet & { readonly queries: number },
): Promise<VectorOpenFigures> {
  const { directory, kind, count, dimension } = parameters;
  const queries = new VectorData(kind, count, dimension).queries(parameters.queries);
  const [first] = queries;
  if (first === undefined) throw new Error('no queries');
  globalThis.gc?.();
  const before = memory();
  const clock = new Stopwatch();
  const start = performance.now();
  const storage = await ConcurrentStorage.open(join(directory, 'store'));
  verify((await storage.queryConcept(hexId(0))).content === contentOf(0), 'content of 0');
  const openToReadMs = performance.now() - start;
  verify((await storage.vectorSearch(first)).length === K, 'first search');
  const openToSearchMs = performance.now() - start;
  await indexed(storage, count);
  const openToIndexMs = performance.now() - start;
  const cpuMs = clock.cpuUs() / 1000;
  for (const query of queries) await storage.vectorSearch(query, { k: K, efSearch: 128 });
  const after = memory();
  await storage.close();
  return {
    openToReadMs,
    openToSearchMs,
    openToIndexMs,
    cpuMs,
    before,
    after,
    residentPerVector: ((after.rssMb - before.rssMb) * 2 ** 20) / count,
  };
}

export interface CatchUpFigures {
  readonly without: PhaseFigures;
  readonly during: PhaseFigures;
  /** Vectors not in the index yet when the second phase began. */
  readonly behind: number;
}

/** What others feel while the index catches up: reads and acknowledgements without it and with it. */
export async function vectorCatchUp(
  parameters: VectorSet & { readonly extra: number; readonly quietMs: number },
): Promise<CatchUpFigures> {
  const { directory, kind, count, dimension, extra, quietMs } = parameters;
  const environment = nodeEnvironment();
  const disk = new DiskAccount(environment.disk);
  const storage = await ConcurrentStorage.open(join(directory, 'store'), {
    environment: { ...environment, disk },
  });
  await storage.vectorSearch(new VectorData(kind, count, dimension).vector(count));
  await indexed(storage, count);
  const load = new SteadyLoad(storage, disk, count);
  await load.during(sleep(quietMs / 2));
  const without = await load.during(sleep(quietMs));
  const data = new VectorData(kind, count + extra, dimension);
  const more = new Float32Array(extra * dimension);
  for (let i = 0; i < extra; i++) {
    data.vector(count + i, more.subarray(i * dimension, (i + 1) * dimension));
  }
  await learn(storage, more, EXTRA_IDS, extra, dimension);
  const behind = count + extra - (await storage.stats()).indexed;
  const during = await load.during(indexed(storage, count + extra));
  const stats = await storage.stats();
  verify(stats.concepts === count + extra + load.written, 'every acknowledged write counts');
  verify((await storage.healthCheck()).healthy, 'the store is healthy');
  await storage.close();
  return { without, during, behind };
}

/** Far from what the steady load writes. */
const EXTRA_IDS = 500_000_000;

async function learn(
  storage: ConcurrentStorage,
  matrix: Float32Array,
  firstId: number,
  count: number,
  dimension: number,
): Promise<void> {
  for (let from = 0; from < count; from += BATCH) {
    const concepts = Array.from({ length: Math.min(BATCH, count - from) }, (_, n) => {
      const i = from + n;
      return {
        id: hexId(firstId + i),
        content: contentOf(firstId + i),
        embedding: matrix.subarray(i * dimension, (i + 1) * dimension),
      };
    });
    await storage.learnBatch({ concepts });
  }
}

async function indexed(storage: ConcurrentStorage, count: number): Promise<void> {
  const start = performance.now();
  for (;;) {
    const stats = await storage.stats();
    verify(stats.vectors === count, `${stats.vectors} vectors`);
    if (stats.indexed === count) return;
    verify(performance.now() - start < LONGEST_BUILD_MS, `only ${stats.indexed} are indexed`);
    await sleep(5);
  }
}

/** The ids of the K nearest of each query, by the package's exact search. */
function exactly(
  usearch: Usearch,
  matrix: Float32Array,
  queries: readonly Float32Array[],
  dimension: number,
): Set<string>[] {
  const { Cos } = usearch.MetricKind;
  return queries.map((query) => {
    const { keys } = usearch.exactSearch(matrix, query, dimension, K, Cos) as {
      readonly keys: BigUint64Array;
    };
    verify(keys.length === K, `${keys.length} exact matches`);
    return new Set(Array.from(keys, (key) => hexId(Number(key))));
  });
}

/** A search so wide that the exact scan is cheaper. */
async function exactSearches(
  storage: ConcurrentStorage,
  queries: readonly Float32Array[],
  truth: readonly Set<string>[],
  count: number,
): Promise<Latencies> {
  const took: number[] = [];
  for (const [q, query] of queries.slice(0, 20).entries()) {
    const start = performance.now();
    const matches = await storage.vectorSearch(query, { k: K, efSearch: count });
    took.push((performance.now() - start) * 1000);
    // The package compares in float32: the last of them may differ by a hair.
    const same = matches.filter(({ id }) => truth[q]?.has(id)).length;
    verify(same >= K - 1, `${same} of ${K} in an exact search`);
  }
  return latencies(took);
}

function buildAlone(
  usearch: Usearch,
  directory: string,
  matrix: Float32Array,
  dimension: number,
): { readonly path: string; readonly figures: BuildFigures } {
  const index = newAlone(usearch, dimension, 64);
  const count = matrix.length / dimension;
  const clock = new Stopwatch();
  for (let from = 0; from < count; from += BATCH) {
    const end = Math.min(count, from + BATCH);
    const keys = BigUint64Array.from({ length: end - from }, (_, n) => BigInt(from + n));
    index.add(keys, matrix.subarray(from * dimension, end * dimension), 1);
  }
  const figures = { perSecond: (count * 1000) / clock.ms(), cpuUs: clock.cpuUs() / count };
  verify(index.size() === count, `${index.size()} in the index`);
  const path = join(directory, 'alone.usearch');
  index.save(path);
  return { path, figures };
}

function newAlone(usearch: Usearch, dimension: number, ef: number): Index {
  return new usearch.Index({
    dimensions: dimension,
    metric: usearch.MetricKind.Cos,
    quantization: usearch.ScalarKind.F16,
    connectivity: CONNECTIVITY,
    expansion_add: EF_CONSTRUCTION,
    expansion_search: ef,
    multi: false,
  });
}

/** ef is fixed when an index is made. */
function openAlone(usearch: Usearch, path: string, dimension: number, ef: number): Index {
  const index = newAlone(usearch, dimension, ef);
  index.load(path);
  return index;
}

class Stopwatch {
  private readonly start = performance.now();
  private readonly cpu = process.cpuUsage();

  ms(): number {
    return performance.now() - this.start;
  }

  /** Of all threads. */
  cpuUs(): number {
    const { user, system } = process.cpuUsage(this.cpu);
    return user + system;
  }
}

class Rounds {
  private readonly perSecond: number[] = [];
  private readonly cpuUs: number[] = [];
  private readonly all: number[] = [];
  private current: number[] = [];
  private clock = new Stopwatch();

  constructor(private readonly searches: number) {}

  begin(): void {
    this.current = [];
    this.clock = new Stopwatch();
  }

  took(ms: number): void {
    this.current.push(ms);
  }

  /** Only searching counts, not verifying. */
  end(counts: boolean): void {
    if (!counts) return;
    const ms = this.current.reduce((sum, took) => sum + took, 0);
    this.perSecond.push((this.searches * 1000) / ms);
    this.cpuUs.push(this.clock.cpuUs() / this.searches);
    for (const took of this.current) this.all.push(took * 1000);
  }

  figures(recall: number): SearchFigures {
    const { perSecond, cpuUs } = this;
    return { recall, perSecond, cpuUs, latencyUs: latencies(this.all) };
  }
}

let indexes: Map<string, number> | null = null;

function indexOf(id: string, count: number): number {
  indexes ??= new Map(Array.from({ length: count }, (_, i) => [hexId(i), i]));
  const i = indexes.get(id);
  if (i === undefined) throw new Error(`${id} was never learned`);
  return i;
}

function cosine(a: Float32Array, b: Float32Array): number {
  let dot = 0;
  let squaresA = 0;
  let squaresB = 0;
  a.forEach((x, i) => {
    const y = b[i] ?? 0;
    dot += x * y;
    squaresA += x * x;
    squaresB += y * y;
  });
  return dot / Math.sqrt(squaresA * squaresB);
}
