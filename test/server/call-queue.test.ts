import { EventEmitter } from 'node:events';
import type { ServerHttp2Session } from 'node:http2';
import { expect, test } from 'vitest';
import { CallQueue } from '#sutra/server/call-queue';

const KIB = 1024;

/** The queue knows a session by its identity alone. */
function session(): ServerHttp2Session {
  return new EventEmitter() as ServerHttp2Session;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function drained(queue: CallQueue<unknown>): Promise<void> {
  while (queue.waiting > 0) await turn();
}

/** Holds the thread, as a call does that makes a large answer. */
function work(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** Adds calls named `name` and a number, each of which brings `bytes`. */
function ask(
  queue: CallQueue<string>,
  of: ServerHttp2Session,
  name: string,
  count: number,
  begun: string[],
  bytes = 0,
): void {
  for (let i = 0; i < count; i++) {
    queue.add(of, `${name}${i}`, () => {
      begun.push(`${name}${i}`);
      queue.charge(of, bytes);
    });
  }
}

test('calls of one connection begin in their order, none before add() has returned', async () => {
  const queue = new CallQueue<string>();
  const begun: string[] = [];
  ask(queue, session(), 'a', 3, begun);
  expect(begun).toEqual([]);
  expect(queue.waiting).toBe(3);
  await drained(queue);
  expect(begun).toEqual(['a0', 'a1', 'a2']);
});

test('two connections take turns, whichever asked first', async () => {
  const queue = new CallQueue<string>();
  const begun: string[] = [];
  ask(queue, session(), 'a', 3, begun);
  ask(queue, session(), 'b', 3, begun);
  await drained(queue);
  expect(begun).toEqual(['a0', 'b0', 'a1', 'b1', 'a2', 'b2']);
});

test('one whose calls bring much gets as many bytes as the others, not as many calls', async () => {
  const queue = new CallQueue<string>();
  const begun: string[] = [];
  ask(queue, session(), 'large', 3, begun, 320 * KIB);
  ask(queue, session(), 's', 12, begun);
  await drained(queue);
  // 352 KiB each, beside 32 KiB each.
  expect(begun.indexOf('large1')).toBe(12);
  expect(begun.at(-1)).toBe('large2');
});

test('who comes later starts level: nothing is saved up, and what was had before is forgotten', async () => {
  const queue = new CallQueue<string>();
  const begun: string[] = [];
  const early = session();
  const late = session();
  ask(queue, early, 'early', 1, begun, 10_240 * KIB);
  await drained(queue);
  // Behind its last call the queue was empty.
  await turn();
  begun.length = 0;
  ask(queue, early, 'e', 3, begun);
  ask(queue, late, 'l', 3, begun);
  await drained(queue);
  expect(begun).toEqual(['e0', 'l0', 'e1', 'l1', 'e2', 'l2']);
});

test('while turns are long few calls begin in each, and one that comes then is in the next', async () => {
  const queue = new CallQueue<string>();
  const begun: string[] = [];
  const greedy = session();
  for (let i = 0; i < 60; i++) {
    queue.add(greedy, `g${i}`, () => {
      begun.push('g');
      work(5);
      queue.charge(greedy, 1024 * KIB);
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

test('a call that is removed does not begin', async () => {
  const queue = new CallQueue<string>();
  const begun: string[] = [];
  const own = session();
  ask(queue, own, 'a', 3, begun);
  queue.remove(own, 'a1');
  queue.remove(own, 'a1');
  queue.remove(own, 'never there');
  expect(queue.waiting).toBe(2);
  await drained(queue);
  expect(begun).toEqual(['a0', 'a2']);
});
