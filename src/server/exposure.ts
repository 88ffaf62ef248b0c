/** Who can reach a server and is not asked for anything: what the operator is told once, at the start. */

import { isLoopbackHost } from '../storage/address.js';

export interface Exposure {
  readonly host: string;
  readonly tls: boolean;
  /** Clients must show a certificate. */
  readonly clientCertificates: boolean;
  readonly tokens: boolean;
}

/** The warning, or null when there is nothing to warn of. */
export function exposureWarning(exposure: Exposure): string | null {
  const { host, tls, clientCertificates, tokens } = exposure;
  if (isLoopbackHost(host)) return null;
  if (!tokens && !clientCertificates) {
    const plain = tls ? '' : ', in the clear';
    return (
      `open to everyone who reaches ${host}: anybody may read and change the store${plain}. ` +
      'Give --token-file and --tls-cert, or listen on --host 127.0.0.1'
    );
  }
  if (tokens && !tls) {
    return (
      'there is a token and no TLS: tokens from other machines are refused, because they come in the clear. ' +
      'Give --tls-cert and --tls-key'
    );
  }
  return null;
}

/** A word for the settings that are printed at the start. */
export function securityText({ tls, clientCertificates, tokens }: Exposure): string {
  const parts = [
    ...(tls ? [clientCertificates ? 'mTLS' : 'TLS'] : []),
    ...(tokens ? ['token'] : []),
  ];
  return parts.length === 0 ? 'none' : parts.join(', ');
}
