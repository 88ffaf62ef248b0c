/**
 * A store directory, opened: the one writer of it, or one of any number of readers. Puts recovery, state, group commit and
 * checkpoints together, and answers reads. It trusts its arguments; the doorway above has checked them.
 *
 * A reader takes no lock and creates nothing. It sees the state as of its opening: storage.dat, and the log behind it up to
 * what the writer had made durable.
 */

import { dirname, join } from 'node:path';

import { SutraError, invalidField, toSutraError } from '../errors.js';
import type { LatencyHistogram } from '../latency.js';
import { writeState } from './backup.js';
import { CheckpointSource } from './checkpoint-source.js';
import { Checkpointer } from './checkpointer.js';
import { recordedUs, type Environment } from './environment.js';
import { ParsedId, parseId } from './format/id.js';
import type { TraversalBudget } from './graph/budget.js';
import { findShortestPath } from './graph/hop-path.js';
import { collectNeighborhood } from './graph/neighborhood.js';
import { collectNeighbors, type NeighborList, type NeighborQuery } from './graph/neighbors.js';
import type { FoundPath, PathQuery } from './graph/path-steps.js';
import { findStrongestPath } from './graph/strongest-path.js';
import { GroupCommit } from './group-commit.js';
import { IdList } from './id-list.js';
import { removeLeftovers } from './leftovers.js';
import { LockFile } from './lock-file.js';
import { Levels } from './levels.js';
import { segmentName, segmentOrdinals, type SegmentFiles } from './log/segment-files.js';
import { errorCode, WriteLog } from './log/write-log.js';
import { inPlace, isOldStore, migrate, type Migration } from './migration/migrate.js';
import {
  PREVIOUS_NAME,
  prepareTail,
  recover,
  SNAPSHOT_NAME,
  translate,
  type Recovered,
} from './recovery.js';
import { ScanPins } from './scan-pins.js';
import { SCAN_CONCEPTS, decodeScanToken, sameState, type ScanIdentity } from './scan-token.js';
import { openSnapshotFile, type SnapshotFile } from './snapshot/snapshot-file.js';
import type { ConceptRecord } from './snapshot/snapshot-source.js';
import type { Snapshot } from './snapshot/snapshot.js';
import { StateScan, type ScannedState } from './state-scan.js';
import type { State } from './state.js';
import { ExactScan, type VectorRanking } from './vector/exact-scan.js';
import type { VectorIndexStats, VectorQuery } from './vector/vector-query.js';
import type { IndexOptions } from './vector/index-messages.js';
import { VectorIndex } from './vector/vector-index.js';
import { VectorSearch } from './vector/vector-search.js';
import { runSteps, type OnProgress, type Steps } from './steps.js';

export interface StoreOptions {
  readonly readOnly: boolean;
  readonly durability: 'always' | 'interval';
  readonly reconcileMs: number;
  /** Writes since the last checkpoint before the next one. */
  readonly threshold: number;
  /** Dimension that was asked for; 0: the store's own, or the first vector's. */
  readonly vectorDim: number;
  /** What the vector index must be like; what is left out is as in the index that is there, or a default. */
  readonly vectorIndex?: Partial<IndexOptions>;
  /** Told how far it is while a storage.dat of version 2 is brought over (or, for reading, read), which takes one turn. */
  readonly onMigration?: OnProgress | undefined;
}

/** A reader that keeps losing races with checkpoints gives up after so many. */
const READER_ATTEMPTS = 20;
/** 1 MiB of storage.dat is verified at a time, this often. */
const VERIFY_BLOCKS = 16;
const VERIFY_EVERY_MS = 20;

interface Writing {
  readonly lock: LockFile;
  readonly log: WriteLog;
  readonly commits: GroupCommit;
  readonly checkpointer: Checkpointer;
}

export class Store {
  /** Resolves when the disk has failed for good; nothing more is acknowledged then. */
  readonly failed: Promise<SutraError>;
  /** Damage that background verification or a read came upon. */
  damage: SutraError | null = null;
  /** The storage.dat of version 2 that opening brought over; null when there was none. */
  migration: Migration | null = null;
  private reportFailure: (error: SutraError) => void = () => undefined;
  private readonly id = new ParsedId();
  private readonly index: VectorIndex;
  private readonly search: VectorSearch;
  private readonly pins: ScanPins;
  private closed: Promise<void> | null = null;
  private cancelVerify: () => void = () => undefined;

  private constructor(
    readonly directory: string,
    private readonly environment: Environment,
    /** 16 bytes that no other store has; zeros for a reader of one without a single write. */
    readonly uuid: Uint8Array,
    readonly state: State,
    private readonly files: SegmentFiles,
    /** Commands that were replayed from the log. */
    readonly replayed: number,
    private readonly replayedBytes: number,
    readonly epoch: number,
    indexOptions: Partial<IndexOptions>,
    writing: ((onFailure: (error: SutraError) => void) => Writing) | null,
  ) {
    this.failed = new Promise((resolve) => {
      this.reportFailure = resolve;
    });
    this.pins = new ScanPins(environment);
    this.ids = new IdList(state.levels);
    this.writing = writing?.(this.reportFailure) ?? null;
    const readOnly = writing === null;
    this.index = new VectorIndex(
      environment,
      directory,
      state,
      uuid,
      indexOptions,
      readOnly,
      (error) => {
        this.damage ??= error;
        environment.logger.error(error.message);
      },
    );
    this.search = new VectorSearch(state, new ExactScan(), this.index, readOnly, () => {
      this.requireOpen();
    });
  }

  private readonly writing: Writing | null;
  private readonly ids: IdList;

  /**
   * @throws NO_SUCH_DIRECTORY, NOT_A_STORE, NOT_PERMITTED, STORE_LOCKED, DAMAGED, UNSUPPORTED_FORMAT, DIMENSION_MISMATCH
   */
  static open(directory: string, environment: Environment, options: StoreOptions): Store {
    try {
      return options.readOnly
        ? openReader(directory, environment, options)
        : openWriter(directory, environment, options);
    } catch (error) {
      if (errorCode(error) === 'ENOENT') {
        const why = error instanceof Error ? error.message : '';
        throw new SutraError('NO_SUCH_DIRECTORY', `${directory}: ${why}`, { cause: error });
      }
      throw translate(error, directory);
    }

    function openReader(path: string, env: Environment, o: StoreOptions): Store {
      const recovered = recoverBesideWriter(path, env, o.onMigration);
      try {
        checkDimension(recovered.state, o.vectorDim);
      } catch (error) {
        recovered.files.closeAll();
        recovered.state.levels.base?.release();
        throw error;
      }
      return new Store(
        path,
        env,
        recovered.uuid ?? new Uint8Array(16),
        recovered.state,
        recovered.files,
        recovered.replayed,
        recovered.logBytes,
        recovered.epoch,
        {},
        null,
      );
    }

    function openWriter(path: string, env: Environment, o: StoreOptions): Store {
      const { disk, logger } = env;
      makeStoreDirectory(path, env);
      const lock = LockFile.acquire(disk, path);
      try {
        removeLeftovers(path, env);
        const migration = bringOver(path, env, o.onMigration);
        const recovered = recover(disk, path, { durable: lock.previous, logger });
        let opened: WriteLog | null = null;
        try {
          const { state, files } = recovered;
          checkDimension(state, o.vectorDim);
          const uuid = recovered.uuid ?? env.randomBytes(16);
          const epoch = recovered.epoch + 1;
          const position = prepareTail(disk, path, recovered, uuid, epoch, recordedUs(env), logger);
          const log = new WriteLog(
            disk,
            path,
            files,
            uuid,
            epoch,
            position,
            () => recordedUs(env),
            () => env.nowMs(),
          );
          opened = log;
          const store = new Store(
            path,
            env,
            uuid,
            state,
            files,
            recovered.replayed,
            recovered.logBytes,
            epoch,
            o.vectorIndex ?? {},
            (onFailure) => {
              const commits = new GroupCommit(
                env,
                state,
                log,
                lock,
                o.durability,
                o.reconcileMs,
                o.vectorDim,
              );
              const replayed = { writes: recovered.replayed, bytes: recovered.logBytes };
              const checkpointer = new Checkpointer(
                env,
                path,
                state,
                log,
                files,
                commits,
                o.threshold,
                replayed,
              );
              commits.onFailure = onFailure;
              commits.onApplied = (commands, bytes) => {
                checkpointer.note(commands, bytes);
              };
              checkpointer.note(0, 0);
              return { lock, log, commits, checkpointer };
            },
          );
          store.migration = migration;
          return store;
        } catch (error) {
          opened?.abandon();
          recovered.files.closeAll();
          recovered.state.levels.base?.release();
          throw error;
        }
      } catch (error) {
        lock.release();
        throw error;
      }
    }
  }

  /** The write side. @throws READ_ONLY, CLOSED */
  get commits(): GroupCommit {
    this.requireOpen();
    return this.requireWriting().commits;
  }

  get checkpointer(): Checkpointer | null {
    return this.writing?.checkpointer ?? null;
  }

  /** The write side, for counters; null for a reader. */
  get counters(): GroupCommit | null {
    return this.writing?.commits ?? null;
  }

  /** How long syncs of the log took; null for a reader. */
  get syncLatency(): LatencyHistogram | null {
    return this.writing?.log.syncLatency.histogram() ?? null;
  }

  /** Bytes of all log segments on the disk. */
  logDiskBytes(): number {
    const { disk } = this.environment;
    let bytes = 0;
    for (const ordinal of segmentOrdinals(disk.list(this.directory))) {
      // A checkpoint may remove one at any moment.
      bytes += disk.stat(join(this.directory, segmentName(ordinal)))?.size ?? 0;
    }
    return bytes;
  }

  get dimension(): number {
    return this.state.levels.dimension;
  }

  /** Bytes of the log behind storage.dat. */
  get logBytes(): number {
    return this.writing?.checkpointer.logBytes ?? this.replayedBytes;
  }

  /** What is wrong, in order of weight; null when nothing is. */
  get problem(): SutraError | null {
    const { writing } = this;
    if (writing === null) return this.damage;
    if (writing.log.broken !== null) return writing.log.broken;
    if (this.damage !== null) return this.damage;
    if (writing.commits.full) return new SutraError('DISK_FULL', 'read-only: the disk is full');
    return writing.checkpointer.problem;
  }

  /** Publishes where this store is served, for the message to those who are refused the lock. */
  announce(address: string | null): void {
    this.requireWriting().lock.announce(address);
  }

  /** Refuses writes as OVERLOADED with this reason until it is null again; what has been taken already is committed. */
  shedWrites(reason: string | null): void {
    this.requireWriting().commits.shedding = reason;
  }

  /** Resolves when many writes may be queued: there is room for them in the queue and in memory. For streams. */
  async room(): Promise<void> {
    const { commits, checkpointer } = this.requireWriting();
    await checkpointer.room();
    await commits.room();
  }

  async flush(): Promise<void> {
    this.requireOpen();
    const { commits, checkpointer } = this.requireWriting();
    await commits.settled();
    await checkpointer.flush();
  }

  /** Commits what is queued, marks the log closed and gives the lock back. `cancel`: stop a running checkpoint. */
  close(cancel = false): Promise<void> {
    this.closed ??= this.shut(cancel);
    return this.closed;
  }

  private async shut(cancel: boolean): Promise<void> {
    this.cancelVerify();
    const { writing } = this;
    try {
      if (writing !== null) {
        try {
          await writing.checkpointer.close(cancel);
        } finally {
          try {
            await writing.commits.close();
          } finally {
            await writing.log.close();
          }
        }
        const { log, lock } = writing;
        // Says that the closed marker was synced, so that the next writer may append behind it.
        if (log.broken === null) {
          lock.publishDurable(this.state.sequence, log.ordinal, log.offset, log.syncedThrough);
        }
      }
    } catch (error) {
      throw translate(error, this.directory);
    } finally {
      // Reads nothing of the store from here on, but may be writing its file.
      const indexClosed = this.index.close();
      try {
        this.files.closeAll();
        this.pins.close();
        this.state.levels.base?.release();
        await indexClosed;
      } finally {
        // Last: from here on another process may write.
        writing?.lock.release();
      }
    }
  }

  /** Verifies what storage.dat holds in small slices, so that damage is found before somebody needs the block. */
  verifyInBackground(): void {
    this.cancelVerify = this.environment.schedule(VERIFY_EVERY_MS, () => {
      if (this.closed !== null) return;
      const { base } = this.state.levels;
      try {
        if (base !== null && !base.isVerified) base.verifyRest(VERIFY_BLOCKS);
      } catch (error) {
        // Bad bytes, or a disk that refuses to read them; nobody above this turn would take it.
        const damage = toSutraError(translate(error, this.directory));
        this.damage = damage;
        this.environment.logger.error(damage.message);
        return;
      }
      this.verifyInBackground();
    });
  }

  get isVerified(): boolean {
    return this.state.levels.base?.isVerified ?? true;
  }

  // --- backups ---

  /** A reader's whole state as a new storage.dat at `path`, synced. */
  writeTo(path: string): Steps<void> {
    this.requireOpen();
    const { environment, state, uuid } = this;
    const source = new CheckpointSource(state, uuid, state.levels.base?.epoch ?? 0);
    return writeState(environment.disk, path, source, recordedUs(environment));
  }

  /**
   * A storage.dat that holds the whole state, open to be read from end to end: a writer's own, after a flush, which stays what it
   * is while checkpoints replace it; null for a reader, whose state may be in no file. The caller closes it.
   */
  async openWhole(): Promise<SnapshotFile | null> {
    if (this.writing === null) return null;
    await this.flush();
    this.requireOpen();
    return openSnapshotFile(this.environment.disk, join(this.directory, SNAPSHOT_NAME));
  }

  // --- reads ---

  /** The slot of an id's live concept, or -1. A name is found when the concept at its key carries it. */
  findSlot(id: string): number {
    this.parse(id);
    return this.findParsed();
  }

  /** The same before the concept is read. */
  findConcept(id: string): number {
    const { k0, k1, k2, k3 } = this.parse(id);
    this.state.levels.base?.touchConcept(k0, k1, k2, k3);
    return this.findParsed();
  }

  /** The same before its associations are. */
  findSource(id: string): number {
    const { k0, k1, k2, k3 } = this.parse(id);
    this.state.levels.base?.touchAdjacency(k0, k1, k2, k3);
    return this.findParsed();
  }

  private parse(id: string): ParsedId {
    this.requireOpen();
    parseId(id, this.id);
    return this.id;
  }

  private findParsed(): number {
    const parsed = this.id;
    const { levels } = this.state;
    const slot = levels.findSlot(parsed.k0, parsed.k1, parsed.k2, parsed.k3);
    if (slot < 0 || parsed.nameLength === 0) return slot;
    const name = levels.name(slot);
    if (name?.length !== parsed.nameLength) return -1;
    for (let i = 0; i < name.length; i++) if (name[i] !== parsed.nameBytes[i]) return -1;
    return slot;
  }

  /** A live slot's id as it was learned. */
  idOf(slot: number): string {
    return this.state.levels.id(slot);
  }

  /** The ids of live slots; null when one of them is not live. */
  idsOf(slots: ArrayLike<number>): string[] | null {
    return this.ids.of(slots);
  }

  readConcept(slot: number, out: ConceptRecord): boolean {
    this.requireOpen();
    return this.state.levels.readConcept(slot, out);
  }

  /** @throws DAMAGED */
  readContent(slot: number): string {
    this.requireOpen();
    return this.state.levels.readText(slot);
  }

  /** @throws DAMAGED */
  readVector(slot: number): Float32Array {
    this.requireOpen();
    const vector = new Float32Array(this.dimension);
    this.state.levels.readVector(slot, vector);
    return vector;
  }

  neighbors(
    slot: number,
    query: NeighborQuery,
    budget: TraversalBudget,
  ): NeighborList | Promise<NeighborList> {
    this.requireOpen();
    return collectNeighbors(this.state, slot, query, budget);
  }

  shortestPath(
    start: number,
    end: number,
    query: PathQuery,
    budget: TraversalBudget,
  ): FoundPath | null | Promise<FoundPath | null> {
    this.requireOpen();
    return findShortestPath(this.state, start, end, query, budget);
  }

  strongestPath(
    start: number,
    end: number,
    query: PathQuery,
    budget: TraversalBudget,
  ): FoundPath | null | Promise<FoundPath | null> {
    this.requireOpen();
    return findStrongestPath(this.state, start, end, query, budget);
  }

  /** The slots at most maxHops associations away, ascending, the start among them; they hold for this turn. */
  neighborhood(
    slot: number,
    maxHops: number,
    budget: TraversalBudget,
  ): Uint32Array | Promise<Uint32Array> {
    this.requireOpen();
    return collectNeighborhood(this.state, slot, maxHops, budget);
  }

  /**
   * The k vectors most similar to `query`, which has the store's dimension. `finish` is called with them once, in the turn
   * in which they were looked at, so that slots still mean what they meant; what it returns is the answer. With a
   * `sliceMs` of Infinity all happens in this turn, by an exact scan.
   */
  searchVectors<Answer>(
    query: Float32Array,
    options: VectorQuery,
    budget: TraversalBudget,
    finish: (ranking: VectorRanking) => Answer,
  ): Answer | Promise<Answer> {
    this.requireOpen();
    return this.search.run(query, options, budget, finish);
  }

  /** What the approximate index is made of. */
  get vectorIndex(): VectorIndexStats {
    return this.index.stats;
  }

  /**
   * The whole state as of one sequence, to be read while writes go on: a reader's own; a writer's as of now, in a storage.dat
   * that is written first unless there is one, and held by the scan until it is released. `kinds` is SCAN_CONCEPTS and
   * SCAN_ASSOCIATIONS; `resume` the token of an earlier scan, which says its kinds itself.
   * @throws SCAN_EXPIRED, INVALID_ARGUMENT, and what a flush throws
   */
  async openScan(kinds: number, resume: string | null): Promise<StateScan> {
    this.requireOpen();
    const token = resume === null ? null : decodeScanToken(resume);
    if (resume !== null && token === null) {
      throw invalidField('resume', 'got what is not the token of a scan');
    }
    const phase = (kinds & SCAN_CONCEPTS) === 0 ? kinds : SCAN_CONCEPTS;
    const from = token ?? { kinds, phase, slot: 0, edge: 0 };
    const { state, uuid, pins } = this;
    if (this.writing === null) {
      const scanned = {
        uuid,
        sequence: state.sequence,
        digest: state.digest.toString(),
        slotCount: state.slotCount,
        conceptCount: state.conceptCount,
        edgeCount: state.edgeCount,
      };
      if (token !== null && !sameState(token.of, scanned)) throw this.expired(token.of);
      return new StateScan(state.levels, scanned, from, () => undefined);
    }
    let snapshot: Snapshot | null;
    if (token === null) {
      await this.flush();
      this.requireOpen();
      snapshot = state.levels.base;
      if (snapshot === null) throw new SutraError('INTERNAL', 'a flush left no snapshot');
    } else {
      const matches = (held: Snapshot): boolean => sameState(token.of, scannedOf(held));
      const { base } = state.levels;
      snapshot = base !== null && matches(base) ? base : pins.find(matches);
      if (snapshot === null) throw this.expired(token.of);
    }
    const held = snapshot;
    pins.take(held);
    return new StateScan(new Levels(held, this.files.get), scannedOf(held), from, (finished) => {
      pins.leave(held, finished);
    });
  }

  private expired(of: ScanIdentity): SutraError {
    const which =
      Buffer.compare(of.uuid, this.uuid) === 0
        ? `the state of sequence ${of.sequence} is no longer held`
        : 'it is of another store';
    return new SutraError('SCAN_EXPIRED', `the scan cannot go on where it stopped: ${which}`);
  }

  /** @throws CLOSED */
  requireOpen(): void {
    if (this.closed !== null) throw new SutraError('CLOSED', `${this.directory} has been closed`);
  }

  private requireWriting(): Writing {
    if (this.writing === null) {
      throw new SutraError('READ_ONLY', `${this.directory} was opened for reading only`);
    }
    return this.writing;
  }
}

function scannedOf(snapshot: Snapshot): ScannedState {
  const { uuid, sequence, slotCount, conceptCount, edgeCount } = snapshot;
  const digest = snapshot.digest.toString();
  return { uuid, sequence, digest, slotCount, conceptCount, edgeCount };
}

function isStoreFile(name: string): boolean {
  return (
    name === SNAPSHOT_NAME ||
    name === PREVIOUS_NAME ||
    name === 'lock' ||
    segmentOrdinals([name]).length > 0
  );
}

/**
 * Makes the directory, and its name durable, before anything is acknowledged in it. A writer may begin a store in an empty
 * directory, never among somebody else's files. An empty one may be what a predecessor made just before it was
 * killed, so its name is made durable too.
 */
export function makeStoreDirectory(path: string, { disk }: Environment): void {
  const missing: string[] = [];
  for (let at = path; disk.stat(at) === null && dirname(at) !== at; at = dirname(at))
    missing.push(at);
  if (missing.length > 0) {
    disk.makeDirectory(path);
    for (const made of missing) disk.syncDirectory(dirname(made));
    return;
  }
  if (disk.stat(path)?.isDirectory !== true) {
    throw new SutraError('NOT_A_STORE', `${path} is not a directory`);
  }
  const names = disk.list(path);
  if (names.length === 0 || (names.length === 1 && names[0] === 'lock')) {
    try {
      disk.syncDirectory(dirname(path));
    } catch (error) {
      // Whoever may not read the parent did not make the directory.
      if (errorCode(error) !== 'EACCES' && errorCode(error) !== 'EPERM') throw error;
    }
  } else if (!names.some(isStoreFile)) {
    throw new SutraError(
      'NOT_A_STORE',
      `${path} holds ${names.length} files (${names.slice(0, 3).join(', ')}...) but no sutra store`,
    );
  }
}

/** A storage.dat of version 2 becomes one of today's, once. */
function bringOver(
  path: string,
  environment: Environment,
  onProgress: OnProgress | undefined,
): Migration | null {
  const { disk, logger } = environment;
  if (!isOldStore(disk, path)) return null;
  const steps = migrate(disk, path, environment.randomBytes(16), recordedUs(environment));
  const migration = runSteps(steps, onProgress);
  if (migration !== null) {
    const { concepts, edges, keptAs } = migration;
    logger.info(
      `${path}: migrated from version 2: ${concepts} concepts, ${edges} associations; ` +
        `the old file is kept as ${keptAs}`,
      { event: 'migration', concepts, associations: edges, kept_as: keptAs },
    );
  }
  return migration;
}

function checkDimension(state: State, asked: number): void {
  const { dimension } = state.levels;
  if (asked !== 0 && dimension !== 0 && asked !== dimension) {
    throw new SutraError(
      'DIMENSION_MISMATCH',
      `vector_dim: got ${asked}, but the store’s vectors have ${dimension} dimensions`,
      { hint: `Leave --vector-dim and SUTRA_VECTOR_DIM out, or set them to ${dimension}.` },
    );
  }
}

/**
 * Recovery beside a live writer. The sizes of the segments are taken first, then the lock file is read: what it allows is
 * explained there. Writers may come and go and checkpoints replace files meanwhile, which shows as something missing or not
 * fitting; then it starts over, and only when all files stayed what they were is it what it seems.
 */
function recoverBesideWriter(
  path: string,
  environment: Environment,
  onProgress: OnProgress | undefined,
): Recovered {
  const { disk, logger } = environment;
  const stat = disk.stat(path);
  if (stat === null) {
    throw new SutraError('NO_SUCH_DIRECTORY', `${path}: no such directory`);
  }
  if (!stat.isDirectory) throw new SutraError('NOT_A_STORE', `${path} is not a directory`);
  for (let attempt = 1; ; attempt++) {
    const before = look(disk, path);
    if (!before.names.some(isStoreFile)) {
      throw new SutraError('NOT_A_STORE', `${path} holds no sutra store`);
    }
    const limits = new Map(before.segmentBytes);
    const lock = LockFile.read(disk, path);
    const durable = lock?.durable ?? null;
    if (lock !== null && lock.held && durable !== null) {
      // The writer may have gone on since: all before the segment that the record names is whole, whatever its size was.
      limits.clear();
      for (const ordinal of segmentOrdinals(disk.list(path))) {
        if (ordinal < durable.segmentOrdinal) limits.set(ordinal, Number.MAX_SAFE_INTEGER);
      }
      limits.set(durable.segmentOrdinal, durable.segmentBytes);
    }
    try {
      return recover(inPlace(disk, path, onProgress), path, { durable, limits, logger });
    } catch (error) {
      const gone = errorCode(error) === 'ENOENT';
      const damaged = error instanceof SutraError && error.code === 'DAMAGED';
      const moved = damaged && look(disk, path).text !== before.text;
      if (gone && attempt >= READER_ATTEMPTS) {
        throw new SutraError(
          'UNAVAILABLE',
          `${path} changes faster than it can be read; try again`,
        );
      }
      if (attempt >= READER_ATTEMPTS || !(gone || moved)) throw error;
    }
  }
}

interface Look {
  readonly names: readonly string[];
  /** By ordinal; one that vanished meanwhile is left out. */
  readonly segmentBytes: ReadonlyMap<number, number>;
  /** The same as long as nothing was written, removed or replaced. */
  readonly text: string;
}

function look(disk: Environment['disk'], path: string): Look {
  const names = disk.list(path);
  const segmentBytes = new Map<number, number>();
  const inode = disk.stat(join(path, SNAPSHOT_NAME))?.inode;
  for (const ordinal of segmentOrdinals(names)) {
    const size = disk.stat(join(path, segmentName(ordinal)))?.size;
    if (size !== undefined) segmentBytes.set(ordinal, size);
  }
  const sizes = [...segmentBytes].map((entry) => entry.join(':'));
  return { names, segmentBytes, text: `${inode ?? 'none'} ${sizes.join(' ')}` };
}
