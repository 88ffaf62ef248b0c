/**
 * Restoring a backup into a directory, under the writer's lock. The restored store has the backup's state and sequence and a UUID
 * of its own, so that no segment, index or interrupted scan of another store can ever be taken for its own.
 *
 *   1. the backup is verified, copied to storage.dat.restore under the new UUID, synced, and its blocks read back;
 *   2. what the directory holds is kept in a directory of its own (hard links), durably;
 *   3. the old store is brought into its storage.dat alone, as a checkpoint would, and what is behind that goes, so that one
 *      rename can replace all of it;
 *   4. the durable record in the lock file, which speaks of the old log, is lowered;
 *   5. storage.dat.restore is renamed to storage.dat.
 *
 * Ended before 5, the store is what it was; after it, what it should be. An old store that is damaged cannot be brought into one
 * file: then 5 comes before 3 and 4, and what is left of its log is refused as another store's until all of it is gone.
 * Restoring again does the rest.
 */

import { join } from 'node:path';

import { SutraError } from '../errors.js';
import {
  publishFile,
  removeIfThere,
  verifyStateFile,
  writeState,
  type BackupSum,
} from './backup.js';
import { CheckpointSource } from './checkpoint-source.js';
import { removeSegments } from './compact.js';
import { keepOriginals } from './copy.js';
import type { Disk } from './disk.js';
import { recordedUs, type Environment } from './environment.js';
import { encodeHeader, HEADER_BYTES } from './format/snapshot-format.js';
import { silentLogger } from './logger.js';
import type { LockFile } from './lock-file.js';
import { segmentOrdinals } from './log/segment-files.js';
import { convertOldFile, isOldFile } from './migration/migrate.js';
import {
  copyRange,
  PREVIOUS_NAME,
  recover,
  RESTORE_NAME,
  SNAPSHOT_NAME,
  TEMP_NAME,
  type Recovered,
} from './recovery.js';
import { writeFully } from './snapshot/block-file.js';
import { openSnapshotFile, verifySnapshotFile } from './snapshot/snapshot-file.js';
import type { Steps } from './steps.js';
import { INDEX_NAME } from './vector/index-file.js';

export interface Restoration extends BackupSum {
  /** Name of the directory, in the store's, that keeps the old store; null when there was none. */
  readonly keptIn: string | null;
  /** The old store was damaged, and what was in it is kept as it was. */
  readonly oldWasDamaged: boolean;
}

/** Names of a store's data in a directory. */
function dataOf(disk: Disk, directory: string): string[] {
  return disk
    .list(directory)
    .filter(
      (name) =>
        name === SNAPSHOT_NAME || name === PREVIOUS_NAME || segmentOrdinals([name]).length > 0,
    );
}

/** Whether there is a store in a directory, or what is left of one. */
export function holdsStore(disk: Disk, directory: string): boolean {
  return disk.stat(directory)?.isDirectory === true && dataOf(disk, directory).length > 0;
}

/** A backup that is good: what it holds. One of version 2 is only looked at when it is converted. @throws DAMAGED */
export function* verifyBackup(disk: Disk, path: string): Steps<BackupSum | null> {
  if (isOldFile(disk, path)) return null;
  return yield* verifyStateFile(disk, path);
}

/**
 * Restores the file at `path`, which `verifyBackup` found good, into `directory`, whose `lock` the caller holds.
 * @throws DAMAGED, DISK_FULL, and what the disk throws
 */
export function* restore(
  environment: Environment,
  directory: string,
  lock: LockFile,
  path: string,
): Steps<Restoration> {
  const { disk } = environment;
  const nowUs = recordedUs(environment);
  const incoming = join(directory, RESTORE_NAME);
  removeIfThere(disk, incoming);
  yield step('copying', 0);
  try {
    const uuid = environment.randomBytes(16);
    if (isOldFile(disk, path)) yield* convertOldFile(disk, path, incoming, uuid, nowUs);
    else copyUnder(disk, path, incoming, uuid);
    const sum = yield* verifyStateFile(disk, incoming);
    yield step('keeping the old store', 1);
    const old = dataOf(disk, directory);
    const kept = disk.stat(join(directory, 'lock')) === null ? old : [...old, 'lock'];
    const keptIn =
      old.length === 0 ? null : keepOriginals(disk, directory, kept, 'before-restore', nowUs);
    // It is of the old store; the new one makes its own.
    removeIfThere(disk, join(directory, INDEX_NAME));
    const oldWasDamaged = old.length > 0 && !(yield* fold(environment, directory, lock));
    if (!oldWasDamaged) {
      lowerRecord(lock);
      removeRest(disk, directory);
    }
    yield step('putting it in place', 3);
    publishFile(disk, incoming, join(directory, SNAPSHOT_NAME));
    if (oldWasDamaged) {
      lowerRecord(lock);
      removeRest(disk, directory);
    }
    return { ...sum, keptIn, oldWasDamaged };
  } catch (error) {
    removeIfThere(disk, incoming);
    throw error;
  }
}

function step(phase: string, done: number) {
  return { phase, unit: 'steps', done, total: 4 };
}

/** A copy of a storage.dat that belongs to another store: its header page under another UUID, all else byte for byte. */
function copyUnder(disk: Disk, path: string, target: string, uuid: Uint8Array): void {
  const { file, header } = openSnapshotFile(disk, path);
  file.close();
  copyRange(disk, path, 0, header.fileBytes, target);
  const copy = disk.open(target, 'update');
  try {
    writeFully(copy, encodeHeader({ ...header, uuid }), 0, HEADER_BYTES, 0);
    copy.sync();
  } finally {
    copy.close();
  }
}

/** Brings the store into its storage.dat alone; false when it cannot be read whole. */
function* fold(environment: Environment, directory: string, lock: LockFile): Steps<boolean> {
  const { disk } = environment;
  let recovered: Recovered;
  try {
    recovered = recover(disk, directory, { durable: lock.previous, logger: silentLogger });
  } catch (error) {
    const isFault = error instanceof SutraError && FAULTS.has(error.code);
    if (!isFault) throw error;
    return false;
  }
  const { state, files, uuid, epoch, replayed, usedPrevious } = recovered;
  const temporary = join(directory, TEMP_NAME);
  removeIfThere(disk, temporary);
  try {
    const isAlone = state.levels.base !== null && replayed === 0 && !usedPrevious;
    if (isAlone || uuid === null) return true;
    const source = new CheckpointSource(state, uuid, epoch);
    yield* writeState(disk, temporary, source, recordedUs(environment));
    verifySnapshotFile(disk, temporary);
    publishFile(disk, temporary, join(directory, SNAPSHOT_NAME));
    return true;
  } catch (error) {
    removeIfThere(disk, temporary);
    // Bad bytes that recovery had no need to read.
    if (error instanceof SutraError && error.code === 'DAMAGED') return false;
    throw error;
  } finally {
    files.closeAll();
    state.levels.base?.release();
  }
}

/** What recovery says of files that are not whole, or not for it. */
const FAULTS: ReadonlySet<string> = new Set(['DAMAGED', 'UNSUPPORTED_FORMAT']);

/** There is no log any more that the record could speak of. */
function lowerRecord(lock: LockFile): void {
  lock.publishDurable(0, 0, 0);
  lock.sync();
}

function removeRest(disk: Disk, directory: string): void {
  removeIfThere(disk, join(directory, PREVIOUS_NAME));
  removeSegments(disk, directory, Number.MAX_SAFE_INTEGER);
}
