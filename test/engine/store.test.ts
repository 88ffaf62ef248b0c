/** Opening: what becomes durable when, and what a reader sees whose writer is at work in between. */

import { describe, expect, test } from 'vitest';

import type { Disk, DiskFile, OpenMode } from '#sutra/engine/disk';
import { SutraError } from '#sutra/errors';
import { Store } from '#sutra/engine/store';

import { STORE_OPTIONS } from '../support/scenario.js';
import { SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';

const OPTIONS = { ...STORE_OPTIONS, threshold: 1_000_000 };

function open(disk: Disk, directory: string, options = {}): Store {
  return Store.open(directory, new SimEnvironment(disk), { ...OPTIONS, ...options });
}

async function learn(store: Store, id: string): Promise<void> {
  await store.commits.learn({ id, content: id, strength: 1, confidence: 1, embedding: [1, 2] });
}

describe('the directory of a new store', () => {
  test('is durable with all its new parents before the first acknowledgement', async () => {
    const disk = new SimDisk();
    const store = open(disk, '/data/sutra/store');
    await learn(store, 'a');
    const crashed = open(
      disk.crash(() => 0),
      '/data/sutra/store',
    );
    expect(crashed.state.sequence).toBe(1);
    await crashed.close();
    await store.close();
  });

  test('is made durable by the next writer when its maker was killed before it could', async () => {
    const made = new SimDisk();
    made.makeDirectory('/store');
    const store = open(made, '/store');
    await learn(store, 'a');
    const crashed = open(
      made.crash(() => 0),
      '/store',
    );
    expect(crashed.state.sequence).toBe(1);
    await crashed.close();
    await store.close();
  });
});

describe('an opening that fails', () => {
  test('leaves nothing open and no lock', async () => {
    const disk = new SimDisk();
    const store = open(disk, '/store');
    await learn(store, 'a');
    await store.flush();
    await store.close();
    for (const readOnly of [true, false]) {
      expect(() => open(disk, '/store', { readOnly, vectorDim: 3 })).toThrow(SutraError);
      expect(disk.openFiles.size).toBe(0);
    }
    // Whatever fails on the way.
    for (let n = 1, failed = true; failed; n++) {
      const copy = disk.killed();
      copy.onOperation = ({ index }) => (index === n ? 'EIO' : null);
      failed = false;
      try {
        await open(copy, '/store').close();
      } catch {
        failed = true;
      }
      expect(copy.openFiles.size).toBe(0);
      if (n > 200) throw new Error('never comes to an end');
    }
  });
});

/** Shows one disk until its lock file is looked at, then another: what happens in between, happens for a reader at once. */
class ChangingDisk extends SimDisk {
  constructor(
    private readonly before: SimDisk,
    private readonly after: SimDisk,
    private isChanged = false,
  ) {
    super();
  }
  private get now(): SimDisk {
    return this.isChanged ? this.after : this.before;
  }
  override open(path: string, mode: OpenMode): DiskFile {
    if (path.endsWith('/lock')) this.isChanged = true;
    return this.now.open(path, mode);
  }
  override stat(path: string): ReturnType<SimDisk['stat']> {
    return this.now.stat(path);
  }
  override list(directory: string): string[] {
    return this.now.list(directory);
  }
}

describe('a reader', () => {
  test('sees everything when its writer rolls while it looks', async () => {
    const disk = new SimDisk();
    const store = open(disk, '/store');
    await learn(store, 'a');
    const before = disk.killed();
    // The log stays, so that it alone must tell everything.
    disk.onOperation = ({ kind, path }) =>
      kind === 'unlink' && path.endsWith('.log') ? 'EIO' : null;
    for (const id of ['b', 'c', 'd']) {
      await learn(store, id);
      await store.flush();
    }
    await learn(store, 'e');
    const after = disk.killed();
    after.unlink('/store/storage.dat');
    after.unlink('/store/storage.dat.prev');
    after.open('/store/lock', 'update').tryLock();
    const reader = open(new ChangingDisk(before, after), '/store', { readOnly: true });
    expect(reader.state.sequence).toBe(5);
    await reader.close();
    await store.close();
  });

  test('looks again when a writer came, wrote and went while it looked', async () => {
    const disk = new SimDisk();
    let store = open(disk, '/store');
    await learn(store, 'a');
    await store.close();
    const before = disk.killed();
    store = open(disk, '/store');
    await learn(store, 'b');
    await store.close();
    const reader = open(new ChangingDisk(before, disk.killed()), '/store', { readOnly: true });
    expect(reader.state.sequence).toBe(2);
    await reader.close();
  });
});

describe('verifying in the background', () => {
  test('tells of a disk that refuses to read, and goes no further', async () => {
    const disk = new SimDisk();
    const made = open(disk, '/store');
    await learn(made, 'a');
    await made.flush();
    await made.close();
    const environment = new SimEnvironment(disk);
    const store = Store.open('/store', environment, OPTIONS);
    disk.onRead = (_, path) => {
      if (path.endsWith('storage.dat')) throw Object.assign(new Error('EIO'), { code: 'EIO' });
    };
    store.verifyInBackground();
    await environment.advance(100);
    expect(store.problem?.code).toBe('DISK_FAILED');
    expect(environment.logged.filter((line) => line.includes('EIO'))).toHaveLength(1);
    await store.close();
  });
});
