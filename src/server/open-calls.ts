/** The calls that are open on a server, in the order they came, and each connection's that are under way. */

import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
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
  /** Only connections that have some; those that stand are no calls under way. */
  private readonly bySession = new Map<ServerHttp2Session, Set<OpenCall>>();
  private count = 0;

  /** Calls under way. */
  get underWay(): number {
    return this.count;
  }

  [Symbol.iterator](): SetIterator<OpenCall> {
    return this.all.values();
  }

  has(call: OpenCall): boolean {
    return this.all.has(call);
  }

  add(call: OpenCall): void {
    this.all.add(call);
    if (call.form.standing) return;
    this.count++;
    const own = this.bySession.get(call.session);
    if (own === undefined) this.bySession.set(call.session, new Set([call]));
    else own.add(call);
  }

  delete(call: OpenCall): void {
    if (!this.all.delete(call) || call.form.standing) return;
    this.count--;
    const own = this.bySession.get(call.session);
    own?.delete(call);
    if (own?.size === 0) this.bySession.delete(call.session);
  }

  /** Those of the connection that has most under way; null when none has more than this one. */
  ofMost(session: ServerHttp2Session): ReadonlySet<OpenCall> | null {
    const own = this.bySession.get(session);
    let most = own;
    for (const calls of this.bySession.values()) if (calls.size > (most?.size ?? 0)) most = calls;
    return most === undefined || most === own ? null : most;
  }
}
