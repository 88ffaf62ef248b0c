/** Streams over a real server: what a slow, idle, lost or rude client costs, and what a drain does to them. */

import { Client, credentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import type { ServerOptions } from '#sutra/server/server';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import type { ScanPage, Storage } from '#sutra/storage/storage';
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
