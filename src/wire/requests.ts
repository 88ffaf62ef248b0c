/**
 * The requests of proto/sutra/storage.proto, by hand: each has an encoder and a decoder, and a test holds both against the
 * .proto itself. Decoders produce what the Storage interface takes, so that a request passes through the server without
 * another object in between; they check form only (what protobuf can say), validation.ts checks values. Unknown fields
 * are skipped; of a field that comes twice the last one counts, as protobuf says.
 */

import type {
  AssociationInput,
  BatchInput,
  ConceptInput,
  Direction,
  Neighborhood,
  Weighting,
} from '../storage/storage.js';
import { FloatSink, type WireReader } from './reader.js';
import { WireWriter } from './writer.js';

export const DIRECTIONS = ['both', 'out', 'in'] as const satisfies readonly Direction[];
export const WEIGHTINGS = ['hops', 'confidence'] as const satisfies readonly Weighting[];

export interface QueryRequest {
  readonly id: string;
  readonly withEmbedding: boolean;
  readonly withoutContent: boolean;
}

export interface NeighborsRequest {
  readonly id: string;
  readonly direction: Direction;
  readonly types: readonly number[];
  readonly limit: number;
  readonly parallel: boolean;
}

export interface PathRequest {
  readonly start: string;
  readonly end: string;
  readonly maxDepth: number;
  readonly direction: Direction;
  readonly types: readonly number[];
  readonly by: Weighting;
}

export interface SearchRequest {
  readonly query: Float32Array | readonly number[];
  readonly k: number;
  readonly efSearch: number;
  readonly minSimilarity?: number;
  readonly within?: Neighborhood;
  readonly withContent: boolean;
}

export interface ForgetConceptRequest {
  readonly id: string;
}

export interface ForgetAssociationRequest {
  readonly source: string;
  readonly target: string;
  readonly type?: number;
}

/** StatsRequest, FlushRequest and HealthCheckRequest have no fields. */
export type EmptyRequest = Record<string, never>;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export function writeConcept(w: WireWriter, concept: ConceptInput): void {
  w.string(1, concept.id);
  w.string(2, concept.content);
  if (concept.embedding !== undefined) w.floats(3, concept.embedding);
  if (concept.strength !== undefined) w.presentFloat(4, concept.strength);
  if (concept.confidence !== undefined) w.presentFloat(5, concept.confidence);
  if (concept.createdUs !== undefined) w.presentUint64(6, concept.createdUs);
  if (concept.updatedUs !== undefined) w.presentUint64(7, concept.updatedUs);
}

/** A concept as it was read: its embedding is an array of its own. */
export interface ReadConcept extends ConceptInput {
  readonly embedding?: Float32Array;
}

export function readConcept(r: WireReader): ReadConcept {
  const concept: Mutable<ReadConcept> = { id: '', content: '' };
  let embedding: FloatSink | undefined;
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        concept.id = r.string('concept_id');
        break;
      case 2:
        concept.content = r.string('content');
        break;
      case 3:
        r.floats('embedding', (embedding ??= new FloatSink()));
        break;
      case 4:
        concept.strength = r.float('strength');
        break;
      case 5:
        concept.confidence = r.float('confidence');
        break;
      case 6:
        concept.createdUs = r.uint64('created_us');
        break;
      case 7:
        concept.updatedUs = r.uint64('updated_us');
        break;
      default:
        r.skip();
    }
  }
  if (embedding !== undefined) {
    // An empty repeated field cannot be told from an absent one: it means no embedding.
    const values = embedding.finish();
    if (values.length > 0) concept.embedding = values;
  }
  return concept;
}

export function writeAssociation(w: WireWriter, association: AssociationInput): void {
  w.string(1, association.source);
  w.string(2, association.target);
  w.uint32(3, association.type ?? 0);
  if (association.confidence !== undefined) w.presentFloat(4, association.confidence);
  if (association.createdUs !== undefined) w.presentUint64(5, association.createdUs);
}

export function readAssociation(r: WireReader): AssociationInput {
  const association: Mutable<AssociationInput> = { source: '', target: '', type: 0 };
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        association.source = r.string('source_id');
        break;
      case 2:
        association.target = r.string('target_id');
        break;
      case 3:
        association.type = r.uint32('assoc_type');
        break;
      case 4:
        association.confidence = r.float('confidence');
        break;
      case 5:
        association.createdUs = r.uint64('created_us');
        break;
      default:
        r.skip();
    }
  }
  return association;
}

export function encodeLearnConcept(concept: ConceptInput): Buffer {
  const w = new WireWriter();
  writeConcept(w, concept);
  return w.finish();
}

export function decodeLearnConcept(r: WireReader): ConceptInput {
  return readConcept(r);
}

export function encodeLearnAssociation(association: AssociationInput): Buffer {
  const w = new WireWriter();
  writeAssociation(w, association);
  return w.finish();
}

export function decodeLearnAssociation(r: WireReader): AssociationInput {
  return readAssociation(r);
}

export function encodeLearnBatch(batch: BatchInput): Buffer {
  const w = new WireWriter();
  for (const concept of batch.concepts ?? []) {
    w.open(1);
    writeConcept(w, concept);
    w.close();
  }
  for (const association of batch.associations ?? []) {
    w.open(2);
    writeAssociation(w, association);
    w.close();
  }
  return w.finish();
}

export function decodeLearnBatch(r: WireReader): BatchInput {
  const concepts: ConceptInput[] = [];
  const associations: AssociationInput[] = [];
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1: {
        const outer = r.open('concepts');
        r.within('concepts', concepts.length);
        const concept = readConcept(r);
        // Two bytes on the wire would be an object here: a message of empty elements is refused before it fills memory.
        if (concept.id === '') r.problem('concept_id', EMPTY_ID);
        concepts.push(concept);
        r.close(outer);
        r.within('', 0);
        break;
      }
      case 2: {
        const outer = r.open('associations');
        r.within('associations', associations.length);
        const association = readAssociation(r);
        if (association.source === '') r.problem('source_id', EMPTY_ID);
        if (association.target === '') r.problem('target_id', EMPTY_ID);
        associations.push(association);
        r.close(outer);
        r.within('', 0);
        break;
      }
      default:
        r.skip();
    }
  }
  return { concepts, associations };
}

const EMPTY_ID = 'got an empty id, expected 1 to 512 bytes of UTF-8';

export function encodeQueryConcept(request: QueryRequest): Buffer {
  const w = new WireWriter();
  w.string(1, request.id);
  w.bool(2, request.withEmbedding);
  w.bool(3, request.withoutContent);
  return w.finish();
}

export function decodeQueryConcept(r: WireReader): QueryRequest {
  const request: Mutable<QueryRequest> = { id: '', withEmbedding: false, withoutContent: false };
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        request.id = r.string('concept_id');
        break;
      case 2:
        request.withEmbedding = r.bool('with_embedding');
        break;
      case 3:
        request.withoutContent = r.bool('without_content');
        break;
      default:
        r.skip();
    }
  }
  return request;
}

export function encodeGetNeighbors(request: NeighborsRequest): Buffer {
  const w = new WireWriter();
  w.string(1, request.id);
  w.uint32(2, DIRECTIONS.indexOf(request.direction));
  w.uint32s(3, request.types);
  w.uint32(4, request.limit);
  w.bool(5, request.parallel);
  return w.finish();
}

export function decodeGetNeighbors(r: WireReader): NeighborsRequest {
  const types: number[] = [];
  const request: Mutable<NeighborsRequest> = {
    id: '',
    direction: 'both',
    types,
    limit: 0,
    parallel: false,
  };
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        request.id = r.string('concept_id');
        break;
      case 2:
        request.direction = r.enumeration('direction', DIRECTIONS);
        break;
      case 3:
        r.uint32s('types', types);
        break;
      case 4:
        request.limit = r.uint32('limit');
        break;
      case 5:
        request.parallel = r.bool('parallel');
        break;
      default:
        r.skip();
    }
  }
  return request;
}

export function encodeFindPath(request: PathRequest): Buffer {
  const w = new WireWriter();
  w.string(1, request.start);
  w.string(2, request.end);
  w.uint32(3, request.maxDepth);
  w.uint32(4, DIRECTIONS.indexOf(request.direction));
  w.uint32s(5, request.types);
  w.uint32(6, WEIGHTINGS.indexOf(request.by));
  return w.finish();
}

export function decodeFindPath(r: WireReader): PathRequest {
  const types: number[] = [];
  const request: Mutable<PathRequest> = {
    start: '',
    end: '',
    maxDepth: 0,
    direction: 'both',
    types,
    by: 'hops',
  };
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        request.start = r.string('start_id');
        break;
      case 2:
        request.end = r.string('end_id');
        break;
      case 3:
        request.maxDepth = r.uint32('max_depth');
        break;
      case 4:
        request.direction = r.enumeration('direction', DIRECTIONS);
        break;
      case 5:
        r.uint32s('types', types);
        break;
      case 6:
        request.by = r.enumeration('by', WEIGHTINGS);
        break;
      default:
        r.skip();
    }
  }
  return request;
}

export function encodeVectorSearch(request: SearchRequest): Buffer {
  const w = new WireWriter();
  w.floats(1, request.query);
  w.uint32(2, request.k);
  w.uint32(3, request.efSearch);
  if (request.minSimilarity !== undefined) w.presentFloat(4, request.minSimilarity);
  if (request.within !== undefined) {
    w.string(5, request.within.id);
    w.uint32(6, request.within.hops ?? 0);
  }
  w.bool(7, request.withContent);
  return w.finish();
}

export function decodeVectorSearch(r: WireReader): SearchRequest {
  const query = new FloatSink();
  const request: Omit<Mutable<SearchRequest>, 'query'> = { k: 0, efSearch: 0, withContent: false };
  let id = '';
  let hops = 0;
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        r.floats('query_vector', query);
        break;
      case 2:
        request.k = r.uint32('k');
        break;
      case 3:
        request.efSearch = r.uint32('ef_search');
        break;
      case 4:
        request.minSimilarity = r.float('min_similarity');
        break;
      case 5:
        id = r.string('within_id');
        break;
      case 6:
        hops = r.uint32('within_hops');
        break;
      case 7:
        request.withContent = r.bool('with_content');
        break;
      default:
        r.skip();
    }
  }
  // Hops from nowhere are kept, so that validation refuses them.
  if (id !== '' || hops !== 0) request.within = { id, hops };
  return { query: query.finish(), ...request };
}

export function encodeForgetConcept(request: ForgetConceptRequest): Buffer {
  const w = new WireWriter();
  w.string(1, request.id);
  return w.finish();
}

export function decodeForgetConcept(r: WireReader): ForgetConceptRequest {
  let id = '';
  for (let field = r.next(); field !== 0; field = r.next()) {
    if (field === 1) id = r.string('concept_id');
    else r.skip();
  }
  return { id };
}

export function encodeForgetAssociation(request: ForgetAssociationRequest): Buffer {
  const w = new WireWriter();
  w.string(1, request.source);
  w.string(2, request.target);
  if (request.type !== undefined) w.presentUint32(3, request.type);
  return w.finish();
}

export function decodeForgetAssociation(r: WireReader): ForgetAssociationRequest {
  const request: Mutable<ForgetAssociationRequest> = { source: '', target: '' };
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        request.source = r.string('source_id');
        break;
      case 2:
        request.target = r.string('target_id');
        break;
      case 3:
        request.type = r.uint32('assoc_type');
        break;
      default:
        r.skip();
    }
  }
  return request;
}

export function encodeEmpty(_request: EmptyRequest): Buffer {
  return Buffer.alloc(0);
}

export function decodeEmpty(r: WireReader): EmptyRequest {
  while (r.next() !== 0) r.skip();
  return {};
}
