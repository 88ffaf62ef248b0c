/**
 * The whole-store check against every kind of damage: it never throws, it finds what recovery refuses, and what it says can be
 * had is the state that there once was.
 */

import { describe, expect, test } from 'vitest';

import { crc32, crc32Range } from '#sutra/engine/format/crc32';
import { KIND, parseHeader, sectionOf } from '#sutra/engine/format/snapshot-format';
import { Store } from '#sutra/engine/store';
import { SutraError } from '#sutra/errors';

import {
  cut,
  flip,
  LOCK,
  makeStore,
  openAndClose,
  PREVIOUS,
  segment,
  SNAPSHOT,
  verify,
  type MadeStore,
} from '../support/damaged-store.js';
import { DIRECTORY, STORE_OPTIONS } from '../support/scenario.js';
import type { SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';

describe('a whole store', () => {
  test.each([
    [0, true],
    [0, false],
    [1, true],
    [2, false],
    [4, true],
  ])('with %i checkpoints, closed: %s', async (flushes, closes) => {
    const { disk, digests } = await makeStore(flushes, closes);
    const operations = disk.operations;
    const check = verify(disk);
    expect(check.findings).toEqual([]);
    expect(check.notes).toEqual([]);
    expect(check.lost).toBeNull();
    expect(check.previousAgrees).toBe(flushes > 1 ? true : null);
    const sequence = 6 * (flushes + 1);
    expect(check.state).toMatchObject({ sequence, digest: digests.get(sequence) });
    expect(disk.operations, 'it changes nothing').toBe(operations);
    expect(disk.openFiles.size).toBe(0);
  });

  test('that is empty, and one that is only a storage.dat', async () => {
    const { disk } = await makeStore(2, true);
    for (const name of disk.list(DIRECTORY)) {
      if (name !== 'storage.dat') disk.unlink(`${DIRECTORY}/${name}`);
    }
    expect(verify(disk)).toMatchObject({ findings: [], state: { sequence: 12 } });
    disk.unlink(SNAPSHOT);
    expect(() => verify(disk)).toThrow('holds no sutra store');
    disk.put(LOCK, new Uint8Array(0));
    expect(verify(disk)).toMatchObject({ findings: [], state: { sequence: 0 } });
  });

  test('beside a writer: what it had published, whatever comes then', async () => {
    const { disk, digests } = await makeStore(1, true);
    const environment = new SimEnvironment(disk);
    const store = Store.open(DIRECTORY, environment, { ...STORE_OPTIONS, threshold: 1_000_000 });
    expect(verify(disk)).toMatchObject({
      findings: [],
      held: true,
      state: { sequence: 12, digest: digests.get(12) },
    });
    const learned = { id: 'new', content: '', strength: 1, confidence: 1, embedding: null };
    await store.commits.learn(learned);
    expect(verify(disk)).toMatchObject({ findings: [], held: true, state: { sequence: 13 } });
    await store.flush();
    await store.commits.learn(learned);
    expect(verify(disk)).toMatchObject({ findings: [], held: true, state: { sequence: 14 } });
    await store.close();
    expect(verify(disk)).toMatchObject({ findings: [], held: false, state: { sequence: 14 } });
  });
});

/** Judges a damaged store; returns what was found. */
async function judge(
  made: MadeStore,
  disk: SimDisk,
  what: string,
): Promise<'damage' | 'note' | 'none'> {
  const check = verify(disk);
  const { state, findings, lost, notes } = check;
  if (state !== null) {
    expect(state.digest, `${what}: a state that never was`).toBe(made.digests.get(state.sequence));
  }
  let refused: string | null = null;
  for (const readOnly of [true, false]) {
    try {
      const opened = await openAndClose(disk.killed(), readOnly);
      if (findings.length === 0) expect(opened, what).toMatchObject({ digest: state?.digest });
    } catch (error) {
      if (!(error instanceof SutraError)) throw error;
      expect(['DAMAGED', 'UNSUPPORTED_FORMAT'], what).toContain(error.code);
      refused = error.message;
    }
  }
  if (refused !== null) expect(findings.length, `${what}: ${refused}`).toBeGreaterThan(0);
  if (findings.length === 0) expect(lost, what).toBeNull();
  if (lost !== null) expect(lost[0], what).toBe((state?.sequence ?? 0) + 1);
  if (findings.length > 0) return 'damage';
  return notes.length > 0 ? 'note' : 'none';
}

describe('damage', () => {
  for (const closes of [true, false]) {
    test(`flipped bits in any file are found; closed: ${closes}`, async () => {
      const made = await makeStore(3, closes);
      const seen = { damage: 0, note: 0, none: 0 };
      for (const name of made.disk.list(DIRECTORY)) {
        if (name === 'lock') continue;
        const path = `${DIRECTORY}/${name}`;
        const size = made.disk.bytesOf(path).length;
        const stride = name.startsWith('wal') ? 11 : 97;
        for (let offset = 0; offset < size; offset += offset < 160 ? 9 : stride) {
          const disk = made.disk.killed();
          flip(disk, path, offset);
          seen[await judge(made, disk, `${name} at ${offset}`)]++;
        }
      }
      expect(seen.damage).toBeGreaterThan(200);
      // With the lock file there, the log is known to have been synced: only what marks the end can be torn.
      expect(seen.none).toBe(0);
    }, 120_000);
  }

  test('log segments cut at any length', async () => {
    const made = await makeStore(2, false);
    const last = segment(3);
    const seen = { damage: 0, note: 0, none: 0 };
    for (const path of [segment(2), last]) {
      const size = made.disk.bytesOf(path).length;
      for (let bytes = 0; bytes < size; bytes += 5) {
        for (const forgets of [false, true]) {
          const disk = made.disk.killed();
          cut(disk, path, bytes);
          if (forgets) disk.unlink(LOCK);
          const found = await judge(made, disk, `${path} cut to ${bytes}`);
          // The seal is not needed: the next segment vouches for the one before it.
          const isSealOnly = path !== last && bytes >= size - 48;
          if (path !== last && !isSealOnly) expect(found).toBe('damage');
          if (path === last && !forgets) expect(found).toBe('damage');
          seen[found]++;
        }
      }
    }
    expect(seen.note).toBeGreaterThan(50);
  }, 120_000);

  test('files that are missing', async () => {
    const made = await makeStore(3, true);
    for (const path of [SNAPSHOT, PREVIOUS, segment(3), segment(4)]) {
      const disk = made.disk.killed();
      disk.unlink(path);
      const found = await judge(made, disk, path);
      // Without .prev there is one copy less, and nothing wrong.
      expect(found, path).toBe(path === PREVIOUS ? 'none' : 'damage');
    }
  });

  test('names file, offset and the sequences that go', async () => {
    const { disk } = await makeStore(2, true);
    flip(disk, segment(3), 200);
    const { findings, lost, state } = verify(disk);
    expect(lost).toEqual([(state?.sequence ?? 0) + 1, 18]);
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatchObject({ file: 'wal-0000000003.log', sequences: lost });
    expect(findings[0]?.offset).toBeLessThanOrEqual(200);
  });

  test('of a file that held none of what is lost is not blamed for it', async () => {
    const { disk } = await makeStore(3, true);
    flip(disk, SNAPSHOT, 5000);
    flip(disk, segment(4), 70);
    const { findings, lost } = verify(disk);
    expect(lost).toEqual([19, 24]);
    expect(findings.map(({ file, sequences }) => [file, sequences])).toEqual([
      ['storage.dat', undefined],
      ['wal-0000000004.log', [19, 24]],
    ]);
  });

  test('in a copy costs nothing, and says so', async () => {
    const { disk } = await makeStore(3, true);
    flip(disk, SNAPSHOT, 5000);
    const { findings, lost, state, way } = verify(disk);
    expect(findings).toEqual([
      { file: 'storage.dat', offset: 4096, what: expect.stringContaining('checksum') as string },
    ]);
    expect(lost).toBeNull();
    expect(way?.base).toBe('previous');
    expect(state?.sequence).toBe(24);
  });

  test('is found in every file, not only in the first', async () => {
    const { disk } = await makeStore(3, true);
    flip(disk, SNAPSHOT, 5000);
    flip(disk, PREVIOUS, 5000);
    flip(disk, segment(3), 100);
    flip(disk, segment(4), 100);
    const { findings, state } = verify(disk);
    expect(new Set(findings.map(({ file }) => file))).toEqual(
      new Set(['storage.dat', 'storage.dat.prev', 'wal-0000000003.log', 'wal-0000000004.log']),
    );
    expect(state).toBeNull();
  });

  test('is a disk that refuses to read', async () => {
    const made = await makeStore(3, true);
    for (const path of [SNAPSHOT, PREVIOUS, segment(3), segment(4)]) {
      const disk = made.disk.killed();
      disk.onRead = (_index, at) => {
        if (at === path) throw Object.assign(new Error('EIO: simulated'), { code: 'EIO' });
      };
      const { findings } = verify(disk);
      expect(findings.map(({ file }) => file)).toContain(path.slice(DIRECTORY.length + 1));
    }
  });
});

/** Writes to a section of storage.dat and makes all checksums right again. */
function forge(
  disk: SimDisk,
  kind: number,
  at: number,
  change: (view: DataView, at: number) => void,
): void {
  const bytes = disk.bytesOf(SNAPSHOT);
  const view = new DataView(bytes.buffer);
  const header = parseHeader(bytes.subarray(0, 4096), bytes.length, SNAPSHOT);
  const section = header.sections.find((candidate) => candidate.kind === kind);
  if (section === undefined) throw new Error(`no section ${kind}`);
  change(view, section.offset + at);
  const table = sectionOf(header, KIND.BLOCK_TABLE);
  for (let block = 0; block < table.byteLength / 4; block++) {
    const from = Math.max(4096, block * 65536);
    const to = Math.min((block + 1) * 65536, table.offset);
    view.setUint32(table.offset + block * 4, crc32(bytes.subarray(from, to)), true);
  }
  view.setUint32(120, crc32(bytes.subarray(table.offset)), true);
  view.setUint32(12, crc32Range(bytes, 16, 4096, crc32Range(bytes, 0, 12)), true);
  disk.put(SNAPSHOT, bytes);
}

describe('values that contradict each other under good checksums', () => {
  const add32 = (view: DataView, at: number): void => {
    view.setUint32(at, view.getUint32(at, true) + 1, true);
  };
  test.each([
    ['a strength', KIND.STRENGTH, 0, /state digest/],
    ['a key', KIND.KEYS, 3, /leads to slot -1/],
    ['a content length', KIND.CONTENT_LENGTH, 0, /checksum of content|place of content/],
    ['an outgoing target', KIND.OUT_TARGETS, 0, /come in|leads to|free slot/],
    ['an incoming source', KIND.IN_SOURCES, 0, /come in/],
    ['an incoming type', KIND.IN_TYPES, 0, /come in/],
    ['an incoming confidence', KIND.IN_CONFIDENCES, 0, /come in/],
    ['an outgoing confidence', KIND.OUT_CONFIDENCES, 0, /come in/],
    ['an outgoing time', KIND.OUT_CREATED_US, 2, /state digest/],
    ['a time that is no whole number', KIND.OUT_CREATED_US, 0, /time 1\d*\.2/],
    ['a row offset', KIND.OUT_OFFSETS, 4, /row offset|come in|coming in/],
    ['a vector row', KIND.VECTOR_ROW, 4, /vector/],
    ['a content', KIND.CONTENT, 0, /checksum of content/],
  ] as const)('%s', async (_what, kind, at, message) => {
    const made = await makeStore(2, true);
    forge(made.disk, kind, at, add32);
    const { findings, state, way } = verify(made.disk);
    expect(findings.map(({ what }) => what).join('\n')).toMatch(message);
    // And .prev with the log has it all.
    expect(way?.base).toBe('previous');
    expect(state).toMatchObject({ sequence: 18, digest: made.digests.get(18) });
  });

  test('and storage.dat.prev that leads elsewhere', async () => {
    const { disk } = await makeStore(3, true);
    const other = await makeStore(2, true);
    expect(verify(disk).previousAgrees).toBe(true);
    disk.put(PREVIOUS, other.disk.bytesOf(PREVIOUS));
    const { findings, previousAgrees } = verify(disk);
    expect(previousAgrees).toBe(false);
    expect(findings.map(({ file }) => file)).toEqual(['storage.dat.prev']);
  });
});
