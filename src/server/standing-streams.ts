/**
 * Streams that may stay open for ever with nothing to say: watches of health, and reflection. Nobody can tell an honest one from
 * one that only takes a place, so they have places of their own, apart from calls: a few on each connection, and in all as many
 * as there may be connections. When all are taken, one of the connection that has most gives way to the first of another
 * connection: as long as there are at least as many places as connections, each connection can have one.
 */

import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { SutraError } from '../errors.js';
import { BySession } from './by-session.js';

/** Clients read it as RESOURCE_EXHAUSTED. */
const { NGHTTP2_ENHANCE_YOUR_CALM } = constants;

export interface StandingLimits {
  readonly perConnection: number;
  /** Over all connections. */
  readonly total: number;
}

export class StandingStreams {
  private readonly limits: StandingLimits;
  private readonly bySession = new BySession<ServerHttp2Stream>();

  constructor(limits: StandingLimits) {
    this.limits = limits;
  }

  /** Gives the stream a place until it is closed. @throws OVERLOADED when there is none for it */
  add(session: ServerHttp2Session, stream: ServerHttp2Stream): void {
    const own = this.bySession.countOf(session);
    const { perConnection, total } = this.limits;
    if (own >= perConnection) {
      throw new SutraError(
        'OVERLOADED',
        `${own} watches of health and reflections are open on this connection, and no more are taken`,
        { hint: 'One watch tells all that there is to tell; close the others.' },
      );
    }
    if (this.bySession.count >= total && (own > 0 || !this.giveWay())) {
      throw new SutraError(
        'OVERLOADED',
        `${total} watches of health and reflections are open, and no more are taken`,
        { hint: 'Ask with Check instead of Watch, or again later.' },
      );
    }
    this.bySession.add(session, stream);
    // One that gave way is not there any more.
    stream.once('close', () => this.bySession.delete(session, stream));
  }

  /** Ends the oldest one of the connection that has most; false when none has more than one. */
  private giveWay(): boolean {
    const most = this.bySession.most();
    const [oldest] = most?.items ?? [];
    if (most === null || oldest === undefined || most.items.size < 2) return false;
    this.bySession.delete(most.session, oldest);
    oldest.close(NGHTTP2_ENHANCE_YOUR_CALM);
    // At once: a connection that is not read takes no reset.
    oldest.destroy();
    return true;
  }
}
