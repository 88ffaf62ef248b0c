/**
 * storage.dat under attack: flipped bits, cut files, and files made with right checksums and wrong values. The state is
 * refused or exactly right; nothing hangs, nothing allocates out of proportion, and all that is thrown is a SutraError.
 * Checksums are mended here by plain means, from the page (docs/FILE_FORMAT.md), not with the code under test.
 */

import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { SutraError } from '#sutra/errors';
import type { Disk, DiskFile, OpenMode } from '#sutra/engine/disk';
import { NodeDisk } from '#sutra/engine/node-disk';
import { Snapshot } from '#sutra/engine/snapshot/snapshot';
import { verifySnapshotFile } from '#sutra/engine/snapshot/snapshot-file';
import { writeSnapshot } from '#sutra/engine/snapshot/snapshot-writer';

import { BytesDisk } from '../support/bytes-disk.js';
import {
  ModelSource,
  describeModel,
  describeSnapshot,
  randomState,
  seededRandom,
  type RandomShape,
} from '../support/model-source.js';
import { PlainDisk, PlainFile } from '../support/plain-disk.js';
import { StoredSource } from '../support/stored-source.js';

const HEADER = 4096;
const BLOCK = 65536;
const HEADER_CRC_AT = 12;
const TABLE_CRC_AT = 120;
const SECTIONS_AT = 128;
const SECTION_ENTRY = 24;
const SECTION_COUNT = 27;
const CONCEPT_COUNT_AT = 84;
/** Of contents and of names: no count says what they must be. */
const LENGTHS_OF_THEIR_OWN = [24, 25].map((index) => SECTIONS_AT + index * SECTION_ENTRY + 16);

let directory: string;

beforeAll(() => {
  directory = fs.mkdtempSync(join(tmpdir(), 'sutra-damage-'));
});

afterAll(() => {
  fs.rmSync(directory, { recursive: true, force: true });
});

/** For thousands of files that need not outlive a power cut. */
class UnsyncedDisk extends PlainDisk {
  override open(path: string, mode: OpenMode): DiskFile {
    const file = new PlainFile(path, mode);
    file.datasync = file.sync = () => undefined;
    return file;
  }
}

interface Sample {
  readonly bytes: Buffer;
  readonly right: string;
}

function sample(seed: number, shape: RandomShape): Sample {
  const path = join(directory, `sample-${seed}.dat`);
  const model = new ModelSource(randomState(seed, shape));
  writeSnapshot(new PlainDisk(), path, model);
  return { bytes: fs.readFileSync(path), right: describeModel(model).join('\n') };
}

const SMALL: RandomShape = { slots: 9, edges: 12, dimension: 3, free: 0.25 };

/** Opens the file and reads everything there is, twice, with the rest verified in between. */
function readEverything(disk: Disk, path = 'storage.dat'): string {
  const snapshot = Snapshot.open(disk, path);
  try {
    const first = describeSnapshot(snapshot).join('\n');
    while (!snapshot.verifyRest(4));
    const second = describeSnapshot(snapshot).join('\n');
    return first === second ? first : 'two readings differ';
  } finally {
    snapshot.release();
  }
}

/** What reading came to: the code of the SutraError, or the state. Anything else thrown fails the test. */
function outcome(bytes: Uint8Array): string {
  try {
    return readEverything(new BytesDisk(bytes));
  } catch (error) {
    if (error instanceof SutraError) return error.code;
    throw error;
  }
}

function sectionAt(bytes: Buffer, index: number): { offset: number; length: number } {
  const at = SECTIONS_AT + index * SECTION_ENTRY;
  return {
    offset: Number(bytes.readBigUInt64LE(at + 8)),
    length: Number(bytes.readBigUInt64LE(at + 16)),
  };
}

function mendHeader(bytes: Buffer): void {
  const crc = crc32(
    bytes.subarray(HEADER_CRC_AT + 4, HEADER),
    crc32(bytes.subarray(0, HEADER_CRC_AT)),
  );
  bytes.writeUInt32LE(crc, HEADER_CRC_AT);
}

/** All checksums as they should be; the section table must still be right. */
function mendAll(bytes: Buffer): void {
  const { offset: end, length } = sectionAt(bytes, SECTION_COUNT - 1);
  for (let block = 0; block * BLOCK < end; block++) {
    const part = bytes.subarray(
      Math.max(block * BLOCK, HEADER),
      Math.min((block + 1) * BLOCK, end),
    );
    bytes.writeUInt32LE(crc32(part), end + block * 4);
  }
  bytes.writeUInt32LE(crc32(bytes.subarray(end, end + length)), TABLE_CRC_AT);
  mendHeader(bytes);
}

describe('mending', () => {
  it('gives the checksums that the writer gave', () => {
    for (const shape of [SMALL, { slots: 3000, edges: 3000, hasLargeContent: true }]) {
      const { bytes } = sample(50, shape);
      const mended = Buffer.from(bytes);
      mended.writeUInt32LE(0, HEADER_CRC_AT);
      mended.writeUInt32LE(0, TABLE_CRC_AT);
      mended.fill(0, sectionAt(bytes, SECTION_COUNT - 1).offset);
      mendAll(mended);
      expect(mended.equals(bytes)).toBe(true);
      fs.rmSync(join(directory, 'sample-50.dat'));
    }
  });
});

describe('flipped bits', () => {
  it('in any byte of a small file are found', () => {
    const { bytes, right } = sample(51, SMALL);
    expect(outcome(bytes)).toBe(right);
    const wrong: string[] = [];
    for (let at = 0; at < bytes.length; at++) {
      for (const flip of [1 << (at & 7), 0xff]) {
        const altered = Buffer.from(bytes);
        altered[at] = (altered[at] ?? 0) ^ flip;
        const got = outcome(altered);
        // A changed version is another version; all else is damage. No byte is without a checksum.
        const expected = at >= 8 && at < 12 ? 'UNSUPPORTED_FORMAT' : 'DAMAGED';
        if (got !== expected) wrong.push(`byte ${at} ^ ${flip}: ${got.slice(0, 60)}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('are found by the check of the whole file too', () => {
    const { bytes } = sample(52, SMALL);
    for (let at = 0; at < bytes.length; at += 7) {
      const altered = Buffer.from(bytes);
      altered[at] = (altered[at] ?? 0) ^ 0x10;
      expect(() => verifySnapshotFile(new BytesDisk(altered), 'storage.dat')).toThrow(SutraError);
    }
  });

  it('anywhere in a file of many blocks are found', () => {
    const shape = { slots: 1500, edges: 3000, dimension: 16, hasLargeContent: true, free: 0.1 };
    const { bytes, right } = sample(53, shape);
    expect(outcome(bytes)).toBe(right);
    const random = seededRandom(53);
    for (let i = 0; i < 25; i++) {
      const at = 12 + Math.floor(random() * (bytes.length - 12));
      const altered = Buffer.from(bytes);
      altered[at] = (altered[at] ?? 0) ^ (1 << Math.floor(random() * 8));
      expect(`${at}: ${outcome(altered)}`).toBe(`${at}: DAMAGED`);
    }
  });

  it('are found in a mapped file', () => {
    const { bytes, right } = sample(54, SMALL);
    const path = join(directory, 'mapped.dat');
    fs.writeFileSync(path, bytes);
    expect(readEverything(new NodeDisk(), path)).toBe(right);
    for (let at = 12; at < bytes.length; at += 97) {
      const altered = Buffer.from(bytes);
      altered[at] = (altered[at] ?? 0) ^ 0x04;
      fs.writeFileSync(path, altered);
      expect(() => readEverything(new NodeDisk(), path)).toThrow(SutraError);
    }
  });

  it('harm only the block they are in', () => {
    const { bytes } = sample(55, { slots: 20_000, edges: 10 });
    // The strengths are the fourth section; slot 19,999 is in their last block.
    const { offset, length } = sectionAt(bytes, 3);
    const at = offset + length - 1;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    const snapshot = Snapshot.open(new BytesDisk(bytes), 'storage.dat');
    const block = Math.floor(at / BLOCK);
    expect(snapshot.strength(0)).toBeGreaterThanOrEqual(0);
    expect(snapshot.updatedUs(0)).toBeGreaterThan(0);
    for (let i = 0; i < 2; i++) {
      expect(() => snapshot.strength(19_999)).toThrow(
        `storage.dat: checksum of block ${block} at offset ${block * BLOCK}: got 0x`,
      );
    }
    const verifyAll = (): void => {
      while (!snapshot.verifyRest(1));
    };
    expect(verifyAll).toThrow(`checksum of block ${block}`);
    expect(verifyAll).toThrow(`checksum of block ${block}`);
    expect(snapshot.isVerified).toBe(false);
    snapshot.release();
  });
});

describe('a file of another length', () => {
  it('is refused at every length of a small one', () => {
    const { bytes } = sample(56, SMALL);
    for (let length = 0; length < bytes.length; length++) {
      const disk = new BytesDisk(bytes.subarray(0, length));
      const open = (): unknown => Snapshot.open(disk, 'storage.dat');
      expect(open, `${length} bytes`).toThrow(expect.objectContaining({ code: 'DAMAGED' }));
    }
  });

  it('is refused when something was appended', () => {
    const { bytes } = sample(57, SMALL);
    expect(outcome(Buffer.concat([bytes, Buffer.alloc(1)]))).toBe('DAMAGED');
    expect(outcome(Buffer.concat([bytes, Buffer.alloc(BLOCK)]))).toBe('DAMAGED');
  });

  it('is refused at steps of a large one', () => {
    const { bytes } = sample(58, { slots: 3000, edges: 2000, hasLargeContent: true });
    for (let length = 0; length < bytes.length; length += 9973) {
      expect(outcome(bytes.subarray(0, length))).toBe('DAMAGED');
    }
  });
});

describe('versions and features', () => {
  function messageOf(bytes: Uint8Array): string {
    try {
      Snapshot.open(new BytesDisk(bytes), 'storage.dat').release();
    } catch (error) {
      if (error instanceof SutraError) return `${error.code} ${error.message}`;
      throw error;
    }
    return 'opened';
  }

  it('version 2 is named, though its header is only 64 bytes', () => {
    const old = Buffer.alloc(64);
    old.write('SUTRADAT', 'latin1');
    old.writeUInt32LE(2, 8);
    const expected =
      'UNSUPPORTED_FORMAT storage.dat: storage.dat version 2 found, version 3 expected';
    expect(messageOf(old)).toBe(expected);
  });

  it('a later version is named before anything else of it is judged', () => {
    const { bytes } = sample(59, SMALL);
    bytes.writeUInt32LE(4, 8);
    expect(messageOf(bytes)).toContain('version 4 found, version 3 expected');
  });

  it('an unknown incompatible feature is refused, an unknown compatible one is not', () => {
    const { bytes, right } = sample(60, SMALL);
    bytes.writeUInt32LE(0x8000_0000, 20);
    mendHeader(bytes);
    expect(outcome(bytes)).toBe(right);
    bytes.writeUInt32LE(1, 24);
    mendHeader(bytes);
    expect(messageOf(bytes)).toContain(
      'UNSUPPORTED_FORMAT storage.dat: storage.dat needs features 0x00000001',
    );
  });

  it('another magic is damage', () => {
    const { bytes } = sample(61, SMALL);
    bytes.write('SQLite f', 'latin1');
    mendHeader(bytes);
    expect(messageOf(bytes)).toContain('DAMAGED storage.dat: magic at offset 0');
  });
});

describe('hostile values under right checksums', () => {
  const VALUES = [0, 1, 2, 16, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x0010_0000, 0x4000_0000];

  let loaded = 0;

  afterAll(() => {
    console.log(`hostile files: ${loaded} of storage.dat under mended checksums`);
  });

  /** Outcome, and that opening and reading allocated no more than in proportion to the file. */
  function boundedOutcome(bytes: Buffer): string {
    loaded++;
    const before = process.memoryUsage().arrayBuffers;
    const got = outcome(bytes);
    const grown = process.memoryUsage().arrayBuffers - before;
    // Fixed buffers: one block and the header page; descriptions of the state are strings.
    expect(grown).toBeLessThan(2 * bytes.length + 16 * BLOCK);
    return got;
  }

  it('in the header never do more than to be refused', () => {
    const { bytes } = sample(62, SMALL);
    const end = SECTIONS_AT + SECTION_COUNT * SECTION_ENTRY;
    for (let at = HEADER_CRC_AT + 4; at < end + 8; at += 4) {
      const old = bytes.readUInt32LE(at);
      for (const value of [
        ...VALUES,
        (old + 1) >>> 0,
        (old - 1) >>> 0,
        (old * 2) >>> 0,
        old + 64,
      ]) {
        const altered = Buffer.from(bytes);
        altered.writeUInt32LE(value >>> 0, at);
        mendHeader(altered);
        boundedOutcome(altered);
      }
    }
  });

  it('in counts and places are refused', () => {
    const { bytes, right } = sample(63, SMALL);
    // Header length, file length, block length, dimension, counts, and the whole section table.
    const fields = [16, 64, 68, 72, 76, 80, 84, 88, 92, 96, 100];
    for (let at = SECTIONS_AT; at < SECTIONS_AT + SECTION_COUNT * SECTION_ENTRY; at += 4)
      fields.push(at);
    for (const at of fields) {
      for (const change of [1, 64, 0x4000_0000]) {
        const altered = Buffer.from(bytes);
        altered.writeUInt32LE((altered.readUInt32LE(at) + change) >>> 0, at);
        mendHeader(altered);
        const got = outcome(altered);
        const where = `field ${at} + ${change}`;
        if (at === CONCEPT_COUNT_AT) {
          // Opening does not count the live slots, so another count can pass; it is then told as it stands.
          expect(got === 'DAMAGED' || got !== right, where).toBe(true);
        } else if (LENGTHS_OF_THEIR_OWN.includes(at) && change === 1) {
          // One byte more of zeros behind the last content or name is no other state.
          expect(['DAMAGED', right], where).toContain(got);
        } else {
          expect(['DAMAGED', 'UNSUPPORTED_FORMAT'], where).toContain(got);
        }
      }
    }
  });

  it('in the body never do more than to be refused, and are never written on', () => {
    const { bytes, right } = sample(64, SMALL);
    const end = sectionAt(bytes, SECTION_COUNT - 1).offset;
    const target = join(directory, 'rewritten.dat');
    let refused = 0;
    for (let at = HEADER; at < end; at += 4) {
      for (const value of [0xffff_ffff, 9]) {
        const altered = Buffer.from(bytes);
        altered.writeUInt32LE(value >>> 0, at);
        mendAll(altered);
        const got = boundedOutcome(altered);
        if (got === 'DAMAGED') refused++;
        if (value !== 9 || altered.equals(bytes)) continue;
        // The writer computes the digest anew, so what it writes from a wrong state is refused, or shows nothing wrong.
        fs.rmSync(target, { force: true });
        const written = rewrite(altered, target);
        if (written !== 'DAMAGED') expect(written, `word at ${at}`).toBe(right);
      }
    }
    expect(refused).toBeGreaterThan(200);
  });

  function rewrite(bytes: Buffer, target: string): string {
    const snapshot = Snapshot.open(new BytesDisk(bytes), 'storage.dat');
    try {
      writeSnapshot(new UnsyncedDisk(), target, new StoredSource(snapshot));
      return readEverything(new PlainDisk(), target);
    } catch (error) {
      if (error instanceof SutraError) return error.code;
      throw error;
    } finally {
      snapshot.release();
    }
  }

  /** Where the sections are in the section table. */
  const AT = { index: 1, content: 7, name: 10, vectorRow: 11, out: 13, in: 18, free: 22 };

  const lies: [
    string,
    (bytes: Buffer, slot: number) => void,
    (s: Snapshot, slot: number) => unknown,
  ][] = [
    [
      'row offset',
      (bytes, slot) => bytes.writeUInt32LE(1e6, sectionAt(bytes, AT.out).offset + slot * 4),
      (snapshot, slot) => snapshot.outStart(slot),
    ],
    [
      'row offset',
      (bytes, slot) => bytes.writeUInt32LE(1e6, sectionAt(bytes, AT.in).offset + slot * 4 + 4),
      (snapshot, slot) => snapshot.inEnd(slot),
    ],
    [
      'ascending',
      (bytes, slot) => {
        bytes.writeUInt32LE(5, sectionAt(bytes, AT.out).offset + slot * 4);
        bytes.writeUInt32LE(4, sectionAt(bytes, AT.out).offset + slot * 4 + 4);
      },
      (snapshot, slot) => snapshot.outEnd(slot),
    ],
    [
      'vector row',
      (bytes, slot) => bytes.writeUInt32LE(77, sectionAt(bytes, AT.vectorRow).offset + slot * 4),
      (snapshot, slot) => snapshot.readVector(slot, new Float32Array(3)),
    ],
    ...[NaN, -1, 0.5, 1e300, 100_000].map((offset): (typeof lies)[number] => [
      'place of content',
      (bytes, slot) => bytes.writeDoubleLE(offset, sectionAt(bytes, AT.content).offset + slot * 8),
      (snapshot, slot) => snapshot.readContent(slot),
    ]),
    ...[0, 1e5, 0xffff_ffff].map((offset): (typeof lies)[number] => [
      'offset of name',
      (bytes, slot) => bytes.writeUInt32LE(offset, sectionAt(bytes, AT.name).offset + slot * 4),
      (snapshot, slot) => snapshot.name(slot),
    ]),
    // At offset 1 lies the second of two zero bytes, and then the low byte of the first name's length.
    [
      'length of name',
      (bytes, slot) => bytes.writeUInt32LE(1, sectionAt(bytes, AT.name).offset + slot * 4),
      (snapshot, slot) => snapshot.name(slot),
    ],
    [
      'got slot 999, expected below 40',
      (bytes) => {
        const { offset, length } = sectionAt(bytes, AT.index);
        for (let at = 0; at < length; at += 4) bytes.writeUInt32LE(1000, offset + at);
      },
      (snapshot, slot) => findItsKey(snapshot, slot),
    ],
    [
      'free slot',
      (bytes) => {
        // Every entry of the index leads to the one free slot, which has the key of zeros.
        const { offset, length } = sectionAt(bytes, AT.index);
        const free = bytes.readUInt32LE(sectionAt(bytes, AT.free).offset);
        for (let at = 0; at < length; at += 4) bytes.writeUInt32LE(free + 1, offset + at);
      },
      (snapshot) => snapshot.findKey(0, 0, 0, 0),
    ],
    ...['live', 'beyond', 'twice'].map((kind): (typeof lies)[number] => [
      'free slot',
      (bytes, slot) => {
        const { offset } = sectionAt(bytes, AT.free);
        const value = { live: slot, beyond: 1000, twice: bytes.readUInt32LE(offset) }[kind] ?? 0;
        bytes.writeUInt32LE(value, offset + 4);
      },
      (snapshot) => snapshot.freeSlots(),
    ]),
  ];

  function findItsKey(snapshot: Snapshot, slot: number): number {
    const [k0 = 0, k1 = 0, k2 = 0, k3 = 0] = [0, 1, 2, 3].map((i) => snapshot.keyWord(slot, i));
    return snapshot.findKey(k0, k1, k2, k3);
  }

  it.each(lies)('are told by the accessor that meets them: %s', (what, alter, read) => {
    const { bytes, right } = sample(66, { slots: 40, edges: 60, dimension: 3, free: 0.25 });
    fs.rmSync(join(directory, 'sample-66.dat'));
    expect(outcome(bytes)).toBe(right);
    const intact = Snapshot.open(new BytesDisk(bytes), 'storage.dat');
    const slot = Array.from({ length: 40 }, (_, i) => i).find(
      (i) => intact.isLive(i) && intact.hasName(i) && intact.hasVector(i),
    );
    intact.release();
    if (slot === undefined) throw new Error('the sample has no concept with a name and a vector');
    alter(bytes, slot);
    mendAll(bytes);
    const snapshot = Snapshot.open(new BytesDisk(bytes), 'storage.dat');
    for (let i = 0; i < 2; i++) {
      expect(() => read(snapshot, slot)).toThrow(expect.objectContaining({ code: 'DAMAGED' }));
      expect(() => read(snapshot, slot)).toThrow(what);
      // And again where nothing is left to verify.
      while (!snapshot.verifyRest(8));
    }
    snapshot.release();
  });

  it('a key index without an empty entry ends in damage, not in a search for ever', () => {
    const { bytes } = sample(65, SMALL);
    const { offset, length } = sectionAt(bytes, 1);
    for (let at = 0; at < length; at += 4) bytes.writeUInt32LE(1, offset + at);
    mendAll(bytes);
    const snapshot = Snapshot.open(new BytesDisk(bytes), 'storage.dat');
    expect(() => snapshot.findKey(1, 2, 3, 4)).toThrow('key index');
    snapshot.release();
  });
});
