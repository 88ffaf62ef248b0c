/**
 * When checkpoints run, and what the serving thread does about them: it seals a segment and freezes the memtable between two
 * groups, lets a worker write the new storage.dat, and swaps to it when it is there. The cost of checkpoints stays in
 * proportion to what was written: one waits for max(threshold, a fraction of the snapshot) writes, with an absolute cap so
 * that replay at open stays short; the same with bytes.
 */

import { join } from 'node:path';

import { SutraError, toSutraError } from '../errors.js';
import { recordedUs, type Environment, type RunningCheckpoint } from './environment.js';
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES } from './format/frame.js';
import type { GroupCommit } from './group-commit.js';
import { segmentOrdinals, type SegmentFiles } from './log/segment-files.js';
import { readFully } from './log/segment-reader.js';
import type { WriteLog } from './log/write-log.js';
import { SNAPSHOT_NAME, TEMP_NAME } from './recovery.js';
import { Snapshot } from './snapshot/snapshot.js';
import type { State } from './state.js';

/**
 * A checkpoint rewrites the snapshot, so it waits until half of it changed: what is written once is then rewritten twice on
 * average while a store grows, against four times at a quarter.
 */
const FRACTION = 0.5;
/** At one microsecond a write, replay stays within a second. */
const MAX_WRITES = 1_000_000;
/** An import of 12M took 793 MiB, more with every million, and 90 s without a bound; with this one 596 MiB, flat, and 228 s. */
const HOLD_WRITES = 2_000_000;
const MIN_BYTES = 64 * 1024 * 1024;
const MAX_BYTES = 1024 * 1024 * 1024;
/** After 4 MiB and a sync the worker rests, so that group commits get the disk (lab: p99 0.16 ms). */
const BACKGROUND_PAUSE_MS = 20;
/** Somebody waits for a flush. */
const FLUSH_PAUSE_MS = 2;
const RETRY_MS = 5000;

interface Sealed {
  readonly throughOrdinal: number;
  readonly sequence: number;
  readonly digest: string;
}

export class Checkpointer {
  checkpoints = 0;
  failures = 0;
  /** Of the last one that completed; 0 when none has. */
  lastDurationMs = 0;
  lastEndUs = 0;
  /** Of the running one: bytes written of storage.dat, and how many it will have as far as the worker knows. */
  writtenBytes = 0;
  expectedBytes = 0;
  snapshotSequence: number;
  snapshotBytes: number;
  /** storage.dat exists. A new store has none until its first checkpoint. */
  hasSnapshot: boolean;
  /** Above a seal whose checkpoint is not done, streams wait at so many writes. Tests have fewer. */
  holdWrites = HOLD_WRITES;
  /** What went wrong with the last checkpoint; null when nothing did. */
  problem: SutraError | null = null;

  private writes: number;
  private bytes: number;
  private sealed: Sealed | null = null;
  private running: Promise<void> | null = null;
  private startMs = 0;
  private job: RunningCheckpoint | null = null;
  private flushing = 0;
  /** Digests differed: no further checkpoint until somebody has looked (design.md, decision 4). */
  private blocked = false;
  private closing = false;
  private cancelled = false;
  private cancelRetry: () => void = () => undefined;

  constructor(
    private readonly environment: Environment,
    private readonly directory: string,
    private readonly state: State,
    private readonly log: WriteLog,
    private readonly files: SegmentFiles,
    private readonly commits: GroupCommit,
    private readonly threshold: number,
    replayed: { readonly writes: number; readonly bytes: number },
  ) {
    const { base } = state.levels;
    this.snapshotSequence = base?.sequence ?? 0;
    this.snapshotBytes = base?.fileBytes ?? 0;
    this.hasSnapshot = base !== null && base.path.endsWith(SNAPSHOT_NAME);
    this.writes = replayed.writes;
    this.bytes = replayed.bytes;
  }

  /** Bytes of the log behind storage.dat. */
  get logBytes(): number {
    return this.bytes;
  }

  /** Writes since the last seal. */
  get writesSinceSeal(): number {
    return this.writes;
  }

  get isRunning(): boolean {
    return this.running !== null;
  }

  /** How long the running one has been at it. */
  get runningMs(): number {
    return this.running === null ? 0 : this.environment.nowMs() - this.startMs;
  }

  /** So many writes begin a checkpoint. */
  get writeLimit(): number {
    const { slotCount, edgeCount } = this.state;
    return Math.max(this.threshold, Math.min(FRACTION * (slotCount + edgeCount), MAX_WRITES));
  }

  /** So do so many bytes of log. */
  get byteLimit(): number {
    return Math.max(MIN_BYTES, Math.min(FRACTION * this.snapshotBytes, MAX_BYTES));
  }

  /** Counts applied writes, and starts a checkpoint when there are enough. */
  note(commands: number, bytes: number): void {
    this.writes += commands;
    this.bytes += bytes;
    if (this.running !== null || this.blocked || this.closing || this.problem !== null) return;
    if (this.writes < this.writeLimit && this.bytes < this.byteLimit) return;
    // What goes wrong is kept in `problem`, logged and tried again.
    this.start().catch(() => undefined);
  }

  /**
   * Resolves when there is room in memory for many writes more: while a checkpoint takes longer than the next one's writes do to
   * come, these would else grow with the store. For streams; single writes are few.
   */
  async room(): Promise<void> {
    while (this.running !== null && this.writes >= this.holdWrites) {
      // What goes wrong with it is kept in `problem`; from then on nothing is waited for.
      await this.running.catch(() => undefined);
    }
  }

  /** Resolves when storage.dat holds everything applied at the call. Concurrent calls share checkpoints. */
  async flush(): Promise<void> {
    const { sequence } = this.state;
    this.flushing++;
    try {
      while (!this.hasSnapshot || this.snapshotSequence < sequence) {
        if (this.blocked && this.problem !== null) throw this.problem;
        await this.start();
      }
    } finally {
      this.flushing--;
    }
  }

  /** Lets a running checkpoint finish, or with `cancel` stops it: the log has everything. */
  async close(cancel: boolean): Promise<void> {
    this.closing = true;
    this.cancelled = cancel;
    this.cancelRetry();
    if (cancel) await this.job?.cancel();
    await this.running?.catch(() => undefined);
    if (cancel) {
      const { disk } = this.environment;
      const temporary = join(this.directory, TEMP_NAME);
      if (disk.stat(temporary) !== null) disk.unlink(temporary);
    }
  }

  /** None is begun in a store that closes: it would go on beside the next writer, and take the log from under it. */
  private async start(): Promise<void> {
    if (this.running === null && this.closing) {
      throw new SutraError('CLOSED', 'the store is closed or closing');
    }
    this.running ??= this.run().finally(() => {
      this.running = null;
    });
    await this.running;
  }

  private async run(): Promise<void> {
    const { logger } = this.environment;
    try {
      await this.checkpoint();
      this.problem = null;
    } catch (error) {
      const problem = toSutraError(error);
      if (problem.code === 'CANCELLED' || problem.code === 'CLOSED') throw problem;
      this.problem = problem;
      this.failures++;
      this.blocked = problem.code === 'DAMAGED' || problem.code === 'TOO_LARGE';
      logger.error(
        `checkpoint failed: ${problem.message}; the log is kept` +
          (this.blocked ? ', and no further checkpoint is made' : ', and it will be tried again'),
      );
      if (!this.blocked && !this.closing) this.scheduleRetry();
      throw problem;
    }
  }

  private async checkpoint(): Promise<void> {
    const { environment, state, log } = this;
    const { disk, logger } = environment;
    const startMs = environment.nowMs();
    this.startMs = startMs;
    this.writtenBytes = 0;
    this.expectedBytes = 0;
    if (this.sealed === null) {
      // Here, so that writes go on meanwhile; and between groups for one that has begun since.
      await this.commits.forgetDone();
      await this.commits.betweenGroups(async () => {
        await this.commits.forgetDone();
        const throughOrdinal = await log.roll();
        state.freeze();
        this.sealed = {
          throughOrdinal,
          sequence: state.sequence,
          digest: state.digest.toString(),
        };
        this.writes = 0;
        this.bytes = 0;
      });
    }
    if (this.cancelled) throw new SutraError('CANCELLED', 'the store is closing');
    const sealed = this.sealed;
    if (sealed === null) throw new SutraError('INTERNAL', 'nothing was sealed');
    const job = environment.startCheckpoint(
      {
        directory: this.directory,
        baseSequence: state.levels.base?.sequence ?? 0,
        ...sealed,
        nowUs: recordedUs(environment),
        pauseMs: this.flushing > 0 ? FLUSH_PAUSE_MS : BACKGROUND_PAUSE_MS,
      },
      (written, expected) => {
        this.writtenBytes = written;
        this.expectedBytes = expected;
      },
    );
    this.job = job;
    const result = await job.done.finally(() => {
      this.job = null;
    });
    // Its worker has verified all of it; else the first reads behind every checkpoint would, block by block, on this thread.
    const base = Snapshot.open(disk, join(this.directory, SNAPSHOT_NAME), { isVerified: true });
    if (base.sequence !== sealed.sequence || base.digest.toString() !== sealed.digest) {
      base.release();
      throw new SutraError('DAMAGED', `${base.path} is not the one that was just written`);
    }
    const old = state.levels.base;
    state.levels.swap(base);
    old?.release();
    this.files.closeThrough(sealed.throughOrdinal);
    this.sealed = null;
    this.hasSnapshot = true;
    this.snapshotSequence = base.sequence;
    this.snapshotBytes = base.fileBytes;
    this.checkpoints++;
    this.lastDurationMs = environment.nowMs() - startMs;
    this.lastEndUs = recordedUs(environment);
    logger.info(
      `checkpoint: ${base.conceptCount} concepts, ${base.edgeCount} associations at sequence ` +
        `${base.sequence}, ${base.fileBytes} bytes in ${Math.round(this.lastDurationMs)} ms`,
      {
        event: 'checkpoint',
        concepts: base.conceptCount,
        associations: base.edgeCount,
        sequence: base.sequence,
        replayed: result.replayed,
        bytes: base.fileBytes,
        duration_ms: Math.round(this.lastDurationMs),
      },
    );
    try {
      await this.removeObsolete(result.previousSequence);
    } catch (error) {
      // The checkpoint stands all the same, and the next one tries to remove them again.
      logger.warn(`log segments that are no longer needed stay: ${toSutraError(error).message}`);
    }
  }

  /** Removes segments that neither storage.dat nor storage.dat.prev needs: those whose successor starts in time for both. */
  private async removeObsolete(previousSequence: number): Promise<void> {
    const { disk } = this.environment;
    const ordinals = segmentOrdinals(disk.list(this.directory));
    for (let i = 0; i + 1 < ordinals.length; i++) {
      const successor = ordinals[i + 1];
      const ordinal = ordinals[i];
      if (successor === undefined || ordinal === undefined) break;
      const file = disk.open(this.files.path(successor), 'read');
      const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
      try {
        readFully(file, bytes, 0, SEGMENT_HEADER_BYTES, 0);
      } finally {
        file.close();
      }
      const header = decodeSegmentHeader(bytes);
      if (typeof header === 'string' || header.firstSequence > previousSequence + 1) break;
      await disk.unlinkAsync(this.files.path(ordinal));
    }
  }

  private scheduleRetry(): void {
    this.cancelRetry = this.environment.schedule(RETRY_MS, () => {
      if (this.closing || this.log.broken !== null) return;
      this.start().catch(() => undefined);
    });
  }
}
