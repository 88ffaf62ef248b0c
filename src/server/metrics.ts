/**
 * The statistics of a store and its server as Prometheus metrics: grpc_server_* with the names, labels and code names of
 * the gRPC ecosystem's own, sutra_* for the store, process_* and nodejs_* from prom-client. Nothing is counted here: a
 * scrape reads the same figures as GetStats. Every series exists from the first scrape on, so that a rate sees the first event.
 * Loaded only when metrics are asked for, because prom-client is.
 */

import { Counter, Gauge, Registry, collectDefaultMetrics, type Histogram } from 'prom-client';
import { STATUS } from '../errors.js';
import { LATENCY_BOUNDS_US, NO_LATENCIES, type LatencyHistogram } from '../latency.js';
import type { CallStats, HealthAnswer, StorageStats } from '../storage/storage.js';
import { SERVICE_NAME } from '../wire/methods.js';

/** 1, 2.5 and 5 of each decade from 100 us, in seconds: a choice of the bounds in which latencies are counted. */
export const BUCKETS_SECONDS: readonly number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

/** What a scrape reads. Absent as long as the server does not answer yet. */
export interface MetricsReading {
  readonly stats: StorageStats;
  readonly readiness: HealthAnswer;
}

/** `INVALID_ARGUMENT` as the ecosystem's metrics have it: InvalidArgument; CANCELLED is Canceled there. */
function codeName(status: string): string {
  if (status === 'CANCELLED') return 'Canceled';
  return status
    .toLowerCase()
    .replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** All that sutra answers with, from the error table; others appear once they were seen. */
const CODE_NAMES: ReadonlyMap<number, string> = new Map([
  [0, 'OK'],
  ...Object.entries(STATUS).map(([name, code]) => [code, codeName(name)] as const),
]);

type Read = (reading: MetricsReading) => number;

const US = 1e-6;
const yes = (value: boolean | undefined): number => (value === true ? 1 : 0);

const COUNTERS: readonly (readonly [name: string, help: string, read: Read])[] = [
  ['sutra_writes_total', 'Writes committed', (r) => r.stats.written],
  [
    'sutra_writes_dropped_total',
    'Writes refused for overload or a full disk',
    (r) => r.stats.dropped,
  ],
  ['sutra_reconciliations_total', 'Syncs that made writes durable', (r) => r.stats.reconciliations],
  ['sutra_group_commits_total', 'Groups of writes committed', (r) => r.stats.groupCommits],
  [
    'sutra_group_commit_bytes_total',
    'Bytes of the commands committed',
    (r) => r.stats.committedBytes,
  ],
  ['sutra_checkpoints_total', 'Checkpoints completed', (r) => r.stats.checkpoints],
  ['sutra_checkpoint_failures_total', 'Checkpoints failed', (r) => r.stats.checkpoint.failures],
  [
    'sutra_connections_accepted_total',
    'Connections of clients accepted',
    (r) => r.stats.server?.connectionsAccepted ?? 0,
  ],
  [
    'sutra_connections_refused_total',
    'Connections closed because too many were open',
    (r) => r.stats.server?.connectionsRefused ?? 0,
  ],
  [
    'sutra_network_received_bytes_total',
    'Bytes from clients',
    (r) => r.stats.server?.networkReceivedBytes ?? 0,
  ],
  [
    'sutra_network_sent_bytes_total',
    'Bytes to clients',
    (r) => r.stats.server?.networkSentBytes ?? 0,
  ],
  [
    'sutra_disk_read_bytes_total',
    'Bytes this process read from disks',
    (r) => r.stats.server?.diskReadBytes ?? 0,
  ],
  [
    'sutra_disk_written_bytes_total',
    'Bytes this process wrote to disks',
    (r) => r.stats.server?.diskWrittenBytes ?? 0,
  ],
  [
    'sutra_event_loop_active_seconds_total',
    'Time the serving thread was busy',
    (r) => (r.stats.server?.loopActiveUs ?? 0) * US,
  ],
  [
    'sutra_event_loop_idle_seconds_total',
    'Time the serving thread waited for something to do',
    (r) => (r.stats.server?.loopIdleUs ?? 0) * US,
  ],
];

const GAUGES: readonly (readonly [name: string, help: string, read: Read])[] = [
  ['sutra_ready', '1 when calls should be sent here', (r) => yes(r.readiness.healthy)],
  ['sutra_draining', '1 when no new calls are taken', (r) => yes(r.stats.server?.draining)],
  ['sutra_uptime_seconds', 'Time since the store was opened', (r) => r.stats.uptimeSeconds],
  ['sutra_concepts', 'Concepts', (r) => r.stats.concepts],
  ['sutra_associations', 'Distinct associations', (r) => r.stats.edges],
  ['sutra_vectors', 'Concepts with an embedding', (r) => r.stats.vectors],
  ['sutra_vector_dimension', 'Numbers an embedding has; 0: none yet', (r) => r.stats.dimension],
  [
    'sutra_vectors_indexed',
    'Vectors that the approximate index holds; the others are compared one by one',
    (r) => r.stats.indexed,
  ],
  [
    'sutra_vectors_index_queued',
    'Changes of vectors that the index has not taken in yet',
    (r) => r.stats.indexQueued,
  ],
  [
    'sutra_vectors_index_memory_bytes',
    'Memory that the vector index takes, by its estimate',
    (r) => r.stats.indexBytes,
  ],
  [
    'sutra_vectors_index_file_bytes',
    'Bytes of vectors.usearch; 0: none yet',
    (r) => r.stats.indexFileBytes,
  ],
  ['sutra_sequence', 'Sequence of the last write', (r) => r.stats.sequence],
  [
    'sutra_snapshot_sequence',
    'Sequence that storage.dat stands for',
    (r) => r.stats.snapshotSequence,
  ],
  ['sutra_epoch', 'Grows with every opening for writing', (r) => r.stats.epoch],
  ['sutra_pending_writes', 'Writes accepted and not yet committed', (r) => r.stats.pending],
  ['sutra_pending_bytes', 'Bytes queued for the write log', (r) => r.stats.pendingBytes],
  [
    'sutra_pending_limit_bytes',
    'Bytes queued beyond which writes are refused',
    (r) => r.stats.pendingLimitBytes,
  ],
  [
    'sutra_memtable_writes',
    'Writes in the memtable since it was last sealed',
    (r) => r.stats.memtableWrites,
  ],
  [
    'sutra_memtable_threshold_writes',
    'Writes in the memtable that begin a checkpoint',
    (r) => r.stats.memtableThreshold,
  ],
  ['sutra_log_bytes', 'Bytes of log since the last seal', (r) => r.stats.walBytes],
  [
    'sutra_log_threshold_bytes',
    'Bytes of log that begin a checkpoint',
    (r) => r.stats.walThresholdBytes,
  ],
  ['sutra_log_disk_bytes', 'Bytes of all log segments on disk', (r) => r.stats.walDiskBytes],
  ['sutra_snapshot_bytes', 'Bytes of storage.dat', (r) => r.stats.snapshotBytes],
  ['sutra_checkpoint_running', '1 while one runs', (r) => yes(r.stats.checkpoint.running)],
  [
    'sutra_checkpoint_failed',
    '1 when the last one failed',
    (r) => yes(r.stats.checkpoint.lastError !== ''),
  ],
  [
    'sutra_checkpoint_progress_ratio',
    'How much of the running one is written, by its estimate; 0 when none runs',
    ({ stats: { checkpoint } }) =>
      checkpoint.running && checkpoint.expectedBytes > 0
        ? checkpoint.writtenBytes / checkpoint.expectedBytes
        : 0,
  ],
  [
    'sutra_checkpoint_last_duration_seconds',
    'How long the last one took; 0: none yet',
    (r) => r.stats.checkpoint.lastDurationUs * US,
  ],
  [
    'sutra_checkpoint_last_timestamp_seconds',
    'When the last one completed, since 1970; 0: none yet',
    (r) => r.stats.checkpoint.lastEndUs * US,
  ],
  ['sutra_disk_full', '1 when writes are refused for want of space', (r) => yes(r.stats.diskFull)],
  ['sutra_connections', 'Open connections of clients', (r) => r.stats.server?.connections ?? 0],
  [
    'sutra_calls_waiting',
    'Calls that have not begun, because those of other connections come first',
    (r) => r.stats.server?.callsWaiting ?? 0,
  ],
  [
    'sutra_disk_free_bytes',
    'Space left on the file system of the store',
    (r) => r.stats.server?.diskFreeBytes ?? 0,
  ],
  [
    'sutra_disk_size_bytes',
    'Size of the file system of the store',
    (r) => r.stats.server?.diskTotalBytes ?? 0,
  ],
];

const CALL_LABELS = ['grpc_type', 'grpc_service', 'grpc_method'] as const;

function labelsOf(call: CallStats): Record<(typeof CALL_LABELS)[number], string> {
  return { grpc_type: call.type, grpc_service: SERVICE_NAME, grpc_method: call.method };
}

export interface Metrics {
  readonly contentType: string;
  /** The metrics as text. `reading` null: the server does not answer yet; then only what the process itself says. */
  text(reading: MetricsReading | null): Promise<string>;
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const starting = new Registry();
  new Gauge({
    name: 'sutra_ready',
    help: '1 when calls should be sent here',
    registers: [starting],
  }).set(0);
  let current: MetricsReading | null = null;

  for (const [name, help, read] of COUNTERS) {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        if (current !== null) this.inc(read(current));
      },
    });
  }
  for (const [name, help, read] of GAUGES) {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        if (current !== null) this.set(read(current));
      },
    });
  }
  new Gauge({
    name: 'sutra_info',
    help: '1, with what does not change as labels',
    labelNames: ['version', 'uuid', 'durability'],
    registers,
    collect() {
      if (current === null) return;
      const { uuid, durability, server } = current.stats;
      this.reset();
      this.set({ version: server?.version ?? '', uuid, durability }, 1);
    },
  });

  const calls = (): readonly CallStats[] => current?.stats.server?.calls ?? [];
  const callCounters: readonly (readonly [string, string, (call: CallStats) => number])[] = [
    ['grpc_server_started_total', 'Calls begun', (call) => call.started],
    ['grpc_server_msg_received_total', 'Messages from clients', (call) => call.received],
    ['grpc_server_msg_sent_total', 'Messages to clients', (call) => call.sent],
  ];
  for (const [name, help, read] of callCounters) {
    new Counter({
      name,
      help,
      labelNames: CALL_LABELS,
      registers,
      collect() {
        this.reset();
        for (const call of calls()) this.inc(labelsOf(call), read(call));
      },
    });
  }
  new Counter({
    name: 'grpc_server_handled_total',
    help: 'Calls ended, by status code',
    labelNames: [...CALL_LABELS, 'grpc_code'],
    registers,
    collect() {
      this.reset();
      for (const call of calls()) {
        for (const name of CODE_NAMES.values()) {
          this.inc({ ...labelsOf(call), grpc_code: name }, 0);
        }
        for (const { code, count } of call.handled) {
          const name = CODE_NAMES.get(code) ?? `Code(${code})`;
          this.inc({ ...labelsOf(call), grpc_code: name }, count);
        }
      }
    },
  });
  new Gauge({
    name: 'sutra_calls_in_flight',
    help: 'Calls under way',
    labelNames: CALL_LABELS,
    registers,
    collect() {
      for (const call of calls()) this.set(labelsOf(call), call.inFlight);
    },
  });
  countedHistogram(
    registry,
    'grpc_server_handling_seconds',
    'From the request in memory to the answer handed over',
    () => calls().map((call) => [labelsOf(call), call.latency]),
  );
  countedHistogram(
    registry,
    'sutra_log_sync_seconds',
    'How long syncs of the write log took',
    () => [[{}, current?.stats.syncLatency ?? NO_LATENCIES]],
  );
  countedHistogram(
    registry,
    'sutra_event_loop_delay_seconds',
    'How late the event loop came to a timer',
    () => [[{}, current?.stats.server?.loopDelay ?? NO_LATENCIES]],
  );

  return {
    contentType: registry.contentType,
    text: (reading) => {
      if (reading === null) return starting.metrics();
      // Every collect() runs before the first await, so a scrape beside this one cannot change what it reads.
      current = reading;
      return registry.metrics();
    },
  };
}

type Labels = Record<string, string>;

/**
 * A histogram whose counts are kept elsewhere: prom-client's own can only be told one value at a time. It has what a registry
 * asks of a metric to print it.
 */
function countedHistogram(
  registry: Registry,
  name: string,
  help: string,
  read: () => readonly (readonly [Labels, LatencyHistogram])[],
): void {
  const get = async () => {
    const values = read().flatMap(([labels, histogram]) => seriesOf(name, labels, histogram));
    return { name, help, type: 'histogram', values, aggregator: 'sum' };
  };
  registry.registerMetric({ name, get } as unknown as Histogram);
}

function seriesOf(name: string, labels: Labels, { counts, sumUs }: LatencyHistogram) {
  const series: { metricName: string; labels: Labels; value: number }[] = [];
  let below = 0;
  let at = 0;
  const bucket = (le: string): void => {
    series.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value: below });
  };
  for (const bound of BUCKETS_SECONDS) {
    const limitUs = Math.round(bound * 1e6);
    for (; (LATENCY_BOUNDS_US[at] ?? Infinity) <= limitUs; at++) below += counts[at] ?? 0;
    bucket(String(bound));
  }
  for (; at < counts.length; at++) below += counts[at] ?? 0;
  bucket('+Inf');
  series.push({ metricName: `${name}_sum`, labels, value: sumUs / 1e6 });
  series.push({ metricName: `${name}_count`, labels, value: below });
  return series;
}
