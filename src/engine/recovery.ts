/**
 * Recovery: snapshot + log -> state. One code path for opening a store to write, opening it to read beside a live writer, and
 * the checkpoint worker. It only reads; what a writer then does to the tail of the log is in `prepareTail`.
 *
 * What a bad end of the log means (reliability.md, rules 2-4). A torn tail is a bad end of the last, unsealed segment that
 * nothing says was synced: neither a later frame header's synced-through, nor the durable record in the lock file.
 * Everything else is damage and is refused with file, offset and the sequences at stake: a bad frame anywhere else, a gap, a
 * broken chain, a missing segment, a log that ends before the durable record.
 */

import { join } from 'node:path';

import { SutraError } from '../errors.js';
import type { Disk, DiskFile } from './disk.js';
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader } from './format/frame.js';
import type { DurableRecord } from './lock-file.js';
import type { Logger } from './logger.js';
import { SegmentFiles, segmentName, segmentOrdinals } from './log/segment-files.js';
import { readFully, readSegment, type SegmentEnd } from './log/segment-reader.js';
import { createSegment, errorCode, type LogPosition } from './log/write-log.js';
import { Snapshot } from './snapshot/snapshot.js';
import { State } from './state.js';

export const SNAPSHOT_NAME = 'storage.dat';
export const PREVIOUS_NAME = 'storage.dat.prev';
export const TEMP_NAME = 'storage.dat.tmp';
/** What a restore is about to put in place. */
export const RESTORE_NAME = 'storage.dat.restore';

export interface RecoveryOptions {
  /** The durable record a previous writer left: a log that ends below its synced sequence is damaged. */
  readonly durable: DurableRecord | null;
  /** Segments to read and up to which size, for a reader beside a writer. Absent: all there is. */
  readonly limits?: ReadonlyMap<number, number>;
  /** Only segments up to this ordinal: the checkpoint worker's. Absent: all. */
  readonly throughOrdinal?: number;
  /**
   * Where whoever asks for this froze a generation, which a replay from the file before must do likewise (State.releaseHeld):
   * the checkpoint worker's. Absent: nowhere in the log.
   */
  readonly frozenAt?: number;
  readonly logger: Logger;
}

/** A bad end of the last segment that may be cut off. */
export interface TornTail {
  readonly ordinal: number;
  /** Where the good frames end; 0 when not even the segment's header is whole. */
  readonly offset: number;
  readonly reason: string;
}

export interface Recovered {
  readonly state: State;
  readonly files: SegmentFiles;
  /** null: there is neither a snapshot nor a log. */
  readonly uuid: Uint8Array | null;
  /** Highest epoch seen. */
  readonly epoch: number;
  /** End of the last segment; null when there is none. */
  readonly position: LogPosition | null;
  /** The last segment ends with a Closed marker, and the lock file says that it was synced. */
  readonly closed: boolean;
  readonly sealed: boolean;
  readonly torn: TornTail | null;
  /** Commands applied from the log. */
  readonly replayed: number;
  /** Bytes of the segments behind the snapshot. */
  readonly logBytes: number;
  /** storage.dat was damaged or missing, and storage.dat.prev took its place. */
  readonly usedPrevious: boolean;
  /** The current snapshot's file, null when there is none. */
  readonly snapshotInode: number | null;
}

/** Reads a store's snapshot and log. @throws DAMAGED, UNSUPPORTED_FORMAT, NOT_PERMITTED */
export function recover(disk: Disk, directory: string, options: RecoveryOptions): Recovered {
  const names = disk.list(directory);
  const { base, usedPrevious } = openBase(disk, directory, names, options.logger);
  const files = new SegmentFiles(disk, directory);
  try {
    return replay(directory, names, base, usedPrevious, files, options);
  } catch (error) {
    files.closeAll();
    base?.release();
    throw translate(error, directory);
  }
}

function openBase(
  disk: Disk,
  directory: string,
  names: readonly string[],
  logger: Logger,
): { base: Snapshot | null; usedPrevious: boolean } {
  const path = join(directory, SNAPSHOT_NAME);
  const previous = join(directory, PREVIOUS_NAME);
  const hasPrevious = names.includes(PREVIOUS_NAME);
  if (names.includes(SNAPSHOT_NAME)) {
    try {
      return { base: Snapshot.open(disk, path), usedPrevious: false };
    } catch (error) {
      if (!(error instanceof SutraError) || error.code !== 'DAMAGED' || !hasPrevious) {
        throw translate(error, path);
      }
      logger.error(
        `${error.message}; falling back to ${PREVIOUS_NAME} and the log behind it. ` +
          'Keep a copy of the damaged file, and run `sutra verify`.',
        undefined,
        { event: 'fallback', file: path, reason: error.message },
      );
    }
  } else if (hasPrevious) {
    logger.error(
      `${path} is missing; falling back to ${PREVIOUS_NAME} and the log behind it.`,
      undefined,
      { event: 'fallback', file: path, reason: 'missing' },
    );
  } else {
    return { base: null, usedPrevious: false };
  }
  return { base: Snapshot.open(disk, previous), usedPrevious: true };
}

function replay(
  directory: string,
  names: readonly string[],
  base: Snapshot | null,
  usedPrevious: boolean,
  files: SegmentFiles,
  options: RecoveryOptions,
): Recovered {
  const { durable, limits, throughOrdinal = Number.MAX_SAFE_INTEGER } = options;
  const state = new State(base, files.get);
  const ordinals = segmentOrdinals(names).filter(
    (ordinal) => ordinal <= throughOrdinal && (limits === undefined || limits.has(ordinal)),
  );
  const last = ordinals.at(-1) ?? 0;
  let uuid = base?.uuid ?? null;
  let epoch = base?.epoch ?? 0;
  let torn: TornTail | null = null;

  // Backwards to the segment that continues the snapshot; older ones are kept for storage.dat.prev only.
  const needed: { ordinal: number; header: SegmentHeader }[] = [];
  for (let i = ordinals.length - 1; i >= 0; i--) {
    const ordinal = ordinals[i]!;
    const header = readHeader(files, ordinal);
    if (typeof header === 'string') {
      // The header is synced before a first frame is written, so with bytes behind it, it cannot be torn.
      if (
        ordinal === last &&
        header !== 'version' &&
        header !== 'features' &&
        files.get(ordinal).identity().size <= SEGMENT_HEADER_BYTES
      ) {
        torn = { ordinal, offset: 0, reason: `segment header: ${header}` };
        continue;
      }
      throw badHeader(files.path(ordinal), header);
    }
    if (header.ordinal !== ordinal) {
      throw damaged(files.path(ordinal), 12, `got ordinal ${header.ordinal}, expected ${ordinal}`);
    }
    uuid ??= header.uuid;
    if (Buffer.compare(header.uuid, uuid) !== 0) {
      throw damaged(files.path(ordinal), 16, 'the segment belongs to another store');
    }
    needed.unshift({ ordinal, header });
    if (header.firstSequence <= state.sequence + 1) break;
  }

  const first = needed[0];
  if (first !== undefined && first.header.firstSequence > state.sequence + 1) {
    throw damaged(
      files.path(first.ordinal),
      32,
      `the log begins with sequence ${first.header.firstSequence}, expected ${state.sequence + 1}: ` +
        `sequences ${state.sequence + 1}..${first.header.firstSequence - 1} are missing` +
        (base === null ? ', and there is no storage.dat' : ''),
    );
  }

  let replayed = 0;
  let logBytes = 0;
  let end: SegmentEnd | null = null;
  let endOrdinal = 0;
  for (const { ordinal, header } of needed) {
    if (end !== null) {
      const before = files.path(endOrdinal);
      if (ordinal !== endOrdinal + 1) {
        throw damaged(before, end.offset, `segment ${segmentName(endOrdinal + 1)} is missing`);
      }
      checkSuccessor(before, end, files.path(ordinal), header, options.logger);
    }
    end = readSegment(
      files.get(ordinal),
      header,
      limits?.get(ordinal) ?? Number.MAX_SAFE_INTEGER,
      (frame, bytes, at, offset) => {
        if (frame.firstSequence + frame.count - 1 > state.sequence) {
          const before = state.sequence;
          state.apply(bytes, at, frame.payloadBytes, frame.firstSequence, ordinal, offset);
          replayed += state.sequence - before;
          const through = frame.firstSequence + frame.count - 1;
          if (state.sequence !== through) {
            const what = `the frame’s commands end with sequence ${state.sequence}, expected ${through}`;
            throw damaged(files.path(ordinal), offset, what);
          }
          if (through === options.frozenAt) state.releaseHeld();
        }
        return true;
      },
    );
    endOrdinal = ordinal;
    epoch = Math.max(epoch, end.epoch);
    logBytes += end.offset;
  }

  const nextSequence = Math.max(end?.nextSequence ?? 1, state.sequence + 1);
  if (end?.bad !== null && end !== null) {
    const path = files.path(endOrdinal);
    const { offset, reason, laterSynced } = end.bad;
    if (end.sealed) throw damaged(path, offset, reason);
    if (laterSynced >= nextSequence) {
      throw damaged(
        path,
        offset,
        `${reason}; a later frame says that sequences up to ${laterSynced} were synced: ` +
          `${nextSequence}..${laterSynced} are at stake`,
      );
    }
    if (torn !== null) {
      // The torn successor was begun only after everything before it was synced.
      throw damaged(path, offset, `${reason}, with ${segmentName(torn.ordinal)} behind it`);
    }
    torn = { ordinal: endOrdinal, offset, reason };
  }
  // A seal is written when the successor and its name are synced.
  if (end?.sealed === true && options.throughOrdinal === undefined) {
    const successor = segmentName(endOrdinal + 1);
    if (torn !== null) {
      throw damaged(
        files.path(torn.ordinal),
        0,
        `${torn.reason}, though the seal before it vouches`,
      );
    }
    if (!names.includes(successor)) {
      throw damaged(files.path(endOrdinal), end.offset, `sealed, but ${successor} is missing`);
    }
  }
  if (durable !== null && durable.syncedSequence >= nextSequence) {
    throw damaged(
      end === null ? directory : files.path(endOrdinal),
      end?.offset ?? 0,
      `the log ends with sequence ${nextSequence - 1}, but ${durable.syncedSequence} was synced: ` +
        `${nextSequence}..${durable.syncedSequence} are at stake` +
        (torn === null ? '' : ` (${torn.reason})`),
    );
  }
  return {
    state,
    files,
    uuid,
    epoch,
    position:
      end === null
        ? null
        : {
            ordinal: endOrdinal,
            offset: end.offset,
            chain: end.chain,
            nextSequence: end.nextSequence,
          },
    // A marker with torn bytes behind it closed an earlier writer; the one behind it crashed. And one whose own sync failed
    // may be in the page cache only, where no later sync writes it: what stood behind it would be lost with it.
    closed:
      end !== null &&
      end.closed &&
      end.bad === null &&
      durable !== null &&
      durable.segmentOrdinal === endOrdinal &&
      durable.segmentBytes >= end.offset,
    sealed: end?.sealed ?? false,
    torn,
    replayed,
    logBytes,
    usedPrevious,
    snapshotInode: base?.identity.inode ?? null,
  };
}

/** A segment with a successor is whole: sealed, or (after a crash between the two) vouched for by the successor's header. */
function checkSuccessor(
  path: string,
  end: SegmentEnd,
  nextPath: string,
  next: SegmentHeader,
  logger: Logger,
): void {
  if (next.firstSequence !== end.nextSequence) {
    throw damaged(
      path,
      end.offset,
      `${end.bad?.reason ?? 'the segment ends'} before sequence ${end.nextSequence}, but ` +
        `${nextPath} begins with ${next.firstSequence}`,
    );
  }
  if (next.chain !== end.chain) {
    throw damaged(nextPath, 44, 'the chain from the segment before is broken');
  }
  if (end.sealed && end.bad !== null) throw damaged(path, end.offset, end.bad.reason);
  if (!end.sealed) logger.info(`${path}: unsealed, but whole up to the segment behind it`);
}

function readHeader(files: SegmentFiles, ordinal: number): ReturnType<typeof decodeSegmentHeader> {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  const got = readFully(files.get(ordinal), bytes, 0, SEGMENT_HEADER_BYTES, 0);
  return decodeSegmentHeader(bytes.subarray(0, got));
}

function badHeader(path: string, why: string): SutraError {
  if (why === 'version' || why === 'features') {
    return new SutraError(
      'UNSUPPORTED_FORMAT',
      `${path}: segment header has an unknown ${why}; it was written by a newer sutra`,
    );
  }
  return damaged(path, 0, `bad segment header (${why})`);
}

function damaged(path: string, offset: number, what: string): SutraError {
  return new SutraError('DAMAGED', `${path}: damaged at offset ${offset}: ${what}`, { offset });
}

/** System errors as ours; anything else as it is. */
export function translate(error: unknown, path: string): unknown {
  if (error instanceof SutraError) return error;
  const code = errorCode(error);
  const message = error instanceof Error ? error.message : String(error);
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return new SutraError('NOT_PERMITTED', `${path}: ${message}`, { cause: error });
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new SutraError('DISK_FULL', `${path}: ${message}`, { cause: error });
  }
  if (code === 'EIO') {
    return new SutraError('DISK_FAILED', `${path}: ${message}`, { cause: error });
  }
  if (code === 'ENOTDIR') {
    return new SutraError('NOT_A_STORE', `${path}: ${message}`, { cause: error });
  }
  if (code === 'ENAMETOOLONG' || code === 'ELOOP') {
    return new SutraError('INVALID_ARGUMENT', `${path}: ${message}`, { cause: error });
  }
  return error;
}

/**
 * Makes the end of a recovered log fit to append to, and returns where to go on. After a clean close that is the end of the
 * last segment. After a crash the tail may sit in the page cache only, perhaps with a failed write-back already reported
 * to somebody else, so its good part is written to a new file and synced before anything is served (rule 5); torn bytes
 * are kept aside as `.torn`.
 */
export function prepareTail(
  disk: Disk,
  directory: string,
  recovered: Recovered,
  uuid: Uint8Array,
  epoch: number,
  nowUs: number,
  logger: Logger,
): LogPosition {
  const { files, torn, position, state } = recovered;
  let next = position;
  if (torn?.offset === 0) {
    const path = files.path(torn.ordinal);
    const keptAs = `${segmentName(torn.ordinal)}.torn`;
    logger.warn(`${path}: torn tail (${torn.reason}); kept as ${keptAs}`, {
      event: 'torn_tail',
      file: path,
      offset: 0,
      bytes: files.get(torn.ordinal).identity().size,
      sequence: state.sequence,
      kept_as: keptAs,
      reason: torn.reason,
    });
    disk.rename(path, `${path}.torn`);
    files.closeAll();
    disk.syncDirectory(directory);
  }
  if (next !== null && !recovered.sealed && !recovered.closed) {
    const path = files.path(next.ordinal);
    const size = files.get(next.ordinal).identity().size;
    if (size > next.offset) {
      const keptAs = `${segmentName(next.ordinal)}.torn`;
      const reason = torn?.reason ?? 'bytes behind the end';
      const bytes = size - next.offset;
      logger.warn(
        `${path}: torn tail at offset ${next.offset} (${reason}): ${bytes} bytes behind sequence ` +
          `${state.sequence} kept as ${keptAs}`,
        {
          event: 'torn_tail',
          file: path,
          offset: next.offset,
          bytes,
          sequence: state.sequence,
          kept_as: keptAs,
          reason,
        },
      );
      copyRange(disk, path, next.offset, size, `${path}.torn`);
    }
    const temporary = `${path}.tmp`;
    copyRange(disk, path, 0, next.offset, temporary);
    disk.rename(temporary, path);
    disk.syncDirectory(directory);
    // The old handle reads the replaced inode.
    files.closeThrough(next.ordinal);
  }
  const firstSequence = state.sequence + 1;
  // A log that ends before the snapshot (a copied storage.dat beside an older log) cannot be continued in place either.
  if (next === null || recovered.sealed || next.nextSequence !== firstSequence) {
    const ordinal = (next?.ordinal ?? segmentOrdinals(disk.list(directory)).at(-1) ?? 0) + 1;
    const chain = next?.chain ?? 0;
    const path = files.path(ordinal);
    try {
      const file = createSegment(disk, path, {
        ordinal,
        uuid,
        firstSequence,
        epoch,
        chain,
        createdUs: nowUs,
      });
      try {
        file.datasync();
      } finally {
        file.close();
      }
    } catch (error) {
      discard(disk, path);
      throw error;
    }
    disk.syncDirectory(directory);
    next = { ordinal, offset: SEGMENT_HEADER_BYTES, chain, nextSequence: firstSequence };
  }
  // Only now: on a full disk it does not come to this.
  tellRecovery(directory, recovered, logger);
  return next;
}

/** Copies file bytes [from, to) into a new file (replacing one of that name) and syncs it. What fails leaves none. */
export function copyRange(
  disk: Disk,
  path: string,
  from: number,
  to: number,
  target: string,
): void {
  if (disk.stat(target) !== null) disk.unlink(target);
  const source = disk.open(path, 'read');
  let copy: DiskFile | null = null;
  const chunk = new Uint8Array(1 << 20);
  try {
    copy = disk.open(target, 'create');
    for (let at = from; at < to;) {
      const got = source.read(chunk, 0, Math.min(chunk.length, to - at), at);
      if (got === 0) throw damaged(path, at, `the file ended, expected ${to} bytes`);
      for (let done = 0; done < got;) {
        const took = copy.write(chunk, done, got - done, at - from + done);
        if (took <= 0) throw new Error(`${target}: wrote ${took} of ${got - done} bytes`);
        done += took;
      }
      at += got;
    }
    copy.sync();
  } catch (error) {
    discard(disk, target);
    throw error;
  } finally {
    source.close();
    copy?.close();
  }
}

/** Removes what was made in vain: on a full disk it would hold the very space that is wanted, and the next try makes it anew. */
function discard(disk: Disk, path: string): void {
  try {
    if (disk.stat(path) !== null) disk.unlink(path);
  } catch {
    // The error that led here is the one to tell; what stays is replaced or recognised at the next opening.
  }
}

/** A writer that ended in order says so in the log; what ended otherwise was recovered, and that is worth a line. */
function tellRecovery(directory: string, recovered: Recovered, logger: Logger): void {
  if (recovered.position === null || recovered.closed) return;
  const { replayed, logBytes, state } = recovered;
  logger.info(
    `${directory}: the last writer did not end in order; recovered ${replayed} writes from ${logBytes} bytes ` +
      `of log, up to sequence ${state.sequence}`,
    {
      event: 'recovery',
      replayed,
      log_bytes: logBytes,
      sequence: state.sequence,
      concepts: state.conceptCount,
      associations: state.edgeCount,
      torn_tail: recovered.torn !== null,
      used_previous: recovered.usedPrevious,
    },
  );
}
