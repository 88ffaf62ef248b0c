/**
 * Streams that may stay open for ever with nothing to say: watches of health, and reflection. Nobody can tell an honest one from
 * one that only takes a place, so they have places of their own, apart from calls: a few on each connection, and in all as many
 * as there may be connections. When all are taken, one of the connection that has most gives way to the first of another
 * connection: as long as there are at least as many places as connections, each connection can have one.
 */

import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { SutraError } from '../errors.js';

/** Clients read it as RESOURCE_EXHAUSTED. */
const { NGHTTP2_ENHANCE_YOUR_CALM } = constants;

export interface StandingLimits {
  readonly perConnection: number;
  /** Over all connections. */
  readonly total: number;
}

export class StandingStreams {
  private readonly limits: StandingLimits;
  /** Each connection's in the order they were opened; only connections that have some. */
  private readonly bySession = new Map<ServerHttp2Session, Set<ServerHttp2Stream>>();
  private open = 0;

  constructor(limits: StandingLimits) {
    this.limits = limits;
  }

  get count(): number {
    return this.open;
  }

  /** Gives the stream a place until it is closed. @throws OVERLOADED when there is none for it */
  add(session: ServerHttp2Session, stream: ServerHttp2Stream): void {
    const own = this.bySession.get(session) ?? new Set();
    const { perConnection, total } = this.limits;
    if (own.size >= perConnection) {
      throw new SutraError(
        'OVERLOADED',
        `${own.size} watches of health and reflections are open on this connection, and no more are taken`,
        { hint: 'One watch tells all that there is to tell; close the others.' },
      );
    }
    if (this.open >= total && (own.size > 0 || !this.giveWay())) {
      throw new SutraError(
        'OVERLOADED',
        `${total} watches of health and reflections are open, and no more are taken`,
        { hint: 'Ask with Check instead of Watch, or again later.' },
      );
    }
    own.add(stream);
    this.bySession.set(session, own);
    this.open++;
    stream.once('close', () => this.remove(session, stream));
  }

  /** Ends the oldest one of the connection that has most; false when none has more than one. */
  private giveWay(): boolean {
    let most: Set<ServerHttp2Stream> = new Set();
    let of: ServerHttp2Session | null = null;
    for (const [session, streams] of this.bySession) {
      if (streams.size <= most.size) continue;
      most = streams;
      of = session;
    }
    const [oldest] = most;
    if (oldest === undefined || of === null || most.size < 2) return false;
    this.remove(of, oldest);
    oldest.close(NGHTTP2_ENHANCE_YOUR_CALM);
    // At once: a connection that is not read takes no reset.
    oldest.destroy();
    return true;
  }

  private remove(session: ServerHttp2Session, stream: ServerHttp2Stream): void {
    const own = this.bySession.get(session);
    // One that gave way has been removed before it is closed.
    if (own?.delete(stream) !== true) return;
    this.open--;
    if (own.size === 0) this.bySession.delete(session);
  }
}
