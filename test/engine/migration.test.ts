/**
 * The way over from storage.dat version 2: what it becomes, what is refused and where, what a salvage takes and lists, and
 * that a power cut before any operation leaves the old file or the new store.
 */

import { describe, expect, test } from 'vitest';

import { migrate, OLD_NAME, type Migration } from '#sutra/engine/migration/migrate';
import type { BadItem } from '#sutra/engine/migration/version2-reader';
import { runSteps, type StepProgress } from '#sutra/engine/steps';
import { Store } from '#sutra/engine/store';
import { SutraError } from '#sutra/errors';
import { ConcurrentStorage } from '#sutra/storage/embedded';

import { seededRandom } from '../support/random.js';
import { DIRECTORY, STORE_OPTIONS } from '../support/scenario.js';
import { randomChoice, SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';
import { mirrored, OLD_WRITTEN_US, oldFile, type OldFile } from '../support/version2-file.js';
import { checkDirectory, checkState } from '../support/whole-store.js';

const SNAPSHOT = `${DIRECTORY}/storage.dat`;
const OLD = `${DIRECTORY}/${OLD_NAME}`;

/** Every byte is flipped with SUTRA_FLIP_STRIDE=1. */
const STRIDE = Number(process.env['SUTRA_FLIP_STRIDE'] ?? 3);

const A = '00000000000000aa';
const B = '00112233445566778899aabbccddeeff';
const C = 'ffffffffffffffff0000000000000001';
const ZERO = '0000000000000000';

const SMALL: OldFile = {
  concepts: [
    { id: A, content: 'first', strength: 2.5, confidence: 0.25 },
    { id: B, content: 'zweites, mit ümlaut' },
    { id: C },
    { id: ZERO, content: 'nought' },
  ],
  edges: [
    ...mirrored(A, B, 0.5),
    { source: C, target: A, confidence: 0.75 },
    { source: A, target: C, confidence: 0.125 },
    { source: B, target: B, confidence: 0.5 },
    { source: B, target: B, confidence: 0.5 },
    { source: ZERO, target: C, confidence: 0 },
  ],
  vectors: [
    { id: B, values: [1, 2, 3] },
    { id: A, values: [-1, 0, 0.5] },
  ],
};

function diskWith(file: OldFile | Uint8Array): SimDisk {
  const disk = new SimDisk();
  disk.makeDirectory(DIRECTORY);
  disk.syncDirectory('/');
  disk.put(SNAPSHOT, file instanceof Uint8Array ? file : oldFile(file));
  return disk;
}

function open(disk: SimDisk, readOnly: boolean): Promise<ConcurrentStorage> {
  return ConcurrentStorage.open(DIRECTORY, { environment: new SimEnvironment(disk), readOnly });
}

function salvage(disk: SimDisk): { migration: Migration; left: BadItem[] } {
  const left: BadItem[] = [];
  const steps = migrate(disk, DIRECTORY, new Uint8Array(16), 1, (item) => left.push(item));
  const migration = runSteps(steps);
  if (migration === null) throw new Error('not an old store');
  return { migration, left };
}

/** What clients see of the small file. */
async function expectSmall(storage: ConcurrentStorage): Promise<void> {
  expect(await storage.stats()).toMatchObject({
    concepts: 4,
    edges: 4,
    vectors: 2,
    dimension: 3,
    sequence: 8,
  });
  expect(await storage.queryConcept(A, { withEmbedding: true })).toEqual({
    found: true,
    id: A,
    content: 'first',
    strength: 2.5,
    confidence: 0.25,
    createdUs: OLD_WRITTEN_US,
    updatedUs: OLD_WRITTEN_US,
    dimension: 3,
    embedding: Float32Array.of(-1, 0, 0.5),
  });
  expect(await storage.queryConcept(B)).toMatchObject({ id: B, content: 'zweites, mit ümlaut' });
  expect(await storage.queryConcept(ZERO)).toMatchObject({ id: ZERO, content: 'nought' });
  expect((await storage.getNeighbors(A)).neighbors).toEqual([
    { id: B, type: 0, confidence: 0.5, direction: 'out' },
    { id: C, type: 0, confidence: 0.125, direction: 'in' },
  ]);
  expect((await storage.getNeighbors(B)).neighbors.map(({ id }) => id).sort()).toEqual([A, B]);
  const { path } = await storage.findPath(B, ZERO);
  expect(path).toEqual([B, A, C, ZERO]);
  const [best] = await storage.vectorSearch([1, 2, 3], { k: 1 });
  expect(best?.id).toBe(B);
}

describe('a whole file of version 2', () => {
  test('is read in place by a reader, which creates nothing', async () => {
    const disk = diskWith(SMALL);
    const before = disk.operations;
    const storage = await open(disk, true);
    await expectSmall(storage);
    expect(storage.opened.migration).toBeNull();
    await storage.close();
    expect(disk.operations).toBe(before);
    expect(disk.list(DIRECTORY)).toEqual(['storage.dat']);
  });

  test('is brought over by a writer, once, and kept', async () => {
    const disk = diskWith(SMALL);
    const reader = await open(disk, true);
    const writer = await open(disk, false);
    await expectSmall(writer);
    expect(writer.opened.migration).toMatchObject({ collapsed: 3, keptAs: OLD_NAME });
    expect(await writer.learnConcept({ id: 'new', content: 'x' })).toEqual({ sequence: 9 });
    await writer.learnAssociation({ source: A, target: B, type: 1 });
    await writer.flush();
    await writer.close();
    // The reader keeps what it opened.
    await expectSmall(reader);
    await reader.close();
    expect(Buffer.compare(disk.bytesOf(OLD), oldFile(SMALL))).toBe(0);
    const again = await open(disk, false);
    expect(again.opened.migration).toBeNull();
    expect(await again.stats()).toMatchObject({ concepts: 5, edges: 5, sequence: 10 });
    await again.close();
    await checkDirectory(DIRECTORY, disk);
  });

  test('gives a reader and a writer the same digest, and the check agrees', async () => {
    const disk = diskWith(SMALL);
    const options = { ...STORE_OPTIONS, readOnly: true };
    const reader = Store.open(DIRECTORY, new SimEnvironment(disk), options);
    const digest = checkState(reader.state).digest;
    await reader.close();
    const { migration } = salvage(disk);
    expect(migration).toMatchObject({ digest, concepts: 4, edges: 4, vectors: 2, sequence: 8 });
    expect(await checkDirectory(DIRECTORY, disk)).toMatchObject({ digest });
  });

  test('may be empty', async () => {
    const disk = diskWith({});
    const reader = await open(disk, true);
    expect(await reader.stats()).toMatchObject({ concepts: 0, edges: 0, dimension: 0 });
    await reader.close();
    const writer = await open(disk, false);
    expect(writer.opened.migration).toMatchObject({ concepts: 0, sequence: 0 });
    expect(await writer.learnConcept({ id: 'a', content: '' })).toEqual({ sequence: 1 });
    await writer.close();
    await checkDirectory(DIRECTORY, disk);
  });

  test('never overwrites another file that is called as the kept one would be', async () => {
    const disk = diskWith(SMALL);
    disk.put(OLD, Buffer.from('somebody else’s'));
    const { migration } = salvage(disk);
    expect(migration.keptAs).toBe(`${OLD_NAME}-2`);
    expect(Buffer.from(disk.bytesOf(OLD)).toString()).toBe('somebody else’s');
  });

  test('holds as much as random graphs do', async () => {
    const random = seededRandom(7);
    const pick = (n: number): number => Math.floor(random() * n);
    const ids = Array.from({ length: 300 }, (_, i) => (i * 7919).toString(16).padStart(32, '0'));
    const expected = new Map<string, number>();
    const edges = Array.from({ length: 2000 }, () => {
      const source = ids[pick(ids.length)] ?? '';
      const target = ids[pick(ids.length)] ?? '';
      const confidence = pick(256) / 256;
      const pair = `${source} ${target}`;
      const mirror = `${target} ${source}`;
      expected.set(expected.has(mirror) ? mirror : pair, confidence);
      return { source, target, confidence };
    });
    const disk = diskWith({
      concepts: ids.map((id) => ({ id, content: 'c'.repeat(pick(2000)) })),
      edges,
    });
    const storage = await open(disk, false);
    expect(await storage.stats()).toMatchObject({ concepts: 300, edges: expected.size });
    for (const [pair, confidence] of expected) {
      const [source = '', target = ''] = pair.split(' ');
      const { steps } = await storage.findPath(source, target, { direction: 'out', maxDepth: 1 });
      if (source !== target) expect(steps).toMatchObject([{ type: 0, confidence }]);
    }
    await storage.close();
    await checkDirectory(DIRECTORY, disk);
  });
});

interface BadCase {
  readonly name: string;
  readonly file: OldFile | Uint8Array;
  readonly says: RegExp;
  readonly offset: number;
  /** What a salvage takes: concepts, edges, vectors; and what it lists. */
  readonly taken: readonly [number, number, number];
  readonly left: readonly string[];
}

const whole = oldFile(SMALL);
const two = [{ id: A, content: 'a' }, { id: B }];

const BAD: readonly BadCase[] = [
  {
    name: 'cut in the last vector',
    file: whole.subarray(0, whole.length - 1),
    says: /vector 1, at offset .*3 dimensions, but the file ends after 11 bytes/,
    offset: whole.length - 32,
    taken: [4, 4, 1],
    left: ['vector'],
  },
  {
    name: 'cut among the edges',
    file: whole.subarray(0, whole.length - 64 - 36 - 10),
    says: /at offset 12: got \d+ bytes, expected at least/,
    offset: 12,
    taken: [4, 3, 0],
    left: ['header', 'association'],
  },
  {
    name: 'a content longer than the file',
    file: oldFile({ concepts: [{ id: A }, { id: B, content: 'b', contentLength: 0xffffffff }] }),
    says: /concept 1, at offset 100: 0011.*4294967295 bytes/,
    offset: 100,
    taken: [1, 0, 0],
    left: ['concept'],
  },
  {
    name: 'counts that lie',
    file: oldFile({ ...SMALL, counts: [0xffffffff, 0xffffffff, 0xffffffff] }),
    says: /cut short, or a count is wrong/,
    offset: 12,
    taken: [4, 0, 0],
    left: ['header', 'concept'],
  },
  {
    name: 'bytes behind the end',
    file: oldFile({ ...SMALL, trailing: new Uint8Array(5) }),
    says: /5 bytes behind the end/,
    offset: whole.length,
    taken: [4, 4, 2],
    left: ['file'],
  },
  {
    name: 'a header that is not padded with zeros',
    file: oldFile({ ...SMALL, padding: Uint8Array.of(1) }),
    says: /at offset 32/,
    offset: 32,
    taken: [4, 4, 2],
    left: ['header'],
  },
  {
    name: 'content that is not UTF-8',
    file: oldFile({ concepts: [{ id: A, content: Uint8Array.of(0xff) }, { id: B }] }),
    says: /concept 0, at offset 64: .*not UTF-8/,
    offset: 64,
    taken: [1, 0, 0],
    left: ['concept'],
  },
  {
    name: 'a strength that is no number, and an edge to it',
    file: oldFile({ concepts: [{ id: A, strength: NaN }, { id: B }], edges: mirrored(A, B) }),
    says: /concept 0, .*strength NaN/,
    offset: 64,
    taken: [1, 0, 0],
    left: ['concept', 'association', 'association'],
  },
  {
    name: 'a confidence above 1',
    file: oldFile({ concepts: two, edges: [{ source: A, target: B, confidence: 1.5 }] }),
    says: /association 0, at offset 137: got confidence 1.5/,
    offset: 137,
    taken: [2, 0, 0],
    left: ['association'],
  },
  {
    name: 'an edge to nowhere',
    file: oldFile({ concepts: two, edges: [{ source: A, target: C }, ...mirrored(A, B)] }),
    says: /association 0, .*to ffffffffffffffff0000000000000001, which is no concept/,
    offset: 137,
    taken: [2, 1, 0],
    left: ['association'],
  },
  {
    name: 'an id twice, with different contents',
    file: oldFile({ concepts: [...two, { id: A, content: 'b' }, { id: A, content: 'a' }] }),
    says: /concept 2, .*came before/,
    offset: 137,
    taken: [2, 0, 0],
    left: ['concept'],
  },
  {
    name: 'vectors of two dimensions',
    file: oldFile({
      concepts: two,
      vectors: [
        { id: A, values: [1, 2] },
        { id: B, values: [1, 2, 3] },
      ],
    }),
    says: /vector 1, .*3 dimensions, but those before have 2/,
    offset: 137 + 28,
    taken: [2, 0, 1],
    left: ['vector'],
  },
  {
    name: 'vectors that cannot be compared',
    file: oldFile({
      concepts: two,
      vectors: [
        { id: A, values: [0, 0] },
        { id: B, values: [1, Infinity] },
        { id: C, values: [1, 1] },
        { id: B, values: [] },
      ],
    }),
    says: /vector 0, .*zeros only/,
    offset: 137,
    taken: [2, 0, 0],
    left: ['vector', 'vector', 'vector', 'vector'],
  },
  {
    name: 'a time that cannot be',
    file: oldFile({ concepts: two, writtenUs: 2 ** 60 }),
    says: /got a time of/,
    offset: 24,
    taken: [2, 0, 0],
    left: ['header'],
  },
];

describe('a large file of version 2', () => {
  const ids = Array.from({ length: 9_000 }, (_, i) => (i + 1).toString(16).padStart(16, '0'));
  const large: OldFile = {
    concepts: ids.map((id) => ({ id, content: `content of ${id} `.repeat(40) })),
    edges: ids.flatMap((id, i) => mirrored(id, ids[(i * 7) % ids.length] ?? id, 0.5)),
  };

  test.each([
    ['a writer', false, ['reading the old file', 'writing', 'verifying']],
    ['a reader', true, ['reading the old file']],
  ] as const)('%s is told how far it is', async (_who, readOnly, phases) => {
    const disk = diskWith(large);
    const told: StepProgress[] = [];
    const storage = await ConcurrentStorage.open(DIRECTORY, {
      environment: new SimEnvironment(disk),
      readOnly,
      onMigration: (step) => told.push(step),
    });
    await storage.close();
    expect([...new Set(told.map(({ phase }) => phase))]).toEqual(phases);
    for (const phase of phases) {
      const done = told.filter((step) => step.phase === phase).map((step) => step.done);
      expect(done).toEqual([...done].sort((a, b) => a - b));
      for (const { total } of told) expect(total).toBeGreaterThanOrEqual(Math.max(...done) / 2);
    }
    expect(told.filter(({ phase }) => phase === 'reading the old file').length).toBeGreaterThan(3);
  });
});

describe('a damaged file of version 2', () => {
  test.each(BAD)('$name: is refused, saying where', async ({ file, says, offset }) => {
    for (const readOnly of [true, false]) {
      const disk = diskWith(file);
      const before = disk.bytesOf(SNAPSHOT);
      const error = await open(disk, readOnly).then(
        () => null,
        (thrown: unknown) => thrown,
      );
      expect(error).toBeInstanceOf(SutraError);
      expect(error).toMatchObject({ code: 'DAMAGED', offset });
      expect((error as SutraError).message).toMatch(says);
      expect((error as SutraError).hint).toContain('--salvage');
      expect(disk.bytesOf(SNAPSHOT)).toEqual(before);
      expect(disk.list(DIRECTORY).filter((name) => name !== 'lock')).toEqual(['storage.dat']);
    }
  });

  test.each(BAD)('$name: a salvage takes what is whole', async ({ file, taken, left }) => {
    const disk = diskWith(file);
    const before = disk.bytesOf(SNAPSHOT);
    const result = salvage(disk);
    const { concepts, edges, vectors } = result.migration;
    expect([concepts, edges, vectors]).toEqual(taken);
    expect(result.left.map(({ kind }) => kind)).toEqual(left);
    expect(disk.bytesOf(OLD)).toEqual(before);
    await checkDirectory(DIRECTORY, disk);
  });

  test('is refused at every length, without an allocation that the file does not warrant', () => {
    for (let length = 12; length < whole.length; length++) {
      const disk = diskWith(whole.subarray(0, length));
      const steps = migrate(disk, DIRECTORY, new Uint8Array(16), 1);
      expect(() => runSteps(steps)).toThrow(SutraError);
    }
  });

  test('never comes out as anything but an answer or a refusal, whatever byte is flipped', async () => {
    let refused = 0;
    for (let at = 12; at < whole.length; at += STRIDE) {
      const bytes = Buffer.from(whole);
      bytes.writeUInt8(bytes.readUInt8(at) ^ 0x81, at);
      const disk = diskWith(bytes);
      try {
        runSteps(migrate(disk, DIRECTORY, new Uint8Array(16), 1));
        await checkDirectory(DIRECTORY, disk);
      } catch (error) {
        if (!(error instanceof SutraError)) throw error;
        expect(error.code).toBe('DAMAGED');
        refused++;
        // Whole or not, what a salvage makes of it is a whole store, unless there is no header.
        salvage(disk);
        await checkDirectory(DIRECTORY, disk);
      }
    }
    expect(refused).toBeGreaterThan(100 / STRIDE);
  });

  test('beside a newer store’s files is not taken for that store', async () => {
    const disk = diskWith(SMALL);
    await (await open(disk, false)).close();
    disk.put(SNAPSHOT, oldFile(SMALL));
    for (const readOnly of [true, false]) {
      await expect(open(disk, readOnly)).rejects.toMatchObject({
        code: 'DAMAGED',
        message: expect.stringContaining('beside it is a newer store’s') as string,
      });
    }
  });
});

describe('a migration that is cut off', () => {
  test('by a power cut leaves the old file or the new store', async () => {
    const disk = diskWith(SMALL);
    const random = seededRandom(11);
    const images: { at: string; image: SimDisk }[] = [];
    disk.onOperation = ({ kind, path }) => {
      for (let n = 0; n < 3; n++) {
        images.push({ at: `${kind} ${path}`, image: disk.crash(randomChoice(random)) });
      }
      return null;
    };
    await (await open(disk, false)).close();
    const kinds = { old: 0, new: 0 };
    for (const { at, image } of images) {
      const isOld = Buffer.compare(image.bytesOf(SNAPSHOT), oldFile(SMALL)) === 0;
      kinds[isOld ? 'old' : 'new']++;
      try {
        const reader = await open(image, true);
        await expectSmall(reader);
        await reader.close();
        const writer = await open(image, false);
        expect(writer.opened.migration === null).toBe(!isOld);
        await expectSmall(writer);
        await writer.close();
        expect(Buffer.compare(image.bytesOf(OLD), oldFile(SMALL))).toBe(0);
        expect(image.list(DIRECTORY).filter((name) => /tmp|v2-/.test(name))).toEqual([]);
        await checkDirectory(DIRECTORY, image);
      } catch (error) {
        throw new Error(`power cut before ${at}: ${String(error)}`, { cause: error });
      }
    }
    expect(kinds.old).toBeGreaterThan(5);
    expect(kinds.new).toBeGreaterThan(5);
  });

  test('by a disk that fails leaves the old file, and nothing half done', async () => {
    for (const verdict of ['EIO', 'ENOSPC', 'short'] as const) {
      const count = diskWith(SMALL);
      await (await open(count, false)).close();
      for (let fail = 1; fail <= count.operations; fail++) {
        const disk = diskWith(SMALL);
        disk.onOperation = ({ index }) => (index === fail ? verdict : null);
        const storage = await open(disk, false).catch(() => null);
        disk.onOperation = () => null;
        await storage?.close().catch(() => undefined);
        const again = await open(disk, false);
        await expectSmall(again);
        await again.close();
        await checkDirectory(DIRECTORY, disk);
      }
    }
  });
});
