/**
 * Fields that come as text, from tables and XML: numbers, times, embeddings. What is no number is refused here, with what
 * was got; whether a number is in range is the storage's to say. A field of no text is a field that is not there.
 */

import type { AssociationInput, ConceptInput } from '../storage/storage.js';
import { BadField, show } from './bad-field.js';
import type { TypeNames } from './type-names.js';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
export type ConceptDraft = Mutable<ConceptInput>;
export type AssociationDraft = Mutable<AssociationInput>;

/** Fields of a concept beside its id, by the names that every format gives them. */
export const CONCEPT_FIELDS = [
  'content',
  'strength',
  'confidence',
  'created_us',
  'updated_us',
  'embedding',
] as const;
/** The same of an association, beside its ends and its type. */
export const ASSOCIATION_FIELDS = ['confidence', 'created_us'] as const;

export type ConceptField = (typeof CONCEPT_FIELDS)[number];
export type AssociationField = (typeof ASSOCIATION_FIELDS)[number];

export function isConceptField(name: string): name is ConceptField {
  return (CONCEPT_FIELDS as readonly string[]).includes(name);
}

export function isAssociationField(name: string): name is AssociationField {
  return (ASSOCIATION_FIELDS as readonly string[]).includes(name);
}

/** `separator` stands between the numbers of an embedding. */
export function setConceptField(
  concept: ConceptDraft,
  name: ConceptField,
  text: string,
  separator: string,
): void {
  if (name === 'content') {
    concept.content = text;
    return;
  }
  if (text === '') return;
  switch (name) {
    case 'strength':
      concept.strength = numberOf(text, name);
      return;
    case 'confidence':
      concept.confidence = numberOf(text, name);
      return;
    case 'created_us':
      concept.createdUs = timeOf(text, name);
      return;
    case 'updated_us':
      concept.updatedUs = timeOf(text, name);
      return;
    case 'embedding':
      concept.embedding = embeddingOf(text, separator);
  }
}

export function setAssociationField(
  association: AssociationDraft,
  name: AssociationField,
  text: string,
): void {
  if (text === '') return;
  if (name === 'confidence') association.confidence = numberOf(text, name);
  else association.createdUs = timeOf(text, name);
}

export function setType(association: AssociationDraft, text: string, types: TypeNames): void {
  if (text !== '') association.type = types.numberOf(text);
}

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

function numberOf(text: string, name: string): number {
  const trimmed = text.trim();
  if (NUMBER.test(trimmed)) return Number(trimmed);
  throw new BadField(`${name}: got ${show(text)}, expected a number`);
}

function timeOf(text: string, name: string): number {
  const time = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(time)) return time;
  throw new BadField(`${name}: got ${show(text)}, expected whole microseconds since 1970`);
}

function embeddingOf(text: string, separator: string): Float32Array {
  const parts = text.trim().split(separator);
  const embedding = new Float32Array(parts.length);
  for (const [i, part] of parts.entries()) embedding[i] = numberOf(part, `embedding[${i}]`);
  return embedding;
}
