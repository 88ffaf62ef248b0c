/** A made server under a made load: the same figures in every run, so that frames can be compared with committed ones. */

import type { Action, DashboardState } from '#sutra/dashboard/model';
import { initialState } from '#sutra/dashboard/model';
import { reduce } from '#sutra/dashboard/reduce';
import { LATENCY_BOUNDS_US } from '#sutra/latency';
import type { CallStats, HealthAnswer, StorageStats } from '#sutra/storage/storage';

export const START_MS = Date.UTC(2026, 0, 2, 3, 4, 5);
export const HEALTHY: HealthAnswer = { healthy: true, status: 'ok', uptimeSeconds: 0 };

interface Load {
  readonly method: string;
  /** Calls a second at full load, and how long the middle one takes. */
  readonly perSecond: number;
  readonly typicalUs: number;
  readonly failures: number;
}

const LOADS: readonly Load[] = [
  { method: 'LearnConcept', perSecond: 8000, typicalUs: 900, failures: 0 },
  { method: 'QueryConcept', perSecond: 4200, typicalUs: 60, failures: 0 },
  { method: 'LearnAssociation', perSecond: 2600, typicalUs: 950, failures: 0.004 },
  { method: 'GetNeighbors', perSecond: 900, typicalUs: 120, failures: 0 },
  { method: 'FindPath', perSecond: 240, typicalUs: 700, failures: 0.02 },
  { method: 'VectorSearch', perSecond: 35, typicalUs: 4000, failures: 0 },
  { method: 'GetStats', perSecond: 1, typicalUs: 300, failures: 0 },
  { method: 'HealthCheck', perSecond: 1, typicalUs: 80, failures: 0 },
  { method: 'Flush', perSecond: 0, typicalUs: 0, failures: 0 },
];

/** How much of the full load there is in second t: a slow wave. */
function level(t: number): number {
  return 0.6 + 0.4 * Math.sin(t / 3);
}

function total(perSecond: number, seconds: number): number {
  let sum = 0;
  for (let t = 0; t < seconds; t++) sum += Math.round(perSecond * level(t));
  return sum;
}

/** A bell over the buckets around the typical one, with a thin tail. */
function histogramOf(all: number, typicalUs: number) {
  const middle = LATENCY_BOUNDS_US.findIndex((bound) => bound >= typicalUs);
  const counts: number[] = [];
  let sumUs = 0;
  for (let i = 0; i <= middle + 10; i++) {
    const distance = i - middle;
    const share = Math.exp(-(distance * distance) / 6) / 4.34;
    counts.push(Math.floor(all * (distance > 5 ? 0.0006 : share)));
    sumUs += (counts[i] ?? 0) * (LATENCY_BOUNDS_US[i] ?? 0);
  }
  return { counts, sumUs };
}

export function statsAt(seconds: number, change: Partial<StorageStats> = {}): StorageStats {
  const calls = LOADS.map(({ method, perSecond, typicalUs, failures }): CallStats => {
    const all = total(perSecond, seconds);
    const failed = Math.floor(all * failures);
    return {
      method,
      started: all,
      inFlight: Math.min(all, Math.round(perSecond / 900)),
      type: 'unary',
      received: all,
      sent: all,
      handled: [
        { code: 0, count: all - failed },
        ...(failed === 0 ? [] : [{ code: 5, count: failed }]),
      ],
      latency: histogramOf(all, typicalUs),
    };
  });
  const writes = total(10_600, seconds);
  const commits = total(540, seconds);
  return {
    concepts: 1_204_113 + writes,
    edges: 5_003_120 + Math.floor(writes / 4),
    written: writes,
    dropped: 0,
    pending: 24,
    reconciliations: commits,
    uptimeSeconds: 8040 + seconds,
    sequence: 6_207_233 + writes,
    snapshotSequence: 6_207_000,
    vectors: 20_000,
    indexed: 18_400,
    vectorPrecision: 'f16',
    indexBytes: 41_000_000,
    indexFileBytes: 40_000_000,
    indexQueued: 0,
    dimension: 768,
    walBytes: writes * 112,
    snapshotBytes: 229_638_144,
    checkpoints: 3,
    groupCommits: commits,
    committedBytes: writes * 104,
    pendingBytes: 2688,
    pendingLimitBytes: 268_435_456,
    memtableWrites: writes,
    memtableThreshold: 300_000,
    walThresholdBytes: 300_000_000,
    walDiskBytes: 41_943_040 + writes * 112,
    epoch: 12,
    uuid: '00112233445566778899aabbccddeeff',
    durability: 'always',
    readOnly: false,
    diskFull: false,
    syncLatency: histogramOf(commits, 800),
    latencyBoundsUs: LATENCY_BOUNDS_US,
    checkpoint: {
      running: true,
      writtenBytes: 75_000_000,
      expectedBytes: 240_000_000,
      runningUs: 4_200_000,
      lastDurationUs: 9_100_000,
      lastEndUs: START_MS * 1000,
      failures: 0,
      lastError: '',
    },
    server: {
      version: '1.2.3',
      nodeVersion: 'v20.19.0',
      pid: 4711,
      startUs: START_MS * 1000,
      draining: false,
      connections: 8,
      connectionsAccepted: 31,
      connectionsRefused: 0,
      callsWaiting: 0,
      cpuUserUs: total(700_000, seconds),
      cpuSystemUs: total(120_000, seconds),
      residentBytes: 190_840_832,
      heapUsedBytes: 40_000_000,
      heapTotalBytes: 60_000_000,
      externalBytes: 90_000_000,
      loopActiveUs: total(760_000, seconds),
      loopIdleUs: seconds * 1_000_000 - total(760_000, seconds),
      loopDelay: histogramOf(seconds * 50, 600),
      diskReadBytes: 0,
      diskWrittenBytes: total(13_000_000, seconds),
      networkReceivedBytes: total(2_100_000, seconds),
      networkSentBytes: total(1_400_000, seconds),
      diskFreeBytes: 12_884_901_888,
      diskTotalBytes: 107_374_182_400,
      calls,
    },
    ...change,
  };
}

export function sample(seconds: number, change: Partial<StorageStats> = {}): Action {
  const atMs = START_MS + seconds * 1000;
  return { type: 'sample', atMs, stats: statsAt(seconds, change), health: HEALTHY };
}

/** A dashboard that was polled each second for so long. */
export function polled(columns: number, rows: number, seconds = 40): DashboardState {
  let state = initialState({ address: 'db1.example:50051', columns, rows, intervalMs: 1000 });
  for (let t = 1; t <= seconds; t++) state = reduce(state, sample(t));
  return state;
}

export function run(state: DashboardState, ...actions: readonly Action[]): DashboardState {
  return actions.reduce(reduce, state);
}
