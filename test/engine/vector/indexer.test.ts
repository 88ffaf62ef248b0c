/** What the index's thread does with the messages it is sent, and in which order it answers, without a thread. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { NodeDisk } from '#sutra/engine/node-disk';
import type { FromIndexer, ToIndexer } from '#sutra/engine/vector/index-messages';
import { Indexer } from '#sutra/engine/vector/indexer';

import { seededRandom } from '../../support/random.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sutra-indexer-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function newIndexer(dimension: number): { indexer: Indexer; posted: FromIndexer[] } {
  const posted: FromIndexer[] = [];
  const indexer = new Indexer(
    {
      directory,
      uuid: new Uint8Array(16),
      dimension,
      options: { precision: 'f32', connectivity: 8, efConstruction: 32 },
      demanded: {},
      readOnly: false,
      threads: 2,
    },
    {
      disk: new NodeDisk(),
      nowMs: () => 0,
      turn,
      post: (message) => {
        posted.push(message);
      },
    },
  );
  indexer.open();
  return { indexer, posted };
}

function add(slots: number[], dimension: number): ToIndexer {
  const vectors = new Float32Array(slots.length * dimension);
  slots.forEach((slot, row) => {
    // Nearer to the next ones than to the others: a graph of vectors that are all equally far leads nowhere.
    vectors[row * dimension + (slot % dimension)] = 1;
    vectors[row * dimension + ((slot + 1) % dimension)] = 0.5;
  });
  return {
    kind: 'add',
    ticket: 1,
    slots: Uint32Array.from(slots),
    crcs: new Uint32Array(slots.length),
    vectors,
  };
}

const slots = Array.from({ length: 200 }, (_, i) => i);

function randomRow(random: () => number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: 16 }, () => random() - 0.5);
}

function addRandom(of: readonly number[], random: () => number) {
  const vectors = new Float32Array(of.length * 16);
  of.forEach((_, row) => {
    vectors.set(randomRow(random), row * 16);
  });
  return {
    kind: 'add' as const,
    ticket: 1,
    slots: Uint32Array.from(of),
    crcs: new Uint32Array(of.length),
    vectors,
  };
}

function distance(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array): number =>
    x.reduce((sum, v, i) => sum + v * (y[i] ?? 0), 0);
  return 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

function search(id: number, dimension: number, count = 1): ToIndexer {
  const query = new Float32Array(dimension);
  query[id % dimension] = 1;
  query[(id + 1) % dimension] = 0.5;
  return { kind: 'search', ids: [id], counts: [count], queries: query };
}

/** Of each message: the ids of its searches, each with the slots that were found. */
function answers(posted: readonly FromIndexer[]): [id: number, slots: number[]][][] {
  return posted.flatMap((message) =>
    message.kind === 'found'
      ? [
          message.ids.map((id, i): [number, number[]] => [
            id,
            [...message.slots.subarray(message.ends[i - 1] ?? 0, message.ends[i])],
          ]),
        ]
      : [],
  );
}

describe('the index’s thread', () => {
  test('answers searches that came together in few messages, each once, in order', async () => {
    const { indexer, posted } = newIndexer(16);
    await indexer.receive(
      add(
        Array.from({ length: 16 }, (_, i) => i),
        16,
      ),
    );
    const asked = Array.from({ length: 10 }, (_, id) => indexer.receive(search(id, 16)));
    await Promise.all(asked);
    await turn();
    const found = answers(posted);
    expect(found.flat()).toEqual(Array.from({ length: 10 }, (_, id) => [id, [id]]));
    expect(found.map(({ length }) => length)).toEqual([4, 4, 2]);
  });

  test('answers together as it does one by one, also for different numbers of results', async () => {
    const { indexer, posted } = newIndexer(16);
    const random = seededRandom(5);
    await indexer.receive(addRandom(slots, random));
    const asked = [12, 12, 12, 12, 12, 3, 3, 200, 200, 12, 1].map((count, id): ToIndexer => {
      return { kind: 'search', ids: [id], counts: [count], queries: randomRow(random) };
    });
    await Promise.all(asked.map((message) => indexer.receive(message)));
    await turn();
    const together = answers(posted);
    expect(together.map(({ length }) => length)).toEqual([4, 1, 2, 2, 1, 1]);
    posted.length = 0;
    for (const message of asked) {
      await indexer.receive(message);
      await turn();
    }
    expect(answers(posted).flat()).toEqual(together.flat());
  });

  test('answers together with what each vector is now, where the graph is out of date', async () => {
    const { indexer, posted } = newIndexer(16);
    const random = seededRandom(6);
    const old = addRandom(slots, random);
    const rows = old.vectors.slice();
    await indexer.receive(old);
    const replaced = addRandom(
      slots.filter((slot) => slot % 3 === 0),
      random,
    );
    replaced.slots.forEach((slot, row) => {
      rows.set(replaced.vectors.subarray(row * 16, row * 16 + 16), slot * 16);
    });
    const queries = Array.from({ length: 9 }, () => randomRow(random));
    const placing = indexer.receive(replaced);
    const asking = queries.map((query, id) =>
      indexer.receive({
        kind: 'search',
        ids: [id],
        counts: [slots.length],
        queries: query.slice(),
      }),
    );
    await Promise.all([placing, ...asking]);
    await turn();
    const found = answers(posted).flat();
    expect(found.map(([id]) => id)).toEqual([...queries.keys()]);
    for (const [id, nearest] of found) {
      const query = queries[id] ?? new Float32Array(16);
      const far = (slot: number): number =>
        distance(query, rows.subarray(slot * 16, slot * 16 + 16));
      expect(nearest, `search ${id}`).toEqual([...slots].sort((a, b) => far(a) - far(b)));
    }
  });

  test('sees in a search what was sent before it, though it was not placed yet', async () => {
    const { indexer, posted } = newIndexer(16);
    const placing = indexer.receive(add([3, 5], 16));
    await Promise.all([placing, indexer.receive(search(5, 16)), indexer.receive(search(3, 16))]);
    expect(answers(posted).flat()).toEqual([
      [5, [5]],
      [3, [3]],
    ]);
  });

  test('a search of before the store began anew with another dimension is answered with nothing', async () => {
    const { indexer, posted } = newIndexer(16);
    await indexer.receive(add([1], 16));
    const old = indexer.receive(search(1, 16));
    await indexer.receive({ kind: 'reset', dimension: 8 });
    await indexer.receive(add([2], 8));
    await Promise.all([old, indexer.receive(search(2, 8))]);
    expect(answers(posted).flat()).toEqual([
      [1, []],
      [2, [2]],
    ]);
  });
});
