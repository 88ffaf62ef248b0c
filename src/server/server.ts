/**
 * The gRPC server over one Storage: the storage service, health, reflection, and the limits that keep one client from
 * harming the others (reliability.md, "Server"). The caller opens the storage before and closes it after.
 *
 * Draining goes: health says NOT_SERVING; no new connections; new calls are UNAVAILABLE; calls under way finish, for at most
 * the timeout; connections are closed in order (GOAWAY), and what is still open then is cut.
 */

import {
  Server,
  ServerCredentials,
  type ServerOptions as GrpcOptions,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import { STATUS } from '../errors.js';
import { formatAddress } from '../storage/address.js';
import type { HealthAnswer, ServerStats, Storage, StorageStats } from '../storage/storage.js';
import { MAX_BATCH_BYTES } from '../storage/validation.js';
import { Access, type Tokens } from './access.js';
import { CallCounts } from './call-counts.js';
import { CallGate } from './call-gate.js';
import { Health, HEALTH_SERVICE_NAME } from './health.js';
import { listen } from './listener.js';
import { SILENT, type ServerLogger } from './logger.js';
import type { StreamForm } from './open-calls.js';
import { ProcessWatch } from './process-watch.js';
import { addReflection, REFLECTION_PATHS } from './reflection.js';
import { createService } from './service.js';
import { SlowCalls } from './slow-calls.js';
import { guardStreams, StreamGuard, type GuardLimits } from './stream-guard.js';
import type { TlsIdentity } from './tls.js';
import { VERSION } from '../version.js';

export interface ServerOptions {
  /** An address of this machine or a name for one. */
  readonly host: string;
  /** 0 picks a free one; RunningServer.port says which. */
  readonly port: number;
  readonly logger?: ServerLogger;
  /** Calls that take longer are logged; 0 or absent: none. */
  readonly slowMs?: number;
  /** Where the store is, for the statistics to say how much space is left there. */
  readonly directory?: string;
  /** Calls at once on one connection; default 100. */
  readonly maxConcurrentStreams?: number;
  /** Largest request; default 16 MiB. Longer is RESOURCE_EXHAUSTED. */
  readonly maxMessageBytes?: number;
  /** Open connections; default 4,096. Further ones are closed at once. */
  readonly maxConnections?: number;
  /** A stream whose client takes or sends nothing for so long is ended; default 300,000. */
  readonly streamIdleMs?: number;
  /** A connection is asked for a sign of life this often; default 30,000. */
  readonly keepaliveTimeMs?: number;
  /** And dropped when none comes within this; default 10,000. */
  readonly keepaliveTimeoutMs?: number;
  /** A connection without calls is closed after this; default 30 minutes. Clients reconnect by themselves. */
  readonly maxConnectionIdleMs?: number;
  /** A connection is asked to go after this, and replaced by its client; default: never. */
  readonly maxConnectionAgeMs?: number;
  /** Calls under way over all connections; default 10,000. Beyond, the one that has waited for its client for longest goes. */
  readonly maxCalls?: number;
  /** Watches of health and reflections on one connection, which are no calls under way; default 10. In all: maxConnections. */
  readonly maxStandingStreams?: number;
  /** Of all unfinished requests together; default 256 MiB. */
  readonly maxUploadBytes?: number;
  /** Of all answers that clients have not taken yet; default 512 MiB. */
  readonly maxUnsentBytes?: number;
  /** A request must be there after this and its size at 64 KiB/s; default 30,000. */
  readonly uploadGraceMs?: number;
  /** An answer of which less than 64 KiB is taken in so long is given up; default 30,000. */
  readonly stallMs?: number;
  /** Absent: everybody may do everything. */
  readonly tokens?: Tokens;
  /** Absent: not encrypted. */
  readonly tls?: TlsIdentity;
}

/** What can be replaced while serving. */
export interface Secrets {
  readonly tokens?: Tokens;
  readonly tls?: TlsIdentity;
}

export interface DrainReport {
  /** Calls that the timeout cut off. */
  readonly abandonedCalls: number;
}

export interface RunningServer {
  readonly host: string;
  readonly port: number;
  /** HOST:PORT as it listens, for people; see reachableAddress for one to dial. */
  readonly address: string;
  /** New tokens count from the next call on, a new certificate from the next connection on. */
  replaceSecrets(secrets: Secrets): void;
  /** What GetStats answers. */
  stats(): Promise<StorageStats>;
  /** Whether it should get calls, and why not. */
  readiness(): Promise<HealthAnswer>;
  /** Resolves when the server is gone; the first call's timeout counts. Storage stays open. */
  drain(timeoutMs: number): Promise<DrainReport>;
}

const NO_TOKENS: Tokens = { full: [], readOnly: [] };
/** Of a stream whose client takes or sends nothing. */
const STREAM_IDLE_MS = 300_000;
/** How long connections may take to close once no call is left on them. */
const CLOSE_GRACE_MS = 1_000;
const MAX_CONNECTIONS = 4_096;
const WATCH_PATH = `/${HEALTH_SERVICE_NAME}/Watch`;

export async function startServer(
  storage: Storage,
  options: ServerOptions,
): Promise<RunningServer> {
  const logger = options.logger ?? SILENT;
  const gate = new CallGate();
  let draining: Promise<DrainReport> | null = null;
  const health = new Health(storage);
  const counts = new CallCounts();
  const startUs = Date.now() * 1000;
  const serverStats = async (): Promise<ServerStats> => {
    const connections = listener.counts();
    return {
      version: VERSION,
      startUs,
      draining: draining !== null,
      connections: connections.open,
      connectionsAccepted: connections.accepted,
      connectionsRefused: connections.refused,
      callsWaiting: guard.waitingCalls,
      networkReceivedBytes: connections.receivedBytes,
      networkSentBytes: connections.sentBytes,
      ...(await watch.stats()),
      calls: counts.stats(),
    };
  };
  const service = createService(storage, {
    gate,
    counts,
    slow: new SlowCalls(options.slowMs ?? 0, logger),
    logger,
    serverStats,
    streamIdleMs: options.streamIdleMs ?? STREAM_IDLE_MS,
  });

  const server = new Server(grpcOptions(options));
  server.addService(service.definition, service.implementation);
  server.addService(health.definition, health.implementation);
  addReflection(server);
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const access = new Access(options.tokens ?? NO_TOKENS);
  const guard = new StreamGuard(
    guardLimits(options),
    (headers, session) => access.check(headers, session),
    streamForms([service.definition, health.definition]),
    logger,
    (path, error) => counts.refused(path, STATUS[error.status]),
  );
  const http2 = guardStreams(server, guard);

  const listener = await listen({
    host: options.host,
    port: options.port,
    maxConnections: options.maxConnections ?? MAX_CONNECTIONS,
    onConnection: (socket) => {
      guard.connect(http2, socket, (connection) => injector.injectConnection(connection));
    },
    onRefused: (limit) => logger.warn(`connections refused: ${limit} are open already`),
    ...(options.tls === undefined ? {} : { tls: options.tls }),
  });

  const watch = new ProcessWatch(options.directory);

  const drain = async (timeoutMs: number): Promise<DrainReport> => {
    const deadline = Date.now() + timeoutMs;
    health.drain();
    gate.shut();
    listener.close();
    await gate.emptied(timeoutMs);
    const abandonedCalls = gate.count;
    health.close();
    // Answers may still be on their way out; but one reflection stream left open must not hold a shutdown up.
    const grace = Math.min(CLOSE_GRACE_MS, Math.max(0, deadline - Date.now()));
    // Says GOAWAY on every connection. Its callback comes early where the client has said so before, and forceShutdown finds
    // no connection without channelz: whether they are gone is the listener's to know.
    server.tryShutdown(() => undefined);
    await listener.closeConnections(abandonedCalls > 0 ? 0 : grace);
    watch.stop();
    guard.close();
    if (abandonedCalls > 0)
      logger.warn(`${abandonedCalls} calls were cut off after ${timeoutMs} ms`);
    return { abandonedCalls };
  };

  const { port } = listener;
  return {
    host: options.host,
    port,
    address: formatAddress(options.host, port),
    replaceSecrets: ({ tokens, tls }) => {
      // The one that can throw comes first: all of it counts, or nothing.
      if (tls !== undefined) listener.replaceTls(tls);
      if (tokens !== undefined) access.replace(tokens);
    },
    stats: async () => {
      const [stats, server] = await Promise.all([storage.stats(), serverStats()]);
      return { ...stats, server };
    },
    readiness: async () => {
      // A drain ends with the storage closed, which then answers nothing.
      if (draining !== null) return { healthy: false, status: 'draining', uptimeSeconds: 0 };
      return storage.healthCheck();
    },
    drain: (timeoutMs) => (draining ??= drain(timeoutMs)),
  };
}

function streamForms(definitions: readonly ServiceDefinition[]): Map<string, StreamForm> {
  const methods = definitions.flatMap((definition) => Object.values(definition));
  const both: StreamForm = { requestStream: true, responseStream: true, standing: true };
  return new Map<string, StreamForm>([
    ...methods.map(({ path, requestStream, responseStream }) => {
      return [path, { requestStream, responseStream, standing: path === WATCH_PATH }] as const;
    }),
    ...REFLECTION_PATHS.map((path) => [path, both] as const),
  ]);
}

function guardLimits(options: ServerOptions): GuardLimits {
  return {
    maxMessageBytes: options.maxMessageBytes ?? MAX_BATCH_BYTES,
    maxUploadBytes: options.maxUploadBytes ?? 256 * 1024 * 1024,
    maxUnsentBytes: options.maxUnsentBytes ?? 512 * 1024 * 1024,
    maxHeaderBytes: 16 * 1024,
    maxCalls: options.maxCalls ?? 10_000,
    standing: {
      perConnection: options.maxStandingStreams ?? 10,
      total: options.maxConnections ?? MAX_CONNECTIONS,
    },
    uploadGraceMs: options.uploadGraceMs ?? 30_000,
    minUploadRate: 64 * 1024,
    stallMs: options.stallMs ?? 30_000,
  };
}

function grpcOptions(options: ServerOptions): GrpcOptions {
  return {
    'grpc.max_receive_message_length': options.maxMessageBytes ?? MAX_BATCH_BYTES,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': options.maxConcurrentStreams ?? 100,
    'grpc.keepalive_time_ms': options.keepaliveTimeMs ?? 30_000,
    'grpc.keepalive_timeout_ms': options.keepaliveTimeoutMs ?? 10_000,
    'grpc.max_connection_idle_ms': options.maxConnectionIdleMs ?? 30 * 60_000,
    ...(options.maxConnectionAgeMs === undefined
      ? {}
      : {
          'grpc.max_connection_age_ms': options.maxConnectionAgeMs,
          'grpc.max_connection_age_grace_ms': 60_000,
        }),
    'grpc.so_reuseport': 0,
    // Channelz keeps books on every call and is not served.
    'grpc.enable_channelz': 0,
  };
}
