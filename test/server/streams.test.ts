/** Streams over a real server: what a slow, idle, lost or rude client costs, and what a drain does to them. */

import { Client, credentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import type { ServerOptions } from '#sutra/server/server';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import type { IngestAck, IngestItem, ScanPage, Storage } from '#sutra/storage/storage';
import { METHODS } from '#sutra/wire/methods';
import { temporaryPath } from '../support/fixture.js';
import { serveStorage, type Served } from '../support/served.js';
import { stubStorage } from '../support/stub-storage.js';

let served: Served | null = null;

afterEach(async () => {
  await served?.close();
  served = null;
});

async function serve(storage: Storage, options: Partial<ServerOptions> = {}): Promise<Served> {
  served = await serveStorage(storage, options);
  return served;
}

async function waitFor(what: () => boolean): Promise<void> {
  for (let i = 0; i < 2_000 && !what(); i++) {
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
  }
  expect(what()).toBe(true);
}

/** A storage whose scan never ends, that counts pages made and scans left. */
function endless(bytes: number) {
  const counts = { made: 0, left: 0 };
  const content = 'x'.repeat(bytes);
  const page: ScanPage = {
    sequence: 1,
    digest: '0'.repeat(32),
    conceptCount: 1,
    associationCount: 0,
    concepts: [{ id: 'c', content, strength: 1, confidence: 1, createdUs: 1, updatedUs: 1 }],
    associations: [],
    resume: 'more',
  };
  const storage = stubStorage({
    async *scan() {
      try {
        for (;;) {
          counts.made++;
          yield page;
          await new Promise(setImmediate);
        }
      } finally {
        counts.left++;
      }
    },
  });
  return { storage, counts };
}

describe('an ingest over the wire', () => {
  function raw(port: number) {
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    const call = client.makeBidiStreamRequest(
      METHODS.ingest.path,
      (bytes: Buffer) => bytes,
      METHODS.ingest.decodeResponse,
    );
    const acks: IngestAck[] = [];
    call.on('data', (ack: IngestAck) => acks.push(ack));
    const ended = new Promise<number>((resolve) => {
      call.on('status', ({ code }: { code: number }) => resolve(code));
      call.on('error', () => undefined);
    });
    return { client, call, acks, ended };
  }
  const chunk = (...ids: string[]): Buffer =>
    METHODS.ingest.encodeRequest(ids.map((id) => ({ concept: { id, content: '' } })));

  test('with a chunk that is no chunk, or too many items, acknowledges those before and ends', async () => {
    const { server, client } = await serve(await ConcurrentStorage.open(temporaryPath()));
    const tooMany = chunk(...Array.from({ length: 16_385 }, (_, i) => `m${i}`));
    for (const bad of [Buffer.from([0x0a, 0xff, 0x01, 0x00]), tooMany]) {
      const stream = raw(server.port);
      stream.call.write(chunk('before', 'too'));
      await waitFor(() => stream.acks.length === 1);
      stream.call.write(bad);
      expect(await stream.ended).toBe(3);
      expect(stream.acks).toMatchObject([{ firstIndex: 0, received: 2, accepted: 2 }]);
      stream.client.close();
    }
    expect(await client.stats()).toMatchObject({ concepts: 2 });
  });

  test('whose client goes, or says nothing, ends; what was acknowledged stays', async () => {
    const storage = await ConcurrentStorage.open(temporaryPath());
    const { server, client } = await serve(storage, { streamIdleMs: 300 });
    const gone = raw(server.port);
    gone.call.write(chunk('a'));
    await waitFor(() => gone.acks.length === 1);
    gone.call.cancel();
    gone.client.close();
    const silent = raw(server.port);
    expect(await silent.ended).toBe(4);
    silent.client.close();
    expect(await client.contains('a')).toBe(true);
  });

  test('is read no faster than the storage takes chunks', async () => {
    let taken = 0;
    let go: () => void = () => undefined;
    const storage = stubStorage({
      async *ingest(items) {
        for await (const items_ of items) {
          taken++;
          await new Promise<void>((resolve) => {
            go = resolve;
          });
          yield {
            firstIndex: 0,
            received: Array.isArray(items_) ? items_.length : 1,
            accepted: 0,
            firstSequence: 0,
            lastSequence: 0,
            errors: [],
          };
        }
      },
    });
    const { server } = await serve(storage);
    const stream = raw(server.port);
    const large = METHODS.ingest.encodeRequest([
      { concept: { id: 'x', content: 'x'.repeat(1024 * 1024) } },
    ]);
    let sent = 0;
    for (let i = 0; i < 24; i++) stream.call.write(large, () => sent++);
    await waitFor(() => taken === 1);
    await new Promise((resolve) => {
      setTimeout(resolve, 300);
    });
    expect(sent).toBeLessThan(24);
    for (let i = 1; i <= 24; i++) {
      await waitFor(() => taken === i);
      go();
    }
    await waitFor(() => sent === 24);
    stream.call.cancel();
    stream.client.close();
  });

  test('ends in a drain at once: what was acknowledged is durable', async () => {
    const { server, client } = await serve(await ConcurrentStorage.open(temporaryPath()));
    let more: () => void = () => undefined;
    async function* items(): AsyncGenerator<IngestItem> {
      yield { concept: { id: 'a', content: '' } };
      await new Promise<void>((resolve) => {
        more = resolve;
      });
    }
    const ingest = client.ingest(items())[Symbol.asyncIterator]();
    expect((await ingest.next()).value).toMatchObject({ accepted: 1 });
    const rest = ingest.next();
    rest.catch(() => undefined);
    expect(await server.drain(5_000)).toEqual({ abandonedCalls: 0 });
    more();
    await expect(rest).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});

describe('a scan over the wire', () => {
  test('makes pages no faster than they are taken', async () => {
    const { storage, counts } = endless(512 * 1024);
    const { client } = await serve(storage);
    const scan = client.scan()[Symbol.asyncIterator]();
    await scan.next();
    // Time for a server that does not wait to make hundreds.
    await new Promise((resolve) => {
      setTimeout(resolve, 500);
    });
    expect(counts.made).toBeLessThan(16);
    for (let i = 0; i < 10; i++) await scan.next();
    expect(counts.made).toBeGreaterThan(10);
    await scan.return();
    await waitFor(() => counts.left === 1);
  });

  test('ends on the server when the client leaves, aborts, waits too long or closes', async () => {
    const { storage, counts } = endless(10);
    const { client } = await serve(storage);
    for await (const page of client.scan()) {
      expect(page.concepts).toHaveLength(1);
      break;
    }
    await waitFor(() => counts.left === 1);
    const controller = new AbortController();
    const aborted = client.scan({ signal: controller.signal })[Symbol.asyncIterator]();
    await aborted.next();
    controller.abort();
    await expect(aborted.next()).rejects.toMatchObject({ code: 'CANCELLED' });
    await waitFor(() => counts.left === 2);
    const held = client.scan()[Symbol.asyncIterator]();
    await held.next();
    await client.close();
    await waitFor(() => counts.left === 3);
    await expect(
      (async () => {
        for (let i = 0; i < 100; i++) await held.next();
      })(),
    ).rejects.toMatchObject({ code: 'CLOSED' });
  });

  test('that stalls on the server is DEADLINE_EXCEEDED by the client’s own idle time', async () => {
    let left = false;
    const storage = stubStorage({
      // eslint-disable-next-line require-yield
      async *scan(options = {}) {
        await new Promise<void>((resolve) => {
          options.signal?.addEventListener('abort', () => {
            resolve();
          });
        });
        left = true;
      },
    });
    const { client } = await serve(storage);
    const stalled = client.scan({ timeoutMs: 200 })[Symbol.asyncIterator]().next();
    await expect(stalled).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    await waitFor(() => left);
  });

  test('whose client takes nothing for the idle time is ended, and what it held let go of', async () => {
    const { storage, counts } = endless(256 * 1024);
    const { server } = await serve(storage, { streamIdleMs: 300 });
    const raw = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure());
    const call = raw.makeServerStreamRequest(
      METHODS.scan.path,
      METHODS.scan.encodeRequest,
      METHODS.scan.decodeResponse,
      { kinds: 'all', withEmbeddings: true, pageItems: 0, resume: '' },
    );
    call.on('error', () => undefined);
    // grpc-js reads sixteen messages ahead, and then waits.
    call.once('data', () => call.pause());
    await waitFor(() => counts.left === 1);
    call.cancel();
    raw.close();
  });

  test('that fails in the middle gives the pages before, then the error as the storage threw it', async () => {
    const { storage } = endless(10);
    const { client } = await serve(
      stubStorage({
        async *scan(options) {
          let n = 0;
          for await (const page of storage.scan(options)) {
            if (n++ === 3) {
              const inner = await ConcurrentStorage.open(temporaryPath());
              await inner.close();
              await inner.stats();
            }
            yield page;
          }
        },
      }),
    );
    let pages = 0;
    const reading = (async () => {
      for await (const page of client.scan()) pages += page.concepts.length;
    })();
    await expect(reading).rejects.toMatchObject({ code: 'CLOSED', status: 'FAILED_PRECONDITION' });
    expect(pages).toBe(3);
  });

  test('under way may end in a drain; one that does not is cut off, and new ones are refused', async () => {
    const { storage, counts } = endless(10);
    const { client, server } = await serve(storage);
    const scan = client.scan()[Symbol.asyncIterator]();
    await scan.next();
    const drained = server.drain(300);
    await expect(client.scan()[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: expect.stringMatching(/^(UNAVAILABLE|UNREACHABLE)$/) as string,
    });
    expect(await drained).toEqual({ abandonedCalls: 1 });
    await expect(
      (async () => {
        for (;;) await scan.next();
      })(),
    ).rejects.toMatchObject({
      code: expect.stringMatching(/^(UNAVAILABLE|UNREACHABLE)$/) as string,
    });
    await waitFor(() => counts.left === 1);
  });
});
