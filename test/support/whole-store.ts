/**
 * The whole-store check: opens a directory as a reader and holds everything it stores against everything else. Digest, counts
 * and free slots are recomputed by a full scan; each association must be seen from both its ends; each key must lead to its
 * slot; each content and vector must pass its checksum (reading checks it).
 */

import { nodeEnvironment } from '#sutra/engine/environment';
import { crc32 } from '#sutra/engine/format/crc32';
import { Digest } from '#sutra/engine/format/digest';
import { IN, OUT } from '#sutra/engine/graph/graph-view';
import { ConceptRecord } from '#sutra/engine/snapshot/snapshot-source';
import type { State } from '#sutra/engine/state';
import { Store } from '#sutra/engine/store';

export interface WholeStore {
  readonly digest: string;
  readonly sequence: number;
  readonly concepts: number;
  readonly edges: number;
}

/** Throws an Error that says what does not fit. */
export async function checkDirectory(directory: string): Promise<WholeStore> {
  const store = Store.open(directory, nodeEnvironment(), {
    readOnly: true,
    durability: 'always',
    reconcileMs: 10,
    threshold: 50_000,
    vectorDim: 0,
  });
  try {
    return checkState(store.state);
  } finally {
    await store.close();
  }
}

export function checkState(state: State): WholeStore {
  const { levels } = state;
  const digest = new Digest();
  const record = new ConceptRecord();
  const target = new ConceptRecord();
  const cursor = state.openCursor();
  const seenOut = new Map<string, number>();
  let concepts = 0;
  let vectors = 0;
  const free: number[] = [];
  for (let slot = 0; slot < state.slotCount; slot++) {
    if (!levels.readConcept(slot, record)) {
      free.push(slot);
      continue;
    }
    concepts++;
    const { k0, k1, k2, k3, name } = record;
    const found = levels.findSlot(k0, k1, k2, k3);
    if (found !== slot) throw new Error(`the key of slot ${slot} leads to slot ${found}`);
    const content = levels.readContent(slot);
    if (content.length !== record.contentLength) throw new Error(`content of slot ${slot}`);
    if (record.hasVector) {
      vectors++;
      levels.readVector(slot, new Float32Array(levels.dimension));
    }
    digest.concept(
      1,
      k0,
      k1,
      k2,
      k3,
      name?.length ?? 0,
      name === null ? 0 : crc32(name),
      record.contentLength,
      record.contentCrc,
      record.hasVector ? levels.dimension : 0,
      record.hasVector ? record.vectorCrc : 0,
      record.strength,
      record.confidence,
      record.createdUs,
      record.updatedUs,
    );
    cursor.start(slot, OUT, null);
    for (let n = cursor.fill(); n > 0; n = cursor.fill()) {
      for (let i = 0; i < n; i++) {
        const to = cursor.slots[i] ?? 0;
        const type = cursor.types[i] ?? 0;
        const edge = `${slot} ${to} ${type}`;
        if (seenOut.has(edge)) throw new Error(`association ${edge} comes twice`);
        seenOut.set(edge, cursor.confidences[i] ?? 0);
        if (!levels.readConcept(to, target)) throw new Error(`${edge} leads to a free slot`);
        if (!levels.findEdge(slot, to, type)) throw new Error(`${edge} is not found`);
        const confidence = levels.edgeConfidence();
        if (confidence !== cursor.confidences[i]) throw new Error(`confidence of ${edge}`);
        digest.association(
          1,
          k0,
          k1,
          k2,
          k3,
          target.k0,
          target.k1,
          target.k2,
          target.k3,
          type,
          confidence,
          levels.edgeCreatedUs(),
        );
      }
    }
  }
  const edges = seenOut.size;
  for (let slot = 0; slot < state.slotCount; slot++) {
    if (!state.isLive(slot)) continue;
    cursor.start(slot, IN, null);
    for (let n = cursor.fill(); n > 0; n = cursor.fill()) {
      for (let i = 0; i < n; i++) {
        const edge = `${cursor.slots[i] ?? 0} ${slot} ${cursor.types[i] ?? 0}`;
        if (seenOut.get(edge) !== cursor.confidences[i]) throw new Error(`incoming ${edge}`);
        seenOut.delete(edge);
      }
    }
  }
  if (seenOut.size > 0) throw new Error(`only outgoing: ${[...seenOut.keys()].join(', ')}`);
  const freeSlots = [...state.freeSlots()].sort((a, b) => a - b);
  if (freeSlots.join() !== free.join()) throw new Error(`free slots ${freeSlots.join()}`);
  const counts = { concepts, edges, vectors };
  const kept = {
    concepts: state.conceptCount,
    edges: state.edgeCount,
    vectors: state.vectorCount,
  };
  if (JSON.stringify(counts) !== JSON.stringify(kept)) {
    throw new Error(`counted ${JSON.stringify(counts)}, kept ${JSON.stringify(kept)}`);
  }
  if (!digest.equals(state.digest)) {
    throw new Error(`digest ${digest.toString()}, kept ${state.digest.toString()}`);
  }
  return { digest: digest.toString(), sequence: state.sequence, concepts, edges };
}
