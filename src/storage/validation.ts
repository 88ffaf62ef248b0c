/**
 * What a request may say, checked before anything else is done with it, in one place for both backends and thereby for the
 * server: so that the same mistake gives the same error everywhere, and a refused call changes nothing. Limits are those of
 * interface.md. Each `check` throws one INVALID_ARGUMENT that names every offending field by its wire name, with what was
 * got and what was expected; valid input costs no allocation, as this runs for each write of a batch.
 *
 * What depends on the store's state (unknown endpoints, another dimension, two names with one key) is the engine's to
 * refuse. Choices where the interface is silent: a max_depth above 64, a k above 10,000 and an unknown direction are
 * INVALID_ARGUMENT rather than cut to the limit, so that no answer is silently another question's; ef_search is any
 * uint32, since more than there are vectors only means all of them. An embedding is checked after rounding to float32,
 * because that is what is kept: 1e39 is infinite there and 1e-50 is zero.
 */

import { idProblem } from '../engine/format/id.js';
import { SutraError, type FieldViolation } from '../errors.js';
import type {
  AssociationInput,
  BatchInput,
  CallOptions,
  ConceptInput,
  IngestItem,
  IngestOptions,
  NeighborOptions,
  Neighborhood,
  PathOptions,
  QueryOptions,
  ScanOptions,
  SearchOptions,
} from './storage.js';

export const MAX_CONTENT_BYTES = 1024 * 1024;
/** Of one atomic batch, encoded as a LearnBatchRequest; also the limit of any message. */
export const MAX_BATCH_BYTES = 16 * 1024 * 1024;
export const MAX_DIMENSION = 4096;
export const MAX_TYPE = 65_535;
export const DEFAULT_MAX_DEPTH = 6;
export const MAX_DEPTH = 64;
export const DEFAULT_HOPS = 1;
/** Of one search's contents together: what a message may hold. */
export const MAX_SEARCH_CONTENT_BYTES = MAX_BATCH_BYTES;
export const DEFAULT_K = 10;
export const MAX_K = 10_000;
export const DEFAULT_EF_SEARCH = 50;
export const DEFAULT_CHUNK_ITEMS = 1000;
export const MAX_CHUNK_ITEMS = 16_384;
export const DEFAULT_PAGE_ITEMS = 1000;
export const MAX_PAGE_ITEMS = 10_000;
const MAX_UINT32 = 0xffff_ffff;
/** More violations than this are counted, not listed. */
const MAX_LISTED = 100;

/** Violations of one request; made only once there is one. */
class Problems {
  readonly listed: FieldViolation[] = [];
  count = 0;

  add(field: string, description: string): void {
    this.count++;
    if (this.listed.length < MAX_LISTED) this.listed.push({ field, description });
  }

  error(): SutraError {
    const shown = this.listed
      .slice(0, 3)
      .map(({ field, description }) => `${field}: ${description}`);
    const hidden = this.count - shown.length;
    const message = shown.join('; ') + (hidden > 0 ? `; and ${hidden} more` : '');
    return new SutraError('INVALID_ARGUMENT', message, { violations: this.listed });
  }
}

type Found = Problems | null;

function note(found: Found, field: string, description: string): Problems {
  const problems = found ?? new Problems();
  problems.add(field, description);
  return problems;
}

function settle(found: Found): void {
  if (found !== null) throw found.error();
}

export function checkConcept(concept: ConceptInput, options: CallOptions = {}): void {
  settle(callProblems(conceptProblems(null, concept, '', 0), options));
}

export function checkAssociation(association: AssociationInput, options: CallOptions = {}): void {
  settle(callProblems(associationProblems(null, association, '', 0), options));
}

/** Also refuses, as TOO_LARGE, a batch that would not fit a message: both backends take the same batches. */
export function checkBatch(batch: BatchInput, options: CallOptions = {}): void {
  let found: Found = null;
  let index = 0;
  for (const concept of batch.concepts ?? []) {
    found = conceptProblems(found, concept, 'concepts', index++);
  }
  index = 0;
  for (const association of batch.associations ?? []) {
    found = associationProblems(found, association, 'associations', index++);
  }
  settle(callProblems(found, options));
  // Characters times three bound the bytes; only a batch that comes near the limit is measured exactly.
  if (batchBytes(batch, utf8Bound) > MAX_BATCH_BYTES) {
    const bytes = batchBytes(batch, (text) => Buffer.byteLength(text));
    if (bytes > MAX_BATCH_BYTES) {
      throw new SutraError(
        'TOO_LARGE',
        `the batch is ${bytes} bytes, expected at most ${MAX_BATCH_BYTES}`,
        { hint: 'Split the batch; each part is atomic by itself.' },
      );
    }
  }
}

/** For a request that names one concept. */
export function checkQuery(id: string, options: QueryOptions = {}): void {
  settle(callProblems(idProblems(null, id, '', 0, 'concept_id'), options));
}

export function checkForgetAssociation(
  source: string,
  target: string,
  type: number | undefined,
  options: CallOptions = {},
): void {
  let found = idProblems(null, source, '', 0, 'source_id');
  found = idProblems(found, target, '', 0, 'target_id');
  if (type !== undefined) found = typeProblems(found, type, '', 0);
  settle(callProblems(found, options));
}

export function checkNeighbors(id: string, options: NeighborOptions = {}): void {
  let found = idProblems(null, id, '', 0, 'concept_id');
  found = directionProblems(found, options.direction);
  found = typesProblems(found, options.types);
  found = integerProblems(found, 'limit', options.limit, MAX_UINT32);
  const parallel: unknown = options.parallel;
  if (parallel !== undefined && typeof parallel !== 'boolean') {
    found = note(found, 'parallel', `got ${show(parallel)}, expected true or false`);
  }
  settle(callProblems(found, options));
}

export function checkPath(start: string, end: string, options: PathOptions = {}): void {
  let found = idProblems(null, start, '', 0, 'start_id');
  found = idProblems(found, end, '', 0, 'end_id');
  found = integerProblems(found, 'max_depth', options.maxDepth, MAX_DEPTH);
  found = directionProblems(found, options.direction);
  found = typesProblems(found, options.types);
  const by: unknown = options.by;
  if (by !== undefined && by !== 'hops' && by !== 'confidence') {
    found = note(found, 'by', `got ${show(by)}, expected hops or confidence`);
  }
  settle(callProblems(found, options));
}

export function checkSearch(
  query: Float32Array | readonly number[],
  options: SearchOptions = {},
): void {
  let found = vectorProblems(null, query, '', 0, 'query_vector');
  found = integerProblems(found, 'k', options.k, MAX_K);
  found = integerProblems(found, 'ef_search', options.efSearch, MAX_UINT32);
  found = similarityProblems(found, options.minSimilarity);
  if (options.within !== undefined) found = withinProblems(found, options.within);
  settle(callProblems(found, options));
}

export function checkIngest(options: IngestOptions): void {
  const found = integerProblems(null, 'chunk_items', options.chunkItems, MAX_CHUNK_ITEMS);
  settle(callProblems(found, options));
}

export function checkIngestItem(item: IngestItem): void {
  if (!isObject(item) || 'concept' in item === 'association' in item) {
    settle(note(null, 'item', 'expected a concept or an association'));
  } else if ('concept' in item) settle(conceptProblems(null, item.concept, '', 0));
  else settle(associationProblems(null, item.association, '', 0));
}

export function checkScan(options: ScanOptions): void {
  let found: Found = null;
  const kinds: unknown = options.kinds;
  if (kinds !== undefined && kinds !== 'all' && kinds !== 'concepts' && kinds !== 'associations') {
    found = note(found, 'kinds', `got ${show(kinds)}, expected all, concepts or associations`);
  }
  found = integerProblems(found, 'page_items', options.pageItems, MAX_PAGE_ITEMS);
  const resume: unknown = options.resume;
  if (resume !== undefined && typeof resume !== 'string') {
    found = note(found, 'resume', `got ${show(resume)}, expected a token of an earlier page`);
  }
  settle(callProblems(found, options));
}

/** For requests that say nothing but how long they may take. */
export function checkCall(options: CallOptions = {}): void {
  settle(callProblems(null, options));
}

/** The error of an aborted signal: DEADLINE_EXCEEDED when its reason is a timeout, the reason itself if it is ours. */
export function abortError(signal: AbortSignal): SutraError {
  const reason: unknown = signal.reason;
  if (reason instanceof SutraError) return reason;
  return reason instanceof Error && reason.name === 'TimeoutError'
    ? new SutraError('DEADLINE_EXCEEDED', 'the deadline passed before the call was done')
    : new SutraError('CANCELLED', 'the call was cancelled');
}

/** Throws `abortError` when the signal has been aborted already. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortError(signal);
}

function conceptProblems(found: Found, concept: ConceptInput, scope: string, index: number): Found {
  if (!isObject(concept)) return note(found, path(scope, index, ''), 'expected a concept');
  found = idProblems(found, concept.id, scope, index, 'concept_id');
  found = contentProblems(found, concept.content, scope, index);
  if (concept.embedding !== undefined) {
    found = vectorProblems(found, concept.embedding, scope, index, 'embedding');
  }
  if (concept.strength !== undefined) {
    found = strengthProblems(found, concept.strength, scope, index);
  }
  if (concept.confidence !== undefined) {
    found = confidenceProblems(found, concept.confidence, scope, index);
  }
  if (concept.createdUs !== undefined) {
    found = timeProblems(found, concept.createdUs, scope, index, 'created_us');
  }
  if (concept.updatedUs !== undefined) {
    found = timeProblems(found, concept.updatedUs, scope, index, 'updated_us');
  }
  return found;
}

function associationProblems(
  found: Found,
  association: AssociationInput,
  scope: string,
  index: number,
): Found {
  if (!isObject(association)) return note(found, path(scope, index, ''), 'expected an association');
  found = idProblems(found, association.source, scope, index, 'source_id');
  found = idProblems(found, association.target, scope, index, 'target_id');
  if (association.type !== undefined) found = typeProblems(found, association.type, scope, index);
  if (association.confidence !== undefined) {
    found = confidenceProblems(found, association.confidence, scope, index);
  }
  if (association.createdUs !== undefined) {
    found = timeProblems(found, association.createdUs, scope, index, 'created_us');
  }
  return found;
}

/** `concepts[3].confidence`; made only for a violation. */
function path(scope: string, index: number, field: string): string {
  if (scope === '') return field === '' ? 'request' : field;
  return field === '' ? `${scope}[${index}]` : `${scope}[${index}].${field}`;
}

/** Callers in JavaScript may pass anything. */
function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

function idProblems(found: Found, id: unknown, scope: string, index: number, field: string): Found {
  const problem = idProblem(id);
  return problem === null ? found : note(found, path(scope, index, field), problem);
}

function contentProblems(found: Found, content: unknown, scope: string, index: number): Found {
  if (typeof content !== 'string') {
    const description = `got ${typeof content}, expected a string`;
    return note(found, path(scope, index, 'content'), description);
  }
  // A UTF-16 unit is at most 3 bytes of UTF-8, so most content needs no count.
  if (content.length > MAX_CONTENT_BYTES / 3) {
    const bytes = Buffer.byteLength(content, 'utf8');
    if (bytes > MAX_CONTENT_BYTES) {
      const description = `got ${bytes} bytes, expected at most ${MAX_CONTENT_BYTES}`;
      return note(found, path(scope, index, 'content'), description);
    }
  }
  if (!content.isWellFormed()) {
    const description = 'got a lone surrogate, expected valid UTF-8';
    return note(found, path(scope, index, 'content'), description);
  }
  return found;
}

function strengthProblems(found: Found, strength: unknown, scope: string, index: number): Found {
  if (typeof strength === 'number') {
    const rounded = Math.fround(strength);
    if (rounded >= 0 && rounded < Infinity) return found;
  }
  const description = `got ${show(strength)}, expected a finite number of at least 0`;
  return note(found, path(scope, index, 'strength'), description);
}

function confidenceProblems(
  found: Found,
  confidence: unknown,
  scope: string,
  index: number,
): Found {
  if (typeof confidence === 'number') {
    const rounded = Math.fround(confidence);
    if (rounded >= 0 && rounded <= 1) return found;
  }
  const description = `got ${show(confidence)}, expected 0 to 1`;
  return note(found, path(scope, index, 'confidence'), description);
}

function timeProblems(
  found: Found,
  time: unknown,
  scope: string,
  index: number,
  field: string,
): Found {
  if (isInteger(time, Number.MAX_SAFE_INTEGER)) return found;
  const description = `got ${show(time)}, expected microseconds since 1970, an integer below 2^53`;
  return note(found, path(scope, index, field), description);
}

function typeProblems(found: Found, type: unknown, scope: string, index: number): Found {
  if (isInteger(type, MAX_TYPE)) return found;
  const description = `got ${show(type)}, expected an integer of 0 to ${MAX_TYPE}`;
  return note(found, path(scope, index, 'assoc_type'), description);
}

function vectorProblems(
  found: Found,
  vector: unknown,
  scope: string,
  index: number,
  field: string,
): Found {
  if (!(vector instanceof Float32Array) && !Array.isArray(vector)) {
    const description = `got ${show(vector)}, expected a Float32Array or an array of numbers`;
    return note(found, path(scope, index, field), description);
  }
  const problem = vectorProblem(vector as ArrayLike<unknown>);
  return problem === null ? found : note(found, path(scope, index, field), problem);
}

/**
 * What is wrong with an embedding, or null. In float64 the sum of squares of at most 4,096 float32 values neither overflows
 * (4,096 * (3.4e38)^2 < 1e81) nor underflows (the least float32, 1.4e-45, squares to 2e-90), so the sum is NaN or infinite
 * exactly when an element is, and zero exactly when all are.
 */
function vectorProblem(vector: ArrayLike<unknown>): string | null {
  const length = vector.length;
  if (length < 1 || length > MAX_DIMENSION) {
    return `got ${length} numbers, expected 1 to ${MAX_DIMENSION}`;
  }
  let sum = 0;
  for (let i = 0; i < length; i++) {
    const value = vector[i];
    if (typeof value !== 'number') return `got ${show(value)} at index ${i}, expected a number`;
    const rounded = Math.fround(value);
    sum += rounded * rounded;
  }
  if (sum > 0 && sum < Infinity) return null;
  if (sum === 0) return 'got a vector of zero norm, expected one that has a direction';
  for (let i = 0; i < length; i++) {
    const value = vector[i];
    if (!Number.isFinite(Math.fround(Number(value)))) {
      return `got ${show(value)} at index ${i}, expected numbers that are finite in float32`;
    }
  }
  return 'got a vector without a finite norm';
}

function directionProblems(found: Found, direction: unknown): Found {
  if (
    direction === undefined ||
    direction === 'both' ||
    direction === 'out' ||
    direction === 'in'
  ) {
    return found;
  }
  return note(found, 'direction', `got ${show(direction)}, expected both, out or in`);
}

function typesProblems(found: Found, types: unknown): Found {
  if (types === undefined) return found;
  if (!Array.isArray(types)) {
    return note(found, 'types', `got ${show(types)}, expected an array of integers`);
  }
  if (types.length > MAX_TYPE + 1) {
    return note(found, 'types', `got ${types.length} types, expected at most ${MAX_TYPE + 1}`);
  }
  for (let i = 0; i < types.length; i++) {
    const type: unknown = types[i];
    if (isInteger(type, MAX_TYPE)) continue;
    const description = `got ${show(type)}, expected an integer of 0 to ${MAX_TYPE}`;
    found = note(found, `types[${i}]`, description);
  }
  return found;
}

function similarityProblems(found: Found, similarity: unknown): Found {
  if (similarity === undefined) return found;
  if (typeof similarity === 'number' && Math.abs(Math.fround(similarity)) <= 1) return found;
  return note(found, 'min_similarity', `got ${show(similarity)}, expected -1 to 1`);
}

function withinProblems(found: Found, within: Neighborhood): Found {
  if (!isObject(within)) {
    return note(found, 'within_id', `got ${show(within)}, expected a concept and hops`);
  }
  found = idProblems(found, within.id, '', 0, 'within_id');
  return integerProblems(found, 'within_hops', within.hops, MAX_DEPTH);
}

function integerProblems(found: Found, field: string, value: unknown, max: number): Found {
  if (value === undefined || isInteger(value, max)) return found;
  return note(found, field, `got ${show(value)}, expected an integer of 0 to ${max}`);
}

/** timeout_ms is not on the wire, where the deadline is; it is checked all the same. */
function callProblems(found: Found, options: CallOptions): Found {
  const timeoutMs: unknown = options.timeoutMs;
  if (timeoutMs === undefined || (typeof timeoutMs === 'number' && timeoutMs > 0)) return found;
  return note(found, 'timeout_ms', `got ${show(timeoutMs)}, expected a number above 0`);
}

function isInteger(value: unknown, max: number): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max;
}

/** A value as an error message shows it: short, whatever it is. */
function show(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (typeof value === 'bigint') return 'a bigint';
  if (typeof value === 'string') {
    return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  }
  if (value === null || value === undefined) return String(value);
  return Array.isArray(value) ? 'an array' : `a value of type ${typeof value}`;
}

function utf8Bound(text: string): number {
  return text.length * 3;
}

/** Bytes of the batch as an encoded LearnBatchRequest, by a measure of its strings. */
function batchBytes(batch: BatchInput, utf8: (text: string) => number): number {
  let total = 0;
  for (const concept of batch.concepts ?? []) {
    let bytes = stringField(utf8(concept.id)) + stringField(utf8(concept.content));
    if (concept.embedding !== undefined) bytes += stringField(concept.embedding.length * 4);
    if (concept.strength !== undefined) bytes += 5;
    if (concept.confidence !== undefined) bytes += 5;
    if (concept.createdUs !== undefined) bytes += 1 + varintBytes(concept.createdUs);
    if (concept.updatedUs !== undefined) bytes += 1 + varintBytes(concept.updatedUs);
    total += 1 + varintBytes(bytes) + bytes;
  }
  for (const association of batch.associations ?? []) {
    let bytes = stringField(utf8(association.source)) + stringField(utf8(association.target));
    const type = association.type ?? 0;
    if (type !== 0) bytes += 1 + varintBytes(type);
    if (association.confidence !== undefined) bytes += 5;
    if (association.createdUs !== undefined) bytes += 1 + varintBytes(association.createdUs);
    total += 1 + varintBytes(bytes) + bytes;
  }
  return total;
}

/** A tag of one byte, the length, the bytes; nothing when it is empty. */
function stringField(length: number): number {
  return length === 0 ? 0 : 1 + varintBytes(length) + length;
}

function varintBytes(value: number): number {
  let bytes = 1;
  while (value >= 128) {
    value = Math.floor(value / 128);
    bytes++;
  }
  return bytes;
}
