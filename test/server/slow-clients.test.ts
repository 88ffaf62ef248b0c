/**
 * Row 11 of the fault matrix: clients that are slow, stopped, or half gone. An honest client in a process of its own is answered all
 * the while, the server's memory stays within a bound, and the bad ones are let go of by the limits that are meant for
 * them. Times are printed and decide nothing: alone, while the bad ones ask, and while they stand there. SUTRA_HOSTILE=10 makes ten
 * times as many.
 */

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StorageClient } from '#sutra/storage/remote';
import { METHODS } from '#sutra/wire/methods';
import type { ServerOptions } from '#sutra/server/server';
import type { IngestItem } from '#sutra/storage/storage';
import { HonestClient, type Measured } from '../support/honest-client.js';
import { LimitsServer, MIB } from '../support/limits-server.js';
import {
  END_STREAM,
  FRAME,
  frame,
  headers,
  messageHeader,
  RawConnection,
} from '../support/raw-http2.js';

const SCALE = Number(process.env['SUTRA_HOSTILE'] ?? '1');
const LEARN = METHODS.learnConcept.path;
const QUERY = METHODS.queryConcept.path;
/** A rest's noise: young generations grow to it, and the allocator keeps some of what was freed. */
const SLACK_MIB = 128;
/** How long a limit of one second may take to act on a busy machine. */
const REAPED_WITHIN_MS = 30_000;
/** Never, as far as a test is concerned. */
const LONG = 3_600_000;
const ANSWER_BYTES = MIB;

let server: LimitsServer;
let honest: HonestClient;
const connections: RawConnection[] = [];

async function start(options: Partial<ServerOptions>): Promise<void> {
  server = await LimitsServer.start(options);
  const client = new StorageClient(server.address, { timeoutMs: 20_000 });
  await client.learnConcept({ id: 'small', content: 'kept' });
  await client.learnConcept({ id: 'big', content: 'x'.repeat(ANSWER_BYTES) });
  await client.close();
  honest = await HonestClient.start(server.address, 'small');
}

beforeEach(() => {
  connections.length = 0;
});

afterEach(async () => {
  for (const connection of connections) connection.destroy();
  await honest.stop();
  expect(await server.stop(), server.log).toBe(0);
  expect(server.log).not.toContain('ERROR');
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function until(what: string, holds: () => boolean): Promise<number> {
  const began = performance.now();
  while (!holds()) {
    if (performance.now() - began > REAPED_WITHIN_MS) throw new Error(`not in time: ${what}`);
    await pause(20);
  }
  return performance.now() - began;
}

async function open(count: number): Promise<RawConnection[]> {
  const opened: RawConnection[] = [];
  for (let i = 0; i < count; i++) opened.push(await RawConnection.open(server.port));
  connections.push(...opened);
  return opened;
}

function sum(type: number): number {
  return connections.reduce((total, connection) => total + connection.count(type), 0);
}

/** Asks for the big concept. */
function question(stream: number): Buffer {
  const request = METHODS.queryConcept.encodeRequest({
    id: 'big',
    withEmbedding: false,
    withoutContent: false,
  });
  const message = Buffer.concat([messageHeader(request.length), request]);
  return Buffer.concat([headers(stream, QUERY), frame(FRAME.DATA, END_STREAM, stream, message)]);
}

function streamIds(count: number): number[] {
  return Array.from({ length: count }, (_, i) => 2 * i + 1);
}

function windowUpdate(stream: number, bytes: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes);
  return frame(FRAME.WINDOW_UPDATE, 0, stream, payload);
}

/** Takes whatever is sent, as far as flow control goes: 2 GiB on every stream. */
function openWindows(connection: RawConnection): void {
  const setting = Buffer.alloc(6);
  setting.writeUInt16BE(4);
  setting.writeUInt32BE(0x7fff_ffff, 2);
  connection.write(frame(FRAME.SETTINGS, 0, 0, setting), windowUpdate(0, 0x7fff_0000));
}

/** A PING, a byte of window and a byte of a body at a time: as much life as a connection can show without getting on. */
function drip(each: (connection: RawConnection) => Buffer): () => void {
  const ping = frame(FRAME.PING, 0, 0, Buffer.alloc(8));
  const timer = setInterval(() => {
    for (const connection of connections) connection.write(ping, each(connection));
  }, 100);
  return () => clearInterval(timer);
}

/** An attack calls stand() when it has asked for all that it will. */
type Attack = (stand: () => Promise<void>) => Promise<string>;

/** Resolves when the server has begun all that it was asked for: three looks in a row found nothing waiting. */
async function begun(): Promise<void> {
  const client = new StorageClient(server.address, { timeoutMs: 20_000 });
  for (let looks = 0; looks < 3; looks++) {
    await pause(20);
    const { server: stats } = await client.stats();
    if (stats?.callsWaiting !== 0) looks = -1;
  }
  await client.close();
}

/**
 * Runs the attack beside the honest client, and prints what it was to that: alone, while the attack asked, and beside it from
 * then on; resolves to the MiB that the server grew by.
 */
async function besideHonest(label: string, attack: Attack): Promise<number> {
  await honest.measured();
  await pause(1_000);
  const alone = await honest.measured();
  const restMiB = server.memoryMiB();
  let peakMiB = restMiB;
  const sampler = setInterval(() => (peakMiB = Math.max(peakMiB, server.memoryMiB())), 20);
  const asked: Measured[] = [];
  let told: string;
  try {
    told = await attack(async () => {
      asked.push(await someCalls());
    });
  } finally {
    clearInterval(sampler);
  }
  const beside = await someCalls();
  peakMiB = Math.max(peakMiB, server.memoryMiB());
  const all = [...asked, beside];
  const calls = all.reduce((sum, one) => sum + one.calls, 0);
  const failures = all.flatMap((one) => one.failures);
  const times = [alone, ...all].map(({ p99 }) => p99.toFixed(1)).join(', ');
  process.stdout.write(
    `${label}: ${told}; memory ${restMiB.toFixed(0)} -> ${peakMiB.toFixed(0)} MiB; ${calls} honest calls, ` +
      `${failures.length} failed, p99 ${times} ms (alone${asked.length === 0 ? '' : ', asked'}, beside)\n`,
  );
  expect(failures).toEqual([]);
  return peakMiB - restMiB;
}

/** Of the honest client since it was last asked; on a busy machine what was done may have been over before one of its calls was. */
async function someCalls(): Promise<Measured> {
  let measured = await honest.measured();
  while (measured.calls === 0 && measured.failures.length === 0) measured = await honest.measured();
  return measured;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

describe('slow', () => {
  test('request bodies that come byte by byte are refused after their time', async () => {
    await start({ uploadGraceMs: 4_000 });
    const count = 20 * SCALE;
    const streams = streamIds(50);
    const grown = await besideHonest('dripped requests', async (stand) => {
      await open(count);
      for (const connection of connections) {
        for (const id of streams) {
          connection.write(headers(id, LEARN), frame(FRAME.DATA, 0, id, messageHeader(MIB)));
        }
      }
      await stand();
      const one = Buffer.from('x');
      const bytes = Buffer.concat(streams.map((id) => frame(FRAME.DATA, 0, id, one)));
      const stop = drip(() => bytes);
      const all = count * streams.length;
      const ms = await until('every request answered', () => sum(FRAME.HEADERS) >= all);
      stop();
      return `${all} refused within ${seconds(ms)}`;
    });
    expect(sum(FRAME.HEADERS)).toBe(count * streams.length);
    // A stream, a call and a buffer of 4 KiB each, as long as they live.
    expect(grown).toBeLessThan(SLACK_MIB + (count * streams.length * 16) / 1024);
  });

  test('answers that are taken byte by byte are given up, however alive the connection is', async () => {
    await start({ stallMs: 1_000, keepaliveTimeMs: 500 });
    const count = 10 * SCALE;
    const streams = streamIds(10);
    const grown = await besideHonest('dripped answers', async (stand) => {
      await open(count);
      for (const connection of connections) {
        for (const id of streams) connection.write(question(id));
      }
      await begun();
      await stand();
      // The first 64 KiB of each connection go out by themselves; of the rest each stream gets ten bytes a second.
      const windows = Buffer.concat(streams.map((id) => windowUpdate(id, 1)));
      const stop = drip(() => Buffer.concat([windowUpdate(0, streams.length), windows]));
      const all = count * streams.length;
      const ms = await until('every answer given up', () => sum(FRAME.RST_STREAM) >= all);
      stop();
      return `${all} given up within ${seconds(ms)}`;
    });
    // They hold the answers, a mebibyte each, as long as they live.
    expect(grown).toBeLessThan((count * streams.length * ANSWER_BYTES) / MIB + SLACK_MIB);
    expect(connections.every(({ socket }) => !socket.destroyed)).toBe(true);
  });

  test('an answer that moves on, if slowly, arrives', async () => {
    await start({ stallMs: 2_000 });
    const [connection] = await open(1);
    if (connection === undefined) throw new Error('not opened');
    connection.write(question(1));
    // 64 KiB every quarter of a second: four seconds for all of it.
    const timer = setInterval(() => {
      connection.write(windowUpdate(0, 65_536), windowUpdate(1, 65_536));
    }, 250);
    await until('answer and trailers', () => connection.count(FRAME.HEADERS) >= 2);
    clearInterval(timer);
    expect(connection.count(FRAME.RST_STREAM)).toBe(0);
  });
});

describe('stopped', () => {
  test('a client process under SIGSTOP, with answers on their way, is let go of', async () => {
    await start({ keepaliveTimeMs: 1_000, keepaliveTimeoutMs: 1_000, stallMs: LONG });
    const greedy: HonestClient[] = [];
    const grown = await besideHonest('SIGSTOP', async (stand) => {
      for (let i = 0; i < 2 * SCALE; i++) {
        greedy.push(await HonestClient.start(server.address, 'big', 20));
      }
      expect(server.connections()).toBe(greedy.length + 1);
      for (const client of greedy) client.signal('SIGSTOP');
      await stand();
      const ms = await until('connections gone', () => server.connections() === 1);
      return `${greedy.length} gone within ${seconds(ms)}`;
    });
    for (const client of greedy) {
      client.signal('SIGCONT');
      await client.measured();
      // It finds its way back by itself.
      let calls = 0;
      while (calls === 0) calls = (await client.measured()).calls;
      await client.stop();
    }
    expect(grown).toBeLessThan(SLACK_MIB + 20 * greedy.length);
  });

  test('sockets that are never read are let go of, and what they were sent, too', async () => {
    await start({ keepaliveTimeMs: 1_000, keepaliveTimeoutMs: 1_000, stallMs: LONG });
    const grown = await besideHonest('never read', async (stand) => {
      await open(5 * SCALE);
      for (const connection of connections) {
        connection.socket.pause();
        openWindows(connection);
        for (const id of streamIds(20)) connection.write(question(id));
      }
      await begun();
      await stand();
      const ms = await until('connections gone', () => server.connections() === 1);
      return `${connections.length} gone within ${seconds(ms)}`;
    });
    expect(grown).toBeLessThan(SLACK_MIB + (connections.length * 20 * ANSWER_BYTES) / MIB);
  });

  test('answers that nobody reads take no more than their budget', async () => {
    const budgetMiB = 16;
    await start({ maxUnsentBytes: budgetMiB * MIB, stallMs: LONG, keepaliveTimeMs: LONG });
    const grown = await besideHonest('unread answers', async (stand) => {
      await open(20 * SCALE);
      for (const [i, connection] of connections.entries()) {
        // Half of them by flow control, half by not reading the socket.
        if (i % 2 === 1) {
          connection.socket.pause();
          openWindows(connection);
        }
        for (const id of streamIds(50)) connection.write(question(id));
      }
      await until('calls cut off', () => server.log.includes('cut off'));
      await begun();
      await stand();
      await pause(2_000);
      return `${connections.length * 50} MiB asked for`;
    });
    // Without the budget all of it would be held: nothing else ends these calls.
    expect(grown).toBeLessThan((connections.length * 50) / 2);
  });

  test('calls whose answers nobody takes make room for others at the limit of calls', async () => {
    await start({ maxCalls: 200, stallMs: LONG, keepaliveTimeMs: LONG });
    await besideHonest('untaken answers at the limit', async (stand) => {
      await open(10);
      for (const connection of connections) {
        // Their windows take next to nothing.
        for (const id of streamIds(50)) connection.write(question(id));
      }
      await begun();
      await stand();
      await pause(3_000);
      return `${connections.length * 50} calls of at most 200`;
    });
  });
});

describe('idle', () => {
  test('streams of requests that bring none make room at the limit of calls, and a busy one goes on', async () => {
    await start({ maxCalls: 50 });
    const client = new StorageClient(server.address, { timeoutMs: 20_000 });
    let sent = 0;
    let going = true;
    const items = async function* (): AsyncGenerator<IngestItem> {
      while (going) {
        yield { concept: { id: `busy${sent++}`, content: 'one of many' } };
        await pause(5);
      }
    };
    const busy = (async () => {
      let accepted = 0;
      for await (const ack of client.ingest(items(), { chunkItems: 1 })) accepted += ack.accepted;
      return accepted;
    })();
    await besideHonest('idle streams at the limit', async (stand) => {
      await open(2);
      for (const connection of connections) {
        for (const id of streamIds(40)) connection.write(headers(id, METHODS.ingest.path));
      }
      await begun();
      await stand();
      await pause(2_000);
      return '80 streams and a busy one, of at most 50 calls';
    }).finally(() => (going = false));
    expect(await busy).toBe(sent);
    await client.close();
  });
});

describe('half-open', () => {
  test('peers that vanished, at any point of their greeting, are let go of', async () => {
    await start({ keepaliveTimeMs: 1_000, keepaliveTimeoutMs: 1_000, uploadGraceMs: LONG });
    const grown = await besideHonest('half-open', async (stand) => {
      await open(200 * SCALE);
      for (const [i, connection] of connections.entries()) {
        connection.answering = false;
        // Some in the middle of a call, and of a frame.
        if (i % 2 === 0) connection.write(headers(1, LEARN));
        if (i % 4 === 0)
          connection.write(frame(FRAME.DATA, 0, 1, Buffer.alloc(100)).subarray(0, 50));
      }
      await stand();
      const ms = await until('connections gone', () => server.connections() === 1);
      return `${connections.length} gone within ${seconds(ms)}`;
    });
    expect(grown).toBeLessThan(SLACK_MIB);
    await Promise.all(connections.map(({ closed }) => closed));
  });

  test('connections of a certain age are asked to go, and nobody notices', async () => {
    await start({ maxConnectionAgeMs: 500 });
    await besideHonest('connections replaced after 0.5 s', async () => {
      await open(1);
      await until('GOAWAY', () => sum(FRAME.GOAWAY) > 0);
      await pause(3_000);
      return '3 s and more of them';
    });
  });
});
