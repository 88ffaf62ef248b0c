/**
 * The JSON documents of the commands: the proto's field names in snake_case, `id` for a concept's own id, float32 in
 * shortest form, times as integer microseconds, types as numbers with their name beside. Only data, no layout.
 */

import type {
  ConceptAnswer,
  HealthAnswer,
  NeighborsAnswer,
  PathAnswer,
  StorageStats,
  VectorMatch,
} from '../storage/storage.js';
import { associationTypeName } from './association-type.js';
import { shortFloat32 } from './float32.js';

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

export function matchesDocument(
  matches: readonly VectorMatch[],
  contents: readonly string[] | undefined,
) {
  return {
    results: matches.map(({ id, similarity }, index) => ({
      id,
      similarity: shortFloat32(similarity),
      ...(contents === undefined ? {} : { content: contents[index] ?? '' }),
    })),
  };
}

export function statsDocument(stats: StorageStats) {
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
  };
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
