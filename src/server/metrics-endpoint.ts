/**
 * The HTTP endpoint for those who watch a server: /metrics for Prometheus, /healthz (the process lives and its event loop
 * turns) and /readyz (calls should be sent here). It listens before the store is open, so that a long recovery is "alive, not
 * ready". It answers GET and HEAD and reads nothing else that a client sends; connections, headers and times are bounded.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { SutraError, invalidField } from '../errors.js';
import { formatAddress } from '../storage/address.js';
import { bindError } from './listener.js';
import type { ServerLogger } from './logger.js';
import { createMetrics, type Metrics } from './metrics.js';
import type { RunningServer } from './server.js';

const MAX_CONNECTIONS = 64;
const MAX_HEADER_BYTES = 8 * 1024;
const REQUEST_TIMEOUT_MS = 5_000;
const IDLE_TIMEOUT_MS = 60_000;

export interface MetricsEndpointOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly logger: ServerLogger;
}

export interface MetricsEndpoint {
  /** HOST:PORT as it listens. */
  readonly address: string;
  readonly port: number;
  /** From now on it answers for this server; before, it is alive and not ready. */
  watch(server: RunningServer): void;
  close(): Promise<void>;
}

/** @throws ADDRESS_IN_USE, NOT_PERMITTED, INVALID_ARGUMENT */
export async function startMetricsEndpoint(
  options: MetricsEndpointOptions,
): Promise<MetricsEndpoint> {
  const { host, logger } = options;
  const metrics = createMetrics();
  let watched: RunningServer | null = null;
  const http = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: IDLE_TIMEOUT_MS,
      connectionsCheckingInterval: 1_000,
    },
    (request, response) => {
      respond(metrics, watched, request, response).catch((error: unknown) => {
        logger.error('metrics request failed', error);
        if (!response.headersSent) send(request, response, 500, 'the server’s log says more\n');
        else response.destroy();
      });
    },
  );
  http.maxConnections = MAX_CONNECTIONS;
  http.setTimeout(IDLE_TIMEOUT_MS);
  // Not HTTP, or too much of it: nothing that an answer would help.
  http.on('clientError', (_error, socket) => socket.destroy());
  // The store's own listener holds the process; an end for any other reason must not wait for a scraper.
  http.unref();
  http.on('connection', (socket) => socket.unref());
  const port = await bind(http, host, options.port);
  return {
    address: formatAddress(host, port),
    port,
    watch: (server) => {
      watched = server;
    },
    close: () =>
      new Promise((resolve) => {
        http.close(() => resolve());
        http.closeAllConnections();
      }),
  };
}

function bind(http: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => {
      if (error.code === 'ENOTFOUND' || error.code === 'EAI_AGAIN') {
        reject(invalidField('metrics-host', `got ${host}, which cannot be resolved`));
        return;
      }
      const told = bindError(error, host, host, port);
      reject(
        told.code === 'ADDRESS_IN_USE'
          ? new SutraError(told.code, `metrics: ${told.message}`, {
              hint: 'Choose another --metrics-port (0 picks a free one), or stop what listens there.',
              cause: error,
            })
          : told,
      );
    };
    http.once('error', fail);
    http.listen({ host, port, exclusive: true }, () => {
      http.off('error', fail);
      // From here on only the accepting of one connection can fail; others go on.
      http.on('error', () => undefined);
      const address = http.address();
      if (address === null || typeof address === 'string') {
        reject(new SutraError('INTERNAL', 'the metrics socket has no port'));
      } else {
        resolve(address.port);
      }
    });
  });
}

async function respond(
  metrics: Metrics,
  server: RunningServer | null,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    // What it goes on to send is not read.
    response.setHeader('connection', 'close');
    send(request, response, 405, 'only GET and HEAD\n');
    return;
  }
  const [path] = (request.url ?? '').split('?', 1);
  switch (path) {
    case '/metrics': {
      const reading =
        server === null
          ? null
          : { stats: await server.stats(), readiness: await server.readiness() };
      response.setHeader('content-type', metrics.contentType);
      send(request, response, 200, await metrics.text(reading));
      return;
    }
    case '/healthz':
      send(request, response, 200, 'alive\n');
      return;
    case '/readyz': {
      const ready =
        server === null ? { healthy: false, status: 'starting' } : await server.readiness();
      send(
        request,
        response,
        ready.healthy ? 200 : 503,
        `${ready.healthy ? 'ready' : ready.status}\n`,
      );
      return;
    }
    default:
      send(request, response, 404, 'try /metrics, /healthz or /readyz\n');
  }
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  code: number,
  text: string,
): void {
  response.statusCode = code;
  if (!response.hasHeader('content-type')) {
    response.setHeader('content-type', 'text/plain; charset=utf-8');
  }
  response.setHeader('cache-control', 'no-store');
  response.setHeader('x-content-type-options', 'nosniff');
  response.setHeader('content-length', Buffer.byteLength(text));
  response.end(request.method === 'HEAD' ? undefined : text);
}
