/**
 * A Disk over node:fs for tests that need files and no more: no mapping (so readers take their fall-back) and no locks.
 */

import * as fs from 'node:fs';

import type { Disk, DiskFile, FileIdentity, Mapping, OpenMode } from '#sutra/engine/disk';

const FLAGS: Record<OpenMode, number> = {
  read: fs.constants.O_RDONLY,
  update: fs.constants.O_RDWR,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
  ensure: fs.constants.O_RDWR | fs.constants.O_CREAT,
};

export class PlainFile implements DiskFile {
  readonly path: string;
  private readonly fd: number;

  constructor(path: string, mode: OpenMode) {
    this.path = path;
    this.fd = fs.openSync(path, FLAGS[mode], 0o600);
  }

  identity(): FileIdentity {
    const stat = fs.fstatSync(this.fd);
    return { size: stat.size, inode: stat.ino, device: stat.dev };
  }

  read(target: Uint8Array, offset: number, length: number, position: number): number {
    return fs.readSync(this.fd, target, offset, length, position);
  }

  write(source: Uint8Array, offset: number, length: number, position: number): number {
    return fs.writeSync(this.fd, source, offset, length, position);
  }

  writeAsync(
    source: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<number> {
    return Promise.resolve(this.write(source, offset, length, position));
  }

  datasync(): void {
    fs.fdatasyncSync(this.fd);
  }

  datasyncAsync(): Promise<void> {
    this.datasync();
    return Promise.resolve();
  }

  sync(): void {
    fs.fsyncSync(this.fd);
  }

  truncate(size: number): void {
    fs.ftruncateSync(this.fd, size);
  }

  map(_offset: number, _length: number): Mapping | null {
    return null;
  }

  tryLock(): boolean {
    return true;
  }

  isLockedElsewhere(): boolean {
    return false;
  }

  close(): void {
    fs.closeSync(this.fd);
  }
}

export class PlainDisk implements Disk {
  open(path: string, mode: OpenMode): DiskFile {
    return new PlainFile(path, mode);
  }

  stat(path: string): (FileIdentity & { readonly isDirectory: boolean }) | null {
    const stat = fs.statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return null;
    const { size, ino: inode, dev: device } = stat;
    return { size, inode, device, isDirectory: stat.isDirectory() };
  }

  list(directory: string): string[] {
    return fs.readdirSync(directory).sort();
  }

  makeDirectory(path: string): void {
    fs.mkdirSync(path, { recursive: true, mode: 0o700 });
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
    return fs.promises.unlink(path);
  }

  syncDirectory(path: string): void {
    const fd = fs.openSync(path, 'r');
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  }

  syncDirectoryAsync(path: string): Promise<void> {
    this.syncDirectory(path);
    return Promise.resolve();
  }
}
