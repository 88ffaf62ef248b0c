/**
 * The embedded backend: a store directory opened in this process. It checks what it is asked, gives it to the engine, and turns
 * slots into ids. One instance writes a directory; any number, in any process, may read it with `readOnly`.
 */

import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { SutraError, toSutraError } from '../errors.js';
import { LATENCY_BOUNDS_US, NO_LATENCIES } from '../latency.js';
import type { StateSum } from '../engine/check-state.js';
import { nodeEnvironment, type Environment } from '../engine/environment.js';
import {
  DEFAULT_CHECK_EVERY,
  DEFAULT_SLICE_MS,
  MAX_RESTARTS,
  type TraversalBudget,
} from '../engine/graph/budget.js';
import { BOTH, IN, OUT, type TypeMask } from '../engine/graph/graph-view.js';
import { MAX_QUEUED_BYTES } from '../engine/group-commit.js';
import type { Logger } from '../engine/logger.js';
import { SCAN_ASSOCIATIONS, SCAN_CONCEPTS } from '../engine/scan-token.js';
import type { Migration } from '../engine/migration/migrate.js';
import { ConceptRecord } from '../engine/snapshot/snapshot-source.js';
import { openSnapshotFile } from '../engine/snapshot/snapshot-file.js';
import { runStepsInSlices, type OnProgress, type StepProgress } from '../engine/steps.js';
import { Store } from '../engine/store.js';
import type { IndexOptions } from '../engine/vector/index-messages.js';
import {
  parseVectorConnectivity,
  parseVectorEfConstruction,
  parseVectorPrecision,
} from './settings.js';
import { backupChunks } from './backup-chunks.js';
import { ingestChunks, itemError, screenChunk } from './ingest.js';
import { scanPages } from './scan-pages.js';
import type {
  AssociationInput,
  BackupChunk,
  BatchInput,
  BatchReceipt,
  CallOptions,
  ConceptAnswer,
  ConceptInput,
  Direction,
  ForgetReceipt,
  HealthAnswer,
  IngestAck,
  IngestItem,
  IngestOptions,
  IngestSource,
  Neighbor,
  NeighborOptions,
  NeighborsAnswer,
  PathAnswer,
  PathOptions,
  QueryOptions,
  ScanKinds,
  ScanOptions,
  ScanPage,
  SearchOptions,
  Storage,
  StorageStats,
  VectorMatch,
  WriteReceipt,
} from './storage.js';
import {
  abortError,
  checkAssociation,
  checkBatch,
  checkCall,
  checkConcept,
  checkForgetAssociation,
  checkIngest,
  checkNeighbors,
  checkPath,
  checkQuery,
  checkScan,
  checkSearch,
  DEFAULT_MAX_DEPTH,
  throwIfAborted,
} from './validation.js';
import { searchStore } from './vector-search.js';

export interface EmbeddedOptions {
  /** Only read: takes no lock, creates nothing, may stand beside a writer. Default false. */
  readonly readOnly?: boolean;
  /** always: acknowledged means synced. interval: means written to the system, synced every reconcileMs. Default always. */
  readonly durability?: 'always' | 'interval';
  /** Milliseconds between background syncs. Default 10. */
  readonly reconcileMs?: number;
  /** Writes before a checkpoint. Default 50,000. */
  readonly threshold?: number;
  /** Dimension of embeddings; absent: the store's own, or that of the first one learned. */
  readonly vectorDim?: number;
  /** Numbers of the vector index's copies. Default f16; i8 takes half the memory and finds less, f32 twice as much. */
  readonly vectorPrecision?: 'f32' | 'f16' | 'i8';
  /** Neighbours of a vector in the index, 2..256. Default 16; more find more, and take longer and more memory. */
  readonly vectorConnectivity?: number;
  /** Candidates that are looked at when a vector is indexed, 1..4,096. Default 128. */
  readonly vectorEfConstruction?: number;
  /** Where the engine's messages go. Default: nowhere. */
  readonly logger?: Logger;
  /** Told how far it is while a storage.dat of version 2 is brought over (or, for reading, read): in one turn. */
  readonly onMigration?: OnProgress;
  /** Disk, clock, timers and randomness, for tests. Default: this machine's. */
  readonly environment?: Environment;
}

/** What opening found. */
export interface Opened {
  readonly concepts: number;
  readonly edges: number;
  /** Writes that were replayed from the log behind storage.dat. */
  readonly replayed: number;
  readonly openMs: number;
  /** The storage.dat of version 2 that was brought over; null when there was none. */
  readonly migration: Migration | null;
}

export class ConcurrentStorage implements Storage {
  readonly mode = 'embedded';
  /** Resolves when the disk has failed for good: end the process; a restart recovers what was acknowledged. */
  readonly failed: Promise<SutraError>;
  private readonly startMs: number;
  private readonly record = new ConceptRecord();

  private constructor(
    private readonly store: Store,
    private readonly environment: Environment,
    readonly opened: Opened,
  ) {
    this.failed = store.failed;
    this.startMs = environment.nowMs();
  }

  /** Opens a store directory, creating it when it is missing and not `readOnly`. */

  static async open(path: string, options: EmbeddedOptions = {}): Promise<ConcurrentStorage> {
    const environment = options.environment ?? nodeEnvironment(options.logger);
    const startMs = environment.nowMs();
    const store = Store.open(path, environment, {
      readOnly: options.readOnly ?? false,
      durability: options.durability ?? 'always',
      reconcileMs: options.reconcileMs ?? 10,
      threshold: options.threshold ?? 50_000,
      vectorDim: options.vectorDim ?? 0,
      vectorIndex: indexOptions(options),
      onMigration: options.onMigration,
    });
    return new ConcurrentStorage(store, environment, {
      concepts: store.state.conceptCount,
      edges: store.state.edgeCount,
      replayed: store.replayed,
      openMs: environment.nowMs() - startMs,
      migration: store.migration,
    });
  }

  async learnConcept(concept: ConceptInput, options?: CallOptions): Promise<WriteReceipt> {
    checkConcept(concept, options);
    this.begin(options);
    const { firstSequence } = await this.store.commits.learn(concept);
    return { sequence: firstSequence };
  }

  async learnAssociation(
    association: AssociationInput,
    options?: CallOptions,
  ): Promise<WriteReceipt> {
    checkAssociation(association, options);
    this.begin(options);
    const { firstSequence } = await this.store.commits.associate(association);
    return { sequence: firstSequence };
  }

  async learnBatch(batch: BatchInput, options?: CallOptions): Promise<BatchReceipt> {
    checkBatch(batch, options);
    this.begin(options);
    return this.store.commits.batch(batch.concepts ?? [], batch.associations ?? []);
  }

  async forgetConcept(id: string, options?: CallOptions): Promise<ForgetReceipt> {
    checkQuery(id, options);
    this.begin(options);
    const gone = await this.store.commits.forgetConcept(id);
    return gone === null ? NOTHING_FORGOTTEN : { found: true, ...gone };
  }

  async forgetAssociation(
    source: string,
    target: string,
    type?: number,
    options?: CallOptions,
  ): Promise<ForgetReceipt> {
    checkForgetAssociation(source, target, type, options);
    this.begin(options);
    const gone = await this.store.commits.forgetAssociation(source, target, type ?? null);
    return gone === null ? NOTHING_FORGOTTEN : { found: true, ...gone };
  }

  async queryConcept(id: string, options: QueryOptions = {}): Promise<ConceptAnswer> {
    checkQuery(id, options);
    this.begin(options);
    const { store, record } = this;
    const slot = store.findConcept(id);
    if (slot < 0 || !store.readConcept(slot, record)) return { ...UNKNOWN_CONCEPT, id };
    const answer: ConceptAnswer = {
      found: true,
      id: store.idOf(slot),
      content: store.readContent(slot),
      strength: record.strength,
      confidence: record.confidence,
      createdUs: record.createdUs,
      updatedUs: record.updatedUs,
      dimension: record.hasVector ? store.dimension : 0,
    };
    return options.withEmbedding === true && record.hasVector
      ? { ...answer, embedding: store.readVector(slot) }
      : answer;
  }

  async contains(id: string, options?: CallOptions): Promise<boolean> {
    checkQuery(id, options);
    this.begin(options);
    return this.store.findSlot(id) >= 0;
  }

  async getNeighbors(id: string, options: NeighborOptions = {}): Promise<NeighborsAnswer> {
    checkNeighbors(id, options);
    this.begin(options);
    const { store } = this;
    const slot = store.findSource(id);
    if (slot < 0) return { known: false, id, neighbors: [] };
    const ownId = store.idOf(slot);
    const query = {
      direction: directionBits(options.direction),
      types: typeMask(options.types),
      limit: options.limit ?? 0,
      parallel: options.parallel ?? false,
    };
    return this.traverse(
      options,
      (budget) => store.neighbors(slot, query, budget),
      (list) => {
        // Forgotten while the traversal paused.
        if (store.findSlot(id) !== slot) return { known: false, id, neighbors: [] };
        const ids = store.idsOf(list.slots);
        if (ids === null) return undefined;
        const neighbors = ids.map((id, i): Neighbor => ({
          id,
          type: list.types[i] ?? 0,
          confidence: list.confidences[i] ?? 0,
          direction: list.directions[i] === IN ? 'in' : 'out',
        }));
        return { known: true, id: ownId, neighbors };
      },
    );
  }

  async findPath(start: string, end: string, options: PathOptions = {}): Promise<PathAnswer> {
    checkPath(start, end, options);
    this.begin(options);
    const { store } = this;
    const from = store.findSource(start);
    const to = store.findSource(end);
    if (from < 0 || to < 0) return NO_PATH;
    const query = {
      maxDepth:
        options.maxDepth === undefined || options.maxDepth === 0
          ? DEFAULT_MAX_DEPTH
          : options.maxDepth,
      direction: directionBits(options.direction),
      types: typeMask(options.types),
    };
    return this.traverse(
      options,
      (budget) =>
        options.by === 'confidence'
          ? store.strongestPath(from, to, query, budget)
          : store.shortestPath(from, to, query, budget),
      (path) => {
        // An end that was forgotten while the search paused has no path.
        if (path === null || store.findSlot(start) !== from || store.findSlot(end) !== to) {
          return NO_PATH;
        }
        const ids = store.idsOf(path.slots);
        if (ids === null) return undefined;
        return {
          found: true,
          path: ids,
          steps: path.steps.map((step, i) => ({
            from: ids[i] ?? '',
            to: ids[i + 1] ?? '',
            type: step.type,
            confidence: step.confidence,
            direction: step.direction === IN ? 'in' : 'out',
          })),
          confidence: path.confidence,
        };
      },
    );
  }

  async vectorSearch(
    query: Float32Array | readonly number[],
    options: SearchOptions = {},
  ): Promise<VectorMatch[]> {
    checkSearch(query, options);
    this.begin(options);
    return searchStore(this.store, query, options, (sliceMs) => this.budget(options, sliceMs));
  }

  async *ingest(
    items: IngestSource,
    options: IngestOptions = {},
  ): AsyncGenerator<IngestAck, void, undefined> {
    checkIngest(options);
    this.begin(options);
    // Chunks wait for room in turn, so that none overtakes the one before.
    let admitted = Promise.resolve();
    yield* ingestChunks(items, options, (chunk, firstIndex) => {
      const turn = admitted.then(() => this.store.room());
      const ack = turn.then(() => this.ingestChunk(chunk, firstIndex));
      admitted = turn;
      return ack;
    });
  }

  private async ingestChunk(items: readonly IngestItem[], firstIndex: number): Promise<IngestAck> {
    const { valid, indexes, errors } = screenChunk(items, firstIndex);
    const { firstSequence, count } = await this.store.commits.ingest(valid, (i, error) => {
      errors.push(itemError(error, firstIndex + (indexes[i] ?? 0)));
    });
    errors.sort((a, b) => a.index - b.index);
    return {
      firstIndex,
      received: items.length,
      accepted: count,
      firstSequence,
      lastSequence: count === 0 ? 0 : firstSequence + count - 1,
      errors,
    };
  }

  async *scan(options: ScanOptions = {}): AsyncGenerator<ScanPage, void, undefined> {
    checkScan(options);
    this.begin(options);
    const { store, environment } = this;
    const kinds = SCANNED[options.kinds ?? 'all'];
    const scan = await until(store.openScan(kinds, options.resume ?? null), options, (late) => {
      late.release(true);
    });
    yield* scanPages(scan, options, environment, () => {
      store.requireOpen();
    });
  }

  async stats(options?: CallOptions): Promise<StorageStats> {
    checkCall(options);
    this.begin(options);
    const { store } = this;
    const { state, counters, checkpointer, dimension, logBytes, uuid, vectorIndex } = store;
    const { base } = state.levels;
    return {
      concepts: state.conceptCount,
      edges: state.edgeCount,
      written: counters?.written ?? 0,
      dropped: counters?.dropped ?? 0,
      pending: counters?.pendingCount ?? 0,
      reconciliations: counters?.reconciliations ?? 0,
      uptimeSeconds: this.uptimeSeconds(),
      sequence: state.sequence,
      snapshotSequence: base?.sequence ?? 0,
      vectors: state.vectorCount,
      dimension,
      indexed: vectorIndex.indexed,
      indexQueued: vectorIndex.queued,
      vectorPrecision: vectorIndex.precision,
      indexBytes: vectorIndex.residentBytes,
      indexFileBytes: vectorIndex.fileBytes,
      walBytes: logBytes,
      snapshotBytes: base?.fileBytes ?? 0,
      checkpoints: checkpointer?.checkpoints ?? 0,
      groupCommits: counters?.groups ?? 0,
      committedBytes: counters?.groupBytes ?? 0,
      pendingBytes: counters?.pendingBytes ?? 0,
      pendingLimitBytes: counters === null ? 0 : MAX_QUEUED_BYTES,
      memtableWrites: checkpointer?.writesSinceSeal ?? store.replayed,
      memtableThreshold: Math.round(checkpointer?.writeLimit ?? 0),
      walThresholdBytes: Math.round(checkpointer?.byteLimit ?? 0),
      walDiskBytes: store.logDiskBytes(),
      epoch: store.epoch,
      uuid: Buffer.from(uuid).toString('hex'),
      durability: counters?.durability ?? 'none',
      readOnly: counters === null,
      diskFull: counters?.full ?? false,
      syncLatency: store.syncLatency ?? NO_LATENCIES,
      latencyBoundsUs: LATENCY_BOUNDS_US,
      checkpoint: {
        running: checkpointer?.isRunning ?? false,
        writtenBytes: checkpointer?.writtenBytes ?? 0,
        expectedBytes: checkpointer?.expectedBytes ?? 0,
        runningUs: Math.round((checkpointer?.runningMs ?? 0) * 1000),
        lastDurationUs: Math.round((checkpointer?.lastDurationMs ?? 0) * 1000),
        lastEndUs: checkpointer?.lastEndUs ?? 0,
        failures: checkpointer?.failures ?? 0,
        lastError: checkpointer?.problem?.message ?? '',
      },
    };
  }

  async flush(options?: CallOptions): Promise<void> {
    checkCall(options);
    this.begin(options);
    await until(this.store.flush(), options);
  }

  async *backup(options: CallOptions = {}): AsyncGenerator<BackupChunk, void, undefined> {
    checkCall(options);
    this.begin(options);
    const { store, environment } = this;
    const whole = await until(store.openWhole(), options, (late) => late?.file.close());
    if (whole !== null) {
      yield* backupChunks(whole, options, environment);
      return;
    }
    // What a reader sees may be in no file. One in the system's directory for temporary files loses its name at once, so
    // that nothing stays whatever ends this process.
    const { disk } = environment;
    const name = Buffer.from(environment.randomBytes(8)).toString('hex');
    const scratch = join(tmpdir(), `sutra-backup-${name}.dat`);
    await this.writeBackup(scratch, () => {
      throwIfAborted(options.signal);
    });
    const file = openSnapshotFile(disk, scratch);
    disk.unlink(scratch);
    yield* backupChunks(file, options, environment);
  }

  /** A reader's whole state as a new file at `path`: a backup without a copy in between. */
  async writeBackup(path: string, onProgress: (progress: StepProgress) => void): Promise<void> {
    const { store, environment } = this;
    await runStepsInSlices(store.writeTo(path), environment, (progress) => {
      store.requireOpen();
      onProgress(progress);
    });
  }

  /** What the state holds; a reader's stays what it is. */
  stateSum(): StateSum {
    const { state } = this.store;
    return {
      digest: state.digest.toString(),
      sequence: state.sequence,
      concepts: state.conceptCount,
      edges: state.edgeCount,
      vectors: state.vectorCount,
    };
  }

  get isReadOnly(): boolean {
    return this.store.counters === null;
  }

  /** Ids of up to `count` concepts, spread over the store. */
  sampleIds(count: number): string[] {
    const { store } = this;
    store.requireOpen();
    const { state } = store;
    const every = Math.max(1, Math.floor(state.slotCount / count));
    const ids: string[] = [];
    for (let slot = 0; slot < state.slotCount && ids.length < count; slot += every) {
      if (state.isLive(slot)) ids.push(store.idOf(slot));
    }
    return ids;
  }

  async healthCheck(options?: CallOptions): Promise<HealthAnswer> {
    checkCall(options);
    this.begin(options);
    const { problem } = this.store;
    return {
      healthy: problem === null,
      status: problem === null ? 'ok' : problem.message,
      uptimeSeconds: this.uptimeSeconds(),
    };
  }

  /** Says where this store is served; null: nowhere any more. A writing command that finds it locked names the address. */
  announce(address: string | null): void {
    this.store.announce(address);
  }

  /** Refuses writes as OVERLOADED, for this reason, until it is null again; counted as dropped. Reads go on. */
  shedWrites(reason: string | null): void {
    this.store.shedWrites(reason);
  }

  /** Goes on verifying storage.dat in the background; for servers. */
  verifyInBackground(): void {
    this.store.verifyInBackground();
  }

  /** Whether all of storage.dat was read and checked: from then on contents are read in place. */
  get isVerified(): boolean {
    return this.store.isVerified;
  }

  /** `cancelCheckpoint`: do not wait for one that is running; the log has everything it would have written. */
  async close(options: { readonly cancelCheckpoint?: boolean } = {}): Promise<void> {
    try {
      await this.store.close(options.cancelCheckpoint ?? false);
    } catch (error) {
      throw toSutraError(error);
    }
  }

  /** What every call asks first, once its arguments are fine: is the store open, and does the caller still want it? */
  private begin(options: CallOptions | undefined): void {
    this.store.requireOpen();
    throwIfAborted(options?.signal);
  }

  private uptimeSeconds(): number {
    return Math.floor((this.environment.nowMs() - this.startMs) / 1000);
  }

  /**
   * Runs a traversal and reads its answer in one turn. A slot that it held across a pause may be another concept's by then:
   * when one was handed out again meanwhile, or `finish` says undefined because one went, it runs again, the last time
   * without a pause.
   */
  private async traverse<T, R>(
    options: CallOptions,
    run: (budget: TraversalBudget) => T | Promise<T>,
    finish: (found: T) => R | undefined,
  ): Promise<R> {
    const { store } = this;
    for (let attempt = 0; attempt < MAX_RESTARTS; attempt++) {
      const { reusedSlots } = store.state;
      const running = run(this.budget(options, DEFAULT_SLICE_MS));
      const found = running instanceof Promise ? await running : running;
      store.requireOpen();
      const answer = store.state.reusedSlots === reusedSlots ? finish(found) : undefined;
      if (answer !== undefined) return answer;
    }
    const found = run(this.budget(options, Infinity));
    const answer = found instanceof Promise ? undefined : finish(found);
    if (answer === undefined)
      throw new SutraError('INTERNAL', 'a traversal did not come to an end');
    return answer;
  }

  private budget(options: CallOptions, sliceMs: number): TraversalBudget {
    const { environment } = this;
    const budget = {
      checkEvery: DEFAULT_CHECK_EVERY,
      sliceMs,
      now: () => environment.nowMs(),
      pause: () => environment.pause(),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    };
    return options.timeoutMs === undefined
      ? budget
      : { ...budget, deadlineMs: environment.nowMs() + options.timeoutMs };
  }
}

/**
 * Waits for work no longer than the caller wants to; the work itself goes on, for others or to its end: `late` takes what it
 * then comes to.
 */
async function until<T>(
  work: Promise<T>,
  options: CallOptions = {},
  late: (result: T) => void = () => undefined,
): Promise<T> {
  const signals: AbortSignal[] = [];
  if (options.signal !== undefined) signals.push(options.signal);
  if (options.timeoutMs !== undefined) signals.push(AbortSignal.timeout(options.timeoutMs));
  if (signals.length === 0) return work;
  const signal = AbortSignal.any(signals);
  let abort = (): void => undefined;
  const given = new Promise<never>((_, reject) => {
    abort = () => {
      reject(abortError(signal));
    };
    signal.addEventListener('abort', abort);
  });
  try {
    return await Promise.race([work, given]);
  } catch (error) {
    // Work that fails later has nobody left to tell; when it is what failed, this is the same error again.
    work.then(late, () => undefined);
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

const SCANNED: Readonly<Record<ScanKinds, number>> = {
  concepts: SCAN_CONCEPTS,
  associations: SCAN_ASSOCIATIONS,
  all: SCAN_CONCEPTS | SCAN_ASSOCIATIONS,
};

/** What was asked of the vector index. @throws INVALID_ARGUMENT: native code takes these numbers as they are */
function indexOptions(options: EmbeddedOptions): Partial<IndexOptions> {
  const {
    vectorPrecision: precision,
    vectorConnectivity: connectivity,
    vectorEfConstruction: efConstruction,
  } = options;
  if (precision !== undefined) parseVectorPrecision(precision, 'vectorPrecision');
  if (connectivity !== undefined) {
    parseVectorConnectivity(String(connectivity), 'vectorConnectivity');
  }
  if (efConstruction !== undefined) {
    parseVectorEfConstruction(String(efConstruction), 'vectorEfConstruction');
  }
  return {
    ...(precision === undefined ? {} : { precision }),
    ...(connectivity === undefined ? {} : { connectivity }),
    ...(efConstruction === undefined ? {} : { efConstruction }),
  };
}

const NOTHING_FORGOTTEN: ForgetReceipt = { found: false, sequence: 0, associations: 0 };
const NO_PATH: PathAnswer = { found: false, path: [], steps: [], confidence: 0 };
const UNKNOWN_CONCEPT = {
  found: false,
  content: '',
  strength: 0,
  confidence: 0,
  createdUs: 0,
  updatedUs: 0,
  dimension: 0,
};

function directionBits(direction: Direction | undefined): number {
  return direction === 'out' ? OUT : direction === 'in' ? IN : BOTH;
}

function typeMask(types: readonly number[] | undefined): TypeMask {
  if (types === undefined || types.length === 0) return null;
  const mask = new Uint8Array(65_536);
  for (const type of types) mask[type] = 1;
  return mask;
}
