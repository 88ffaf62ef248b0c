/**
 * Random stores, exported and imported again: the copy is the store, and its export the same bytes, in every format that
 * holds everything. Ids and contents are of all of Unicode; numbers are any float32 that is allowed.
 */

import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import type { ImportFormat } from '#sutra/formats/format';
import { openSource } from '#sutra/formats/open-source';
import { writersOf } from '#sutra/formats/open-writer';
import { LeftOut, type RecordSource } from '#sutra/formats/record';
import { TypeNames } from '#sutra/formats/type-names';
import { unpacked } from '#sutra/formats/unpack';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { importRecords } from '#sutra/storage/import-run';
import { chunksOf } from '../support/format-input.js';
import { temporaryPath } from '../support/fixture.js';
import { seededRandom, testSeed } from '../support/random.js';

const STORES = Number(process.env['SUTRA_ROUND_TRIPS'] ?? 4);

type Random = () => number;

const bits = new DataView(new ArrayBuffer(4));

function anyFloat32(random: Random, most: number): number {
  for (;;) {
    bits.setUint32(0, random() * 2 ** 32);
    const value = Math.abs(bits.getFloat32(0));
    if (value <= most) return value;
  }
}

function anyText(random: Random, most: number): string {
  const PIECES = [
    '"',
    "'",
    '\\',
    '\n',
    '\r',
    '\r\n',
    '\t',
    ',',
    ';',
    '<a&b>',
    ']]>',
    '&#10;',
    '\u0000',
    '\u0007',
    '\u001f',
    '\u007f',
    '\u0085',
    '\u2028',
    '\ufeff',
    '\ufffe',
    '\uffff',
    ' ',
    '  ',
    'null',
    '{}',
    '_:b',
    '#',
  ];
  let text = '';
  for (let pieces = Math.floor(random() * most); pieces > 0; pieces--) {
    if (random() < 0.4) text += PIECES[Math.floor(random() * PIECES.length)] ?? '';
    else {
      let code = Math.floor(random() ** 3 * 0x110000);
      if (code >= 0xd800 && code <= 0xdfff) code = 0x61;
      text += String.fromCodePoint(code);
    }
  }
  return text;
}

function anyId(random: Random, number: number): string {
  if (random() < 0.2)
    return Math.floor(random() * 2 ** 52)
      .toString(16)
      .padStart(16, '0');
  if (random() < 0.2)
    return Math.floor(random() * 2 ** 52)
      .toString(16)
      .padStart(32, 'a');
  return anyText(random, 12) + String(number);
}

async function randomStore(path: string, random: Random): Promise<ConcurrentStorage> {
  const storage = await ConcurrentStorage.open(path);
  const ids = Array.from({ length: 60 }, (_, number) => anyId(random, number));
  for (const id of ids) {
    await storage.learnConcept({
      id,
      content: random() < 0.1 ? id : anyText(random, 40),
      ...(random() < 0.5 ? { strength: random() < 0.2 ? -0 : anyFloat32(random, 3e38) } : {}),
      ...(random() < 0.5 ? { confidence: anyFloat32(random, 1) } : {}),
      ...(random() < 0.3
        ? { embedding: [-0, 1e-40, anyFloat32(random, 1e30), -anyFloat32(random, 1)] }
        : {}),
    });
  }
  const pick = (): string => ids[Math.floor(random() * ids.length)] ?? '';
  for (let n = 0; n < 150; n++) {
    await storage.learnAssociation({
      source: pick(),
      target: pick(),
      type: random() < 0.7 ? Math.floor(random() * 6) : Math.floor(random() * 65_536),
      confidence: random() < 0.3 ? 1 : anyFloat32(random, 1),
    });
  }
  for (let n = 0; n < 5; n++) await storage.forgetConcept(pick());
  // A free place is taken again, out of the order of the ids.
  await storage.learnConcept({ id: pick(), content: 'again' });
  return storage;
}

interface Exported {
  readonly digest: string;
  readonly files: readonly string[];
}

async function exported(
  storage: ConcurrentStorage,
  format: 'jsonl' | 'csv' | 'tsv' | 'graphml',
): Promise<Exported> {
  const writers = writersOf(format, new TypeNames());
  const texts = writers.map(({ writer }) => [writer.head]);
  let digest = '';
  for await (const page of storage.scan({ pageItems: 7 })) {
    ({ digest } = page);
    for (const [i, { writer }] of writers.entries()) {
      texts[i]?.push(...page.concepts.map((concept) => writer.concept(concept)));
      texts[i]?.push(...page.associations.map((association) => writer.association(association)));
    }
  }
  const files = texts.map((text, i) => text.join('') + (writers[i]?.writer.tail ?? ''));
  return { digest, files };
}

async function imported(
  format: ImportFormat,
  files: readonly string[],
  random: Random,
): Promise<ConcurrentStorage> {
  const storage = await ConcurrentStorage.open(temporaryPath());
  const sources: RecordSource[] = [];
  for (const [i, text] of files.entries()) {
    const bytes = random() < 0.5 ? gzipSync(text) : Buffer.from(text);
    const chunks = unpacked(chunksOf(bytes, 1 + Math.floor(random() * 5000)));
    const settings = { source: `${format} ${i}`, types: new TypeNames(), leftOut: new LeftOut() };
    sources.push(await openSource(format, chunks, settings));
  }
  await importRecords(storage, sources, { chunkItems: 1 + Math.floor(random() * 50) });
  return storage;
}

const seed = testSeed();

test.each(Array.from({ length: STORES }, (_, n) => [n, seed + n] as const))(
  'store %i, SUTRA_TEST_SEED=%i',
  async (_, storeSeed) => {
    const random = seededRandom(storeSeed);
    const storage = await randomStore(temporaryPath(), random);
    const lines = await exported(storage, 'jsonl');
    for (const format of ['jsonl', 'csv', 'tsv', 'graphml'] as const) {
      const { digest, files } = await exported(storage, format);
      expect(digest).toBe(lines.digest);
      const copy = await imported(format, files, random);
      const again = await exported(copy, format);
      expect(again.files).toEqual(files);
      expect((await exported(copy, 'jsonl')).files).toEqual(lines.files);
      expect(again.digest).toBe(digest);
      await copy.close();
    }
    await storage.close();
  },
);
