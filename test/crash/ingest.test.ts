/**
 * Power cuts and kills inside one chunk of an ingest that is larger than a frame (the fault matrix, rows 1 and 2). Its items are not
 * atomic together: before every operation on the disk the states that a cut could leave are rebuilt and opened, and hold the
 * chunk's first items, as many as there are whole frames of them; once the chunk was acknowledged, all of them.
 *
 * SUTRA_CRASH_STATES states a power cut could leave, per moment (default 1); each moment is a kill too.
 */

import { expect, test } from 'vitest';

import { Store } from '#sutra/engine/store';
import { ConcurrentStorage } from '#sutra/storage/embedded';

import { seededRandom, testSeed } from '../support/random.js';
import { DIRECTORY, STORE_OPTIONS } from '../support/scenario.js';
import { randomChoice, SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';
import { checkState } from '../support/whole-store.js';

const STATES = Number(process.env['SUTRA_CRASH_STATES'] ?? 1);
const ITEMS = 2_000;
/** So that the chunk takes four frames of 512 KiB. */
const CONTENT = 'x'.repeat(1_000);

const seed = testSeed();

test(`a chunk of several frames: a beginning of it, and all once it is acknowledged (seed ${seed})`, async () => {
  const random = seededRandom(seed);
  const disk = new SimDisk();
  const storage = await ConcurrentStorage.open(DIRECTORY, {
    environment: new SimEnvironment(disk, 7),
  });
  const images: {
    readonly at: string;
    readonly disk: SimDisk;
    readonly isAcknowledged: boolean;
  }[] = [];
  let isAcknowledged = false;
  const take = (at: string): void => {
    for (let n = 0; n < STATES; n++) {
      images.push({ at: `cut ${at}`, disk: disk.crash(randomChoice(random)), isAcknowledged });
    }
    images.push({ at: `killed ${at}`, disk: disk.killed(), isAcknowledged });
  };
  disk.onOperation = ({ index, kind, path }) => {
    take(`before operation ${index}, ${kind} ${path}`);
    return null;
  };
  const names = Array.from({ length: ITEMS }, (_, i) => `c${i}`);
  const items = names.map((id) => ({ concept: { id, content: CONTENT } }));
  for await (const ack of storage.ingest([items])) {
    expect(ack).toMatchObject({ accepted: ITEMS, firstSequence: 1, lastSequence: ITEMS });
    isAcknowledged = true;
    take('behind the acknowledgement');
  }
  disk.onOperation = () => null;
  const { groupCommits } = await storage.stats();
  expect(groupCommits).toBeGreaterThanOrEqual(4);
  await storage.close();

  const found = new Set<number>();
  for (const image of images) {
    const store = Store.open(DIRECTORY, new SimEnvironment(image.disk, 9), STORE_OPTIONS);
    try {
      const { state } = store;
      checkState(state);
      found.add(state.conceptCount);
      expect(state.sequence, image.at).toBe(state.conceptCount);
      if (image.isAcknowledged) expect(state.conceptCount, image.at).toBe(ITEMS);
      // Slots are given out in the order of the items.
      const ids = Array.from({ length: state.conceptCount }, (_, slot) => state.levels.id(slot));
      expect(ids, image.at).toEqual(names.slice(0, ids.length));
    } finally {
      await store.close();
    }
  }
  // Nothing, everything, and what lies between two frames.
  expect(found).toContain(0);
  expect(found).toContain(ITEMS);
  expect(found.size).toBeGreaterThanOrEqual(4);
}, 120_000);

test(`chunks that wait for each other: a whole number of them (seed ${seed})`, async () => {
  const random = seededRandom(seed);
  const disk = new SimDisk();
  const storage = await ConcurrentStorage.open(DIRECTORY, {
    environment: new SimEnvironment(disk, 7),
  });
  const images: SimDisk[] = [];
  disk.onOperation = () => {
    images.push(disk.crash(randomChoice(random)), disk.killed());
    return null;
  };
  // Each has room in a frame, and no two of them have.
  const each = 300;
  const chunks = Array.from({ length: 10 }, (_, chunk) =>
    Array.from({ length: each }, (__, i) => ({
      concept: { id: `${chunk}-${i}`, content: CONTENT },
    })),
  );
  let acknowledged = 0;
  for await (const { accepted } of storage.ingest(chunks)) acknowledged += accepted;
  expect(acknowledged).toBe(10 * each);
  disk.onOperation = () => null;
  await storage.close();
  const found = new Set<number>();
  for (const image of images) {
    const store = Store.open(DIRECTORY, new SimEnvironment(image, 9), STORE_OPTIONS);
    found.add(store.state.sequence);
    expect(store.state.sequence % each, `${store.state.sequence}`).toBe(0);
    await store.close();
  }
  expect(found.size).toBeGreaterThan(2);
});
