/** A call's cancellation: asked once by writes, a signal for what can be stopped on its way, and nothing behind an answer. */

import { EventEmitter } from 'node:events';

import { expect, test } from 'vitest';

import { CallContext } from '#sutra/server/call-context';

class StubCall extends EventEmitter {
  cancelled = false;
  deadline = Infinity;
  getDeadline(): number {
    return this.deadline;
  }
  cancel(): void {
    this.cancelled = true;
    this.emit('cancelled');
  }
}

test('a write of a client that has gone is refused before it is queued', () => {
  const call = new StubCall();
  const context = new CallContext(call);
  context.requireCaller();
  call.cancel();
  expect(() => {
    context.requireCaller();
  }).toThrow(expect.objectContaining({ code: 'CANCELLED' }) as Error);
});

test('a signal says why: the client, or its deadline', () => {
  const call = new StubCall();
  const { signal } = new CallContext(call);
  expect(signal.aborted).toBe(false);
  call.cancel();
  expect(signal.reason).toMatchObject({ code: 'CANCELLED' });
  expect(new CallContext(call).signal.reason).toMatchObject({ code: 'CANCELLED' });

  const late = new StubCall();
  late.deadline = Date.now() + 5;
  const context = new CallContext(late);
  const { signal: timed } = context;
  while (Date.now() < late.deadline);
  late.cancel();
  expect(timed.reason).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
});

test('what grpc-js says behind an answer aborts nothing', () => {
  const call = new StubCall();
  const context = new CallContext(call);
  const { signal } = context;
  context.isOver = true;
  call.cancel();
  expect(signal.aborted).toBe(false);
});
