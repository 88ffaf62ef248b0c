/**
 * `<directory>/lock`: the one-writer lock, and the small things a writer tells other processes while it holds it.
 *
 * The lock is a kernel lock on the open file: it dies with the process. The file itself is never deleted, because a second
 * process could then lock a new inode of the same name. Nothing in it is ever synced: after a process crash the page cache
 * still has it, and after a power cut an old, torn or missing record only narrows less.
 *
 * The file is 4,096 bytes, little-endian, each block with its own CRC-32 (of what stands behind it in the block):
 *
 *     0     magic "SUTRALCK", u32 version = 1
 *     64    durable slot A     u32 crc, u32 segment ordinal, u64 counter, u64 sequence, u64 synced sequence,
 *     128   durable slot B         u64 segment bytes
 *     256   holder             u32 crc, u32 pid, u64 start in microseconds since 1970, u64 counter it found
 *     512   server address     u32 crc, u32 length, UTF-8
 *
 * The durable record is written to the two slots in turn, with a counter that only grows (across holders, too). While one
 * slot is being written the other is whole, so a reader takes the valid slot with the higher counter: a record that was
 * current when its read began, or a later one. Only two writes within one read can spoil both, and then the reader reads again.
 *
 * How a reader uses it (design.md, decision 8). A frame in the log may still be unsynced while its writer lives, so: first
 * take the sizes of the log's segments, then call `LockFile.read`, then read the log no further than
 *  - the durable record, when the lock is held and there is one. It is stored before the acknowledgement, so nothing that was
 *    acknowledged before the call is missing.
 *  - the sizes taken before, when it is not held: what stood there then was written by holders that were gone at the second
 *    query of the lock, and whoever comes next appends behind it.
 *  - the same sizes, when it is held but the holder has not published yet (`durable` is null): it is still recovering. A holder
 *    publishes the end it recovered before it appends anything, so those sizes, too, are its predecessors' work.
 */

import { join } from 'node:path';

import { SutraError } from '../errors.js';
import type { Disk, DiskFile } from './disk.js';
import { crc32Range } from './format/crc32.js';

const FILE_BYTES = 4096;
const MAGIC = new TextEncoder().encode('SUTRALCK');
const VERSION = 1;
const VERSION_OFFSET = 8;

const SLOT_OFFSETS = [64, 128] as const;
const SLOT_BYTES = 40;

const HOLDER_OFFSET = 256;
const HOLDER_BYTES = 24;

const ADDRESS_OFFSET = 512;
const ADDRESS_HEADER_BYTES = 8;
const ADDRESS_LIMIT = 1024;

/** Looks at a lock file that changes under us; one look takes some ten microseconds. */
const ATTEMPTS = 16;

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder();

/** What a writer had made durable when it last said so. */
export interface DurableRecord {
  /** The last acknowledged sequence: readers see the log up to here. */
  readonly sequence: number;
  /** Where that sequence's frame ends: the segment's ordinal, and the bytes of that segment up to the end of the frame. */
  readonly segmentOrdinal: number;
  readonly segmentBytes: number;
  /**
   * The last sequence a sync covered: recovery calls a bad frame at or below it damage. Equal to `sequence` under
   * durability `always`; under `interval` it lags behind, since a power cut may rightly take what was acknowledged.
   */
  readonly syncedSequence: number;
}

export interface LockState {
  /** Whether a process holds the lock. */
  readonly held: boolean;
  /**
   * Held: what the holder has published; null until it has (it is recovering, or making a new store). Not held: what the last
   * holder published; null when none is valid.
   */
  readonly durable: DurableRecord | null;
  /** The present holder; null when the lock is free or the holder has not said. */
  readonly pid: number | null;
  /** Where the present holder serves; null when the lock is free or it does not serve. */
  readonly address: string | null;
}

/** Who takes the lock; by default this process. */
export interface Holder {
  readonly pid: number;
  readonly startMicros: number;
}

/** The content of a lock file, as far as it is valid. */
interface Content {
  readonly header: boolean;
  readonly durable: DurableRecord | null;
  /** The counter of the newest valid slot; 0 when there is none. */
  readonly counter: number;
  /** The counter that the holder found when it took the lock: slots up to it are its predecessors'. */
  readonly counterFound: number;
  readonly pid: number | null;
  readonly address: string | null;
}

export class LockFile {
  /** The predecessor's last durable record, for recovery; null when it left none or it is not valid. */
  readonly previous: DurableRecord | null;

  readonly #file: DiskFile;
  /** One slot's bytes, written over for each record so that publishing allocates nothing. */
  readonly #slot = new Uint8Array(SLOT_BYTES);
  readonly #slotView = new DataView(this.#slot.buffer);
  #counter: number;
  #released = false;

  private constructor(file: DiskFile, content: Content) {
    this.#file = file;
    this.#counter = content.counter;
    this.previous = content.durable;
  }

  /**
   * Takes the lock of a store, creating the file when it is missing. The predecessor's durable record stays in the file
   * until the first `publishDurable`. Throws STORE_LOCKED when another process (or another open of this one) has it,
   * NOT_PERMITTED without write permission, NO_SUCH_DIRECTORY, NOT_A_STORE, DISK_FULL or INTERNAL when this system or file
   * system has no locks: there is no writing without one.
   */
  static acquire(disk: Disk, directory: string, holder: Holder = thisProcess()): LockFile {
    const path = join(directory, 'lock');
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const file = openForWriting(disk, directory, path);
      let content: Content | null;
      try {
        content = takeOver(disk, directory, file, holder);
      } catch (error) {
        file.close();
        throw error;
      }
      if (content !== null) return new LockFile(file, content);
      // Someone removed the file between our open and our lock: what we hold has no name. Take the one that has.
      file.close();
    }
    throw new SutraError('INTERNAL', `${path} was removed ${ATTEMPTS} times while it was locked`, {
      hint: 'Something else removes this file; stop it. The lock file must stay where it is.',
    });
  }

  /**
   * What a reader may know without asking to write: takes nothing, changes nothing, creates nothing. Null when there is no
   * lock file. Content that is not valid gives nulls, not an error. `held` is asked before and after the content is read, so
   * that the two belong together; when the holder keeps changing, `held` errs on the side of true, which bounds the reader.
   */
  static read(disk: Disk, directory: string): LockState | null {
    const path = join(directory, 'lock');
    const file = openForReading(disk, path);
    if (file === null) return null;
    try {
      for (let attempt = 1; ; attempt++) {
        const before = file.isLockedElsewhere();
        const content = decode(readContent(file));
        const after = file.isLockedElsewhere();
        // Holders changed, or a block is torn: both slots by two writes within our read, or the new holder's own.
        // (A store whose first holder has not published yet has no valid slot either, and costs all attempts.)
        const settled =
          before === after && (!after || (content.pid !== null && content.counter > 0));
        if (!settled && attempt < ATTEMPTS) continue;
        const { durable, pid, address } = content;
        if (!before && !after) return { held: false, durable, pid: null, address: null };
        const published = pid !== null && content.counter > content.counterFound;
        return { held: true, durable: published ? durable : null, pid, address };
      }
    } finally {
      file.close();
    }
  }

  /**
   * Tells readers, before the acknowledgement, how far the log is durable; and once after recovery, before the first append.
   * Runs once per group commit: one write of 40 bytes to the page cache, nothing allocated.
   */
  publishDurable(
    sequence: number,
    segmentOrdinal: number,
    segmentBytes: number,
    syncedSequence: number = sequence,
  ): void {
    const view = this.#slotView;
    const counter = ++this.#counter;
    view.setUint32(4, segmentOrdinal, true);
    setUint53(view, 8, counter);
    setUint53(view, 16, sequence);
    setUint53(view, 24, syncedSequence);
    setUint53(view, 32, segmentBytes);
    view.setUint32(0, crc32Range(this.#slot, 4, SLOT_BYTES), true);
    const offset = SLOT_OFFSETS[counter % 2 === 1 ? 0 : 1];
    const written = this.#file.write(this.#slot, 0, SLOT_BYTES, offset);
    if (written !== SLOT_BYTES) throw shortWrite(this.#file.path, SLOT_BYTES, written);
  }

  /**
   * Makes what was published durable. Only for who lowered the record (repair): should the old one come back after a
   * power cut, it would call the log short again.
   */
  sync(): void {
    this.#file.sync();
  }

  /** Says where this process serves the store, for the message to those who are refused the lock; null: nowhere. */
  announce(address: string | null): void {
    const text = utf8Encoder.encode(address ?? '');
    if (text.length > ADDRESS_LIMIT) {
      throw new RangeError(`address of ${text.length} bytes, expected at most ${ADDRESS_LIMIT}`);
    }
    writeFully(this.#file, encodeAddress(text), ADDRESS_OFFSET);
  }

  /**
   * Gives the lock back, and clears the address before it. The durable record stays for the next holder. Never throws: an
   * address that cannot be cleared is only read while somebody holds the lock, and the next holder writes its own.
   */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    try {
      this.announce(null);
    } catch {
      // Whatever is wrong with the disk, its log has said so or will.
    } finally {
      this.#file.close();
    }
  }
}

function thisProcess(): Holder {
  const startMillis = Date.now() - process.uptime() * 1000;
  return { pid: process.pid, startMicros: Math.round(startMillis * 1000) };
}

/** Locks the open file and writes the new holder into it. Null when the locked file is no longer the one at its path. */
function takeOver(disk: Disk, directory: string, file: DiskFile, holder: Holder): Content | null {
  let locked: boolean;
  try {
    locked = file.tryLock();
  } catch (error) {
    if (error instanceof SutraError) throw error;
    throw new SutraError('INTERNAL', `cannot lock ${file.path}: ${messageOf(error)}`, {
      hint: 'Keep the store on a file system with kernel locks, such as a local disk.',
      cause: error,
    });
  }
  if (!locked) throw refused(directory, decode(readContent(file)));

  const named = disk.stat(file.path);
  const opened = file.identity();
  if (named === null || named.inode !== opened.inode || named.device !== opened.device) return null;

  const content = decode(readContent(file));
  try {
    if (content.header) {
      // The slots stay as they are: should we die before we publish, our successor's recovery needs that record.
      writeFully(file, encodeAddress(new Uint8Array(0)), ADDRESS_OFFSET);
      writeFully(file, encodeHolder(holder, content.counter), HOLDER_OFFSET);
    } else {
      writeFully(file, encodeFresh(holder), 0);
      file.truncate(FILE_BYTES);
    }
  } catch (error) {
    throw translate(error, file.path) ?? error;
  }
  return content;
}

function refused(directory: string, content: Content): SutraError {
  const holder = content.pid === null ? 'another process' : `process ${content.pid}`;
  const { address } = content;
  if (address === null) {
    return new SutraError('STORE_LOCKED', `${directory} is being written by ${holder}`, {
      hint: `The store is held by ${holder}; wait for it to end, or stop it.`,
    });
  }
  return new SutraError(
    'STORE_LOCKED',
    `${directory} is being written by ${holder}, which serves it at ${address}`,
    { hint: `The store is held by a server at ${address}; use --server ${address}` },
  );
}

function openForWriting(disk: Disk, directory: string, path: string): DiskFile {
  try {
    return disk.open(path, 'ensure');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') {
      throw new SutraError('NO_SUCH_DIRECTORY', `${directory}: no such directory`, {
        cause: error,
      });
    }
    throw translate(error, path) ?? error;
  }
}

function openForReading(disk: Disk, path: string): DiskFile | null {
  try {
    return disk.open(path, 'read');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw translate(error, path) ?? error;
  }
}

/** The failures of a lock file that a person can do something about; null for the others. */
function translate(error: unknown, path: string): SutraError | null {
  const message = `${path}: ${messageOf(error)}`;
  switch (codeOf(error)) {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new SutraError('NOT_PERMITTED', message, { cause: error });
    case 'EISDIR':
    case 'ENOTDIR':
    case 'EINVAL':
      return new SutraError('NOT_A_STORE', message, { cause: error });
    case 'ENOSPC':
    case 'EDQUOT':
      return new SutraError('DISK_FULL', message, { cause: error });
    default:
      return null;
  }
}

/** At most FILE_BYTES bytes from the start; what the file does not have is zero, and so not valid. */
function readContent(file: DiskFile): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(FILE_BYTES);
  let length = 0;
  while (length < FILE_BYTES) {
    const count = file.read(bytes, length, FILE_BYTES - length, length);
    if (count === 0) break;
    length += count;
  }
  return bytes;
}

function decode(bytes: Uint8Array<ArrayBuffer>): Content {
  const view = new DataView(bytes.buffer);
  const header =
    MAGIC.every((byte, index) => bytes[index] === byte) &&
    view.getUint32(VERSION_OFFSET, true) === VERSION;
  if (!header)
    return { header, durable: null, counter: 0, counterFound: 0, pid: null, address: null };

  let durable: DurableRecord | null = null;
  let newest = 0;
  for (const offset of SLOT_OFFSETS) {
    if (!blockIsValid(bytes, view, offset, SLOT_BYTES)) continue;
    const counter = getUint53(view, offset + 8);
    const record = {
      sequence: getUint53(view, offset + 16),
      syncedSequence: getUint53(view, offset + 24),
      segmentOrdinal: view.getUint32(offset + 4, true),
      segmentBytes: getUint53(view, offset + 32),
    };
    const numbers = [counter, record.sequence, record.syncedSequence, record.segmentBytes];
    if (counter > newest && numbers.every(Number.isSafeInteger)) {
      durable = record;
      newest = counter;
    }
  }

  const known = blockIsValid(bytes, view, HOLDER_OFFSET, HOLDER_BYTES);
  return {
    header,
    durable,
    counter: newest,
    counterFound: known ? getUint53(view, HOLDER_OFFSET + 16) : 0,
    pid: known ? view.getUint32(HOLDER_OFFSET + 4, true) : null,
    address: decodeAddress(bytes, view),
  };
}

function decodeAddress(bytes: Uint8Array<ArrayBuffer>, view: DataView): string | null {
  const length = view.getUint32(ADDRESS_OFFSET + 4, true);
  if (length === 0 || length > ADDRESS_LIMIT) return null;
  if (!blockIsValid(bytes, view, ADDRESS_OFFSET, ADDRESS_HEADER_BYTES + length)) return null;
  const start = ADDRESS_OFFSET + ADDRESS_HEADER_BYTES;
  const address = utf8Decoder.decode(bytes.subarray(start, start + length));
  // It ends up in a message on a terminal, so nothing that moves the cursor.
  return /\p{Cc}/u.test(address) ? null : address;
}

function encodeFresh(holder: Holder): Uint8Array {
  const bytes = new Uint8Array(FILE_BYTES);
  bytes.set(MAGIC, 0);
  new DataView(bytes.buffer).setUint32(VERSION_OFFSET, VERSION, true);
  bytes.set(encodeHolder(holder, 0), HOLDER_OFFSET);
  bytes.set(encodeAddress(new Uint8Array(0)), ADDRESS_OFFSET);
  return bytes;
}

function encodeHolder(holder: Holder, counterFound: number): Uint8Array {
  const bytes = new Uint8Array(HOLDER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(4, holder.pid, true);
  setUint53(view, 8, holder.startMicros);
  setUint53(view, 16, counterFound);
  view.setUint32(0, crc32Range(bytes, 4, bytes.length), true);
  return bytes;
}

function encodeAddress(text: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_HEADER_BYTES + text.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(4, text.length, true);
  bytes.set(text, ADDRESS_HEADER_BYTES);
  view.setUint32(0, crc32Range(bytes, 4, bytes.length), true);
  return bytes;
}

/** A block opens with the CRC-32 of its other bytes. A block of zeros is not valid: their CRC is not zero. */
function blockIsValid(bytes: Uint8Array, view: DataView, offset: number, length: number): boolean {
  return view.getUint32(offset, true) === crc32Range(bytes, offset + 4, offset + length);
}

function writeFully(file: DiskFile, bytes: Uint8Array, position: number): void {
  let done = 0;
  while (done < bytes.length) {
    const count = file.write(bytes, done, bytes.length - done, position + done);
    if (count === 0) throw shortWrite(file.path, bytes.length, done);
    done += count;
  }
}

function shortWrite(path: string, expected: number, got: number): NodeJS.ErrnoException {
  const message = `EIO: short write, ${got} of ${expected} bytes, write '${path}'`;
  return Object.assign(new Error(message), { code: 'EIO', syscall: 'write', path });
}

/** A safe integer as u64. `>>> 0` takes the low 32 bits of any safe integer exactly. */
function setUint53(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}

function getUint53(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
