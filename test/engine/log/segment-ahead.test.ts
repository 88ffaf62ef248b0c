/** Payloads read ahead are those that lie there, in whatever order they are asked for, and few reads do for many in order. */

import { expect, test } from 'vitest';

import type { DiskFile } from '#sutra/engine/disk';
import { SegmentAhead } from '#sutra/engine/log/segment-ahead';

import { seededRandom, testSeed } from '../../support/random.js';

function fileOf(bytes: Uint8Array): { file: DiskFile; count: { reads: number; bytes: number } } {
  const count = { reads: 0, bytes: 0 };
  const read: DiskFile['read'] = (target, offset, length, position) => {
    count.reads++;
    count.bytes += length;
    // As a file may: fewer than asked for.
    const got = Math.min(length, Math.max(0, bytes.length - position), 100_000);
    target.set(bytes.subarray(position, position + got), offset);
    return got;
  };
  return { file: { read } as DiskFile, count };
}

function bytesOf(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Math.imul(i + seed, 0x9e3779b1) >>> 24);
}

test('gives what lies there, from two files, in any order and beyond the end', () => {
  const seed = testSeed();
  const random = seededRandom(seed);
  const contents = [bytesOf(1_000_000, 1), bytesOf(700_000, 2)];
  const files = contents.map((bytes) => fileOf(bytes).file);
  const ahead = new SegmentAhead();
  let position = 0;
  for (let n = 0; n < 4000; n++) {
    const which = random() < 0.1 ? 1 : 0;
    position = random() < 0.05 ? Math.floor(random() * 1_050_000) : position;
    const length = Math.floor(random() ** 3 * 300_000 * (random() < 0.05 ? 1 : 0.001));
    const [bytes, file] = [contents[which], files[which]];
    if (bytes === undefined || file === undefined) throw new Error('no such file');
    const got = ahead.read(file, position, length);
    const expected = bytes.subarray(position, position + length);
    expect(Buffer.compare(got, expected), `seed ${seed}, ${n}: ${length} at ${position}`).toBe(0);
    position += length + Math.floor(random() * 100);
  }
});

test('reads thousands in order by a few reads, and no more than it needs of others', () => {
  const bytes = bytesOf(1_000_000, 3);
  const inOrder = fileOf(bytes);
  const ahead = new SegmentAhead();
  for (let at = 0; at + 60 <= 1_000_000; at += 100) ahead.read(inOrder.file, at, 60);
  expect(inOrder.count.reads).toBeLessThan(20);
  const backwards = fileOf(bytes);
  for (let at = 900_000; at > 0; at -= 90_000) ahead.read(backwards.file, at, 60);
  expect(backwards.count).toEqual({ reads: 10, bytes: 600 });
});
