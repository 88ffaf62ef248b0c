/** A scan of an embedded store: one state in pages while writes and checkpoints go on, in an order that a restore repeats. */

import { readdirSync, readlinkSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import type { ScanOptions, ScanPage, Storage } from '#sutra/storage/storage';
import { temporaryPath } from '../support/fixture.js';
import { checkDirectory } from '../support/whole-store.js';

let opened: ConcurrentStorage[] = [];

afterEach(async () => {
  for (const storage of opened) await storage.close();
  opened = [];
});

async function open(
  path = temporaryPath(),
  options: Parameters<typeof ConcurrentStorage.open>[1] = {},
): Promise<ConcurrentStorage> {
  const storage = await ConcurrentStorage.open(path, options);
  opened.push(storage);
  return storage;
}

async function pages(storage: Storage, options: ScanOptions = {}): Promise<ScanPage[]> {
  const all: ScanPage[] = [];
  for await (const page of storage.scan(options)) all.push(page);
  return all;
}

async function scanned(storage: Storage, options: ScanOptions = {}) {
  const all = await pages(storage, options);
  return {
    concepts: all.flatMap((page) => page.concepts),
    associations: all.flatMap((page) => page.associations),
  };
}

async function fill(storage: Storage, count = 30): Promise<void> {
  const concepts = Array.from({ length: count }, (_, i) => ({
    id: `c${i}`,
    content: `content ${i}`,
    ...(i % 3 === 0 ? { embedding: [i + 1, 1] } : {}),
  }));
  const associations = concepts.flatMap(({ id }, i) => [
    { source: id, target: `c${(i * 7) % count}`, type: i % 4 },
    { source: 'c0', target: id, type: 9, confidence: 0.5 },
  ]);
  await storage.learnBatch({ concepts, associations });
}

/** How many files of a store that were replaced are still open in this process. */
function replacedFiles(path: string): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith(path) && target.endsWith('(deleted)');
    } catch {
      // The descriptor that listed them is gone by now.
      return false;
    }
  }).length;
}

describe('a scan', () => {
  test('gives a store that is learned from it the same order, times and digest', async () => {
    const storage = await open();
    await fill(storage);
    await storage.forgetConcept('c5');
    await storage.learnConcept({ id: 'late', content: 'takes the place of c5' });
    const first = await scanned(storage);
    expect(first.concepts[5]?.id).toBe('late');
    const path = temporaryPath();
    const copy = await open(path);
    await copy.learnBatch(first);
    const [page] = await pages(copy);
    expect(await scanned(copy)).toEqual(first);
    // The digest knows of times too, and of all else that can be asked for.
    expect(page?.digest).toBe((await pages(storage))[0]?.digest);
    await copy.learnConcept({ id: 'restored', content: 'x', createdUs: 5, embedding: [1, 2] });
    const whole = await scanned(copy);
    await copy.close();
    await checkDirectory(path);
    const reopened = await open(path);
    expect(await scanned(reopened)).toEqual(whole);
  });

  test('of a reader with a replayed log gives what its writer gives', async () => {
    const path = temporaryPath();
    const storage = await open(path);
    await fill(storage);
    await storage.flush();
    await storage.forgetConcept('c7');
    await storage.forgetAssociation('c0', 'c9');
    await storage.learnConcept({ id: 'c8', content: 'changed' });
    await storage.learnBatch({
      concepts: [{ id: 'new', content: '' }],
      associations: [
        { source: 'new', target: 'c0' },
        { source: 'c0', target: 'c3', type: 9, confidence: 1 },
      ],
    });
    const reader = await open(path, { readOnly: true });
    const read = await pages(reader, { pageItems: 7 });
    const written = await pages(storage, { pageItems: 7 });
    expect(read.map((page) => ({ ...page, resume: '' }))).toEqual(
      written.map((page) => ({ ...page, resume: '' })),
    );
    // A reader's token is good with another reader of the same state, and with the writer.
    const token = read[2]?.resume ?? '';
    const rest = read.slice(3);
    expect(await pages(storage, { resume: token, pageItems: 7 })).toEqual(rest);
    const other = await open(path, { readOnly: true });
    expect(await pages(other, { resume: token, pageItems: 7 })).toEqual(rest);
  });

  test('stays at its sequence while checkpoints replace storage.dat, and lets go at its end', async () => {
    const path = temporaryPath();
    const storage = await open(path);
    await fill(storage);
    const whole = await pages(storage, { pageItems: 10 });
    const scan = storage.scan({ pageItems: 10 })[Symbol.asyncIterator]();
    const seen: ScanPage[] = [];
    for (let next = await scan.next(); next.done !== true; next = await scan.next()) {
      seen.push(next.value);
      if (seen.length > 4) continue;
      await storage.forgetConcept(`c${seen.length}`);
      await storage.learnConcept({ id: `x${seen.length}`, content: 'x' });
      await storage.flush();
      // storage.dat.prev keeps the name of the one before.
      if (seen.length === 4) expect(replacedFiles(path)).toBe(1);
    }
    expect(seen).toEqual(whole);
    expect(replacedFiles(path)).toBe(0);
  });

  test('that was broken off goes on where it stopped, also behind a checkpoint', async () => {
    const storage = await open();
    await fill(storage);
    const whole = await scanned(storage);
    const first: ScanPage[] = [];
    for await (const page of storage.scan({ pageItems: 13 })) {
      first.push(page);
      if (first.length === 2) break;
    }
    await storage.forgetConcept('c20');
    await storage.flush();
    const resume = first[1]?.resume ?? '';
    const rest = await pages(storage, { resume, pageItems: 5 });
    const all = [...first, ...rest];
    expect(all.flatMap((page) => page.concepts)).toEqual(whole.concepts);
    expect(all.flatMap((page) => page.associations)).toEqual(whole.associations);
  });

  test('is held for a few that were broken off, and then expires', async () => {
    const storage = await open();
    await fill(storage);
    const tokens: string[] = [];
    for (let i = 0; i < 7; i++) {
      await storage.learnConcept({ id: 'again', content: String(i) });
      for await (const { resume } of storage.scan({ pageItems: 1 })) {
        tokens.push(resume ?? '');
        break;
      }
    }
    await storage.learnConcept({ id: 'again', content: 'last' });
    await storage.flush();
    await expect(pages(storage, { resume: tokens[0] ?? '' })).rejects.toMatchObject({
      code: 'SCAN_EXPIRED',
      status: 'FAILED_PRECONDITION',
    });
    expect((await scanned(storage, { resume: tokens[6] ?? '' })).concepts).toHaveLength(30);
    const other = await open();
    await expect(pages(other, { resume: tokens[6] ?? '' })).rejects.toMatchObject({
      code: 'SCAN_EXPIRED',
    });
  });

  test('ends with CLOSED when the store is closed under it', async () => {
    const path = temporaryPath();
    const storage = await open(path);
    await fill(storage);
    const reader = await open(path, { readOnly: true });
    for (const one of [reader, storage]) {
      const scan = one.scan({ pageItems: 3 })[Symbol.asyncIterator]();
      await scan.next();
      await one.close();
      await expect(scan.next()).rejects.toMatchObject({ code: 'CLOSED' });
      await expect(pages(one)).rejects.toMatchObject({ code: 'CLOSED' });
    }
  });

  test('pages end at a megabyte', async () => {
    const storage = await open();
    const content = 'x'.repeat(300_000);
    for (let i = 0; i < 10; i++) await storage.learnConcept({ id: `big${i}`, content });
    const sizes = (await pages(storage)).map((page) => page.concepts.length);
    expect(sizes).toEqual([4, 4, 2]);
  });

  test('refuses tokens that are none, and kinds it does not know', async () => {
    const storage = await open();
    await fill(storage);
    for (const resume of ['', 'x', 'A'.repeat(80)]) {
      await expect(pages(storage, { resume })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    const [first] = await pages(storage, { pageItems: 3 });
    const token = first?.resume ?? '';
    for (let i = 0; i < token.length; i++) {
      const changed = token.slice(0, i) + (token[i] === 'A' ? 'B' : 'A') + token.slice(i + 1);
      await expect(pages(storage, { resume: changed })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
    }
    await expect(pages(storage, { kinds: 'edges' as 'all' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });
});
