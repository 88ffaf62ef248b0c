/** The writers of a format: one, or for tables one for each file. */

import { edgeTableWriter, nodeTableWriter } from './csv-writer.js';
import { dotWriter, mermaidWriter } from './diagram.js';
import type { ExportFormat } from './format.js';
import { graphmlWriter } from './graphml-writer.js';
import { JSONL_WRITER } from './jsonl-writer.js';
import type { TypeNames } from './type-names.js';
import type { RecordWriter } from './writer.js';

export interface NamedWriter {
  readonly writer: RecordWriter;
  /** What the file's name gets: `nodes` and `edges` for two tables, nothing for one file. */
  readonly suffix: '' | 'nodes' | 'edges';
}

/** `table`: only this one of the two. */
export function writersOf(
  format: ExportFormat,
  types: TypeNames,
  table?: 'nodes' | 'edges',
): NamedWriter[] {
  switch (format) {
    case 'jsonl':
      return [{ writer: JSONL_WRITER, suffix: '' }];
    case 'graphml':
      return [{ writer: graphmlWriter(types), suffix: '' }];
    case 'dot':
      return [{ writer: dotWriter(types), suffix: '' }];
    case 'mermaid':
      return [{ writer: mermaidWriter(types), suffix: '' }];
    case 'csv':
    case 'tsv': {
      const delimiter = format === 'csv' ? ',' : '\t';
      const nodes = nodeTableWriter(delimiter);
      const edges = edgeTableWriter(delimiter, types);
      if (table !== undefined) return [{ writer: table === 'nodes' ? nodes : edges, suffix: '' }];
      return [
        { writer: nodes, suffix: 'nodes' },
        { writer: edges, suffix: 'edges' },
      ];
    }
  }
}
