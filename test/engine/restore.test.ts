/**
 * Restoring and compacting on a simulated disk: what comes out, and that a power cut or a kill before any operation leaves the
 * store what it was or what it should be; a damaged old store is never taken for anything.
 */

import { describe, expect, test } from 'vitest';

import { compact } from '#sutra/engine/compact';
import { removeLeftovers } from '#sutra/engine/leftovers';
import { LockFile } from '#sutra/engine/lock-file';
import { restore, verifyBackup, type Restoration } from '#sutra/engine/restore';
import { runSteps } from '#sutra/engine/steps';
import { Store } from '#sutra/engine/store';
import { SutraError } from '#sutra/errors';
import { ConcurrentStorage } from '#sutra/storage/embedded';

import { seededRandom } from '../support/random.js';
import { DIRECTORY, STORE_OPTIONS } from '../support/scenario.js';
import { randomChoice, SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';
import { oldFile } from '../support/version2-file.js';
import { checkDirectory } from '../support/whole-store.js';

const FILE = '/backups/b.dat';
const SNAPSHOT = `${DIRECTORY}/storage.dat`;

/** A store with a history: two checkpoints, things forgotten and replaced, and a log behind it all. */
async function fill(disk: SimDisk, directory: string, seed: number, rounds = 3): Promise<void> {
  const environment = new SimEnvironment(disk, seed);
  const storage = await ConcurrentStorage.open(directory, { environment });
  const random = seededRandom(seed);
  const pick = (n: number): number => Math.floor(random() * n);
  for (let round = 0; round < rounds; round++) {
    const ids = Array.from({ length: 40 }, () => `${seed}-${pick(60)}`);
    await storage.learnBatch({
      concepts: ids.map((id) => ({
        id,
        content: 'x'.repeat(pick(300)),
        ...(pick(3) === 0 ? { embedding: [1, random(), random()] } : {}),
      })),
      associations: ids.map((source) => ({
        source,
        target: ids[pick(ids.length)] ?? source,
        type: pick(3),
        confidence: random(),
      })),
    });
    for (let n = 0; n < 8; n++) await storage.forgetConcept(`${seed}-${pick(60)}`);
    if (round + 1 < rounds) await storage.flush();
  }
  await storage.close();
}

interface Ready {
  readonly disk: SimDisk;
  /** Digests of the store in DIRECTORY and of the backup. */
  readonly was: string;
  readonly will: string;
}

async function digestOf(disk: SimDisk, directory = DIRECTORY): Promise<string> {
  const environment = new SimEnvironment(disk);
  const store = Store.open(directory, environment, { ...STORE_OPTIONS, readOnly: true });
  const digest = store.state.digest.toString();
  await store.close();
  return digest;
}

/** A store, and a backup of another one. */
async function ready(): Promise<Ready> {
  const disk = new SimDisk();
  await fill(disk, DIRECTORY, 1);
  const other = new SimDisk();
  await fill(other, DIRECTORY, 2, 2);
  const environment = new SimEnvironment(other);
  const storage = await ConcurrentStorage.open(DIRECTORY, { environment });
  await storage.flush();
  await storage.close();
  disk.makeDirectory('/backups');
  disk.syncDirectory('/');
  disk.put(FILE, other.bytesOf(SNAPSHOT));
  return { disk, was: await digestOf(disk), will: await digestOf(other) };
}

function restoreHere(disk: SimDisk, seed = 5): Restoration {
  const environment = new SimEnvironment(disk, seed);
  runSteps(verifyBackup(disk, FILE));
  const lock = LockFile.acquire(disk, DIRECTORY);
  try {
    removeLeftovers(DIRECTORY, environment);
    return runSteps(restore(environment, DIRECTORY, lock, FILE));
  } finally {
    lock.release();
  }
}

async function compactHere(disk: SimDisk): Promise<Awaited<ReturnType<typeof compact>>> {
  const environment = new SimEnvironment(disk, 6);
  const lock = LockFile.acquire(disk, DIRECTORY);
  try {
    removeLeftovers(DIRECTORY, environment);
    return await compact(environment, DIRECTORY, lock, (steps) => Promise.resolve(runSteps(steps)));
  } finally {
    lock.release();
  }
}

interface Image {
  readonly at: string;
  readonly disk: SimDisk;
}

/** What a power cut or a kill could leave before each operation. */
function record(disk: SimDisk, images: Image[], states = 2): void {
  const random = seededRandom(3);
  disk.onOperation = ({ index, kind, path }) => {
    const at = `${index}, ${kind} ${path}`;
    for (let n = 0; n < states; n++) {
      images.push({ at: `power cut before ${at}`, disk: disk.crash(randomChoice(random)) });
    }
    images.push({ at: `killed before ${at}`, disk: disk.killed() });
    return null;
  };
}

/** Writes, closes, and finds it there: the store is of use. */
async function writesOn(disk: SimDisk): Promise<void> {
  const environment = new SimEnvironment(disk, 77);
  const storage = await ConcurrentStorage.open(DIRECTORY, { environment });
  const { sequence } = await storage.stats();
  expect(await storage.learnConcept({ id: 'after', content: '' })).toEqual({
    sequence: sequence + 1,
  });
  await storage.close();
  await checkDirectory(DIRECTORY, disk);
}

describe('restoring', () => {
  test('into an empty directory, and over a store, which is kept', async () => {
    const { disk, was, will } = await ready();
    const before = disk.list(DIRECTORY).filter((name) => name !== 'lock');
    const restored = restoreHere(disk);
    expect(restored).toMatchObject({ digest: will, oldWasDamaged: false });
    expect(await digestOf(disk)).toBe(will);
    const kept = `${DIRECTORY}/${restored.keptIn ?? ''}`;
    expect(disk.list(kept)).toEqual([...before, 'lock'].sort());
    expect(await digestOf(disk, kept)).toBe(was);
    expect(disk.list(DIRECTORY).filter((name) => name.startsWith('wal'))).toEqual([]);
    await writesOn(disk);

    const fresh = new SimDisk();
    fresh.makeDirectory(DIRECTORY);
    fresh.makeDirectory('/backups');
    fresh.put(FILE, disk.bytesOf(FILE));
    expect(restoreHere(fresh)).toMatchObject({ digest: will, keptIn: null });
    expect(await digestOf(fresh)).toBe(will);
    await writesOn(fresh);
  });

  test('gives an identity of its own: the backup’s own log does not fit any more', async () => {
    const disk = new SimDisk();
    await fill(disk, DIRECTORY, 1);
    disk.makeDirectory('/backups');
    disk.put(FILE, disk.bytesOf(SNAPSHOT));
    const [segment = ''] = disk
      .list(DIRECTORY)
      .filter((name) => name.startsWith('wal'))
      .reverse();
    const bytes = disk.bytesOf(`${DIRECTORY}/${segment}`);
    restoreHere(disk);
    disk.put(`${DIRECTORY}/${segment}`, bytes);
    await expect(digestOf(disk)).rejects.toThrow(/belongs to another store/);
  });

  test('takes a storage.dat of version 2', async () => {
    const { disk } = await ready();
    disk.put(FILE, oldFile({ concepts: [{ id: '00000000000000aa', content: 'old' }] }));
    expect(restoreHere(disk)).toMatchObject({ concepts: 1, edges: 0 });
    await writesOn(disk);
  });

  test('refuses a backup with any byte changed, before it touches anything', async () => {
    const { disk } = await ready();
    const good = disk.bytesOf(FILE);
    for (let at = 0; at < good.length; at += 997) {
      const bad = good.slice();
      bad[at] = (bad[at] ?? 0) ^ 0x10;
      disk.put(FILE, bad);
      const before = disk.operations;
      expect(() => runSteps(verifyBackup(disk, FILE))).toThrow(SutraError);
      expect(disk.operations).toBe(before);
    }
  });

  test('that is cut off leaves what was or what should be', async () => {
    const { disk, was, will } = await ready();
    const images: Image[] = [];
    record(disk, images);
    restoreHere(disk);
    const seen = { was: 0, will: 0 };
    for (const { at, disk: image } of images) {
      try {
        const digest = await digestOf(image);
        if (digest !== was && digest !== will) throw new Error(`digest ${digest}`);
        const interrupted = image.list(DIRECTORY).includes('storage.dat.restore');
        // The message afterwards says which.
        const environment = new SimEnvironment(image);
        const storage = await ConcurrentStorage.open(DIRECTORY, { environment });
        const said = environment.logged.some((line) => line.includes('a restore was interrupted'));
        expect(said).toBe(interrupted);
        if (said) expect(digest).toBe(was);
        await storage.close();
        expect(await digestOf(image)).toBe(digest);
        seen[digest === was ? 'was' : 'will']++;
        if (images.length < 40 || at.length % 5 === 0) {
          restoreHere(image, 8);
          expect(await digestOf(image)).toBe(will);
        }
        await checkDirectory(DIRECTORY, image);
      } catch (error) {
        throw new Error(`${at}: ${String(error)}`, { cause: error });
      }
    }
    expect(seen.was).toBeGreaterThan(50);
    expect(seen.will).toBeGreaterThan(2);
  });

  test('over a damaged store that is cut off leaves it refused, or restored', async () => {
    const { disk, will } = await ready();
    const [last = ''] = disk
      .list(DIRECTORY)
      .filter((name) => name.startsWith('wal'))
      .reverse();
    const path = `${DIRECTORY}/${last}`;
    const bytes = disk.bytesOf(path);
    bytes[200] = (bytes[200] ?? 0) ^ 1;
    disk.put(path, bytes);
    await expect(digestOf(disk)).rejects.toThrow(/damaged/);
    const images: Image[] = [];
    record(disk, images);
    expect(restoreHere(disk)).toMatchObject({ digest: will, oldWasDamaged: true });
    disk.onOperation = () => null;
    expect(await digestOf(disk)).toBe(will);
    await writesOn(disk);
    let refused = 0;
    for (const { at, disk: image } of images) {
      const digest = await digestOf(image).catch((error: unknown) => {
        if (error instanceof SutraError && error.code === 'DAMAGED') return 'refused';
        throw error;
      });
      if (digest === 'refused') refused++;
      else if (digest !== will) throw new Error(`${at}: digest ${digest}`);
      restoreHere(image, 8);
      if ((await digestOf(image)) !== will) throw new Error(`${at}: restored otherwise`);
    }
    expect(refused).toBeGreaterThan(20);
  });

  test('on a disk that fails leaves what was or what should be', async () => {
    const count = await ready();
    const start = count.disk.operations;
    restoreHere(count.disk);
    const { was, will } = count;
    for (let fail = start + 1; fail <= count.disk.operations; fail += 3) {
      for (const verdict of ['EIO', 'ENOSPC'] as const) {
        const { disk } = await ready();
        disk.onOperation = ({ index }) => (index === fail ? verdict : null);
        try {
          restoreHere(disk);
        } catch (error) {
          if (!/simulated/.test(String(error))) throw error;
        }
        disk.onOperation = () => null;
        expect([was, will]).toContain(await digestOf(disk));
      }
    }
  });
});

describe('compacting', () => {
  test('keeps the digest and the sequence, and gives back free slots, the log and storage.dat.prev', async () => {
    const disk = new SimDisk();
    await fill(disk, DIRECTORY, 1);
    const was = await digestOf(disk);
    const done = await compactHere(disk);
    expect(done).toMatchObject({ digest: was });
    expect(done?.freedSlots).toBeGreaterThan(0);
    expect(done?.afterBytes).toBeLessThan((done?.beforeBytes ?? 0) / 2);
    expect(await digestOf(disk)).toBe(was);
    expect(disk.list(DIRECTORY)).toHaveLength(3);
    await checkDirectory(DIRECTORY, disk);
    await writesOn(disk);
    await fill(disk, DIRECTORY, 4);
    await checkDirectory(DIRECTORY, disk);
  });

  test('a store that is compact already, and an empty one, change nothing that counts', async () => {
    const disk = new SimDisk();
    await fill(disk, DIRECTORY, 1);
    await compactHere(disk);
    expect(await compactHere(disk)).toMatchObject({ freedSlots: 0 });
    const empty = new SimDisk();
    await (
      await ConcurrentStorage.open(DIRECTORY, { environment: new SimEnvironment(empty) })
    ).close();
    expect(await compactHere(empty)).toMatchObject({ concepts: 0 });
    await writesOn(empty);
  });

  test('that is cut off leaves the same state', async () => {
    const disk = new SimDisk();
    await fill(disk, DIRECTORY, 1);
    const was = await digestOf(disk);
    const images: Image[] = [];
    record(disk, images);
    await compactHere(disk);
    let n = 0;
    for (const { at, disk: image } of images) {
      try {
        expect(await digestOf(image)).toBe(was);
        await checkDirectory(DIRECTORY, image);
        if (n++ % 4 === 0) await compactHere(image);
        else await writesOn(image);
        await checkDirectory(DIRECTORY, image);
      } catch (error) {
        throw new Error(`${at}: ${String(error)}`, { cause: error });
      }
    }
    expect(images.length).toBeGreaterThan(60);
  });

  test('is refused when the store is not whole', async () => {
    const disk = new SimDisk();
    await fill(disk, DIRECTORY, 1);
    const bytes = disk.bytesOf(SNAPSHOT);
    bytes[5000] = (bytes[5000] ?? 0) ^ 1;
    disk.put(SNAPSHOT, bytes);
    disk.unlink(`${DIRECTORY}/storage.dat.prev`);
    const before = new Map(disk.list(DIRECTORY).map((name) => [name, disk.stat(name)?.inode]));
    await expect(compactHere(disk)).rejects.toMatchObject({ code: 'DAMAGED' });
    for (const [name] of before) expect(disk.list(DIRECTORY)).toContain(name);
  });
});

test('a restored store takes checkpoints', async () => {
  const { disk } = await ready();
  restoreHere(disk);
  await fill(disk, DIRECTORY, 9);
  await checkDirectory(DIRECTORY, disk);
});
