/**
 * The JSON documents of the commands: the proto's field names in snake_case, `id` for a concept's own id, float32 in
 * shortest form, times as integer microseconds, types as numbers with their name beside. Only data, no layout.
 */

import type { LatencyHistogram } from '../latency.js';
import type {
  ConceptAnswer,
  HealthAnswer,
  NeighborsAnswer,
  PathAnswer,
  ServerStats,
  StorageStats,
  VectorMatch,
} from '../storage/storage.js';
import { associationTypeName } from './association-type.js';
import { shortFloat32 } from '../formats/float32.js';

export function conceptDocument(answer: ConceptAnswer) {
  if (!answer.found) return { found: false, id: answer.id };
  return {
    found: true,
    id: answer.id,
    content: answer.content,
    strength: shortFloat32(answer.strength),
    confidence: shortFloat32(answer.confidence),
    created_us: answer.createdUs,
    updated_us: answer.updatedUs,
    dimension: answer.dimension,
    ...(answer.embedding === undefined
      ? {}
      : { embedding: Array.from(answer.embedding, shortFloat32) }),
  };
}

export function neighborsDocument(answer: NeighborsAnswer) {
  return {
    found: answer.known,
    id: answer.id,
    neighbors: answer.neighbors.map(({ id, type, confidence, direction }) => ({
      id,
      type,
      type_name: associationTypeName(type),
      confidence: shortFloat32(confidence),
      direction,
    })),
  };
}

export function pathDocument(from: string, to: string, answer: PathAnswer) {
  return {
    found: answer.found,
    from,
    to,
    path: answer.path,
    hops: answer.steps.length,
    confidence: shortProduct(answer.confidence),
    steps: answer.steps.map((step) => ({
      from: step.from,
      to: step.to,
      type: step.type,
      type_name: associationTypeName(step.type),
      confidence: shortFloat32(step.confidence),
      direction: step.direction,
    })),
  };
}

export function matchesDocument(matches: readonly VectorMatch[]) {
  return {
    results: matches.map(({ id, similarity, content }) => ({
      id,
      similarity: shortFloat32(similarity),
      ...(content === undefined ? {} : { content }),
    })),
  };
}

export function statsDocument(stats: StorageStats) {
  const { checkpoint, server } = stats;
  return {
    concepts: stats.concepts,
    edges: stats.edges,
    written: stats.written,
    dropped: stats.dropped,
    pending: stats.pending,
    reconciliations: stats.reconciliations,
    uptime_seconds: stats.uptimeSeconds,
    sequence: stats.sequence,
    snapshot_sequence: stats.snapshotSequence,
    vectors: stats.vectors,
    dimension: stats.dimension,
    wal_bytes: stats.walBytes,
    snapshot_bytes: stats.snapshotBytes,
    checkpoints: stats.checkpoints,
    indexed: stats.indexed,
    vector_precision: stats.vectorPrecision,
    index_bytes: stats.indexBytes,
    index_file_bytes: stats.indexFileBytes,
    index_queued: stats.indexQueued,
    group_commits: stats.groupCommits,
    committed_bytes: stats.committedBytes,
    pending_bytes: stats.pendingBytes,
    pending_limit_bytes: stats.pendingLimitBytes,
    memtable_writes: stats.memtableWrites,
    memtable_threshold: stats.memtableThreshold,
    wal_threshold_bytes: stats.walThresholdBytes,
    wal_disk_bytes: stats.walDiskBytes,
    epoch: stats.epoch,
    uuid: stats.uuid,
    durability: stats.durability,
    read_only: stats.readOnly,
    disk_full: stats.diskFull,
    sync_latency: histogramDocument(stats.syncLatency),
    latency_bounds_us: stats.latencyBoundsUs,
    checkpoint: {
      running: checkpoint.running,
      written_bytes: checkpoint.writtenBytes,
      expected_bytes: checkpoint.expectedBytes,
      running_us: checkpoint.runningUs,
      last_duration_us: checkpoint.lastDurationUs,
      last_end_us: checkpoint.lastEndUs,
      failures: checkpoint.failures,
      last_error: checkpoint.lastError,
    },
    ...(server === undefined ? {} : { server: serverDocument(server) }),
  };
}

function serverDocument(server: ServerStats) {
  return {
    version: server.version,
    node_version: server.nodeVersion,
    pid: server.pid,
    start_us: server.startUs,
    draining: server.draining,
    connections: server.connections,
    connections_accepted: server.connectionsAccepted,
    connections_refused: server.connectionsRefused,
    calls_waiting: server.callsWaiting,
    cpu_user_us: server.cpuUserUs,
    cpu_system_us: server.cpuSystemUs,
    resident_bytes: server.residentBytes,
    heap_used_bytes: server.heapUsedBytes,
    heap_total_bytes: server.heapTotalBytes,
    external_bytes: server.externalBytes,
    loop_active_us: server.loopActiveUs,
    loop_idle_us: server.loopIdleUs,
    disk_read_bytes: server.diskReadBytes,
    disk_written_bytes: server.diskWrittenBytes,
    network_received_bytes: server.networkReceivedBytes,
    network_sent_bytes: server.networkSentBytes,
    disk_free_bytes: server.diskFreeBytes,
    disk_total_bytes: server.diskTotalBytes,
    loop_delay: histogramDocument(server.loopDelay),
    calls: server.calls.map((call) => ({
      method: call.method,
      type: call.type,
      started: call.started,
      in_flight: call.inFlight,
      received: call.received,
      sent: call.sent,
      handled: call.handled,
      latency: histogramDocument(call.latency),
    })),
  };
}

function histogramDocument({ counts, sumUs }: LatencyHistogram) {
  return { counts, sum_us: sumUs };
}

export function healthDocument(health: HealthAnswer) {
  return {
    healthy: health.healthy,
    status: health.status,
    uptime_seconds: health.uptimeSeconds,
  };
}

/** A product of float32 values has no more than their seven digits; it may be smaller than any float32. */
export function shortProduct(product: number): number {
  return Number(product.toPrecision(7));
}
