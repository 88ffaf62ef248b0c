/**
 * A scan of the engine as pages of the interface: slots become ids, and a page ends at its items or at its bytes. It gives way
 * every few milliseconds, also where only free slots come by, so a scan of any size holds up nobody.
 */

import { STEP_ASSOCIATION, STEP_CONCEPT, STEP_END, type StateScan } from '../engine/state-scan.js';
import type { ScanOptions, ScanPage, ScannedAssociation, ScannedConcept } from './storage.js';
import { DEFAULT_PAGE_ITEMS, throwIfAborted } from './validation.js';

/** A page ends behind the item that reaches this; with the largest item still far below the message limit. */
const PAGE_BYTES = 1024 * 1024;
const SLICE_MS = 4;
/** Steps between two looks at the clock; one takes some microseconds. */
const CHECK_EVERY = 64;

export interface ScanPacing {
  nowMs(): number;
  pause(): Promise<void>;
}

/** Releases the scan when it ends or is left. `requireOpen` throws once the store is closed; no step is taken then. */
export async function* scanPages(
  scan: StateScan,
  options: ScanOptions,
  pacing: ScanPacing,
  requireOpen: () => void,
): AsyncGenerator<ScanPage, void, undefined> {
  const { signal, withEmbeddings = true } = options;
  const pageItems = options.pageItems ?? 0;
  const limit = pageItems === 0 ? DEFAULT_PAGE_ITEMS : pageItems;
  const { sequence, digest, conceptCount, edgeCount: associationCount } = scan.state;
  let finished = false;
  try {
    while (!finished) {
      const concepts: ScannedConcept[] = [];
      const associations: ScannedAssociation[] = [];
      let bytes = 0;
      let source = -1;
      let sourceId = '';
      let sliceEnd = pacing.nowMs() + SLICE_MS;
      requireOpen();
      for (let steps = 1; ; steps++) {
        if (steps % CHECK_EVERY === 0 && pacing.nowMs() >= sliceEnd) {
          await pacing.pause();
          throwIfAborted(signal);
          requireOpen();
          sliceEnd = pacing.nowMs() + SLICE_MS;
        }
        const step = scan.step();
        if (step === STEP_CONCEPT) {
          const concept = scannedConcept(scan, withEmbeddings);
          concepts.push(concept);
          bytes += 64 + scan.record.contentLength + 4 * (concept.embedding?.length ?? 0);
        } else if (step === STEP_ASSOCIATION) {
          if (source !== scan.source) {
            source = scan.source;
            sourceId = scan.idOf(source);
          }
          const target = scan.idOf(scan.target);
          const { type, confidence, createdUs } = scan;
          associations.push({ source: sourceId, target, type, confidence, createdUs });
          // At most three bytes a UTF-16 unit.
          bytes += 32 + sourceId.length + target.length;
        } else if (step === STEP_END) {
          finished = true;
          break;
        }
        if (concepts.length + associations.length >= limit || bytes >= PAGE_BYTES) {
          finished = scan.isAtEnd;
          break;
        }
      }
      yield {
        sequence,
        digest,
        conceptCount,
        associationCount,
        concepts,
        associations,
        resume: finished ? null : scan.token,
      };
      throwIfAborted(signal);
    }
  } finally {
    scan.release(finished);
  }
}

function scannedConcept(scan: StateScan, withEmbedding: boolean): ScannedConcept {
  const { record, slot } = scan;
  const { strength, confidence, createdUs, updatedUs } = record;
  const id = scan.idOf(slot);
  const content = scan.content();
  const concept = { id, content, strength, confidence, createdUs, updatedUs };
  return withEmbedding && record.hasVector ? { ...concept, embedding: scan.embedding() } : concept;
}
