/**
 * The messages of bulk in and out in proto/sutra/storage.proto, by hand, as requests.ts and responses.ts have the others: the
 * chunks of an ingest and the pages of a scan.
 */

import { isErrorCode, type FieldViolation } from '../errors.js';
import type {
  IngestAck,
  IngestItem,
  IngestItemError,
  ScanKinds,
  ScanPage,
  ScannedAssociation,
  ScannedConcept,
} from '../storage/storage.js';
import type { WireReader } from './reader.js';
import { readAssociation, readConcept, writeAssociation, writeConcept } from './requests.js';
import { WireWriter } from './writer.js';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** A message of more is not read on: two bytes on the wire would be an object here. */
const MAX_ITEMS = 16_384;

export function encodeIngest(items: readonly IngestItem[]): Buffer {
  const w = new WireWriter();
  for (const item of items) {
    w.open(1);
    if ('concept' in item) {
      w.open(1);
      writeConcept(w, item.concept);
    } else {
      w.open(2);
      writeAssociation(w, item.association);
    }
    w.close();
    w.close();
  }
  return w.finish();
}

export function decodeIngest(r: WireReader): readonly IngestItem[] {
  const items: IngestItem[] = [];
  for (let field = r.next(); field !== 0; field = r.next()) {
    if (field !== 1) {
      r.skip();
      continue;
    }
    const outer = r.open('items');
    r.within('items', items.length);
    if (items.length >= MAX_ITEMS) throw r.refusal('', `expected at most ${MAX_ITEMS} items`);
    items.push(readItem(r));
    r.close(outer);
    r.within('', 0);
  }
  return items;
}

function readItem(r: WireReader): IngestItem {
  let item: IngestItem | null = null;
  for (let field = r.next(); field !== 0; field = r.next()) {
    if (field === 1) {
      const outer = r.open('concept');
      item = { concept: readConcept(r) };
      r.close(outer);
    } else if (field === 2) {
      const outer = r.open('association');
      item = { association: readAssociation(r) };
      r.close(outer);
    } else r.skip();
  }
  // Neither is an item that the storage refuses by its index, as a concept without an id.
  return item ?? { concept: { id: '', content: '' } };
}

export function encodeIngestAck(ack: IngestAck): Buffer {
  const w = new WireWriter();
  w.uint64(1, ack.firstIndex);
  w.uint64(2, ack.received);
  w.uint64(3, ack.accepted);
  w.uint64(4, ack.firstSequence);
  w.uint64(5, ack.lastSequence);
  for (const error of ack.errors) {
    w.open(6);
    w.uint64(1, error.index);
    w.string(2, error.code);
    w.string(3, error.message);
    for (const { field, description } of error.violations) {
      w.open(4);
      w.string(1, field);
      w.string(2, description);
      w.close();
    }
    w.close();
  }
  return w.finish();
}

export function decodeIngestAck(r: WireReader): IngestAck {
  const errors: IngestItemError[] = [];
  const ack: Mutable<IngestAck> = {
    firstIndex: 0,
    received: 0,
    accepted: 0,
    firstSequence: 0,
    lastSequence: 0,
    errors,
  };
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        ack.firstIndex = r.uint64('first_index');
        break;
      case 2:
        ack.received = r.uint64('received');
        break;
      case 3:
        ack.accepted = r.uint64('accepted');
        break;
      case 4:
        ack.firstSequence = r.uint64('first_sequence');
        break;
      case 5:
        ack.lastSequence = r.uint64('last_sequence');
        break;
      case 6: {
        const outer = r.open('errors');
        errors.push(readItemError(r));
        r.close(outer);
        break;
      }
      default:
        r.skip();
    }
  }
  return ack;
}

function readItemError(r: WireReader): IngestItemError {
  const violations: FieldViolation[] = [];
  const error: Mutable<IngestItemError> = { index: 0, code: 'INTERNAL', message: '', violations };
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        error.index = r.uint64('index');
        break;
      case 2: {
        // A code that only a newer server knows stays INTERNAL.
        const code = r.string('code');
        if (isErrorCode(code)) error.code = code;
        break;
      }
      case 3:
        error.message = r.string('message');
        break;
      case 4: {
        const outer = r.open('violations');
        let name = '';
        let description = '';
        for (let inner = r.next(); inner !== 0; inner = r.next()) {
          if (inner === 1) name = r.string('field');
          else if (inner === 2) description = r.string('description');
          else r.skip();
        }
        r.close(outer);
        violations.push({ field: name, description });
        break;
      }
      default:
        r.skip();
    }
  }
  return error;
}

export const SCAN_KINDS = ['all', 'concepts', 'associations'] as const satisfies ScanKinds[];

export interface ScanRequest {
  readonly kinds: ScanKinds;
  readonly withEmbeddings: boolean;
  readonly pageItems: number;
  /** '': from the start. */
  readonly resume: string;
}

export function encodeScan(request: ScanRequest): Buffer {
  const w = new WireWriter();
  w.uint32(1, SCAN_KINDS.indexOf(request.kinds));
  w.bool(2, !request.withEmbeddings);
  w.uint32(3, request.pageItems);
  w.string(4, request.resume);
  return w.finish();
}

export function decodeScan(r: WireReader): ScanRequest {
  const request: Mutable<ScanRequest> = {
    kinds: 'all',
    withEmbeddings: true,
    pageItems: 0,
    resume: '',
  };
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        request.kinds = r.enumeration('kinds', SCAN_KINDS);
        break;
      case 2:
        request.withEmbeddings = !r.bool('without_embeddings');
        break;
      case 3:
        request.pageItems = r.uint32('page_items');
        break;
      case 4:
        request.resume = r.string('resume');
        break;
      default:
        r.skip();
    }
  }
  return request;
}

export function encodeScanPage(page: ScanPage): Buffer {
  const w = new WireWriter();
  w.uint64(1, page.sequence);
  for (const concept of page.concepts) {
    w.open(2);
    w.string(1, concept.id);
    w.string(2, concept.content);
    if (concept.embedding !== undefined) w.floats(3, concept.embedding);
    w.float(4, concept.strength);
    w.float(5, concept.confidence);
    w.uint64(6, concept.createdUs);
    w.uint64(7, concept.updatedUs);
    w.close();
  }
  for (const association of page.associations) {
    w.open(3);
    w.string(1, association.source);
    w.string(2, association.target);
    w.uint32(3, association.type);
    w.float(4, association.confidence);
    w.uint64(5, association.createdUs);
    w.close();
  }
  w.string(4, page.resume ?? '');
  w.string(5, page.digest);
  w.uint64(6, page.conceptCount);
  w.uint64(7, page.associationCount);
  return w.finish();
}

export function decodeScanPage(r: WireReader): ScanPage {
  const concepts: ScannedConcept[] = [];
  const associations: ScannedAssociation[] = [];
  const page: Mutable<ScanPage> = {
    sequence: 0,
    digest: '',
    conceptCount: 0,
    associationCount: 0,
    concepts,
    associations,
    resume: null,
  };
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        page.sequence = r.uint64('sequence');
        break;
      case 2: {
        const outer = r.open('concepts');
        concepts.push(readScannedConcept(r));
        r.close(outer);
        break;
      }
      case 3: {
        const outer = r.open('associations');
        associations.push(readScannedAssociation(r));
        r.close(outer);
        break;
      }
      case 4: {
        const resume = r.string('resume');
        page.resume = resume === '' ? null : resume;
        break;
      }
      case 5:
        page.digest = r.string('digest');
        break;
      case 6:
        page.conceptCount = r.uint64('concept_count');
        break;
      case 7:
        page.associationCount = r.uint64('association_count');
        break;
      default:
        r.skip();
    }
  }
  return page;
}

/** Fields 1 to 7 are those of a learn; here, as everywhere in an answer, a number that is absent is 0. */
function readScannedConcept(r: WireReader): ScannedConcept {
  return { strength: 0, confidence: 0, createdUs: 0, updatedUs: 0, ...readConcept(r) };
}

function readScannedAssociation(r: WireReader): ScannedAssociation {
  return { type: 0, confidence: 0, createdUs: 0, ...readAssociation(r) };
}
