/**
 * Forgetting a concept with more associations than one turn should take: reads go on meanwhile and find it gone at once, also
 * while a checkpoint swaps the levels under it; so do writes that it does not have to come before; and what comes out is what
 * a replay of the log gives.
 */

import { describe, expect, test, vi } from 'vitest';

import { Store } from '#sutra/engine/store';
import { nodeEnvironment } from '#sutra/engine/environment';
import { LevelCursor } from '#sutra/engine/level-cursor';
import { ParsedId, parseId } from '#sutra/engine/format/id';
import { ConcurrentStorage } from '#sutra/storage/embedded';

import { temporaryPath } from '../support/fixture.js';
import { DIRECTORY, STORE_OPTIONS } from '../support/scenario.js';
import { SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';
import { checkDirectory, checkState } from '../support/whole-store.js';

const LEAVES = 6000;
const leaf = (i: number): string => `leaf ${i}`;

// eslint-disable-next-line @typescript-eslint/unbound-method -- called with its own `this` below
const originalFill = LevelCursor.prototype.fill;

function keyOf(id: string): ParsedId {
  const parsed = new ParsedId();
  parseId(id, parsed);
  return parsed;
}

/** Every slice of a forget ends after one step, and none begins while they are held. */
class SlowSteps extends SimEnvironment {
  held = false;

  override nowMs(): number {
    this.clockUs += 5000;
    return super.nowMs();
  }

  override async pause(): Promise<void> {
    do await new Promise((resolve) => setImmediate(resolve));
    while (this.held);
  }
}

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

/** A hub with associations to and from LEAVES leaves, in a store that makes no checkpoint by itself. */
async function withHub(environment: SimEnvironment): Promise<Store> {
  const store = Store.open(DIRECTORY, environment, { ...STORE_OPTIONS, threshold: 1_000_000 });
  const leaves = Array.from({ length: LEAVES }, (_, i) => leaf(i));
  await store.commits.batch(
    ['hub', ...leaves].map((id) => ({ id, content: '' })),
    leaves.map((target) => ({ source: 'hub', target })),
  );
  return store;
}

/** What a replay of its log gives, and which slots it would hand out next. */
async function replayed(disk: SimDisk): Promise<{ digest: string; free: number[] }> {
  const store = Store.open(DIRECTORY, new SimEnvironment(disk.killed(), 3), {
    ...STORE_OPTIONS,
    readOnly: true,
  });
  checkState(store.state);
  const { digest, free } = facts(store);
  await store.close();
  return { digest, free };
}

function facts({ state }: Store): { digest: string; free: number[] } {
  return { digest: state.digest.toString(), free: [...state.freeSlots()] };
}

describe('while a concept with many associations is forgotten', () => {
  test('other writes are acknowledged, and those that it must come before wait', async () => {
    const disk = new SimDisk();
    const environment = new SlowSteps(disk);
    const store = await withHub(environment);
    const { commits, state } = store;
    environment.held = true;
    const order: string[] = [];
    const said = (what: string) => (): number => order.push(what);
    const forgetting = commits.forgetConcept('hub');
    const forgotten = forgetting.then(said('hub forgotten'));
    const beside = [
      commits.learn({ id: 'new', content: 'more' }).then(said('learned')),
      commits.associate({ source: leaf(1), target: 'new' }).then(said('associated')),
      commits.learn({ id: leaf(2), content: 'again' }).then(said('learned again')),
    ];
    await Promise.all(beside);
    const { associations } = (await commits.forgetAssociation(leaf(1), 'new', 0)) ?? {};
    expect(associations).toBe(1);
    expect(order).toEqual(['learned', 'associated', 'learned again']);
    expect(state.isForgetting).toBe(true);
    await expect(commits.associate({ source: 'hub', target: leaf(3) })).rejects.toMatchObject({
      code: 'UNKNOWN_CONCEPT',
    });
    // The hub's slot is not handed out before its associations are gone.
    const behind = [
      commits.learn({ id: 'hub', content: 'another' }).then(said('hub learned')),
      commits.forgetConcept(leaf(4)).then(said('leaf forgotten')),
      commits.learn({ id: 'last', content: '' }).then(said('last learned')),
    ];
    await environment.settle();
    expect(order).toHaveLength(3);
    environment.held = false;
    await Promise.all([forgotten, ...behind]);
    expect(await forgetting).toMatchObject({ associations: LEAVES });
    expect(order.slice(3)).toContain('hub forgotten');
    expect(state.edgeCount).toBe(0);
    expect(state.conceptCount).toBe(LEAVES + 1 + 2 - 1);
    checkState(state);
    expect(await replayed(disk)).toEqual(facts(store));
    await store.flush();
    checkState(state);
    expect(await replayed(disk)).toEqual(facts(store));
    await store.close();
  });

  test('a flush waits for it, and writes do not wait for the flush', async () => {
    const disk = new SimDisk();
    const environment = new SlowSteps(disk);
    const store = await withHub(environment);
    const { commits } = store;
    environment.held = true;
    const forgetting = commits.forgetConcept('hub');
    await commits.learn({ id: 'beside', content: '' });
    let flushed = false;
    const flushing = store.flush().then(() => {
      flushed = true;
    });
    await commits.learn({ id: 'beside the flush', content: '' });
    expect(flushed).toBe(false);
    expect(environment.checkpointsBegun).toBe(0);
    environment.held = false;
    await forgetting;
    await flushing;
    expect(environment.checkpointsBegun).toBe(1);
    checkState(store.state);
    const { digest } = facts(store);
    await store.close();
    expect((await replayed(disk)).digest).toBe(digest);
  });

  test('its end is waited for by a close, and what was acknowledged beside it is there', async () => {
    const disk = new SimDisk();
    const store = await withHub(new SlowSteps(disk));
    const forgetting = store.commits.forgetConcept('hub');
    await store.commits.learn({ id: 'beside', content: '' });
    expect(store.state.isForgetting).toBe(true);
    await store.close();
    expect(await forgetting).toMatchObject({ associations: LEAVES });
    const again = Store.open(DIRECTORY, new SimEnvironment(disk, 4), STORE_OPTIONS);
    checkState(again.state);
    expect(again.state.edgeCount).toBe(0);
    expect(again.state.conceptCount).toBe(LEAVES + 1);
    await again.close();
  });
});

test('slots are handed out alike when a checkpoint starts from storage.dat.prev', async () => {
  const disk = new SimDisk();
  const environment = new SimEnvironment(disk, 5);
  const store = await withHub(environment);
  const { commits, state } = store;
  await store.flush();
  const { k0, k1, k2, k3 } = keyOf('hub');
  const slotOfHub = state.levels.findSlot(k0, k1, k2, k3);
  await commits.forgetConcept('hub');
  await commits.learn({ id: 'before the freeze', content: '' });
  await store.flush();
  // The freeze gave the hub's slot free, which a replay from storage.dat.prev passes without one of its own.
  await commits.learn({ id: 'heir', content: '' });
  const heir = keyOf('heir');
  expect(state.levels.findSlot(heir.k0, heir.k1, heir.k2, heir.k3)).toBe(slotOfHub);
  const bytes = disk.bytesOf(`${DIRECTORY}/storage.dat`);
  disk.put(
    `${DIRECTORY}/storage.dat`,
    bytes.map((byte, i) => (i === 20 ? byte ^ 1 : byte)),
  );
  let release = (): void => undefined;
  environment.holdCheckpoint = new Promise((resolve) => {
    release = () => {
      environment.holdCheckpoint = null;
      resolve();
    };
  });
  const flushing = store.flush();
  await environment.settle();
  // It refers to slots of the generation that the checkpoint will stand for.
  await commits.associate({ source: 'heir', target: 'before the freeze' });
  release();
  await flushing;
  expect(environment.logged.filter((line) => line.includes('falling back'))).toHaveLength(1);
  expect(state.levels.findSlot(heir.k0, heir.k1, heir.k2, heir.k3)).toBe(slotOfHub);
  expect(checkState(state)).toMatchObject({ edges: 1 });
  const { digest } = facts(store);
  await store.close();
  expect((await replayed(disk)).digest).toBe(digest);
});

test('every type between a hub and another is found in the shorter list of the two', async () => {
  const environment = new SimEnvironment(new SimDisk(), 6);
  const store = await withHub(environment);
  const { commits } = store;
  await store.flush();
  const types = [7, 3, 65_535];
  await commits.batch(
    [],
    [
      ...types.map((type) => ({ source: leaf(5), target: 'hub', type })),
      ...types.map((type) => ({ source: 'hub', target: leaf(5), type })),
      { source: 'hub', target: 'hub', type: 2 },
    ],
  );
  let fills = 0;
  const fill = vi.spyOn(LevelCursor.prototype, 'fill').mockImplementation(function (
    this: LevelCursor,
  ) {
    fills++;
    return originalFill.call(this);
  });
  const forgotten = [
    await commits.forgetAssociation('hub', leaf(5), null),
    await commits.forgetAssociation(leaf(5), 'hub', null),
    await commits.forgetAssociation('hub', leaf(5), null),
  ];
  fill.mockRestore();
  expect(forgotten.map((each) => each?.associations)).toEqual([4, 3, undefined]);
  // The hub's own list takes a dozen each time, and each is looked at twice.
  expect(fills).toBeLessThan(24);
  expect((await commits.forgetAssociation('hub', 'hub', null))?.associations).toBe(1);
  expect(store.state.edgeCount).toBe(LEAVES - 1);
  checkState(store.state);
  await store.close();
});
