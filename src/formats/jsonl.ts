/**
 * JSON lines: one record per line, the form that holds everything a store holds (docs/FORMATS.md). A concept is
 * `{"kind":"concept","id":...,"content":...}`, an association `{"kind":"association","source":...,"target":...}`; field
 * names are those of `--json`. The reader is strict: a field it does not know is refused (a misspelt `confidence` must not
 * become a silent 1.0), and every refusal names the line. Ranges of numbers and ids are the storage's to check, once, for
 * every way in. The writer prints one canonical line for a record, numbers in their shortest form, so that an export,
 * imported and exported again, is the same bytes.
 */

import { ASSOCIATION_TYPES } from '../storage/storage.js';
import type { AssociationDraft, ConceptDraft } from './fields.js';
import { readLines } from './lines.js';
import { BadField, show } from './bad-field.js';
import type { ImportRecord, ReadOptions, RecordBlock } from './record.js';

/** Reads records, a block at a time and in order. Blank lines are none. */
export async function* readJsonl(
  chunks: AsyncIterable<Uint8Array>,
  options: Pick<ReadOptions, 'maxRecordBytes'> = {},
): AsyncGenerator<RecordBlock, void, undefined> {
  for await (const block of readLines(chunks, options.maxRecordBytes)) {
    const records: ImportRecord[] = [];
    let line = block.firstLine;
    for (const text of block.lines) {
      if (typeof text !== 'string') records.push({ kind: 'bad', line, reason: text.reason });
      else if (text.length > 0 && text.trim().length > 0) records.push(parseLine(text, line));
      line++;
    }
    if (records.length > 0) yield records;
  }
}

function parseLine(text: string, line: number): ImportRecord {
  try {
    const fields = parseObject(text);
    switch (fields['kind']) {
      case 'concept':
        return { kind: 'concept', line, concept: conceptOf(fields) };
      case 'association':
        return { kind: 'association', line, association: associationOf(fields) };
      default:
        throw new BadField(
          `kind: got ${show(fields['kind'])}, expected "concept" or "association"`,
        );
    }
  } catch (error) {
    if (error instanceof BadField) return { kind: 'bad', line, reason: error.message };
    throw error;
  }
}

type Fields = Readonly<Record<string, unknown>>;

function parseObject(text: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new BadField(error instanceof Error ? `not JSON: ${error.message}` : 'not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new BadField(`got ${show(value)}, expected a JSON object`);
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
]);

function conceptOf(fields: Fields): ConceptDraft {
  refuseUnknown(fields, CONCEPT_FIELDS, 'a concept');
  const concept: ConceptDraft = {
    id: stringField(fields, 'id'),
    content: stringField(fields, 'content'),
  };
  const strength = optionalNumber(fields, 'strength');
  if (strength !== undefined) concept.strength = strength;
  const confidence = optionalNumber(fields, 'confidence');
  if (confidence !== undefined) concept.confidence = confidence;
  const createdUs = optionalTime(fields, 'created_us');
  if (createdUs !== undefined) concept.createdUs = createdUs;
  const updatedUs = optionalTime(fields, 'updated_us');
  if (updatedUs !== undefined) concept.updatedUs = updatedUs;
  const embedding = fields['embedding'];
  if (embedding !== undefined) concept.embedding = embeddingOf(embedding);
  return concept;
}

function associationOf(fields: Fields): AssociationDraft {
  refuseUnknown(fields, ASSOCIATION_FIELDS, 'an association');
  const association: AssociationDraft = {
    source: stringField(fields, 'source'),
    target: stringField(fields, 'target'),
  };
  const type = fields['type'];
  if (type !== undefined) association.type = typeOf(type);
  const confidence = optionalNumber(fields, 'confidence');
  if (confidence !== undefined) association.confidence = confidence;
  const createdUs = optionalTime(fields, 'created_us');
  if (createdUs !== undefined) association.createdUs = createdUs;
  return association;
}

function refuseUnknown(fields: Fields, known: ReadonlySet<string>, what: string): void {
  for (const name of Object.keys(fields)) {
    if (!known.has(name)) {
      throw new BadField(`unknown field ${show(name)}; ${what} has ${[...known].join(', ')}`);
    }
  }
}

function stringField(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string')
    throw new BadField(`${name}: got ${show(value)}, expected a string`);
  return value;
}

function optionalNumber(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  if (value === undefined || typeof value === 'number') return value;
  throw new BadField(`${name}: got ${show(value)}, expected a number`);
}

function optionalTime(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  if (value === undefined) return undefined;
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw new BadField(`${name}: got ${show(value)}, expected whole microseconds since 1970`);
}

function embeddingOf(value: unknown): Float32Array {
  if (!Array.isArray(value)) {
    throw new BadField(`embedding: got ${show(value)}, expected an array of numbers`);
  }
  const numbers: readonly unknown[] = value;
  const embedding = new Float32Array(numbers.length);
  for (const [i, number] of numbers.entries()) {
    if (typeof number !== 'number') {
      throw new BadField(`embedding[${i}]: got ${show(number)}, expected a number`);
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
  throw new BadField(
    `type: got ${show(value)}, expected ${TYPE_NAMES.join(', ')} or a number from 0 to 65535`,
  );
}
