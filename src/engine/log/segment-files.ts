/** The log segments of a store directory: their names, and open handles for reading payloads back by ordinal. */

import { join } from 'node:path';

import type { Disk, DiskFile } from '../disk.js';

const PATTERN = /^wal-(\d{10})\.log$/;

export function segmentName(ordinal: number): string {
  return `wal-${String(ordinal).padStart(10, '0')}.log`;
}

/** Ordinals of the segments in a directory listing, ascending. */
export function segmentOrdinals(names: readonly string[]): number[] {
  const ordinals: number[] = [];
  for (const name of names) {
    const digits = PATTERN.exec(name)?.[1];
    if (digits !== undefined) ordinals.push(Number(digits));
  }
  return ordinals.sort((a, b) => a - b);
}

export class SegmentFiles {
  private readonly open = new Map<number, DiskFile>();

  constructor(
    private readonly disk: Disk,
    private readonly directory: string,
  ) {}

  path(ordinal: number): string {
    return join(this.directory, segmentName(ordinal));
  }

  /** The segment's read handle; kept open, so that it can be read after the file's name is gone. */
  readonly get = (ordinal: number): DiskFile => {
    const known = this.open.get(ordinal);
    if (known !== undefined) return known;
    const file = this.disk.open(this.path(ordinal), 'read');
    this.open.set(ordinal, file);
    return file;
  };

  /** Closes the handles of segments up to and including `ordinal`. */
  closeThrough(ordinal: number): void {
    for (const [key, file] of this.open) {
      if (key > ordinal) continue;
      file.close();
      this.open.delete(key);
    }
  }

  closeAll(): void {
    this.closeThrough(Number.MAX_SAFE_INTEGER);
  }
}
