/** What the index's thread does with the messages it is sent, and in which order it answers, without a thread. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { NodeDisk } from '#sutra/engine/node-disk';
import type { FromIndexer, ToIndexer } from '#sutra/engine/vector/index-messages';
import { Indexer } from '#sutra/engine/vector/indexer';

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
      threads: 1,
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
  slots.forEach((slot, row) => (vectors[row * dimension + (slot % dimension)] = 1));
  return {
    kind: 'add',
    ticket: 1,
    slots: Uint32Array.from(slots),
    crcs: new Uint32Array(slots.length),
    vectors,
  };
}

function search(id: number, dimension: number, count = 1): ToIndexer {
  const query = new Float32Array(dimension);
  query[id % dimension] = 1;
  return { kind: 'search', id, query, count };
}

function answers(posted: readonly FromIndexer[]): [id: number, slots: number[]][][] {
  return posted.flatMap((message) =>
    message.kind === 'found'
      ? [message.answers.map(({ id, slots }): [number, number[]] => [id, [...slots]])]
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
