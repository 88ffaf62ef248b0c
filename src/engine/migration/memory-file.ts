/**
 * One file in memory, behind the disk seam: what a reader makes of a storage.dat of version 2, since readers create nothing.
 * It is not a file system: there is one name, and nothing but creating, writing and reading it.
 */

import type { Disk, DiskFile, FileIdentity, OpenMode } from '../disk.js';
import { ForwardingDisk } from '../forwarding-disk.js';

const CHUNK_BYTES = 1 << 20;

/** The bytes; any number of `MemoryFile`s read them. */
export class MemoryBytes {
  private readonly chunks: Uint8Array[] = [];
  size = 0;

  read(target: Uint8Array, offset: number, length: number, position: number): number {
    const wanted = Math.max(0, Math.min(length, this.size - position));
    let done = 0;
    while (done < wanted) {
      const from = position + done;
      const at = from % CHUNK_BYTES;
      const count = Math.min(CHUNK_BYTES - at, wanted - done);
      const chunk = this.chunks[Math.floor(from / CHUNK_BYTES)];
      if (chunk === undefined) target.fill(0, offset + done, offset + done + count);
      else target.set(chunk.subarray(at, at + count), offset + done);
      done += count;
    }
    return wanted;
  }

  write(source: Uint8Array, offset: number, length: number, position: number): number {
    let done = 0;
    while (done < length) {
      const to = position + done;
      const at = to % CHUNK_BYTES;
      const count = Math.min(CHUNK_BYTES - at, length - done);
      const chunk = (this.chunks[Math.floor(to / CHUNK_BYTES)] ??= new Uint8Array(CHUNK_BYTES));
      chunk.set(source.subarray(offset + done, offset + done + count), at);
      done += count;
    }
    this.size = Math.max(this.size, position + length);
    return length;
  }
}

export class MemoryFile implements DiskFile {
  constructor(
    readonly path: string,
    private readonly bytes: MemoryBytes,
    /** Of the file that it stands for. */
    private readonly of: FileIdentity,
  ) {}

  identity(): FileIdentity {
    return { ...this.of, size: this.bytes.size };
  }
  read(target: Uint8Array, offset: number, length: number, position: number): number {
    return this.bytes.read(target, offset, length, position);
  }
  write(source: Uint8Array, offset: number, length: number, position: number): number {
    return this.bytes.write(source, offset, length, position);
  }
  writeAsync(
    source: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<number> {
    return Promise.resolve(this.write(source, offset, length, position));
  }
  truncate(size: number): void {
    this.bytes.size = size;
  }
  /** There is nothing to sync, to map, or to close: the bytes go with the last who holds them. */
  datasync(): void {
    return;
  }
  datasyncAsync(): Promise<void> {
    return Promise.resolve();
  }
  sync(): void {
    return;
  }
  map(): null {
    return null;
  }
  tryLock(): boolean {
    return true;
  }
  isLockedElsewhere(): boolean {
    return false;
  }
  close(): void {
    return;
  }
}

/** Another disk, on which one path means bytes in memory. Everything else is that disk's. */
export class DiskWithMemoryFile extends ForwardingDisk {
  constructor(
    disk: Disk,
    private readonly path: string,
    private readonly bytes: MemoryBytes,
    private readonly of: FileIdentity,
  ) {
    super(disk);
  }

  override open(path: string, mode: OpenMode): DiskFile {
    if (path !== this.path) return super.open(path, mode);
    return new MemoryFile(path, this.bytes, this.of);
  }
}
