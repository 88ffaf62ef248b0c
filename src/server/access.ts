/**
 * Who may call what, decided from a call's headers alone. A token is a long random text in `authorization: Bearer TOKEN`: a
 * full one may do everything, a read-only one may not change anything. Without tokens everybody may do everything.
 *
 * Tokens are kept and compared as SHA-256 digests, in constant time. A token that came in the clear from another machine is
 * refused even when it is right: whoever listens has it now.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders, ServerHttp2Session } from 'node:http2';
import { SutraError } from '../errors.js';
import { isLoopbackHost } from '../storage/address.js';
import { METHODS } from '../wire/methods.js';
import { HEALTH_SERVICE_NAME } from './health.js';
import { REFLECTION_PATHS } from './reflection.js';

export interface Tokens {
  /** Those that may do everything; several while one takes the place of another. */
  readonly full: readonly string[];
  readonly readOnly: readonly string[];
}

/** Orchestrators and load balancers have no token. */
const OPEN_PATHS: ReadonlySet<string> = new Set([METHODS.healthCheck.path]);
const OPEN_PREFIX = `/${HEALTH_SERVICE_NAME}/`;

/** What a read-only token may call. A method that is not named here needs the full one. */
const READ_PATHS: ReadonlySet<string> = new Set([
  METHODS.queryConcept.path,
  METHODS.getNeighbors.path,
  METHODS.findPath.path,
  METHODS.vectorSearch.path,
  METHODS.getStats.path,
  METHODS.scan.path,
  METHODS.backup.path,
  ...REFLECTION_PATHS,
]);

interface Digest {
  readonly digest: Buffer;
  readonly readOnly: boolean;
}

/** The header that was accepted last on a connection: most send the same one with every call. */
interface Accepted {
  readonly header: string;
  readonly readOnly: boolean;
}

export class Access {
  private digests: readonly Digest[] = [];
  private accepted = new WeakMap<ServerHttp2Session, Accepted>();

  constructor(tokens: Tokens) {
    this.replace(tokens);
  }

  /** Whether calls need a token. */
  get needsToken(): boolean {
    return this.digests.length > 0;
  }

  /** Takes effect with the next call, on open connections too. */
  replace(tokens: Tokens): void {
    this.accepted = new WeakMap();
    const digests = (list: readonly string[], readOnly: boolean): Digest[] =>
      list.map((token) => ({ digest: digestOf(token), readOnly }));
    this.digests = [...digests(tokens.full, false), ...digests(tokens.readOnly, true)];
  }

  /** @throws UNAUTHENTICATED, NOT_PERMITTED */
  check(headers: IncomingHttpHeaders, session: ServerHttp2Session): void {
    if (this.digests.length === 0) return;
    const path = headers[':path'] ?? '';
    if (OPEN_PATHS.has(path) || path.startsWith(OPEN_PREFIX)) return;
    if (this.isReadOnly(headers.authorization, session) && !READ_PATHS.has(path)) {
      throw new SutraError(
        'NOT_PERMITTED',
        `a read-only token may not call ${path.slice(path.lastIndexOf('/') + 1)}`,
        { hint: 'Use the full token for what changes the store.' },
      );
    }
  }

  private isReadOnly(header: string | undefined, session: ServerHttp2Session): boolean {
    if (header === undefined) {
      throw new SutraError('UNAUTHENTICATED', 'this server needs a token, and the call has none');
    }
    const accepted = this.accepted.get(session);
    // What it is compared with, this client has already shown to know.
    if (accepted?.header === header) return accepted.readOnly;
    const { socket } = session;
    if (!session.encrypted && !isLoopbackHost(socket.remoteAddress ?? '')) {
      throw new SutraError(
        'UNAUTHENTICATED',
        'the token came over a connection that is not encrypted, from another machine',
        { hint: 'Replace that token, whoever listened has it; use TLS (--tls-ca) from now on.' },
      );
    }
    const readOnly = this.match(/^bearer +(\S+)$/i.exec(header)?.[1] ?? '');
    this.accepted.set(session, { header, readOnly });
    return readOnly;
  }

  /** Looks at every token, whichever matches. */
  private match(token: string): boolean {
    const digest = digestOf(token);
    let found: Digest | null = null;
    for (const candidate of this.digests) {
      // The first one counts: full comes before read-only.
      if (timingSafeEqual(candidate.digest, digest)) found ??= candidate;
    }
    if (found === null) {
      throw new SutraError('UNAUTHENTICATED', 'the token is not one that this server knows');
    }
    return found.readOnly;
  }
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token, 'utf8').digest();
}
