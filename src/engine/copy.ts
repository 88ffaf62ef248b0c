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

export function copyWhole(disk: Disk, from: string, to: string): void {
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
