/**
 * Opens an input in a format. The parsers of tables and XML are loaded when one is read, so that other imports do not wait
 * for them.
 */

import type { TableKind } from './csv.js';
import type { ImportFormat } from './format.js';
import { readJsonl } from './jsonl.js';
import type { ReadOptions, RecordSource } from './record.js';

export interface SourceOptions extends ReadOptions {
  /** Of tables; default: the header says. */
  readonly table?: TableKind;
}

/** Reads unpacked bytes in a format. */
export async function openSource(
  format: ImportFormat,
  chunks: AsyncIterable<Uint8Array>,
  options: SourceOptions,
): Promise<RecordSource> {
  const { source } = options;
  switch (format) {
    case 'jsonl':
      return { source, blocks: readJsonl(chunks, options), learnsEndpoints: false };
    case 'csv':
    case 'tsv': {
      const { readCsv } = await import('./csv.js');
      const delimiter = format === 'csv' ? ',' : '\t';
      const blocks = readCsv(chunks, { ...options, delimiter, kind: options.table ?? 'either' });
      return { source, blocks, learnsEndpoints: false };
    }
    case 'triples': {
      const { readTriples } = await import('./triples.js');
      return { source, blocks: readTriples(chunks, options), learnsEndpoints: true };
    }
    case 'ntriples': {
      const { readNTriples } = await import('./n-triples.js');
      return { source, blocks: readNTriples(chunks, options), learnsEndpoints: true };
    }
    case 'graphml': {
      const { GraphmlSource } = await import('./graphml.js');
      return new GraphmlSource(chunks, options);
    }
  }
}
