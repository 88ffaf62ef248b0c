/**
 * Feeds records to a Storage in atomic batches: the bulk way in for `sutra import`. Order is the file's, and an
 * association may name concepts of its own batch or of any before it. Within a batch concepts are applied first.
 *
 * What an error leaves behind is exact: batches are all or nothing, so the message can say which lines are in. To an
 * embedded store several batches are under way at once, because it queues them in the order of the calls; to a server
 * one at a time, because calls that overlap on the wire may arrive in any order, and a batch of associations must not
 * overtake the concepts it names. The next batch is read and parsed meanwhile either way.
 */

import { ParsedId, parseId } from '../engine/format/id.js';
import { ERRORS, SutraError, toSutraError, type ErrorCode, type StatusName } from '../errors.js';
import type { JsonlRecord } from './jsonl.js';
import type { AssociationInput, BatchReceipt, ConceptInput, Storage } from './storage.js';

const BATCH_ITEMS = 4_096;
/** Well below the 16 MiB that a batch may take, even when every UTF-16 unit is three bytes of UTF-8. */
const BATCH_UNITS = 1024 * 1024;
const EMBEDDED_IN_FLIGHT = 4;
const REMOTE_IN_FLIGHT = 1;

export interface ImportTotals {
  /** Records acknowledged so far; a concept that stands twice in the input counts twice. */
  readonly concepts: number;
  readonly associations: number;
  /** Sequence of the last record; 0 when there was none. */
  readonly lastSequence: number;
  /** Records with created_us or updated_us, which the store does not take over yet. */
  readonly timed: number;
}

export interface ImportOptions {
  /** What messages call the input. */
  readonly source: string;
  /** Per batch; default 4,096. */
  readonly batchItems?: number;
  /** How many batches may be unacknowledged. Default 4 embedded, 1 to a server (see above). */
  readonly inFlight?: number;
  /** Called after each acknowledged batch. */
  readonly onProgress?: (totals: ImportTotals) => void;
  /** Stops the reading: what was sent is awaited, then the import rejects with CANCELLED. */
  readonly signal?: AbortSignal;
  /** Deadline of each batch. */
  readonly timeoutMs?: number;
}

/** Imports everything, or rejects with an error that says which lines are in the store and which are not. */
export async function importRecords(
  storage: Storage,
  blocks: AsyncIterable<readonly JsonlRecord[]>,
  options: ImportOptions,
): Promise<ImportTotals> {
  const run = new ImportRun(storage, options);
  let stopped: SutraError | undefined;
  try {
    reading: for await (const block of blocks) {
      for (const record of block) {
        run.add(record);
        if (run.batchIsFull) await run.send();
        if (run.refused) break reading;
      }
      options.signal?.throwIfAborted();
    }
  } catch (error) {
    stopped = options.signal?.aborted === true ? interrupted(error) : toSutraError(error);
  }
  // What stands before a bad line still goes in: then the message can name one line, and all before it is done.
  await run.finish();
  const refusal = await run.refusal();
  if (refusal !== undefined) throw refusal;
  if (stopped !== undefined)
    throw amended(stopped, stopped.code, `${stopped.message}. ${run.soFar()}`);
  return run.totals;
}

/** The record that an error is about. */
interface Blame {
  readonly line: number;
  readonly reason: string;
}

/** Items on their way to becoming one atomic batch. */
class Batch {
  readonly concepts: ConceptInput[] = [];
  readonly associations: AssociationInput[] = [];
  readonly conceptLines: number[] = [];
  readonly associationLines: number[] = [];
  firstLine = 0;
  lastLine = 0;
  units = 0;
  timed = 0;

  get items(): number {
    return this.concepts.length + this.associations.length;
  }

  add(record: JsonlRecord): void {
    if (this.items === 0) this.firstLine = record.line;
    this.lastLine = record.line;
    if (record.timed) this.timed++;
    if (record.kind === 'concept') {
      this.concepts.push(record.concept);
      this.conceptLines.push(record.line);
      const { id, content, embedding } = record.concept;
      this.units += id.length + content.length + 4 * (embedding?.length ?? 0);
    } else {
      this.associations.push(record.association);
      this.associationLines.push(record.line);
      this.units += record.association.source.length + record.association.target.length;
    }
  }

  /** Where in the input an error lies and what it is, or undefined when it is not about one record. */
  blame(error: SutraError): Blame | undefined {
    for (const { field, description } of error.violations) {
      const [, kind, index, name = ''] =
        /^(concepts|associations)\[(\d+)\]\.(.+)$/.exec(field) ?? [];
      const lines = kind === 'concepts' ? this.conceptLines : this.associationLines;
      const line = lines[Number(index)];
      if (kind === undefined || line === undefined) continue;
      const others = error.violations.length - 1;
      const more = others === 0 ? '' : ` (and ${others} more such in the batch)`;
      return { line, reason: `${JSONL_NAMES.get(name) ?? name}: ${description}${more}` };
    }
    return undefined;
  }
}

/** Fields that JSON lines call by another name than the wire. */
const JSONL_NAMES: ReadonlyMap<string, string> = new Map([
  ['concept_id', 'id'],
  ['source_id', 'source'],
  ['target_id', 'target'],
  ['assoc_type', 'type'],
]);

class ImportRun {
  readonly #storage: Storage;
  readonly #options: ImportOptions;
  readonly #batchItems: number;
  readonly #inFlight: number;
  /** Acknowledgements not there yet, oldest first; none of them rejects. */
  readonly #underWay: Promise<void>[] = [];
  #batch = new Batch();
  /** The first batch that was refused, in the input's order. */
  #refused: { readonly batch: Batch; readonly error: SutraError } | undefined;
  /** Lines in the store: one range, or more when batches behind a refused one were under way and went in. */
  readonly #imported: { readonly first: number; last: number }[] = [];
  #gap = false;
  #concepts = 0;
  #associations = 0;
  #lastSequence = 0;
  #timed = 0;

  constructor(storage: Storage, options: ImportOptions) {
    this.#storage = storage;
    this.#options = options;
    this.#batchItems = options.batchItems ?? BATCH_ITEMS;
    this.#inFlight =
      options.inFlight ?? (storage.mode === 'embedded' ? EMBEDDED_IN_FLIGHT : REMOTE_IN_FLIGHT);
  }

  get batchIsFull(): boolean {
    return this.#batch.items >= this.#batchItems || this.#batch.units >= BATCH_UNITS;
  }

  get refused(): boolean {
    return this.#refused !== undefined;
  }

  get totals(): ImportTotals {
    return {
      concepts: this.#concepts,
      associations: this.#associations,
      lastSequence: this.#lastSequence,
      timed: this.#timed,
    };
  }

  add(record: JsonlRecord): void {
    this.#batch.add(record);
  }

  /** Hands the batch to the storage; waits only while too many are unacknowledged. */
  async send(): Promise<void> {
    while (this.#underWay.length >= this.#inFlight) await this.#underWay.shift();
    if (this.refused || this.#batch.items === 0) return;
    const batch = this.#batch;
    this.#batch = new Batch();
    const before = this.#underWay.at(-1);
    this.#underWay.push(this.#learn(batch, before));
  }

  /** Sends the rest and waits for everything under way. */
  async finish(): Promise<void> {
    await this.send();
    for (const acknowledgement of this.#underWay) await acknowledgement;
  }

  /** Acknowledgements are counted in the order of the batches, whatever order they come in. */
  async #learn(batch: Batch, before: Promise<void> | undefined): Promise<void> {
    const { timeoutMs } = this.#options;
    let outcome: BatchReceipt | SutraError;
    try {
      const { concepts, associations } = batch;
      outcome = await this.#storage.learnBatch(
        { concepts, associations },
        timeoutMs === undefined ? {} : { timeoutMs },
      );
    } catch (error) {
      outcome = toSutraError(error);
    }
    await before;
    if (outcome instanceof SutraError) {
      this.#refused ??= { batch, error: outcome };
      this.#gap = true;
      return;
    }
    const range = this.#imported.at(-1);
    if (this.#gap || range === undefined) {
      // From the very first line on, blank lines included, unless something before it was refused.
      this.#imported.push({ first: this.#gap ? batch.firstLine : 1, last: batch.lastLine });
    } else range.last = batch.lastLine;
    this.#gap = false;
    this.#concepts += batch.concepts.length;
    this.#associations += batch.associations.length;
    this.#timed += batch.timed;
    this.#lastSequence = outcome.firstSequence + outcome.count - 1;
    this.#options.onProgress?.(this.totals);
  }

  /** `Lines 1 to 40 are in the store (30 concepts, 10 associations).` */
  soFar(): string {
    if (this.#concepts + this.#associations === 0) return 'Nothing was imported.';
    const lines = this.#imported.map(({ first, last }) => `${first} to ${last}`).join(' and ');
    return `Lines ${lines} are in the store (${this.#concepts} concepts, ${this.#associations} associations).`;
  }

  /** The error that a refused batch becomes, with the line it is about where that can be told. */
  async refusal(): Promise<SutraError | undefined> {
    if (this.#refused === undefined) return undefined;
    const { batch, error } = this.#refused;
    const blame =
      batch.blame(error) ??
      (error.code === 'UNKNOWN_CONCEPT' ? await this.#unknownEndpoint(batch) : undefined);
    const where = blame?.line ?? `${batch.firstLine}-${batch.lastLine}`;
    const reason = `${this.#options.source}:${where}: ${blame?.reason ?? error.message}.`;
    const lines = `lines ${batch.firstLine} to ${batch.lastLine}`;
    const whole = MAY_HAVE_HAPPENED.has(error.status)
      ? `Whether ${lines}, one batch, went in is not known.`
      : `None of ${lines}, one batch, went in.`;
    const message = `${reason} ${whole} ${this.soFar()}`;
    // An endpoint that nothing learned is a fault of the input, not the answer to a question: exit 2, not 4.
    const code = error.code === 'UNKNOWN_CONCEPT' ? 'INVALID_ARGUMENT' : error.code;
    return amended(error, code, message);
  }

  /**
   * The first association of a refused batch with an end that neither the batch nor the store knows. The error itself
   * names the id and not the record, so the store is asked; batches before this one have been acknowledged by now.
   */
  async #unknownEndpoint(batch: Batch): Promise<Blame | undefined> {
    const known = new Set(batch.concepts.map(({ id }) => keyOf(id)));
    for (const [i, association] of batch.associations.entries()) {
      for (const end of ['source', 'target'] as const) {
        const id = association[end];
        const key = keyOf(id);
        if (known.has(key)) continue;
        let isKnown: boolean;
        try {
          isKnown = await this.#storage.contains(id);
        } catch {
          // The store went away meanwhile: then the batch's lines have to do, with the store's own message.
          return undefined;
        }
        if (isKnown) known.add(key);
        else
          return { line: batch.associationLines[i] ?? batch.firstLine, reason: unknown(end, id) };
      }
    }
    return undefined;
  }
}

function unknown(end: string, id: string): string {
  return `${end}: no concept ${JSON.stringify(id.length > 80 ? `${id.slice(0, 77)}...` : id)}`;
}

const parsed = new ParsedId();

/** The 128-bit key as text: a concept may be learned by its name and linked by its key. */
function keyOf(id: string): string {
  parseId(id, parsed);
  return `${parsed.k0} ${parsed.k1} ${parsed.k2} ${parsed.k3}`;
}

/** A call that fails with one of these may still have been carried out. */
const MAY_HAVE_HAPPENED: ReadonlySet<StatusName> = new Set([
  'CANCELLED',
  'DEADLINE_EXCEEDED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
]);

function interrupted(cause: unknown): SutraError {
  return new SutraError('CANCELLED', 'interrupted', { cause });
}

/** The error with where it happened and what is in the store, and the next step. */
function amended(error: SutraError, code: ErrorCode, message: string): SutraError {
  const again = 'import it again from the start; learning a line twice does no harm.';
  const hint =
    ERRORS[code].status === 'INVALID_ARGUMENT'
      ? `Correct the input and ${again}`
      : code === 'CANCELLED'
        ? `To go on, ${again}`
        : error.hint;
  return new SutraError(code, message, { violations: error.violations, hint, cause: error });
}
