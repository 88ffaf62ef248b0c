/**
 * The doorway to whole stores as files: saving a backup of any storage, proving that it can be restored, restoring it, and
 * compacting a store. A backup appears under its name only when it is whole and verified.
 */

import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

import { publishFile, removeIfThere, verifyStateFile, type BackupSum } from '../engine/backup.js';
import { compact, type Compaction } from '../engine/compact.js';
import type { Disk } from '../engine/disk.js';
import { nodeEnvironment, type Environment } from '../engine/environment.js';
import { removeLeftovers } from '../engine/leftovers.js';
import { Digest } from '../engine/format/digest.js';
import { LockFile } from '../engine/lock-file.js';
import type { Logger } from '../engine/logger.js';
import { segmentOrdinals } from '../engine/log/segment-files.js';
import { errorCode } from '../engine/log/write-log.js';
import { migrate } from '../engine/migration/migrate.js';
import { isStoreFile } from '../engine/pinned-files.js';
import { SNAPSHOT_NAME, translate } from '../engine/recovery.js';
import { holdsStore, restore, verifyBackup, type Restoration } from '../engine/restore.js';
import { openSnapshotFile } from '../engine/snapshot/snapshot-file.js';
import { StreamCheck } from '../engine/snapshot/stream-check.js';
import { runStepsInSlices, type OnProgress, type Steps } from '../engine/steps.js';
import { makeStoreDirectory } from '../engine/store.js';
import { SutraError } from '../errors.js';
import { ConcurrentStorage } from './embedded.js';
import type { BackupInfo, CallOptions, Storage } from './storage.js';
import { throwIfAborted } from './validation.js';

export type { BackupSum } from '../engine/backup.js';
export type { Compaction } from '../engine/compact.js';
export type { Restoration } from '../engine/restore.js';

export interface BackupOptions extends CallOptions {
  /** Replace a file that is there. */
  readonly force?: boolean;
  readonly onProgress?: OnProgress;
  /** Where it is said what a run that was killed left. Default: nowhere. */
  readonly logger?: Logger;
}

/**
 * Saves a backup of `storage` as the file `path`: written or received as `path`.tmp, verified, and only then named.
 * @throws ALREADY_THERE, DAMAGED (what was written or came does not hold together), and what a backup throws
 */
export async function saveBackup(
  storage: Storage,
  path: string,
  options: BackupOptions = {},
): Promise<BackupSum> {
  const environment = nodeEnvironment(options.logger);
  const { disk, logger } = environment;
  const { force = false, onProgress = () => undefined } = options;
  const temporary = `${path}.tmp`;
  try {
    refuseFile(disk, path, force);
    if (disk.stat(temporary) !== null) {
      disk.unlink(temporary);
      logger.warn(
        `${temporary}: a backup was interrupted before it was whole; this is removed, and ${path} ` +
          (disk.stat(path) === null ? 'was not made' : 'is as it was'),
      );
    }
    try {
      const expected =
        storage instanceof ConcurrentStorage && storage.isReadOnly
          ? await written(storage, temporary, options)
          : await received(disk, storage, temporary, options);
      const sum = await runStepsInSlices(verifyStateFile(disk, temporary), environment, (step) => {
        throwIfAborted(options.signal);
        onProgress(step);
      });
      requireAnnounced(temporary, sum, expected);
      refuseFile(disk, path, force);
      publishFile(disk, temporary, path);
      return sum;
    } catch (error) {
      removeIfThere(disk, temporary);
      throw error;
    }
  } catch (error) {
    throw translate(error, path);
  }
}

type Announced = Omit<BackupSum, 'bytes'>;

/** @throws DAMAGED when a backup that is whole is another one than was announced */
function requireAnnounced(name: string, sum: Announced, announced: Announced): void {
  for (const field of ['sequence', 'digest', 'concepts', 'edges', 'vectors'] as const) {
    if (sum[field] === announced[field]) continue;
    const what = `${field} is ${sum[field]}, but ${announced[field]} was announced`;
    throw new SutraError('DAMAGED', `${name}: the backup is not what it should be: ${what}`);
  }
}

function callOf({ signal, timeoutMs }: BackupOptions): CallOptions {
  return {
    ...(signal === undefined ? {} : { signal }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
}

function digestText(lanes: Uint32Array): string {
  const digest = new Digest();
  digest.lanes.set(lanes);
  return digest.toString();
}

async function written(
  storage: ConcurrentStorage,
  path: string,
  { signal, onProgress = () => undefined }: BackupOptions,
): Promise<Announced> {
  await storage.writeBackup(path, (step) => {
    throwIfAborted(signal);
    onProgress(step);
  });
  return storage.stateSum();
}

async function received(
  disk: Disk,
  storage: Storage,
  path: string,
  options: BackupOptions,
): Promise<Announced> {
  const { onProgress = () => undefined } = options;
  const file = disk.open(path, 'create');
  try {
    let announced: Announced | null = null;
    for await (const { info, offset, bytes } of storage.backup(callOf(options))) {
      announced = info;
      for (let done = 0; done < bytes.length;) {
        done += await file.writeAsync(bytes, done, bytes.length - done, offset + done);
      }
      const done = offset + bytes.length;
      onProgress({ phase: 'receiving', unit: 'bytes', done, total: info.bytes });
    }
    if (announced === null)
      throw new SutraError('DAMAGED', `${path}: the backup came without bytes`);
    await file.datasyncAsync();
    file.sync();
    return announced;
  } finally {
    file.close();
  }
}

/**
 * Sends a backup of `storage` to `write`, piece by piece, as it comes. Checked on the way: the header, every byte by its block's
 * checksum, the length, and that sequence, digest and counts are those announced. A stream cannot be gone back in: that the contents
 * give that digest, and that indexes and associations agree, is for `restore` to check, which does so before it changes anything.
 * @throws DAMAGED (what was sent must not be used), and what a backup and `write` throw
 */
export async function streamBackup(
  storage: Storage,
  write: (bytes: Uint8Array) => Promise<void>,
  options: BackupOptions = {},
): Promise<BackupSum> {
  const { onProgress = () => undefined } = options;
  let check: StreamCheck | null = null;
  let announced: BackupInfo | null = null;
  for await (const { info, bytes, offset } of storage.backup(callOf(options))) {
    check ??= new StreamCheck(STREAM_NAME, info.bytes);
    announced = info;
    check.add(bytes);
    await write(bytes);
    const done = offset + bytes.length;
    onProgress({ phase: 'sending', unit: 'bytes', done, total: info.bytes });
  }
  if (check === null || announced === null) {
    throw new SutraError('DAMAGED', `${STREAM_NAME} came without bytes`);
  }
  const { sequence, digest, conceptCount, edgeCount, vectorCount, fileBytes } = check.end();
  const sum = {
    sequence,
    digest: digestText(digest),
    concepts: conceptCount,
    edges: edgeCount,
    vectors: vectorCount,
    bytes: fileBytes,
  };
  requireAnnounced(STREAM_NAME, sum, announced);
  return sum;
}

const STREAM_NAME = 'the backup';

export interface Proof {
  /** Of the store that was restored from the backup. */
  readonly digest: string;
  /** Concepts that were asked for in both, with their neighbours and a path to the next one. */
  readonly samples: number;
  /** Of these, how many answered differently because the source was written to since. */
  readonly changedSince: number;
}

const SAMPLES = 100;
const SAMPLE_NEIGHBORS = 20;
const SAMPLE_DEPTH = 3;

/**
 * Restores the backup at `path` into a scratch directory, checks that store, and asks it and `source` the same questions. Removes
 * the scratch directory. @throws DAMAGED when an answer differs and the source was not written to since
 */
export async function proveBackup(
  path: string,
  sum: BackupSum,
  source: Storage,
  options: BackupOptions = {},
): Promise<Proof> {
  const environment = nodeEnvironment();
  const name = Buffer.from(environment.randomBytes(8)).toString('hex');
  const scratch = join(tmpdir(), `sutra-prove-${name}`);
  try {
    const restored = await restoreBackup(path, scratch, options);
    if (restored.digest !== sum.digest) {
      throw new SutraError(
        'DAMAGED',
        `${path}: restored, its digest is ${restored.digest}, expected ${sum.digest}`,
      );
    }
    const storage = await ConcurrentStorage.open(scratch, { readOnly: true });
    try {
      return await compareSamples(path, storage, source, sum, options);
    } finally {
      await storage.close();
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function compareSamples(
  path: string,
  restored: ConcurrentStorage,
  source: Storage,
  sum: BackupSum,
  { signal, onProgress = () => undefined }: BackupOptions,
): Promise<Proof> {
  const ids = restored.sampleIds(SAMPLES);
  let changedSince = 0;
  for (const [i, id] of ids.entries()) {
    throwIfAborted(signal);
    onProgress({ phase: 'asking both', unit: 'concepts', done: i, total: ids.length });
    const next = ids[(i + 1) % ids.length] ?? id;
    const [mine, theirs] = await Promise.all([
      answersOf(restored, id, next),
      answersOf(source, id, next),
    ]);
    if (mine === theirs) continue;
    const { sequence } = await source.stats();
    if (sequence === sum.sequence) {
      throw new SutraError(
        'DAMAGED',
        `${path}: restored, it answers otherwise than its source for ${JSON.stringify(id)}: ` +
          `got ${mine.slice(0, 300)}, expected ${theirs.slice(0, 300)}`,
      );
    }
    changedSince++;
  }
  return { digest: sum.digest, samples: ids.length, changedSince };
}

/** What a storage says of a concept, its neighbours and the way to another one, as text to compare. */
async function answersOf(storage: Storage, id: string, next: string): Promise<string> {
  const concept = await storage.queryConcept(id, { withEmbedding: true });
  const { neighbors } = await storage.getNeighbors(id, { limit: SAMPLE_NEIGHBORS });
  const { found, steps } = await storage.findPath(id, next, { maxDepth: SAMPLE_DEPTH });
  const embedding = concept.embedding === undefined ? [] : [...concept.embedding];
  return JSON.stringify([{ ...concept, embedding }, neighbors, found, steps.length]);
}

/**
 * Restores a backup, or a storage.dat of version 2, into `directory`. With `force` also over a store that is there, which is kept
 * in a directory beside the new one's files.
 * @throws ALREADY_THERE, DAMAGED (the backup), STORE_LOCKED, NOT_A_STORE, DISK_FULL
 */
export async function restoreBackup(
  path: string,
  directory: string,
  options: BackupOptions = {},
): Promise<Restoration> {
  const environment = nodeEnvironment(options.logger);
  const { disk } = environment;
  const { signal, force = false, onProgress = () => undefined } = options;
  const run = <Result>(steps: Steps<Result>): Promise<Result> =>
    runStepsInSlices(steps, environment, onProgress);
  try {
    const stat = disk.stat(path);
    if (stat === null || stat.isDirectory) {
      const what = stat === null ? 'there is no such file' : 'that is a directory, not a backup';
      throw new SutraError('INVALID_ARGUMENT', `FILE: got ${path}: ${what}`, {
        hint: 'Name a file that `sutra backup` made, or a storage.dat.',
      });
    }
    await runStepsInSlices(verifyBackup(disk, path), environment, (step) => {
      throwIfAborted(signal);
      onProgress(step);
    });
    refuseStore(disk, directory, path, force);
    makeStoreDirectory(directory, environment);
    const lock = LockFile.acquire(disk, directory);
    try {
      refuseStore(disk, directory, path, force);
      removeLeftovers(directory, environment);
      return await run(restore(environment, directory, lock, path));
    } finally {
      lock.release();
    }
  } catch (error) {
    throw translate(error, path);
  }
}

/**
 * The same for a backup that comes as a stream. It is kept in a file beside `directory` until it is verified and restored, for it
 * cannot be checked whole before it is there. @throws as `restoreBackup`
 */
export async function restoreStream(
  bytes: AsyncIterable<Uint8Array>,
  directory: string,
  options: BackupOptions = {},
): Promise<Restoration> {
  const { disk, logger } = nodeEnvironment(options.logger);
  const { onProgress = () => undefined, signal } = options;
  const temporary = `${resolve(directory)}.incoming.tmp`;
  try {
    // Before what may be gigabytes is taken in for nothing.
    refuseStore(disk, directory, temporary, options.force ?? false);
    if (disk.stat(temporary) !== null) {
      disk.unlink(temporary);
      logger.warn(
        `${temporary}: a restore was interrupted before all of its backup had come; this is removed`,
      );
    }
    const file = disk.open(temporary, 'create');
    try {
      let end = 0;
      for await (const part of bytes) {
        throwIfAborted(signal);
        for (let done = 0; done < part.length;) {
          done += await file.writeAsync(part, done, part.length - done, end + done);
        }
        end += part.length;
        onProgress({ phase: 'receiving', unit: 'bytes', done: end, total: 0 });
      }
    } finally {
      file.close();
    }
    return await restoreBackup(temporary, directory, options);
  } catch (error) {
    throw translate(error, temporary);
  } finally {
    removeIfThere(disk, temporary);
  }
}

/**
 * Rewrites a store without what forgotten and replaced things held, offline.
 * @throws NO_SUCH_DIRECTORY, NOT_A_STORE, STORE_LOCKED, DAMAGED, DISK_FULL
 */
export async function compactStore(
  directory: string,
  onProgress: OnProgress,
  logger?: Logger,
): Promise<Compaction | null> {
  const environment: Environment = nodeEnvironment(logger);
  const { disk } = environment;
  try {
    const stat = disk.stat(directory);
    if (stat === null) throw new SutraError('NO_SUCH_DIRECTORY', `${directory}: no such directory`);
    if (!stat.isDirectory || !disk.list(directory).some(isStoreFile)) {
      throw new SutraError('NOT_A_STORE', `${directory} holds no sutra store`);
    }
    const lock = LockFile.acquire(disk, directory);
    try {
      removeLeftovers(directory, environment);
      const migrating = migrate(disk, directory, environment.randomBytes(16), environment.nowUs());
      await runStepsInSlices(migrating, environment, onProgress);
      return await compact(environment, directory, lock, (steps) =>
        runStepsInSlices(steps, environment, onProgress),
      );
    } finally {
      lock.release();
    }
  } catch (error) {
    throw translate(error, directory);
  }
}

function refuseFile(disk: Disk, path: string, force: boolean): void {
  const stat = disk.stat(path);
  if (stat?.isDirectory === true) {
    throw new SutraError('INVALID_ARGUMENT', `FILE: got ${path}, which is a directory`);
  }
  if (stat !== null && !force) throw new SutraError('ALREADY_THERE', `${path} is there already`);
  const parent = dirname(path);
  if (disk.stat(parent)?.isDirectory !== true) {
    throw new SutraError('NO_SUCH_DIRECTORY', `no such directory: ${parent}`, {
      hint: 'Make the directory of the backup first.',
    });
  }
}

function refuseStore(disk: Disk, directory: string, path: string, force: boolean): void {
  if (force || !holdsStore(disk, directory)) return;
  const which = isRestored(disk, directory, path) ? `: ${path}, restored, and nothing newer` : '';
  throw new SutraError('ALREADY_THERE', `${directory} holds a store already${which}`, {
    hint: 'Restore into another directory, or add --force, which keeps the old store beside the new one.',
  });
}

/** Whether the store is what restoring the backup at `path` gave: its state, under an identity of its own, and no log. */
function isRestored(disk: Disk, directory: string, path: string): boolean {
  if (segmentOrdinals(disk.list(directory)).length > 0) return false;
  try {
    const [backup, store] = [path, join(directory, SNAPSHOT_NAME)].map((name) => {
      const { file, header } = openSnapshotFile(disk, name);
      file.close();
      return header;
    });
    if (backup === undefined || store === undefined) return false;
    return (
      store.sequence === backup.sequence &&
      store.digest.every((lane, i) => lane === backup.digest[i]) &&
      !store.uuid.every((byte, i) => byte === backup.uuid[i])
    );
  } catch (error) {
    // What cannot be told is not said: it is damaged or of another version, and stays untouched all the same.
    const isOther = error instanceof SutraError || errorCode(error) === 'ENOENT';
    if (!isOther) throw error;
    return false;
  }
}
