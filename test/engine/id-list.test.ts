/** Ids of many slots, against one at a time. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { swapBytes } from '#sutra/engine/format/id';
import { ConcurrentStorage } from '#sutra/storage/embedded';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sutra-ids-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

const KINDS = [
  (i: number) => (0xfedcba98 - i).toString(16).padStart(32, '0'),
  (i: number) => (0x12345678 + i).toString(16).padStart(16, 'a'),
  (i: number) => `name ${i}`,
  (i: number) => `${'ü'.repeat(20)}${i}`,
  (i: number) => `${'f'.repeat(15)}0${'0'.repeat(8)}${i.toString(16).padStart(8, '0')}`,
];

test('neighbours have the ids they were learned with, whatever level they are in', async () => {
  const storage = await ConcurrentStorage.open(directory);
  const ids = Array.from({ length: 103 }, (_, i) => KINDS[i % KINDS.length]?.(i) ?? '');
  const learn = async (id: string): Promise<void> => {
    await storage.learnConcept({ id, content: id });
    await storage.learnAssociation({ source: 'hub', target: id, type: 1, confidence: 0.5 });
  };
  await storage.learnConcept({ id: 'hub', content: '' });
  for (const id of ids.slice(0, 60)) await learn(id);
  await storage.flush();
  for (const id of ids.slice(60)) await learn(id);
  const found = async (): Promise<string[]> =>
    (await storage.getNeighbors('hub')).neighbors.map(({ id }) => id).sort();
  expect(await found()).toEqual([...ids].sort());
  await storage.forgetConcept(ids[3] ?? '');
  await storage.forgetConcept(ids[70] ?? '');
  expect(await found()).toEqual(ids.filter((_, i) => i !== 3 && i !== 70).sort());
  await storage.close();
});

test('words are turned round, and back', () => {
  for (const word of [0, 1, 0x12345678, 0x80000000, 0xfffffffe]) {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(swapBytes(word));
    expect(bytes.readUInt32BE()).toBe(word);
    expect(swapBytes(swapBytes(word)) >>> 0).toBe(word);
  }
});
