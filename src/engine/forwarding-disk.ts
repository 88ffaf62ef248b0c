/** A disk that is another one, for classes that change what some of its calls do. */

import type { Disk, DiskFile, OpenMode } from './disk.js';

export class ForwardingDisk implements Disk {
  constructor(private readonly disk: Disk) {}

  open(path: string, mode: OpenMode): DiskFile {
    return this.disk.open(path, mode);
  }
  stat(path: string): ReturnType<Disk['stat']> {
    return this.disk.stat(path);
  }
  list(directory: string): string[] {
    return this.disk.list(directory);
  }
  makeDirectory(path: string): void {
    this.disk.makeDirectory(path);
  }
  rename(from: string, to: string): void {
    this.disk.rename(from, to);
  }
  link(existing: string, to: string): void {
    this.disk.link(existing, to);
  }
  unlink(path: string): void {
    this.disk.unlink(path);
  }
  unlinkAsync(path: string): Promise<void> {
    return this.disk.unlinkAsync(path);
  }
  syncDirectory(path: string): void {
    this.disk.syncDirectory(path);
  }
  syncDirectoryAsync(path: string): Promise<void> {
    return this.disk.syncDirectoryAsync(path);
  }
}
