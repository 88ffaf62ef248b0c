/**
 * Repair on every kind of damage: afterwards the store is whole, opens, and holds exactly the history that the plan promised; it
 * goes on from there. And again with the process killed before every operation that changes something.
 */

import { afterAll, describe, expect, test } from 'vitest';

import { Store } from '#sutra/engine/store';
import { SutraError } from '#sutra/errors';

import {
  cut,
  flip,
  LOCK,
  makeStore,
  openAndClose,
  PREVIOUS,
  repair,
  segment,
  SNAPSHOT,
  verify,
} from '../support/damaged-store.js';
import { DIRECTORY, STORE_OPTIONS } from '../support/scenario.js';
import type { SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';

interface Case {
  readonly name: string;
  /** Checkpoints of the store; there are six writes before each and six behind the last. */
  readonly flushes: number;
  readonly damage: (disk: SimDisk) => void;
  /** What the repaired store stands for; `least` where it depends on where a frame lies. */
  readonly sequence: number | { readonly least: number; readonly most: number };
  readonly setAside?: readonly string[];
}

const CASES: readonly Case[] = [
  {
    name: 'a bad block in storage.dat',
    flushes: 3,
    damage: (disk) => {
      flip(disk, SNAPSHOT, 5000);
    },
    sequence: 24,
    setAside: ['storage.dat'],
  },
  {
    name: 'a bad header of storage.dat',
    flushes: 3,
    damage: (disk) => {
      flip(disk, SNAPSHOT, 50);
    },
    sequence: 24,
    setAside: ['storage.dat'],
  },
  {
    name: 'no storage.dat',
    flushes: 3,
    damage: (disk) => {
      disk.unlink(SNAPSHOT);
    },
    sequence: 24,
    setAside: [],
  },
  {
    name: 'a bad storage.dat without .prev, with all of the log',
    flushes: 1,
    damage: (disk) => {
      flip(disk, SNAPSHOT, 5000);
    },
    sequence: 12,
    setAside: ['storage.dat'],
  },
  {
    name: 'a bad .prev',
    flushes: 3,
    damage: (disk) => {
      flip(disk, PREVIOUS, 5000);
    },
    sequence: 24,
    setAside: ['storage.dat.prev'],
  },
  {
    name: 'a bad segment that only .prev needs',
    flushes: 3,
    damage: (disk) => {
      flip(disk, segment(3), 200);
    },
    sequence: 24,
    setAside: ['storage.dat.prev', 'wal-0000000003.log'],
  },
  {
    name: 'a missing segment that only .prev needs',
    flushes: 3,
    damage: (disk) => {
      disk.unlink(segment(3));
    },
    sequence: 24,
    setAside: ['storage.dat.prev'],
  },
  {
    name: 'a bad frame in the last segment',
    flushes: 3,
    damage: (disk) => {
      flip(disk, segment(4), 300);
    },
    sequence: { least: 18, most: 23 },
    setAside: ['lock', 'wal-0000000004.log'],
  },
  {
    name: 'a bad first frame of the last segment',
    flushes: 3,
    damage: (disk) => {
      flip(disk, segment(4), 70);
    },
    sequence: 18,
    setAside: ['lock', 'wal-0000000004.log'],
  },
  {
    name: 'a bad header of the last segment',
    flushes: 3,
    damage: (disk) => {
      flip(disk, segment(4), 20);
    },
    sequence: 18,
    setAside: ['lock', 'wal-0000000004.log'],
  },
  {
    name: 'the last segment missing',
    flushes: 3,
    damage: (disk) => {
      disk.unlink(segment(4));
    },
    sequence: 18,
    setAside: ['lock'],
  },
  {
    name: 'the last segment cut short',
    flushes: 3,
    damage: (disk) => {
      cut(disk, segment(4), 400);
    },
    sequence: { least: 18, most: 23 },
  },
  {
    name: 'the segments all gone',
    flushes: 3,
    damage: (disk) => {
      disk.unlink(segment(3));
      disk.unlink(segment(4));
    },
    sequence: 18,
  },
  {
    name: 'bad storage.dat and a bad frame before its sequence',
    flushes: 3,
    damage: (disk) => {
      flip(disk, SNAPSHOT, 5000);
      flip(disk, segment(3), 300);
    },
    sequence: { least: 12, most: 17 },
    setAside: ['lock', 'storage.dat', 'wal-0000000003.log', 'wal-0000000004.log'],
  },
  {
    name: 'bad storage.dat and a bad frame behind its sequence',
    flushes: 3,
    damage: (disk) => {
      flip(disk, SNAPSHOT, 5000);
      flip(disk, segment(4), 300);
    },
    sequence: { least: 18, most: 23 },
    setAside: ['lock', 'storage.dat', 'wal-0000000004.log'],
  },
  {
    name: 'a cut sealed segment behind a bad storage.dat',
    flushes: 3,
    damage: (disk) => {
      flip(disk, SNAPSHOT, 5000);
      cut(disk, segment(3), 300);
    },
    sequence: { least: 12, most: 17 },
  },
  {
    name: 'both snapshots bad, a log from the first sequence with a bad frame',
    flushes: 1,
    damage: (disk) => {
      flip(disk, SNAPSHOT, 5000);
      flip(disk, segment(1), 300);
    },
    sequence: { least: 0, most: 5 },
  },
  {
    name: 'a log alone, bad in its first frame',
    flushes: 0,
    damage: (disk) => {
      flip(disk, segment(1), 70);
    },
    sequence: 0,
  },
  {
    name: 'a bad frame and no lock file',
    flushes: 2,
    damage: (disk) => {
      flip(disk, segment(3), 80);
      disk.unlink(LOCK);
    },
    sequence: 12,
  },
];

async function learn(disk: SimDisk, id: string): Promise<number> {
  const store = Store.open(DIRECTORY, new SimEnvironment(disk), STORE_OPTIONS);
  const learned = { id, content: id, strength: 1, confidence: 1, embedding: null };
  const { firstSequence } = await store.commits.learn(learned);
  await store.close();
  return firstSequence;
}

/** That the store is whole, at a state that it once had, and that it goes on from there. */
async function expectWhole(
  disk: SimDisk,
  sequence: number,
  digests: ReadonlyMap<number, string>,
): Promise<void> {
  const check = verify(disk);
  expect(check.findings).toEqual([]);
  expect(check.state).toMatchObject({ sequence, digest: digests.get(sequence) });
  expect(await openAndClose(disk.killed(), true)).toEqual({
    sequence,
    digest: digests.get(sequence),
  });
  expect(await openAndClose(disk)).toEqual({ sequence, digest: digests.get(sequence) });
  expect(await learn(disk, 'after')).toBe(sequence + 1);
  const store = Store.open(DIRECTORY, new SimEnvironment(disk), STORE_OPTIONS);
  await store.flush();
  await store.close();
  expect(verify(disk)).toMatchObject({ findings: [], state: { sequence: sequence + 1 } });
}

function expectSequence(got: number, expected: Case['sequence']): void {
  if (typeof expected === 'number') {
    expect(got).toBe(expected);
    return;
  }
  expect(got).toBeGreaterThanOrEqual(expected.least);
  expect(got).toBeLessThanOrEqual(expected.most);
}

let kills = 0;
let cuts = 0;

afterAll(() => {
  console.log(
    `repair: ${CASES.length} kinds of damage, killed ${kills} times, power cut ${cuts} times`,
  );
});

/** Giving the lock back is the last operation, and never throws. */
function fails(disk: SimDisk): boolean {
  try {
    repair(disk);
    return false;
  } catch {
    return true;
  }
}

describe.each(CASES)('$name', ({ flushes, damage, sequence, setAside }) => {
  const total = 6 * (flushes + 1);

  test('is repaired, and the originals are kept', async () => {
    const { disk, digests } = await makeStore(flushes, true);
    damage(disk);
    const before = new Map(
      disk.list(DIRECTORY).map((name) => [name, disk.bytesOf(`${DIRECTORY}/${name}`)]),
    );
    const plan = repair(disk);
    expect(plan.needed).toBe(true);
    expectSequence(plan.sequence, sequence);
    expect(plan.lost).toEqual(plan.sequence === total ? null : [plan.sequence + 1, total]);
    if (setAside !== undefined) expect(plan.setAside).toEqual(setAside);
    const kept = disk.list(`${DIRECTORY}/repair-20231114T221320Z`);
    expect(kept).toEqual(plan.setAside);
    for (const [name, bytes] of before) {
      const path = `${DIRECTORY}/${name}`;
      const isKept = kept.includes(name);
      const original = disk.bytesOf(isKept ? `${DIRECTORY}/repair-20231114T221320Z/${name}` : path);
      // The holder in the lock file is ours by then.
      if (name !== 'lock') expect(Buffer.compare(original, bytes), name).toBe(0);
    }
    await expectWhole(disk.killed(), plan.sequence, digests);
    expect(repair(disk).needed).toBe(false);
  });

  test('comes to the same when it is killed at any operation', async () => {
    const made = await makeStore(flushes, false);
    damage(made.disk);
    const whole = made.disk.killed();
    const { sequence: expected } = repair(whole);
    const operations = whole.operations;
    expect(operations).toBeGreaterThan(3);
    for (let n = 1; n <= operations; n++) {
      const disk = made.disk.killed();
      kills++;
      disk.onOperation = ({ index }) => (index < n ? null : n % 2 === 0 ? 'EIO' : 'ENOSPC');
      expect(fails(disk)).toBe(n < operations);
      expect(disk.openFiles.size).toBe(0);
      const again = disk.killed();
      // What was lost is never more than the first plan said, and nothing else comes back.
      const plan = repair(again);
      expect(plan.sequence, `killed at ${n}`).toBe(expected);
      expect(verify(again).findings).toEqual([]);
      if (n % 5 === 0) await expectWhole(again, expected, made.digests);
    }
  });

  test('comes to the same when power is cut at any operation', async () => {
    const made = await makeStore(flushes, false);
    damage(made.disk);
    const whole = made.disk.killed();
    const { sequence: expected } = repair(whole);
    for (let n = 1; n <= whole.operations; n++) {
      for (const choice of [0, 1]) {
        const disk = made.disk.killed();
        const left: SimDisk[] = [];
        cuts++;
        disk.onOperation = ({ index }) => {
          if (index !== n) return null;
          left.push(disk.crash((options) => (choice === 0 ? 0 : options - 1)));
          return 'EIO';
        };
        expect(fails(disk)).toBe(n < whole.operations);
        const [after] = left;
        if (after === undefined) throw new Error('not cut');
        const plan = repair(after);
        expect(plan.sequence, `cut at ${n}`).toBe(expected);
        const check = verify(after);
        expect(check.findings).toEqual([]);
        expect(check.state?.digest).toBe(made.digests.get(expected));
      }
    }
  });
});

describe('repair leaves alone', () => {
  test('a whole store', async () => {
    const { disk } = await makeStore(2, true);
    const names = disk.list(DIRECTORY);
    expect(repair(disk)).toMatchObject({ needed: false, sequence: 18, lost: null });
    expect(disk.list(DIRECTORY)).toEqual(names);
  });

  test('a torn tail, which the next writer cuts off by itself', async () => {
    const { disk } = await makeStore(2, false);
    disk.unlink(LOCK);
    cut(disk, segment(3), -8);
    expect(verify(disk).notes).toHaveLength(1);
    expect(repair(disk)).toMatchObject({ needed: false, sequence: 17, lost: null });
  });

  test('a store of which nothing can be had', async () => {
    const { disk } = await makeStore(3, true);
    flip(disk, SNAPSHOT, 5000);
    flip(disk, PREVIOUS, 5000);
    const names = disk.list(DIRECTORY);
    expect(() => repair(disk)).toThrow('nothing can be repaired');
    expect(disk.list(DIRECTORY)).toEqual(names);
  });

  test('files of a newer version', async () => {
    const { disk } = await makeStore(3, true);
    const bytes = disk.bytesOf(SNAPSHOT);
    bytes[8] = 4;
    disk.put(SNAPSHOT, bytes);
    expect(() => repair(disk)).toThrow(SutraError);
    expect(Buffer.compare(disk.bytesOf(SNAPSHOT), bytes)).toBe(0);
  });
});

test('lost sequences are given out again under a new epoch', async () => {
  const { disk } = await makeStore(2, true);
  // Every opening is a new epoch, and takes a segment's frames with it.
  for (let n = 0; n < 5; n++) await learn(disk, `n${n}`);
  const epochOf = (): number => {
    const { segments } = verify(disk).log;
    return Math.max(...segments.map(({ header, end }) => end?.epoch ?? header?.epoch ?? 0));
  };
  const before = epochOf();
  flip(disk, segment(3), 70);
  expect(repair(disk).sequence).toBe(12);
  await learn(disk, 'again');
  expect(epochOf()).toBeGreaterThan(before);
});
