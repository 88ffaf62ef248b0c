import { EventEmitter } from 'node:events';
import type { ServerHttp2Session } from 'node:http2';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { CallQueue, type QueuedCall } from '#sutra/server/call-queue';

const KIB = 1024;

// Turns take as long as the calls in them say.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** The queue knows a session by its identity alone. */
function session(): ServerHttp2Session {
  return new EventEmitter() as ServerHttp2Session;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function drained(queue: CallQueue): Promise<void> {
  while (queue.waiting > 0) await turn();
}

/** What a call does that makes a large answer. */
function work(ms: number): void {
  vi.advanceTimersByTime(ms);
}

/** Adds calls named `name` and a number, each of which brings `bytes` as it begins, and is over then. */
function ask(
  queue: CallQueue,
  of: ServerHttp2Session,
  name: string,
  count: number,
  begun: string[],
  bytes = 0,
): QueuedCall[] {
  const calls: QueuedCall[] = [];
  for (let i = 0; i < count; i++) {
    const call = queue.add(of, () => {
      begun.push(`${name}${i}`);
      call.charge(bytes);
      call.close();
    });
    calls.push(call);
  }
  return calls;
}

/** How many calls begin in the next turn. */
async function inOneTurn(begun: readonly string[]): Promise<number> {
  const before = begun.length;
  await turn();
  return begun.length - before;
}

test('calls of one connection begin in their order, none before add() has returned', async () => {
  const queue = new CallQueue();
  const begun: string[] = [];
  ask(queue, session(), 'a', 3, begun);
  expect(begun).toEqual([]);
  expect(queue.waiting).toBe(3);
  await drained(queue);
  expect(begun).toEqual(['a0', 'a1', 'a2']);
});

test('two connections take turns, whichever asked first', async () => {
  const queue = new CallQueue();
  const begun: string[] = [];
  ask(queue, session(), 'a', 3, begun);
  ask(queue, session(), 'b', 3, begun);
  await drained(queue);
  expect(begun).toEqual(['a0', 'b0', 'a1', 'b1', 'a2', 'b2']);
});

test('one whose calls bring much gets as many bytes as the others, not as many calls', async () => {
  const queue = new CallQueue();
  const begun: string[] = [];
  ask(queue, session(), 'large', 3, begun, 320 * KIB);
  ask(queue, session(), 's', 12, begun);
  await drained(queue);
  // 352 KiB each, beside 32 KiB each.
  expect(begun.indexOf('large1')).toBe(12);
  expect(begun.at(-1)).toBe('large2');
});

test('who comes later starts level: nothing is saved up, and what was had before is forgotten', async () => {
  const queue = new CallQueue();
  const begun: string[] = [];
  const early = session();
  const late = session();
  ask(queue, early, 'early', 1, begun, 10_240 * KIB);
  ask(queue, late, 'late', 1, begun);
  await drained(queue);
  // Behind its last call the queue was empty.
  await turn();
  begun.length = 0;
  ask(queue, early, 'e', 3, begun);
  ask(queue, late, 'l', 3, begun);
  await drained(queue);
  expect(begun).toEqual(['e0', 'l0', 'e1', 'l1', 'e2', 'l2']);
});

test('connections that go on coming do not all come before one that has had a call', async () => {
  const queue = new CallQueue();
  const begun: string[] = [];
  const known = session();
  ask(queue, known, 'first', 1, begun, 62);
  await drained(queue);
  const more = (count: number): void => {
    for (let n = 0; n < count; n++) ask(queue, session(), 'new', 1, begun);
  };
  more(50);
  ask(queue, known, 'second', 1, begun, 62);
  ask(queue, known, 'third', 1, begun, 62);
  for (let i = 0; i < 400; i++) {
    // As many as begin while turns are long.
    more(1);
    work(5);
    await turn();
  }
  expect(begun).toContain('second0');
  expect(begun).toContain('third0');
  expect(begun.length - begun.indexOf('third0')).toBeGreaterThan(100);
  await drained(queue);
});

test('while turns are long few calls begin in each, and one that comes then is in the next', async () => {
  const queue = new CallQueue();
  const begun: string[] = [];
  const greedy = session();
  for (let i = 0; i < 60; i++) {
    const call = queue.add(greedy, () => {
      begun.push('g');
      work(5);
      // Its answer comes later.
      setImmediate(() => call.charge(1024 * KIB));
    });
  }
  while (queue.waiting > 30) await turn();
  const before = begun.length;
  ask(queue, session(), 'small', 1, begun);
  await turn();
  await turn();
  expect(begun.indexOf('small0')).toBe(before);
  // One or two of the long ones in each turn by now.
  expect(begun.length - before).toBeLessThan(6);
  await drained(queue);
  expect(begun).toHaveLength(61);
});

test('of a connection that is not known yet two calls begin in a turn, of one whose calls were small many', async () => {
  const queue = new CallQueue();
  const begun: string[] = [];
  const own = session();
  const calls = Array.from({ length: 100 }, (_, i) => queue.add(own, () => begun.push(String(i))));
  expect(await inOneTurn(begun)).toBe(2);
  expect(await inOneTurn(begun)).toBe(2);
  for (const call of calls.slice(0, begun.length)) call.close();
  expect(await inOneTurn(begun)).toBeGreaterThan(2);
  for (const call of calls.slice(4, begun.length)) call.close();
  expect(await inOneTurn(begun)).toBeGreaterThan(12);
  await drained(queue);
  expect(begun).toEqual(Array.from({ length: 100 }, (_, i) => String(i)));
});

test('of a connection whose answers are large one call begins in a turn, until they are small again', async () => {
  const queue = new CallQueue();
  const begun: string[] = [];
  const own = session();
  ask(queue, own, 'large', 10, begun, 1024 * KIB);
  while (begun.length < 4) await turn();
  expect([await inOneTurn(begun), await inOneTurn(begun)]).toEqual([1, 1]);
  await drained(queue);
  await turn();
  ask(queue, own, 's', 100, begun);
  expect(await inOneTurn(begun)).toBe(1);
  while (queue.waiting > 80) await turn();
  expect(await inOneTurn(begun)).toBeGreaterThan(12);
});

test('a call that is removed does not begin', async () => {
  const queue = new CallQueue();
  const begun: string[] = [];
  const [, second] = ask(queue, session(), 'a', 3, begun);
  second?.close();
  expect(queue.waiting).toBe(2);
  await drained(queue);
  expect(begun).toEqual(['a0', 'a2']);
});
