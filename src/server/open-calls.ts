/** The calls that are open on a server, in the order they came, and each connection's that are under way. */

import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import { BySession } from './by-session.js';
import type { QueuedCall } from './call-queue.js';
import type { Upload } from './upload.js';

/** Between the messages of a stream its sender may wait as long as it likes: the client, and we where we send one. */
export interface StreamForm {
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  /** It may stay open for ever with nothing to say. */
  readonly standing: boolean;
}

/** One call from its headers to the end of its stream. */
export interface OpenCall {
  readonly session: ServerHttp2Session;
  readonly stream: ServerHttp2Stream;
  readonly path: string;
  readonly form: StreamForm;
  readonly queued: QueuedCall;
  /** It is not in the queue any more. */
  begun: boolean;
  /** When it began, or came into the queue. */
  openedAt: number;
  /** Null before it has begun, and when grpc-js refused it. */
  upload: Upload | null;
  /** The client has sent all it will. */
  ended: boolean;
  /** At the last look the status had been given to the stream. */
  answered: boolean;
  /** Unsent bytes of the answer when they were last looked at. */
  unsent: number;
  /** When some of them were seen to have been taken, or the first of them was written. */
  movedAt: number;
}

export class OpenCalls {
  private readonly all = new Set<OpenCall>();
  /** Those that stand are no calls under way. */
  private readonly bySession = new BySession<OpenCall>();

  /** Calls under way. */
  get underWay(): number {
    return this.bySession.count;
  }

  [Symbol.iterator](): SetIterator<OpenCall> {
    return this.all.values();
  }

  has(call: OpenCall): boolean {
    return this.all.has(call);
  }

  add(call: OpenCall): void {
    this.all.add(call);
    if (!call.form.standing) this.bySession.add(call.session, call);
  }

  delete(call: OpenCall): void {
    this.all.delete(call);
    this.bySession.delete(call.session, call);
  }

  /** Those of the connection that has most under way; null when none has more than this one. */
  ofMost(session: ServerHttp2Session): ReadonlySet<OpenCall> | null {
    const most = this.bySession.most();
    return most !== null && most.items.size > this.bySession.countOf(session) ? most.items : null;
  }
}
