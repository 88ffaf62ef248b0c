/**
 * The store with its vector index, against the exact scan and a plain map: whatever is learned, replaced and forgotten, and however
 * it is closed, killed and opened again. The index runs in this thread (test/support/local-indexer.ts) but for the last test.
 */

import { cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { ConcurrentStorage, type EmbeddedOptions } from '#sutra/storage/embedded';
import { nodeEnvironment, type Environment } from '#sutra/engine/environment';
import { crc32 } from '#sutra/engine/format/crc32';
import {
  decodeIndexTrailer,
  encodeIndexTrailer,
  INDEX_TRAILER_BYTES,
} from '#sutra/engine/format/vector-index-format';
import { Store } from '#sutra/engine/store';
import type { VectorIndexStats } from '#sutra/engine/vector/vector-query';

import { localIndexHost } from '../../support/local-indexer.js';
import { seededRandom } from '../../support/random.js';
import { clusteredVectors, cosine } from '../../support/vectors.js';
import { checkDirectory } from '../../support/whole-store.js';

const DIMENSION = 32;
const OPTIONS = {
  readOnly: false,
  durability: 'interval',
  reconcileMs: 10,
  threshold: 1_000_000,
  vectorDim: 0,
} as const;

let directory: string;
let logged: string[];
const opened: Store[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sutra-vectors-'));
  logged = [];
});

afterEach(async () => {
  for (const store of opened.splice(0)) await store.close();
  await rm(directory, { recursive: true });
});

function environment(): Environment {
  const log = (message: string): void => {
    logged.push(message);
  };
  const logger = { info: log, warn: log, error: log };
  return { ...nodeEnvironment(logger), indexHost: localIndexHost };
}

function open(
  path = directory,
  options: Partial<typeof OPTIONS | { readOnly: boolean }> = {},
): Store {
  const store = Store.open(path, environment(), { ...OPTIONS, ...options });
  opened.push(store);
  return store;
}

interface Match {
  readonly id: string;
  readonly similarity: number;
}

async function search(
  store: Store,
  query: Float32Array,
  options: { k?: number; ef?: number; within?: Uint32Array; minSimilarity?: number } = {},
): Promise<Match[]> {
  const { k = 10, ef = 64, within = null, minSimilarity = -1 } = options;
  const budget = {
    checkEvery: 4096,
    sliceMs: 4,
    now: () => performance.now(),
    pause: () => new Promise<void>((resolve) => setImmediate(resolve)),
  };
  return store.searchVectors(query, { k, ef, within, minSimilarity }, budget, (ranking) =>
    [...ranking.slots].map((slot, i) => ({
      id: store.idOf(slot),
      similarity: ranking.similarities[i] ?? 0,
    })),
  );
}

/** The answer by the definition. */
function truth(model: ReadonlyMap<string, Float32Array>, query: Float32Array, k = 10): Match[] {
  return [...model]
    .map(([id, vector]) => ({ id, similarity: cosine(query, vector) }))
    .sort((a, b) => b.similarity - a.similarity)
    .slice(0, k);
}

function recall(got: readonly Match[], expected: readonly Match[]): number {
  const ids = new Set(got.map(({ id }) => id));
  return expected.filter(({ id }) => ids.has(id)).length / expected.length;
}

/** Every similarity is that of what the model holds for the id, and they come best first. */
function expectHonest(
  got: readonly Match[],
  model: ReadonlyMap<string, Float32Array>,
  query: Float32Array,
): void {
  expect(new Set(got.map(({ id }) => id)).size).toBe(got.length);
  got.forEach(({ id, similarity }, i) => {
    const vector = model.get(id);
    if (vector === undefined) throw new Error(`${id} is not in the store`);
    expect(similarity).toBeCloseTo(cosine(query, vector), 5);
    expect(similarity).toBeLessThanOrEqual(got[i - 1]?.similarity ?? 1);
  });
}

async function until(store: Store, done: (stats: VectorIndexStats) => boolean): Promise<void> {
  while (!done(store.vectorIndex)) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function learn(
  store: Store,
  model: Map<string, Float32Array>,
  id: string,
  vector: Float32Array,
): Promise<void> {
  await store.commits.learn({ id, content: id, embedding: vector });
  model.set(id, vector);
}

async function fill(
  store: Store,
  model: Map<string, Float32Array>,
  count: number,
  next: () => Float32Array,
): Promise<void> {
  const concepts = Array.from({ length: count }, (_, i) => ({
    id: `c${i}`,
    content: '',
    embedding: next(),
  }));
  await store.commits.batch(concepts, []);
  for (const { id, embedding } of concepts) model.set(id, embedding);
}

describe('a store with a vector index', () => {
  it('sees each write at once, whatever is done to it and however it is opened again', async () => {
    for (const seed of [1, 2, 3]) {
      const path = join(directory, `s${seed}`);
      const random = seededRandom(seed);
      const next = clusteredVectors(random, DIMENSION);
      const model = new Map<string, Float32Array>();
      let store = open(path);
      await fill(store, model, 150, next);
      for (let step = 0; step < 120; step++) {
        const id = `c${Math.floor(random() * 200)}`;
        const dice = random();
        if (dice < 0.5) {
          await learn(store, model, id, next());
        } else if (dice < 0.75) {
          await store.commits.forgetConcept(id);
          model.delete(id);
        } else if (dice < 0.78) {
          await store.flush();
        } else if (dice < 0.82) {
          await store.close();
          store = open(path);
        } else if (dice < 0.85) {
          // Killed: what the disk has is all there is.
          const copy = `${path}-${step}`;
          await cp(path, copy, { recursive: true });
          await store.close();
          await rm(path, { recursive: true });
          await cp(copy, path, { recursive: true });
          store = open(path);
        }
        if (random() < 0.3) await new Promise((resolve) => setTimeout(resolve, 2));
        const query = next();
        // ef covers the store, so that nothing can be missed for being approximate.
        const got = await search(store, query, { ef: 400 });
        const expected = truth(model, query);
        expectHonest(got, model, query);
        expect(
          got.map((match) => match.id),
          `seed ${seed}, step ${step}`,
        ).toEqual(expected.map((match) => match.id));
      }
      await store.close();
    }
  });

  it('finds nearly all at a small ef, before and after many vectors were replaced', async () => {
    const random = seededRandom(5);
    const next = clusteredVectors(random, DIMENSION, 50);
    const model = new Map<string, Float32Array>();
    const store = open();
    await fill(store, model, 3_000, next);
    for (let round = 0; round < 3; round++) {
      await search(store, next());
      await until(store, (stats) => stats.indexed === model.size);
      let found = 0;
      for (let i = 0; i < 30; i++) {
        const query = next();
        const got = await search(store, query);
        expectHonest(got, model, query);
        found += recall(got, truth(model, query));
      }
      expect(found / 30).toBeGreaterThan(0.9);
      for (let i = 0; i < 40; i++) {
        await fill(store, model, 50, next);
        await learn(store, model, `c${Math.floor(random() * 3_000)}`, next());
      }
    }
  });

  it('searches while writes go on, and answers with what there is', async () => {
    const random = seededRandom(6);
    const next = clusteredVectors(random, DIMENSION);
    const model = new Map<string, Float32Array>();
    const store = open();
    await fill(store, model, 500, next);
    const fixed = new Map(model);
    const writing = { on: true };
    const writer = (async () => {
      for (let i = 0; writing.on; i++) {
        // Slots go from one concept to another all the time.
        await store.commits.learn({ id: `w${i}`, content: '', embedding: next() });
        if (i >= 5) await store.commits.forgetConcept(`w${i - 5}`);
      }
    })();
    for (let i = 0; i < 100; i++) {
      const query = next();
      const got = await search(store, query, { k: 20, ef: 600 });
      for (const { id, similarity } of got) {
        const vector = fixed.get(id);
        if (vector !== undefined) expect(similarity).toBeCloseTo(cosine(query, vector), 5);
      }
      // At most the six that come and go are between.
      const ids = got.map((match) => match.id).filter((id) => fixed.has(id));
      expect(truth(fixed, query, ids.length).map((match) => match.id)).toEqual(ids);
      expect(ids.length).toBeGreaterThanOrEqual(13);
    }
    writing.on = false;
    await writer;
  });

  it('stays within slots, however few, and above a similarity', async () => {
    const next = clusteredVectors(seededRandom(7), DIMENSION, 5);
    const model = new Map<string, Float32Array>();
    const store = open();
    await fill(store, model, 1_000, next);
    await search(store, next());
    await until(store, (stats) => stats.indexed === 1_000);
    const query = next();
    for (const count of [0, 1, 3, 30, 500]) {
      const ids = Array.from({ length: count }, (_, i) => `c${(i * 997) % 1_000}`);
      const within = Uint32Array.from(ids, (id) => store.findSlot(id)).sort();
      const got = await search(store, query, { within, k: 5, ef: 64 });
      const only = new Map([...model].filter(([id]) => ids.includes(id)));
      expect(recall(got, truth(only, query, 5)) || (count === 0 ? 1 : 0)).toBeGreaterThanOrEqual(
        0.8,
      );
      expect(got).toHaveLength(Math.min(5, count));
      expectHonest(got, only, query);
    }
    const all = await search(store, query, { k: 100, ef: 1_000 });
    const min = all[20]?.similarity ?? 0;
    const near = await search(store, query, { k: 100, ef: 1_000, minSimilarity: min });
    expect(near).toEqual(all.slice(0, 21));
  });

  it('takes another dimension when its last vector was forgotten', async () => {
    const store = open();
    const model = new Map<string, Float32Array>();
    await fill(store, model, 50, clusteredVectors(seededRandom(8), DIMENSION));
    await search(store, new Float32Array(DIMENSION).fill(1));
    await until(store, (stats) => stats.indexed === 50);
    for (const id of model.keys()) await store.commits.forgetConcept(id);
    model.clear();
    const next = clusteredVectors(seededRandom(9), 7);
    await fill(store, model, 60, next);
    await until(store, (stats) => stats.indexed === 60);
    const query = next();
    const ids = (await search(store, query, { ef: 60 })).map((match) => match.id);
    expect(ids).toEqual(truth(model, query).map((match) => match.id));
  });

  it('ranks vectors of any length, and with copies of any precision', async () => {
    for (const vectorIndex of [
      { precision: 'f32' },
      { precision: 'f16' },
      { precision: 'i8' },
    ] as const) {
      const path = join(directory, vectorIndex.precision);
      const store = Store.open(path, environment(), { ...OPTIONS, vectorIndex });
      opened.push(store);
      const random = seededRandom(10);
      const plain = clusteredVectors(random, DIMENSION);
      const next = (): Float32Array => {
        const scale = random() < 0.5 ? 1e9 : 1e-9;
        return plain().map((value) => value * scale);
      };
      const model = new Map<string, Float32Array>();
      await fill(store, model, 300, next);
      await search(store, next());
      await until(store, (stats) => stats.indexed === 300);
      expect(store.vectorIndex.precision).toBe(vectorIndex.precision);
      const query = next();
      const got = await search(store, query, { ef: 300 });
      expectHonest(got, model, query);
      expect(recall(got, truth(model, query))).toBe(1);
    }
  });
});

describe('the index’s file', () => {
  const file = (path = directory): string => join(path, 'vectors.usearch');

  async function built(
    path: string,
    seed: number,
    count = 1_200,
  ): Promise<Map<string, Float32Array>> {
    const model = new Map<string, Float32Array>();
    const store = open(path);
    const next = clusteredVectors(seededRandom(seed), DIMENSION);
    await fill(store, model, count, next);
    await search(store, next());
    await until(store, (stats) => stats.indexed === count);
    await store.close();
    expect((await stat(file(path))).mode & 0o777).toBe(0o600);
    await checkDirectory(path);
    return model;
  }

  async function expectGood(store: Store, model: ReadonlyMap<string, Float32Array>): Promise<void> {
    const next = clusteredVectors(seededRandom(99), DIMENSION);
    for (let i = 0; i < 3; i++) {
      const query = next();
      const got = await search(store, query, { ef: 2_000 });
      expectHonest(got, model, query);
      expect(recall(got, truth(model, query))).toBe(1);
    }
  }

  it('is taken as it is, and put right where the store went on without it', async () => {
    const model = await built(directory, 1);
    const old = await readFile(file());
    let store = open();
    await search(store, new Float32Array(DIMENSION).fill(1));
    await until(store, (stats) => stats.indexed === 1_200);
    expect(logged.filter((line) => line.includes('place'))).toHaveLength(1);
    for (let i = 0; i < 20; i++) {
      await store.commits.forgetConcept(`c${i}`);
      model.delete(`c${i}`);
    }
    // Their slots go to others.
    const next = clusteredVectors(seededRandom(2), DIMENSION);
    for (let i = 0; i < 30; i++) await learn(store, model, `n${i}`, next());
    for (let i = 100; i < 120; i++) await learn(store, model, `c${i}`, next());
    await store.close();
    await writeFile(file(), old);
    store = open();
    await expectGood(store, model);
    await until(store, (stats) => stats.indexed === model.size);
    await expectGood(store, model);
    const reader = open(directory, { readOnly: true });
    await expectGood(reader, model);
    expect(reader.vectorIndex.indexed).toBe(1_200);
    expect(logged.filter((line) => line.includes('not used'))).toEqual([]);
  });

  it('is built anew, with one line, when it is damaged, cut off, hostile or another store’s', async () => {
    const model = await built(directory, 3);
    const other = join(directory, 'other');
    await built(other, 4);
    const good = await readFile(file());
    const flip = (at: number) => (bytes: Buffer) => {
      bytes[at] = (bytes[at] ?? 0) ^ 0x10;
      return bytes;
    };
    const damages: readonly ((bytes: Buffer) => Buffer)[] = [
      ...Array.from({ length: 12 }, (_, i) => flip(Math.floor((good.length * (i + 0.5)) / 12))),
      ...[8, 12, 20, 36, 44, 48, 52, 56, 60, 64, 68, 100].map((at) => flip(good.length - 128 + at)),
      (bytes) => bytes.subarray(0, bytes.length - 1),
      (bytes) => bytes.subarray(0, 1_000),
      () => Buffer.alloc(0),
      () => Buffer.from('not an index'),
    ];
    const foreign = await readFile(file(other));
    for (const damaged of [...damages.map((damage) => damage(Buffer.from(good))), foreign]) {
      await writeFile(file(), damaged);
      logged = [];
      const store = open();
      await expectGood(store, model);
      await until(store, (stats) => stats.indexed === model.size);
      await expectGood(store, model);
      expect(
        logged.filter((line) => line.includes('is not used: ')),
        String(logged),
      ).toHaveLength(1);
      await store.close();
      expect(logged.filter((line) => line.includes('is not used: '))).toHaveLength(1);
    }
    // A directory of that name is nobody's fault, and no reason not to serve.
    await rm(file());
    await cp(join(directory, 'other'), file(), { recursive: true });
    await expectGood(open(), model);
  });

  it('is not believed when its checksums are right and its graph is not', async () => {
    const random = seededRandom(12);
    const model = await built(directory, 12, 200);
    const good = await readFile(file());
    const trailer = decodeIndexTrailer(good.subarray(-INDEX_TRAILER_BYTES), good.length);
    if (typeof trailer === 'string') throw new Error(trailer);
    const graphAt = 8 + 200 * DIMENSION * 2;
    const values = [0, 1, 0x7fff, 0xffff, 0x10000, 200, 0x7fffffff, 0xfffffffe, 0xffffffff];
    let refused = 0;
    for (let i = 0; i < 80; i++) {
      const bytes = Buffer.from(good);
      // The matrix's size, the heads, or somewhere in the nodes; a part of them each.
      const span = [8, 104, trailer.indexBytes - graphAt - 104][i % 3] ?? 0;
      const from = [0, graphAt, graphAt + 104][i % 3] ?? 0;
      const at = from + Math.floor((random() * (span - 4)) / 2) * 2;
      bytes.writeUInt32LE(values[Math.floor(random() * values.length)] ?? 0, at);
      const body = bytes.subarray(0, bytes.length - INDEX_TRAILER_BYTES);
      const sealed = encodeIndexTrailer({ ...trailer, bodyCrc: crc32(body) });
      await writeFile(file(), Buffer.concat([body, sealed]));
      logged = [];
      for (const readOnly of [true, false]) {
        const store = open(directory, { readOnly });
        // Were a number believed that should not be, this would end the process or answer with what is not there.
        await expectGood(store, model);
        await store.close();
      }
      if (logged.some((line) => line.includes('is not used: '))) refused++;
    }
    // Some of them do no harm: a zero over a zero, an edge to another node.
    expect(refused).toBeGreaterThan(30);
  });

  it('is of no use to a reader when it is damaged, and is left alone by it', async () => {
    const model = await built(directory, 5);
    const bytes = await readFile(file());
    bytes[bytes.length >>> 1] = 1 ^ (bytes[bytes.length >>> 1] ?? 0);
    await writeFile(file(), bytes);
    const reader = open(directory, { readOnly: true });
    await expectGood(reader, model);
    await expectGood(reader, model);
    expect(reader.vectorIndex.indexed).toBe(0);
    expect(await readFile(file())).toEqual(bytes);
  });

  it('is refused options that native code could not take', async () => {
    for (const bad of [
      { vectorConnectivity: 1 },
      { vectorConnectivity: 1.5 },
      { vectorEfConstruction: 0 },
      { vectorEfConstruction: Number.NaN },
    ]) {
      await expect(ConcurrentStorage.open(directory, bad)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
    }
  });

  it('is built anew when the store is opened with other options', async () => {
    const model = await built(directory, 6);
    const store = Store.open(directory, environment(), {
      ...OPTIONS,
      vectorIndex: { precision: 'f32', connectivity: 8, efConstruction: 32 },
    });
    opened.push(store);
    await expectGood(store, model);
    await until(store, (stats) => stats.indexed === model.size);
    expect(store.vectorIndex.precision).toBe('f32');
    await store.close();
    expect(logged.filter((line) => line.includes('asked for is f32'))).toHaveLength(1);
    const again = open();
    await expectGood(again, model);
    await until(again, (stats) => stats.indexed === model.size);
    expect(again.vectorIndex.precision).toBe('f32');
  });
});

describe('the index’s thread', () => {
  it('serves a store of some size, and a second opening finds what it wrote', async () => {
    const options: EmbeddedOptions = { durability: 'interval' };
    const next = clusteredVectors(seededRandom(11), 256, 30);
    const concepts = Array.from({ length: 1_500 }, (_, i) => ({
      id: `c${i}`,
      content: '',
      embedding: next(),
    }));
    const model = new Map(concepts.map(({ id, embedding }) => [id, embedding]));
    const environment = nodeEnvironment();
    const { indexHost } = environment;
    if (indexHost === undefined) throw new Error('there is an index host on this machine');
    const asking = { ...environment, indexHost: { ...indexHost, threads: 2, preferIndex: true } };
    for (const turn of ['built', 'read']) {
      const storage = await ConcurrentStorage.open(directory, { ...options, environment: asking });
      if (turn === 'built') await storage.learnBatch({ concepts });
      let found = 0;
      for (let i = 0; i < 60; i++) {
        const query = next();
        const got = await storage.vectorSearch(query, { efSearch: 128 });
        expectHonest(got, model, query);
        found += recall(got, truth(model, query));
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      expect(found / 60).toBeGreaterThan(0.9);
      await storage.close();
      expect((await stat(join(directory, 'vectors.usearch'))).size).toBeGreaterThan(1_500 * 512);
    }
  });
});
