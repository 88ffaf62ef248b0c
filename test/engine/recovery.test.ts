/** How the log's end is judged, and what a writer then does to it: single cases; test/crash goes through all of them. */

import { describe, expect, test } from 'vitest';

import { SutraError } from '#sutra/errors';
import {
  decodeFrameHeader,
  FRAME_HEADER_BYTES,
  headerSeed,
  SEGMENT_HEADER_BYTES,
} from '#sutra/engine/format/frame';
import { Store } from '#sutra/engine/store';

import { DIRECTORY, STORE_OPTIONS } from '../support/scenario.js';
import { SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';
import { checkState } from '../support/whole-store.js';

const OPTIONS = { ...STORE_OPTIONS, threshold: 1_000_000 };

function segment(ordinal: number): string {
  return `${DIRECTORY}/wal-${String(ordinal).padStart(10, '0')}.log`;
}

function open(disk: SimDisk, readOnly = false): { store: Store; logged: string[] } {
  const environment = new SimEnvironment(disk);
  const store = Store.open(DIRECTORY, environment, { ...OPTIONS, readOnly });
  return { store, logged: environment.logged };
}

async function learn(store: Store, id: string, content = ''): Promise<number> {
  const learned = { id, content, strength: 1, confidence: 1, embedding: null };
  return (await store.commits.learn(learned)).firstSequence;
}

/** A store of which nobody remembers how far it was synced. */
function withoutLock(disk: SimDisk): SimDisk {
  const copy = disk.killed();
  copy.unlink(`${DIRECTORY}/lock`);
  return copy;
}

describe('a torn tail', () => {
  test('behind a closed marker is cut off, kept aside and reported', async () => {
    const disk = new SimDisk();
    let { store } = open(disk);
    await learn(store, 'a');
    await store.close();
    ({ store } = open(disk));
    const end = disk.bytesOf(segment(1)).length;
    await learn(store, 'b', 'x'.repeat(1000));
    const crashed = withoutLock(disk);
    crashed.put(segment(1), crashed.bytesOf(segment(1)).subarray(0, -8));

    const again = open(crashed);
    expect(again.store.state.sequence).toBe(1);
    expect(crashed.bytesOf(segment(1)).length).toBe(end);
    expect(crashed.bytesOf(`${segment(1)}.torn`).length).toBeGreaterThan(1000);
    expect(again.logged.filter((line) => line.startsWith('warn: '))).toHaveLength(1);
    // A shorter frame over the torn one must leave nothing of it behind the seal.
    await learn(again.store, 'c');
    await again.store.flush();
    await again.store.close();
    const last = open(crashed);
    expect(last.store.state.sequence).toBe(2);
    checkState(last.store.state);
    await last.store.close();
    await store.close();
  });
});

describe('a closed marker', () => {
  /** Closes with a sync of the marker that fails: from then on the page cache has it, and no later sync writes it. */
  async function closedBadly(disk: SimDisk): Promise<void> {
    const { store } = open(disk);
    await learn(store, 'a');
    disk.onOperation = ({ kind, path }) =>
      kind === 'sync' && path.endsWith('.log') ? 'EIO' : null;
    await expect(store.close()).rejects.toMatchObject({ code: 'DISK_FAILED' });
    disk.onOperation = () => null;
  }

  test('whose sync failed does not take what is written behind it away with it', async () => {
    const disk = new SimDisk();
    await closedBadly(disk);
    const { store } = open(disk);
    await learn(store, 'b');
    const crashed = open(disk.crash(() => 0)).store;
    expect(crashed.state.sequence).toBe(2);
    await crashed.close();
    await store.close();
  });

  test('that was synced is appended behind, and the segment not copied', async () => {
    const disk = new SimDisk();
    const inodes = new Set<number | undefined>();
    for (const id of ['a', 'b', 'c']) {
      const { store } = open(disk);
      await learn(store, id);
      await store.close();
      inodes.add(disk.stat(segment(1))?.inode);
    }
    expect(inodes.size).toBe(1);
  });
});

/** Where the frames of a segment end. */
function framesOf(bytes: Uint8Array): { end: number }[] {
  const frames: { end: number }[] = [];
  const seed = headerSeed(bytes.subarray(16, 32));
  for (let at = SEGMENT_HEADER_BYTES; at < bytes.length;) {
    const header = decodeFrameHeader(bytes, at, seed);
    if (header === null) throw new Error(`no frame at ${at}`);
    at += FRAME_HEADER_BYTES + header.payloadBytes;
    frames.push({ end: at });
  }
  return frames;
}

/** The code that opening the disk ends with, for a writer and for a reader. */
function codesOf(disk: SimDisk): string[] {
  return [false, true].map((readOnly) => {
    try {
      open(disk.killed(), readOnly);
    } catch (error) {
      return error instanceof SutraError ? error.code : String(error);
    }
    return 'opened';
  });
}

describe('damage', () => {
  /** Two segments, the first one sealed, and no lock file to say how far they were synced. */
  async function twoSegments(): Promise<SimDisk> {
    const disk = new SimDisk();
    const { store } = open(disk);
    await learn(store, 'a');
    await store.flush();
    await learn(store, 'b');
    const copy = withoutLock(disk);
    await store.close();
    // As if storage.dat had never been: the log is whole.
    copy.unlink(`${DIRECTORY}/storage.dat`);
    return copy;
  }

  test('is a bad header of the last segment when frames stand behind it', async () => {
    const disk = await twoSegments();
    expect(codesOf(disk)).toEqual(['opened', 'opened']);
    const bytes = disk.bytesOf(segment(2));
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    disk.put(segment(2), bytes);
    expect(codesOf(disk)).toEqual(['DAMAGED', 'DAMAGED']);
    // Cut down to the header it is still the successor that the seal vouches for.
    disk.put(segment(2), bytes.subarray(0, 64));
    expect(codesOf(disk)).toEqual(['DAMAGED', 'DAMAGED']);
  });

  test('is a sealed segment without the one behind it', async () => {
    const disk = await twoSegments();
    disk.unlink(segment(2));
    expect(codesOf(disk)).toEqual(['DAMAGED', 'DAMAGED']);
  });
});

describe('a log that was put together from two histories of one store', () => {
  /** The same store twice, which then went different ways of equal length. */
  async function fork(roll: boolean): Promise<SimDisk[]> {
    const disk = new SimDisk();
    const first = open(disk);
    await learn(first.store, 'a');
    const copies = [disk.killed(), disk.killed()];
    await first.store.close();
    for (const [index, copy] of copies.entries()) {
      const { store } = open(copy);
      await learn(store, 'b', `content ${index}`);
      if (roll) await store.flush();
      await learn(store, 'c');
      await learn(store, 'd');
      await store.close();
    }
    return copies.map((copy) => {
      const alone = withoutLock(copy);
      if (roll) alone.unlink(`${DIRECTORY}/storage.dat`);
      return alone;
    });
  }

  test('is refused where a frame does not follow on the one before it', async () => {
    const [one, other] = await fork(false);
    if (one === undefined || other === undefined) throw new Error('no fork');
    const bytes = one.bytesOf(segment(1));
    const others = other.bytesOf(segment(1));
    expect(others.length).toBe(bytes.length);
    // The frame of `b` from the other: whole, of this store, and with the right sequence.
    const differs = [...bytes.keys()].filter((at) => bytes[at] !== others[at]);
    const frames = framesOf(bytes);
    const second = frames.findIndex(({ end }) => end > (differs[0] ?? 0));
    bytes.set(
      others.subarray(frames[second - 1]?.end, frames[second]?.end),
      frames[second - 1]?.end,
    );
    one.put(segment(1), bytes);
    expect(codesOf(one)).toEqual(['DAMAGED', 'DAMAGED']);
  });

  test('is refused where a segment does not follow on the one before it', async () => {
    const [one, other] = await fork(true);
    if (one === undefined || other === undefined) throw new Error('no fork');
    expect(codesOf(one)).toEqual(['opened', 'opened']);
    one.put(segment(1), other.bytesOf(segment(1)));
    expect(codesOf(one)).toEqual(['DAMAGED', 'DAMAGED']);
  });
});

describe('a copied storage.dat', () => {
  test('is a whole store by itself, and goes on', async () => {
    const disk = new SimDisk();
    const { store } = open(disk);
    await learn(store, 'a', 'content');
    await learn(store, 'b');
    await store.commits.forgetConcept('b');
    await store.flush();
    const bytes = disk.bytesOf(`${DIRECTORY}/storage.dat`);
    await store.close();
    const copy = new SimDisk();
    copy.makeDirectory(DIRECTORY);
    copy.put(`${DIRECTORY}/storage.dat`, bytes);
    expect(open(copy.killed(), true).store.state.sequence).toBe(3);
    const restored = open(copy).store;
    checkState(restored.state);
    expect(await learn(restored, 'c')).toBe(4);
    // The free slot of b, as the original would have given it.
    expect(restored.findSlot('c')).toBe(1);
    await restored.close();
    const again = open(copy).store;
    expect(again.state.sequence).toBe(4);
    await again.close();
  });
});

describe('storage.dat.prev', () => {
  test('takes the place of a damaged storage.dat, with the log behind it, loudly', async () => {
    const disk = new SimDisk();
    const { store } = open(disk);
    for (const id of ['a', 'b', 'c']) {
      await learn(store, id);
      await store.flush();
    }
    await learn(store, 'd');
    await store.close();
    const bytes = disk.bytesOf(`${DIRECTORY}/storage.dat`);
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    disk.put(`${DIRECTORY}/storage.dat`, bytes);
    const { store: fallen, logged } = open(disk);
    expect(logged.filter((line) => line.startsWith('error: '))).toHaveLength(1);
    expect(fallen.state.sequence).toBe(4);
    checkState(fallen.state);
    // The good one is kept, not the damaged one.
    await fallen.flush();
    await fallen.close();
    disk.put(`${DIRECTORY}/storage.dat`, bytes);
    const { store: twice } = open(disk);
    expect(twice.state.sequence).toBe(4);
    checkState(twice.state);
    await twice.close();
  });
});
