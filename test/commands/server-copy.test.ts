/** Data out of one server and into another, by the commands: the copy has the same digest, whatever is written meanwhile. */

import { createReadStream, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { StorageClient } from '#sutra/storage/remote';
import type { IngestItem } from '#sutra/storage/storage';
import {
  runSutra,
  startServe,
  temporaryDirectory,
  type RunResult,
  type Serving,
} from '../support/fixture.js';

const CONCEPTS = 3_000;

const directory = temporaryDirectory('server-copy');
let from: Serving;
let client: StorageClient;

interface Exported {
  readonly concepts: number;
  readonly associations: number;
  readonly sequence: number;
  readonly digest: string;
}

function json(result: RunResult): unknown {
  expect(result).toMatchObject({ code: 0 });
  return JSON.parse(result.stdout);
}

async function exported(file: string, server: Serving): Promise<Exported> {
  const args = ['export', file, '--server', server.address, '--json'];
  return json(await runSutra(args)) as Exported;
}

/** Imports the file into a new server, and exports that. */
async function copied(file: string): Promise<Exported> {
  const to = await startServe();
  try {
    json(await runSutra(['import', file, '--server', to.address, '--json']));
    return await exported(`${file}.again.jsonl`, to);
  } finally {
    expect(await to.stop()).toBe(0);
  }
}

/** Concept i, and an association from the one before it. */
function pair(i: number): IngestItem[] {
  const embedding = [Math.fround(1 / (i + 1)), i % 3, 1];
  const concept = { id: `n${i}`, content: `about ${i}, 宠物`, ...(i % 5 > 0 ? {} : { embedding }) };
  const association = { source: `n${Math.max(0, i - 1)}`, target: `n${i}`, type: i % 9 };
  return [{ concept }, { association: { ...association, confidence: (i % 7) / 7 } }];
}

async function learned(first: number, last: number): Promise<void> {
  const items = Array.from({ length: last - first }, (_, n) => pair(first + n)).flat();
  for await (const { errors } of client.ingest(items)) expect(errors).toEqual([]);
}

beforeAll(async () => {
  from = await startServe();
  client = new StorageClient(from.address);
  await learned(0, CONCEPTS);
});
afterAll(async () => {
  await client.close();
  expect(await from.stop()).toBe(0);
});

test('export from a server, import to another, export again: the same digest and bytes', async () => {
  const file = join(directory, 'quiet.jsonl.gz');
  const first = await exported(file, from);
  expect(first).toMatchObject({ concepts: CONCEPTS, associations: CONCEPTS });
  const again = await copied(file);
  expect({ ...again, sequence: 0 }).toMatchObject({
    concepts: CONCEPTS,
    associations: CONCEPTS,
    digest: first.digest,
  });
  expect(readFileSync(`${file}.again.jsonl`)).toEqual(gunzipSync(readFileSync(file)));
});

test('an export while writes go on is of one sequence, which the writes before it make', async () => {
  const file = join(directory, 'busy.jsonl');
  const stop = new AbortController();
  let next = CONCEPTS;
  const writing = (async () => {
    while (!stop.signal.aborted) {
      await learned(next, next + 20);
      next += 20;
    }
  })();
  const before = await client.stats();
  const { concepts, associations, sequence, digest } = await exported(file, from);
  stop.abort();
  await writing;
  const after = await client.stats();
  // Writes went on before it, and after the state that it is of.
  expect(sequence).toBeGreaterThanOrEqual(before.sequence);
  expect(after.sequence).toBeGreaterThan(sequence);
  // Every item took one sequence, so the state says how much of them it holds: a beginning, to the last item.
  expect(concepts + associations).toBe(sequence);
  expect(concepts - associations).toBe(sequence % 2);
  let lines = 0;
  for await (const line of createInterface({ input: createReadStream(file) })) {
    const { kind, id, source, target } = JSON.parse(line) as Record<string, string>;
    if (kind === 'concept') expect(id).toBe(`n${lines}`);
    else {
      const i = lines - concepts;
      const [, expected] = pair(i);
      expect(expected).toMatchObject({ association: { source, target } });
    }
    lines++;
  }
  expect(lines).toBe(sequence);
  expect(await copied(file)).toMatchObject({ concepts, associations, digest });
});
