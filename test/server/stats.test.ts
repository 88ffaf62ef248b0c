/** GetStats behind a real server: what the engine counts, what the server counts of its calls, what the process uses. */

import { status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { latencyCount } from '#sutra/latency';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import type { CallStats, ServerStats, Storage } from '#sutra/storage/storage';
import { METHODS } from '#sutra/wire/methods';
import { expectError } from '../contract/storage-contract.js';
import { temporaryPath } from '../support/fixture.js';
import { serveStorage } from '../support/served.js';
import { deferred, stubStorage } from '../support/stub-storage.js';

function call(server: ServerStats | undefined, method: string): CallStats {
  const found = server?.calls.find((one) => one.method === method);
  if (found === undefined) throw new Error(`no ${method} among the calls`);
  return found;
}

async function until(done: () => Promise<boolean>): Promise<void> {
  while (!(await done())) await new Promise((resolve) => setTimeout(resolve, 20));
}

test('every method is there from the start, and calls are counted by method and code', async () => {
  const { client, close } = await serveStorage(await ConcurrentStorage.open(temporaryPath()));
  try {
    const first = (await client.stats()).server;
    expect(first?.calls.map(({ method }) => method).sort()).toEqual(
      Object.values(METHODS)
        .map(({ name }) => name)
        .sort(),
    );
    expect(call(first, 'LearnConcept')).toMatchObject({ started: 0, inFlight: 0, handled: [] });
    await client.learnConcept({ id: 'a', content: 'a' });
    await client.learnConcept({ id: 'b', content: 'b' });
    await expectError(client.learnAssociation({ source: 'a', target: 'x' }), 'UNKNOWN_CONCEPT');
    const { server } = await client.stats();
    const learned = call(server, 'LearnConcept');
    expect(learned).toMatchObject({ started: 2, inFlight: 0, handled: [{ code: 0, count: 2 }] });
    expect(latencyCount(learned.latency)).toBe(2);
    expect(learned.latency.sumUs).toBeGreaterThan(0);
    expect(call(server, 'LearnAssociation').handled).toEqual([
      { code: status.NOT_FOUND, count: 1 },
    ]);
    // The one that asks is under way as it is answered.
    expect(call(server, 'GetStats')).toMatchObject({ started: 2, inFlight: 1 });
  } finally {
    await close();
  }
});

test('a call under way is in flight until it is answered', async () => {
  const held = deferred<undefined>();
  const storage: Storage = stubStorage({ flush: () => held.promise });
  const { client, close } = await serveStorage(storage);
  try {
    const flushed = client.flush();
    await until(async () => call((await client.stats()).server, 'Flush').inFlight === 1);
    held.resolve(undefined);
    await flushed;
    expect(call((await client.stats()).server, 'Flush')).toMatchObject({
      started: 1,
      inFlight: 0,
      handled: [{ code: 0, count: 1 }],
    });
  } finally {
    await close();
  }
});

test('the process and its connections', async () => {
  const directory = temporaryPath();
  const { client, close } = await serveStorage(await ConcurrentStorage.open(directory), {
    directory,
  });
  try {
    await client.learnConcept({ id: 'a', content: 'x'.repeat(100_000) });
    const before = (await client.stats()).server;
    await until(async () => {
      const loops = (await client.stats()).server?.loopDelay;
      return loops !== undefined && latencyCount(loops) > 0;
    });
    const { server } = await client.stats();
    expect(server).toMatchObject({
      nodeVersion: process.version,
      pid: process.pid,
      draining: false,
      connections: 1,
      connectionsAccepted: 1,
      connectionsRefused: 0,
      callsWaiting: 0,
    });
    expect(server?.networkReceivedBytes).toBeGreaterThan(100_000);
    expect(server?.networkSentBytes).toBeGreaterThan(before?.networkSentBytes ?? Infinity);
    for (const name of [
      'startUs',
      'cpuUserUs',
      'residentBytes',
      'heapUsedBytes',
      'heapTotalBytes',
      'externalBytes',
      'loopActiveUs',
      'diskFreeBytes',
      'diskTotalBytes',
    ] as const) {
      expect(server?.[name], name).toBeGreaterThan(0);
    }
    expect(server?.cpuUserUs).toBeGreaterThanOrEqual(before?.cpuUserUs ?? Infinity);
  } finally {
    await close();
  }
});

test('a call that is refused before a handler sees it is counted, without a latency', async () => {
  const { client, server, close } = await serveStorage(
    await ConcurrentStorage.open(temporaryPath()),
    { tokens: { full: ['a full token of some length'], readOnly: [] } },
  );
  try {
    await expectError(client.queryConcept('a'), 'UNAUTHENTICATED');
    const refused = call((await server.stats()).server, 'QueryConcept');
    expect(refused).toMatchObject({
      started: 1,
      inFlight: 0,
      handled: [{ code: status.UNAUTHENTICATED, count: 1 }],
    });
    expect(latencyCount(refused.latency)).toBe(0);
  } finally {
    await close();
  }
});
