/** What each connection has open; only connections that have some take a place. */

import type { ServerHttp2Session } from 'node:http2';

export class BySession<Item> {
  /** Each connection's in the order they were opened. */
  private readonly sets = new Map<ServerHttp2Session, Set<Item>>();
  private total = 0;

  /** Of all connections together. */
  get count(): number {
    return this.total;
  }

  /** How many this connection has. */
  countOf(session: ServerHttp2Session): number {
    return this.sets.get(session)?.size ?? 0;
  }

  add(session: ServerHttp2Session, item: Item): void {
    const own = this.sets.get(session);
    if (own === undefined) this.sets.set(session, new Set([item]));
    else own.add(item);
    this.total++;
  }

  /** One that is not there changes nothing. */
  delete(session: ServerHttp2Session, item: Item): void {
    const own = this.sets.get(session);
    if (own?.delete(item) !== true) return;
    this.total--;
    if (own.size === 0) this.sets.delete(session);
  }

  /** The connection that has most, of several such the first; null when none has any. */
  most(): { readonly session: ServerHttp2Session; readonly items: ReadonlySet<Item> } | null {
    let most = null;
    for (const [session, items] of this.sets) {
      if (items.size > (most?.items.size ?? 0)) most = { session, items };
    }
    return most;
  }
}
