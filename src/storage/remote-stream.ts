/**
 * The answers of a gRPC stream as a client takes them: read a few ahead, cancelled when whoever takes them leaves, aborts,
 * or waits for one longer than it wants to.
 */

import type { Readable } from 'node:stream';
import { SutraError } from '../errors.js';
import { MessageQueue } from '../wire/message-queue.js';
import { throwIfAborted } from './validation.js';

/** setTimeout counts in 31 bits. */
const LONGEST_TIMEOUT_MS = 0x7fff_ffff;

export interface AnswerStreamOptions {
  /** Answers that are read and not taken. */
  readonly readAhead: number;
  /** The longest that one answer may take to come. */
  readonly idleMs: number;
  readonly signal: AbortSignal | undefined;
}

/** Throws the ServiceError that the stream ended with, or why it was left. */
export async function* takeAnswers<Response>(
  call: Readable & { cancel(): void },
  { readAhead, idleMs, signal }: AnswerStreamOptions,
): AsyncGenerator<Response, void, undefined> {
  const queue = new MessageQueue<Response>(call, readAhead);
  const cancel = (): void => call.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  let timer: NodeJS.Timeout | null = null;
  try {
    for (;;) {
      throwIfAborted(signal);
      if (idleMs < LONGEST_TIMEOUT_MS) {
        timer = setTimeout(() => {
          const description = `nothing came for ${idleMs} ms`;
          queue.fail(new SutraError('DEADLINE_EXCEEDED', description));
        }, idleMs);
      }
      const answer = await queue.next();
      if (timer !== null) clearTimeout(timer);
      if (answer === null) return;
      yield answer;
    }
  } finally {
    if (timer !== null) clearTimeout(timer);
    signal?.removeEventListener('abort', cancel);
    // Does nothing where the stream is at its end.
    cancel();
  }
}
