/** Tokens, TLS and limits of memory, from outside: who is let in, with what error the others are told so, and what it costs. */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import {
  connect as connectHttp2,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { networkInterfaces } from 'node:os';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import type { ErrorCode, SutraError } from '#sutra/errors';
import { startServer, type RunningServer, type ServerOptions } from '#sutra/server/server';
import { exposureWarning } from '#sutra/server/exposure';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { StorageClient, type StorageClientOptions } from '#sutra/storage/remote';
import type { Storage } from '#sutra/storage/storage';
import { METHODS } from '#sutra/wire/methods';
import { expectError } from '../contract/storage-contract.js';
import { temporaryPath } from '../support/fixture.js';
import { LimitsServer, MIB } from '../support/limits-server.js';
import { ModelStorage } from '../support/model-storage.js';
import { FRAME, frame, headers, messageHeader, RawConnection } from '../support/raw-http2.js';

const FULL = 'full-token-0123456789';
const READ = 'read-token-0123456789';
const TOKENS = { full: [FULL], readOnly: [READ] };

const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serve(
  options: Partial<ServerOptions> = {},
  storage: Storage = new ModelStorage(),
): Promise<RunningServer> {
  const server = await startServer(storage, { host: '127.0.0.1', port: 0, ...options });
  cleanups.push(() => server.drain(0));
  return server;
}

function clientOf(
  server: RunningServer,
  options: StorageClientOptions = {},
  host = '127.0.0.1',
): StorageClient {
  const client = new StorageClient(`${host}:${server.port}`, { timeoutMs: 20_000, ...options });
  cleanups.push(() => client.close());
  return client;
}

function pem(name: string): string {
  return readFileSync(
    fileURLToPath(new URL(`../support/certificates/${name}`, import.meta.url)),
    'utf8',
  );
}

const SERVER_TLS = { cert: pem('server.pem'), key: pem('server.key') };
const CLIENT_TLS = { ca: pem('authority.pem') };

describe('tokens', () => {
  test('without one, or with a wrong one, only health is answered', async () => {
    const server = await serve({ tokens: TOKENS });
    for (const options of [{}, { token: 'wrong-token-0123456789' }, { token: `${FULL}x` }]) {
      const client = clientOf(server, options);
      expect((await client.healthCheck()).healthy).toBe(true);
      const { hint } = await refused('UNAUTHENTICATED', () => client.queryConcept('a'));
      expect(hint).toContain('token');
      await refused('UNAUTHENTICATED', () => client.learnConcept({ id: 'a', content: '' }));
      await refused('UNAUTHENTICATED', () => client.stats());
      await refused('UNAUTHENTICATED', () => client.flush());
    }
  });

  test('the full one does everything, the read-only one reads', async () => {
    const server = await serve({ tokens: TOKENS });
    const full = clientOf(server, { token: FULL });
    const reader = clientOf(server, { token: READ });
    await full.learnConcept({ id: 'a', content: 'text' });
    expect(await reader.queryConcept('a')).toMatchObject({ found: true });
    await reader.stats();
    await reader.getNeighbors('a');
    await reader.findPath('a', 'a');
    const { hint } = await refused('NOT_PERMITTED', () =>
      reader.learnConcept({ id: 'b', content: '' }),
    );
    expect(hint).toContain('full token');
    await refused('NOT_PERMITTED', () => reader.learnBatch({}));
    await refused('NOT_PERMITTED', () => reader.forgetConcept('a'));
    await refused('NOT_PERMITTED', () => reader.flush());
    expect(await full.stats()).toMatchObject({ concepts: 1 });
  });

  test('that are replaced count from the next call on, on open connections too', async () => {
    const server = await serve({ tokens: TOKENS });
    const client = clientOf(server, { token: FULL });
    await client.learnConcept({ id: 'a', content: '' });
    server.replaceSecrets({ tokens: { full: ['another-token-0123456789'], readOnly: [FULL] } });
    await refused('NOT_PERMITTED', () => client.learnConcept({ id: 'b', content: '' }));
    await client.queryConcept('a');
    server.replaceSecrets({ tokens: { full: ['another-token-0123456789'], readOnly: [] } });
    await refused('UNAUTHENTICATED', () => client.queryConcept('a'));
  });

  const here = Object.values(networkInterfaces())
    .flat()
    .find((entry) => entry?.family === 'IPv4' && !entry.internal)?.address;

  test.runIf(here !== undefined)('never travel in the clear off this machine', async () => {
    const server = await serve({ tokens: TOKENS, host: '0.0.0.0' });
    // The client does not send it.
    await refused('INVALID_ARGUMENT', async () => clientOf(server, { token: FULL }, here).stats());
    await refused('INVALID_ARGUMENT', async () =>
      clientOf(server, { token: FULL }, 'sutra.example').stats(),
    );
    // And the server does not take it from one that does.
    const answer = await trailersOf(`${here}:${server.port}`, {
      ':path': METHODS.getStats.path,
      authorization: `Bearer ${FULL}`,
    });
    expect(answer['grpc-status']).toBe('16');
    expect(decodeURI(String(answer['grpc-message']))).toContain('not encrypted');
    await clientOf(server, { token: FULL }).stats();
  });

  test('are asked for before the body is read: 16 MiB without one are not kept', async () => {
    const server = await LimitsServer.start({ tokens: TOKENS });
    cleanups.push(() => server.stop());
    const body = Buffer.alloc(16_384);
    const watched = await server.watch(
      'sixteen bodies of 16 MiB without a token',
      async () => {
        for (let n = 0; n < 16; n++) {
          const connection = await RawConnection.open(server.port);
          connection.write(
            headers(1, METHODS.learnBatch.path),
            frame(FRAME.DATA, 0, 1, messageHeader(16 * MIB)),
          );
          for (let sent = 0; sent < 16 * MIB; sent += body.length) {
            for (let i = 0; connection.window < body.length && i < 200; i++) await pause(1);
            connection.sendData(1, 0, body);
            await connection.drained();
            if (connection.count(FRAME.RST_STREAM) > 0 || connection.socket.destroyed) break;
          }
          expect(connection.count(FRAME.HEADERS)).toBe(1);
          connection.destroy();
        }
      },
      FULL,
    );
    expect(watched.peakMiB - watched.restMiB).toBeLessThan(64);
  });
});

describe('TLS', () => {
  test('serves those who trust its authority, and tells the others what to do', async () => {
    const server = await serve({ tls: SERVER_TLS, tokens: TOKENS });
    await clientOf(server, { tls: CLIENT_TLS, token: FULL }).learnConcept({ id: 'a', content: '' });
    const untrusting = clientOf(server, { tls: true, timeoutMs: 3_000 });
    const { hint, exitCode } = await refused('UNREACHABLE', () => untrusting.healthCheck());
    expect(hint).toContain('--tls-ca');
    expect(exitCode).toBe(3);
    await refused('UNREACHABLE', () => clientOf(server).healthCheck());
    const named = clientOf(server, { tls: { ...CLIENT_TLS, serverName: 'elsewhere.test' } });
    expect((await refused('UNREACHABLE', () => named.healthCheck())).hint).toContain(
      '--tls-server-name',
    );
  });

  test('asks clients for a certificate when told to', async () => {
    const server = await serve({ tls: { ...SERVER_TLS, clientCa: pem('authority.pem') } });
    const known = { cert: pem('client.pem'), key: pem('client.key') };
    await clientOf(server, { tls: { ...CLIENT_TLS, ...known } }).learnConcept({
      id: 'a',
      content: '',
    });
    const { hint } = await refused('UNREACHABLE', () =>
      clientOf(server, { tls: CLIENT_TLS, timeoutMs: 3_000 }).healthCheck(),
    );
    expect(hint).toContain('--tls-cert');
    const stranger = { cert: pem('stranger.pem'), key: pem('stranger.key') };
    await refused('UNREACHABLE', () =>
      clientOf(server, { tls: { ...CLIENT_TLS, ...stranger }, timeoutMs: 3_000 }).healthCheck(),
    );
  });

  test('takes a renewed certificate for new connections, and keeps the old one when that is bad', async () => {
    const server = await serve({ tls: SERVER_TLS });
    const old = clientOf(server, { tls: CLIENT_TLS });
    await old.stats();
    await refused('INVALID_ARGUMENT', async () =>
      server.replaceSecrets({ tls: { cert: pem('renewed.pem'), key: pem('server.key') } }),
    );
    await clientOf(server, { tls: CLIENT_TLS }).stats();
    server.replaceSecrets({ tls: { cert: pem('renewed.pem'), key: pem('renewed.key') } });
    await old.stats();
    await clientOf(server, { tls: { ...CLIENT_TLS, serverName: 'sutra.test' } }).stats();
  });

  test('a connection that never shakes hands, or speaks plainly, harms nobody', async () => {
    const server = await serve({ tls: SERVER_TLS });
    const plain = await RawConnection.open(server.port);
    await plain.closed;
    await clientOf(server, { tls: CLIENT_TLS }).stats();
  });
});

test('an open bind is warned of once, in the words of its case', () => {
  const base = { host: '0.0.0.0', tls: false, clientCertificates: false, tokens: false };
  expect(exposureWarning(base)).toContain('in the clear');
  expect(exposureWarning({ ...base, tls: true })).toContain('anybody may read and change');
  expect(exposureWarning({ ...base, tokens: true })).toContain('tokens from other machines');
  expect(exposureWarning({ ...base, tls: true, tokens: true })).toBeNull();
  expect(exposureWarning({ ...base, tls: true, clientCertificates: true })).toBeNull();
  for (const host of ['127.0.0.1', 'localhost', '::1']) {
    expect(exposureWarning({ ...base, host })).toBeNull();
  }
});

test('writes are refused and counted while memory is short; reads and what was taken go on', async () => {
  const storage = await ConcurrentStorage.open(temporaryPath());
  cleanups.push(() => storage.close());
  const client = clientOf(await serve({}, storage));
  await client.learnConcept({ id: 'a', content: 'kept' });
  storage.shedWrites('no memory');
  const error = await refused('OVERLOADED', () => client.learnConcept({ id: 'b', content: '' }));
  expect(error.message).toBe('no memory');
  await refused('OVERLOADED', () => client.forgetConcept('a'));
  expect(await client.queryConcept('a')).toMatchObject({ found: true });
  expect(await client.stats()).toMatchObject({ dropped: 2, written: 1 });
  storage.shedWrites(null);
  await client.learnConcept({ id: 'b', content: '' });
});

/** Whatever the call throws, at once or later, is this error. */
function refused(code: ErrorCode, call: () => Promise<unknown>): Promise<SutraError> {
  return expectError((async () => call())(), code);
}

/** The trailers of an answer, by a client that sends whatever it is told to. */
async function trailersOf(
  address: string,
  requestHeaders: OutgoingHttpHeaders,
): Promise<IncomingHttpHeaders> {
  const session = connectHttp2(`http://${address}`);
  cleanups.push(async () => session.destroy());
  const stream = session.request({
    ':method': 'POST',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...requestHeaders,
  });
  stream.end(messageHeader(0));
  const [answer] = (await once(stream, 'response')) as [IncomingHttpHeaders];
  return answer;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
