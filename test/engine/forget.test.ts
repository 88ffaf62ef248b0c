/**
 * Forgetting a concept with more associations than one turn should take: reads go on meanwhile and find it gone at once, also
 * while a checkpoint swaps the levels under it; and what comes out is what a replay of the log gives.
 */

import { describe, expect, test } from 'vitest';

import { Store } from '#sutra/engine/store';
import { nodeEnvironment } from '#sutra/engine/environment';
import { ConcurrentStorage } from '#sutra/storage/embedded';

import { temporaryPath } from '../support/fixture.js';
import { STORE_OPTIONS } from '../support/scenario.js';
import { checkDirectory } from '../support/whole-store.js';

const LEAVES = 6000;
const leaf = (i: number): string => `leaf ${i}`;

/** A hub with associations in storage.dat and in the log, both ways, of several types, and to itself. Returns how many. */
async function makeHub(storage: ConcurrentStorage): Promise<number> {
  const leaves = Array.from({ length: LEAVES }, (_, i) => i);
  await storage.learnBatch({
    concepts: [
      { id: 'hub', content: 'hub', embedding: [1, 2] },
      ...leaves.map((i) => ({ id: leaf(i), content: '' })),
    ],
    associations: [
      ...leaves.slice(0, 4000).map((i) => ({ source: 'hub', target: leaf(i) })),
      ...leaves.slice(0, 3000).map((i) => ({ source: leaf(i), target: 'hub', type: 1 })),
      ...leaves.slice(1).map((i) => ({ source: leaf(i), target: leaf(i - 1) })),
      { source: 'hub', target: 'hub', type: 3 },
    ],
  });
  await storage.flush();
  await storage.learnBatch({
    associations: [
      // Some of storage.dat again, and some that are new.
      ...leaves.slice(3500).map((i) => ({ source: 'hub', target: leaf(i), confidence: 0.5 })),
      ...leaves.slice(5000).map((i) => ({ source: leaf(i), target: 'hub', type: 7 })),
    ],
  });
  await storage.forgetAssociation('hub', leaf(0), 0);
  await storage.forgetConcept(leaf(1));
  // leaf 0: one left; leaf 1: two gone.
  return LEAVES - 2 + (3000 - 1) + 1000 + 1;
}

/** Reads until `done`, and holds each answer against the others: gone stays gone, and for everybody. */
async function readMeanwhile(
  storage: ConcurrentStorage,
  done: AbortSignal,
): Promise<{ reads: number; between: number }> {
  let gone = false;
  let between = 0;
  let reads = 0;
  for (; !done.aborted; reads++) {
    const there = await storage.contains('hub');
    if (gone) expect(there).toBe(false);
    gone = !there;
    if (gone) {
      between++;
      const i = (reads * 37) % LEAVES;
      const { neighbors } = await storage.getNeighbors(leaf(i));
      expect(neighbors.filter(({ id }) => id === 'hub')).toEqual([]);
      expect((await storage.queryConcept('hub')).found).toBe(false);
      expect((await storage.getNeighbors('hub')).known).toBe(false);
      const { path } = await storage.findPath(leaf(10), leaf(20), { maxDepth: 3 });
      expect(path).toEqual([]);
      expect((await storage.vectorSearch([1, 2])).map(({ id }) => id)).toEqual([]);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { reads, between };
}

describe('forgetting a concept with many associations', () => {
  for (const withFlush of [false, true]) {
    test(`lets reads go on${withFlush ? ', also across a checkpoint' : ''}`, async () => {
      const path = temporaryPath();
      const storage = await ConcurrentStorage.open(path);
      const expected = await makeHub(storage);
      const { edges } = await storage.stats();
      const done = new AbortController();
      const reading = readMeanwhile(storage, done.signal);
      const flushing = withFlush ? storage.flush() : Promise.resolve();
      const forgetting = storage.forgetConcept('hub');
      // Behind it, in the same group and in the next.
      const again = storage.learnConcept({ id: 'hub', content: 'another' });
      const receipt = await forgetting;
      done.abort();
      const { between } = await reading;
      await flushing;
      expect(receipt).toMatchObject({ found: true, associations: expected });
      expect(between).toBeGreaterThan(0);
      expect(await again).toEqual({ sequence: receipt.sequence + 1 });
      expect(await storage.stats()).toMatchObject({ edges: edges - expected, vectors: 0 });
      expect(await storage.getNeighbors('hub')).toMatchObject({ known: true, neighbors: [] });
      await storage.learnAssociation({ source: 'hub', target: leaf(5) });
      const { digest } = storage.stateSum();
      await storage.close();
      // A replay does it in one go.
      const options = { ...STORE_OPTIONS, readOnly: true };
      const replayed = Store.open(path, nodeEnvironment(), options);
      expect(replayed.state.digest.toString()).toBe(digest);
      await replayed.close();
      expect(await checkDirectory(path)).toMatchObject({ digest });
      const writer = await ConcurrentStorage.open(path);
      await writer.flush();
      await writer.close();
      expect(await checkDirectory(path)).toMatchObject({ digest });
    });
  }
});

test('forgetting many concepts at once gives way as forgetting a large one does', async () => {
  const HUBS = 40;
  const EACH = 1000;
  let ms = 0;
  let fewest = Infinity;
  let most = 0;
  let edges = (): number => 0;
  const look = (): void => {
    most = Math.max(most, fewest - edges());
    fewest = edges();
  };
  const store = Store.open(
    temporaryPath(),
    {
      ...nodeEnvironment(),
      nowMs: () => (ms += 10),
      pause: () => {
        look();
        return new Promise((resolve) => setImmediate(resolve));
      },
    },
    { ...STORE_OPTIONS, threshold: 1_000_000 },
  );
  const hub = (i: number): string => `hub ${i}`;
  const leaves = Array.from({ length: EACH }, (_, i) => leaf(i));
  const hubs = Array.from({ length: HUBS }, (_, i) => hub(i));
  await store.commits.batch(
    [...leaves, ...hubs].map((id) => ({ id, content: '' })),
    hubs.flatMap((source) => leaves.map((target) => ({ source, target }))),
  );
  edges = () => store.state.edgeCount;
  fewest = edges();
  const forgotten = await Promise.all(hubs.map((id) => store.commits.forgetConcept(id)));
  look();
  expect(forgotten.map((each) => each?.associations)).toEqual(hubs.map(() => EACH));
  expect(edges()).toBe(0);
  // Two steps come between two pauses at most: the last of one forget, and the first of those behind it.
  expect(most).toBeLessThan(6000);
  await store.close();
});
