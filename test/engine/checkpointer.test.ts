/** Checkpoints that fail, are stopped, or meet a close. */

import { describe, expect, test } from 'vitest';

import { SutraError } from '#sutra/errors';
import { Store } from '#sutra/engine/store';
import { ConcurrentStorage } from '#sutra/storage/embedded';

import { DIRECTORY, STORE_OPTIONS } from '../support/scenario.js';
import { SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';
import { checkState } from '../support/whole-store.js';

function open(disk: SimDisk, threshold = 1_000_000) {
  const environment = new SimEnvironment(disk);
  const store = Store.open(DIRECTORY, environment, { ...STORE_OPTIONS, threshold });
  return { environment, store };
}

async function learn(store: Store, id: string): Promise<void> {
  await store.commits.learn({ id, content: id, strength: 1, confidence: 1, embedding: null });
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return error instanceof SutraError ? error.code : String(error);
  }
  return 'done';
}

/** A promise and how to resolve it. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

describe('a close', () => {
  test('lets a running checkpoint finish, and none begin behind it', async () => {
    const disk = new SimDisk();
    const { environment, store } = open(disk);
    await learn(store, 'a');
    const held = gate();
    environment.holdCheckpoint = held.opened;
    const first = codeOf(store.flush());
    await environment.settle();
    // This one needs another checkpoint when the first is through.
    await learn(store, 'b');
    const second = codeOf(store.flush());
    await environment.settle();
    const closed = codeOf(store.close());
    await environment.settle();
    environment.holdCheckpoint = null;
    held.open();
    expect(await closed).toBe('done');
    const { operations } = disk;
    expect(await first).toBe('done');
    expect(await second).toBe('CLOSED');
    await environment.settle();
    expect(environment.checkpointsBegun).toBe(1);
    expect(disk.operations).toBe(operations);
    expect(disk.openFiles.size).toBe(0);
  });

  test('that cancels does not wait for one that is about to begin', async () => {
    const disk = new SimDisk();
    const { environment, store } = open(disk);
    await learn(store, 'a');
    const held = gate();
    disk.holdAsync = (kind) => (kind === 'syncDirectory' ? held.opened : null);
    const flushed = codeOf(store.flush());
    await environment.settle();
    const closed = codeOf(store.close(true));
    await environment.settle();
    held.open();
    expect(await closed).toBe('done');
    expect(await flushed).toBe('CANCELLED');
    expect(environment.checkpointsBegun).toBe(0);
    const again = open(disk).store;
    expect(again.state.sequence).toBe(1);
    await again.close();
  });
});

describe('a flush', () => {
  test('is done when old segments cannot be removed, and the next one removes them', async () => {
    const disk = new SimDisk();
    const { environment, store } = open(disk);
    disk.onOperation = ({ kind, path }) =>
      kind === 'unlink' && path.endsWith('.log') ? 'EIO' : null;
    for (const id of ['a', 'b', 'c']) {
      await learn(store, id);
      expect(await codeOf(store.flush())).toBe('done');
    }
    expect(store.problem).toBeNull();
    expect(environment.logged.filter((line) => line.startsWith('warn: ')).length).toBeGreaterThan(
      0,
    );
    disk.onOperation = () => null;
    await learn(store, 'd');
    await store.flush();
    // Those that storage.dat and storage.dat.prev need, and the open one.
    expect(disk.list(DIRECTORY).filter((name) => name.startsWith('wal-')).length).toBeLessThan(4);
    await store.close();
  });

  test('fails with the checkpoint, beside writes, and does not try for ever', async () => {
    const disk = new SimDisk();
    const { environment, store } = open(disk);
    disk.onOperation = ({ kind, path }) =>
      kind === 'create' && path.endsWith('.tmp') ? 'EIO' : null;
    const flushes: Promise<string>[] = [];
    for (let n = 0; n < 10; n++) {
      await learn(store, `concept ${n}`);
      flushes.push(codeOf(store.flush()));
    }
    expect(new Set(await Promise.all(flushes))).toEqual(new Set(['DISK_FAILED']));
    expect(store.problem?.code).toBe('DISK_FAILED');
    const answers = store.findSlot('concept 0');
    expect(answers).toBe(0);
    // Well again, the retry writes down what was sealed then; a flush what came since.
    disk.onOperation = () => null;
    await environment.advance(5001);
    expect(store.problem).toBeNull();
    await store.flush();
    checkState(store.state);
    await store.close();
  });
});

describe('streams of writes', () => {
  test('wait at so many behind the seal of a checkpoint that runs, and single writes do not', async () => {
    const disk = new SimDisk();
    const environment = new SimEnvironment(disk);
    const storage = await ConcurrentStorage.open(DIRECTORY, { environment, threshold: 1_000_000 });
    const { checkpointer } = Reflect.get(storage, 'store') as Store;
    if (checkpointer === null) throw new Error('no writer');
    checkpointer.holdWrites = 10;
    const { opened, open: release } = gate();
    environment.holdCheckpoint = opened;
    await storage.learnConcept({ id: 'first', content: '' });
    const flushing = storage.flush();
    await environment.settle();
    const acks = storage.ingest(
      Array.from({ length: 20 }, (_, chunk) =>
        Array.from({ length: 4 }, (__, i) => ({ concept: { id: `${chunk} ${i}`, content: '' } })),
      ),
    );
    let acknowledged = 0;
    const ingesting = (async () => {
      for await (const { accepted } of acks) acknowledged += accepted;
    })();
    for (let turn = 0; turn < 50; turn++) await environment.settle();
    const held = acknowledged;
    // What was under way before the tenth was applied.
    expect(held).toBeGreaterThanOrEqual(10);
    expect(held).toBeLessThan(80);
    await storage.learnConcept({ id: 'single', content: '' });
    expect(acknowledged).toBe(held);
    environment.holdCheckpoint = null;
    release();
    await flushing;
    await ingesting;
    expect(acknowledged).toBe(80);
    await storage.close();
  });

  test('do not wait for one that fails', async () => {
    const { environment, store } = open(new SimDisk());
    const { checkpointer } = store;
    if (checkpointer === null) throw new Error('no writer');
    checkpointer.holdWrites = 1;
    const { opened, open: release } = gate();
    environment.holdCheckpoint = opened.then(() => {
      throw new SutraError('DISK_FULL', 'no space');
    });
    await learn(store, 'a');
    const flushing = codeOf(store.flush());
    await environment.settle();
    await learn(store, 'b');
    let hasRoom = false;
    const room = store.room().then(() => {
      hasRoom = true;
    });
    await environment.settle();
    expect(hasRoom).toBe(false);
    release();
    expect(await flushing).toBe('DISK_FULL');
    await room;
    environment.holdCheckpoint = null;
    await store.close();
  });
});
