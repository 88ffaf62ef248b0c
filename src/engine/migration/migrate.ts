/**
 * The way over from a storage.dat of version 2. A writer turns it into one of today's once, before it recovers; a reader reads it
 * as if it had been, in memory, and creates nothing.
 *
 * Steps of the writer, under the lock (the same as a checkpoint's): the new file under another name, synced and verified; the
 * old one given a second name, storage.dat.v2, that is made durable; then one rename. Whatever ends it before that rename
 * leaves the old file in its place, and it is done again; after it the new store is there. No name that exists is
 * ever given to something else.
 */

import { join } from 'node:path';

import { SutraError } from '../../errors.js';
import { keepFile } from '../copy.js';
import type { Disk, DiskFile } from '../disk.js';
import { isVersion2, V2_HEADER_BYTES } from '../format/version2.js';
import type { SnapshotHeader } from '../format/snapshot-format.js';
import { segmentName, segmentOrdinals } from '../log/segment-files.js';
import { PREVIOUS_NAME, SNAPSHOT_NAME, TEMP_NAME } from '../recovery.js';
import { checkBlocks, openSnapshotFile } from '../snapshot/snapshot-file.js';
import { writeSnapshot, writeSnapshotInSteps } from '../snapshot/snapshot-writer.js';
import { runSteps, type OnProgress, type Steps } from '../steps.js';
import { DiskWithMemoryFile, MemoryBytes } from './memory-file.js';
import { badToError, readVersion2, type BadItem, type OnBad } from './version2-reader.js';
import { Version2Source } from './version2-source.js';

/** What the old file is kept as. */
export const OLD_NAME = 'storage.dat.v2';

const ROOT_UUID = new Uint8Array(16);

export interface Migration {
  readonly concepts: number;
  readonly edges: number;
  readonly vectors: number;
  readonly sequence: number;
  readonly digest: string;
  /** Records that repeated what others said: the other direction of an association, mostly. */
  readonly collapsed: number;
  readonly oldBytes: number;
  readonly newBytes: number;
  /** The old file's new name, in the store's directory. */
  readonly keptAs: string;
}

/** Whether the file at `path` is a storage.dat of version 2; false when there is none. */
export function isOldFile(disk: Disk, path: string): boolean {
  if (disk.stat(path)?.isDirectory !== false) return false;
  const file = disk.open(path, 'read');
  try {
    const head = new Uint8Array(V2_HEADER_BYTES);
    let filled = 0;
    for (let got = -1; got !== 0 && filled < head.length; filled += got) {
      got = file.read(head, filled, head.length - filled, filled);
    }
    return isVersion2(head.subarray(0, filled));
  } finally {
    file.close();
  }
}

export function isOldStore(disk: Disk, directory: string): boolean {
  return isOldFile(disk, join(directory, SNAPSHOT_NAME));
}

/** The last name that the file of version 2 was kept as; null when there is none. */
export function keptOldFile(disk: Disk, directory: string): string | null {
  const kept = disk.list(directory).filter((name) => /^storage\.dat\.v2(-\d+)?$/.test(name));
  return kept.at(-1) ?? null;
}

/** The first thing that is wrong, as an error. */
function refuse(path: string): OnBad {
  return (item: BadItem) => {
    throw badToError(path, item);
  };
}

/**
 * The directory as a reader wants it: with a storage.dat of version 2 shown as the one it would become. The same disk when there
 * is nothing old. @throws DAMAGED
 */
export function inPlace(disk: Disk, directory: string, onProgress?: OnProgress): Disk {
  const path = join(directory, SNAPSHOT_NAME);
  if (!isOldFile(disk, path)) return disk;
  refuseOtherFiles(disk, directory);
  const file = disk.open(path, 'read');
  try {
    const bytes = new MemoryBytes();
    const view = new DiskWithMemoryFile(disk, path, bytes, file.identity());
    const graph = runSteps(readVersion2(file, refuse(path)), onProgress);
    writeSnapshot(view, path, new Version2Source(file, graph, ROOT_UUID));
    return view;
  } finally {
    file.close();
  }
}

/**
 * Migrates the store in `directory`, whose lock the caller holds; null when it is not an old one. `onBad` absent: everything must
 * be whole. @throws DAMAGED, DISK_FULL, and what the disk throws
 */
export function* migrate(
  disk: Disk,
  directory: string,
  uuid: Uint8Array,
  nowUs: number,
  onBad?: OnBad,
): Steps<Migration | null> {
  const path = join(directory, SNAPSHOT_NAME);
  if (!isOldFile(disk, path)) return null;
  refuseOtherFiles(disk, directory);
  const temporary = join(directory, TEMP_NAME);
  const made = yield* convertOldFile(disk, path, temporary, uuid, nowUs, onBad);
  try {
    const keptAs = keepFile(disk, path, OLD_NAME);
    disk.rename(temporary, path);
    disk.syncDirectory(directory);
    return { ...made, keptAs };
  } catch (error) {
    if (disk.stat(temporary) !== null) disk.unlink(temporary);
    throw error;
  }
}

/** Writes what the old file at `path` holds as a new storage.dat at `target`, verified; removes it when that fails. */
export function* convertOldFile(
  disk: Disk,
  path: string,
  target: string,
  uuid: Uint8Array,
  nowUs: number,
  onBad: OnBad = refuse(path),
): Steps<Omit<Migration, 'keptAs'>> {
  if (disk.stat(target) !== null) disk.unlink(target);
  const file: DiskFile = disk.open(path, 'read');
  try {
    const graph = yield* readVersion2(file, onBad);
    const source = new Version2Source(file, graph, uuid);
    const header = yield* written(disk, target, source, nowUs);
    yield* verified(disk, target);
    return {
      concepts: header.conceptCount,
      edges: header.edgeCount,
      vectors: header.vectorCount,
      sequence: header.sequence,
      digest: source.digest.toString(),
      collapsed: graph.collapsed,
      oldBytes: file.identity().size,
      newBytes: header.fileBytes,
    };
  } catch (error) {
    if (disk.stat(target) !== null) disk.unlink(target);
    throw error;
  } finally {
    file.close();
  }
}

function* written(
  disk: Disk,
  target: string,
  source: Version2Source,
  nowUs: number,
): Steps<SnapshotHeader> {
  let done = 0;
  let total = 0;
  const onProgress = (doneBytes: number, totalBytes: number): void => {
    done = doneBytes;
    total = totalBytes;
  };
  const writing = writeSnapshotInSteps(disk, target, source, { createdUs: nowUs, onProgress });
  for (;;) {
    const step = writing.next();
    if (step.done === true) return step.value;
    if (total > 0) yield { phase: 'writing', unit: 'bytes', done, total };
  }
}

/** Every block. @throws DAMAGED */
function* verified(disk: Disk, target: string): Steps<void> {
  const snapshot = openSnapshotFile(disk, target);
  const total = snapshot.header.fileBytes;
  try {
    const blocks = checkBlocks(snapshot, (error) => {
      throw error;
    });
    for (const done of blocks) yield { phase: 'verifying', unit: 'bytes', done, total };
  } finally {
    snapshot.file.close();
  }
}

/** An old file among a newer store's was put there over the newer one: whose writes are to count, nobody can say. */
function refuseOtherFiles(disk: Disk, directory: string): void {
  const names = disk.list(directory);
  const segment = segmentOrdinals(names)[0];
  const other =
    segment === undefined ? names.find((name) => name === PREVIOUS_NAME) : segmentName(segment);
  if (other === undefined) return;
  throw new SutraError(
    'DAMAGED',
    `${join(directory, SNAPSHOT_NAME)} is of version 2, but ${other} beside it is a newer store’s`,
    {
      hint:
        'Nothing was changed. An older file was put in the place of a newer one: move it to a ' +
        'directory of its own, and see what is left here with `sutra verify`.',
    },
  );
}
