/**
 * A checkpoint is a recovery that writes down what it found: old storage.dat + sealed segments -> new storage.dat, with the very
 * code that start-up uses, so that every checkpoint proves that recovery works. It runs in a worker thread
 * (`checkpoint-worker.ts`); this file is what it does, free of threads, so that tests can run and interrupt it in place.
 *
 * Order (reliability.md, rule 8): temp file, sync, verify, digest compared, current one kept as storage.dat.prev, rename, sync
 * the directory. Whatever fails before the rename leaves the store as it was, plus a temp file that the next one removes.
 */

import { join } from 'node:path';

import { SutraError } from '../errors.js';
import { CheckpointSource } from './checkpoint-source.js';
import type { Disk } from './disk.js';
import type { Logger } from './logger.js';
import { PREVIOUS_NAME, recover, SNAPSHOT_NAME, TEMP_NAME } from './recovery.js';
import { verifySnapshotFile } from './snapshot/snapshot-file.js';
import { writeSnapshot } from './snapshot/snapshot-writer.js';

export interface CheckpointRequest {
  readonly directory: string;
  /** Of the snapshot that the serving thread has; storage.dat, unless that was damaged since. */
  readonly baseSequence: number;
  /** The sealed segment to apply through; the state at its end is what the new snapshot stands for. */
  readonly throughOrdinal: number;
  readonly sequence: number;
  /** The serving thread's digest at that sequence, as text; a different one is refused. */
  readonly digest: string;
  readonly nowUs: number;
  readonly pauseMs: number;
}

export interface CheckpointResult {
  readonly sequence: number;
  readonly fileBytes: number;
  readonly replayed: number;
  /** Sequence that storage.dat.prev stands for; 0 when there is none: log segments behind it are still needed. */
  readonly previousSequence: number;
}

/** Bytes written of the new storage.dat, and how many it will have by an estimate; told now and then. */
export type WriteProgress = (written: number, expected: number) => void;

/** @throws DAMAGED (digests or counts differ, or an input is bad), DISK_FULL, and what the disk throws */
export function runCheckpoint(
  disk: Disk,
  request: CheckpointRequest,
  logger: Logger,
  onProgress: WriteProgress = () => undefined,
): CheckpointResult {
  const { directory } = request;
  const temporary = join(directory, TEMP_NAME);
  if (disk.stat(temporary) !== null) disk.unlink(temporary);
  const recovered = recover(disk, directory, {
    durable: null,
    throughOrdinal: request.throughOrdinal,
    frozenAt: request.baseSequence,
    logger,
  });
  const { state, files, uuid } = recovered;
  const baseSequence = state.levels.base?.sequence ?? 0;
  try {
    if (uuid === null) throw new SutraError('DAMAGED', `${directory}: nothing to checkpoint`);
    const digest = state.digest.toString();
    if (state.sequence !== request.sequence || digest !== request.digest) {
      throw new SutraError(
        'DAMAGED',
        `checkpoint refused: recovery gives sequence ${state.sequence} digest ${digest}, ` +
          `serving has sequence ${request.sequence} digest ${request.digest}`,
      );
    }
    const header = writeSnapshot(
      disk,
      temporary,
      new CheckpointSource(state, uuid, recovered.epoch),
      { createdUs: request.nowUs, pauseMs: request.pauseMs, onProgress },
    );
    verifySnapshotFile(disk, temporary);
    publish(disk, directory, temporary, recovered.usedPrevious);
    return {
      sequence: header.sequence,
      fileBytes: header.fileBytes,
      replayed: recovered.replayed,
      previousSequence: baseSequence,
    };
  } catch (error) {
    if (disk.stat(temporary) !== null) disk.unlink(temporary);
    throw error;
  } finally {
    files.closeAll();
    state.levels.base?.release();
  }
}

/**
 * Puts a verified file in place. The current one stays as `.prev`, by a hard link that is renamed into place, so that at every
 * moment there is a whole storage.dat; when the current one was found damaged, the good `.prev` is kept instead.
 */
function publish(disk: Disk, directory: string, temporary: string, keepPrevious: boolean): void {
  const current = join(directory, SNAPSHOT_NAME);
  const previous = join(directory, PREVIOUS_NAME);
  if (!keepPrevious && disk.stat(current) !== null) {
    const link = `${previous}.tmp`;
    if (disk.stat(link) !== null) disk.unlink(link);
    disk.link(current, link);
    disk.rename(link, previous);
    // Renaming one hard link of a file onto another leaves both names.
    if (disk.stat(link) !== null) disk.unlink(link);
  }
  disk.rename(temporary, current);
  disk.syncDirectory(directory);
}
