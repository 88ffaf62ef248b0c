/** What the server shows of itself and asks of its clients when it speaks TLS: 1.2 and 1.3, HTTP/2 only. */

import { createSecureContext, type TlsOptions } from 'node:tls';
import { SutraError } from '../errors.js';

/** PEM texts. */
export interface TlsIdentity {
  /** The server's certificate, with the chain up to, but without, a root that clients know. */
  readonly cert: string;
  readonly key: string;
  /** With it, only clients with a certificate from one of these authorities are let in (mTLS). */
  readonly clientCa?: string;
}

/** @throws INVALID_ARGUMENT when certificate and key cannot be read or do not belong together */
export function secureOptions(identity: TlsIdentity): TlsOptions {
  const { cert, key, clientCa } = identity;
  const options: TlsOptions = {
    cert,
    key,
    minVersion: 'TLSv1.2',
    ALPNProtocols: ['h2'],
    ...(clientCa === undefined
      ? {}
      : { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
  };
  try {
    createSecureContext(options);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new SutraError('INVALID_ARGUMENT', `TLS certificate and key cannot be used: ${why}`, {
      hint: 'Give a PEM certificate and the PEM key that belongs to it, without a passphrase.',
      cause: error,
    });
  }
  return options;
}
