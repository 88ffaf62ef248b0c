/**
 * One call's deadline and cancellation in the words of the Storage interface. The AbortSignal is made when the storage first
 * asks for it, because most calls are over before anything could cancel them.
 */

import { SutraError } from '../errors.js';
import type { CallOptions } from '../storage/storage.js';

/** The part of grpc-js's server call that this needs. */
export interface CancellableCall {
  readonly cancelled: boolean;
  getDeadline(): Date | number;
  on(event: 'cancelled', listener: () => void): unknown;
}

export class CallContext implements CallOptions {
  /** What is left until the client's deadline; absent when it has none. */
  declare readonly timeoutMs?: number;
  private readonly call: CancellableCall;
  private readonly deadline: number;
  private controller: AbortController | null = null;
  /** Answered: nobody listens to the signal any more, and a reason for it would be an error with its stack for nothing. */
  isOver = false;

  constructor(call: CancellableCall) {
    this.call = call;
    this.deadline = Number(call.getDeadline());
    if (this.deadline !== Infinity) {
      const timeoutMs = this.deadline - Date.now();
      if (timeoutMs <= 0) throw deadlineExceeded();
      this.timeoutMs = timeoutMs;
    }
  }

  /** For calls that nothing can cancel once they are begun. @throws CANCELLED when the client has gone already */
  requireCaller(): void {
    if (this.call.cancelled) throw this.reason();
  }

  get signal(): AbortSignal {
    if (this.controller === null) {
      const controller = new AbortController();
      this.controller = controller;
      // grpc-js emits 'cancelled' for the client's cancellation, a lost connection and a passed deadline alike, and
      // also behind every call that was answered.
      const abort = (): void => {
        if (!this.isOver) controller.abort(this.reason());
      };
      if (this.call.cancelled) abort();
      else this.call.on('cancelled', abort);
    }
    return this.controller.signal;
  }

  private reason(): SutraError {
    return Date.now() >= this.deadline
      ? deadlineExceeded()
      : new SutraError('CANCELLED', 'the client cancelled the call or went away');
  }
}

function deadlineExceeded(): SutraError {
  return new SutraError('DEADLINE_EXCEEDED', 'the deadline passed before the call was done');
}
