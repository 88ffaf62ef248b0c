/**
 * `sutra import FILE...`: concepts and associations from files into a store or to a server, in constant memory. Reading a
 * format is formats/, feeding the storage is storage/import-run.ts; this file chooses formats, shows how far it is, keeps
 * the report of bad records, and prints the sum.
 */

import { createWriteStream, type WriteStream } from 'node:fs';
import { once } from 'node:events';
import { basename } from 'node:path';
import { addAbortSignal } from 'node:stream';
import * as Flags from '@oclif/core/flags';
import { counted } from '../cli/counts.js';
import { integer, optionalArg, setting, switchFlag, text } from '../cli/flags.js';
import { contentOf, openInput, type InputFile } from '../cli/input-file.js';
import { interruptSignal } from '../cli/interrupt.js';
import { createProgress, duration, type Progress } from '../cli/progress.js';
import { StoreCommand } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import { readTypeNames, saveTypeNames, typeMapFlag } from '../cli/type-map.js';
import { SutraError } from '../errors.js';
import type { TableKind } from '../formats/csv.js';
import { IMPORT_FORMATS, importFormatOf, type ImportFormat } from '../formats/format.js';
import { openSource } from '../formats/open-source.js';
import { LeftOut, type RecordBlock, type RecordSource } from '../formats/record.js';
import type { TypeNames } from '../formats/type-names.js';
import { checkRecords } from '../storage/import-check.js';
import { importRecords, type ImportOptions, type ImportTotals } from '../storage/import-run.js';
import { refuse } from '../storage/settings.js';
import type { Storage } from '../storage/storage.js';

/** A batch of some MiB over a slow line, or behind a checkpoint, takes longer than one small write. */
const BATCH_TIMEOUT_MS = 60_000;
/** Bad records that are shown when no file takes them. */
const SHOWN_BAD = 20;

function parseFormat(value: string, source: string): ImportFormat {
  const format = IMPORT_FORMATS.find((known) => known === value.toLowerCase());
  if (format === undefined) throw refuse(source, value, IMPORT_FORMATS.join(', '));
  return format;
}

/** A file, and what the command line says about it. */
interface Given {
  readonly file: string;
  readonly table: TableKind;
}

function tablesFlag(what: string) {
  return Flags.string({
    summary: `A table of ${what}, CSV or TSV. May be repeated.`,
    helpValue: 'FILE',
    multiple: true,
    multipleNonGreedy: true,
  });
}

export default class Import extends StoreCommand {
  static override summary = 'Learn concepts and associations from files.';
  static override description =
    'Formats: jsonl, the lossless one; csv and tsv with the headers of neo4j-admin import (:ID, :START_ID, :END_ID, ' +
    ':TYPE); triples, a line of subject, predicate and object; ntriples; graphml. Files that are packed with gzip are ' +
    'unpacked. An association may come before the concepts it names; those of triples learn them, elsewhere an end that ' +
    'nobody learned is an error. What a concept has no place for (labels, other properties, literals) is left out and ' +
    'said. A name of a type that is none of the five gets a number of its own, always the same; --type-map chooses. ' +
    'Importing again does no harm. The formats are described in docs/FORMATS.md.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> wordnet.jsonl.gz',
    '<%= config.bin %> <%= command.id %> --nodes people.csv --edges knows.csv --content name',
    '<%= config.bin %> <%= command.id %> facts.triples --type-map types.json',
    '<%= config.bin %> <%= command.id %> graph.graphml --dry-run --skip-bad 100',
    'generate | <%= config.bin %> <%= command.id %> - --server localhost:50051',
  ];
  // Any number of files.
  static override strict = false;
  static override args = {
    file: optionalArg('The files, in any order; - reads standard input.'),
  };
  static override flags = {
    format: setting('format', parseFormat, {
      summary: `One of ${IMPORT_FORMATS.join(', ')}.`,
      helpValue: 'NAME',
      env: false,
      defaultHelp: 'by the ending of a file, else jsonl',
    }),
    nodes: tablesFlag('nodes'),
    edges: tablesFlag('relationships'),
    content: setting('content', text('a name'), {
      summary: 'Which column, data key or predicate is the content.',
      helpValue: 'NAME',
      env: false,
      defaultHelp: 'content; rdfs:label in ntriples',
    }),
    'type-map': typeMapFlag,
    'dry-run': switchFlag('dry-run', 'Read and check everything, change nothing.'),
    'skip-bad': setting('skip-bad', integer(0, Number.MAX_SAFE_INTEGER), {
      summary: 'Leave out up to so many bad records; one more ends the import.',
      helpValue: 'N',
      env: false,
      defaultHelp: '0',
    }),
    'bad-file': setting('bad-file', text('the path of a file'), {
      summary: 'List bad records there, FILE:LINE: reason.',
      helpValue: 'FILE',
      env: false,
    }),
    'from-line': setting('from-line', integer(1, Number.MAX_SAFE_INTEGER), {
      summary: 'Begin at this line of the file: to go on with an import that ended early.',
      helpValue: 'N',
      env: false,
    }),
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(Import);
    const given = filesOf(argv as string[], flags);
    if (flags['from-line'] !== undefined && given.length > 1) {
      throw usage('--from-line is for one file');
    }
    const dryRun = flags['dry-run'];
    const mapPath = flags['type-map'];
    const types = await readTypeNames(mapPath, true);
    const signal = interruptSignal();
    const inputs: InputFile[] = [];
    for (const { file } of given) inputs.push(await openInput(file));
    for (const { stream } of inputs) addAbortSignal(signal, stream);
    const skipBad = flags['skip-bad'] ?? 0;
    const report = new BadReport(flags['bad-file'], flags.json ? 0 : skipBad);
    const leftOut = new LeftOut();
    const startedAt = performance.now();

    const work = async (storage: Storage | null, timeoutMs?: number): Promise<ImportTotals> => {
      const bar = new ByteProgress(inputs, dryRun);
      const options: ImportOptions = {
        skipBad,
        fromLine: flags['from-line'] ?? 1,
        onBad: (source, line, reason) => {
          report.add(`${source}:${line}: ${reason}`, bar);
        },
        signal,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
      };
      const settings = {
        types,
        leftOut,
        ...(flags.content === undefined ? {} : { content: flags.content }),
      };
      const sources = async function* (): AsyncGenerator<RecordSource, void, undefined> {
        for (const [i, input] of inputs.entries()) {
          const { file, table } = given[i] ?? { file: '-', table: 'either' };
          const format =
            flags.format ?? importFormatOf(file) ?? (table === 'either' ? 'jsonl' : 'csv');
          const chunks = contentOf(input, bar.add);
          const source = await openSource(format, chunks, {
            source: input.name,
            table,
            ...settings,
          });
          yield dryRun ? source : savingTypes(source, types, mapPath);
        }
      };
      try {
        if (dryRun || storage === null) return await checkRecords(storage, sources(), options);
        if (!flags.json) await tellOfEarlier(storage, bar);
        return await importRecords(storage, sources(), options);
      } finally {
        bar.end();
        await report.close();
        if (!flags.json) tellNotes(leftOut);
      }
    };
    const totals = dryRun
      ? await this.withExistingStorage(flags, work)
      : await this.withStorage(
          flags,
          { access: 'create', defaultTimeoutMs: BATCH_TIMEOUT_MS },
          async (storage, { timeoutMs }) => work(storage, timeoutMs),
        );

    const seconds = (performance.now() - startedAt) / 1000;
    const { concepts, associations, skipped, lastSequence } = totals;
    this.answer(
      flags.json,
      {
        concepts,
        associations,
        skipped,
        types: Object.fromEntries(types.used),
        left_out: Object.fromEntries(leftOut.entries()),
        seconds: Number(seconds.toFixed(3)),
        last_sequence: lastSequence,
        ...(dryRun ? { dry_run: true } : {}),
      },
      () => {
        const sum = `${counted(concepts, 'concept')} and ${counted(associations, 'association')}`;
        const bad = skipped === 0 ? '' : `, skipped ${counted(skipped, 'bad record')}`;
        const names = [...types.used].map(([name, number]) => `${safeLine(name)} ${number}`);
        return (
          (dryRun
            ? `Would import ${sum}${bad}; nothing was changed.`
            : `Imported ${sum} in ${duration(seconds)}${bad}.`) +
          (names.length === 0 ? '' : `\nTypes: ${names.join(', ')}.`)
        );
      },
    );
  }

  /** For a dry run: the store is read when there is one, and none is created. */
  private async withExistingStorage<Result>(
    flags: {
      readonly server?: string | undefined;
      readonly storage?: string | undefined;
      readonly timeout?: number | undefined;
    },
    work: (storage: Storage | null, timeoutMs?: number) => Promise<Result>,
  ): Promise<Result> {
    try {
      return await this.withStorage(flags, { access: 'read' }, async (storage, { timeoutMs }) =>
        work(storage, timeoutMs),
      );
    } catch (error) {
      const isNew =
        error instanceof SutraError &&
        (error.code === 'NO_SUCH_DIRECTORY' || error.code === 'NOT_A_STORE');
      if (!isNew) throw error;
      return work(null);
    }
  }
}

function usage(message: string): SutraError {
  return new SutraError('INVALID_ARGUMENT', message, { hint: 'See `sutra import --help`.' });
}

function filesOf(
  argv: readonly string[],
  flags: { readonly nodes?: string[] | undefined; readonly edges?: string[] | undefined },
): Given[] {
  const given: Given[] = [
    ...(flags.nodes ?? []).map((file): Given => ({ file, table: 'nodes' })),
    ...(flags.edges ?? []).map((file): Given => ({ file, table: 'edges' })),
    ...argv.map((file): Given => ({ file, table: 'either' })),
  ];
  if (given.length === 0) throw usage('missing FILE');
  if (given.filter(({ file }) => file === '-').length > 1)
    throw usage('- stands twice; there is one standard input');
  return given;
}

/** Numbers for new names are kept before anything is learned by them. */
function savingTypes(
  source: RecordSource,
  types: TypeNames,
  path: string | undefined,
): RecordSource {
  const saved = async function* (): AsyncGenerator<RecordBlock, void, undefined> {
    for await (const block of source.blocks) {
      await saveTypeNames(path, types);
      yield block;
    }
  };
  return {
    source: source.source,
    blocks: saved(),
    get learnsEndpoints() {
      return source.learnsEndpoints;
    },
  };
}

/** An import that ended early, even by a killed process, has left a whole store; this says how to look at it. */
async function tellOfEarlier(storage: Storage, bar: ByteProgress): Promise<void> {
  const { concepts, edges } = await storage.stats();
  if (concepts === 0) return;
  bar.note(
    `note: the store holds ${counted(concepts, 'concept')} and ${counted(edges, 'association')} already; ` +
      'what of them the input repeats is learned again, which does no harm',
  );
}

function tellNotes(leftOut: LeftOut): void {
  for (const [what, count] of leftOut.entries()) {
    process.stderr.write(`note: not kept: ${safeLine(what)} (${count.toLocaleString('en-US')})\n`);
  }
}

/** One bar over the bytes of all inputs. */
class ByteProgress {
  private readonly progress: Progress;
  private done = 0;

  constructor(inputs: readonly InputFile[], dryRun: boolean) {
    let total = 0;
    for (const { bytes } of inputs) total = bytes === null ? Number.NaN : total + bytes;
    const [first] = inputs;
    const name = inputs.length === 1 ? basename(first?.name ?? '') : `${inputs.length} files`;
    this.progress = createProgress({
      label: `${dryRun ? 'checking' : 'importing'} ${name}`,
      unit: 'bytes',
      ...(Number.isNaN(total) ? {} : { total }),
    });
  }

  readonly add = (bytes: number): void => {
    this.done += bytes;
    this.progress.update(this.done);
  };

  note(line: string): void {
    this.progress.note(line);
  }

  end(): void {
    this.progress.abandon();
  }
}

/** Bad records, one a line: in the file that was named, else the first of them on stderr. */
class BadReport {
  private count = 0;
  private file: WriteStream | null = null;
  private failure: Error | null = null;

  /** Without a file, the first `shown` are told at once; the one that ends the import is told by its error. */
  constructor(
    private readonly path: string | undefined,
    private readonly shown: number,
  ) {}

  add(line: string, bar: ByteProgress): void {
    this.count++;
    if (this.path === undefined) {
      if (this.count > this.shown) return;
      if (this.count <= SHOWN_BAD) bar.note(`bad: ${safeLine(line)}`);
      else if (this.count === SHOWN_BAD + 1) bar.note('bad: more of them; --bad-file lists all');
      return;
    }
    if (this.file === null) {
      this.file = createWriteStream(this.path);
      this.file.on('error', (error) => {
        this.failure = error;
      });
    }
    this.file.write(`${safeLine(line)}\n`);
  }

  async close(): Promise<void> {
    if (this.file === null) return;
    this.file.end();
    if (this.failure === null && !this.file.closed) await once(this.file, 'close');
    if (this.failure !== null) {
      process.stderr.write(`note: --bad-file ${this.path ?? ''}: ${this.failure.message}\n`);
    }
  }
}
