/**
 * vectors.usearch: the index of a store's vectors, kept so that it need not be built at every start. It is derived: whatever is
 * wrong with it, it is built anew. It is only ever replaced by rename, and read by native code only after its checksums and
 * its structure were looked at, for native code believes what it reads.
 */

import { join } from 'node:path';

import type { Disk, DiskFile } from '../disk.js';
import { crc32, crc32Range } from '../format/crc32.js';
import {
  checkIndexGraph,
  decodeIndexTrailer,
  encodeIndexTrailer,
  entriesOffset,
  ENTRY_BYTES,
  INDEX_TRAILER_BYTES,
  type IndexTrailer,
} from '../format/vector-index-format.js';
import { errorCode } from '../log/write-log.js';
import { readFully } from '../log/segment-reader.js';
import { writeFully } from '../snapshot/block-file.js';
import type { IndexOptions, IndexRequest } from './index-messages.js';

export const INDEX_NAME = 'vectors.usearch';
export const INDEX_TEMP_NAME = `${INDEX_NAME}.tmp`;

const WINDOW_BYTES = 1024 * 1024;
/** A reader's file may be replaced while it is read. */
const ATTEMPTS = 3;

export interface StoredIndex {
  readonly trailer: IndexTrailer;
  readonly fileBytes: number;
  /** Slot and vector CRC, ascending by slot. */
  readonly pairs: Uint32Array<ArrayBuffer>;
}

/**
 * Looks at the file and lets `take` hand it to the package. Returns what is in it, or why it is not to be used; null:
 * there is none.
 */
export function takeIndexFile(
  disk: Disk,
  request: IndexRequest,
  take: (path: string, trailer: IndexTrailer) => void,
): StoredIndex | string | null {
  const path = join(request.directory, INDEX_NAME);
  for (let attempt = 1; ; attempt++) {
    let file: DiskFile;
    try {
      file = disk.open(path, 'read');
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return null;
      return `it cannot be opened (${errorCode(error) ?? String(error)})`;
    }
    try {
      const stored = readIndexFile(file, request);
      if (typeof stored === 'string') return stored;
      take(path, stored.trailer);
      // The package opens by name: what was looked at must be what it opened. Files are replaced, never changed, and the
      // number of one that is open is not given to another.
      if (disk.stat(path)?.inode === file.identity().inode) return stored;
      if (attempt === ATTEMPTS) return 'it is replaced faster than it can be read';
    } catch (error) {
      return `it cannot be read (${error instanceof Error ? error.message : String(error)})`;
    } finally {
      file.close();
    }
  }
}

function readIndexFile(file: DiskFile, request: IndexRequest): StoredIndex | string {
  const { size } = file.identity();
  const bytes = new Uint8Array(Math.min(size, INDEX_TRAILER_BYTES));
  readFully(file, bytes, 0, bytes.length, size - bytes.length);
  const trailer = decodeIndexTrailer(bytes, size);
  if (typeof trailer === 'string') return trailer;
  if (Buffer.compare(trailer.uuid, request.uuid) !== 0) return 'it belongs to another store';
  if (trailer.dimension !== request.dimension) {
    return `its vectors have ${trailer.dimension} dimensions, the store’s ${request.dimension}`;
  }
  const other = differingOption(trailer, request.demanded);
  if (other !== null) return other;

  const bodyBytes = size - INDEX_TRAILER_BYTES;
  let window = new Uint8Array(Math.min(WINDOW_BYTES, bodyBytes));
  const crc = checksum(file, 0, bodyBytes, 0, window);
  if (crc !== trailer.bodyCrc) return 'its checksum does not match';
  const problem = checkIndexGraph((offset, length) => {
    if (window.length < length) window = new Uint8Array(length);
    readFully(file, window, 0, length, offset);
    return window.subarray(0, length);
  }, trailer);
  if (problem !== null) return `it holds ${problem}`;

  const pairs = new Uint32Array(2 * trailer.entries);
  const pairBytes = new Uint8Array(pairs.buffer);
  readFully(file, pairBytes, 0, pairBytes.length, entriesOffset(trailer.indexBytes));
  for (let i = 2; i < pairs.length; i += 2) {
    if (pairs[i]! <= pairs[i - 2]!) return 'its entries are out of order';
  }
  return { trailer, fileBytes: size, pairs };
}

function differingOption(has: IndexOptions, demanded: Partial<IndexOptions>): string | null {
  const { precision, connectivity, efConstruction } = demanded;
  if (precision !== undefined && precision !== has.precision) {
    return `it has precision ${has.precision}, asked for is ${precision}`;
  }
  if (connectivity !== undefined && connectivity !== has.connectivity) {
    return `it has connectivity ${has.connectivity}, asked for is ${connectivity}`;
  }
  if (efConstruction !== undefined && efConstruction !== has.efConstruction) {
    return `it was built with efConstruction ${has.efConstruction}, asked for is ${efConstruction}`;
  }
  return null;
}

/** Of bytes [from, to), read through `window`, going on from `crc`. */
function checksum(
  file: DiskFile,
  from: number,
  to: number,
  crc: number,
  window: Uint8Array,
): number {
  let sum = crc;
  for (let at = from; at < to; at += window.length) {
    const length = Math.min(window.length, to - at);
    readFully(file, window, 0, length, at);
    sum = crc32Range(window, 0, length, sum);
  }
  return sum;
}

/**
 * Puts a new file in place of the old one. `save` has the package write at the path it is given; that alone is done in one
 * go, all else in pieces with a turn for others in between. Returns the file's size.
 */
export async function writeIndexFile(
  disk: Disk,
  directory: string,
  save: (path: string) => void,
  pairs: Uint32Array,
  trailer: Omit<IndexTrailer, 'indexBytes' | 'entries' | 'bodyCrc'>,
  turn: () => Promise<void>,
): Promise<number> {
  const temporary = join(directory, INDEX_TEMP_NAME);
  if (disk.stat(temporary) !== null) disk.unlink(temporary);
  // Made here, so that it is nobody else's to read.
  const file = disk.open(temporary, 'create');
  try {
    save(temporary);
    const indexBytes = file.identity().size;
    const window = new Uint8Array(Math.min(WINDOW_BYTES, indexBytes));
    let crc = 0;
    for (let at = 0; at < indexBytes; at += WINDOW_BYTES) {
      crc = checksum(file, at, Math.min(at + WINDOW_BYTES, indexBytes), crc, window);
      await turn();
    }
    const at = entriesOffset(indexBytes);
    const body = new Uint8Array(at - indexBytes + pairs.byteLength);
    body.set(new Uint8Array(pairs.buffer, pairs.byteOffset, pairs.byteLength), at - indexBytes);
    const end = encodeIndexTrailer({
      ...trailer,
      indexBytes,
      entries: pairs.byteLength / ENTRY_BYTES,
      bodyCrc: crc32(body, crc),
    });
    writeFully(file, body, 0, body.length, indexBytes);
    writeFully(file, end, 0, end.length, indexBytes + body.length);
    await file.datasyncAsync();
    disk.rename(temporary, join(directory, INDEX_NAME));
    await disk.syncDirectoryAsync(directory);
    return indexBytes + body.length + end.length;
  } catch (error) {
    if (disk.stat(temporary) !== null) disk.unlink(temporary);
    throw error;
  } finally {
    file.close();
  }
}
