/**
 * A backup is one file: a storage.dat of the whole state at one sequence, written from a recovered state with the checkpoint's own
 * writer, or streamed as it is from a storage.dat that stands for the state. Verifying one reads every block, then opens it as a
 * store of its own and holds the state against itself.
 *
 * A file appears under its name only when it is whole: FILE.tmp, synced, verified, renamed, directory synced.
 */

import { dirname } from 'node:path';

import { SutraError } from '../errors.js';
import { checkState, type StateSum } from './check-state.js';
import type { Disk } from './disk.js';
import { checkBlocks, openSnapshotFile } from './snapshot/snapshot-file.js';
import type { SnapshotSource } from './snapshot/snapshot-source.js';
import { writeSnapshotInSteps } from './snapshot/snapshot-writer.js';
import { Snapshot } from './snapshot/snapshot.js';
import { State } from './state.js';
import type { Steps } from './steps.js';

/** What a backup holds. */
export interface BackupSum extends StateSum {
  readonly bytes: number;
}

/** Writes a recovered state to a new file at `path`, synced; removes what there is of it when that fails. */
export function* writeState(
  disk: Disk,
  path: string,
  source: SnapshotSource,
  nowUs: number,
): Steps<void> {
  let done = 0;
  let total = 0;
  const onProgress = (doneBytes: number, totalBytes: number): void => {
    done = doneBytes;
    total = totalBytes;
  };
  try {
    const writing = writeSnapshotInSteps(disk, path, source, { createdUs: nowUs, onProgress });
    while (writing.next().done !== true) yield { phase: 'writing', unit: 'bytes', done, total };
  } catch (error) {
    removeIfThere(disk, path);
    throw error;
  }
}

/**
 * Checks the file at `path` as a whole store: header, every block, and by one scan over all that it holds its counts, its
 * digest, its indexes and both ends of each association. @throws DAMAGED, UNSUPPORTED_FORMAT
 */
export function* verifyStateFile(disk: Disk, path: string): Steps<BackupSum> {
  const file = openSnapshotFile(disk, path);
  const { fileBytes } = file.header;
  try {
    const blocks = checkBlocks(file, (error) => {
      throw error;
    });
    for (let step = blocks.next(); step.done !== true; step = blocks.next()) {
      yield { phase: 'verifying', unit: 'bytes', done: step.value, total: fileBytes };
    }
  } finally {
    file.file.close();
  }
  const snapshot = Snapshot.open(disk, path);
  try {
    const state = new State(snapshot, () => {
      throw new Error('a snapshot alone has no log');
    });
    const sum = yield* checkState(state, 'verifying state,', (what, error) => {
      throw error ?? new SutraError('DAMAGED', `${path}: ${what}`);
    });
    if (sum === null) throw new Error('the scan ended early');
    return { ...sum, bytes: fileBytes };
  } finally {
    snapshot.release();
  }
}

/** The verified file at `temporary` becomes `path`, durably; in place of one that is there. */
export function publishFile(disk: Disk, temporary: string, path: string): void {
  disk.rename(temporary, path);
  disk.syncDirectory(dirname(path));
}

export function removeIfThere(disk: Disk, path: string): void {
  if (disk.stat(path) !== null) disk.unlink(path);
}
