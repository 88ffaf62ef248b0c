/**
 * Streams that may stay open for ever (watches of health, reflection): however many somebody opens, others are answered and can
 * watch too. Over real sockets, with limits small enough to be reached.
 */

import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import { afterEach, describe, expect, test } from 'vitest';
import { StorageClient } from '#sutra/storage/remote';
import type { ServerOptions } from '#sutra/server/server';
import { LimitsServer } from '../support/limits-server.js';

const WATCH = '/grpc.health.v1.Health/Watch';
const REFLECTION = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
const RESOURCE_EXHAUSTED = '8';
/** One gRPC message without fields: the health of all. */
const EMPTY = Buffer.alloc(5);

let server: LimitsServer;
const sessions: ClientHttp2Session[] = [];

async function start(options: Partial<ServerOptions>): Promise<void> {
  server = await LimitsServer.start(options);
}

afterEach(async () => {
  for (const session of sessions.splice(0)) session.destroy();
  expect(await server.stop(), server.log).toBe(0);
  expect(server.log).not.toContain('ERROR');
});

function open(): ClientHttp2Session {
  const session = connect(`http://${server.address}`);
  session.on('error', () => undefined);
  sessions.push(session);
  return session;
}

interface Standing {
  readonly stream: ClientHttp2Stream;
  /** `serving` once it was told so, or the gRPC status that it was refused with. */
  readonly answered: Promise<string | undefined>;
  /** The code of the reset that ended it. */
  readonly closed: Promise<number>;
}

/** Opens a stream that stays; what asks for health asks for that of all. */
function stand(session: ClientHttp2Session, path: string): Standing {
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  const answered = new Promise<string | undefined>((resolve, reject) => {
    stream.once('response', (headers) => {
      const status = headers['grpc-status'];
      if (status !== undefined) resolve(String(status));
    });
    stream.once('data', () => resolve('serving'));
    stream.once('error', reject);
    stream.once('close', () => resolve(undefined));
  });
  answered.catch(() => undefined);
  stream.on('error', () => undefined);
  const closed = new Promise<number>((resolve) => {
    stream.once('close', () => resolve(stream.rstCode));
  });
  if (path !== REFLECTION) stream.end(EMPTY);
  return { stream, answered, closed };
}

async function expectServed(calls: number): Promise<void> {
  const client = new StorageClient(server.address, { timeoutMs: 20_000 });
  try {
    await client.learnConcept({ id: 'kept', content: 'kept' });
    for (let n = 0; n < calls; n++) {
      expect(await client.queryConcept('kept')).toMatchObject({ found: true });
    }
  } finally {
    await client.close();
  }
}

describe('standing streams', () => {
  test.each([
    ['watches', WATCH],
    ['reflections', REFLECTION],
  ])('%s that fill every place leave calls alone', async (_name, path) => {
    // Counted as calls, four connections of them would have taken every one.
    await start({ maxCalls: 8, maxStandingStreams: 5, maxConnections: 20 });
    const opened = Array.from({ length: 4 }, () => open()).flatMap((session) =>
      Array.from({ length: 5 }, () => stand(session, path)),
    );
    if (path === WATCH) {
      for (const { answered } of opened) expect(await answered).toBe('serving');
    }
    await expectServed(20);
    for (const { stream } of opened) expect(stream.closed).toBe(false);
  });

  test('one connection has its own few, and goes on to be served', async () => {
    await start({ maxStandingStreams: 3 });
    const session = open();
    const few = [
      stand(session, WATCH),
      stand(session, WATCH),
      stand(session, REFLECTION),
      stand(session, WATCH),
    ];
    expect(await few[0]?.answered).toBe('serving');
    expect(await few[1]?.answered).toBe('serving');
    expect(await few[3]?.answered).toBe(RESOURCE_EXHAUSTED);
    // One that is closed makes room for another.
    few[0]?.stream.close(constants.NGHTTP2_CANCEL);
    await few[0]?.closed;
    // The close has to come to the server before the next one: a call that is answered came after it.
    expect(await stand(session, '/grpc.health.v1.Health/Check').answered).toBeDefined();
    expect(await stand(session, WATCH).answered).toBe('serving');
    expect(await stand(session, WATCH).answered).toBe(RESOURCE_EXHAUSTED);
    expect(few[1]?.stream.closed).toBe(false);
  });

  test('when all places are taken, who has most gives one to who has none', async () => {
    await start({ maxStandingStreams: 3, maxConnections: 4 });
    const [greedy, modest, late] = [open(), open(), open()] as const;
    const taken = [stand(greedy, WATCH), stand(greedy, WATCH), stand(greedy, WATCH)];
    for (const { answered } of taken) expect(await answered).toBe('serving');
    const one = stand(modest, WATCH);
    expect(await one.answered).toBe('serving');

    const first = stand(late, WATCH);
    expect(await first.answered).toBe('serving');
    expect(await taken[0]?.closed).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    // A second one is no reason to take one away.
    expect(await stand(late, WATCH).answered).toBe(RESOURCE_EXHAUSTED);
    for (const { stream } of [...taken.slice(1), one, first]) expect(stream.closed).toBe(false);
  });
});
