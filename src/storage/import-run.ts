/**
 * Feeds records to a Storage in chunks (chunk-ingest.ts): the way in for `sutra import`, embedded and to a server alike, in
 * constant memory. Order is the input's.
 *
 * An association may come before the concepts it names. The first that the store refuses for that reason, and every
 * association behind it, waits in a temporary file until all inputs have been read, and is sent then; so the last of
 * several records of one association counts, as it does without waiting. What is refused then too is a bad record, unless
 * its input learns the ends of its associations.
 *
 * A record that cannot be read, or that the store refuses, is bad: one more than `skipBad` of them end the import. What
 * was read before a record that cannot be read goes in first. Learning a record again does no harm, so an import that ended
 * early can be done again, from the line that the error names or from the start.
 */

import { ERRORS, SutraError, toSutraError, type ErrorCode, type StatusName } from '../errors.js';
import type {
  AssociationRecord,
  BadRecord,
  ConceptRecord,
  RecordSource,
} from '../formats/record.js';
import { AssociationSpill } from './association-spill.js';
import { ingest, type IngestAck, type IngestItem, type IngestItemError } from './chunk-ingest.js';
import type { Storage } from './storage.js';
import { checkAssociation, checkConcept } from './validation.js';

const CHUNK_ITEMS = 1_024;
/** Well below the 16 MiB that a message may take, even when every UTF-16 unit is three bytes of UTF-8. */
const CHUNK_UNITS = 512 * 1024;

export interface ImportTotals {
  /** Acknowledged so far, with the ends that associations learned; a concept that stands twice in the input counts twice. */
  readonly concepts: number;
  readonly associations: number;
  /** Bad records that were skipped. */
  readonly skipped: number;
  /** Sequence of the last record; 0 when there was none. */
  readonly lastSequence: number;
  /** Associations that waited for their concepts. */
  readonly waited: number;
}

export interface ImportOptions {
  /** So many bad records are skipped; the next one ends the import. Default 0. */
  readonly skipBad?: number;
  /** Told each bad record, skipped or not. */
  readonly onBad?: (source: string, line: number, reason: string) => void;
  /** Records before this line of the first source are read and not sent. Default 1. */
  readonly fromLine?: number;
  /** Items a chunk, default 1,024. */
  readonly chunkItems?: number;
  /** Called after each acknowledgement. */
  readonly onProgress?: (totals: ImportTotals) => void;
  /** Stops the reading: what was sent is awaited, then the import rejects with CANCELLED. */
  readonly signal?: AbortSignal;
  /** How long the storage may take for a chunk. */
  readonly timeoutMs?: number;
}

/** Imports everything, or rejects with an error that says what is in the store and how to go on. */
export async function importRecords(
  storage: Storage,
  sources: Iterable<RecordSource> | AsyncIterable<RecordSource>,
  options: ImportOptions = {},
): Promise<ImportTotals> {
  const run = new ImportRun(storage, options);
  try {
    return await run.import(sources);
  } finally {
    run.close();
  }
}

export type GoodRecord = ConceptRecord | AssociationRecord;

/** Records of one source that are sent together. */
class Chunk {
  readonly records: GoodRecord[] = [];
  /** Their associations wait on disk as well: whatever the store answers about them, they come again. */
  waits = false;
  private units = 0;

  constructor(readonly from: RecordSource) {}

  add(record: GoodRecord): void {
    this.records.push(record);
    if (record.kind === 'concept') {
      const { id, content, embedding } = record.concept;
      this.units += id.length + content.length + 4 * (embedding?.length ?? 0);
    } else this.units += record.association.source.length + record.association.target.length;
  }

  isFull(items: number): boolean {
    return this.records.length >= items || this.units >= CHUNK_UNITS;
  }

  items(): IngestItem[] {
    const { learnsEndpoints } = this.from;
    return this.records.map((record) =>
      record.kind === 'concept'
        ? { concept: record.concept }
        : { association: record.association, learnsEndpoints },
    );
  }

  get lastLine(): number {
    return this.records.at(-1)?.line ?? 0;
  }
}

class ImportRun {
  private readonly storage: Storage;
  private readonly options: ImportOptions;
  private readonly chunkItems: number;
  private readonly spill = new AssociationSpill();
  /** Sent and not acknowledged, oldest first. */
  private underWay: Chunk[] = [];
  private chunk: Chunk | null = null;
  private first: RecordSource | null = null;
  /** The source that is read, and how far of it is in the store. */
  private current: RecordSource | null = null;
  private acknowledgedLine = 0;
  private readonly whole: string[] = [];
  private spilling = false;
  private failure: SutraError | null = null;
  /** The line of the bad record that ended it; 0: none did. */
  private failureLine = 0;
  /** Refused by the storage behind that one: they were under way. */
  private refusedBehind = 0;
  private bad = 0;
  private concepts = 0;
  private associations = 0;
  private lastSequence = 0;

  constructor(storage: Storage, options: ImportOptions) {
    this.storage = storage;
    this.options = options;
    this.chunkItems = options.chunkItems ?? CHUNK_ITEMS;
  }

  close(): void {
    this.spill.close();
  }

  async import(
    sources: Iterable<RecordSource> | AsyncIterable<RecordSource>,
  ): Promise<ImportTotals> {
    await this.feed(this.chunksOf(sources));
    if (this.failure === null && this.spill.count > 0) {
      this.spilling = false;
      await this.feed(this.waitingChunks());
    }
    if (this.failure !== null) throw this.explained(this.failure);
    return this.totals;
  }

  private get totals(): ImportTotals {
    return {
      concepts: this.concepts,
      associations: this.associations,
      skipped: this.bad,
      lastSequence: this.lastSequence,
      waited: this.spill.count,
    };
  }

  /** Chunks into the storage, to their end. */
  private async feed(chunks: AsyncIterable<readonly IngestItem[]>): Promise<void> {
    const { timeoutMs } = this.options;
    try {
      const call = timeoutMs === undefined ? {} : { timeoutMs };
      for await (const ack of ingest(this.storage, chunks, call)) this.acknowledge(ack);
    } catch (error) {
      this.fail(toSutraError(error));
    }
  }

  /** Everything that is read, in chunks; ends early when the import has failed or is stopped. */
  private async *chunksOf(
    sources: Iterable<RecordSource> | AsyncIterable<RecordSource>,
  ): AsyncGenerator<readonly IngestItem[], void, undefined> {
    try {
      for await (const source of sources) {
        this.begin(source);
        for await (const block of source.blocks) {
          for (const record of block) {
            if (record.line < (this.options.fromLine ?? 1) && source === this.first) continue;
            this.take(source, record);
            if (this.chunk?.isFull(this.chunkItems) === true) yield* this.send();
            if (this.failure !== null) break;
          }
          if (this.options.signal?.aborted === true) this.fail(interrupted(undefined));
          if (this.failure !== null) break;
        }
        // A chunk is of one source, so that what is refused can be named.
        yield* this.send();
        if (this.failure !== null) return;
      }
    } catch (error) {
      this.fail(this.options.signal?.aborted === true ? interrupted(error) : toSutraError(error));
      yield* this.send();
    }
  }

  private async *waitingChunks(): AsyncGenerator<readonly IngestItem[], void, undefined> {
    for await (const block of this.spill.read()) {
      for (const { from, record } of block) {
        if (this.chunk !== null && this.chunk.from !== from) yield* this.send();
        this.chunk ??= new Chunk(from);
        this.chunk.add(record);
        if (this.chunk.isFull(this.chunkItems)) yield* this.send();
      }
      if (this.options.signal?.aborted === true) this.fail(interrupted(undefined));
      if (this.failure !== null) break;
    }
    yield* this.send();
  }

  private begin(source: RecordSource): void {
    if (this.current !== null) this.whole.push(this.current.source);
    this.first ??= source;
    this.current = source;
    this.acknowledgedLine = 0;
  }

  private take(source: RecordSource, record: GoodRecord | BadRecord): void {
    if (record.kind === 'bad') {
      this.refuse(source, record.line, record.reason);
      return;
    }
    const reason = problemOf(record);
    if (reason !== null) this.refuse(source, record.line, reason);
    else if (this.spilling && record.kind === 'association') this.spill.add(source, record);
    else {
      this.chunk ??= new Chunk(source);
      this.chunk.add(record);
    }
  }

  private *send(): Generator<readonly IngestItem[], void, undefined> {
    const { chunk } = this;
    this.chunk = null;
    if (chunk === null || chunk.records.length === 0) return;
    this.underWay.push(chunk);
    yield chunk.items();
  }

  private acknowledge(ack: IngestAck): void {
    const chunk = this.underWay.shift();
    if (chunk?.records.length !== ack.received) {
      throw new SutraError(
        'INTERNAL',
        `the storage acknowledged ${ack.received} items at once, expected ${chunk?.records.length ?? 0}`,
      );
    }
    const refused = new Map<number, IngestItemError>();
    for (const error of ack.errors) refused.set(error.index, error);
    for (const [index, record] of chunk.records.entries()) {
      const error = refused.get(index);
      if (record.kind === 'concept') {
        if (error === undefined) this.concepts++;
        else this.refuseItem(chunk, record, error);
      } else if (chunk.waits) continue;
      else if (error === undefined) this.associations++;
      else if (error.code === 'UNKNOWN_CONCEPT' && this.spill.count === 0) this.wait(chunk, index);
      else this.refuseItem(chunk, record, error);
    }
    this.concepts += ack.endpoints;
    if (ack.lastSequence > 0) this.lastSequence = ack.lastSequence;
    if (chunk.from === this.current && this.spill.count === 0)
      this.acknowledgedLine = chunk.lastLine;
    this.options.onProgress?.(this.totals);
  }

  /** From this record on, associations wait for the end of the input. */
  private wait(chunk: Chunk, from: number): void {
    this.spilling = true;
    this.acknowledgedLine = (chunk.records[from]?.line ?? 1) - 1;
    const late = [chunk, ...this.underWay];
    if (this.chunk !== null) late.push(this.chunk);
    for (const each of late) {
      each.waits = true;
      for (const [index, record] of each.records.entries()) {
        if (record.kind === 'association' && (each !== chunk || index >= from)) {
          this.spill.add(each.from, record);
        }
      }
    }
  }

  private refuseItem(chunk: Chunk, record: GoodRecord, error: IngestItemError): void {
    this.refuse(chunk.from, record.line, reasonOf(error));
  }

  private refuse(source: RecordSource, line: number, reason: string): void {
    if (this.failure !== null) {
      this.refusedBehind++;
      return;
    }
    this.options.onBad?.(source.source, line, reason);
    if (this.bad >= (this.options.skipBad ?? 0)) {
      this.fail(new SutraError('INVALID_ARGUMENT', `${source.source}:${line}: ${reason}`));
      if (source === this.current) this.failureLine = line;
    } else this.bad++;
  }

  private fail(error: SutraError): void {
    this.failure ??= error;
  }

  /** The error with what is in the store, and the next step. */
  private explained(error: SutraError): SutraError {
    const unknown =
      this.underWay.length > 0 && MAY_HAVE_HAPPENED.has(error.status)
        ? ` Whether lines up to ${this.underWay.at(-1)?.lastLine ?? 0} of ${this.underWay.at(-1)?.from.source ?? ''} went in is not known.`
        : '';
    const message = `${error.message.replace(/\.$/, '')}.${unknown} ${this.soFar()}`;
    return new SutraError(error.code, message, {
      violations: error.violations,
      hint: this.nextStep(error),
      cause: error,
    });
  }

  /** `Lines 1 to 40 of f.jsonl are in the store (30 concepts, 10 associations).` */
  private soFar(): string {
    const { concepts, associations, current, acknowledgedLine } = this;
    if (concepts + associations === 0) return 'Nothing was imported.';
    const parts = [...this.whole];
    if (current !== null && acknowledgedLine > 0) {
      const from = current === this.first ? (this.options.fromLine ?? 1) : 1;
      const others = this.refusedBehind === 0 ? '' : ` and ${this.refusedBehind} more`;
      const but =
        this.failureLine > 0 && this.failureLine <= acknowledgedLine
          ? ` but ${this.failureLine}${others}`
          : '';
      parts.push(`lines ${from} to ${acknowledgedLine}${but} of ${current.source}`);
    }
    const sum = `${counted(concepts, 'concept')}, ${counted(associations, 'association')}`;
    const skipped = this.bad === 0 ? '' : `, ${this.bad} skipped`;
    const waiting =
      this.spill.count === 0
        ? ''
        : ` ${counted(this.spill.count, 'association')} waited for concepts and may not be.`;
    return parts.length === 0
      ? `In the store: ${sum}${skipped}.${waiting}`
      : `In the store: ${parts.join(', ')} (${sum}${skipped}).${waiting}`;
  }

  private nextStep(error: SutraError): string {
    const refused = ERRORS[error.code].status === 'INVALID_ARGUMENT';
    const first = refused ? 'Correct the input, or give --skip-bad; then ' : 'To go on, ';
    const line = this.resumeLine();
    const again =
      line === null
        ? 'import it again; learning a record twice does no harm.'
        : `import it again, from the start or with --from-line ${line}; learning a record twice does no harm.`;
    return refused || error.code === 'CANCELLED' ? first + again : `${error.hint} ${first}${again}`;
  }

  /** The first line that may not be in the store; null where a line alone does not say, or there is nothing to skip. */
  private resumeLine(): number | null {
    if (this.current === null || this.current !== this.first) return null;
    const acknowledged = this.acknowledgedLine + 1;
    const line = this.failureLine > 0 ? Math.min(acknowledged, this.failureLine) : acknowledged;
    return line > 1 ? line : null;
  }
}

/** What is wrong with the values of a record, or null; what depends on the store's state is its to refuse. */
export function problemOf(record: GoodRecord): string | null {
  try {
    if (record.kind === 'concept') checkConcept(record.concept);
    else checkAssociation(record.association);
    return null;
  } catch (error) {
    if (error instanceof SutraError) return reasonOf(error);
    throw error;
  }
}

/** Fields that files call by another name than the wire. */
const FILE_NAMES: ReadonlyMap<string, string> = new Map([
  ['concept_id', 'id'],
  ['source_id', 'source'],
  ['target_id', 'target'],
  ['assoc_type', 'type'],
]);

function reasonOf(error: Pick<SutraError, 'message' | 'violations'>): string {
  if (error.violations.length > 0) {
    return error.violations
      .map(({ field, description }) => `${nameInFile(field)}: ${description}`)
      .join('; ');
  }
  const [, field, rest] = /^([\w[\].]+): (.*)$/s.exec(error.message) ?? [];
  return field === undefined ? error.message : `${nameInFile(field)}: ${rest ?? ''}`;
}

/** `concepts[3].concept_id` is the record's own `id`. */
function nameInFile(field: string): string {
  const name = field.replace(/^\w+\[\d+\]\./, '');
  return FILE_NAMES.get(name) ?? name;
}

export function unknownEnd(end: 'source' | 'target', id: string): string {
  return `${end}: no concept ${JSON.stringify(id.length > 80 ? `${id.slice(0, 77)}...` : id)}`;
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
  const code: ErrorCode = 'CANCELLED';
  return new SutraError(code, 'interrupted', cause === undefined ? {} : { cause });
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
