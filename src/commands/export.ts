/**
 * `sutra export [FILE]`: everything in a store at one sequence, or the neighbourhood of one concept, in a format that the
 * ending of the file or --format says. Writing the records is formats/, where it goes cli/output-file.ts; this file scans,
 * shows how far it is, and prints the sum.
 */

import { counted } from '../cli/counts.js';
import { consentFlag, integer, optionalArg, setting, switchFlag, text } from '../cli/flags.js';
import { interruptSignal } from '../cli/interrupt.js';
import { OutputFile, StandardOutput, type Output } from '../cli/output-file.js';
import { createProgress, duration, type Progress } from '../cli/progress.js';
import { StoreCommand } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import { readTypeNames, typeMapFlag } from '../cli/type-map.js';
import { SutraError } from '../errors.js';
import { EXPORT_FORMATS, exportFormatOf, LOSSES, type ExportFormat } from '../formats/format.js';
import { writersOf } from '../formats/open-writer.js';
import type { RecordWriter } from '../formats/writer.js';
import { neighborhoodOf } from '../storage/neighborhood.js';
import { refuse } from '../storage/settings.js';
import type { CallOptions, Storage } from '../storage/storage.js';

const DEFAULT_HOPS = 2;
const MAX_HOPS = 64;
const DEFAULT_LIMIT = 1_000;
const MAX_LIMIT = 100_000;

interface Exported {
  readonly concepts: number;
  readonly associations: number;
  /** null: the store was written while a neighbourhood was gathered. */
  readonly sequence: number | null;
  readonly digest?: string;
  readonly leftOut?: number;
}

/** A writer and where its text goes. */
interface Sink {
  readonly writer: RecordWriter;
  readonly output: Output;
}

function parseFormat(value: string, source: string): ExportFormat {
  const format = EXPORT_FORMATS.find((known) => known === value.toLowerCase());
  if (format === undefined) throw refuse(source, value, EXPORT_FORMATS.join(', '));
  return format;
}

function parseTable(value: string, source: string): 'nodes' | 'edges' {
  if (value === 'nodes' || value === 'edges') return value;
  throw refuse(source, value, 'nodes or edges');
}

export default class Export extends StoreCommand {
  static override summary = 'Write everything in a store, or a neighbourhood, to a file.';
  static override description =
    'The whole state at one sequence, while writes go on: concepts, then associations. jsonl, csv, tsv and graphml hold ' +
    'everything, and `sutra import` reads them back; jsonl comes out the same, byte for byte. csv and tsv are two ' +
    'files with the headers of neo4j-admin import: graph.csv becomes graph.nodes.csv and graph.edges.csv. dot and ' +
    'mermaid draw a neighbourhood and lose embeddings, times, strengths and long content. The associations of a ' +
    'neighbourhood come without the times of their creation. A file appears whole or not at all.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> graph.jsonl.gz',
    '<%= config.bin %> <%= command.id %> graph.csv --server localhost:50051',
    '<%= config.bin %> <%= command.id %> --around dog --hops 1 --format mermaid',
    '<%= config.bin %> <%= command.id %> - | grep hierarchical',
  ];
  static override args = {
    file: optionalArg('Where to; one that ends in .gz is packed; - or nothing is standard output.'),
  };
  static override flags = {
    format: setting('format', parseFormat, {
      summary: `One of ${EXPORT_FORMATS.join(', ')}.`,
      helpValue: 'NAME',
      env: false,
      defaultHelp: 'by the ending of FILE; jsonl to standard output',
    }),
    around: setting('around', text('an id'), {
      summary: 'Only the neighbourhood of this concept.',
      helpValue: 'ID',
      env: false,
    }),
    hops: setting('hops', integer(0, MAX_HOPS), {
      summary: 'How far the neighbourhood goes.',
      helpValue: 'N',
      env: false,
      defaultHelp: String(DEFAULT_HOPS),
    }),
    limit: setting('limit', integer(1, MAX_LIMIT), {
      summary: 'At most so many concepts of the neighbourhood, the nearest and strongest first.',
      helpValue: 'N',
      env: false,
      defaultHelp: String(DEFAULT_LIMIT),
    }),
    table: setting('table', parseTable, {
      summary: 'Only this one of the two tables of csv and tsv.',
      helpValue: 'nodes|edges',
      env: false,
    }),
    'without-embeddings': switchFlag('without-embeddings', 'Leave the embeddings out.'),
    'type-map': typeMapFlag,
    force: consentFlag('Replace files that exist already.'),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Export);
    const file = args.file ?? '-';
    const format = flags.format ?? formatOf(file);
    const { around } = flags;
    const isTable = format === 'csv' || format === 'tsv';
    const isDrawing = format === 'dot' || format === 'mermaid';
    check(
      !isDrawing || around !== undefined,
      `${format} draws a neighbourhood: --around is missing`,
    );
    check(
      around !== undefined || (flags.hops === undefined && flags.limit === undefined),
      '--hops and --limit are for a neighbourhood: --around is missing',
    );
    check(isTable || flags.table === undefined, `--table is for csv and tsv, not for ${format}`);
    check(
      file !== '-' || !isTable || flags.table !== undefined,
      `${format} is two tables: --table nodes or --table edges says which goes to standard output`,
    );
    check(
      file !== '-' || !flags.json,
      '--json has standard output to itself: name a file for the export',
    );
    const types = await readTypeNames(flags['type-map'], false);
    const signal = interruptSignal();
    const startedAt = performance.now();
    const writers = writersOf(format, types, flags.table);
    const paths = writers.map(({ suffix }) => (suffix === '' ? file : withSuffix(file, suffix)));
    const withEmbeddings = !flags['without-embeddings'];

    const exported = await this.withStorage(
      flags,
      { access: 'read', ...(around === undefined ? { defaultTimeoutMs: 'none' as const } : {}) },
      async (storage, call) => {
        const sinks: Sink[] = [];
        try {
          for (const [i, { writer }] of writers.entries()) {
            const path = paths[i] ?? file;
            const output =
              file === '-' ? new StandardOutput() : await OutputFile.open(path, flags.force);
            sinks.push({ writer, output });
          }
          const sum =
            around === undefined
              ? await exportAll(storage, sinks, withEmbeddings, { ...call, signal }, file)
              : await exportAround(storage, sinks, around, {
                  ...call,
                  signal,
                  hops: flags.hops ?? DEFAULT_HOPS,
                  limit: flags.limit ?? DEFAULT_LIMIT,
                  withEmbeddings: withEmbeddings && !isDrawing,
                });
          for (const { output } of sinks) await output.commit();
          return sum;
        } catch (error) {
          for (const { output } of sinks) await output.discard();
          throw signal.aborted ? interrupted(error, file) : error;
        }
      },
    );
    this.tell(exported, format, withEmbeddings);
    if (file === '-') return;
    const seconds = (performance.now() - startedAt) / 1000;
    const { concepts, associations, sequence, digest } = exported;
    this.answer(
      flags.json,
      {
        format,
        files: paths,
        concepts,
        associations,
        sequence,
        ...(digest === undefined ? {} : { digest }),
        ...(exported.leftOut === undefined ? {} : { left_out: exported.leftOut }),
        seconds: Number(seconds.toFixed(3)),
      },
      () =>
        `Exported ${counted(concepts, 'concept')} and ${counted(associations, 'association')} to ` +
        `${paths.map(safeLine).join(' and ')} in ${duration(seconds)}.`,
    );
  }

  /** What is not in the file, on stderr. */
  private tell(exported: Exported, format: ExportFormat, withEmbeddings: boolean): void {
    const lines: string[] = [];
    const losses = LOSSES[format];
    if (losses !== null) lines.push(`${format} does not hold ${losses}`);
    else if (!withEmbeddings) lines.push('embeddings were left out');
    if (exported.leftOut !== undefined) {
      if (losses === null) lines.push('associations of a neighbourhood come without their times');
      if (exported.leftOut > 0) {
        lines.push(
          `left out: ${counted(exported.leftOut, 'concept')} within the hops; --limit raises the bound`,
        );
      }
      if (exported.sequence === null) {
        lines.push('the store was written meanwhile; this is not its state at one moment');
      }
    }
    for (const line of lines) process.stderr.write(`note: ${line}\n`);
  }
}

function check(holds: boolean, message: string): void {
  if (!holds)
    throw new SutraError('INVALID_ARGUMENT', message, { hint: 'See `sutra export --help`.' });
}

function formatOf(file: string): ExportFormat {
  if (file === '-') return 'jsonl';
  const format = exportFormatOf(file);
  if (format !== undefined) return format;
  throw new SutraError('INVALID_ARGUMENT', `${file}: its ending names no format`, {
    hint: `Give --format: ${EXPORT_FORMATS.join(', ')}.`,
  });
}

/** `graph.csv.gz` with `nodes` is `graph.nodes.csv.gz`. */
function withSuffix(file: string, suffix: string): string {
  const [, ending = ''] = /((?:\.[ct]sv)?(?:\.gz)?)$/i.exec(file) ?? [];
  return `${file.slice(0, file.length - ending.length)}.${suffix}${ending}`;
}

async function exportAll(
  storage: Storage,
  sinks: readonly Sink[],
  withEmbeddings: boolean,
  call: CallOptions,
  file: string,
): Promise<Exported> {
  // Data that scrolls by on a terminal needs no bar between its lines.
  const isShown = file === '-' && process.stdout.isTTY;
  let progress: Progress | undefined;
  let concepts = 0;
  let associations = 0;
  let sequence = 0;
  let digest = '';
  try {
    for (const { writer, output } of sinks) await output.write(writer.head);
    for await (const page of storage.scan({ ...call, withEmbeddings })) {
      ({ sequence, digest } = page);
      if (!isShown) {
        progress ??= createProgress({
          label: 'exporting',
          unit: 'records',
          total: page.conceptCount + page.associationCount,
        });
      }
      for (const { writer, output } of sinks) {
        for (const concept of page.concepts) await output.write(writer.concept(concept));
        for (const association of page.associations) {
          await output.write(writer.association(association));
        }
      }
      concepts += page.concepts.length;
      associations += page.associations.length;
      progress?.update(concepts + associations);
    }
    for (const { writer, output } of sinks) await output.write(writer.tail);
  } finally {
    progress?.abandon();
  }
  return { concepts, associations, sequence, digest };
}

async function exportAround(
  storage: Storage,
  sinks: readonly Sink[],
  center: string,
  options: Parameters<typeof neighborhoodOf>[2],
): Promise<Exported> {
  const { concepts, associations, sequence, leftOut } = await neighborhoodOf(
    storage,
    center,
    options,
  );
  for (const { writer, output } of sinks) {
    await output.write(writer.head);
    for (const concept of concepts) await output.write(writer.concept(concept));
    for (const association of associations) await output.write(writer.association(association));
    await output.write(writer.tail);
  }
  return { concepts: concepts.length, associations: associations.length, sequence, leftOut };
}

function interrupted(cause: unknown, file: string): SutraError {
  const left = file === '-' ? '' : ' Nothing was written.';
  return new SutraError('CANCELLED', `interrupted.${left}`, { cause });
}
