/**
 * Bare triples, `subject predicate object`: a line is one association, from subject to object, of the predicate's type.
 * Tabs separate where there is one, so that ids may hold spaces; spaces do otherwise. Ends that nobody learned are learned,
 * with their id for content. A line that is `#`, or begins with `# `, is a comment.
 */

import { readLines } from './lines.js';
import { BadField } from './bad-field.js';
import type { ImportRecord, ReadOptions, RecordBlock } from './record.js';

export async function* readTriples(
  chunks: AsyncIterable<Uint8Array>,
  options: ReadOptions,
): AsyncGenerator<RecordBlock, void, undefined> {
  for await (const block of readLines(chunks, options.maxRecordBytes)) {
    const records: ImportRecord[] = [];
    let line = block.firstLine;
    for (const text of block.lines) {
      const record =
        typeof text === 'string'
          ? parseTriple(text, line, options)
          : ({ kind: 'bad', line, reason: text.reason } as const);
      if (record !== null) records.push(record);
      line++;
    }
    if (records.length > 0) yield records;
  }
}

function parseTriple(text: string, line: number, options: ReadOptions): ImportRecord | null {
  const whole = text.endsWith('\r') ? text.slice(0, -1) : text;
  const parts = (whole.includes('\t') ? whole.split('\t') : whole.split(' ')).filter(
    (part) => part.trim() !== '',
  );
  if (parts.length === 0 || whole === '#' || whole.startsWith('# ')) return null;
  const [source, predicate, target] = parts;
  if (
    parts.length !== 3 ||
    source === undefined ||
    predicate === undefined ||
    target === undefined
  ) {
    const advice =
      parts.length > 3 && !whole.includes('\t')
        ? '; with tabs between them they may hold spaces'
        : '';
    const reason = `${parts.length} fields, expected subject, predicate and object${advice}`;
    return { kind: 'bad', line, reason };
  }
  try {
    const type = options.types.numberOf(predicate);
    return { kind: 'association', line, association: { source, target, type } };
  } catch (error) {
    if (error instanceof BadField) return { kind: 'bad', line, reason: error.message };
    throw error;
  }
}
