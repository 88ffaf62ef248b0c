/** What the guard does with many calls, by a clock that the test moves. */

import { EventEmitter } from 'node:events';
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { SILENT } from '#sutra/server/logger';
import { StreamGuard } from '#sutra/server/stream-guard';

const CALLS = 100;
const TICK_MS = 1_000;

/** An answered stream whose client goes on sending, on a connection that takes no reset: it is closed, and never says so. */
class AnsweredStream extends EventEmitter {
  readonly session = new EventEmitter() as ServerHttp2Session;
  readonly destroyed = false;
  readonly writableFinished = true;
  /** How often the guard looked at any of them. */
  static looks = 0;
  readonly headersSent = false;
  readonly sentTrailers = { 'grpc-status': '0' };
  readonly codes: number[] = [];

  get writableLength(): number {
    AnsweredStream.looks++;
    return 0;
  }
  get closed(): boolean {
    return this.codes.length > 0;
  }
  write(): boolean {
    return true;
  }
  respond(): void {
    return;
  }
  isPaused(): boolean {
    return false;
  }
  resume(): void {
    return;
  }
  close(code: number): void {
    this.codes.push(code);
  }
}

let guard: StreamGuard;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setImmediate', 'performance'] });
  guard = new StreamGuard(
    {
      maxMessageBytes: 1_000,
      maxUploadBytes: 1_000,
      maxUnsentBytes: 1_000,
      maxHeaderBytes: 1_000,
      maxCalls: 2 * CALLS,
      standing: { perConnection: 1, total: 1 },
      uploadGraceMs: 10 * TICK_MS,
      minUploadRate: 1,
      stallMs: 10 * TICK_MS,
    },
    () => undefined,
    new Map(),
    SILENT,
  );
});

afterEach(() => {
  guard.close();
  vi.useRealTimers();
});

function open(count: number): AnsweredStream[] {
  const streams = Array.from({ length: count }, () => new AnsweredStream());
  for (const stream of streams) {
    guard.open(stream as unknown as ServerHttp2Stream, { ':path': '/call' }, () => undefined);
  }
  return streams;
}

function closes(streams: readonly AnsweredStream[]): number {
  return streams.reduce((sum, { codes }) => sum + codes.length, 0);
}

/** One look with the turns of the event loop that it takes, the look itself among them; no more than CALLS. */
function look(): number {
  let turns = 0;
  do vi.advanceTimersToNextTimer();
  while (++turns < CALLS && vi.getTimerCount() > 1);
  return turns;
}

test('answered streams are closed at the second look, a few in a turn, once, and then left alone', async () => {
  const streams = open(CALLS);
  // Their calls begin, and the turns of that are over.
  await vi.advanceTimersByTimeAsync(TICK_MS - 1);
  expect(vi.getTimerCount(), 'only the look once a second').toBe(1);

  expect(look()).toBe(1);
  expect(closes(streams), 'their status may still be on its way out').toBe(0);

  const turns = look();
  expect(turns).toBeGreaterThan(1);
  expect(turns).toBeLessThan(CALLS / 2);
  expect(streams.map(({ codes }) => codes)).toEqual(
    Array.from({ length: CALLS }, () => [constants.NGHTTP2_NO_ERROR]),
  );

  expect([look(), look()]).toEqual([1, 1]);
  expect(closes(streams)).toBe(CALLS);
});

test('when no more calls are taken, those that are open are not gone through for each that comes', async () => {
  open(2 * CALLS);
  await vi.advanceTimersByTimeAsync(TICK_MS / 2);
  AnsweredStream.looks = 0;
  const more = 50 * CALLS;
  const refused = open(more);
  expect(
    vi.getTimerCount(),
    'each is closed in a later turn, and there is the look once a second',
  ).toBe(more + 1);
  expect(AnsweredStream.looks).toBeLessThan(2 * more);
  await vi.advanceTimersByTimeAsync(1);
  expect(closes(refused)).toBe(more);
});
