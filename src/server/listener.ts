/**
 * The listening sockets. The server owns them, and hands each connection to grpc-js, because that way a port in use is a
 * clear error with a code (grpc-js has only a text, and by default shares the port silently through SO_REUSEPORT),
 * connections are capped, and a drain stops accepting before it waits for calls. TLS ends here, too.
 */

import { lookup } from 'node:dns/promises';
import { createServer, isIP, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, Server as TlsServer } from 'node:tls';
import { SutraError, invalidField } from '../errors.js';
import { formatAddress } from '../storage/address.js';
import { secureOptions, type TlsIdentity } from './tls.js';

export interface ListenOptions {
  /** An address of this machine or a name that resolves to some; 0.0.0.0 and :: are all of them. */
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Beyond so many open connections new ones are closed at once. */
  readonly maxConnections: number;
  /** Absent: plaintext. */
  readonly tls?: TlsIdentity;
  /** Gets each connection; with TLS, once its handshake is done. */
  readonly onConnection: (socket: Socket) => void;
  /** Called when connections are being refused, at most once a second. */
  readonly onRefused: (limit: number) => void;
}

/** Of all connections since the start. */
export interface ConnectionCounts {
  readonly open: number;
  readonly accepted: number;
  readonly refused: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

export interface Listener {
  readonly port: number;
  counts(): ConnectionCounts;
  /** For connections made from now on. Throws what `secureOptions` throws, and then keeps the old one. */
  replaceTls(tls: TlsIdentity): void;
  /** Stops accepting; open connections stay. */
  close(): void;
  /** Resolves when no connection is open any more; cuts those that are after graceMs. */
  closeConnections(graceMs: number): Promise<void>;
}

const HANDSHAKE_TIMEOUT_MS = 10_000;

export async function listen(options: ListenOptions): Promise<Listener> {
  const { host, port } = options;
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw invalidField('port', `got ${port}, expected an integer of 0 to 65535`);
  }
  const addresses = await resolve(host);
  const servers: Server[] = [];
  const sockets = new Set<Socket>();
  let whenEmpty: (() => void) | null = null;
  const totals = { accepted: 0, refused: 0, receivedBytes: 0, sentBytes: 0 };
  const accept = (socket: Socket): void => {
    sockets.add(socket);
    totals.accepted++;
    socket.once('close', () => {
      sockets.delete(socket);
      totals.receivedBytes += socket.bytesRead;
      totals.sentBytes += socket.bytesWritten;
      if (sockets.size === 0) whenEmpty?.();
    });
    // A TLS server takes the socket itself, and gives it back encrypted (bind).
    if (options.tls === undefined) options.onConnection(socket);
  };
  let bound = port;
  try {
    for (const address of addresses) {
      const server = await bind(address, bound, accept, options);
      server.on('drop', () => totals.refused++);
      servers.push(server);
      // Names such as localhost stand for several addresses; with port 0 the first one picks the port for all.
      bound = portOf(server);
    }
  } catch (error) {
    for (const server of servers) server.close();
    throw error;
  }
  return {
    port: bound,
    counts: () => {
      let { receivedBytes, sentBytes } = totals;
      for (const socket of sockets) {
        receivedBytes += socket.bytesRead;
        sentBytes += socket.bytesWritten;
      }
      return { ...totals, open: sockets.size, receivedBytes, sentBytes };
    },
    replaceTls: (tls) => {
      const secure = secureOptions(tls);
      for (const server of servers) {
        if (server instanceof TlsServer) server.setSecureContext(secure);
      }
    },
    close: () => {
      for (const server of servers) server.close();
    },
    closeConnections: async (graceMs) => {
      if (sockets.size === 0) return;
      const empty = new Promise<void>((resolve) => {
        whenEmpty = resolve;
      });
      const cut = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, graceMs);
      await empty;
      clearTimeout(cut);
    },
  };
}

/**
 * Throws what `listen` would throw now, and listens to nothing: so that a server that cannot be reached does not make a store
 * first. Somebody may still take the port in between; then `listen` says so.
 */
export async function checkAddress(host: string, port: number): Promise<void> {
  const listener = await listen({
    host,
    port,
    maxConnections: 1,
    onConnection: (socket) => socket.destroy(),
    onRefused: () => undefined,
  });
  listener.close();
}

async function resolve(host: string): Promise<string[]> {
  if (isIP(host) !== 0) return [host];
  if (!/^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$/.test(host)) {
    throw invalidField('host', `got ${JSON.stringify(host)}, expected an address or a host name`);
  }
  try {
    const found = await lookup(host, { all: true });
    return [...new Set(found.map(({ address }) => address))];
  } catch (error) {
    throw new SutraError('INVALID_ARGUMENT', `host: ${host} cannot be resolved`, {
      violations: [{ field: 'host', description: `got ${host}, which cannot be resolved` }],
      hint: 'Listen on an address of this machine; 0.0.0.0 is all of them, 127.0.0.1 this machine only.',
      cause: error,
    });
  }
}

function bind(
  address: string,
  port: number,
  accept: (socket: Socket) => void,
  options: ListenOptions,
): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = makeServer(options);
    server.maxConnections = options.maxConnections;
    let lastRefusal = 0;
    server.on('connection', accept);
    server.on('drop', () => {
      const now = Date.now();
      if (now - lastRefusal < 1_000) return;
      lastRefusal = now;
      options.onRefused(options.maxConnections);
    });
    const fail = (error: NodeJS.ErrnoException): void => {
      reject(bindError(error, options.host, address, port));
    };
    server.once('error', fail);
    // exclusive: a port that another process of a cluster has is in use, too.
    server.listen({ host: address, port, exclusive: true }, () => {
      server.off('error', fail);
      // What can fail from here on is accepting one connection (no file descriptors left); others go on.
      server.on('error', () => options.onRefused(options.maxConnections));
      resolve(server);
    });
  });
}

function makeServer({ tls, onConnection }: ListenOptions): Server {
  if (tls === undefined) return createServer({ noDelay: true, keepAlive: true });
  const server = createTlsServer({
    ...secureOptions(tls),
    noDelay: true,
    keepAlive: true,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
  });
  server.on('secureConnection', (socket) => {
    // From here to the HTTP/2 session nobody else listens for what goes wrong with it.
    socket.on('error', () => undefined);
    if (socket.alpnProtocol === 'h2') onConnection(socket);
    else socket.destroy();
  });
  // A failed handshake is the client's to report; the socket is closed by node:tls.
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  return server;
}

export function bindError(
  error: NodeJS.ErrnoException,
  host: string,
  address: string,
  port: number,
): SutraError {
  const name = formatAddress(host, port);
  switch (error.code) {
    case 'EADDRINUSE':
      return new SutraError('ADDRESS_IN_USE', `${name} is in use by another process`, {
        cause: error,
      });
    case 'EACCES':
    case 'EPERM':
      return new SutraError('NOT_PERMITTED', `not permitted to listen on ${name}`, {
        hint: 'Ports below 1024 need a privilege; choose a higher --port.',
        cause: error,
      });
    case 'EADDRNOTAVAIL':
    case 'EAFNOSUPPORT':
      return new SutraError('INVALID_ARGUMENT', `host: ${address} is no address of this machine`, {
        violations: [{ field: 'host', description: `got ${host}, no address of this machine` }],
        hint: 'Listen on an address of this machine; 0.0.0.0 is all of them, 127.0.0.1 this machine only.',
        cause: error,
      });
    default:
      return new SutraError('INTERNAL', `cannot listen on ${name}: ${error.message}`, {
        cause: error,
      });
  }
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') {
    throw new SutraError('INTERNAL', 'the listening socket has no port');
  }
  return address.port;
}
