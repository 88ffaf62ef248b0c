/**
 * Offline compaction: the whole state written anew, with slots numbered from 0 without a gap, so that what forgotten concepts
 * and replaced contents held goes; then everything that the new storage.dat makes needless: storage.dat.prev, the log behind
 * it, the vector index (which names slots). Digest, sequence and UUID stay.
 *
 * Order: recover and roll the log as any writer, so that a new, empty segment goes on where the log ends; write
 * storage.dat.tmp, sync, verify; rename, sync the directory; and only then remove, oldest segment first, so that what is
 * left always continues the snapshot. Ended anywhere, the store is what it was, and compacting it again does the rest.
 */

import { join } from 'node:path';

import { SutraError } from '../errors.js';
import {
  publishFile,
  removeIfThere,
  verifyStateFile,
  writeState,
  type BackupSum,
} from './backup.js';
import { CheckpointSource } from './checkpoint-source.js';
import type { Disk } from './disk.js';
import { recordedUs, type Environment } from './environment.js';
import type { Digest } from './format/digest.js';
import type { LockFile } from './lock-file.js';
import { segmentName, segmentOrdinals } from './log/segment-files.js';
import { WriteLog } from './log/write-log.js';
import {
  prepareTail,
  PREVIOUS_NAME,
  recover,
  SNAPSHOT_NAME,
  TEMP_NAME,
  type Recovered,
} from './recovery.js';
import type { ConceptRecord, EdgeRow, SnapshotSource } from './snapshot/snapshot-source.js';
import type { Steps } from './steps.js';
import { INDEX_NAME } from './vector/index-file.js';

export interface Compaction extends BackupSum {
  /** Of storage.dat, storage.dat.prev, the log and the vector index. */
  readonly beforeBytes: number;
  readonly afterBytes: number;
  /** Slots that were free. */
  readonly freedSlots: number;
}

/**
 * Compacts the store in `directory`, of today's version, whose `lock` the caller holds. Null: there is nothing in it yet.
 * @throws DAMAGED, DISK_FULL, UNSUPPORTED_FORMAT
 */
export async function compact(
  environment: Environment,
  directory: string,
  lock: LockFile,
  run: <Result>(steps: Steps<Result>) => Promise<Result>,
): Promise<Compaction | null> {
  const { disk, logger } = environment;
  const beforeBytes = storeBytes(disk, directory);
  const recovered = recover(disk, directory, { durable: lock.previous, logger });
  const { state, files, uuid, epoch } = recovered;
  try {
    if (uuid === null) return null;
    const sealed = await endLog(environment, directory, lock, recovered, uuid);
    const temporary = join(directory, TEMP_NAME);
    removeIfThere(disk, temporary);
    const source = new CompactSource(new CheckpointSource(state, uuid, epoch));
    await run(writeState(disk, temporary, source, recordedUs(environment)));
    let sum: BackupSum;
    try {
      sum = await run(verifyStateFile(disk, temporary));
      const digest = state.digest.toString();
      if (sum.digest !== digest || sum.sequence !== state.sequence) {
        throw new SutraError(
          'DAMAGED',
          `compaction refused: it gives sequence ${sum.sequence} digest ${sum.digest}, ` +
            `the store has sequence ${state.sequence} digest ${digest}`,
        );
      }
    } catch (error) {
      removeIfThere(disk, temporary);
      throw error;
    }
    // It names slots: it must be gone before they mean something else.
    removeIfThere(disk, join(directory, INDEX_NAME));
    disk.syncDirectory(directory);
    publishFile(disk, temporary, join(directory, SNAPSHOT_NAME));
    removeIfThere(disk, join(directory, PREVIOUS_NAME));
    removeSegments(disk, directory, sealed);
    const freedSlots = state.slotCount - state.conceptCount;
    return { ...sum, beforeBytes, afterBytes: storeBytes(disk, directory), freedSlots };
  } finally {
    files.closeAll();
    state.levels.base?.release();
  }
}

/** Seals the log behind all that was recovered, and closes a new, empty segment. Returns the sealed ordinal. */
async function endLog(
  environment: Environment,
  directory: string,
  lock: LockFile,
  recovered: Recovered,
  uuid: Uint8Array,
): Promise<number> {
  const { disk, logger } = environment;
  const now = (): number => recordedUs(environment);
  const epoch = recovered.epoch + 1;
  const position = prepareTail(disk, directory, recovered, uuid, epoch, now(), logger);
  const log = new WriteLog(disk, directory, recovered.files, uuid, epoch, position, now, () =>
    environment.nowMs(),
  );
  const sealed = await log.roll().finally(() => log.close());
  lock.publishDurable(recovered.state.sequence, log.ordinal, log.offset, log.syncedThrough);
  return sealed;
}

/** Removes segments up to and with `last`, oldest first. */
export function removeSegments(disk: Disk, directory: string, last: number): void {
  for (const ordinal of segmentOrdinals(disk.list(directory))) {
    if (ordinal <= last) disk.unlink(join(directory, segmentName(ordinal)));
  }
  disk.syncDirectory(directory);
}

function storeBytes(disk: Disk, directory: string): number {
  const names = disk.list(directory);
  const inodes = new Map<number, number>();
  for (const name of names) {
    const isData = name === SNAPSHOT_NAME || name === PREVIOUS_NAME || name === INDEX_NAME;
    if (!isData && segmentOrdinals([name]).length === 0) continue;
    const stat = disk.stat(join(directory, name));
    if (stat !== null) inodes.set(stat.inode, stat.size);
  }
  let total = 0;
  for (const bytes of inodes.values()) total += bytes;
  return total;
}

/** A state without its free slots. The new numbers ascend with the old ones, so rows stay in order. */
class CompactSource implements SnapshotSource {
  readonly uuid: Uint8Array;
  readonly sequence: number;
  readonly epoch: number;
  readonly digest: Digest;
  readonly dimension: number;
  readonly slotCount: number;
  readonly conceptCount: number;
  readonly edgeCount: number;
  readonly vectorCount: number;
  readonly freeSlots = new Uint32Array(0);
  /** By new slot the old one, and by old slot the new one plus 1; 0 for a free slot. */
  private readonly oldOf: Uint32Array;
  private readonly newOf: Uint32Array;

  constructor(private readonly source: CheckpointSource) {
    this.uuid = source.uuid;
    this.sequence = source.sequence;
    this.epoch = source.epoch;
    this.digest = source.digest;
    this.dimension = source.dimension;
    this.conceptCount = source.conceptCount;
    this.slotCount = source.conceptCount;
    this.edgeCount = source.edgeCount;
    this.vectorCount = source.vectorCount;
    this.newOf = new Uint32Array(source.slotCount);
    this.oldOf = new Uint32Array(source.conceptCount);
    const { levels } = source;
    let count = 0;
    for (let old = 0; old < source.slotCount; old++) {
      if (!levels.isLive(old)) continue;
      this.oldOf[count] = old;
      this.newOf[old] = ++count;
    }
  }

  readConcept(slot: number, out: ConceptRecord): boolean {
    return this.source.readConcept(this.oldOf[slot]!, out);
  }
  readKey(slot: number, out: Uint32Array): boolean {
    return this.source.readKey(this.oldOf[slot]!, out);
  }
  readContent(slot: number): Uint8Array {
    return this.source.readContent(this.oldOf[slot]!);
  }
  readVector(slot: number): Uint8Array {
    return this.source.readVector(this.oldOf[slot]!);
  }
  outEdges(slot: number, row: EdgeRow): void {
    this.source.outEdges(this.oldOf[slot]!, row);
    this.renumber(row);
  }
  inEdges(slot: number, row: EdgeRow): void {
    this.source.inEdges(this.oldOf[slot]!, row);
    this.renumber(row);
  }

  /** An end that is free or beyond the table becomes one beyond the new table, which the writer refuses. */
  private renumber({ slots, length }: EdgeRow): void {
    const { newOf } = this;
    for (let i = 0; i < length; i++) slots[i] = (newOf[slots[i]!] ?? 0) - 1;
  }
}
