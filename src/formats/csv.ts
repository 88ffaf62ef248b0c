/**
 * CSV and TSV with the headers of neo4j-admin import: a file of nodes has an `:ID` column, a file of relationships `:START_ID`
 * and `:END_ID`, and `:TYPE` where the types differ. Quoting is RFC 4180's. Other columns are fields of a concept or an
 * association by name, `strength:float`; what neither has is left out, and counted. Ids of an id space, `:ID(Person)`,
 * become `Person/ID`, since equal ids in two spaces are two nodes.
 *
 * Rows are cut by csv-rows.ts; bytes that are no UTF-8 end the reading.
 */

import { ARRAY_SEPARATOR } from './format.js';
import { cutRows, type BadRow, type Row } from './csv-rows.js';
import {
  isAssociationField,
  isConceptField,
  setAssociationField,
  setConceptField,
  setType,
  type AssociationDraft,
  type AssociationField,
  type ConceptDraft,
  type ConceptField,
} from './fields.js';
import { BadField, show } from './bad-field.js';
import {
  MAX_RECORD_BYTES,
  unreadableAt,
  type ImportRecord,
  type LeftOut,
  type ReadOptions,
  type RecordBlock,
} from './record.js';
import { utf8Text } from './utf8-text.js';

/** What a file must be; `either`: its header says. */
export type TableKind = 'nodes' | 'edges' | 'either';

export interface CsvOptions extends ReadOptions {
  readonly delimiter: ',' | '\t';
  readonly kind: TableKind;
}

export async function* readCsv(
  chunks: AsyncIterable<Uint8Array>,
  options: CsvOptions,
): AsyncGenerator<RecordBlock, void, undefined> {
  const { source, delimiter, maxRecordBytes = MAX_RECORD_BYTES } = options;
  let table: Table | undefined;
  for await (const rows of cutRows(utf8Text(chunks, source), delimiter, maxRecordBytes)) {
    const records: ImportRecord[] = [];
    for (const row of rows) {
      if (table === undefined) table = headerOf(row, options);
      else if ('reason' in row) records.push({ kind: 'bad', ...row });
      else records.push(table.recordOf(row));
    }
    if (records.length > 0) yield records;
  }
  if (table === undefined) {
    throw unreadableAt(source, 1, 'no header; a table begins with the names of its columns');
  }
}

function headerOf(row: Row | BadRow, options: CsvOptions): Table {
  if ('reason' in row) throw unreadableAt(options.source, row.line, row.reason);
  try {
    return new Table(row.cells, options);
  } catch (error) {
    if (error instanceof BadField) {
      throw unreadableAt(options.source, row.line, error.message);
    }
    throw error;
  }
}

/** What a column is for. */
type Column =
  | { readonly is: 'id' | 'source' | 'target'; readonly prefix: string }
  | { readonly is: 'type' | 'ignored' }
  | { readonly is: 'concept'; readonly field: ConceptField }
  | { readonly is: 'association'; readonly field: AssociationField }
  | { readonly is: 'unknown'; readonly name: string };

/** What the header says. */
class Table {
  private readonly columns: readonly Column[];
  private readonly nodes: boolean;
  private readonly hasContent: boolean;
  private readonly types: ReadOptions['types'];
  private readonly leftOut: LeftOut;

  constructor(header: readonly string[], options: CsvOptions) {
    this.types = options.types;
    this.leftOut = options.leftOut;
    const has = (tag: string): boolean => header.some((cell) => partsOf(cell).type === tag);
    this.nodes = has('ID');
    if (this.nodes ? has('START_ID') || has('END_ID') : !(has('START_ID') && has('END_ID'))) {
      throw new BadField(
        `the header ${show(header.join(','))} is neither of nodes, with :ID, nor of relationships, with :START_ID and :END_ID`,
      );
    }
    if (options.kind !== 'either' && this.nodes !== (options.kind === 'nodes')) {
      throw new BadField(
        options.kind === 'nodes'
          ? 'the header has no :ID: these are not nodes'
          : 'the header has no :START_ID and :END_ID: these are not relationships',
      );
    }
    this.columns = header.map((cell) => columnOf(cell, this.nodes, options.content ?? 'content'));
    this.hasContent = this.columns.some(
      ({ is, ...rest }) => is === 'concept' && 'field' in rest && rest.field === 'content',
    );
    const seen = new Set<string>();
    for (const [i, column] of this.columns.entries()) {
      if (column.is === 'ignored' || column.is === 'unknown') continue;
      const key = 'field' in column ? column.field : column.is;
      if (seen.has(key))
        throw new BadField(`two columns for ${key}, the second is ${show(header[i])}`);
      seen.add(key);
    }
  }

  recordOf({ cells, line }: Row): ImportRecord {
    try {
      if (cells.length !== this.columns.length) {
        throw new BadField(
          `${cells.length} columns, expected ${this.columns.length} as in the header`,
        );
      }
      return this.nodes
        ? { kind: 'concept', line, concept: this.conceptOf(cells) }
        : { kind: 'association', line, association: this.associationOf(cells) };
    } catch (error) {
      if (error instanceof BadField) return { kind: 'bad', line, reason: error.message };
      throw error;
    }
  }

  private conceptOf(cells: readonly string[]): ConceptDraft {
    const concept: ConceptDraft = { id: '', content: '' };
    for (let i = 0; i < cells.length; i++) {
      const column = this.columns[i];
      const cell = cells[i] ?? '';
      if (column?.is === 'id') concept.id = idOf(cell, column.prefix, ':ID');
      else if (column?.is === 'concept') {
        setConceptField(concept, column.field, cell, ARRAY_SEPARATOR);
      } else this.leaveOut(column, cell);
    }
    if (!this.hasContent) concept.content = concept.id;
    return concept;
  }

  private associationOf(cells: readonly string[]): AssociationDraft {
    const association: AssociationDraft = { source: '', target: '' };
    for (let i = 0; i < cells.length; i++) {
      const column = this.columns[i];
      const cell = cells[i] ?? '';
      if (column?.is === 'source') association.source = idOf(cell, column.prefix, ':START_ID');
      else if (column?.is === 'target') association.target = idOf(cell, column.prefix, ':END_ID');
      else if (column?.is === 'type') setType(association, cell, this.types);
      else if (column?.is === 'association') setAssociationField(association, column.field, cell);
      else this.leaveOut(column, cell);
    }
    return association;
  }

  private leaveOut(column: Column | undefined, cell: string): void {
    if (column?.is === 'unknown' && cell !== '') this.leftOut.add(`column ${show(column.name)}`);
  }
}

function idOf(cell: string, prefix: string, column: string): string {
  if (cell === '') throw new BadField(`${column}: got nothing, expected an id`);
  return prefix + cell;
}

interface HeaderParts {
  readonly name: string;
  /** Behind the colon: `ID`, `float`, `float[]`; empty when there is none. */
  readonly type: string;
  readonly space: string;
}

/** `name:type`, `:ID`, `personId:ID(Person)`. */
function partsOf(cell: string): HeaderParts {
  const text = cell.trim();
  const [, name = text, type = '', space = ''] =
    /^(.*?):([A-Za-z_]+(?:\[\])?)(?:\(([^()]*)\))?$/s.exec(text) ?? [];
  return { name, type, space };
}

const NUMBER_TYPES: ReadonlySet<string> = new Set([
  '',
  'byte',
  'short',
  'int',
  'long',
  'float',
  'double',
]);
const FIELD_TYPES: Readonly<Record<ConceptField, ReadonlySet<string>>> = {
  content: new Set(['', 'string', 'char']),
  strength: NUMBER_TYPES,
  confidence: NUMBER_TYPES,
  created_us: NUMBER_TYPES,
  updated_us: NUMBER_TYPES,
  embedding: new Set(['float[]', 'double[]']),
};

function columnOf(cell: string, nodes: boolean, content: string): Column {
  const { name, type, space } = partsOf(cell);
  const prefix = space === '' ? '' : `${space}/`;
  switch (type) {
    case 'ID':
      return { is: 'id', prefix };
    case 'START_ID':
      return { is: 'source', prefix };
    case 'END_ID':
      return { is: 'target', prefix };
    case 'TYPE':
      return { is: nodes ? 'ignored' : 'type' };
    case 'IGNORE':
      return { is: 'ignored' };
    case 'LABEL':
      return { is: 'unknown', name: ':LABEL' };
    default:
  }
  // A column that was chosen for the content keeps its name from meaning anything else.
  const field = nodes && name === content ? 'content' : name.toLowerCase();
  if (nodes && isConceptField(field) && (field !== 'content' || name === content)) {
    checkType(cell, field, type);
    return { is: 'concept', field };
  }
  if (!nodes && isAssociationField(field)) {
    checkType(cell, field, type);
    return { is: 'association', field };
  }
  return { is: 'unknown', name: cell.trim() };
}

function checkType(cell: string, field: ConceptField, type: string): void {
  const expected = FIELD_TYPES[field];
  if (field === 'content' ? !type.endsWith('[]') : expected.has(type.toLowerCase())) return;
  throw new BadField(
    `column ${show(cell)}: expected ${[...expected]
      .filter((name) => name !== '')
      .map((name) => `${field}:${name}`)
      .join(' or ')}`,
  );
}
