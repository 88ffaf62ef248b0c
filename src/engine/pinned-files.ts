/**
 * The files of a store as they are at one moment, for a check that takes minutes beside a writer that goes on. storage.dat is
 * only ever replaced by rename and segments only grow or go, so handles that are open, with a limit for each segment, stay
 * what they were: everything that reads a store reads this one state. Nothing is locked, created or changed.
 *
 * Which limits make one state of it is explained in lock-file.ts; this takes the same steps as a reader that opens.
 */

import { basename, join, normalize } from 'node:path';

import { SutraError } from '../errors.js';
import type { Disk, DiskFile, FileIdentity, OpenMode } from './disk.js';
import { LockFile, type DurableRecord } from './lock-file.js';
import { segmentName, segmentOrdinals } from './log/segment-files.js';
import { errorCode } from './log/write-log.js';
import { PREVIOUS_NAME, SNAPSHOT_NAME } from './recovery.js';

const ATTEMPTS = 20;

export class PinnedFiles {
  private constructor(
    readonly directory: string,
    private readonly files: ReadonlyMap<string, DiskFile>,
    /** Names of all that is in the directory. */
    readonly names: readonly string[],
    readonly durable: DurableRecord | null,
    /** Whether a writer is at work. */
    readonly held: boolean,
    /** Segments that belong to the state, ascending, and up to which byte. */
    readonly limits: ReadonlyMap<number, number>,
  ) {}

  /**
   * `owner`: the caller holds the lock, and this is the record that its predecessor left.
   * @throws NO_SUCH_DIRECTORY, NOT_A_STORE, UNAVAILABLE, and what the disk throws
   */
  static open(
    disk: Disk,
    directory: string,
    owner: { readonly durable: DurableRecord | null } | null = null,
  ): PinnedFiles {
    const stat = disk.stat(directory);
    if (stat === null) {
      throw new SutraError('NO_SUCH_DIRECTORY', `${directory}: no such directory`);
    }
    if (!stat.isDirectory) throw new SutraError('NOT_A_STORE', `${directory} is not a directory`);
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const pinned = PinnedFiles.attempt(disk, directory, owner, attempt);
      if (pinned !== null) return pinned;
    }
    throw new SutraError(
      'UNAVAILABLE',
      `${directory} changes faster than it can be read; try again`,
    );
  }

  private static attempt(
    disk: Disk,
    directory: string,
    owner: { readonly durable: DurableRecord | null } | null,
    attempt: number,
  ): PinnedFiles | null {
    const names = disk.list(directory);
    if (!names.some(isStoreFile)) {
      throw new SutraError('NOT_A_STORE', `${directory} holds no sutra store`);
    }
    const files = new Map<string, DiskFile>();
    let kept = false;
    try {
      const ordinals = segmentOrdinals(names);
      for (const name of names) {
        const isData = name === SNAPSHOT_NAME || name === PREVIOUS_NAME;
        if (!isData && segmentOrdinals([name]).length === 0) continue;
        try {
          files.set(name, disk.open(join(directory, name), 'read'));
        } catch (error) {
          const code = errorCode(error);
          if (code === 'ENOENT') return null;
          if (code === 'EISDIR' || code === 'EINVAL') {
            throw new SutraError('NOT_A_STORE', `${join(directory, name)} is not a file`);
          }
          throw error;
        }
      }
      const limits = new Map<number, number>();
      for (const ordinal of ordinals) {
        limits.set(ordinal, files.get(segmentName(ordinal))?.identity().size ?? 0);
      }
      const lock = owner === null ? LockFile.read(disk, directory) : null;
      const durable = owner === null ? (lock?.durable ?? null) : owner.durable;
      const held = lock?.held ?? false;
      if (held && durable !== null) {
        // The writer may have gone on since: all before the segment that the record names is whole, whatever its size was.
        for (const ordinal of ordinals) {
          if (ordinal < durable.segmentOrdinal) limits.set(ordinal, Number.MAX_SAFE_INTEGER);
          else if (ordinal === durable.segmentOrdinal) limits.set(ordinal, durable.segmentBytes);
          else limits.delete(ordinal);
        }
        if (!limits.has(durable.segmentOrdinal) && attempt < ATTEMPTS) return null;
      }
      if (moved(disk, directory, files, held ? null : limits) && attempt < ATTEMPTS) return null;
      kept = true;
      return new PinnedFiles(directory, files, names, durable, held, limits);
    } finally {
      if (!kept) for (const file of files.values()) file.close();
    }
  }

  has(name: string): boolean {
    return this.files.has(name);
  }

  /** The path that messages name it by. */
  path(name: string): string {
    return join(this.directory, name);
  }

  /** The open file of that name. */
  file(name: string): DiskFile {
    const file = this.files.get(name);
    if (file === undefined) throw new Error(`${name} is not pinned`);
    return file;
  }

  /** As a disk that shows these files only, without those named. What it opens may be closed; the handles stay. */
  view(without: readonly string[] = []): Disk {
    return new PinnedDisk(this, without);
  }

  close(): void {
    for (const file of this.files.values()) file.close();
  }
}

export function isStoreFile(name: string): boolean {
  return (
    name === SNAPSHOT_NAME ||
    name === PREVIOUS_NAME ||
    name === 'lock' ||
    segmentOrdinals([name]).length > 0
  );
}

/** Whether a name no longer means the file that was opened; with limits, also whether a segment has another size. */
function moved(
  disk: Disk,
  directory: string,
  files: ReadonlyMap<string, DiskFile>,
  limits: ReadonlyMap<number, number> | null,
): boolean {
  for (const [name, file] of files) {
    const now = disk.stat(join(directory, name));
    if (now === null || now.inode !== file.identity().inode) return true;
    const [ordinal] = segmentOrdinals([name]);
    if (limits !== null && ordinal !== undefined && limits.get(ordinal) !== now.size) return true;
  }
  return disk
    .list(directory)
    .filter(isStoreFile)
    .some((name) => name !== 'lock' && !files.has(name));
}

class PinnedDisk implements Disk {
  constructor(
    private readonly pinned: PinnedFiles,
    private readonly without: readonly string[],
  ) {}

  open(path: string, mode: OpenMode): DiskFile {
    const name = this.nameOf(path);
    if (mode !== 'read' || name === null) throw refused('open', path);
    return new PinnedFile(this.pinned.file(name));
  }

  stat(path: string): (FileIdentity & { readonly isDirectory: boolean }) | null {
    const name = this.nameOf(path);
    return name === null ? null : { ...this.pinned.file(name).identity(), isDirectory: false };
  }

  list(): string[] {
    return this.pinned.names.filter((name) => !this.without.includes(name));
  }

  private nameOf(path: string): string | null {
    const name = basename(path);
    const isPinned = this.pinned.has(name) && this.pinned.path(name) === normalize(path);
    return isPinned && !this.without.includes(name) ? name : null;
  }

  makeDirectory(path: string): void {
    throw refused('mkdir', path);
  }
  rename(from: string): void {
    throw refused('rename', from);
  }
  link(existing: string): void {
    throw refused('link', existing);
  }
  unlink(path: string): void {
    throw refused('unlink', path);
  }
  unlinkAsync(path: string): Promise<void> {
    return Promise.reject(refused('unlink', path));
  }
  syncDirectory(path: string): void {
    throw refused('fsync', path);
  }
  syncDirectoryAsync(path: string): Promise<void> {
    return Promise.reject(refused('fsync', path));
  }
}

/** One user's claim to a pinned file. */
class PinnedFile implements DiskFile {
  readonly path: string;

  constructor(private readonly file: DiskFile) {
    this.path = file.path;
  }

  identity(): FileIdentity {
    return this.file.identity();
  }
  read(target: Uint8Array, offset: number, length: number, position: number): number {
    return this.file.read(target, offset, length, position);
  }
  map(offset: number, length: number): ReturnType<DiskFile['map']> {
    return this.file.map(offset, length);
  }
  isLockedElsewhere(): boolean {
    return this.file.isLockedElsewhere();
  }
  close(): void {
    // The handle is closed with all the others.
  }
  tryLock(): boolean {
    throw refused('fcntl', this.path);
  }
  write(): number {
    throw refused('write', this.path);
  }
  writeAsync(): Promise<number> {
    return Promise.reject(refused('write', this.path));
  }
  datasync(): void {
    throw refused('fdatasync', this.path);
  }
  datasyncAsync(): Promise<void> {
    return Promise.reject(refused('fdatasync', this.path));
  }
  sync(): void {
    throw refused('fsync', this.path);
  }
  truncate(): void {
    throw refused('ftruncate', this.path);
  }
}

function refused(syscall: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`EROFS: a view of files to read, ${syscall} '${path}'`), {
    code: 'EROFS',
    syscall,
    path,
  });
}
