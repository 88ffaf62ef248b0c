import { resolve } from 'node:path';
import { reportFailure } from '../cli/failure.js';
import { fileSetting, integer, jsonFlag, setting, storagePathFlag, text } from '../cli/flags.js';
import { terminationSignal } from '../cli/interrupt.js';
import { parseLogFormat, parseLogLevel, stderrLogger, type Logger } from '../cli/logger.js';
import { SutraCommand } from '../cli/sutra-command.js';
import { safeJson, safeLine } from '../cli/text.js';
import { EXIT, SutraError, toSutraError } from '../errors.js';
import type { Tokens } from '../server/access.js';
import type { TlsIdentity } from '../server/tls.js';
import type { OnProgress } from '../storage/maintenance.js';
import { DEFAULT_PORT, reachableAddress } from '../storage/address.js';
import { DEFAULT_STORAGE_PATH } from '../storage/open.js';
import { readPem, serverTokens } from '../storage/secrets.js';
import {
  DEFAULT_RECONCILE_MS,
  DEFAULT_THRESHOLD,
  DEFAULT_VECTOR_DIM,
  parseDurability,
  parseReconcileMs,
  parseThreshold,
  parseVectorConnectivity,
  parseVectorDim,
  parseVectorEfConstruction,
  parseVectorPrecision,
} from '../storage/settings.js';
import { VERSION } from '../version.js';

const DEFAULT_HOST = '0.0.0.0';
/** Not SUTRA_TLS_CERT, which is what clients show: one environment may hold both. */
const SERVE_TLS_CERT = 'SUTRA_SERVE_TLS_CERT';
/** Metrics tell much and ask for no token: on this machine only, unless told otherwise. */
const DEFAULT_METRICS_HOST = '127.0.0.1';
const DEFAULT_SLOW_MS = 1_000;
/** Container runtimes kill ten seconds after SIGTERM; the last group commit and the seal need some of them. */
const DRAIN_MS = 8_000;
const RELOAD = { event: 'reload' };
/** An opening that takes longer, such as a long replay, is worth a line in the log. */
const SLOW_OPEN_MS = 1_000;
const MIGRATION_LINE_MS = 5_000;

export default class Serve extends SutraCommand {
  static override summary = 'Serve a store to many clients over gRPC.';

  static override description =
    'Once it accepts calls it prints the settings, what it loaded and a line with `listening on HOST:PORT`; the log ' +
    'goes to stderr. With --json that is one document, whose `message` holds that line. SIGTERM or Ctrl-C finishes the calls ' +
    'under way, commits, and ends with 0; a second one ends at once.';

  static override examples = [
    '<%= config.bin %> serve',
    '<%= config.bin %> serve --storage /var/lib/sutra --host 127.0.0.1 --port 50051',
    'On a free port, which it prints:\n<%= config.bin %> serve --port 0',
    'Acknowledge before the disk has it, sync every 50 ms:\n' +
      '<%= config.bin %> serve --durability interval --reconcile-ms 50',
  ];

  static override flags = {
    ...jsonFlag,
    host: setting('host', text('an address or a host name'), {
      summary: 'Listen on this address.',
      helpValue: 'HOST',
      defaultHelp: DEFAULT_HOST,
    }),
    port: setting('port', integer(0, 65_535), {
      summary: 'Listen on this port; 0 picks a free one.',
      helpValue: 'PORT',
      defaultHelp: String(DEFAULT_PORT),
    }),
    storage: storagePathFlag,
    'reconcile-ms': setting('reconcile-ms', parseReconcileMs, {
      summary: 'How often to sync with --durability interval, and to do background work.',
      helpValue: 'MS',
      defaultHelp: String(DEFAULT_RECONCILE_MS),
    }),
    threshold: setting('threshold', parseThreshold, {
      summary: 'Checkpoint into storage.dat after at least so many writes.',
      helpValue: 'WRITES',
      defaultHelp: String(DEFAULT_THRESHOLD),
    }),
    'vector-dim': setting('vector-dim', parseVectorDim, {
      summary: 'How many numbers an embedding has, for a store that has none yet.',
      helpValue: 'N',
      defaultHelp: String(DEFAULT_VECTOR_DIM),
    }),
    'vector-precision': setting('vector-precision', parseVectorPrecision, {
      summary: 'Numbers of the vector index: i8 takes half the memory of f16 and finds less.',
      helpValue: 'f32|f16|i8',
      defaultHelp: 'that of the index that is there, else f16',
    }),
    'vector-connectivity': setting('vector-connectivity', parseVectorConnectivity, {
      summary: 'Neighbours of a vector in the index: more find more, in more memory.',
      helpValue: 'N',
      defaultHelp: 'that of the index that is there, else 16',
    }),
    'vector-ef-construction': setting('vector-ef-construction', parseVectorEfConstruction, {
      summary: 'Candidates looked at when a vector is indexed: more find more, and index slower.',
      helpValue: 'N',
      defaultHelp: 'that of the index that is there, else 128',
    }),
    durability: setting('durability', parseDurability, {
      summary:
        'Acknowledge a write once it is on disk (always), or before and sync in the background (interval).',
      helpValue: 'always|interval',
      defaultHelp: 'always',
    }),
    'metrics-port': setting('metrics-port', integer(0, 65_535), {
      summary:
        'Answer /metrics for Prometheus, /healthz and /readyz over HTTP on this port; 0 picks a free one.',
      helpValue: 'PORT',
      defaultHelp: 'none',
    }),
    'metrics-host': setting('metrics-host', text('an address or a host name'), {
      summary: 'Answer them on this address.',
      helpValue: 'HOST',
      defaultHelp: DEFAULT_METRICS_HOST,
    }),
    'log-level': setting('log-level', parseLogLevel, {
      summary: 'Log what is at least so grave.',
      helpValue: 'info|warn|error',
      defaultHelp: 'info',
    }),
    'log-format': setting('log-format', parseLogFormat, {
      summary: 'Log lines for people, or a JSON document a line.',
      helpValue: 'pretty|json',
      defaultHelp: 'pretty, json with --json',
    }),
    'slow-ms': setting('slow-ms', integer(0, 3_600_000), {
      summary:
        'Log calls that take so many milliseconds, with the sizes of what they asked; 0: none.',
      helpValue: 'MS',
      defaultHelp: String(DEFAULT_SLOW_MS),
    }),
    'token-file': fileSetting(
      'token-file',
      'Ask clients for a token from this file (mode 0600, one a line); SUTRA_TOKEN holds one itself.',
    ),
    'read-token-file': fileSetting(
      'read-token-file',
      'Tokens that may only read; SUTRA_READ_TOKEN holds one itself.',
    ),
    'tls-cert': fileSetting(
      'tls-cert',
      'Speak TLS, and show this certificate (PEM, with its chain).',
      { env: SERVE_TLS_CERT },
    ),
    'tls-key': fileSetting('tls-key', 'The key of --tls-cert.', { env: 'SUTRA_SERVE_TLS_KEY' }),
    'tls-client-ca': fileSetting(
      'tls-client-ca',
      'Let in only clients that show a certificate of this authority.',
    ),
    'max-connections': setting('max-connections', integer(1, 1_000_000), {
      summary: 'Close connections beyond so many at once.',
      helpValue: 'N',
      defaultHelp: '4096',
    }),
    'max-memory': setting('max-memory', integer(1, 1_000_000_000), {
      summary: 'Refuse writes while the server uses more memory than this.',
      helpValue: 'MIB',
      defaultHelp: 'four fifths of the machine or container',
    }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(Serve);
    const reloadable = ['token-file', 'read-token-file', 'tls-cert'] as const;
    const hasFiles = reloadable.some((name) => flags[name] !== undefined);
    // A service manager reloads with SIGHUP; a terminal that closes ends what runs in it.
    const reloads = hasFiles || (process.env['NOTIFY_SOCKET'] ?? '') !== '';
    let reload = (): void => undefined;
    const signal = terminationSignal(reloads ? () => reload() : undefined);
    // A daemon whose stdout has lost its reader keeps serving: only start-up writes there.
    process.stdout.removeAllListeners('error').on('error', () => undefined);
    const logger = await stderrLogger({
      format: flags['log-format'] ?? (flags.json ? 'json' : 'pretty'),
      level: flags['log-level'] ?? 'info',
    });

    const host = flags.host ?? DEFAULT_HOST;
    const path = flags.storage ?? DEFAULT_STORAGE_PATH;
    const settings = {
      reconcileMs: flags['reconcile-ms'] ?? DEFAULT_RECONCILE_MS,
      threshold: flags.threshold ?? DEFAULT_THRESHOLD,
      durability: flags.durability ?? ('always' as const),
    };
    const vectorDim = flags['vector-dim'];
    const slowMs = flags['slow-ms'] ?? DEFAULT_SLOW_MS;
    const vectorPrecision = flags['vector-precision'];
    const vectorConnectivity = flags['vector-connectivity'];
    const vectorEfConstruction = flags['vector-ef-construction'];
    const maxConnections = flags['max-connections'];

    const [
      { ConcurrentStorage },
      { startServer },
      { checkAddress },
      { serviceManager },
      memory,
      exposures,
    ] = await Promise.all([
      import('../storage/embedded.js'),
      import('../server/server.js'),
      import('../server/listener.js'),
      import('../server/service-manager.js'),
      import('../server/memory-watch.js'),
      import('../server/exposure.js'),
    ]);
    const manager = serviceManager(logger);
    const port = flags.port ?? DEFAULT_PORT;
    const secrets = await readSecrets(flags);
    const exposure = {
      host,
      tls: secrets.tls !== undefined,
      clientCertificates: secrets.tls?.clientCa !== undefined,
      tokens: secrets.tokens.full.length + secrets.tokens.readOnly.length > 0,
    };
    await checkAddress(host, port);
    const metricsPort = flags['metrics-port'];
    const metrics =
      metricsPort === undefined
        ? null
        : await import('../server/metrics-endpoint.js').then(({ startMetricsEndpoint }) =>
            startMetricsEndpoint({
              host: flags['metrics-host'] ?? DEFAULT_METRICS_HOST,
              port: metricsPort,
              logger,
            }),
          );
    const opening = setTimeout(() => {
      logger.info(`opening ${path}`);
    }, SLOW_OPEN_MS);
    const storage = await ConcurrentStorage.open(path, {
      ...settings,
      ...(vectorDim === undefined ? {} : { vectorDim }),
      ...(vectorPrecision === undefined ? {} : { vectorPrecision }),
      ...(vectorConnectivity === undefined ? {} : { vectorConnectivity }),
      ...(vectorEfConstruction === undefined ? {} : { vectorEfConstruction }),
      logger,
      onMigration: migrationLines(logger),
    }).finally(() => {
      clearTimeout(opening);
    });
    const server = await startServer(storage, {
      host,
      port,
      logger,
      slowMs,
      directory: path,
      ...secrets,
      ...(maxConnections === undefined ? {} : { maxConnections }),
    }).catch(async (error: unknown) => {
      await storage.close();
      throw error;
    });
    metrics?.watch(server);
    storage.announce(reachableAddress(host, server.port));
    storage.verifyInBackground();
    const maxMemory = flags['max-memory'];
    const memoryLimit =
      maxMemory === undefined ? memory.defaultMemoryLimit() : maxMemory * 1024 * 1024;
    const memoryWatch = memory.watchMemory(
      memoryLimit,
      (reason) => storage.shedWrites(reason),
      logger,
    );
    reload = () => {
      if (!hasFiles) {
        logger.info('nothing to read again: there are no files of tokens or certificates', RELOAD);
        return;
      }
      readSecrets(flags)
        .then((fresh) => {
          server.replaceSecrets(fresh);
          logger.info('tokens and certificates were read again', RELOAD);
        })
        .catch((error: unknown) => {
          const why = toSutraError(error).message;
          logger.warn(`tokens and certificates stay as they were: ${why}`, RELOAD);
        });
    };

    const { dimension, sequence, vectors } = await storage.stats();
    const { concepts, edges, replayed, openMs } = storage.opened;
    const message = `listening on ${server.address}`;
    const figures = {
      address: server.address,
      host,
      port: server.port,
      pid: process.pid,
      version: VERSION,
      storage: resolve(path),
      durability: settings.durability,
      reconcile_ms: settings.reconcileMs,
      threshold: settings.threshold,
      vector_dim: dimension > 0 ? dimension : (vectorDim ?? DEFAULT_VECTOR_DIM),
      security: exposures.securityText(exposure),
      concepts,
      edges,
      vectors,
      sequence,
      replayed,
      open_ms: Math.round(openMs * 1000) / 1000,
      ...(metrics === null ? {} : { metrics_address: metrics.address }),
    };
    logger.info(
      `serving ${resolve(path)} at ${server.address}: ${concepts} concepts, ${edges} associations, ` +
        `${replayed} writes replayed, opened in ${figures.open_ms} ms`,
      { event: 'start', ...figures },
    );
    const document = { message, ...figures };
    process.stdout.write(`${flags.json ? safeJson(document) : startText(document)}\n`);
    manager.ready(message);
    const warning = exposures.exposureWarning(exposure);
    if (warning !== null) logger.warn(warning);
    if (!exposure.tls && (process.env['SUTRA_TLS_CERT'] ?? '') !== '') {
      logger.warn(
        `TLS is off: SUTRA_TLS_CERT is what clients show; serve reads ${SERVE_TLS_CERT} and SUTRA_SERVE_TLS_KEY`,
      );
    }

    const failure = await Promise.race([aborted(signal), storage.failed]);
    if (failure !== undefined) {
      // Nothing more can be acknowledged. The log on disk is the truth, and a restart reads it.
      reportFailure(failure, flags.json);
      process.exit(EXIT.FAILED);
    }
    memoryWatch.stop();
    manager.stopping();
    logger.info('draining', { event: 'drain' });
    const drainedFrom = performance.now();
    const { written } = await storage.stats();
    const { abandonedCalls } = await server.drain(DRAIN_MS);
    await metrics?.close();
    await storage.close({ cancelCheckpoint: true });
    const drainMs = Math.round(performance.now() - drainedFrom);
    logger.info(
      abandonedCalls === 0 ? 'stopped' : `stopped; ${abandonedCalls} calls were cut off`,
      { event: 'stop', duration_ms: drainMs, abandoned_calls: abandonedCalls, written },
    );
  }
}

/** Lines for the log while an old storage.dat is brought over: every few seconds one. */
function migrationLines(logger: Logger): OnProgress {
  let toldAt = performance.now();
  return ({ phase, done, total }) => {
    const now = performance.now();
    if (now - toldAt < MIGRATION_LINE_MS) return;
    toldAt = now;
    logger.info(`bringing storage.dat over from version 2: ${phase}, ${done} of ${total} bytes`, {
      event: 'migrating',
      phase,
      bytes: done,
      total_bytes: total,
    });
  };
}

interface SecretFlags {
  readonly 'token-file': string | undefined;
  readonly 'read-token-file': string | undefined;
  readonly 'tls-cert': string | undefined;
  readonly 'tls-key': string | undefined;
  readonly 'tls-client-ca': string | undefined;
}

/** Everything anew, so that either all of it takes effect or nothing does. */
async function readSecrets(flags: SecretFlags): Promise<{ tokens: Tokens; tls?: TlsIdentity }> {
  const { env } = process;
  const certFile = flags['tls-cert'];
  const keyFile = flags['tls-key'];
  const caFile = flags['tls-client-ca'];
  const [full, readOnly] = await Promise.all([
    serverTokens(flags['token-file'], env['SUTRA_TOKEN'], 'token-file'),
    serverTokens(flags['read-token-file'], env['SUTRA_READ_TOKEN'], 'read-token-file'),
  ]);
  const tokens = { full, readOnly };
  if (certFile === undefined && keyFile === undefined && caFile === undefined) return { tokens };
  if (certFile === undefined || keyFile === undefined) {
    throw new SutraError('INVALID_ARGUMENT', 'TLS needs both --tls-cert and --tls-key', {
      hint: 'Give the PEM certificate with its chain, and the PEM key that belongs to it.',
    });
  }
  const [cert, key, clientCa] = await Promise.all([
    readPem(certFile, 'tls-cert'),
    readPem(keyFile, 'tls-key'),
    caFile === undefined ? undefined : readPem(caFile, 'tls-client-ca'),
  ]);
  const tls = { cert, key, ...(clientCa === undefined ? {} : { clientCa }) };
  // Before there is a store: what cannot be used is said at once.
  const { secureOptions } = await import('../server/tls.js');
  secureOptions(tls);
  return { tokens, tls };
}

interface Started {
  readonly message: string;
  readonly version: string;
  readonly storage: string;
  readonly durability: string;
  readonly reconcile_ms: number;
  readonly threshold: number;
  readonly vector_dim: number;
  readonly security: string;
  readonly concepts: number;
  readonly edges: number;
  readonly replayed: number;
  readonly open_ms: number;
  readonly metrics_address?: string;
}

/** The settings, what was loaded, and, last, the line that scripts wait for. */
function startText(started: Started): string {
  return [
    `sutra ${started.version}`,
    `  storage       ${safeLine(started.storage)}`,
    `  durability    ${started.durability}`,
    `  reconcile-ms  ${started.reconcile_ms}`,
    `  threshold     ${started.threshold}`,
    `  vector-dim    ${started.vector_dim}`,
    ...(started.metrics_address === undefined
      ? []
      : [`  metrics       ${started.metrics_address}`]),
    `  security      ${started.security}`,
    `loaded ${started.concepts} concepts, ${started.edges} edges in ${started.open_ms} ms ` +
      `(${started.replayed} writes replayed from the log)`,
    started.message,
  ].join('\n');
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((done) => {
    if (signal.aborted) done(undefined);
    else
      signal.addEventListener('abort', () => {
        done(undefined);
      });
  });
}
