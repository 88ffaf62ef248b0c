/**
 * The streaming side of the service: answers go out one by one as the client takes them, and requests are read as the storage
 * takes them, so that a stream costs a few messages of memory, whatever its length and its client's pace.
 *
 * A stream ends with OK when the answers are at their end, with the error that they threw, or, when its client takes or sends
 * nothing for the idle time, with DEADLINE_EXCEEDED. The iterator of answers is always closed, so that what it holds is let
 * go of when the client goes away.
 */

import { status, type ServerDuplexStream, type StatusObject } from '@grpc/grpc-js';
import { SutraError } from '../errors.js';
import { throwIfAborted } from '../storage/validation.js';
import { MessageQueue } from '../wire/message-queue.js';
import { DecodeFailure } from '../wire/methods.js';

/** Requests that were read and not taken. */
const READ_AHEAD = 2;

/** The part of grpc-js's streaming calls that this needs. */
export interface Outgoing<Response> {
  readonly cancelled: boolean;
  write(answer: Response, done: (error?: Error | null) => void): unknown;
  end(): unknown;
  emit(event: 'error', told: StatusObject): unknown;
}

/**
 * Sends what `answers` makes, then the status, and resolves with its code. The next answer is made while one is being sent, and
 * no more. `statusOf` says what an error is told as.
 */
export async function sendAnswers<Response>(
  call: Outgoing<Response>,
  answers: () => AsyncIterable<Response>,
  signal: AbortSignal,
  idleMs: number,
  statusOf: (error: unknown) => StatusObject,
): Promise<status> {
  try {
    let sending = Promise.resolve();
    for await (const answer of answers()) {
      await sending;
      throwIfAborted(signal);
      sending = send(call, answer, idleMs);
      // Looked at in the next turn of the loop, or behind it; it must not count as unhandled before.
      sending.catch(() => undefined);
    }
    await sending;
    call.end();
    return status.OK;
  } catch (error) {
    // Nobody is there to be told.
    if (call.cancelled) return status.CANCELLED;
    const told = statusOf(error);
    call.emit('error', told);
    return told.code;
  }
}

/** Resolves when the transport has taken the answer. */
function send<Response>(call: Outgoing<Response>, answer: Response, idleMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(idle('took', idleMs));
    }, idleMs);
    call.write(answer, (error) => {
      clearTimeout(timer);
      if (error === null || error === undefined) resolve();
      else reject(new SutraError('CANCELLED', 'the client went away', { cause: error }));
    });
  });
}

/** The requests of a stream, as the taker asks for them. Throws what a request that cannot be decoded is refused with. */
export async function* receiveRequests<Request>(
  call: ServerDuplexStream<Request | DecodeFailure, unknown>,
  signal: AbortSignal,
  closing: AbortSignal,
  idleMs: number,
  received: () => void,
): AsyncGenerator<Request, void, undefined> {
  const queue = new MessageQueue<Request | DecodeFailure>(call, READ_AHEAD);
  signal.addEventListener('abort', () => {
    queue.fail(signal.reason as Error);
  });
  const drain = (): void => queue.fail(new SutraError('UNAVAILABLE', 'the server is draining'));
  closing.addEventListener('abort', drain);
  throwIfAborted(signal);
  try {
    for (;;) {
      const timer = setTimeout(() => {
        queue.fail(idle('sent', idleMs));
      }, idleMs);
      let request: Request | DecodeFailure | null;
      try {
        request = await queue.next();
      } finally {
        clearTimeout(timer);
      }
      if (request === null) return;
      received();
      if (request instanceof DecodeFailure) throw request.error;
      yield request;
    }
  } finally {
    closing.removeEventListener('abort', drain);
  }
}

function idle(what: string, idleMs: number): SutraError {
  return new SutraError('DEADLINE_EXCEEDED', `the client ${what} nothing for ${idleMs} ms`, {
    hint: 'Streams go on as long as something is sent and taken; start it again.',
  });
}
