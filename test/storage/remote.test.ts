/** The remote backend where there is no server, a wrong one, or one that goes away and comes back. */

import { createServer, type Server, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { afterEach, describe, expect, test } from 'vitest';
import { startServer } from '#sutra/server/server';
import { StorageClient } from '#sutra/storage/remote';
import { expectError } from '../contract/storage-contract.js';
import { ModelStorage } from '../support/model-storage.js';
import { serveStorage } from '../support/served.js';
import { deferred, stubStorage } from '../support/stub-storage.js';

const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function client(address: string, timeoutMs = 20_000): StorageClient {
  const created = new StorageClient(address, { timeoutMs });
  cleanups.push(() => created.close());
  return created;
}

/** Something that listens and does with a connection what it likes; resolves with its port. */
function listen(onConnection: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  cleanups.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
}

describe('addresses', () => {
  test('host and port, a bracketed IPv6 address, or a host for the usual port', () => {
    for (const [text, address] of [
      ['localhost:1234', 'localhost:1234'],
      ['10.0.0.7', '10.0.0.7:50051'],
      ['[::1]:7', '[::1]:7'],
      ['unix:50051', 'unix:50051'],
      ['dns', 'dns:50051'],
    ] as const) {
      expect(client(text).address).toBe(address);
    }
  });

  test('anything else is INVALID_ARGUMENT', async () => {
    for (const text of [
      '',
      ':50051',
      'host:',
      'host:0',
      'host:65536',
      'host:port',
      'a b:1',
      '::1',
      'unix:/tmp/socket',
      'http://host:1',
      'dns:///host:1',
    ]) {
      const made = Promise.resolve().then(() => client(text));
      const error = await expectError(made, 'INVALID_ARGUMENT');
      expect(error.message).toContain(JSON.stringify(text));
    }
    const negative = Promise.resolve().then(() => new StorageClient('a:1', { timeoutMs: -1 }));
    await expectError(negative, 'INVALID_ARGUMENT');
  });

  test('IPv6 works where the machine has it', async () => {
    const starting = startServer(new ModelStorage(), { host: '::1', port: 0 });
    const addresses = Object.values(networkInterfaces()).flatMap((some) => some ?? []);
    if (!addresses.some(({ address }) => address === '::1')) {
      await expectError(starting, 'INVALID_ARGUMENT');
      return;
    }
    const server = await starting;
    cleanups.push(() => server.drain(0));
    expect(server.address).toBe(`[::1]:${server.port}`);
    expect((await client(server.address).healthCheck()).healthy).toBe(true);
  });
});

describe('without a server', () => {
  test('a refused connection is UNREACHABLE and names the address', async () => {
    const port = await listen(() => undefined);
    await cleanups.pop()?.();
    const error = await expectError(client(`127.0.0.1:${port}`).stats(), 'UNREACHABLE');
    expect(error.message).toContain(`127.0.0.1:${port}`);
    expect(error.exitCode).toBe(3);
  });

  test('so is a name that does not resolve', async () => {
    await expectError(client('nosuch.invalid:1').stats(), 'UNREACHABLE');
  });

  test('and a server that is not ours', async () => {
    const http = await listen((socket) => {
      socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n');
    });
    await expectError(client(`127.0.0.1:${http}`, 2_000).stats(), 'UNREACHABLE');
    const rude = await listen((socket) => socket.destroy());
    await expectError(client(`127.0.0.1:${rude}`, 2_000).stats(), 'UNREACHABLE');
  });

  test('one that accepts and never answers is DEADLINE_EXCEEDED', async () => {
    const port = await listen(() => undefined);
    const error = await expectError(
      client(`127.0.0.1:${port}`).stats({ timeoutMs: 100 }),
      'DEADLINE_EXCEEDED',
    );
    expect(error.message).toBe(`no answer from 127.0.0.1:${port} within 100 ms`);
  });

  test('what is invalid is refused without asking anyone', async () => {
    const error = await expectError(client('nosuch.invalid:1').contains(''), 'INVALID_ARGUMENT');
    expect(error.violations[0]?.field).toBe('concept_id');
  });
});

describe('a server that goes', () => {
  test('in the middle of a call is UNREACHABLE or UNAVAILABLE, and is found again when it is back', async () => {
    const entered = deferred<null>();
    const storage = stubStorage({
      findPath: () => {
        entered.resolve(null);
        return new Promise(() => undefined);
      },
    });
    const first = await startServer(storage, { host: '127.0.0.1', port: 0 });
    const remote = client(`127.0.0.1:${first.port}`);
    const call = remote.findPath('a', 'b').catch((error: unknown) => error);
    await entered.promise;
    await first.drain(0);
    expect(await call).toMatchObject({ status: 'UNAVAILABLE', exitCode: 3 });
    const second = await startServer(new ModelStorage(), { host: '127.0.0.1', port: first.port });
    cleanups.push(() => second.drain(0));
    for (;;) {
      try {
        expect((await remote.healthCheck()).healthy).toBe(true);
        break;
      } catch (error) {
        expect(error).toMatchObject({ code: 'UNREACHABLE' });
      }
    }
  });
});

describe('a call', () => {
  test('under way when the client is closed still ends', async () => {
    const answer = deferred<null>();
    const entered = deferred<null>();
    const storage = stubStorage({
      contains: () => Promise.resolve(false),
      stats: async () => {
        entered.resolve(null);
        await answer.promise;
        return new ModelStorage().stats();
      },
    });
    const served = await serveStorage(storage);
    cleanups.push(() => served.close());
    const stats = served.client.stats();
    await entered.promise;
    const closing = served.client.close();
    await expectError(served.client.stats(), 'CLOSED');
    answer.resolve(null);
    expect((await stats).concepts).toBe(0);
    await closing;
  });

  test('may be given no deadline, or one of a year', async () => {
    const served = await serveStorage(new ModelStorage());
    cleanups.push(() => served.close());
    for (const timeoutMs of [Infinity, 365 * 86_400_000, 2 ** 31, 86_400_000]) {
      expect((await served.client.healthCheck({ timeoutMs })).healthy).toBe(true);
    }
  });

  test('with an answer larger than the client takes is TOO_LARGE', async () => {
    const server = await startServer(new ModelStorage(), { host: '127.0.0.1', port: 0 });
    cleanups.push(() => server.drain(0));
    const remote = new StorageClient(`127.0.0.1:${server.port}`, { maxResponseBytes: 1000 });
    cleanups.push(() => remote.close());
    await remote.learnConcept({ id: 'a', content: 'x'.repeat(2000) });
    await expectError(remote.queryConcept('a'), 'TOO_LARGE');
    expect(await remote.contains('a')).toBe(true);
  });

  test('with a large answer arrives whole', async () => {
    const served = await serveStorage(new ModelStorage());
    cleanups.push(() => served.close());
    const { client: remote } = served;
    const long = (i: number): string => `${i} ${'n'.repeat(490)}`;
    const ids = Array.from({ length: 12_000 }, (_, i) => long(i));
    await remote.learnBatch({ concepts: [{ id: 'hub', content: '' }] });
    for (let at = 0; at < ids.length; at += 6_000) {
      const part = ids.slice(at, at + 6_000);
      await remote.learnBatch({
        concepts: part.map((id) => ({ id, content: '' })),
        associations: part.map((target) => ({ source: 'hub', target })),
      });
    }
    // Some 12 MB: three times what a client takes by default.
    expect((await remote.getNeighbors('hub')).neighbors).toHaveLength(12_000);
  });
});
