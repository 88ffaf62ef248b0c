/**
 * A disk between the engine and its own that notes when each write and each sync of the write log began and ended. All else passes
 * through; files that are only read are handed out as they are, so that reading costs what it costs without this.
 *
 * A call that is waited for has ended when the event loop learns of it: its time includes a thread of the pool being woken, and
 * the main thread coming round to the answer.
 */

import { basename } from 'node:path';
import type { Disk, DiskFile, FileIdentity, Mapping, OpenMode } from '#sutra/engine/disk';
import { ForwardingDisk } from '#sutra/engine/forwarding-disk';
import { segmentOrdinals } from '#sutra/engine/log/segment-files';

/** Calls of one kind, in the order in which they began. */
export class Calls {
  private readonly began: number[] = [];
  /** Infinity: under way. */
  private readonly ended: number[] = [];

  constructor(private readonly nowMs: () => number) {}

  get count(): number {
    return this.began.length;
  }

  /** Returns what `end` knows the call by. */
  begin(): number {
    this.ended.push(Infinity);
    return this.began.push(this.nowMs()) - 1;
  }

  end(call: number): void {
    this.ended[call] = this.nowMs();
  }

  /** Milliseconds between two times in which at least one call was under way. */
  within(fromMs: number, toMs: number): number {
    let sum = 0;
    // As calls are sorted by their begin, what lies before `covered` is in the sum or was in no call.
    let covered = fromMs;
    for (const [call, began] of this.began.entries()) {
      const start = Math.max(covered, began);
      const end = Math.min(toMs, this.ended[call] ?? Infinity);
      if (end <= start) continue;
      sum += end - start;
      covered = end;
    }
    return sum;
  }
}

export class DiskAccount extends ForwardingDisk {
  /** Of the write log. A sync is an fdatasync or an fsync, of a segment; those of the directory are not counted. */
  readonly writes: Calls;
  readonly syncs: Calls;

  /** `nowMs`: monotonic milliseconds, the clock that times for `within` are taken from. */
  constructor(disk: Disk, nowMs: () => number = () => performance.now()) {
    super(disk);
    this.writes = new Calls(nowMs);
    this.syncs = new Calls(nowMs);
  }

  override open(path: string, mode: OpenMode): DiskFile {
    const file = super.open(path, mode);
    const isLog = mode !== 'read' && segmentOrdinals([basename(path)]).length > 0;
    return isLog ? new LogFile(file, this.writes, this.syncs) : file;
  }
}

/** A segment that is written to. */
class LogFile implements DiskFile {
  readonly path: string;

  constructor(
    private readonly file: DiskFile,
    private readonly writes: Calls,
    private readonly syncs: Calls,
  ) {
    this.path = file.path;
  }

  write(source: Uint8Array, offset: number, length: number, position: number): number {
    return noted(this.writes, () => this.file.write(source, offset, length, position));
  }
  writeAsync(
    source: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<number> {
    return awaited(this.writes, () => this.file.writeAsync(source, offset, length, position));
  }
  datasync(): void {
    noted(this.syncs, () => this.file.datasync());
  }
  datasyncAsync(): Promise<void> {
    return awaited(this.syncs, () => this.file.datasyncAsync());
  }
  sync(): void {
    noted(this.syncs, () => this.file.sync());
  }

  identity(): FileIdentity {
    return this.file.identity();
  }
  read(target: Uint8Array, offset: number, length: number, position: number): number {
    return this.file.read(target, offset, length, position);
  }
  truncate(size: number): void {
    this.file.truncate(size);
  }
  map(offset: number, length: number): Mapping | null {
    return this.file.map(offset, length);
  }
  tryLock(): boolean {
    return this.file.tryLock();
  }
  isLockedElsewhere(): boolean {
    return this.file.isLockedElsewhere();
  }
  close(): void {
    this.file.close();
  }
}

/** Calls that fail took their time, too. */
function noted<T>(calls: Calls, call: () => T): T {
  const begun = calls.begin();
  try {
    return call();
  } finally {
    calls.end(begun);
  }
}

async function awaited<T>(calls: Calls, call: () => Promise<T>): Promise<T> {
  const begun = calls.begin();
  try {
    return await call();
  } finally {
    calls.end(begun);
  }
}
