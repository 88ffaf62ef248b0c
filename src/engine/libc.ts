/**
 * The two things the engine needs from the C library that Node does not offer: read-only file mappings (mmap) and open file
 * description locks (fcntl). The only file that imports koffi, and it loads it on first use, so that a process that neither
 * maps nor locks does not pay for it.
 *
 * Constants and the layout of `struct flock` differ between systems; they are written down here for 64-bit little-endian
 * Linux and macOS, and everywhere else `libc()` is null. mmap(2), fcntl_locking(2), F_OFD_SETLK(2const), Darwin's fcntl.h.
 */

import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';

import type * as Koffi from 'koffi';

/** mmap's constants and fcntl's, with the offsets of the fields of struct flock that are not zero. */
interface Platform {
  readonly protRead: number;
  readonly mapShared: number;
  readonly ofdSetLock: number;
  readonly ofdGetLock: number;
  readonly writeLock: number;
  readonly unlocked: number;
  readonly flockBytes: number;
  readonly flockTypeOffset: number;
}

/**
 * Linux: int16 l_type, int16 l_whence, 4 bytes of padding, int64 l_start, int64 l_len, int32 l_pid, padding.
 * macOS: int64 l_start, int64 l_len, int32 l_pid, int16 l_type, int16 l_whence.
 * whence = SEEK_SET, start = 0 and len = 0 is the whole file, however it grows; pid must be 0 for OFD locks. All are zero.
 */
const PLATFORMS: Partial<Record<NodeJS.Platform, Platform>> = {
  linux: {
    protRead: 1,
    mapShared: 1,
    ofdSetLock: 37,
    ofdGetLock: 36,
    writeLock: 1,
    unlocked: 2,
    flockBytes: 32,
    flockTypeOffset: 0,
  },
  darwin: {
    protRead: 1,
    mapShared: 1,
    ofdSetLock: 90,
    ofdGetLock: 92,
    writeLock: 3,
    unlocked: 2,
    flockBytes: 24,
    flockTypeOffset: 20,
  },
};

/** Architectures whose struct flock is the one above and whose byte order is that of our files. */
const ARCHITECTURES: readonly string[] = ['x64', 'arm64', 'riscv64', 'loong64'];

/** MAP_FAILED, (void *) -1, as koffi gives a 64-bit pointer. */
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/** A read-only shared mapping; `buffer` must not be touched after `unmap`. */
export interface MappedMemory {
  readonly buffer: ArrayBuffer;
  unmap(): void;
}

export interface Libc {
  /**
   * Maps length bytes of the file at offset. The caller has checked the bounds. Null when this file or this runtime cannot be
   * mapped (ENODEV; a runtime that forbids external buffers); throws with a POSIX code on any other failure.
   */
  map(fd: number, offset: number, length: number): MappedMemory | null;
  /** F_OFD_SETLK of a write lock on the whole file. False when another open file description holds one that conflicts. */
  tryLock(fd: number): boolean;
  /** F_OFD_GETLK: whether a write lock would be refused. Takes nothing, and works on a descriptor opened read-only. */
  isLockedElsewhere(fd: number): boolean;
}

export type LibcOrReason =
  { readonly libc: Libc; readonly reason: null } | { readonly libc: null; readonly reason: string };

let loaded: LibcOrReason | undefined;

/** The bindings, or why there are none. Loaded once per thread. */
export function loadLibc(): LibcOrReason {
  loaded ??= load();
  return loaded;
}

function load(): LibcOrReason {
  const platform = PLATFORMS[process.platform];
  if (platform === undefined || !ARCHITECTURES.includes(process.arch)) {
    return { libc: null, reason: `not supported on ${process.platform}-${process.arch}` };
  }
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;
    return { libc: bind(koffi, platform), reason: null };
  } catch (error) {
    // No prebuilt binary for this system, or a C library without these symbols. The reason travels to whoever needs a lock.
    const message = error instanceof Error ? error.message : String(error);
    return { libc: null, reason: `koffi cannot be loaded: ${message}` };
  }
}

function bind(koffi: typeof Koffi, platform: Platform): Libc {
  const library = koffi.load(null);
  const mmap: (
    address: null,
    length: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ) => bigint | null = library.func(
    'void* mmap(void* address, size_t length, int protection, int flags, int fd, int64_t offset)',
  );
  const munmap: (address: bigint, length: number) => number = library.func(
    'int munmap(void* address, size_t length)',
  );
  const fcntl: (fd: number, command: number, type: 'void*', argument: Uint8Array) => number =
    library.func('int fcntl(int fd, int command, ...)');

  function failure(call: string): NodeJS.ErrnoException {
    const errno = koffi.errno();
    const code = getSystemErrorName(-errno);
    return Object.assign(new Error(`${code}: ${call} failed`), {
      code,
      errno: -errno,
      syscall: call,
    });
  }

  function flock(): DataView<ArrayBuffer> {
    const view = new DataView(new ArrayBuffer(platform.flockBytes));
    view.setInt16(platform.flockTypeOffset, platform.writeLock, true);
    return view;
  }

  return {
    map(fd, offset, length) {
      const address = mmap(null, length, platform.protRead, platform.mapShared, fd, offset);
      if (address === null || address === MAP_FAILED) {
        const error = failure('mmap');
        if (error.code === 'ENODEV') return null;
        throw error;
      }
      let buffer: ArrayBuffer;
      try {
        buffer = koffi.view(address, length);
      } catch {
        // The only reason to fail is a runtime built with pointer compression, which has no external buffers at all.
        munmap(address, length);
        return null;
      }
      let mapped = true;
      return {
        buffer,
        unmap() {
          if (!mapped) return;
          mapped = false;
          if (munmap(address, length) !== 0) throw failure('munmap');
        },
      };
    },

    tryLock(fd) {
      const lock = flock();
      if (fcntl(fd, platform.ofdSetLock, 'void*', new Uint8Array(lock.buffer)) === 0) return true;
      const error = failure('fcntl(F_OFD_SETLK)');
      if (error.code === 'EAGAIN' || error.code === 'EACCES') return false;
      throw error;
    },

    isLockedElsewhere(fd) {
      const lock = flock();
      if (fcntl(fd, platform.ofdGetLock, 'void*', new Uint8Array(lock.buffer)) !== 0) {
        throw failure('fcntl(F_OFD_GETLK)');
      }
      return lock.getInt16(platform.flockTypeOffset, true) !== platform.unlocked;
    },
  };
}
