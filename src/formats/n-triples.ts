/**
 * RDF 1.1 N-Triples (https://www.w3.org/TR/n-triples/): a line is one statement. Between two resources it is an association,
 * whose type has the predicate's IRI for its name; an IRI is an id without its brackets, a blank node keeps its `_:`. A
 * literal of the content predicate, rdfs:label unless another is chosen, is the subject's content, and the last one counts;
 * any other literal is left out, and counted: a concept has no properties of its own.
 */

import { readLines } from './lines.js';
import { BadField, show } from './bad-field.js';
import type { ImportRecord, ReadOptions, RecordBlock } from './record.js';

export const LABEL = 'http://www.w3.org/2000/01/rdf-schema#label';

export async function* readNTriples(
  chunks: AsyncIterable<Uint8Array>,
  options: ReadOptions,
): AsyncGenerator<RecordBlock, void, undefined> {
  for await (const block of readLines(chunks, options.maxRecordBytes)) {
    const records: ImportRecord[] = [];
    let line = block.firstLine;
    for (const text of block.lines) {
      const record = typeof text === 'string' ? parseStatement(text, line, options) : null;
      if (record !== null) records.push(record);
      else if (typeof text !== 'string') records.push({ kind: 'bad', line, reason: text.reason });
      line++;
    }
    if (records.length > 0) yield records;
  }
}

const IRI = '<([^\\x00-\\x20<>"{}|^`]*)>';
const BLANK =
  '(_:[\\p{L}\\p{N}_:](?:[\\p{L}\\p{N}\\p{M}_:.\\-\\u00b7\\u203f\\u2040]*[\\p{L}\\p{N}\\p{M}_:\\-])?)';
/** Each at the place where the one before ended. */
const SUBJECT = new RegExp(`[ \\t]*(?:${IRI}|${BLANK})[ \\t]*`, 'uy');
const PREDICATE = new RegExp(`${IRI}[ \\t]*`, 'uy');
const RESOURCE = new RegExp(`(?:${IRI}|${BLANK})[ \\t]*`, 'uy');
const LITERAL_KIND = new RegExp(`(?:\\^\\^${IRI}|@[A-Za-z]+(?:-[A-Za-z0-9]+)*)?[ \\t]*`, 'uy');
const END = /\.[ \t]*(?:#.*)?\r?$/suy;

function parseStatement(text: string, line: number, options: ReadOptions): ImportRecord | null {
  if (/^\s*(?:#.*)?$/s.test(text)) return null;
  try {
    const cursor = new Cursor(text);
    const subject = resourceOf(cursor.take(SUBJECT, 'a subject, <IRI> or _:name'));
    const predicate = resourceOf(cursor.take(PREDICATE, 'a predicate, <IRI>'));
    const literal = cursor.literal();
    if (literal !== null) {
      cursor.take(LITERAL_KIND, '^^<IRI> or @language');
      cursor.take(END, 'a full stop at the end of the statement');
      if (predicate !== (options.content ?? LABEL)) {
        options.leftOut.add(`literal of ${show(predicate)}`);
        return null;
      }
      return { kind: 'concept', line, concept: { id: subject, content: unescape(literal) } };
    }
    const target = resourceOf(cursor.take(RESOURCE, 'an object, <IRI>, _:name or "text"'));
    cursor.take(END, 'a full stop at the end of the statement');
    const type = options.types.numberOf(predicate);
    return { kind: 'association', line, association: { source: subject, target, type } };
  } catch (error) {
    if (error instanceof BadField) return { kind: 'bad', line, reason: error.message };
    throw error;
  }
}

/** Where a statement is read. */
class Cursor {
  private at = 0;

  constructor(private readonly text: string) {}

  take(part: RegExp, expected: string): RegExpExecArray {
    part.lastIndex = this.at;
    const found = part.exec(this.text);
    if (found === null) throw this.unexpected(expected);
    this.at = part.lastIndex;
    return found;
  }

  /** The text between quotes, or null when there is none here. By hand: a pattern would need a stack as deep as it is long. */
  literal(): string | null {
    const { text, at } = this;
    if (text[at] !== '"') return null;
    for (let end = at + 1; ; end++) {
      end = text.indexOf('"', end);
      if (end < 0) throw this.unexpected('an object, <IRI>, _:name or "text"');
      let slashes = 0;
      while (text[end - 1 - slashes] === '\\') slashes++;
      if (slashes % 2 === 1) continue;
      this.at = end + 1;
      return text.slice(at + 1, end);
    }
  }

  private unexpected(expected: string): BadField {
    // Only the beginning is shown; the rest may be long.
    return new BadField(
      `got ${show(this.text.slice(this.at, this.at + 80))}, expected ${expected}`,
    );
  }
}

/** The IRI or the blank node of a part. */
function resourceOf([, iri, blank]: RegExpExecArray): string {
  return blank ?? iriOf(iri);
}

function iriOf(text: string | undefined): string {
  const iri = unescape(text ?? '');
  if (iri === '') throw new BadField('got <>, expected an IRI');
  return iri;
}

const ESCAPES: Readonly<Record<string, string>> = {
  t: '\t',
  b: '\b',
  n: '\n',
  r: '\r',
  f: '\f',
  '"': '"',
  "'": "'",
  '\\': '\\',
};

function unescape(text: string): string {
  if (!text.includes('\\')) return text;
  const plain = text.replace(
    /\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))/gsu,
    (escape: string, four?: string, eight?: string, one?: string) => {
      const digits = four ?? eight;
      if (digits === undefined) {
        const character = ESCAPES[one ?? ''];
        if (character === undefined)
          throw new BadField(`got the escape ${escape}, which N-Triples does not have`);
        return character;
      }
      const code = Number.parseInt(digits, 16);
      if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
        throw new BadField(`got the escape ${escape}, which is no character`);
      }
      return String.fromCodePoint(code);
    },
  );
  return plain;
}
