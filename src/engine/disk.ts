/**
 * The disk seam. Everything the engine asks of a file system goes through these two interfaces, handed in by
 * constructor, so that tests can put a simulated disk underneath that loses what was not synced, tears sectors, fails the
 * Nth operation or fills up. `node-disk.ts` is the real one and the only engine file that imports node:fs.
 *
 * All failures throw (or reject with) an Error that carries the POSIX `code` (ENOENT, EACCES, ENOSPC, EIO, ...).
 * Sync methods are for opening and for worker threads; the serving thread uses the promise forms for writes and syncs.
 * A write may be short: it returns the bytes it took, and the caller must look.
 */

export type OpenMode =
  /** Read only; ENOENT when absent. */
  | 'read'
  /** Read and write; ENOENT when absent. */
  | 'update'
  /** Read and write; created with mode 0600; EEXIST when present. */
  | 'create'
  /** Read and write; created with mode 0600 when absent, kept as it is when present. */
  | 'ensure';

export interface FileIdentity {
  readonly size: number;
  readonly inode: number;
  readonly device: number;
}

/** A read-only mapping of a file. No view made by `at` may be read after `unmap()`: that would crash the process. */
export interface Mapping {
  /** The mapped bytes [offset, offset + length) of the file; both within the mapping; offset a multiple of 64 KiB. */
  readonly buffer: ArrayBuffer;
  unmap(): void;
}

export interface DiskFile {
  readonly path: string;
  identity(): FileIdentity;
  /** Reads up to length bytes at position into target[offset..]; returns the count, 0 at the end of the file. */
  read(target: Uint8Array, offset: number, length: number, position: number): number;
  /** Writes up to length bytes of source[offset..] at position; returns the count it took (may be short). */
  write(source: Uint8Array, offset: number, length: number, position: number): number;
  writeAsync(source: Uint8Array, offset: number, length: number, position: number): Promise<number>;
  /** fdatasync: data and the size that is needed to read it back. */
  datasync(): void;
  datasyncAsync(): Promise<void>;
  /** fsync. */
  sync(): void;
  truncate(size: number): void;
  /**
   * Maps [offset, offset + length) read-only and shared, or returns null where mapping is not available (then callers read
   * into memory). offset is a multiple of 64 KiB, length < 2 GiB, and the range lies within the file (checked against fstat).
   */
  map(offset: number, length: number): Mapping | null;
  /**
   * Tries to take the exclusive kernel lock of this open file (an OFD lock: it dies with the process, and a second
   * open of the same file in the same process conflicts too). True when taken.
   */
  tryLock(): boolean;
  /** Whether some other open file description holds the exclusive lock. Takes nothing. */
  isLockedElsewhere(): boolean;
  close(): void;
}

export interface Disk {
  open(path: string, mode: OpenMode): DiskFile;
  /** null when there is nothing by that name. */
  stat(path: string): (FileIdentity & { readonly isDirectory: boolean }) | null;
  /** Names in a directory, sorted. */
  list(directory: string): string[];
  /** Creates a directory (mode 0700) and its missing parents; fine when it is there. */
  makeDirectory(path: string): void;
  rename(from: string, to: string): void;
  /** Hard link; EEXIST when `to` is there. */
  link(existing: string, to: string): void;
  unlink(path: string): void;
  unlinkAsync(path: string): Promise<void>;
  /** fsync of a directory: makes creations, renames and removals in it durable. */
  syncDirectory(path: string): void;
  syncDirectoryAsync(path: string): Promise<void>;
}
