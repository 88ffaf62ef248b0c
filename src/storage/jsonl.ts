/**
 * JSON lines: one record per line, the plain form of a graph (docs/FORMATS.md). A concept is
 * `{"kind":"concept","id":...,"content":...}`, an association `{"kind":"association","source":...,"target":...}`; field
 * names are those of `--json`. The reader is strict: bytes must be UTF-8, lines are bounded, a field it does not know is
 * refused (a misspelt `confidence` must not become a silent 1.0), and every refusal names the line. It streams: memory
 * is one block of lines, whatever the file's size. Ranges of numbers and ids are the storage's to check, once, for every
 * way in; see `learnBatch`.
 */

import { isUtf8 } from 'node:buffer';
import { SutraError } from '../errors.js';
import { ASSOCIATION_TYPES, type AssociationInput, type ConceptInput } from './storage.js';

/** 1 MiB of content is at most 6 MiB when every byte is a \u escape; 4,096 floats add some 100 KiB. */
const MAX_LINE_BYTES = 24 * 1024 * 1024;
const BLOCK_BYTES = 1024 * 1024;
const LINE_FEED = 10;

export interface ConceptLine {
  readonly kind: 'concept';
  /** Counted from 1. */
  readonly line: number;
  readonly concept: ConceptInput;
  /** Whether the line has created_us or updated_us, which are checked but not kept yet. */
  readonly timed: boolean;
}

export interface AssociationLine {
  readonly kind: 'association';
  readonly line: number;
  readonly association: AssociationInput;
  readonly timed: boolean;
}

export type JsonlRecord = ConceptLine | AssociationLine;

export interface JsonlOptions {
  /** What messages call the input: a file's name. */
  readonly source: string;
  /** Default 24 MiB. */
  readonly maxLineBytes?: number;
}

/**
 * Reads records, a block at a time and in order. Everything before a bad line is yielded first; then it throws
 * INVALID_ARGUMENT with `SOURCE:LINE: reason`.
 */
export async function* readJsonl(
  chunks: AsyncIterable<Uint8Array>,
  options: JsonlOptions,
): AsyncGenerator<readonly JsonlRecord[], void, undefined> {
  for await (const block of readLines(chunks, options)) {
    const records: JsonlRecord[] = [];
    let failure: SutraError | undefined;
    let line = block.firstLine;
    for (const text of block.lines) {
      try {
        const record = parseLine(text, line);
        if (record !== null) records.push(record);
      } catch (error) {
        if (!(error instanceof BadLine)) throw error;
        failure = badLine(options.source, line, error.message);
        break;
      }
      line++;
    }
    if (records.length > 0) yield records;
    if (failure !== undefined) throw failure;
  }
}

export interface LineBlock {
  /** Number of lines[0], counted from 1. */
  readonly firstLine: number;
  readonly lines: readonly string[];
}

/** Cuts bytes into lines of valid UTF-8, without their line feeds. A line may span any number of chunks. */
export async function* readLines(
  chunks: AsyncIterable<Uint8Array>,
  options: JsonlOptions,
): AsyncGenerator<LineBlock, void, undefined> {
  const { source, maxLineBytes = MAX_LINE_BYTES } = options;
  let firstLine = 1;
  /** The pieces of a line whose end has not come yet. */
  let pieces: Buffer[] = [];
  let pieceBytes = 0;

  for await (const bytes of slices(chunks, Math.min(BLOCK_BYTES, maxLineBytes))) {
    const end = bytes.lastIndexOf(LINE_FEED);
    const firstEnd = end < 0 ? bytes.length : bytes.indexOf(LINE_FEED);
    // Later lines of these bytes lie within one slice, so only the first can be too long.
    if (pieceBytes + firstEnd > maxLineBytes) {
      throw badLine(source, firstLine, `longer than ${maxLineBytes} bytes`);
    }
    if (end < 0) {
      pieces.push(bytes);
      pieceBytes += bytes.length;
      continue;
    }
    pieces.push(bytes.subarray(0, end));
    const block = decodeLines(Buffer.concat(pieces), source, firstLine);
    if (block.lines.length > 0) yield block;
    if (block.failure !== undefined) throw block.failure;
    firstLine += block.lines.length;
    pieces = end + 1 === bytes.length ? [] : [bytes.subarray(end + 1)];
    pieceBytes = bytes.length - end - 1;
  }
  if (pieceBytes === 0) return;
  const last = decodeLines(Buffer.concat(pieces), source, firstLine);
  if (last.lines.length > 0) yield last;
  if (last.failure !== undefined) throw last.failure;
}

/** The bytes as they come, in pieces that bound how much is decoded at once. */
async function* slices(
  chunks: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.byteLength; at += size) {
      const length = Math.min(size, chunk.byteLength - at);
      yield Buffer.from(chunk.buffer, chunk.byteOffset + at, length);
    }
  }
}

interface DecodedBlock extends LineBlock {
  /** Set when the line behind the last of `lines` is not UTF-8. */
  readonly failure?: SutraError;
}

function decodeLines(bytes: Buffer, source: string, firstLine: number): DecodedBlock {
  if (isUtf8(bytes)) {
    const lines = bytes.toString('utf8').split('\n');
    // A byte order mark is what some editors put in front of a file; it is no part of the first record.
    if (firstLine === 1 && lines[0]?.startsWith('\ufeff') === true) lines[0] = lines[0].slice(1);
    return { firstLine, lines };
  }
  // A byte of 10 is a line feed wherever it stands in UTF-8, so lines can be cut before they are known to be valid.
  const lines: string[] = [];
  let at = 0;
  for (;;) {
    const feed = bytes.indexOf(LINE_FEED, at);
    const line = bytes.subarray(at, feed < 0 ? bytes.length : feed);
    if (!isUtf8(line)) {
      const failure = badLine(source, firstLine + lines.length, 'not valid UTF-8');
      return { firstLine, lines, failure };
    }
    lines.push(line.toString('utf8'));
    at = feed + 1;
  }
}

/** Why a line is refused, before it is known where it stands. */
class BadLine extends Error {}

/** A record, or null for a blank line. */
function parseLine(text: string, line: number): JsonlRecord | null {
  if (text.length === 0 || text.trim().length === 0) return null;
  const fields = parseObject(text);
  switch (fields['kind']) {
    case 'concept':
      return { kind: 'concept', line, concept: conceptOf(fields), timed: isTimed(fields) };
    case 'association':
      return {
        kind: 'association',
        line,
        association: associationOf(fields),
        timed: isTimed(fields),
      };
    default:
      throw new BadLine(`kind: got ${show(fields['kind'])}, expected "concept" or "association"`);
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Fields = Readonly<Record<string, unknown>>;

function parseObject(text: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new BadLine(error instanceof Error ? `not JSON: ${error.message}` : 'not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new BadLine(`got ${show(value)}, expected a JSON object`);
  }
  return value as Fields;
}

const CONCEPT_FIELDS: ReadonlySet<string> = new Set([
  'kind',
  'id',
  'content',
  'strength',
  'confidence',
  'embedding',
  'created_us',
  'updated_us',
]);

const ASSOCIATION_FIELDS: ReadonlySet<string> = new Set([
  'kind',
  'source',
  'target',
  'type',
  'confidence',
  'created_us',
  'updated_us',
]);

function conceptOf(fields: Fields): ConceptInput {
  refuseUnknown(fields, CONCEPT_FIELDS, 'a concept');
  const concept: Mutable<ConceptInput> = {
    id: stringField(fields, 'id'),
    content: stringField(fields, 'content'),
  };
  const strength = optionalNumber(fields, 'strength');
  if (strength !== undefined) concept.strength = strength;
  const confidence = optionalNumber(fields, 'confidence');
  if (confidence !== undefined) concept.confidence = confidence;
  const embedding = fields['embedding'];
  if (embedding !== undefined) concept.embedding = embeddingOf(embedding);
  return concept;
}

function associationOf(fields: Fields): AssociationInput {
  refuseUnknown(fields, ASSOCIATION_FIELDS, 'an association');
  const association: Mutable<AssociationInput> = {
    source: stringField(fields, 'source'),
    target: stringField(fields, 'target'),
  };
  const type = fields['type'];
  if (type !== undefined) association.type = typeOf(type);
  const confidence = optionalNumber(fields, 'confidence');
  if (confidence !== undefined) association.confidence = confidence;
  return association;
}

function refuseUnknown(fields: Fields, known: ReadonlySet<string>, what: string): void {
  for (const name of Object.keys(fields)) {
    if (!known.has(name)) {
      throw new BadLine(`unknown field ${show(name)}; ${what} has ${[...known].join(', ')}`);
    }
  }
}

function stringField(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string')
    throw new BadLine(`${name}: got ${show(value)}, expected a string`);
  return value;
}

function optionalNumber(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  if (value === undefined || typeof value === 'number') return value;
  throw new BadLine(`${name}: got ${show(value)}, expected a number`);
}

function embeddingOf(value: unknown): Float32Array {
  if (!Array.isArray(value)) {
    throw new BadLine(`embedding: got ${show(value)}, expected an array of numbers`);
  }
  const numbers: readonly unknown[] = value;
  const embedding = new Float32Array(numbers.length);
  for (const [i, number] of numbers.entries()) {
    if (typeof number !== 'number') {
      throw new BadLine(`embedding[${i}]: got ${show(number)}, expected a number`);
    }
    embedding[i] = number;
  }
  return embedding;
}

const TYPE_NAMES: readonly string[] = ASSOCIATION_TYPES;

function typeOf(value: unknown): number {
  if (typeof value === 'number') return value;
  const type = typeof value === 'string' ? TYPE_NAMES.indexOf(value) : -1;
  if (type >= 0) return type;
  throw new BadLine(
    `type: got ${show(value)}, expected ${TYPE_NAMES.join(', ')} or a number from 0 to 65535`,
  );
}

function isTimed(fields: Fields): boolean {
  let timed = false;
  for (const name of ['created_us', 'updated_us']) {
    const value = fields[name];
    if (value === undefined) continue;
    if (!Number.isSafeInteger(value) || (value as number) < 0) {
      throw new BadLine(`${name}: got ${show(value)}, expected whole microseconds since 1970`);
    }
    timed = true;
  }
  return timed;
}

/** A value as a message shows it: JSON, cut short. */
function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value);
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

function badLine(source: string, line: number, reason: string): SutraError {
  return new SutraError('INVALID_ARGUMENT', `${source}:${line}: ${reason}`, {
    hint: 'Correct that line and try again; the form of a line is in docs/FORMATS.md.',
  });
}
