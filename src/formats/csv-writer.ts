/**
 * Tables out, for neo4j-admin import and for `sutra import`: one of nodes, one of relationships, each a writer that has
 * nothing to say about the other's records.
 */

import { ARRAY_SEPARATOR } from './format.js';
import { decimal } from './float32.js';
import type { TypeNames } from './type-names.js';
import type { RecordWriter, WrittenAssociation, WrittenConcept } from './writer.js';

const NODE_COLUMNS = [
  ':ID',
  'content',
  'strength:float',
  'confidence:float',
  'created_us:long',
  'updated_us:long',
  'embedding:float[]',
] as const;
const EDGE_COLUMNS = [
  ':START_ID',
  ':END_ID',
  ':TYPE',
  'confidence:float',
  'created_us:long',
] as const;

export function nodeTableWriter(delimiter: ',' | '\t'): RecordWriter {
  const row = (cells: readonly string[]): string => `${cells.join(delimiter)}\n`;
  return {
    head: row(NODE_COLUMNS),
    tail: '',
    concept: (concept) => row(nodeCells(concept)),
    association: () => '',
  };
}

export function edgeTableWriter(delimiter: ',' | '\t', types: TypeNames): RecordWriter {
  const row = (cells: readonly string[]): string => `${cells.join(delimiter)}\n`;
  return {
    head: row(EDGE_COLUMNS),
    tail: '',
    concept: () => '',
    association: (association) => row(edgeCells(association, types)),
  };
}

function nodeCells(concept: WrittenConcept): string[] {
  const { embedding } = concept;
  return [
    quoted(concept.id),
    quoted(concept.content),
    decimal(concept.strength),
    decimal(concept.confidence),
    String(concept.createdUs),
    String(concept.updatedUs),
    embedding === undefined ? '' : Array.from(embedding, decimal).join(ARRAY_SEPARATOR),
  ];
}

function edgeCells(association: WrittenAssociation, types: TypeNames): string[] {
  const { createdUs } = association;
  return [
    quoted(association.source),
    quoted(association.target),
    quoted(types.nameOf(association.type)),
    decimal(association.confidence),
    createdUs === undefined ? '' : String(createdUs),
  ];
}

/** In quotes where it has to be; an empty text too, so that no reader takes it for a missing one. */
function quoted(text: string): string {
  // Also with spaces at an end, since some readers trim what is not quoted.
  return /["\n\r,\t;]|^\s|\s$|^$|^\ufeff/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
