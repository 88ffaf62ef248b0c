/**
 * The append side of the write log: one current segment, frames appended one after another, synced, rolled, closed. It owns
 * offset, chain and syncedThrough; whoever calls it never has two appends under way.
 *
 * Failures (reliability.md, rules 5-7): ENOSPC and EDQUOT from a write take back the bytes and reject with DISK_FULL; the
 * log can go on once `probe` succeeds. Any other failed write and any failed sync is final: the log is `broken`, nothing
 * is retried, and the process is meant to end.
 */

import { SutraError } from '../../errors.js';
import { LatencyRecorder } from '../../latency.js';
import type { Disk, DiskFile } from '../disk.js';
import { crc32Range } from '../format/crc32.js';
import {
  encodeFrameHeader,
  encodeSegmentHeader,
  FRAME_HEADER_BYTES,
  FrameKind,
  headerSeed,
  SEGMENT_HEADER_BYTES,
  type FrameHeader,
} from '../format/frame.js';
import type { CommandBuffer } from './command-buffer.js';
import type { SegmentFiles } from './segment-files.js';

/** Where the log stands: what recovery found, or what a new store begins with. */
export interface LogPosition {
  readonly ordinal: number;
  /** Bytes of the segment; the next frame goes there. */
  readonly offset: number;
  readonly chain: number;
  readonly nextSequence: number;
}

/** Whether an error says that the disk has no room. */
export function isDiskFull(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'ENOSPC' || code === 'EDQUOT';
}

export function errorCode(error: unknown): string | null {
  if (typeof error !== 'object' || error === null || !('code' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}

export class WriteLog {
  /** Why the log takes nothing any more; null while it works. */
  broken: SutraError | null = null;
  ordinal: number;
  offset: number;
  nextSequence: number;
  syncedThrough: number;
  /** How long syncs of frames took, those that failed left out. */
  readonly syncLatency = new LatencyRecorder();

  private chain: number;
  private file: DiskFile;
  private readonly seed: number;
  private readonly header: FrameHeader;
  private readonly marker = new Uint8Array(FRAME_HEADER_BYTES);
  /** Written but not known to be synced; in interval mode only. */
  private unsynced = false;

  constructor(
    private readonly disk: Disk,
    private readonly directory: string,
    private readonly files: SegmentFiles,
    private readonly uuid: Uint8Array,
    private readonly epoch: number,
    position: LogPosition,
    private readonly nowUs: () => number,
    /** Monotonic. */
    private readonly nowMs: () => number,
  ) {
    this.seed = headerSeed(uuid);
    this.ordinal = position.ordinal;
    this.offset = position.offset;
    this.chain = position.chain;
    this.nextSequence = position.nextSequence;
    this.syncedThrough = position.nextSequence - 1;
    this.file = disk.open(files.path(position.ordinal), 'update');
    this.header = {
      kind: FrameKind.Commands,
      epoch,
      count: 0,
      firstSequence: 0,
      syncedThrough: 0,
      payloadBytes: 0,
      payloadCrc: 0,
      chain: 0,
      headerCrc: 0,
    };
  }

  /**
   * Appends a group as one frame and, with `sync`, waits for fdatasync. Returns where its payload lies in the segment.
   * @throws DISK_FULL (nothing was kept), DISK_FAILED (final)
   */
  async append(group: CommandBuffer, sync: boolean): Promise<number> {
    if (this.broken !== null) throw this.broken;
    const bytes = group.bytes;
    const at = this.offset;
    const end = group.position;
    this.encode(bytes, FrameKind.Commands, group.count, end - FRAME_HEADER_BYTES, bytes);
    let done = 0;
    try {
      while (done < end) {
        const took = await this.file.writeAsync(bytes, done, end - done, at + done);
        if (took <= 0) throw new Error(`wrote ${took} of ${end - done} bytes`);
        done += took;
      }
    } catch (error) {
      throw this.writeFailed(error, at);
    }
    this.offset = at + end;
    this.chain = this.header.headerCrc;
    this.nextSequence += group.count;
    this.unsynced = true;
    if (sync) await this.sync();
    return at + FRAME_HEADER_BYTES;
  }

  /** fdatasync of everything appended. @throws DISK_FAILED (final) */
  async sync(): Promise<void> {
    if (this.broken !== null) throw this.broken;
    if (!this.unsynced) return;
    const through = this.nextSequence - 1;
    const startMs = this.nowMs();
    try {
      this.unsynced = false;
      await this.file.datasyncAsync();
    } catch (error) {
      throw this.fail('sync', error);
    }
    this.syncedThrough = through;
    this.syncLatency.record((this.nowMs() - startMs) * 1000);
  }

  get hasUnsynced(): boolean {
    return this.unsynced;
  }

  /**
   * Seals the current segment and goes on in a new one. The successor and its directory entry are durable before the seal is
   * written, so an unsealed segment with a successor is whole all the same (rule 4). Returns the sealed ordinal.
   */
  async roll(): Promise<number> {
    await this.sync();
    const sealed = this.ordinal;
    const next = sealed + 1;
    const path = this.files.path(next);
    let file: DiskFile;
    try {
      file = createSegment(this.disk, path, {
        ordinal: next,
        uuid: this.uuid,
        firstSequence: this.nextSequence,
        epoch: this.epoch,
        chain: this.chain,
        createdUs: this.nowUs(),
      });
    } catch (error) {
      if (!isDiskFull(error)) throw this.fail('create', error);
      await this.discard(path);
      throw new SutraError('DISK_FULL', `cannot begin ${path}: no space left`, { cause: error });
    }
    try {
      await file.datasyncAsync();
      await this.disk.syncDirectoryAsync(this.directory);
    } catch (error) {
      file.close();
      throw this.fail('sync', error);
    }
    const old = this.file;
    const oldOffset = this.offset;
    this.encode(this.marker, FrameKind.Seal, 0, 0, null);
    this.file = file;
    this.ordinal = next;
    this.offset = SEGMENT_HEADER_BYTES;
    try {
      const took = await old.writeAsync(this.marker, 0, FRAME_HEADER_BYTES, oldOffset);
      if (took === FRAME_HEADER_BYTES) await old.datasyncAsync();
    } catch (error) {
      // No room for the seal: the successor's header already vouches for the segment. Anything else is final.
      if (!isDiskFull(error)) throw this.fail('seal', error);
      try {
        old.truncate(oldOffset);
      } catch (truncateError) {
        throw this.fail('truncate', truncateError);
      }
    } finally {
      old.close();
    }
    return sealed;
  }

  /**
   * The old segment is as it was; only the half-made successor has to go, and for good: should a power cut bring it back, it
   * would contradict what is appended to the old one from here on.
   */
  private async discard(path: string): Promise<void> {
    try {
      if (this.disk.stat(path) === null) return;
      this.disk.unlink(path);
      await this.disk.syncDirectoryAsync(this.directory);
    } catch (error) {
      throw this.fail('unlink', error);
    }
  }

  /** Syncs, appends the `closed` marker, syncs it and closes the file. Best effort on a full disk: the marker is a courtesy. */
  async close(): Promise<void> {
    try {
      if (this.broken !== null) return;
      await this.sync();
      this.encode(this.marker, FrameKind.Closed, 0, 0, null);
      try {
        const took = await this.file.writeAsync(this.marker, 0, FRAME_HEADER_BYTES, this.offset);
        if (took !== FRAME_HEADER_BYTES) this.file.truncate(this.offset);
        await this.file.datasyncAsync();
        if (took === FRAME_HEADER_BYTES) this.offset += FRAME_HEADER_BYTES;
      } catch (error) {
        if (!isDiskFull(error)) throw this.fail('close', error);
        this.file.truncate(this.offset);
      }
    } finally {
      this.file.close();
    }
  }

  /** Closes the file and writes nothing: for an opening that failed half-way. */
  abandon(): void {
    this.file.close();
  }

  /** Whether the disk takes data again after DISK_FULL: writes and syncs 64 KiB behind the end, and takes it back. */
  async probe(): Promise<boolean> {
    if (this.broken !== null) return false;
    const zeros = new Uint8Array(65536);
    let isWritten = false;
    try {
      isWritten =
        (await this.file.writeAsync(zeros, 0, zeros.length, this.offset)) === zeros.length;
    } catch (error) {
      if (!isDiskFull(error)) this.fail('probe', error);
    }
    try {
      // A failed sync is final whatever its code: under interval it may have been the one for frames.
      if (isWritten) await this.file.datasyncAsync();
    } catch (error) {
      this.fail('probe', error);
    }
    this.takeBack(this.offset);
    return isWritten && this.isWorking;
  }

  private get isWorking(): boolean {
    return this.broken === null;
  }

  private encode(
    into: Uint8Array,
    kind: number,
    count: number,
    payloadBytes: number,
    payload: Uint8Array | null,
  ): void {
    const header = this.header;
    header.kind = kind;
    header.count = count;
    header.firstSequence = this.nextSequence;
    header.syncedThrough = this.syncedThrough;
    header.payloadBytes = payloadBytes;
    header.payloadCrc =
      payload === null
        ? 0
        : crc32Range(payload, FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + payloadBytes);
    header.chain = this.chain;
    encodeFrameHeader(into, header, this.seed);
  }

  private writeFailed(error: unknown, goodOffset: number): SutraError {
    if (!isDiskFull(error)) return this.fail('write', error);
    this.takeBack(goodOffset);
    return (
      this.broken ??
      new SutraError('DISK_FULL', `${this.file.path}: no space left at offset ${goodOffset}`, {
        cause: error,
      })
    );
  }

  /** Truncates to the last good offset; when even that fails the log is broken. */
  private takeBack(offset: number): void {
    try {
      this.file.truncate(offset);
    } catch (error) {
      this.fail('truncate', error);
    }
  }

  private fail(what: string, error: unknown): SutraError {
    const message = error instanceof Error ? error.message : String(error);
    this.broken ??= new SutraError(
      'DISK_FAILED',
      `${this.file.path}: ${what} failed at offset ${this.offset}: ${message}; ` +
        `sequences after ${this.syncedThrough} are not acknowledged`,
      { cause: error },
    );
    return this.broken;
  }
}

/** Creates a segment file with its header written, not synced yet. */
export function createSegment(
  disk: Disk,
  path: string,
  header: Parameters<typeof encodeSegmentHeader>[0],
): DiskFile {
  const file = disk.open(path, 'create');
  const bytes = encodeSegmentHeader(header);
  let done = 0;
  try {
    while (done < bytes.length) {
      const took = file.write(bytes, done, bytes.length - done, done);
      if (took <= 0) throw new Error(`${path}: wrote ${took} of ${bytes.length - done} bytes`);
      done += took;
    }
  } catch (error) {
    file.close();
    throw error;
  }
  return file;
}
