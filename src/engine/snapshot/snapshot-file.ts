/**
 * What everyone who reads a storage.dat does first: open it, check its header and its block table, and later check blocks
 * against that table. All by plain reads, which fail with an error where a mapping would kill the process (a bad sector or
 * a file cut short under us is SIGBUS).
 */

import type { Disk, DiskFile, FileIdentity } from '../disk.js';
import { crc32, crc32Range } from '../format/crc32.js';
import {
  BLOCK_BYTES,
  HEADER_BYTES,
  KIND,
  blockStart,
  checkByteOrder,
  damaged,
  hex32,
  parseBlockTable,
  parseHeader,
  sectionOf,
  type SnapshotHeader,
} from '../format/snapshot-format.js';

/** Blocks that `verifySnapshotFile` reads at a time: 1 MiB. */
const VERIFY_BLOCKS = 16;

/** A storage.dat whose header and block table are right, and whose blocks are not yet looked at. */
export interface SnapshotFile {
  readonly file: DiskFile;
  readonly identity: FileIdentity;
  readonly header: SnapshotHeader;
  /** One CRC-32 per block. */
  readonly blockCrcs: Uint32Array;
  /** Where the body ends and the block table starts. */
  readonly bodyEnd: number;
}

/** Opens and checks; reads the header page and the block table only. The caller closes `file`. */
export function openSnapshotFile(disk: Disk, path: string): SnapshotFile {
  checkByteOrder();
  const file = disk.open(path, 'read');
  try {
    const identity = file.identity();
    const page = new Uint8Array(Math.min(HEADER_BYTES, identity.size));
    readExactly(file, page, page.length, 0);
    const header = parseHeader(page, identity.size, path);
    const { offset: bodyEnd, byteLength } = sectionOf(header, KIND.BLOCK_TABLE);
    const table = new Uint8Array(byteLength);
    readExactly(file, table, byteLength, bodyEnd);
    return { file, identity, header, blockCrcs: parseBlockTable(table, header, path), bodyEnd };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Fills target[0, length) from the file at `position`; a file that ends before is damaged. */
export function readExactly(
  file: DiskFile,
  target: Uint8Array,
  length: number,
  position: number,
): void {
  let done = 0;
  while (done < length) {
    const count = file.read(target, done, length - done, position + done);
    if (count === 0) {
      throw damaged(file.path, position + done, 'end of file', `${done} bytes`, `${length} bytes`);
    }
    done += count;
  }
}

/** Reads block `block` into target (at its place within the block) and checks it. Returns where in the block it ends. */
export function readBlock(snapshot: SnapshotFile, block: number, target: Uint8Array): number {
  const { file, blockCrcs, bodyEnd } = snapshot;
  const start = blockStart(block);
  const skip = start - block * BLOCK_BYTES;
  const end = Math.min(bodyEnd - block * BLOCK_BYTES, BLOCK_BYTES);
  readExactly(file, target.subarray(skip), end - skip, start);
  const actual = crc32Range(target, skip, end);
  const stored = blockCrcs[block] ?? 0;
  if (actual !== stored) throw blockDamage(file.path, block, start, actual, stored);
  return end;
}

/** Checks header, block table and every block of a storage.dat by plain reads. Returns its header. */
export function verifySnapshotFile(disk: Disk, path: string): SnapshotHeader {
  const snapshot = openSnapshotFile(disk, path);
  try {
    const blocks = checkBlocks(snapshot, (error) => {
      throw error;
    });
    while (blocks.next().done !== true);
    return snapshot.header;
  } finally {
    snapshot.file.close();
  }
}

/**
 * Checks every block of an open storage.dat and yields how many bytes it has read. `onBad` is given the error for each bad
 * block, and for blocks that the disk refuses to read, with their offset; what it throws ends the check.
 */
export function* checkBlocks(
  snapshot: SnapshotFile,
  onBad: (error: unknown, offset: number) => void,
): Generator<number, void, undefined> {
  const { file, header, blockCrcs, bodyEnd } = snapshot;
  const buffer = new Uint8Array(Math.min(VERIFY_BLOCKS * BLOCK_BYTES, header.fileBytes));
  for (let first = 0; first < blockCrcs.length; first += VERIFY_BLOCKS) {
    const chunkStart = blockStart(first);
    const chunkEnd = Math.min((first + VERIFY_BLOCKS) * BLOCK_BYTES, bodyEnd);
    try {
      readExactly(file, buffer, chunkEnd - chunkStart, chunkStart);
    } catch (error) {
      onBad(error, chunkStart);
      continue;
    }
    for (let block = first; block * BLOCK_BYTES < chunkEnd; block++) {
      const start = blockStart(block);
      const end = Math.min((block + 1) * BLOCK_BYTES, chunkEnd);
      const actual = crc32(buffer.subarray(start - chunkStart, end - chunkStart));
      const stored = blockCrcs[block] ?? 0;
      if (actual !== stored) onBad(blockDamage(file.path, block, start, actual, stored), start);
    }
    yield chunkEnd;
  }
}

function blockDamage(path: string, block: number, start: number, got: number, expected: number) {
  return damaged(path, start, `checksum of block ${block}`, hex32(got), hex32(expected));
}
