/**
 * Vectors from strangers, past every check a client of ours makes: what may not be asked or learned is refused with the field
 * named, and the store is as it was. The other side of it: packed floats arrive bit for bit, at any dimension.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Metadata, credentials, status, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startServer, type RunningServer } from '#sutra/server/server';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { StorageClient } from '#sutra/storage/remote';
import { METHODS, type Method } from '#sutra/wire/methods';
import type { SearchRequest } from '#sutra/wire/requests';
import { DETAILS_TRAILER, decodeDetails } from '#sutra/wire/status';

const directory = mkdtempSync(join(tmpdir(), 'sutra-vectors-'));
const DIMENSION = 3;
let storage: ConcurrentStorage;
let server: RunningServer;
let raw: Client;

beforeAll(async () => {
  storage = await ConcurrentStorage.open(join(directory, 'store'));
  await storage.learnConcept({ id: 'east', content: 'kept', embedding: [1, 0, 0] });
  server = await startServer(storage, { host: '127.0.0.1', port: 0 });
  raw = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure());
});

afterAll(async () => {
  raw.close();
  await server.drain(0);
  await storage.close();
  rmSync(directory, { recursive: true });
});

/** Sends bytes as they are; the fields that the refusal names, or the answer. */
function call<Request, Response>(
  method: Method<Request, Response>,
  bytes: Buffer,
): Promise<{ error: ServiceError | null; fields: string[]; answer: Response | null }> {
  return new Promise((resolve) => {
    raw.makeUnaryRequest(
      method.path,
      (message: Buffer) => message,
      method.decodeResponse,
      bytes,
      new Metadata(),
      { deadline: Date.now() + 20_000 },
      (error, answer) => {
        const details = error?.metadata.get(DETAILS_TRAILER)[0];
        const violations = Buffer.isBuffer(details) ? decodeDetails(details) : [];
        resolve({ error, fields: violations.map(({ field }) => field), answer: answer ?? null });
      },
    );
  });
}

const fine: SearchRequest = { query: [1, 0, 0], k: 0, efSearch: 0, withContent: false };

describe('a search that may not be', () => {
  test.each<[string, Partial<SearchRequest>, string]>([
    ['no query', { query: [] }, 'query_vector'],
    ['too short a query', { query: [1, 0] }, 'query_vector'],
    ['too long a query', { query: [1, 0, 0, 0] }, 'query_vector'],
    ['4,097 numbers', { query: new Float32Array(4097).fill(1) }, 'query_vector'],
    ['a million numbers', { query: new Float32Array(1e6).fill(1) }, 'query_vector'],
    ['NaN', { query: [1, NaN, 0] }, 'query_vector'],
    ['infinity', { query: [Infinity, 0, 0] }, 'query_vector'],
    ['minus infinity', { query: [0, 0, -Infinity] }, 'query_vector'],
    ['zero norm', { query: [0, -0, 0] }, 'query_vector'],
    ['k', { k: 10_001 }, 'k'],
    ['the greatest k', { k: 0xffff_ffff }, 'k'],
    ['a similarity above 1', { minSimilarity: 1.5 }, 'min_similarity'],
    ['a similarity below -1', { minSimilarity: -Infinity }, 'min_similarity'],
    ['a similarity of NaN', { minSimilarity: NaN }, 'min_similarity'],
    ['hops from nowhere', { within: { id: '', hops: 2 } }, 'within_id'],
    ['too many hops', { within: { id: 'east', hops: 65 } }, 'within_hops'],
    ['the most hops', { within: { id: 'east', hops: 0xffff_ffff } }, 'within_hops'],
  ])('%s', async (_name, wrong, field) => {
    const request = { ...fine, ...wrong };
    const { error, fields } = await call(
      METHODS.vectorSearch,
      METHODS.vectorSearch.encodeRequest(request),
    );
    expect(error?.code).toBe(status.INVALID_ARGUMENT);
    expect(fields).toEqual([field]);
  });

  test('everything at once is named at once', async () => {
    const request: SearchRequest = {
      query: [NaN],
      k: 10_001,
      efSearch: 0,
      minSimilarity: 2,
      within: { id: 'x'.repeat(513), hops: 99 },
      withContent: true,
    };
    const { fields } = await call(
      METHODS.vectorSearch,
      METHODS.vectorSearch.encodeRequest(request),
    );
    expect(fields).toEqual(['query_vector', 'k', 'min_similarity', 'within_id', 'within_hops']);
  });

  test('packed bytes that are no whole floats, and a length beyond the message', async () => {
    for (const bytes of ['0a0500000000ff', '0aff7f00000000']) {
      const { error, fields } = await call(METHODS.vectorSearch, Buffer.from(bytes, 'hex'));
      expect(error?.code).toBe(status.INVALID_ARGUMENT);
      expect(fields).toEqual(['query_vector']);
    }
  });

  test('ef_search may be any number: more than there are means all of them', async () => {
    const request = { ...fine, efSearch: 0xffff_ffff };
    const { answer } = await call(
      METHODS.vectorSearch,
      METHODS.vectorSearch.encodeRequest(request),
    );
    expect(answer).toEqual([{ id: 'east', similarity: 1 }]);
  });
});

describe('an embedding that may not be', () => {
  test.each<[string, readonly number[] | Float32Array]>([
    ['another length', [1, 2]],
    ['4,097 numbers', new Float32Array(4097).fill(1)],
    ['NaN', [1, NaN, 0]],
    ['infinity', [1, Infinity, 0]],
    ['zero norm', [0, 0, -0]],
  ])('%s', async (_name, embedding) => {
    const concept = { id: 'new', content: '', embedding };
    const one = await call(METHODS.learnConcept, METHODS.learnConcept.encodeRequest(concept));
    expect(one.error?.code).toBe(status.INVALID_ARGUMENT);
    expect(one.fields).toEqual(['embedding']);
    const batch = { concepts: [{ id: 'fine', content: '' }, concept] };
    const many = await call(METHODS.learnBatch, METHODS.learnBatch.encodeRequest(batch));
    expect(many.error?.code).toBe(status.INVALID_ARGUMENT);
    expect(many.fields).toEqual(['concepts[1].embedding']);
  });

  test('and nothing of all that was learned', async () => {
    expect(await storage.stats()).toMatchObject({ concepts: 1, vectors: 1, dimension: DIMENSION });
    expect(await storage.vectorSearch([1, 0, 0], { withContent: true })).toEqual([
      { id: 'east', similarity: 1, content: 'kept' },
    ]);
  });
});

test.each([1, 2, 3, 5, 255, 768, 4095, 4096])(
  '%i dimensions go through the wire bit for bit, packed or one by one',
  async (dimension) => {
    const store = await ConcurrentStorage.open(join(directory, `dimension-${dimension}`));
    const own = await startServer(store, { host: '127.0.0.1', port: 0 });
    const client = new StorageClient(`127.0.0.1:${own.port}`, { timeoutMs: 20_000 });
    try {
      const embedding = Float32Array.from({ length: dimension }, (_, i) =>
        i % 7 === 3 ? 1e-42 * i : Math.fround(Math.sin(i + 1) * 1e30),
      );
      await client.learnConcept({ id: 'packed', content: '', embedding });
      const plain = Array.from(embedding);
      await client.learnConcept({ id: 'plain', content: '', embedding: plain });
      // As proto2 writers and hand-made ones do: a tag before every number.
      const scattered = Buffer.alloc(dimension * 5);
      embedding.forEach((value, i) => {
        scattered.writeUInt8((3 << 3) | 5, i * 5);
        scattered.writeFloatLE(value, i * 5 + 1);
      });
      const bytes = Buffer.concat([
        Buffer.from('0a09', 'hex'),
        Buffer.from('scattered'),
        scattered,
      ]);
      const other = new Client(client.address, credentials.createInsecure());
      await new Promise<void>((resolve, reject) => {
        other.makeUnaryRequest(
          METHODS.learnConcept.path,
          (message: Buffer) => message,
          METHODS.learnConcept.decodeResponse,
          bytes,
          (error) => (error === null ? resolve() : reject(error)),
        );
      });
      other.close();
      for (const id of ['packed', 'plain', 'scattered']) {
        const answer = await client.queryConcept(id, { withEmbedding: true });
        expect(answer.embedding).toEqual(embedding);
      }
      const matches = await client.vectorSearch(embedding);
      expect(matches.map(({ similarity }) => similarity)).toEqual([1, 1, 1]);
      expect((await client.stats()).dimension).toBe(dimension);
    } finally {
      await client.close();
      await own.drain(0);
      await store.close();
    }
  },
);
