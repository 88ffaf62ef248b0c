/**
 * The serving thread's side of the vector index: which slots' vectors the index does not know yet, handing them over, asking,
 * and deciding when the index is begun, written and given up. The graph is the worker's (indexer.ts).
 *
 * Every slot whose vector was learned, replaced or forgotten goes into the queue `changed`; from there, in batches, to the
 * worker (`inFlight`) until it says that the graph has them. So at any time a current vector is in `changed` (the asker
 * scans those), with the worker (which scans its queue for every search sent after), or in the graph. A slot that changes
 * while it is in flight waits in `changed`. What is handed over is what the state holds at that moment, so it does not
 * matter how often a slot changed. How much is in flight is bounded; the rest stays on disk.
 *
 * At the start the file's entries are held against the state, slot by slot: a vector with another checksum, or none, is a
 * change like any other. That also holds for slots that became another concept's, logs that lost their end, and files of
 * older copies of the store.
 */

import { join } from 'node:path';

import { SutraError } from '../../errors.js';
import type { Environment } from '../environment.js';
import type { State } from '../state.js';
import { INDEX_NAME } from './index-file.js';
import type {
  Candidates,
  FoundMessage,
  FromIndexer,
  IndexOptions,
  IndexPort,
  Search,
} from './index-messages.js';
import { SearchJournal } from './search-journal.js';
import { SlotQueue } from './slot-queue.js';
import { SlotSet } from './slot-set.js';
import { unitRows } from './unit-rows.js';
import type { VectorIndexStats } from './vector-query.js';

const DEFAULT_INDEX_OPTIONS: IndexOptions = {
  precision: 'f16',
  connectivity: 16,
  efConstruction: 128,
};

/** A store that is opened, written to and closed at once does not begin one. */
const START_MS = 250;
/** With the worker and not in the graph yet: 64 MiB, 21,000 vectors of 768 numbers, which it scans in 10 ms. */
const IN_FLIGHT_BYTES = 64 * 1024 * 1024;
/** 128 vectors of 768 numbers: half a millisecond of reading. */
const BATCH_BYTES = 384 * 1024;
const MATCH_SLICE_MS = 2;

const SAVE_EVERY_MS = 5_000;
/** Fewer changes than an eighth of the index are not worth a new file until so many looks saw no more of them. */
const IDLE_SAVES = 6;
/** While there is much to place, this much is worth saving all the same. */
const SAVE_BACKLOG_CHANGES = 100_000;
const CLOSE_SAVE_MS = 5_000;
const PROGRESS_MS = 10_000;

interface InFlight {
  readonly slots: Uint32Array;
  readonly bytes: number;
  readonly dimension: number;
}

export class VectorIndex {
  readonly journal = new SearchJournal();
  /** The graph's options: those asked for, or those of the file that was found. */
  options: IndexOptions;

  private port: IndexPort | null = null;
  /** It failed, or there is nothing for it here. */
  private off = false;
  private ending: Promise<void> | null = null;
  private closed = false;
  /** The worker's dimension; 0 until it was begun. */
  private dimension = 0;
  /** The file was held against the state. */
  private matched = false;
  private waitingForMatch: (() => void)[] = [];

  private readonly changed = new SlotQueue();
  private readonly inFlight = new SlotSet();
  private readonly batches = new Map<number, InFlight>();
  private inFlightBytes = 0;
  private ticket = 0;
  private pumping = false;

  private readonly asked = new Map<number, (found: Candidates | null) => void>();
  private nextId = 0;
  private readonly unsent: Search[] = [];
  private waiting = 0;

  private indexedCount = 0;
  private fileBytes = 0;
  private unsaved = 0;
  private unsavedAtLook = 0;
  private idleLooks = 0;
  private saving: (() => void) | null = null;
  private cancelStart: (() => void) | null = null;
  private cancelSaves: () => void = () => undefined;
  private progressMs = Infinity;
  private buildStartMs = 0;

  constructor(
    private readonly environment: Environment,
    private readonly directory: string,
    private readonly state: State,
    private readonly uuid: Uint8Array,
    private readonly demanded: Partial<IndexOptions>,
    private readonly readOnly: boolean,
    private readonly onDamage: (error: SutraError) => void,
  ) {
    this.options = { ...DEFAULT_INDEX_OPTIONS, ...demanded };
    state.onVector = (slot) => {
      this.note(slot);
    };
    if (!readOnly) this.startLater();
  }

  get stats(): VectorIndexStats {
    const { options, dimension, indexedCount, fileBytes } = this;
    return {
      indexed: indexedCount,
      // A slot that changed while it was in flight waits in both.
      queued: this.off ? 0 : this.changed.length + this.inFlight.size,
      precision: options.precision,
      residentBytes: Math.round(indexedCount * residentBytesPerVector(dimension, options)),
      fileBytes,
    };
  }

  /** Vectors that a search by index has to look at one by one: with the worker, and here. */
  get queuedCount(): number {
    return this.inFlight.size;
  }
  get changedCount(): number {
    return this.changed.length;
  }
  changedSlots(): Uint32Array {
    return this.changed.toArray();
  }

  /** Whether it may be, or become, `ready`. */
  get possible(): boolean {
    return !this.off && this.worthwhile;
  }

  private get saveChanges(): number {
    return this.environment.indexHost?.saveChanges ?? 0;
  }

  get preferred(): boolean {
    return this.environment.indexHost?.preferIndex ?? false;
  }

  /** Whether it can be asked. */
  get ready(): boolean {
    return this.matched && !this.off && this.dimension === this.state.levels.dimension;
  }

  private note(slot: number): void {
    this.journal.push(slot);
    if (this.port === null) {
      if (this.cancelStart === null) this.startLater();
      return;
    }
    if (this.off) return;
    this.changed.push(slot);
    this.pump();
  }

  // --- beginning ---

  private get worthwhile(): boolean {
    const { state } = this;
    const { indexHost } = this.environment;
    if (indexHost === undefined) return false;
    return state.vectorCount * state.levels.dimension >= indexHost.fromFloats;
  }

  private startLater(): void {
    if (this.off || this.closed || this.readOnly || !this.worthwhile) return;
    this.cancelStart ??= this.environment.schedule(START_MS, () => {
      this.start();
    });
  }

  /** Begins the worker, when there is one to begin and enough for it to do. */
  start(): void {
    const { environment, state } = this;
    if (this.port !== null || this.off || this.closed || !this.worthwhile) return;
    this.cancelStart?.();
    const { indexHost } = environment;
    const hasFile =
      !this.readOnly || environment.disk.stat(join(this.directory, INDEX_NAME)) !== null;
    if (indexHost === undefined || !hasFile) {
      this.off = true;
      return;
    }
    this.dimension = state.levels.dimension;
    this.port = indexHost.start(
      {
        directory: this.directory,
        uuid: this.uuid,
        dimension: this.dimension,
        options: this.options,
        demanded: this.readOnly ? {} : this.demanded,
        readOnly: this.readOnly,
        threads: indexHost.threads,
      },
      (message) => {
        this.receive(message);
      },
      (reason) => {
        this.giveUp(reason);
      },
    );
    if (!this.readOnly) this.scheduleSave();
  }

  /** Resolves when the index can be asked or will not be; for who would rather wait than scan. */
  async opened(): Promise<void> {
    this.start();
    if (this.port === null || this.off || this.matched) return;
    this.hold(1);
    await new Promise<void>((resolve) => this.waitingForMatch.push(resolve));
    this.hold(-1);
  }

  private receive(message: FromIndexer): void {
    switch (message.kind) {
      case 'opened':
        this.takeOpened(message);
        return;
      case 'done': {
        const batch = this.batches.get(message.ticket);
        this.batches.delete(message.ticket);
        if (batch !== undefined) this.acknowledge(batch);
        this.indexedCount = message.size;
        this.pump();
        this.tellProgress();
        return;
      }
      case 'found':
        this.takeFound(message);
        return;
      case 'saved':
        this.fileBytes = message.fileBytes;
        this.saved();
        return;
      case 'unsaved':
        this.environment.logger.warn(
          `vector index: ${INDEX_NAME} was not written (${message.reason}); it will be tried again`,
        );
        this.unsaved += this.saveChanges;
        this.saved();
    }
  }

  private takeFound({ ids, ends, slots, distances }: FoundMessage): void {
    let from = 0;
    ids.forEach((id, i) => {
      const end = ends[i] ?? from;
      const answer = this.asked.get(id);
      this.asked.delete(id);
      this.hold(-1);
      answer?.({ slots: slots.subarray(from, end), distances: distances.subarray(from, end) });
      from = end;
    });
  }

  private takeOpened(message: Extract<FromIndexer, { kind: 'opened' }>): void {
    const { logger } = this.environment;
    this.options = message.options;
    this.fileBytes = message.fileBytes;
    this.indexedCount = message.pairs.length / 2;
    this.buildStartMs = this.environment.nowMs();
    if (message.note !== null) {
      logger.warn(
        `vector index: ${join(this.directory, INDEX_NAME)} is not used: ${message.note}; ` +
          (this.readOnly
            ? 'searches are exact'
            : 'it is built anew, and searches are exact until then'),
      );
    }
    if (this.readOnly && message.pairs.length === 0) {
      this.turnOff();
      return;
    }
    this.match(message.pairs).then(
      () => {
        this.matched = true;
        if (!this.readOnly && this.changed.length >= this.saveChanges) {
          this.progressMs = this.environment.nowMs() + PROGRESS_MS;
          logger.info(`vector index: ${this.changed.length} vectors to place`);
        }
        this.settleMatch();
        this.pump();
      },
      (error: unknown) => {
        this.giveUp(error instanceof Error ? error.message : String(error));
      },
    );
  }

  /** Holds the file's entries against the state, in slices. */
  private async match(pairs: Uint32Array): Promise<void> {
    const { state, environment, changed } = this;
    const { levels } = state;
    let sliceEndMs = environment.nowMs() + MATCH_SLICE_MS;
    let at = 0;
    for (let slot = 0; slot < state.slotCount; slot++) {
      if ((slot & 255) === 255 && environment.nowMs() >= sliceEndMs) {
        await environment.pause();
        if (this.closed || this.off) return;
        sliceEndMs = environment.nowMs() + MATCH_SLICE_MS;
      }
      const crc = at < pairs.length && pairs[at] === slot ? pairs[at + 1]! : -1;
      if (crc >= 0) at += 2;
      // A slot that changed since the worker was begun is in `changed` already, or in flight.
      if (levels.vectorCrc(slot) !== crc && !this.inFlight.has(slot)) changed.push(slot);
    }
    for (; at < pairs.length; at += 2) changed.push(pairs[at]!);
  }

  private settleMatch(): void {
    for (const resolve of this.waitingForMatch.splice(0)) resolve();
  }

  // --- handing over ---

  /** Hands batches over while there is room, with a turn for others between them. */
  private pump(): void {
    if (this.pumping || !this.mayHandOver()) return;
    this.pumping = true;
    const run = async (): Promise<void> => {
      // The writes of this turn go together.
      await this.environment.pause();
      while (this.mayHandOver() && this.handOver()) await this.environment.pause();
    };
    run().then(
      () => {
        this.pumping = false;
      },
      (error: unknown) => {
        this.pumping = false;
        this.giveUp(error instanceof Error ? error.message : String(error));
      },
    );
  }

  private mayHandOver(): boolean {
    return (
      this.matched &&
      !this.off &&
      !this.closed &&
      this.changed.length > 0 &&
      this.inFlightBytes < IN_FLIGHT_BYTES
    );
  }

  /** One batch. False when all that is left waits for what is in flight. */
  private handOver(): boolean {
    const { state, changed, inFlight, port } = this;
    const { levels } = state;
    if (port === null) return false;
    if (levels.dimension !== 0 && levels.dimension !== this.dimension) {
      this.dimension = levels.dimension;
      port.send({ kind: 'reset', dimension: this.dimension });
    }
    const { dimension } = this;
    const rows = Math.max(1, Math.floor(BATCH_BYTES / (4 * dimension)));
    const slots = new Uint32Array(rows);
    const crcs = new Uint32Array(rows);
    const vectors = new Float32Array(rows * dimension);
    const gone: number[] = [];
    let count = 0;
    let looked = 0;
    for (
      const length = changed.length;
      looked < length && looked < 4 * rows && count < rows;
      looked++
    ) {
      const slot = changed.shift();
      if (inFlight.has(slot)) {
        changed.push(slot);
        continue;
      }
      const crc = levels.vectorCrc(slot);
      if (crc < 0) {
        gone.push(slot);
        continue;
      }
      try {
        levels.readVector(slot, vectors.subarray(count * dimension, (count + 1) * dimension));
      } catch (error) {
        if (!(error instanceof SutraError)) throw error;
        // Damage: whoever needs this vector is told; the others are indexed.
        this.onDamage(error);
        gone.push(slot);
        continue;
      }
      slots[count] = slot;
      crcs[count] = crc;
      count++;
    }
    if (gone.length > 0) {
      const removed = Uint32Array.from(gone);
      this.unsaved += gone.length;
      port.send({ kind: 'remove', ticket: this.fly(removed, 0), slots: removed });
    }
    if (count > 0) {
      const added = slots.slice(0, count);
      this.unsaved += count;
      port.send({
        kind: 'add',
        ticket: this.fly(added, count * dimension * 4),
        slots: added.slice(),
        crcs: crcs.slice(0, count),
        // Its own buffer, from its beginning: the package's exact search looks at no offset.
        vectors: count === rows ? vectors : vectors.slice(0, count * dimension),
      });
    }
    return count > 0 || gone.length > 0;
  }

  private fly(slots: Uint32Array, bytes: number): number {
    const ticket = this.ticket++;
    for (const slot of slots) this.inFlight.add(slot);
    this.inFlightBytes += bytes;
    this.batches.set(ticket, { slots, bytes, dimension: this.dimension });
    return ticket;
  }

  private acknowledge(batch: InFlight): void {
    for (const slot of batch.slots) this.inFlight.delete(slot);
    this.inFlightBytes -= batch.bytes;
  }

  private tellProgress(): void {
    const { environment, changed, inFlight } = this;
    const left = changed.length + inFlight.size;
    if (this.progressMs === Infinity) return;
    const nowMs = environment.nowMs();
    const seconds = Math.round((nowMs - this.buildStartMs) / 1000);
    if (left === 0) {
      this.progressMs = Infinity;
      environment.logger.info(`vector index: ${this.indexedCount} vectors after ${seconds} s`);
    } else if (nowMs >= this.progressMs) {
      this.progressMs = nowMs + PROGRESS_MS;
      environment.logger.info(
        `vector index: ${this.indexedCount} vectors after ${seconds} s, ${left} to place`,
      );
    }
  }

  // --- asking ---

  /** The `count` nearest to the query, of all but `changedSlots()`. null: it cannot say. */
  async search(query: Float32Array, count: number): Promise<Candidates | null> {
    const { port } = this;
    if (port === null || !this.ready || this.closed) return null;
    const id = this.nextId++;
    this.hold(1);
    return new Promise((resolve) => {
      this.asked.set(id, resolve);
      // Those of one turn go together.
      if (this.unsent.push({ id, query, count }) > 1) return;
      this.environment.pause().then(
        () => this.sendSearches(),
        (error: unknown) => {
          this.giveUp(error instanceof Error ? error.message : String(error));
        },
      );
    });
  }

  private sendSearches(): void {
    const { port } = this;
    const searches = this.unsent.splice(0);
    if (port === null || this.off || this.closed) return;
    for (let from = 0, to = 0; from < searches.length; from = to) {
      const length = searches[from]?.query.length ?? 0;
      while (searches[to]?.query.length === length) to++;
      const together = searches.slice(from, to);
      port.send({
        kind: 'search',
        ids: together.map(({ id }) => id),
        counts: together.map(({ count }) => count),
        queries: unitRows(together.map(({ query }) => query)),
      });
    }
  }

  private hold(change: number): void {
    this.waiting += change;
    if (this.waiting === (change > 0 ? change : 0)) this.port?.hold(change > 0);
  }

  // --- writing the file, and the end ---

  private scheduleSave(): void {
    this.cancelSaves = this.environment.schedule(SAVE_EVERY_MS, () => {
      if (this.off || this.closed) return;
      this.saveWhenDue();
      this.scheduleSave();
    });
  }

  private saveWhenDue(): void {
    const { unsaved, indexedCount } = this;
    if (!this.ready || this.saving !== null || unsaved === 0) return;
    const backlog = this.changed.length + this.inFlight.size;
    this.idleLooks = unsaved === this.unsavedAtLook ? this.idleLooks + 1 : 0;
    this.unsavedAtLook = unsaved;
    const due =
      backlog === 0
        ? unsaved >= Math.max(this.saveChanges, indexedCount / 8) || this.idleLooks >= IDLE_SAVES
        : unsaved >= Math.max(SAVE_BACKLOG_CHANGES, indexedCount / 2);
    if (due) this.save(() => undefined);
  }

  private save(then: () => void): void {
    const { port } = this;
    if (port === null) return;
    this.saving = then;
    this.unsaved = 0;
    this.idleLooks = 0;
    port.send({ kind: 'save', sequence: this.state.sequence });
  }

  private saved(): void {
    const then = this.saving;
    this.saving = null;
    then?.();
  }

  /** Something that no try will mend: from here on searches are exact. */
  private giveUp(reason: string): void {
    if (this.off || this.closed) return;
    this.environment.logger.error(`vector index: ${reason}; searches are exact from here on`);
    this.turnOff();
  }

  private turnOff(): void {
    this.off = true;
    this.matched = false;
    this.indexedCount = 0;
    this.settleMatch();
    this.answerNobody();
    this.saved();
    this.ending = this.port?.close() ?? null;
  }

  private answerNobody(): void {
    const asked = [...this.asked.values()];
    this.asked.clear();
    for (const resolve of asked) {
      this.hold(-1);
      resolve(null);
    }
  }

  /** Writes the file when enough changed, and ends the worker. What is not placed yet will be at the next start. */
  async close(): Promise<void> {
    this.closed = true;
    this.state.onVector = null;
    this.cancelStart?.();
    this.cancelSaves();
    this.settleMatch();
    const { port } = this;
    if (port === null) return;
    if (this.off) {
      await this.ending;
      return;
    }
    this.hold(1);
    if (
      this.matched &&
      !this.readOnly &&
      (this.saving !== null || this.unsaved >= this.saveChanges)
    ) {
      await new Promise<void>((resolve) => {
        const cancel = this.environment.schedule(CLOSE_SAVE_MS, resolve);
        const done = (): void => {
          cancel();
          resolve();
        };
        if (this.saving !== null) this.saving = done;
        else this.save(done);
      });
    }
    this.answerNobody();
    await port.close();
  }
}

/**
 * An estimate: the copy; key, level and neighbours (upper levels hold 1/(connectivity - 1) as many nodes again); pointers to
 * both and the table of keys; a checksum.
 */
function residentBytesPerVector(dimension: number, options: IndexOptions): number {
  const { precision, connectivity } = options;
  const copy = dimension * { f32: 4, f16: 2, i8: 1 }[precision];
  const node = 10 + 4 + 8 * connectivity + (4 + 4 * connectivity) / (connectivity - 1);
  return copy + node + 16 + 32 + 5;
}
