/**
 * `sutra import FILE`: concepts and associations from JSON lines into a store or to a server, in atomic batches, with
 * constant memory. Reading the lines is storage/jsonl.ts, the batches are storage/batch-import.ts; this file opens the
 * input, shows how far it is, and prints the sum.
 */

import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { addAbortSignal, pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { requiredArg } from '../cli/flags.js';
import { interruptSignal } from '../cli/interrupt.js';
import { createProgress, duration, type Progress } from '../cli/progress.js';
import { StoreCommand } from '../cli/store-command.js';
import { SutraError } from '../errors.js';
import { importRecords } from '../storage/batch-import.js';
import { readJsonl } from '../storage/jsonl.js';

/** Few, large reads; a block of lines is decoded and parsed at once. */
const READ_BYTES = 256 * 1024;
/** A batch of some MiB over a slow line, or behind a checkpoint, takes longer than one small write. */
const BATCH_TIMEOUT_MS = 60_000;

interface Input {
  readonly name: string;
  readonly stream: Readable;
  /** Absent for a pipe. */
  readonly bytes?: number;
}

export default class Import extends StoreCommand {
  static override summary = 'Learn concepts and associations from a file of JSON lines.';
  static override description =
    'One record per line: {"kind":"concept","id":"dog","content":"a domestic animal"} or ' +
    '{"kind":"association","source":"dog","target":"animal","type":"hierarchical"}. A concept stands before the ' +
    'associations that name it. The form is described in docs/FORMATS.md. Batches are all or nothing: after an error, ' +
    'the message says which lines are in the store.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> wordnet.jsonl',
    '<%= config.bin %> <%= command.id %> wordnet.jsonl.gz --storage ./knowledge',
    'generate | <%= config.bin %> <%= command.id %> - --server localhost:50051',
  ];
  static override args = {
    file: requiredArg('The file; one that ends in .gz is unpacked; - reads standard input.'),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Import);
    const signal = interruptSignal();
    const input = await openInput(args.file);
    addAbortSignal(signal, input.stream);
    const startedAt = performance.now();
    const totals = await this.withStorage(
      flags,
      { access: 'create', defaultTimeoutMs: BATCH_TIMEOUT_MS },
      async (storage, call) => {
        const progress = createProgress({
          label: `importing ${basename(input.name)}`,
          unit: 'bytes',
          ...(input.bytes === undefined ? {} : { total: input.bytes }),
        });
        try {
          const chunks = contentOf(input, progress);
          const records = readJsonl(chunks, { source: input.name });
          return await importRecords(storage, records, { source: input.name, signal, ...call });
        } finally {
          progress.abandon();
        }
      },
    );
    const seconds = (performance.now() - startedAt) / 1000;
    if (totals.timed > 0) {
      const lines = counted(totals.timed, 'line');
      process.stderr.write(
        `note: created_us and updated_us of ${lines} were not kept; the store's own clock counts\n`,
      );
    }
    const { concepts, associations, lastSequence } = totals;
    this.answer(
      flags.json,
      { concepts, associations, seconds: Number(seconds.toFixed(3)), last_sequence: lastSequence },
      () =>
        `Imported ${counted(concepts, 'concept')} and ${counted(associations, 'association')} ` +
        `in ${duration(seconds)}.`,
    );
  }
}

async function openInput(file: string): Promise<Input> {
  if (file === '-') return { name: 'stdin', stream: process.stdin };
  try {
    const handle = await open(file, 'r');
    const { size } = await handle.stat();
    const stream = handle.createReadStream({ highWaterMark: READ_BYTES });
    // Zero: a pipe or a device, which does not know how much will come.
    return { name: file, stream, ...(size === 0 ? {} : { bytes: size }) };
  } catch (error) {
    throw unreadable(file, error);
  }
}

/** The bytes of the text; unpacked when the file is gzip. */
async function* contentOf(
  input: Input,
  progress: Progress,
): AsyncGenerator<Uint8Array, void, undefined> {
  const packed = metered(input.stream, progress);
  // The pipeline's callback has nothing to do: an error also ends the iteration.
  const chunks: AsyncIterable<unknown> = input.name.endsWith('.gz')
    ? pipeline(packed, createGunzip(), () => undefined)
    : packed;
  try {
    for await (const chunk of chunks) yield chunk as Uint8Array;
  } catch (error) {
    throw unreadable(input.name, error);
  }
}

async function* metered(
  stream: AsyncIterable<unknown>,
  progress: Progress,
): AsyncGenerator<Uint8Array, void, undefined> {
  let done = 0;
  for await (const chunk of stream) {
    const bytes = chunk as Uint8Array;
    done += bytes.length;
    progress.update(done);
    yield bytes;
  }
}

/** A file that cannot be read is bad input; which file, and why. */
function unreadable(file: string, error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error;
  const invalid = (reason: string): SutraError =>
    new SutraError('INVALID_ARGUMENT', `${file}: ${reason}`, {
      hint: 'Name a file of JSON lines, or - for standard input.',
      cause: error,
    });
  switch (error.code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return invalid('no such file');
    case 'EISDIR':
      return invalid('a directory, expected a file');
    case 'EACCES':
    case 'EPERM':
      return new SutraError('NOT_PERMITTED', `${file}: permission denied`, { cause: error });
    case 'Z_BUF_ERROR':
      return invalid('the gzip data ends early');
    case 'Z_DATA_ERROR':
      return invalid(`not gzip data: ${error.message}`);
    default:
      return error;
  }
}

function counted(count: number, noun: string): string {
  return `${count.toLocaleString('en-US')} ${noun}${count === 1 ? '' : 's'}`;
}
