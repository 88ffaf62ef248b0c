/** The account of the write log's disk: which calls are in it, and how much of them lies between two times. */

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { nodeEnvironment } from '#sutra/engine/environment';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { slowestOf } from '../../bench/acknowledgements.js';
import { Calls, DiskAccount } from '../../bench/disk-account.js';
import { temporaryDirectory } from '../support/fixture.js';
import { PlainDisk } from '../support/plain-disk.js';

const SEGMENT = 'wal-0000000001.log';
const BYTES = new Uint8Array(16);

/** Calls at the times given, each as [begin, end]; they may overlap, and Infinity is under way. */
function callsAt(...times: readonly (readonly [number, number])[]): Calls {
  let now = 0;
  const calls = new Calls(() => now);
  const begun = times.map(([began, ended]) => {
    now = began;
    return { call: calls.begin(), ended };
  });
  for (const { call, ended } of begun) {
    if (ended === Infinity) continue;
    now = ended;
    calls.end(call);
  }
  return calls;
}

describe('calls between two times', () => {
  test('are cut off at both', () => {
    const calls = callsAt([10, 14], [20, 30]);
    expect(calls.within(0, 100)).toBe(14);
    expect(calls.within(12, 25)).toBe(7);
    expect(calls.within(14, 20)).toBe(0);
    expect(calls.within(22, 23)).toBe(1);
  });

  test('count once where they overlap', () => {
    expect(callsAt([10, 20], [12, 15], [18, 24], [24, 25]).within(0, 100)).toBe(15);
  });

  test('go on as long as they are under way', () => {
    expect(callsAt([10, Infinity], [12, 13]).within(0, 50)).toBe(40);
  });
});

describe('the account', () => {
  test('has every write and sync of a segment, and none of another file', async () => {
    const directory = temporaryDirectory('account');
    const disk = new DiskAccount(new PlainDisk());
    const counts = (): number[] => [disk.writes.count, disk.syncs.count];

    const log = disk.open(join(directory, SEGMENT), 'create');
    log.write(BYTES, 0, 16, 0);
    expect(await log.writeAsync(BYTES, 0, 16, 16)).toBe(16);
    expect(counts()).toEqual([2, 0]);
    await log.datasyncAsync();
    log.datasync();
    log.sync();
    expect(counts()).toEqual([2, 3]);
    expect(log.identity().size).toBe(32);

    const other = disk.open(join(directory, 'storage.dat.tmp'), 'create');
    other.write(BYTES, 0, 16, 0);
    other.sync();
    disk.syncDirectory(directory);
    expect(counts()).toEqual([2, 3]);
    expect(disk.list(directory)).toEqual(['storage.dat.tmp', SEGMENT]);
    for (const file of [log, other]) file.close();
  });

  test('has calls that fail', async () => {
    const disk = new DiskAccount(new PlainDisk());
    const path = join(temporaryDirectory('account'), SEGMENT);
    const log = disk.open(path, 'create');
    log.close();
    await expect(log.writeAsync(BYTES, 0, 16, 0)).rejects.toThrow('EBADF');
    expect(() => log.datasync()).toThrow('EBADF');
    for (const calls of [disk.writes, disk.syncs]) {
      expect(calls.count).toBe(1);
      const [soon, later] = [performance.now(), performance.now() + 1000];
      // None is left under way.
      expect(calls.within(soon, later)).toBe(0);
    }
  });

  test('of a store has a write and a sync for an acknowledgement, in its time', async () => {
    const environment = nodeEnvironment();
    const disk = new DiskAccount(environment.disk);
    const storage = await ConcurrentStorage.open(join(temporaryDirectory('account'), 'store'), {
      environment: { ...environment, disk },
    });
    const [writes, syncs] = [disk.writes.count, disk.syncs.count];
    const beganMs = performance.now();
    await storage.learnConcept({ id: 'a', content: 'b' });
    const endedMs = performance.now();
    expect([disk.writes.count - writes, disk.syncs.count - syncs]).toEqual([1, 1]);
    const ms = endedMs - beganMs;
    for (const part of [disk.writes, disk.syncs]) {
      expect(part.within(beganMs, endedMs)).toBeGreaterThan(0);
      expect(part.within(beganMs, endedMs)).toBeLessThanOrEqual(ms);
    }
    await storage.close();
  });
});

describe('the slowest acknowledgements', () => {
  const log = { writes: callsAt([1000, 1001]), syncs: callsAt([1002, 1008], [2001, 2003]) };

  test('are one in a hundred, and their parts are what lies in their time', () => {
    const quick = Array.from({ length: 198 }, (_, i) => ({
      beganMs: i,
      endedMs: i + 1,
      waitedMs: 0,
    }));
    const slow = [
      { beganMs: 1000, endedMs: 1010, waitedMs: 3 },
      // The account may tell of more than the acknowledgement took.
      { beganMs: 2000, endedMs: 2004, waitedMs: 5 },
    ];
    expect(slowestOf([...quick.slice(0, 99), ...slow, ...quick.slice(99)], log)).toEqual({
      count: 2,
      ms: 7,
      writeMs: 0.5,
      syncMs: 4,
      waitedMs: 3.5,
    });
  });

  test('are at least one; with none there is nothing to say', () => {
    const one = [{ beganMs: 1000, endedMs: 1010, waitedMs: null }];
    expect(slowestOf(one, log)).toEqual({
      count: 1,
      ms: 10,
      writeMs: 1,
      syncMs: 6,
      waitedMs: null,
    });
    expect(() => slowestOf([], log)).toThrow(RangeError);
  });
});
