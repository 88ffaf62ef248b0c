/**
 * HOST:PORT, as people write it: `localhost:50051`, `10.0.0.7:50051`, `[::1]:50051`, or a host alone for the usual port.
 */

import { SutraError } from '../errors.js';

export const DEFAULT_PORT = 50051;

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** `source` names where the text came from (`--server`, `SUTRA_STORAGE_SERVER`) in the error. */
export function parseAddress(text: string, source: string): Address {
  const match =
    /^(?:\[(?<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?<host>[^\s:/[\]@?#]+))(?::(?<port>\d{1,5}))?$/u.exec(
      text.trim(),
    );
  const host = match?.groups?.['v6'] ?? match?.groups?.['host'];
  const portText = match?.groups?.['port'];
  const port = portText === undefined ? DEFAULT_PORT : Number(portText);
  if (host === undefined || port < 1 || port > 65_535) {
    throw new SutraError(
      'INVALID_ARGUMENT',
      `${source}: got ${JSON.stringify(text)}, expected HOST:PORT such as localhost:${DEFAULT_PORT}`,
      { hint: 'Write an IPv6 address in brackets: [::1]:50051.' },
    );
  }
  return { host, port };
}

/** The form that parseAddress reads and gRPC dials. */
export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Where a client on this machine reaches a server that listens on `host`: a wildcard is not an address to dial. */
export function reachableAddress(host: string, port: number): string {
  const wildcard = host === '' || host === '0.0.0.0' || host === '::';
  return formatAddress(wildcard ? 'localhost' : host, port);
}

/** A name or address that stays on this machine. Other names are not looked up: what they mean today may change. */
export function isLoopbackHost(host: string): boolean {
  return /^(?:localhost|::1|(?:::ffff:)?127(?:\.\d{1,3}){3})$/i.test(host);
}
