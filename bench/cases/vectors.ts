/**
 * Vector search, embedded, beside the usearch package alone with the same parameters over the same data in the same process:
 * their rounds alternate, so that whatever else the machine does happens to both. The package is asked by cosine, as one asks
 * it for what sutra answers, and by inner product with vectors that were made of unit length before, as sutra's index is.
 * Recall is against an exact scan of the full vectors by the package; similarities of answers are checked against a plain
 * sum in float64.
 */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
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
import { ALONE_METRICS, UsearchAlone, nearestByScan, type AloneMetric } from '../usearch-alone.js';
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
  readonly alone: Readonly<Record<AloneMetric, SearchFigures>>;
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
  readonly aloneBuild: Readonly<Record<AloneMetric, BuildFigures>>;
  readonly longestTurnMs: number;
  readonly indexBytesPerVector: number;
  readonly closeMs: number;
  readonly exactUs: Latencies;
  readonly efs: readonly EfFigures[];
}

const K = 10;
const BATCH = 1000;
const WINDOW = 8;
/** Each query so often, in a round of searches at once: what begins and ends a round is then little of it. */
const TIMES_AT_ONCE = 4;
/** No index takes this long; a bench that waits for ever measures nothing. */
const LONGEST_BUILD_MS = 7_200_000;

export async function vectors(
  parameters: VectorSet & {
    readonly efs: readonly number[];
    readonly queries: number;
    readonly rounds: number;
  },
): Promise<VectorFigures> {
  const { directory, kind, count, dimension, rounds } = parameters;
  const data = new VectorData(kind, count, dimension);
  const queries = data.queries(parameters.queries);
  const matrix = data.matrix();
  const truth = exactly(matrix, queries, dimension);

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
  storage = await openIndexed(directory, count, matrix.subarray(0, dimension));
  // A warm process has checked its file.
  storage.verifyInBackground();
  while (!storage.isVerified) await sleep(20);

  const cosine = new UsearchAlone(directory, 'cosine', dimension);
  const product = new UsearchAlone(directory, 'product', dimension);
  const aloneBuild = {
    cosine: built(cosine, matrix, count),
    product: built(product, matrix, count),
  };
  const efs: EfFigures[] = [];
  for (const ef of parameters.efs) {
    const alone = {
      cosine: new AloneSearches(cosine, ef, queries, truth),
      product: new AloneSearches(product, ef, queries, truth),
    };
    const sutraRounds = new Rounds(queries.length);
    const atOncePerSecond: number[] = [];
    let recall = 0;
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
        recall += matches.filter(({ id }) => truth[q]?.has(indexOf(id, count))).length;
        matches.forEach(({ id, similarity }, i) => {
          const before = matches[i - 1]?.similarity ?? 1;
          verify(similarity <= before, `match ${i} after a worse one`);
          const row = data.vector(indexOf(id, count));
          verify(Math.abs(similarity - cosineOf(query, row)) < 1e-6, `similarity of ${id}`);
        });
      }
      sutraRounds.end(counts);
      for (const metric of ALONE_METRICS) alone[metric].round(counts);
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
      alone: { cosine: alone.cosine.figures(), product: alone.product.figures() },
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
  const first = new VectorData(kind, count, dimension).vector(count);
  const storage = await openIndexed(directory, count, first, { ...environment, disk });
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

/** Opened, and searched by an index that has them all. */
async function openIndexed(
  directory: string,
  count: number,
  query: Float32Array,
  environment = nodeEnvironment(),
): Promise<ConcurrentStorage> {
  const storage = await ConcurrentStorage.open(join(directory, 'store'), { environment });
  await storage.vectorSearch(query);
  await indexed(storage, count);
  return storage;
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

/** The rows of the K nearest of each query. */
function exactly(
  matrix: Float32Array,
  queries: readonly Float32Array[],
  dimension: number,
): Set<number>[] {
  return queries.map((query) => new Set(nearestByScan(matrix, query, dimension, K)));
}

/** A search so wide that the exact scan is cheaper. */
async function exactSearches(
  storage: ConcurrentStorage,
  queries: readonly Float32Array[],
  truth: readonly Set<number>[],
  count: number,
): Promise<Latencies> {
  const took: number[] = [];
  for (const [q, query] of queries.slice(0, 20).entries()) {
    const start = performance.now();
    const matches = await storage.vectorSearch(query, { k: K, efSearch: count });
    took.push((performance.now() - start) * 1000);
    // The package compares in float32: the last of them may differ by a hair.
    const same = matches.filter(({ id }) => truth[q]?.has(indexOf(id, count))).length;
    verify(same >= K - 1, `${same} of ${K} in an exact search`);
  }
  return latencies(took);
}

function built(alone: UsearchAlone, matrix: Float32Array, count: number): BuildFigures {
  const clock = new Stopwatch();
  alone.build(matrix);
  return { perSecond: (count * 1000) / clock.ms(), cpuUs: clock.cpuUs() / count };
}

/** What the package alone finds at one ef, and how quickly. */
class AloneSearches {
  private readonly rounds: Rounds;
  private readonly index: ReturnType<UsearchAlone['open']>;
  private readonly asked: readonly Float32Array[];
  private found = 0;

  constructor(
    alone: UsearchAlone,
    ef: number,
    queries: readonly Float32Array[],
    private readonly truth: readonly Set<number>[],
  ) {
    this.rounds = new Rounds(queries.length);
    this.index = alone.open(ef);
    this.asked = alone.asked(queries);
  }

  round(counts: boolean): void {
    const { rounds, index, truth } = this;
    rounds.begin();
    for (const [q, query] of this.asked.entries()) {
      const start = performance.now();
      const { keys } = index.search(query, K, 1);
      rounds.took(performance.now() - start);
      verify(keys.length === K, `${keys.length} keys`);
      if (counts) continue;
      for (const key of keys) if (truth[q]?.has(Number(key))) this.found++;
    }
    rounds.end(counts);
  }

  figures(): SearchFigures {
    return this.rounds.figures(this.found / (K * this.asked.length));
  }
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

function cosineOf(a: Float32Array, b: Float32Array): number {
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
