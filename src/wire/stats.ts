/**
 * StatsResponse, the one message with many fields: a table for each of its messages says which field has which number, and
 * both directions read it. Numbers, texts and booleans are told apart by their defaults. Fields that a server leaves out,
 * because it is older, have their defaults; the group `server` is absent from an answer that is not a server's.
 */

import { NO_LATENCIES, type LatencyHistogram } from '../latency.js';
import type {
  CallStats,
  CheckpointStats,
  ServerStats,
  StatusCount,
  StorageStats,
} from '../storage/storage.js';
import type { WireReader } from './reader.js';
import { WireWriter } from './writer.js';

type Scalar = number | string | boolean;
type Mutable<T> = { -readonly [K in keyof T]: T[K] };
/** The names of T's fields that hold a single value. */
type ScalarName<T> = {
  [K in keyof T]-?: T[K] extends Scalar ? K : never;
}[keyof T] &
  string;
type Scalars<T> = Pick<T, ScalarName<T>>;
/** By name: the field's number and what it is when it is left out. */
type Fields<T> = { readonly [K in ScalarName<T>]: readonly [number: number, absent: T[K]] };

/** More counts than any histogram has are not a histogram. */
const MAX_BUCKETS = 1024;

const STORAGE_FIELDS: Fields<StorageStats> = {
  concepts: [1, 0],
  edges: [2, 0],
  written: [3, 0],
  dropped: [4, 0],
  pending: [5, 0],
  reconciliations: [6, 0],
  uptimeSeconds: [7, 0],
  sequence: [8, 0],
  snapshotSequence: [9, 0],
  vectors: [10, 0],
  dimension: [11, 0],
  walBytes: [12, 0],
  snapshotBytes: [13, 0],
  checkpoints: [14, 0],
  indexed: [15, 0],
  vectorPrecision: [16, ''],
  indexBytes: [17, 0],
  indexFileBytes: [18, 0],
  indexQueued: [19, 0],
  groupCommits: [20, 0],
  committedBytes: [21, 0],
  pendingBytes: [22, 0],
  pendingLimitBytes: [23, 0],
  memtableWrites: [24, 0],
  memtableThreshold: [25, 0],
  walThresholdBytes: [26, 0],
  walDiskBytes: [27, 0],
  epoch: [28, 0],
  uuid: [29, ''],
  durability: [30, ''],
  readOnly: [31, false],
  diskFull: [32, false],
};
const SYNC_LATENCY = 33;
const LATENCY_BOUNDS = 34;
const CHECKPOINT = 35;
const SERVER = 36;

const CHECKPOINT_FIELDS: Fields<CheckpointStats> = {
  running: [1, false],
  writtenBytes: [2, 0],
  expectedBytes: [3, 0],
  runningUs: [4, 0],
  lastDurationUs: [5, 0],
  lastEndUs: [6, 0],
  failures: [7, 0],
  lastError: [8, ''],
};

const SERVER_FIELDS: Fields<ServerStats> = {
  version: [1, ''],
  nodeVersion: [2, ''],
  pid: [3, 0],
  startUs: [4, 0],
  draining: [5, false],
  connections: [6, 0],
  connectionsAccepted: [7, 0],
  connectionsRefused: [8, 0],
  cpuUserUs: [9, 0],
  cpuSystemUs: [10, 0],
  residentBytes: [11, 0],
  heapUsedBytes: [12, 0],
  heapTotalBytes: [13, 0],
  externalBytes: [14, 0],
  loopActiveUs: [15, 0],
  loopIdleUs: [16, 0],
  diskReadBytes: [17, 0],
  diskWrittenBytes: [18, 0],
  networkReceivedBytes: [19, 0],
  networkSentBytes: [20, 0],
  diskFreeBytes: [21, 0],
  diskTotalBytes: [22, 0],
  callsWaiting: [23, 0],
};
const LOOP_DELAY = 30;
const CALLS = 31;

const CALL_FIELDS: Fields<CallStats> = {
  method: [1, ''],
  started: [2, 0],
  inFlight: [3, 0],
  type: [6, ''],
  received: [7, 0],
  sent: [8, 0],
};
const HANDLED = 4;
const LATENCY = 5;

const STATUS_FIELDS: Fields<StatusCount> = { code: [1, 0], count: [2, 0] };

const COUNTS = 1;
const SUM_US = 2;

export function encodeStats(stats: StorageStats): Buffer {
  const w = new WireWriter();
  writeScalars(w, STORAGE_FIELDS, stats);
  writeHistogram(w, SYNC_LATENCY, stats.syncLatency);
  w.uint64s(LATENCY_BOUNDS, stats.latencyBoundsUs);
  w.open(CHECKPOINT);
  writeScalars(w, CHECKPOINT_FIELDS, stats.checkpoint);
  w.close();
  if (stats.server !== undefined) {
    w.open(SERVER);
    writeServer(w, stats.server);
    w.close();
  }
  return w.finish();
}

function writeServer(w: WireWriter, server: ServerStats): void {
  writeScalars(w, SERVER_FIELDS, server);
  writeHistogram(w, LOOP_DELAY, server.loopDelay);
  for (const call of server.calls) {
    w.open(CALLS);
    writeScalars(w, CALL_FIELDS, call);
    for (const status of call.handled) {
      w.open(HANDLED);
      writeScalars(w, STATUS_FIELDS, status);
      w.close();
    }
    writeHistogram(w, LATENCY, call.latency);
    w.close();
  }
}

function writeHistogram(w: WireWriter, field: number, { counts, sumUs }: LatencyHistogram): void {
  w.open(field);
  w.uint64s(COUNTS, counts);
  w.uint64(SUM_US, sumUs);
  w.close();
}

export function decodeStats(r: WireReader): StorageStats {
  const stats: Mutable<StorageStats> = {
    ...absent(STORAGE_FIELDS),
    syncLatency: NO_LATENCIES,
    latencyBoundsUs: [],
    checkpoint: absent(CHECKPOINT_FIELDS),
  };
  const names = byNumber(STORAGE_FIELDS);
  const bounds: number[] = [];
  for (let field = r.next(); field !== 0; field = r.next()) {
    if (field === SYNC_LATENCY) stats.syncLatency = nested(r, 'sync_latency', readHistogram);
    else if (field === LATENCY_BOUNDS) r.uint64s('latency_bounds_us', bounds, MAX_BUCKETS);
    else if (field === CHECKPOINT) stats.checkpoint = nested(r, 'checkpoint', readCheckpoint);
    else if (field === SERVER) stats.server = nested(r, 'server', readServer);
    else readScalar(r, names, field, stats);
  }
  stats.latencyBoundsUs = bounds;
  return stats;
}

function readCheckpoint(r: WireReader): CheckpointStats {
  const checkpoint = absent(CHECKPOINT_FIELDS);
  const names = byNumber(CHECKPOINT_FIELDS);
  for (let field = r.next(); field !== 0; field = r.next()) readScalar(r, names, field, checkpoint);
  return checkpoint;
}

function readServer(r: WireReader): ServerStats {
  const server = absent(SERVER_FIELDS);
  const names = byNumber(SERVER_FIELDS);
  const calls: CallStats[] = [];
  let loopDelay = NO_LATENCIES;
  for (let field = r.next(); field !== 0; field = r.next()) {
    if (field === LOOP_DELAY) loopDelay = nested(r, 'loop_delay', readHistogram);
    else if (field === CALLS) calls.push(nested(r, 'calls', readCall));
    else readScalar(r, names, field, server);
  }
  return { ...server, loopDelay, calls };
}

function readCall(r: WireReader): CallStats {
  const call = absent(CALL_FIELDS);
  const names = byNumber(CALL_FIELDS);
  const handled: StatusCount[] = [];
  let latency = NO_LATENCIES;
  for (let field = r.next(); field !== 0; field = r.next()) {
    if (field === HANDLED) handled.push(nested(r, 'handled', readStatus));
    else if (field === LATENCY) latency = nested(r, 'latency', readHistogram);
    else readScalar(r, names, field, call);
  }
  return { ...call, handled, latency };
}

function readStatus(r: WireReader): StatusCount {
  const status = absent(STATUS_FIELDS);
  const names = byNumber(STATUS_FIELDS);
  for (let field = r.next(); field !== 0; field = r.next()) readScalar(r, names, field, status);
  return status;
}

function readHistogram(r: WireReader): LatencyHistogram {
  const counts: number[] = [];
  let sumUs = 0;
  for (let field = r.next(); field !== 0; field = r.next()) {
    if (field === COUNTS) r.uint64s('counts', counts, MAX_BUCKETS);
    else if (field === SUM_US) sumUs = r.uint64('sum_us');
    else r.skip();
  }
  return { counts, sumUs };
}

function nested<T>(r: WireReader, name: string, read: (r: WireReader) => T): T {
  const outer = r.open(name);
  const value = read(r);
  r.close(outer);
  return value;
}

// --- one table, both directions ---

type Table = Readonly<Record<string, readonly [number, Scalar]>>;

function writeScalars<T>(w: WireWriter, fields: Fields<T>, values: Scalars<T>): void {
  const of = values as Readonly<Record<string, Scalar>>;
  for (const [name, [field]] of Object.entries(fields as Table)) {
    const value = of[name];
    if (typeof value === 'number') w.uint64(field, value);
    else if (typeof value === 'string') w.string(field, value);
    else if (value !== undefined) w.bool(field, value);
  }
}

/** The message with every field left out. */
function absent<T>(fields: Fields<T>): Mutable<Scalars<T>> {
  const values = Object.entries(fields as Table).map(([name, [, value]]) => [name, value] as const);
  return Object.fromEntries(values) as Mutable<Scalars<T>>;
}

/** Name and default of each field by its number. */
type Names = ReadonlyMap<number, readonly [name: string, absent: Scalar]>;

function byNumber<T>(fields: Fields<T>): Names {
  return new Map(
    Object.entries(fields as Table).map(([name, [field, value]]) => [field, [name, value]]),
  );
}

function readScalar(r: WireReader, names: Names, field: number, into: object): void {
  const known = names.get(field);
  if (known === undefined) {
    r.skip();
    return;
  }
  const [name, value] = known;
  const target = into as Record<string, Scalar>;
  if (typeof value === 'number') target[name] = r.uint64(name);
  else if (typeof value === 'string') target[name] = r.string(name);
  else target[name] = r.bool(name);
}
