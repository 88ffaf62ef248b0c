/** Which formats there are, by what name and by which endings of files, and what each cannot hold. */

export const IMPORT_FORMATS = ['jsonl', 'csv', 'tsv', 'triples', 'ntriples', 'graphml'] as const;
export const EXPORT_FORMATS = ['jsonl', 'csv', 'tsv', 'graphml', 'dot', 'mermaid'] as const;

/** Between the numbers of an array in a table: neo4j-admin's default. */
export const ARRAY_SEPARATOR = ';';

export type ImportFormat = (typeof IMPORT_FORMATS)[number];
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

const ENDINGS: Readonly<Record<string, ImportFormat | ExportFormat>> = {
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  csv: 'csv',
  tsv: 'tsv',
  triples: 'triples',
  txt: 'triples',
  nt: 'ntriples',
  ntriples: 'ntriples',
  graphml: 'graphml',
  xml: 'graphml',
  dot: 'dot',
  gv: 'dot',
  mmd: 'mermaid',
  mermaid: 'mermaid',
};

/** By the ending of a file's name, `.gz` apart; undefined when it says nothing. */
function formatOf(file: string): ImportFormat | ExportFormat | undefined {
  const [, ending = ''] = /\.([^./\\]+)$/.exec(file.replace(/\.gz$/i, '')) ?? [];
  return ENDINGS[ending.toLowerCase()];
}

export function importFormatOf(file: string): ImportFormat | undefined {
  const format = formatOf(file);
  return IMPORT_FORMATS.find((known) => known === format);
}

export function exportFormatOf(file: string): ExportFormat | undefined {
  const format = formatOf(file);
  return EXPORT_FORMATS.find((known) => known === format);
}

/** What a concept or an association has and an export in this form loses; null: nothing. */
export const LOSSES: Readonly<Record<ExportFormat, string | null>> = {
  jsonl: null,
  csv: null,
  tsv: null,
  graphml: null,
  dot: 'embeddings, times, strengths, and content beyond its beginning',
  mermaid: 'embeddings, times, strengths, and content beyond its beginning',
};
