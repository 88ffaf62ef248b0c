/**
 * JSON lines out: one canonical line for a record, fields in one order, numbers in their shortest form, so that an export,
 * imported and exported again, is the same bytes.
 */

import { ASSOCIATION_TYPES } from '../storage/storage.js';
import { decimal } from './float32.js';
import type { RecordWriter, WrittenAssociation, WrittenConcept } from './writer.js';

export const JSONL_WRITER: RecordWriter = {
  head: '',
  tail: '',
  concept: conceptLine,
  association: associationLine,
};

function conceptLine(concept: WrittenConcept): string {
  const { embedding } = concept;
  const vector =
    embedding === undefined ? '' : `,"embedding":[${Array.from(embedding, decimal).join(',')}]`;
  return (
    `{"kind":"concept","id":${JSON.stringify(concept.id)},"content":${JSON.stringify(concept.content)}` +
    `,"strength":${decimal(concept.strength)},"confidence":${decimal(concept.confidence)}` +
    `,"created_us":${concept.createdUs},"updated_us":${concept.updatedUs}${vector}}\n`
  );
}

function associationLine(association: WrittenAssociation): string {
  const { source, target, type, createdUs } = association;
  const name = ASSOCIATION_TYPES[type];
  return (
    `{"kind":"association","source":${JSON.stringify(source)},"target":${JSON.stringify(target)}` +
    `,"type":${name === undefined ? type : `"${name}"`},"confidence":${decimal(association.confidence)}` +
    `${createdUs === undefined ? '' : `,"created_us":${createdUs}`}}\n`
  );
}
