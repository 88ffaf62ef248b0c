/**
 * GraphML (http://graphml.graphdrawing.org): nodes are concepts, edges are associations from source to target. A `data` element
 * is the field that the `attr.name` of its key says, as in tables; an edge's `type` or `label` is its type. Fields that
 * neither has are left out and counted, and so is that an edge is undirected. Nested graphs are read as one. In a file
 * without any node, edges learn their ends.
 *
 * What XML cannot hold comes as JSON in `id_json` or `content_json` (graphml-writer.ts).
 *
 * Entities that a document declares are not expanded: what is not in XML itself is an error.
 */

import { SaxesParser, type SaxesTagPlain } from 'saxes';
import { hexKey } from './hex-key.js';
import {
  isAssociationField,
  isConceptField,
  setAssociationField,
  setConceptField,
  setType,
  type AssociationDraft,
  type ConceptDraft,
} from './fields.js';
import { BadField, show } from './bad-field.js';
import {
  MAX_RECORD_BYTES,
  unreadableAt,
  type ImportRecord,
  type ReadOptions,
  type RecordBlock,
  type RecordSource,
} from './record.js';
import { utf8Text } from './utf8-text.js';

/** The parser gets pieces of so many characters, so that records come out along the way. */
const PIECE_CHARACTERS = 64 * 1024;
const MAX_KEYS = 10_000;

export class GraphmlSource implements RecordSource {
  readonly source: string;
  readonly blocks: AsyncIterable<RecordBlock>;
  private readonly reader: GraphmlReader;

  constructor(chunks: AsyncIterable<Uint8Array>, options: ReadOptions) {
    this.source = options.source;
    this.reader = new GraphmlReader(options);
    this.blocks = this.reader.read(chunks);
  }

  get learnsEndpoints(): boolean {
    return this.reader.ended && this.reader.nodes === 0;
  }
}

interface Key {
  readonly name: string;
  readonly of: string;
  fallback: string | null;
}

/** A node or an edge whose end has not come yet. */
interface Open {
  readonly line: number;
  readonly concept: ConceptDraft | null;
  readonly association: AssociationDraft | null;
  readonly seen: Set<string>;
  /** The first thing wrong with it. */
  reason: string | null;
}

class GraphmlReader {
  nodes = 0;
  ended = false;
  private readonly options: ReadOptions;
  private readonly parser = new SaxesParser({ xmlns: false, position: true });
  private readonly keys = new Map<string, Key>();
  private readonly directed: boolean[] = [];
  /** Names of the elements that are open. */
  private readonly path: string[] = [];
  private readonly open: Open[] = [];
  private records: ImportRecord[] = [];
  private key: Key | null = null;
  private text: string | null = null;
  private failure: string | null = null;
  private failureLine = 0;
  private sinceRecord = 0;

  constructor(options: ReadOptions) {
    this.options = options;
    const { parser } = this;
    parser.on('opentag', (tag) => {
      this.begin(tag);
    });
    parser.on('closetag', (tag) => {
      this.end(tag);
    });
    const onText = (text: string): void => {
      if (this.text !== null) this.text += text;
    };
    parser.on('text', onText);
    parser.on('cdata', onText);
    parser.on('xmldecl', ({ encoding }) => {
      if (encoding !== undefined && !/^(?:utf-?8|us-ascii)$/i.test(encoding)) {
        this.fail(`encoding ${show(encoding)}, expected UTF-8`);
      }
    });
    parser.on('error', (error) => {
      // `LINE:COLUMN: reason`, of which the line is said in front already.
      this.fail(error.message.replace(/^\d+:\d+: /, '').replace(/\.$/, ''));
    });
  }

  async *read(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<RecordBlock, void, undefined> {
    const { source, maxRecordBytes = MAX_RECORD_BYTES } = this.options;
    for await (const text of utf8Text(chunks, source)) {
      for (let at = 0; at < text.length; at += PIECE_CHARACTERS) {
        const piece = text.slice(at, at + PIECE_CHARACTERS);
        this.sinceRecord += piece.length;
        this.parser.write(piece);
        if (this.sinceRecord > maxRecordBytes + PIECE_CHARACTERS) {
          this.fail(`an element longer than ${maxRecordBytes} characters`);
        }
        yield* this.taken();
      }
    }
    if (this.failure === null) this.parser.close();
    yield* this.taken();
    this.ended = true;
  }

  /** Everything before a failure is yielded first. */
  private *taken(): Generator<RecordBlock, void, undefined> {
    const { records } = this;
    this.records = [];
    if (records.length > 0) yield records;
    if (this.failure !== null) {
      throw unreadableAt(this.options.source, this.failureLine, this.failure);
    }
  }

  /** Only the first counts: what the parser makes of the rest follows from it. */
  private fail(reason: string): void {
    if (this.failure !== null) return;
    this.failure = reason;
    this.failureLine = this.parser.line;
  }

  private begin(tag: SaxesTagPlain): void {
    if (this.failure !== null) return;
    const name = localName(tag.name);
    const { attributes } = tag;
    if (this.path.length === 0 && name !== 'graphml') {
      this.fail(`the document is <${tag.name}>, expected <graphml>`);
      return;
    }
    this.path.push(name);
    switch (name) {
      case 'key':
        this.declare(attributes);
        break;
      case 'graph':
        this.directed.push(attributes['edgedefault'] !== 'undirected');
        break;
      case 'node':
        this.beginNode(attributes['id']);
        break;
      case 'edge':
        this.beginEdge(attributes);
        break;
      case 'hyperedge':
        this.records.push({
          kind: 'bad',
          line: this.parser.line,
          reason: 'a hyperedge; an association has two ends',
        });
        break;
      case 'data':
        this.beginData(attributes['key']);
        break;
      case 'default':
        this.text = '';
        break;
      default:
    }
  }

  private end(tag: SaxesTagPlain): void {
    if (this.failure !== null) return;
    const name = localName(tag.name);
    this.path.pop();
    this.sinceRecord = 0;
    if (name === 'graph') this.directed.pop();
    else if (name === 'data') this.endData();
    else if (name === 'default') {
      if (this.key !== null) this.key.fallback = this.text;
      this.text = null;
    } else if (name === 'key') this.key = null;
    else if (name === 'node' || name === 'edge') this.endRecord();
  }

  private declare(attributes: Readonly<Record<string, string>>): void {
    const id = attributes['id'] ?? '';
    this.key = {
      name: attributes['attr.name'] ?? id,
      of: attributes['for'] ?? 'all',
      fallback: null,
    };
    if (this.keys.size >= MAX_KEYS) this.fail(`more than ${MAX_KEYS} keys`);
    this.keys.set(id, this.key);
  }

  private beginNode(id: string | undefined): void {
    this.nodes++;
    this.open.push({
      line: this.parser.line,
      concept: { id: id ?? '', content: '' },
      association: null,
      seen: new Set(),
      reason: id === undefined ? 'a node without an id' : null,
    });
  }

  private beginEdge(attributes: Readonly<Record<string, string>>): void {
    const { source, target } = attributes;
    const given = attributes['directed'];
    const isDirected = given === undefined ? (this.directed.at(-1) ?? true) : given !== 'false';
    if (!isDirected)
      this.options.leftOut.add('edge that is undirected, which became one from source to target');
    this.open.push({
      line: this.parser.line,
      concept: null,
      association: { source: source ?? '', target: target ?? '' },
      seen: new Set(),
      reason:
        source === undefined || target === undefined ? 'an edge without source and target' : null,
    });
  }

  private beginData(id: string | undefined): void {
    const record = this.open.at(-1);
    // Data of the graph itself, or of a port.
    const parent = this.path.at(-2);
    if (record === undefined || (parent !== 'node' && parent !== 'edge')) {
      this.options.leftOut.add(`data of <${parent ?? 'graphml'}>`);
      return;
    }
    this.key = this.keys.get(id ?? '') ?? null;
    if (this.key === null) record.reason ??= `data of a key that is not declared, ${show(id)}`;
    this.text = '';
  }

  private endData(): void {
    const { key, text } = this;
    const record = this.open.at(-1);
    this.key = null;
    this.text = null;
    if (key === null || text === null || record === undefined) return;
    this.set(record, key.name, text);
  }

  private set(record: Open, name: string, text: string): void {
    if (record.seen.has(name)) record.reason ??= `two values of ${show(name)}`;
    record.seen.add(name);
    try {
      const { concept, association } = record;
      if (concept !== null) this.setOfNode(record, concept, name, text);
      else if (association !== null) this.setOfEdge(association, name, text);
    } catch (error) {
      if (!(error instanceof BadField)) throw error;
      record.reason ??= error.message;
    }
  }

  private setOfNode(record: Open, concept: ConceptDraft, name: string, text: string): void {
    const { content = 'content', leftOut } = this.options;
    if (name === 'id_json') {
      const id = jsonText(name, text);
      if (hexKey(id) !== concept.id) {
        throw new BadField(`id_json: ${show(id)} is not the concept ${show(concept.id)}`);
      }
      concept.id = id;
    } else if (name === 'content_json') {
      record.seen.add('content');
      concept.content = jsonText(name, text);
    } else if (name === content) {
      record.seen.add('content');
      concept.content = text;
    } else if (isConceptField(name) && name !== 'content') {
      setConceptField(concept, name, text, ' ');
    } else leftOut.add(`node data ${show(name)}`);
  }

  private setOfEdge(association: AssociationDraft, name: string, text: string): void {
    if (name === 'type' || (name === 'label' && association.type === undefined)) {
      setType(association, text, this.options.types);
    } else if (isAssociationField(name)) setAssociationField(association, name, text);
    else this.options.leftOut.add(`edge data ${show(name)}`);
  }

  private endRecord(): void {
    const record = this.open.pop();
    if (record === undefined) return;
    const of = record.concept === null ? 'edge' : 'node';
    for (const key of this.keys.values()) {
      if (key.fallback === null || record.seen.has(key.name)) continue;
      if (key.of === of || key.of === 'all') this.set(record, key.name, key.fallback);
    }
    const { line, concept, association, reason } = record;
    if (reason !== null) this.records.push({ kind: 'bad', line, reason });
    else if (concept !== null) {
      if (!record.seen.has('content')) concept.content = concept.id;
      this.records.push({ kind: 'concept', line, concept });
    } else if (association !== null) this.records.push({ kind: 'association', line, association });
  }
}

/** Without its namespace prefix. */
function localName(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}

function jsonText(name: string, json: string): string {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    value = undefined;
  }
  if (typeof value === 'string') return value;
  throw new BadField(`${name}: got ${show(json)}, expected a JSON string`);
}
