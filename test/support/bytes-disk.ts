/** A Disk whose every file is the same bytes in memory: for opening thousands of altered files without writing one. */

import type { Disk, DiskFile, FileIdentity, OpenMode } from '#sutra/engine/disk';

import { PlainDisk } from './plain-disk.js';

export class BytesFile implements DiskFile {
  constructor(
    readonly path: string,
    private readonly bytes: Uint8Array,
  ) {}

  identity(): FileIdentity {
    return { size: this.bytes.length, inode: 1, device: 1 };
  }

  read(target: Uint8Array, offset: number, length: number, position: number): number {
    const part = this.bytes.subarray(position, position + length);
    target.set(part, offset);
    return part.length;
  }

  map(): null {
    return null;
  }

  isLockedElsewhere(): boolean {
    return false;
  }

  close(): void {
    // Nothing is held.
  }

  write(): number {
    throw new Error('read only');
  }

  writeAsync(): Promise<number> {
    return Promise.reject(new Error('read only'));
  }

  datasync(): void {
    throw new Error('read only');
  }

  datasyncAsync(): Promise<void> {
    return Promise.reject(new Error('read only'));
  }

  sync(): void {
    throw new Error('read only');
  }

  truncate(): void {
    throw new Error('read only');
  }

  tryLock(): boolean {
    return false;
  }
}

export class BytesDisk extends PlainDisk implements Disk {
  constructor(private readonly bytes: Uint8Array) {
    super();
  }

  override open(path: string, mode: OpenMode): DiskFile {
    if (mode !== 'read') throw new Error('read only');
    return new BytesFile(path, this.bytes);
  }
}
