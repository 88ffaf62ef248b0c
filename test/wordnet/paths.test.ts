/**
 * The oracle for paths on real input: the store's shortest paths over WordNet against a plain breadth-first search over
 * the raw files, which shares no code with the converter, the store or its search.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readJsonl } from '#sutra/formats/jsonl';
import { importRecords } from '#sutra/storage/import-run';
import { openStorage } from '#sutra/storage/open';
import type { Storage } from '#sutra/storage/storage';
import { wordnetRecords } from '../../demo/wordnet.js';
import { temporaryPath } from '../support/fixture.js';
import { seededRandom, testSeed } from '../support/random.js';
import { adjacencyLists, breadthFirst, readRawWordnet, type RawWordnet } from './raw-wordnet.js';

const PAIRS = 1_000;
const MAX_DEPTH = 64;
const DEFAULT_DEPTH = 6;
const IMPORT_MS = 120_000;

let raw: RawWordnet;
let lists: readonly (readonly number[])[];
let storage: Storage;

/** The converter's records as the bytes of a file. */
async function* wordnetBytes(): AsyncGenerator<Uint8Array> {
  let text = '';
  for await (const record of wordnetRecords()) {
    text += `${JSON.stringify(record)}\n`;
    if (text.length < 1 << 18) continue;
    yield Buffer.from(text);
    text = '';
  }
  yield Buffer.from(text);
}

beforeAll(async () => {
  raw = readRawWordnet();
  lists = adjacencyLists(raw);
  storage = await openStorage({ mode: 'embedded', path: temporaryPath() }, { env: {} });
  const blocks = readJsonl(wordnetBytes());
  await importRecords(storage, [{ source: 'wordnet', blocks, learnsEndpoints: false }]);
}, IMPORT_MS);

afterAll(async () => {
  await storage.close();
});

test('everything went in', async () => {
  expect(await storage.stats()).toMatchObject({ concepts: 117_791, edges: 186_429 });
});

describe('shortest paths', () => {
  test(`have the length that breadth-first search finds, for ${PAIRS} random pairs`, async () => {
    const seed = testSeed();
    console.log(`WordNet paths: SUTRA_TEST_SEED=${seed}`);
    const random = seededRandom(seed);
    const pick = (): number => Math.floor(random() * raw.ids.length);
    const numbers = new Map(raw.ids.map((id, number) => [id, number]));
    const wrong: string[] = [];
    const lengths = new Map<number, number>();

    for (let i = 0; i < PAIRS; i++) {
      const start = pick();
      const end = pick();
      const startId = raw.ids[start] ?? '';
      const endId = raw.ids[end] ?? '';
      const hops = breadthFirst(lists, start, end);
      lengths.set(hops, (lengths.get(hops) ?? 0) + 1);

      const answer = await storage.findPath(startId, endId, { maxDepth: MAX_DEPTH });
      const found = answer.found ? answer.path.length - 1 : -1;
      if (found !== hops) wrong.push(`${startId} ${endId}: got ${found}, expected ${hops}`);
      // A path of the right length could still go through walls.
      if (answer.found && (answer.path[0] !== startId || answer.path.at(-1) !== endId)) {
        wrong.push(`${startId} ${endId}: got a path from ${answer.path[0]}`);
      }
      for (const [from, at] of answer.path.slice(0, -1).entries()) {
        const next = numbers.get(answer.path[from + 1] ?? '') ?? -1;
        if (lists[numbers.get(at) ?? -1]?.includes(next) === true) continue;
        wrong.push(`${startId} ${endId}: no pointer between step ${from} and the next`);
      }

      const usual = await storage.findPath(startId, endId);
      if (usual.found !== (hops >= 0 && hops <= DEFAULT_DEPTH)) {
        wrong.push(`${startId} ${endId}: ${hops} hops, found by default: ${usual.found}`);
      }
    }
    expect(wrong).toEqual([]);
    // The pairs were worth asking about: far apart, near, and not connected at all.
    expect(lengths.size).toBeGreaterThan(5);
  }, 180_000);

  test('of a concept to itself, and to one that is not there', async () => {
    expect(await storage.findPath('dog.n.01', 'dog.n.01')).toMatchObject({
      found: true,
      path: ['dog.n.01'],
    });
    expect(await storage.findPath('dog.n.01', 'dog.n.99')).toMatchObject({
      found: false,
      path: [],
    });
  });

  test('upwards along the hierarchy only', async () => {
    const up = { maxDepth: MAX_DEPTH, direction: 'out', types: [3] } as const;
    const answer = await storage.findPath('dog.n.01', 'entity.n.01', up);
    expect(answer.found).toBe(true);
    expect(answer.steps.every(({ type, direction }) => type === 3 && direction === 'out')).toBe(
      true,
    );
    expect((await storage.findPath('entity.n.01', 'dog.n.01', up)).found).toBe(false);
  });
});
