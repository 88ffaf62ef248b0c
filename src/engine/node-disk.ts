/**
 * The real disk: `Disk` and `DiskFile` over node:fs, with mappings and locks from libc.ts. The only engine file that imports
 * node:fs.
 *
 * Invariants: files are made with mode 0600, directories with 0700. Every failure carries its POSIX `code`. A short write is
 * returned as it is. A file is not closed under a write or a sync that is still running in the thread pool: the kernel could
 * have given its descriptor to another file by then, and the bytes would land there.
 */

import * as fs from 'node:fs';
import { dirname, resolve } from 'node:path';

import { SutraError } from '../errors.js';
import type { Disk, DiskFile, FileIdentity, Mapping, OpenMode } from './disk.js';
import { loadLibc, type Libc } from './libc.js';

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

/** Mappings start here: a multiple of every page size in use (4, 16 and 64 KiB). */
const MAP_ALIGNMENT = 64 * 1024;
/** A larger ArrayBuffer over foreign memory can abort the process (design.md, decision 7). */
const MAP_LIMIT = 2 ** 31;

const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  read: fs.constants.O_RDONLY,
  update: fs.constants.O_RDWR,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
  ensure: fs.constants.O_RDWR | fs.constants.O_CREAT,
};

export class NodeDisk implements Disk {
  open(path: string, mode: OpenMode): DiskFile {
    // Looked at before it is opened: opening a named pipe would wait for its other end, for ever.
    const found = lookUp(path);
    if (found?.isDirectory() === true && mode !== 'create') {
      throw posixError('EISDIR', 'is a directory', 'open', path);
    }
    if (found?.isFile() === false && mode !== 'create') {
      throw posixError('EINVAL', 'not a regular file', 'open', path);
    }
    return new NodeFile(path, fs.openSync(path, OPEN_FLAGS[mode], FILE_MODE));
  }

  stat(path: string): (FileIdentity & { readonly isDirectory: boolean }) | null {
    const found = lookUp(path);
    if (found === undefined) return null;
    return {
      size: found.size,
      inode: found.ino,
      device: found.dev,
      isDirectory: found.isDirectory(),
    };
  }

  list(directory: string): string[] {
    return fs.readdirSync(directory).sort();
  }

  makeDirectory(path: string): void {
    // Not mkdirSync's `recursive`: where a parent takes no directories but says ENOENT, as /proc does, it never returns.
    const missing: string[] = [];
    for (let at = resolve(path); fs.statSync(at, { throwIfNoEntry: false }) === undefined;) {
      missing.push(at);
      at = dirname(at);
    }
    for (const at of missing.reverse()) {
      try {
        fs.mkdirSync(at, DIRECTORY_MODE);
      } catch (error) {
        // Somebody else may have made it meanwhile.
        if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
      }
    }
  }

  rename(from: string, to: string): void {
    fs.renameSync(from, to);
  }

  link(existing: string, to: string): void {
    fs.linkSync(existing, to);
  }

  unlink(path: string): void {
    fs.unlinkSync(path);
  }

  unlinkAsync(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.unlink(path, settle(resolve, reject));
    });
  }

  syncDirectory(path: string): void {
    const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  }

  syncDirectoryAsync(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.open(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY, (openError, fd) => {
        if (openError !== null) {
          reject(openError);
          return;
        }
        fs.fsync(fd, (syncError) => {
          fs.close(fd, (closeError) => {
            // The sync's own failure matters more than that of the close behind it.
            const error = syncError ?? closeError ?? null;
            if (error === null) resolve();
            else reject(error);
          });
        });
      });
    });
  }
}

class NodeFile implements DiskFile {
  readonly path: string;
  /** -1 when closed. */
  #fd: number;
  /** Writes and syncs that run in the thread pool on this descriptor. */
  #running = 0;

  constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  identity(): FileIdentity {
    const { size, ino, dev } = fs.fstatSync(this.#descriptor('fstat'));
    return { size, inode: ino, device: dev };
  }

  read(target: Uint8Array, offset: number, length: number, position: number): number {
    return fs.readSync(this.#descriptor('read'), target, offset, length, position);
  }

  write(source: Uint8Array, offset: number, length: number, position: number): number {
    return fs.writeSync(this.#descriptor('write'), source, offset, length, position);
  }

  async writeAsync(
    source: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<number> {
    const fd = this.#descriptor('write');
    this.#running++;
    try {
      return await new Promise<number>((resolve, reject) => {
        fs.write(fd, source, offset, length, position, (error, count) => {
          if (error === null) resolve(count);
          else reject(error);
        });
      });
    } finally {
      this.#running--;
    }
  }

  datasync(): void {
    fs.fdatasyncSync(this.#descriptor('fdatasync'));
  }

  async datasyncAsync(): Promise<void> {
    const fd = this.#descriptor('fdatasync');
    this.#running++;
    try {
      await new Promise<void>((resolve, reject) => {
        fs.fdatasync(fd, settle(resolve, reject));
      });
    } finally {
      this.#running--;
    }
  }

  sync(): void {
    fs.fsyncSync(this.#descriptor('fsync'));
  }

  truncate(size: number): void {
    fs.ftruncateSync(this.#descriptor('ftruncate'), size);
  }

  /**
   * As `DiskFile.map` says; a wrong range is a RangeError, since it is our bug. `map(0, 0)` of an empty file is an empty
   * buffer (mmap refuses length 0). The mapping outlives this file's close.
   *
   * The file must not be truncated while it is mapped (touching a page beyond its end is SIGBUS), and nothing detaches the
   * typed arrays over the buffer on unmap: both are the caller's duty.
   */
  map(offset: number, length: number): Mapping | null {
    const fd = this.#descriptor('mmap');
    const { size } = fs.fstatSync(fd);
    if (size === 0 && offset === 0 && length === 0) {
      return { buffer: new ArrayBuffer(0), unmap: () => undefined };
    }
    const aligned = Number.isSafeInteger(offset) && offset >= 0 && offset % MAP_ALIGNMENT === 0;
    const sized = Number.isSafeInteger(length) && length > 0 && length < MAP_LIMIT;
    if (!aligned || !sized || offset + length > size) {
      throw new RangeError(
        `cannot map ${length} bytes at ${offset} of ${this.path} (${size} bytes): expected an offset that is a ` +
          `multiple of ${MAP_ALIGNMENT}, a length from 1 to ${MAP_LIMIT - 1}, and the range within the file`,
      );
    }
    return loadLibc().libc?.map(fd, offset, length) ?? null;
  }

  tryLock(): boolean {
    return lockingLibc(this.path).tryLock(this.#descriptor('fcntl'));
  }

  isLockedElsewhere(): boolean {
    return lockingLibc(this.path).isLockedElsewhere(this.#descriptor('fcntl'));
  }

  close(): void {
    if (this.#fd === -1) return;
    if (this.#running !== 0) {
      throw posixError('EBUSY', `${this.#running} writes or syncs still run`, 'close', this.path);
    }
    const fd = this.#fd;
    this.#fd = -1;
    fs.closeSync(fd);
  }

  #descriptor(syscall: string): number {
    if (this.#fd === -1) throw posixError('EBADF', 'file is closed', syscall, this.path);
    return this.#fd;
  }
}

/** Locks have no fallback: two writers would destroy the store, so without a kernel lock there is no writer at all. */
function lockingLibc(path: string): Libc {
  const { libc, reason } = loadLibc();
  if (libc !== null) return libc;
  throw new SutraError('INTERNAL', `cannot lock ${path}: kernel file locks are ${reason}`, {
    hint: 'sutra needs 64-bit Linux or macOS and the koffi package to lock a store.',
  });
}

function lookUp(path: string): fs.Stats | undefined {
  try {
    return fs.statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    // A name below a file: throwIfNoEntry covers it in newer versions of Node, not in 20.
    if (error instanceof Error && 'code' in error && error.code === 'ENOTDIR') return undefined;
    throw error;
  }
}

function settle(
  resolve: () => void,
  reject: (error: NodeJS.ErrnoException) => void,
): (error: NodeJS.ErrnoException | null) => void {
  return (error) => {
    if (error === null) resolve();
    else reject(error);
  };
}

function posixError(
  code: string,
  reason: string,
  syscall: string,
  path: string,
): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${reason}, ${syscall} '${path}'`), {
    code,
    syscall,
    path,
  });
}
