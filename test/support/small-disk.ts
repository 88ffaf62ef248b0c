/**
 * A small real file system to fill up: ext4 in a file, mounted by loop, or else a tmpfs of that size. Both need root; without
 * it (or in a container that may not mount) there is none, and the reason is told.
 */

import { spawnSync } from 'node:child_process';
import {
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

import { temporaryDirectory } from './fixture.js';

const SIZE_MIB = 64;

export class SmallDisk {
  private isMounted = true;

  private constructor(
    readonly path: string,
    /** `ext4` or `tmpfs`. */
    readonly kind: string,
  ) {}

  /** Mounts one, until `unmount` or the end of the process; a text says why there is none. */
  static mount(): SmallDisk | string {
    const directory = temporaryDirectory('disk');
    const path = join(directory, 'mounted');
    mkdirSync(path);
    const image = join(directory, 'image');
    closeSync(openSync(image, 'wx'));
    truncateSync(image, SIZE_MIB * 1024 * 1024);
    // -m 0: no blocks kept back for root, which the server here may be.
    const failed =
      run('mkfs.ext4', ['-q', '-F', '-m', '0', image]) ?? run('mount', ['-o', 'loop', image, path]);
    if (failed === null) return SmallDisk.mounted(path, 'ext4');
    const failedToo = run('mount', ['-t', 'tmpfs', '-o', `size=${SIZE_MIB}m`, 'none', path]);
    if (failedToo === null) return SmallDisk.mounted(path, 'tmpfs');
    return `${failed}; ${failedToo}`;
  }

  private static mounted(path: string, kind: string): SmallDisk {
    const disk = new SmallDisk(path, kind);
    // Before the fixture removes the directory that it is mounted in.
    process.prependOnceListener('exit', () => {
      disk.unmount();
    });
    return disk;
  }

  unmount(): void {
    if (!this.isMounted) return;
    this.isMounted = false;
    // Lazily: a server that a failed test left may still have files open there.
    const failed = run('umount', ['-l', this.path]);
    if (failed !== null) throw new Error(failed);
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  /** Takes everything but `leave` bytes; in between there is never more room than before or after. */
  fill(leave: number): void {
    const file = openSync(join(this.path, 'filler'), 'a');
    const zeros = new Uint8Array(65_536);
    let { size } = fstatSync(file);
    const writeUntilFull = (): void => {
      try {
        for (;;) size += writeSync(file, zeros);
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
      }
    };
    try {
      // What ext4 sets aside for blocks not allocated yet is given back when they are: full is what stays full.
      for (let before = -1; before < size;) {
        before = size;
        writeUntilFull();
        fsyncSync(file);
      }
    } finally {
      ftruncateSync(file, Math.max(0, size - leave));
      closeSync(file);
    }
  }

  release(): void {
    rmSync(join(this.path, 'filler'), { force: true });
  }
}

/** null when it worked. */
function run(command: string, args: readonly string[]): string | null {
  const { error, status, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
  });
  if (error !== undefined) return `${command}: ${error.message}`;
  return status === 0 ? null : `${command}: ${stderr.trim()}`;
}
