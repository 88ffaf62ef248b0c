/** The server from outside: errors and their trailers, deadlines, drain, limits, health, reflection, addresses. */

import { connect, createServer, type Socket } from 'node:net';
import {
  Client,
  Metadata,
  credentials,
  loadPackageDefinition,
  makeClientConstructor,
  status,
  type ServiceDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { service as healthService } from 'grpc-health-check';
import protobuf from 'protobufjs';
import { afterEach, describe, expect, test } from 'vitest';
import { SutraError } from '#sutra/errors';
import { startServer, type RunningServer, type ServerOptions } from '#sutra/server/server';
import { StorageClient } from '#sutra/storage/remote';
import type { CallOptions, Storage } from '#sutra/storage/storage';
import { expectError } from '../contract/storage-contract.js';
import { ModelStorage } from '../support/model-storage.js';
import { deferred, stubStorage } from '../support/stub-storage.js';

const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serve(
  storage: Storage = new ModelStorage(),
  options: Partial<ServerOptions> = {},
): Promise<RunningServer> {
  const server = await startServer(storage, { host: '127.0.0.1', port: 0, ...options });
  cleanups.push(() => server.drain(0));
  return server;
}

function clientOf(server: RunningServer, timeoutMs = 20_000): StorageClient {
  const client = new StorageClient(`127.0.0.1:${server.port}`, { timeoutMs });
  cleanups.push(() => client.close());
  return client;
}

/** A grpc-js client without any of our code. */
function rawClient(server: RunningServer): Client {
  const client = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
  cleanups.push(async () => client.close());
  return client;
}

interface RawAnswer {
  readonly error: ServiceError | null;
  readonly bytes: Buffer | undefined;
}

function rawCall(
  client: Client,
  method: string,
  message: Buffer,
  deadline = Date.now() + 20_000,
): Promise<RawAnswer> {
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      `/sutra.storage.StorageService/${method}`,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      message,
      new Metadata(),
      { deadline },
      (error, bytes) => resolve({ error, bytes }),
    );
  });
}

describe('errors', () => {
  test('carry status, code, hint and BadRequest details', async () => {
    const client = rawClient(await serve());
    const { error } = await rawCall(client, 'LearnConcept', Buffer.alloc(0));
    expect(error?.code).toBe(status.INVALID_ARGUMENT);
    expect(error?.details).toBe('concept_id: got an empty id, expected 1 to 512 bytes of UTF-8');
    expect(error?.metadata.get('sutra-code')).toEqual(['INVALID_ARGUMENT']);
    expect(String(error?.metadata.get('sutra-hint-bin')[0])).toContain('nothing was changed');
    const [bytes] = error?.metadata.get('grpc-status-details-bin') ?? [];
    const root = new protobuf.Root();
    root.resolvePath = (_origin, target) =>
      target.startsWith('google/protobuf/') ? null : `proto/${target}`;
    root.loadSync(['google/rpc/status.proto', 'google/rpc/error_details.proto'], {
      keepCase: true,
    });
    const decoded = root
      .lookupType('google.rpc.Status')
      .decode(bytes as Buffer)
      .toJSON();
    // protobufjs unpacks the Any by its type.
    expect(decoded).toEqual({
      code: 3,
      message: error?.details,
      details: [
        {
          '@type': 'type.googleapis.com/google.rpc.BadRequest',
          field_violations: [
            {
              field: 'concept_id',
              description: 'got an empty id, expected 1 to 512 bytes of UTF-8',
            },
          ],
        },
      ],
    });
  });

  test('come back through the remote backend as they were thrown', async () => {
    const thrown = new SutraError('DISK_FULL', 'disk full: 100 % of “/data” 🐈\nused', {
      hint: 'Räum auf.',
      violations: [{ field: 'x', description: 'ünïcode\0' }],
    });
    const storage = stubStorage({ learnConcept: () => Promise.reject(thrown) });
    const client = clientOf(await serve(storage));
    const error = await expectError(client.learnConcept({ id: 'a', content: '' }), 'DISK_FULL');
    expect(error.message).toBe(thrown.message);
    expect(error.hint).toBe(thrown.hint);
    expect(error.violations).toEqual(thrown.violations);
  });

  test('of any length still arrive', async () => {
    const violations = Array.from({ length: 5000 }, (_, i) => ({
      field: `concepts[${i}].concept_id`,
      description: '🐈'.repeat(500),
    }));
    const thrown = new SutraError('INVALID_ARGUMENT', '日'.repeat(50_000), { violations });
    const storage = stubStorage({ findPath: () => Promise.reject(thrown) });
    const client = clientOf(await serve(storage));
    const error = await expectError(client.findPath('a', 'b'), 'INVALID_ARGUMENT');
    expect(error.message).toMatch(/^日+…$/u);
    expect(error.violations.length).toBeGreaterThan(0);
    expect(error.violations[0]?.field).toBe('concepts[0].concept_id');
  });

  test('a lone surrogate in a message does not cost the answer', async () => {
    const thrown = new SutraError('UNKNOWN_CONCEPT', 'unknown: \uD800');
    const storage = stubStorage({ findPath: () => Promise.reject(thrown) });
    const error = await expectError(
      clientOf(await serve(storage)).findPath('a', 'b'),
      'UNKNOWN_CONCEPT',
    );
    expect(error.message).toBe('unknown: \uFFFD');
  });

  test('a bug is INTERNAL without a word of it, and is logged whole', async () => {
    const logged: unknown[] = [];
    const bug = new TypeError('secret /etc/path');
    const storage = stubStorage({
      stats: () => {
        throw bug;
      },
      flush: () => Promise.reject(bug),
    });
    const logger = {
      info: () => undefined,
      warn: () => undefined,
      error: (message: string, cause: unknown) => logged.push(message, cause),
    };
    const client = clientOf(await serve(storage, { logger }));
    for (const call of [client.stats(), client.flush()]) {
      const error = await expectError(call, 'INTERNAL');
      expect(error.message).not.toContain('secret');
    }
    expect(logged).toEqual(['GetStats failed unexpectedly', bug, 'Flush failed unexpectedly', bug]);
  });

  test('an unknown method is UNIMPLEMENTED, whatever its name', async () => {
    const client = rawClient(await serve());
    expect((await rawCall(client, 'Nothing', Buffer.alloc(0))).error?.code).toBe(
      status.UNIMPLEMENTED,
    );
  });
});

describe('bytes that are no message', () => {
  test('are INVALID_ARGUMENT naming the field, for every method', async () => {
    const server = await serve();
    const client = rawClient(server);
    const invalid = Buffer.from([0x0a, 0x02, 0xff, 0xfe]);
    for (const method of [
      'LearnConcept',
      'QueryConcept',
      'LearnAssociation',
      'GetNeighbors',
      'FindPath',
      'ForgetConcept',
      'ForgetAssociation',
    ]) {
      const { error } = await rawCall(client, method, invalid);
      expect(error?.code, method).toBe(status.INVALID_ARGUMENT);
      expect(error?.details).toMatch(/^(concept|source|start)_id: got bytes that are not UTF-8/);
      expect(error?.metadata.get('grpc-status-details-bin')).toHaveLength(1);
    }
    const garbage = Buffer.from('ffffffffffffffffffffffff', 'hex');
    for (const method of ['VectorSearch', 'GetStats', 'Flush', 'HealthCheck', 'LearnBatch']) {
      const { error } = await rawCall(client, method, garbage);
      expect(error?.code, method).toBe(status.INVALID_ARGUMENT);
    }
    expect((await clientOf(server).stats()).sequence).toBe(0);
  });
});

describe('limits', () => {
  test('a message of 16 MiB passes, one more byte is RESOURCE_EXHAUSTED', async () => {
    const server = await serve();
    const client = rawClient(server);
    const limit = 16 * 1024 * 1024;
    // An unknown field that fills the message: tag, a length of 4 bytes, and zeros.
    const message = (length: number): Buffer => {
      const bytes = Buffer.alloc(length);
      const payload = length - 6;
      bytes.set([0x92, 0x06], 0);
      for (let i = 0; i < 4; i++) bytes[2 + i] = ((payload >>> (7 * i)) & 127) | (i < 3 ? 128 : 0);
      return bytes;
    };
    expect((await rawCall(client, 'HealthCheck', message(limit))).error).toBeNull();
    const { error } = await rawCall(client, 'HealthCheck', message(limit + 1));
    expect(error?.code).toBe(status.RESOURCE_EXHAUSTED);
    expect((await clientOf(server).healthCheck()).healthy).toBe(true);
  });

  test('streams beyond the limit wait for their turn instead of reaching the storage', async () => {
    const gate = deferred<null>();
    let inside = 0;
    let most = 0;
    const storage = stubStorage({
      contains: () => Promise.resolve(true),
      findPath: async () => {
        most = Math.max(most, ++inside);
        await gate.promise;
        inside--;
        return { found: false, path: [], steps: [], confidence: 0 };
      },
    });
    const client = clientOf(await serve(storage, { maxConcurrentStreams: 5 }));
    // The limit holds from the server's SETTINGS on, so the connection must stand first.
    await client.healthCheck();
    const calls = Array.from({ length: 20 }, () => client.findPath('a', 'b'));
    while (inside < 5) await new Promise((resolve) => setImmediate(resolve));
    gate.resolve(null);
    expect(await Promise.all(calls)).toHaveLength(20);
    expect(most).toBeLessThanOrEqual(5);
  });

  test('connections beyond the cap are closed at once; the others are served', async () => {
    const server = await serve(new ModelStorage(), { maxConnections: 2 });
    const client = clientOf(server);
    await client.healthCheck();
    const second = await open(server.port);
    const third = await open(server.port);
    await closed(third);
    expect((await client.healthCheck()).healthy).toBe(true);
    second.destroy();
  });

  test('a connection that never speaks is dropped', async () => {
    const server = await serve(new ModelStorage(), {
      keepaliveTimeMs: 50,
      keepaliveTimeoutMs: 50,
    });
    await closed(await open(server.port));
  });
});

describe('deadlines and cancellation', () => {
  /** A findPath that never ends by itself, and shows what it was given. */
  function waiting(): { storage: Storage; given: Promise<CallOptions>; ended: Promise<unknown> } {
    const given = deferred<CallOptions>();
    const ended = deferred<unknown>();
    const storage = stubStorage({
      findPath: (_start, _end, options = {}) =>
        new Promise((_resolve, reject) => {
          given.resolve(options);
          options.signal?.addEventListener('abort', () => {
            const reason: unknown = options.signal?.reason;
            ended.resolve(reason);
            reject(reason instanceof Error ? reason : new Error('no reason'));
          });
        }),
    });
    return { storage, given: given.promise, ended: ended.promise };
  }

  test('the client’s deadline reaches the storage and ends its work', async () => {
    const { storage, given, ended } = waiting();
    const client = clientOf(await serve(storage));
    const call = client.findPath('a', 'b', { timeoutMs: 300 });
    const { timeoutMs } = await given;
    expect(timeoutMs).toBeGreaterThan(0);
    expect(timeoutMs).toBeLessThanOrEqual(300);
    const error = await expectError(call, 'DEADLINE_EXCEEDED');
    expect(error.status).toBe('DEADLINE_EXCEEDED');
    // Whichever came first over there: its own timer, or the client's hanging up.
    expect(['DEADLINE_EXCEEDED', 'CANCELLED']).toContain(codeOf(await ended));
  });

  test('an aborted call is cancelled at the server, too', async () => {
    const { storage, given, ended } = waiting();
    const client = clientOf(await serve(storage));
    const controller = new AbortController();
    const call = client.findPath('a', 'b', { signal: controller.signal });
    await given;
    controller.abort();
    await expectError(call, 'CANCELLED');
    expect(await ended).toMatchObject({ code: 'CANCELLED' });
  });

  test('a lost connection ends the work that was under way for it', async () => {
    const { storage, given, ended } = waiting();
    const server = await serve(storage);
    const client = rawClient(server);
    void rawCall(client, 'FindPath', Buffer.from([0x0a, 1, 0x61, 0x12, 1, 0x62]));
    await given;
    client.close();
    await server.drain(0);
    expect(await ended).toMatchObject({ code: 'CANCELLED' });
  });

  test('flush has no deadline of its own', async () => {
    const flushing = deferred<undefined>();
    const storage = stubStorage({ flush: () => flushing.promise });
    const client = clientOf(await serve(storage), 50);
    const flush = client.flush();
    await expectError(client.flush({ timeoutMs: 100 }), 'DEADLINE_EXCEEDED');
    flushing.resolve(undefined);
    await flush;
  });
});

describe('drain', () => {
  test('tells health first, refuses new calls, and lets those under way finish', async () => {
    const answer = deferred<null>();
    const entered = deferred<null>();
    const storage = stubStorage({
      findPath: async () => {
        entered.resolve(null);
        await answer.promise;
        return { found: true, path: ['x'], steps: [], confidence: 1 };
      },
    });
    const server = await startServer(storage, { host: '127.0.0.1', port: 0 });
    const client = clientOf(server);
    const health = watchHealth(server, '');
    expect(await health.next()).toBe('SERVING');
    const call = client.findPath('a', 'b');
    await entered.promise;
    const drained = server.drain(20_000);
    expect(await health.next()).toBe('NOT_SERVING');
    const refused = await expectError(client.healthCheck(), 'UNAVAILABLE');
    expect(refused.exitCode).toBe(3);
    answer.resolve(null);
    expect((await call).path).toEqual(['x']);
    expect(await drained).toEqual({ abandonedCalls: 0 });
    expect(await health.next()).toBe('ended');
    await expectError(client.healthCheck(), 'UNREACHABLE');
    // Storage is the owner's to close.
    expect((await storage.stats()).concepts).toBe(0);
  });

  test('cuts off what does not finish in time, and says how much', async () => {
    const entered = deferred<null>();
    const storage = stubStorage({
      findPath: () => {
        entered.resolve(null);
        return new Promise(() => undefined);
      },
    });
    const server = await startServer(storage, { host: '127.0.0.1', port: 0 });
    const client = clientOf(server);
    const call = client.findPath('a', 'b').catch((error: unknown) => error);
    await entered.promise;
    expect(await server.drain(50)).toEqual({ abandonedCalls: 1 });
    expect(await call).toMatchObject({ status: 'UNAVAILABLE' });
  });

  test('is not held up by idle, half-open or watching connections', async () => {
    const server = await startServer(new ModelStorage(), { host: '127.0.0.1', port: 0 });
    const client = clientOf(server);
    await client.healthCheck();
    const silent = await open(server.port);
    const health = watchHealth(server, 'sutra.storage.StorageService');
    expect(await health.next()).toBe('SERVING');
    const unknown = watchHealth(server, 'other');
    expect(await unknown.next()).toBe('SERVICE_UNKNOWN');
    expect(await server.drain(60_000)).toEqual({ abandonedCalls: 0 });
    await closed(silent);
    // The port is free again at once.
    const next = await startServer(new ModelStorage(), { host: '127.0.0.1', port: server.port });
    await next.drain(0);
  });
});

/** Health's Watch as a sequence of statuses, 'ended' at last. */
function watchHealth(server: RunningServer, name: string): { next: () => Promise<string> } {
  const HealthClient = makeClientConstructor(healthService, 'Health');
  const client = new HealthClient(`127.0.0.1:${server.port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
  const statuses: string[] = [];
  let wake: () => void = () => undefined;
  const push = (value: string): void => {
    statuses.push(value);
    wake();
  };
  const stream = client.makeServerStreamRequest(
    '/grpc.health.v1.Health/Watch',
    (healthService as unknown as ServiceDefinition)['Watch']?.requestSerialize ?? neverSerialize,
    (healthService as unknown as ServiceDefinition)['Watch']?.responseDeserialize ?? neverSerialize,
    { service: name },
  );
  stream.on('data', (message: { status: string }) => push(message.status));
  stream.on('error', () => push('ended'));
  stream.on('end', () => push('ended'));
  cleanups.push(async () => {
    stream.cancel();
    client.close();
  });
  return {
    next: async () => {
      while (statuses.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return statuses.shift() ?? '';
    },
  };
}

function neverSerialize(): never {
  throw new Error('grpc-health-check has no Watch');
}

describe('health', () => {
  function check(server: RunningServer, name: string): Promise<string> {
    const { requestSerialize, responseDeserialize } =
      (healthService as unknown as ServiceDefinition)['Check'] ?? fail('Check');
    return new Promise((resolve) => {
      rawClient(server).makeUnaryRequest(
        '/grpc.health.v1.Health/Check',
        requestSerialize,
        (bytes: Buffer) => responseDeserialize(bytes) as { status: string },
        { service: name },
        (error, response) =>
          resolve(error === null ? (response?.status ?? '') : status[error.code]),
      );
    });
  }

  test('Check knows "" and the service; another is NOT_FOUND', async () => {
    const server = await serve();
    expect(await check(server, '')).toBe('SERVING');
    expect(await check(server, 'sutra.storage.StorageService')).toBe('SERVING');
    expect(await check(server, 'other')).toBe('NOT_FOUND');
  });

  test('an unhealthy store is NOT_SERVING, to Check and to those who watch', async () => {
    let healthy = true;
    const storage = stubStorage({
      healthCheck: async () => ({
        healthy,
        status: healthy ? 'ok' : 'disk full',
        uptimeSeconds: 1,
      }),
    });
    const server = await serve(storage);
    const watch = watchHealth(server, '');
    expect(await watch.next()).toBe('SERVING');
    healthy = false;
    expect(await check(server, '')).toBe('NOT_SERVING');
    expect(await watch.next()).toBe('NOT_SERVING');
    healthy = true;
    expect(await watch.next()).toBe('SERVING');
  });

  test('a store that fails to answer is NOT_SERVING', async () => {
    const storage = stubStorage({ healthCheck: () => Promise.reject(new Error('gone')) });
    expect(await check(await serve(storage), '')).toBe('NOT_SERVING');
  });
});

describe('reflection', () => {
  interface ReflectionAnswer {
    readonly listServicesResponse?: { readonly service: { readonly name: string }[] };
    readonly fileDescriptorResponse?: { readonly fileDescriptorProto: Buffer[] };
  }

  function ask(server: RunningServer, version: string, request: object): Promise<ReflectionAnswer> {
    const proto = `node_modules/@grpc/reflection/build/proto/grpc/reflection/${version}/reflection.proto`;
    const loaded = loadPackageDefinition(loadSync(proto, { keepCase: false })) as unknown as {
      grpc: { reflection: Record<string, { ServerReflection: { service: ServiceDefinition } }> };
    };
    const method =
      loaded.grpc.reflection[version]?.ServerReflection.service['ServerReflectionInfo'] ??
      fail(version);
    const stream = rawClient(server).makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
    );
    return new Promise((resolve, reject) => {
      stream.on('data', (answer: ReflectionAnswer) => {
        resolve(answer);
        stream.end();
      });
      stream.on('error', reject);
      stream.write(request);
    });
  }

  test.each(['v1', 'v1alpha'])('%s lists and describes the services', async (version) => {
    const server = await serve();
    const { listServicesResponse } = await ask(server, version, { listServices: '*' });
    const names = listServicesResponse?.service.map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining(['sutra.storage.StorageService', 'grpc.health.v1.Health']),
    );
    const { fileDescriptorResponse } = await ask(server, version, {
      fileContainingSymbol: 'sutra.storage.StorageService',
    });
    const [file] = fileDescriptorResponse?.fileDescriptorProto ?? [];
    const text = String(file);
    for (const word of ['LearnConceptRequest', 'ForgetAssociation', 'concept_id']) {
      expect(text).toContain(word);
    }
  });
});

describe('addresses', () => {
  test('a port in use is ADDRESS_IN_USE and names it, on any address', async () => {
    const server = await serve();
    for (const host of ['127.0.0.1', '0.0.0.0', 'localhost']) {
      const error = await expectError(
        startServer(new ModelStorage(), { host, port: server.port }),
        'ADDRESS_IN_USE',
      );
      expect(error.message).toContain(`${host}:${server.port}`);
    }
    expect((await clientOf(server).healthCheck()).healthy).toBe(true);
  });

  test('a port that something else holds is in use, too', async () => {
    const other = createServer();
    const port = await new Promise<number>((resolve) => {
      other.listen(0, '0.0.0.0', () => {
        const address = other.address();
        resolve(typeof address === 'object' && address !== null ? address.port : 0);
      });
    });
    cleanups.push(() => new Promise((resolve) => other.close(resolve)));
    await expectError(startServer(new ModelStorage(), { host: '0.0.0.0', port }), 'ADDRESS_IN_USE');
  });

  test('0.0.0.0 and localhost are reached by 127.0.0.1', async () => {
    for (const host of ['0.0.0.0', 'localhost']) {
      const server = await serve(new ModelStorage(), { host });
      expect(server.address).toBe(`${host}:${server.port}`);
      expect((await clientOf(server).healthCheck()).healthy).toBe(true);
    }
  });

  test('hosts and ports that cannot be are INVALID_ARGUMENT', async () => {
    const bad: [string, number, string][] = [
      ['', 0, 'host'],
      ['no such host', 0, 'host'],
      ['nosuch.invalid', 0, 'host'],
      ['192.0.2.1', 0, 'host'],
      ['127.0.0.1', 65_536, 'port'],
      ['127.0.0.1', -1, 'port'],
      ['127.0.0.1', 1.5, 'port'],
    ];
    for (const [host, port, field] of bad) {
      const error = await expectError(
        startServer(new ModelStorage(), { host, port }),
        'INVALID_ARGUMENT',
      );
      expect(error.violations.map((violation) => violation.field)).toEqual([field]);
    }
  });
});

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket));
    socket.once('error', reject);
    cleanups.push(async () => socket.destroy());
  });
}

/** Resolves once the other side has closed. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.destroyed) resolve();
    socket.resume();
    socket.on('error', () => undefined);
    socket.once('close', () => resolve());
  });
}

function codeOf(error: unknown): string | null {
  return error instanceof SutraError ? error.code : null;
}

function fail(name: string): never {
  throw new Error(`there is no ${name}`);
}
