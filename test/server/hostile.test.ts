/**
 * Bytes from strangers, against the real binary: whatever comes over the wire, the process lives, an honest client is
 * answered meanwhile and after, and the store has not changed.
 */

import {
  connect as connectHttp2,
  type ClientHttp2Session,
  type IncomingHttpHeaders,
} from 'node:http2';
import { connect, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { StorageClient } from '#sutra/storage/remote';
import { METHODS } from '#sutra/wire/methods';
import { startServe, type Serving } from '../support/fixture.js';

const SEED = 20_260_801;
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

let serving: Serving;
let honest: StorageClient;

beforeAll(async () => {
  serving = await startServe();
  honest = new StorageClient(serving.address, { timeoutMs: 20_000 });
  await honest.learnConcept({ id: 'before', content: 'kept' });
});

afterAll(async () => {
  await honest.close();
  // 0: it has drained and closed its store in order, after all that.
  expect(await serving.stop()).toBe(0);
});

async function expectUnharmed(): Promise<void> {
  expect(await honest.queryConcept('before')).toMatchObject({ found: true, content: 'kept' });
  expect(await honest.stats()).toMatchObject({ concepts: 1, sequence: 1 });
}

/** xorshift32: the same bytes in every run. */
function randomBytes(seed: number): (length: number) => Buffer {
  let state = seed;
  return (length) => {
    const bytes = Buffer.alloc(length);
    for (let i = 0; i < length; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      bytes[i] = state;
    }
    return bytes;
  };
}

/** Sends these bytes and waits until the server has closed, or for the time given. */
function sendRaw(bytes: Buffer, waitMs: number): Promise<void> {
  return new Promise((resolve) => {
    const socket: Socket = connect(serving.port, '127.0.0.1');
    const timer = setTimeout(() => socket.destroy(), waitMs);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.resume();
    socket.write(bytes);
  });
}

interface Answer {
  readonly httpStatus: number | undefined;
  readonly grpcStatus: number | undefined;
  readonly reset: boolean;
}

/** One HTTP/2 request with these headers and body bytes; ends with the stream, however it ends. */
function request(
  session: ClientHttp2Session,
  headers: Record<string, string | string[]>,
  body: Buffer,
): Promise<Answer> {
  return new Promise((resolve) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': '/sutra.storage.StorageService/LearnConcept',
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    let httpStatus: number | undefined;
    let grpcStatus: number | undefined;
    let reset = false;
    stream.setTimeout(10_000, () => stream.close());
    stream.on('response', (response) => {
      httpStatus = response[':status'];
      if (response['grpc-status'] !== undefined) grpcStatus = Number(response['grpc-status']);
    });
    stream.on('trailers', (trailers: IncomingHttpHeaders) => {
      if (trailers['grpc-status'] !== undefined) grpcStatus = Number(trailers['grpc-status']);
    });
    stream.on('error', () => {
      reset = true;
    });
    stream.on('close', () => resolve({ httpStatus, grpcStatus, reset }));
    stream.resume();
    stream.end(body);
  });
}

async function withSession<T>(use: (session: ClientHttp2Session) => Promise<T>): Promise<T> {
  const session = connectHttp2(`http://${serving.address}`);
  session.on('error', () => undefined);
  try {
    return await use(session);
  } finally {
    session.destroy();
  }
}

/** A gRPC frame: flag, length, message. */
function frame(message: Buffer, compressed = 0, length = message.length): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt8(compressed, 0);
  header.writeUInt32BE(length, 1);
  return Buffer.concat([header, message]);
}

test('random bytes as messages are answered, each method and many times', async () => {
  const random = randomBytes(SEED);
  const allowed = new Set([0, 3, 5]);
  await withSession(async (session) => {
    for (const { path, name } of Object.values(METHODS)) {
      // OK is fine, too: bytes that only hold unknown fields are a Flush, and ids may come out of them that nobody knows.
      const answers = await Promise.all(
        Array.from({ length: 40 }, (_, i) =>
          request(session, { ':path': path }, frame(random(1 + i * 3))),
        ),
      );
      for (const { grpcStatus } of answers) expect(allowed, name).toContain(grpcStatus);
    }
  });
  await expectUnharmed();
});

test('random bytes on the port, with and without the HTTP/2 preface, end their connection only', async () => {
  const random = randomBytes(SEED + 1);
  const attacks = Array.from({ length: 30 }, (_, i) =>
    i % 2 === 0 ? random(10 + i * 40) : Buffer.concat([Buffer.from(PREFACE), random(10 + i * 40)]),
  );
  await Promise.all([
    ...attacks.map((bytes) => sendRaw(bytes, 3_000)),
    sendRaw(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), 3_000),
    sendRaw(Buffer.from('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'latin1'), 3_000),
    expectUnharmed(),
  ]);
  await expectUnharmed();
});

test('half-open connections do not keep others waiting', async () => {
  const sockets = await Promise.all(
    Array.from(
      { length: 50 },
      (_, i) =>
        new Promise<Socket>((resolve) => {
          const socket = connect(serving.port, '127.0.0.1', () => {
            if (i % 2 === 1) socket.write(PREFACE.slice(0, 10));
            resolve(socket);
          });
          socket.on('error', () => undefined);
        }),
    ),
  );
  await expectUnharmed();
  for (const socket of sockets) socket.destroy();
  await expectUnharmed();
});

test('frames that lie about their length or their compression are refused', async () => {
  const concept = METHODS.learnConcept.encodeRequest({ id: 'bad', content: '' });
  await withSession(async (session) => {
    // Claims 4 GiB: refused from the header alone.
    const huge = await request(session, {}, frame(concept, 0, 0xffff_ffff));
    expect(huge.grpcStatus).toBe(8);
    // Ends before its message does: no message ever arrived.
    const cut = await request(session, {}, frame(concept, 0, concept.length + 10));
    expect(cut.grpcStatus).not.toBe(0);
    const notGzip = await request(session, { 'grpc-encoding': 'gzip' }, frame(concept, 1));
    expect(notGzip.grpcStatus).toBe(3);
    const unknown = await request(session, { 'grpc-encoding': 'br' }, frame(concept, 1));
    expect(unknown.grpcStatus).toBe(12);
    const none = await request(session, {}, Buffer.alloc(0));
    expect(none.grpcStatus).not.toBe(0);
  });
  await expectUnharmed();
});

test('a small message that unpacks to 64 MiB is RESOURCE_EXHAUSTED', async () => {
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
  expect(bomb.length).toBeLessThan(100_000);
  await withSession(async (session) => {
    const answer = await request(session, { 'grpc-encoding': 'gzip' }, frame(bomb, 1));
    expect(answer.grpcStatus).toBe(8);
  });
  await expectUnharmed();
});

test('odd paths, methods and headers are answered or refused', async () => {
  const concept = frame(METHODS.learnConcept.encodeRequest({ id: '', content: '' }));
  const odd: Record<string, string>[] = [
    { ':path': '/' },
    { ':path': '/nothing' },
    { ':path': '/sutra.storage.StorageService/%F0%9F%90%88' },
    { ':path': '/sutra.storage.StorageService/\u00ff\u00fe' },
    { ':path': `/${'x'.repeat(5_000)}` },
    { ':path': '/sutra.storage.StorageService/__proto__' },
    { ':path': '/sutra.storage.StorageService/constructor' },
    { ':method': 'GET' },
    { 'content-type': 'text/html' },
    { 'grpc-timeout': 'soon' },
    { 'grpc-timeout': '99999999H' },
    { 'grpc-timeout': '0n' },
    { 'grpc-encoding': 'nonsense' },
    { 'trace-bin': '!!!not base64!!!' },
  ];
  for (const headers of odd) {
    // One connection each: what is refused may take its connection with it.
    await withSession(async (session) => {
      const { grpcStatus } = await request(session, headers, concept);
      expect(grpcStatus, JSON.stringify(headers)).not.toBe(0);
    });
    expect((await honest.healthCheck()).healthy).toBe(true);
  }
  await expectUnharmed();
});

test('streams that are opened and reset at once leave nothing behind', async () => {
  const find = METHODS.findPath.encodeRequest({
    start: 'before',
    end: 'nobody',
    maxDepth: 64,
    direction: 'both',
    types: [],
    by: 'hops',
  });
  await withSession(async (session) => {
    for (let round = 0; round < 20; round++) {
      await Promise.all(
        Array.from(
          { length: 50 },
          () =>
            new Promise<void>((resolve) => {
              if (session.destroyed || session.closed) {
                resolve();
                return;
              }
              const stream = session.request({
                ':method': 'POST',
                ':path': METHODS.findPath.path,
                'content-type': 'application/grpc',
                te: 'trailers',
              });
              stream.on('error', () => undefined);
              stream.on('close', () => resolve());
              stream.write(frame(find));
              stream.close(8);
            }),
        ),
      );
    }
  });
  await expectUnharmed();
});
