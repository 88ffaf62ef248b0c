/**
 * Rows 12 and 13 of the fault matrix: traffic that no client library sends, in amounts that hurt. The server is a process of its own; it
 * must answer an honest client all the while, keep its memory within a bound, and close in order after it. Times
 * are printed and decide nothing. SUTRA_HOSTILE=10 makes ten times as much of it.
 */

import { gzipSync } from 'node:zlib';
import { afterEach, expect, test } from 'vitest';
import { METHODS } from '#sutra/wire/methods';
import { LimitsServer, MIB } from '../support/limits-server.js';
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  frame,
  headerBlock,
  headers,
  messageHeader,
  RawConnection,
  reset,
} from '../support/raw-http2.js';

const SCALE = Number(process.env['SUTRA_HOSTILE'] ?? '1');
const LEARN = METHODS.learnConcept.path;
/** A rest's noise: young generations grow to it, and the allocator keeps some of what was freed. */
const SLACK_MIB = 96;

const servers: LimitsServer[] = [];

async function start(...args: Parameters<typeof LimitsServer.start>): Promise<LimitsServer> {
  const server = await LimitsServer.start(...args);
  servers.push(server);
  return server;
}

afterEach(async () => {
  for (const server of servers.splice(0)) {
    expect(await server.stop(), server.log).toBe(0);
    expect(server.log).not.toContain('ERROR');
  }
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

test('19 MiB of one-byte DATA frames do not take more memory than they bring', async () => {
  const server = await start();
  const watched = await server.watch('one-byte frames', async () => {
    for (let round = 0; round < SCALE; round++) {
      const connection = await RawConnection.open(server.port);
      const streams = Array.from({ length: 32 }, (_, i) => 2 * i + 1);
      for (const id of streams) {
        connection.write(headers(id, LEARN), frame(FRAME.DATA, 0, id, messageHeader(4 * MIB)));
      }
      // 32 x 62,000 frames of 10 bytes are 19 MiB; each stream stays within its own window of 64 KiB.
      const burst = streams.map((id) =>
        Buffer.concat(
          Array.from({ length: 1000 }, () => frame(FRAME.DATA, 0, id, Buffer.from('x'))),
        ),
      );
      for (let i = 0; i < 62 && !connection.socket.destroyed; i++) {
        for (const bytes of burst) {
          const asked = Date.now();
          // Streams that were given up do not give their window back at once.
          while (connection.window < 1000 && Date.now() - asked < 2_000) await pause(1);
          connection.window -= 1000;
          connection.write(bytes);
          await connection.drained();
        }
      }
      connection.destroy();
      expect(connection.bytesSent).toBeGreaterThan(MIB);
      expect(connection.count(FRAME.RST_STREAM) + connection.count(FRAME.HEADERS)).toBeGreaterThan(
        0,
      );
    }
  });
  expect(watched.peakMiB - watched.restMiB).toBeLessThan(SLACK_MIB);
});

test('20,000 streams that send nothing are held within a bound, and given up after their time', async () => {
  const server = await start({ maxCalls: 10_000, uploadGraceMs: 1_000 });
  const connections: RawConnection[] = [];
  const watched = await server.watch('20,000 open streams', async () => {
    for (let i = 0; i < 200; i++) {
      const connection = await RawConnection.open(server.port);
      connections.push(connection);
      connection.write(...Array.from({ length: 100 }, (_, n) => headers(2 * n + 1, LEARN)));
      await connection.drained();
    }
    for (let waited = 0; waited < 30_000; waited += 100) {
      const answered = connections.reduce((sum, c) => sum + c.count(FRAME.HEADERS), 0);
      if (answered >= 20_000) break;
      await pause(100);
    }
  });
  // Each was answered: the ones that made room, and those that came too late.
  expect(connections.reduce((sum, c) => sum + c.count(FRAME.HEADERS), 0)).toBe(20_000);
  for (const connection of connections) connection.destroy();
  expect(watched.peakMiB - watched.restMiB).toBeLessThan(3 * SLACK_MIB);
});

test('streams that are reset as soon as they are opened, and frames of every odd kind', async () => {
  const server = await start();
  const watched = await server.watch('rapid resets, odd frames', async () => {
    for (let round = 0; round < 10 * SCALE; round++) {
      const connection = await RawConnection.open(server.port);
      for (let n = 0; n < 2_000 && !connection.socket.destroyed; n += 100) {
        const burst: Buffer[] = [];
        for (let i = n; i < n + 100; i++) {
          burst.push(headers(2 * i + 1, i % 2 === 0 ? LEARN : '/no/such'), reset(2 * i + 1));
        }
        connection.write(...burst);
        await connection.drained();
      }
      connection.destroy();
    }
    const empty = Buffer.alloc(0);
    const eight = Buffer.alloc(8);
    const odd: Record<string, Buffer> = {
      ping: frame(FRAME.PING, 0, 0, eight),
      settings: frame(FRAME.SETTINGS, 0, 0, empty),
      emptyData: frame(FRAME.DATA, 0, 1, empty),
      window: frame(FRAME.WINDOW_UPDATE, 0, 0, Buffer.from([0, 0, 0, 1])),
      overflow: frame(FRAME.WINDOW_UPDATE, 0, 1, Buffer.from([0x7f, 0xff, 0xff, 0xff])),
      priority: frame(FRAME.PRIORITY, 0, 1, Buffer.from([0, 0, 0, 3, 16])),
      unknown: frame(0x42, 0xff, 1, eight),
      goaway: frame(FRAME.GOAWAY, 0, 0, eight),
      resetIdle: reset(0x7fff_ffff),
      zeroStream: frame(FRAME.DATA, 0, 0, eight),
      evenStream: frame(FRAME.HEADERS, END_HEADERS, 2, headerBlock(LEARN)),
      hugeFrame: frame(FRAME.DATA, 0, 1, Buffer.alloc(20_000)),
      continuation: frame(FRAME.CONTINUATION, 0, 3, headerBlock(LEARN)),
      badHpack: frame(FRAME.HEADERS, END_HEADERS, 3, Buffer.alloc(200, 0xff)),
    };
    for (const [name, bytes] of Object.entries(odd)) {
      const connection = await RawConnection.open(server.port);
      connection.answering = false;
      connection.write(headers(1, LEARN));
      const repeated = Math.ceil((64 * 1024) / bytes.length);
      for (let i = 0; i < 8 * SCALE && !connection.socket.destroyed; i++) {
        connection.write(...Array.from({ length: repeated }, () => bytes));
        await connection.drained();
      }
      // A header block that never ends.
      if (name === 'continuation') {
        connection.write(frame(FRAME.HEADERS, 0, 3, headerBlock(LEARN)));
        connection.write(...Array.from({ length: 2_000 }, () => bytes));
      }
      await pause(20);
      connection.destroy();
    }
  });
  expect(watched.peakMiB - watched.restMiB).toBeLessThan(SLACK_MIB);
});

test('a small gzip of 1 GiB is refused, and twenty at once take no more memory', async () => {
  const server = await start();
  // Sixteen gzip members of 64 MiB behind each other are one gzip file.
  const member = gzipSync(Buffer.alloc(64 * MIB), { level: 9 });
  const bomb = Buffer.concat(Array.from({ length: 16 }, () => member));
  const message = Buffer.concat([messageHeader(bomb.length), bomb]);
  message.writeUInt8(1, 0);
  const send = async (streams: number): Promise<void> => {
    const connections = await Promise.all(
      Array.from({ length: streams }, async () => RawConnection.open(server.port)),
    );
    await Promise.all(
      connections.map(async (connection) => {
        connection.write(headers(1, LEARN, { 'grpc-encoding': 'gzip' }));
        for (let from = 0; from < message.length; from += 16_384) {
          const part = message.subarray(from, from + 16_384);
          while (connection.room(1) < part.length && !connection.socket.destroyed) await pause(1);
          connection.sendData(1, from + part.length === message.length ? END_STREAM : 0, part);
        }
        for (let waited = 0; connection.count(FRAME.HEADERS) === 0 && waited < 20_000; waited += 10)
          await pause(10);
        expect(connection.count(FRAME.HEADERS)).toBe(1);
        connection.destroy();
      }),
    );
  };
  const one = await server.watch(`one bomb of ${bomb.length} bytes`, () => send(1));
  const many = await server.watch('twenty bombs', () => send(20 * SCALE));
  expect(one.peakMiB - one.restMiB).toBeLessThan(SLACK_MIB);
  // The packed bodies, 20 MiB for every twenty of them, wait for their turn.
  expect(many.peakMiB - one.restMiB).toBeLessThan((1 + SCALE) * SLACK_MIB);
});
