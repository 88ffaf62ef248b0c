/**
 * Keeping a file under a second name. A hard link keeps the very bytes, bad sectors included, and takes no space: files of a store
 * are replaced by rename and never written in place (the lock file apart). Where the file system has no links it is a copy.
 */

import { dirname, join } from 'node:path';

import type { Disk } from './disk.js';
import { errorCode } from './log/write-log.js';
import { copyRange } from './recovery.js';

/** `to` is free. The bytes are durable then; the name is when its directory is synced. */
export function linkOrCopy(disk: Disk, from: string, to: string): void {
  try {
    disk.link(from, to);
  } catch (error) {
    const code = errorCode(error);
    const cannotLink = code === 'EPERM' || code === 'ENOTSUP' || code === 'EMLINK';
    if (!cannotLink) throw error;
    copyWhole(disk, from, to);
    return;
  }
  const file = disk.open(to, 'update');
  try {
    file.sync();
  } finally {
    file.close();
  }
}

function copyWhole(disk: Disk, from: string, to: string): void {
  copyRange(disk, from, 0, disk.stat(from)?.size ?? 0, to);
}

/**
 * Gives the file at `path` the second name `name` in its directory, durably, or that name with a number behind it when it is
 * taken by another file. Returns the name; one that was given before, by somebody who was killed then, is it again.
 */
export function keepFile(disk: Disk, path: string, name: string): string {
  const directory = dirname(path);
  const inode = disk.stat(path)?.inode;
  for (let n = 1; ; n++) {
    const kept = n === 1 ? name : `${name}-${n}`;
    const there = disk.stat(join(directory, kept));
    if (there !== null && there.inode !== inode) continue;
    if (there === null) linkOrCopy(disk, path, join(directory, kept));
    disk.syncDirectory(directory);
    return kept;
  }
}

/** Links files of a store into a new directory in it, and makes files, names and directory durable. Returns its name. */
export function keepOriginals(
  disk: Disk,
  directory: string,
  names: readonly string[],
  prefix: string,
  nowUs: number,
): string {
  const stamp = new Date(nowUs / 1000).toISOString().replace(/[-:]|\.\d+/g, '');
  let keptIn = `${prefix}-${stamp}`;
  for (let n = 2; disk.stat(join(directory, keptIn)) !== null; n++)
    keptIn = `${prefix}-${stamp}-${n}`;
  const kept = join(directory, keptIn);
  disk.makeDirectory(kept);
  disk.syncDirectory(directory);
  for (const name of names) {
    const from = join(directory, name);
    const to = join(kept, name);
    // The lock file is written in place, so a second name of it would not keep what it was.
    if (name === 'lock') copyWhole(disk, from, to);
    else linkOrCopy(disk, from, to);
  }
  disk.syncDirectory(kept);
  return keptIn;
}
