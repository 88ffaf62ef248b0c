/** The way of a write when something goes wrong on it: refused batches, a full disk, a failed one. */

import { describe, expect, test } from 'vitest';

import { SutraError } from '#sutra/errors';
import { Store } from '#sutra/engine/store';

import { DIRECTORY, STORE_OPTIONS } from '../support/scenario.js';
import { SimDisk, type Operation, type Verdict } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';
import { checkState } from '../support/whole-store.js';

const OPTIONS = { ...STORE_OPTIONS, threshold: 1_000_000 };

function open(
  disk = new SimDisk(),
  durability: 'always' | 'interval' = 'always',
  reconcileMs = 10,
): { disk: SimDisk; environment: SimEnvironment; store: Store } {
  const environment = new SimEnvironment(disk);
  const store = Store.open(DIRECTORY, environment, { ...OPTIONS, durability, reconcileMs });
  return { disk, environment, store };
}

function concept(id: string, content = '') {
  return { id, content, strength: 1, confidence: 1, embedding: null };
}

function link(source: string, target: string) {
  return { source, target, type: 0, confidence: 1 };
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return error instanceof SutraError ? error.code : String(error);
  }
  return 'done';
}

/** Fails every operation that `matches` with `code`, until it is told otherwise. */
function failWhen(disk: SimDisk, code: Verdict, matches: (operation: Operation) => boolean): void {
  disk.onOperation = (operation) => (matches(operation) ? code : null);
}

/** What the promise came to within a few turns of the event loop; `pending` when nothing yet. */
async function soon<T>(promise: Promise<T>): Promise<T | 'pending'> {
  const turns = async (): Promise<'pending'> => {
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    return 'pending';
  };
  return Promise.race([promise, turns()]);
}

describe('forgetting an association', () => {
  test('does not wait for what a refused batch would have linked', async () => {
    const { store } = open();
    await store.commits.batch([concept('a'), concept('b')], [link('a', 'b')]);
    const refused = (async () => store.commits.batch([], [link('a', 'b'), link('a', 'c')]))();
    expect(await codeOf(refused)).toBe('UNKNOWN_CONCEPT');
    expect(await store.commits.forgetAssociation('a', 'b', null)).toEqual({
      sequence: 4,
      associations: 1,
    });
    await store.close();
  });
});

describe('a full disk', () => {
  /** A store that has just refused a write for lack of space, with its first probe due. */
  async function fullStore() {
    const { disk, environment, store } = open();
    await store.commits.learn(concept('a'));
    disk.capacityBytes = disk.usedBytes + 100;
    expect(await codeOf(store.commits.learn(concept('b', 'x'.repeat(1000))))).toBe('DISK_FULL');
    disk.capacityBytes = Infinity;
    return { disk, environment, store };
  }

  test('takes writes again by itself, with the sequences of those it refused', async () => {
    const { environment, store } = await fullStore();
    await environment.advance(1001);
    expect((await store.commits.learn(concept('c'))).firstSequence).toBe(2);
    await store.close();
  });

  /** Holds the next write of the log; returns how to let it go on. */
  function holdNextWrite(disk: SimDisk): () => void {
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    disk.holdAsync = (kind, path) => {
      if (kind !== 'write' || !path.endsWith('.log')) return null;
      disk.holdAsync = () => null;
      return held;
    };
    return release;
  }

  test('is not probed while a checkpoint rolls the log', async () => {
    const { disk, environment, store } = await fullStore();
    const release = holdNextWrite(disk);
    await environment.advance(1001);
    // The probe is under way, and now a flush wants to seal the segment it writes to.
    const flushed = store.flush();
    await environment.settle();
    release();
    await flushed;
    await environment.settle();
    await store.commits.learn(concept('c'));
    await store.close();
    const again = open(disk.killed());
    expect(again.store.state.sequence).toBe(2);
    checkState(again.store.state);
    expect(again.environment.logged).toEqual([]);
    await again.store.close();
  });

  test('is not probed while the store closes', async () => {
    const { disk, environment, store } = await fullStore();
    const release = holdNextWrite(disk);
    await environment.advance(1001);
    const closed = codeOf(store.close());
    await environment.settle();
    release();
    expect(await closed).toBe('done');
    const reopened = open(disk);
    expect(reopened.environment.logged).toEqual([]);
    await reopened.store.close();
  });

  test('that refuses a new segment does not have it come back after a power cut', async () => {
    const { disk, store } = open();
    await store.commits.learn(concept('a'));
    failWhen(disk, 'ENOSPC', ({ kind, path }) => kind === 'write' && path.endsWith('2.log'));
    expect(await codeOf(store.flush())).toBe('DISK_FULL');
    disk.onOperation = () => null;
    await store.commits.learn(concept('b'));
    const crashed: SimDisk[] = [];
    disk.onOperation = ({ kind, path }) => {
      if (kind !== 'sync' || !path.endsWith('1.log')) return null;
      // The directory as it was with the new segment in it, if it can; of the frame its length, and none of its bytes.
      let choices = 0;
      const image = disk.crash(
        (options) => Math.max(0, options - 2),
        (name) => (options) => (name.endsWith('1.log') && choices++ === 0 ? options - 1 : 0),
      );
      crashed.push(image);
      return null;
    };
    await store.commits.learn(concept('c'));
    const again = open(crashed[0]).store;
    expect(again.state.sequence).toBe(2);
    await again.close();
    await store.close();
  });
});

describe('a failed disk', () => {
  test('is reported when it is a roll that failed, with no write waiting', async () => {
    const { disk, store } = open();
    await store.commits.learn(concept('a'));
    failWhen(disk, 'EIO', ({ kind, path }) => kind === 'create' && path.endsWith('2.log'));
    expect(await codeOf(store.flush())).toBe('DISK_FAILED');
    expect(await soon(store.failed)).toMatchObject({ code: 'DISK_FAILED' });
    expect(await codeOf(store.close())).toBe('done');
  });

  test('is reported when it is the lock file that a background sync cannot write', async () => {
    const { disk, environment, store } = open(new SimDisk(), 'interval');
    await store.commits.learn(concept('a'));
    failWhen(disk, 'EIO', ({ kind, path }) => kind === 'write' && path.endsWith('/lock'));
    await environment.advance(11);
    expect(await soon(store.failed)).toMatchObject({ code: 'INTERNAL' });
    await codeOf(store.close());
  });

  test('rejects what is under way behind a group that cannot be published, and closes', async () => {
    const { disk, store } = open();
    await store.commits.learn(concept('a'));
    failWhen(disk, 'EIO', ({ kind, path }) => kind === 'write' && path.endsWith('/lock'));
    const large = 'x'.repeat(600 * 1024);
    const writes = ['b', 'c', 'd'].map((id) => codeOf(store.commits.learn(concept(id, large))));
    const closed = codeOf(store.close());
    expect(await Promise.all(writes)).toEqual(['INTERNAL', 'INTERNAL', 'INTERNAL']);
    expect(await closed).toBe('done');
    expect(disk.openFiles.size).toBe(0);
  });

  test('does not take a sync that failed for want of space for one that worked', async () => {
    const { disk, environment, store } = open(new SimDisk(), 'interval', 5000);
    await store.commits.learn(concept('a'));
    failWhen(disk, 'ENOSPC', ({ kind, path }) => kind === 'write' && path.endsWith('.log'));
    expect(await codeOf(store.commits.learn(concept('b')))).toBe('DISK_FULL');
    // The probe's; the next one, which is meant for the first write, finds nothing left to do.
    let failures = 0;
    failWhen(disk, 'ENOSPC', ({ kind }) => kind === 'sync' && failures++ === 0);
    await environment.advance(6000);
    expect(await soon(store.failed)).toMatchObject({ code: 'DISK_FAILED' });
    await codeOf(store.close());
  });
});

describe('an answer that takes no sequence', () => {
  /** A store of `a`, whose forgetting hangs in the disk until it is let go. */
  async function forgetting() {
    const { disk, store } = open();
    await store.commits.learn(concept('a'));
    let letGo: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (letGo = resolve));
    disk.holdAsync = (kind) => (kind === 'sync' ? held : null);
    const forgotten = codeOf(store.commits.forgetConcept('a'));
    const refused = codeOf(store.commits.associate(link('a', 'a')));
    const batch = codeOf(store.commits.batch([concept('b')], [link('a', 'b')]));
    const again = store.commits.forgetConcept('a').then(
      (gone) => (gone === null ? 'nothing' : 'gone'),
      (error: unknown) => (error instanceof SutraError ? error.code : String(error)),
    );
    const answers = Promise.all([forgotten, refused, batch, again]);
    return { disk, store, letGo, answers };
  }

  test('is not given before what it rests on is durable', async () => {
    const { store, letGo, answers } = await forgetting();
    expect(await soon(answers)).toBe('pending');
    expect(store.findSlot('a')).toBeGreaterThanOrEqual(0);
    letGo();
    expect(await answers).toEqual(['done', 'UNKNOWN_CONCEPT', 'UNKNOWN_CONCEPT', 'nothing']);
    await store.close();
  });

  test('is not given at all when that came to nothing', async () => {
    const { disk, store, letGo, answers } = await forgetting();
    failWhen(disk, 'EIO', ({ kind }) => kind === 'sync');
    letGo();
    expect(new Set(await answers)).toEqual(new Set(['DISK_FAILED']));
    await codeOf(store.close());
  });
});
