/**
 * Repair: from what the whole-store check found, work out the longest consistent prefix of the store's history, and make the
 * files stand for exactly that. Planning reads only. Acting first keeps every file that it will change or remove in a
 * directory of its own, and only then:
 *
 *   1. writes storage.dat anew when the good way begins elsewhere, as a checkpoint would;
 *   2. puts an empty segment behind the cut, whose header closes the log there and carries the highest epoch seen, so that lost
 *      sequences are given out again under a new epoch only; removes the segments behind it, last first; cuts the
 *      segment with the bad bytes;
 *   3. removes a storage.dat.prev that has no use any more, and bad segments that only it needed;
 *   4. lowers the lock file's durable record, which would call the log short otherwise.
 *
 * Killed at any step, a new plan comes to the same sequence: each step leaves the good way as it is, and until the last one
 * recovery refuses what it refused before. Files are only linked, renamed and removed, never written in place.
 */

import { join } from 'node:path';

import { SutraError } from '../errors.js';
import { checkStore, recoverFrom, type StoreCheck, type Way } from './check.js';
import { lastEpoch, reach, type SegmentCheck } from './check-log.js';
import { CheckpointSource } from './checkpoint-source.js';
import { keepOriginals } from './copy.js';
import type { Disk } from './disk.js';
import { SEGMENT_HEADER_BYTES } from './format/frame.js';
import type { DurableRecord, LockFile } from './lock-file.js';
import { segmentName, segmentOrdinals } from './log/segment-files.js';
import { createSegment } from './log/write-log.js';
import { PinnedFiles } from './pinned-files.js';
import { copyRange, PREVIOUS_NAME, SNAPSHOT_NAME, TEMP_NAME } from './recovery.js';
import { verifySnapshotFile } from './snapshot/snapshot-file.js';
import { writeSnapshot } from './snapshot/snapshot-writer.js';
import type { Steps } from './steps.js';

/** Where the log is cut: what is kept of it ends there. */
interface Cut {
  /** The last segment that is kept, and up to which byte; null: none is. */
  readonly segment: { readonly ordinal: number; readonly bytes: number } | null;
  /** Whether that segment has bytes behind it. */
  readonly truncates: boolean;
  /** The empty segment to put behind it; null when the last one is empty already. */
  readonly successor: {
    readonly ordinal: number;
    readonly chain: number;
    readonly epoch: number;
  } | null;
}

export interface RepairPlan {
  readonly check: StoreCheck;
  /** False: the store is whole, and nothing is to be done. */
  readonly needed: boolean;
  /** The sequence that the store will stand for. */
  readonly sequence: number;
  /** Sequences that go, first and last; null: none. */
  readonly lost: readonly [number, number] | null;
  /** Names of files that will be changed or removed; originals of all of them are kept. */
  readonly setAside: readonly string[];
  /** What will be done, for people. */
  readonly actions: readonly string[];
  /** Write storage.dat from this way. */
  readonly rewrite: Way | null;
  readonly cut: Cut | null;
  /** Segments to remove, last first; and whether storage.dat.prev goes. */
  readonly removed: readonly number[];
  readonly dropPrevious: boolean;
  /** Lower the durable record to `sequence`. */
  readonly lowerRecord: boolean;
}

/**
 * @param durable the record that the last writer left; the caller holds the lock, or knows that nobody does
 * @throws DAMAGED when nothing can be had, or it cannot be told what is right; UNSUPPORTED_FORMAT
 */
export function* planRepair(
  disk: Disk,
  directory: string,
  durable: DurableRecord | null,
): Steps<RepairPlan> {
  const check = yield* checkStore(disk, directory, { durable });
  if (check.findings.length === 0) return nothingToDo(check);
  refuseWhatIsNotForUs(directory, check);
  const { way } = check;
  if (way === null) {
    throw new SutraError(
      'DAMAGED',
      `${directory}: no whole storage.dat, and no log that begins with sequence 1: nothing can be repaired`,
      { hint: 'Restore a backup into a new directory; `sutra verify` lists what is wrong here.' },
    );
  }
  const plan = planAlong(check, way);
  if (plan.actions.length > 0) return plan;
  const { file, what } = check.findings[0] ?? { file: directory, what: '' };
  throw new SutraError('DAMAGED', `${directory}: there is no repair for ${file}: ${what}`, {
    hint: 'Keep a copy of the directory and report it. Nothing was changed.',
  });
}

function nothingToDo(check: StoreCheck): RepairPlan {
  return {
    check,
    needed: false,
    sequence: check.state?.sequence ?? 0,
    lost: null,
    setAside: [],
    actions: [],
    rewrite: null,
    cut: null,
    removed: [],
    dropPrevious: false,
    lowerRecord: false,
  };
}

function refuseWhatIsNotForUs(directory: string, check: StoreCheck): void {
  if (check.isNewer) {
    throw new SutraError(
      'UNSUPPORTED_FORMAT',
      `${directory}: a file has an unknown version or unknown features; it is not for this sutra to repair`,
    );
  }
  if (check.previousAgrees === false && check.previousReaches) {
    throw new SutraError(
      'DAMAGED',
      `${directory}: storage.dat is whole, and so are storage.dat.prev and the log, but they give different states`,
      {
        hint: 'This is a bug in sutra or bad memory: keep a copy of the directory and report it. Nothing was changed.',
      },
    );
  }
}

function planAlong(check: StoreCheck, way: Way): RepairPlan {
  const { current, previous, log, lost } = check;
  const { sequence, problem } = way.reach;
  const actions: string[] = [];
  const setAside = new Set<string>();
  const ordinals = log.segments.map(({ ordinal }) => ordinal);

  const last = way.reach.last;
  const cut = problem === null ? null : cutBehind(check, way);
  const keptThrough = cut === null ? Infinity : (cut.segment?.ordinal ?? 0);
  const removed = new Set(ordinals.filter((ordinal) => ordinal > keptThrough));

  const rewrite = way.base !== 'current' && (current.exists || previous.exists) ? way : null;
  const dropPrevious = previous.exists && way.base !== 'previous' && !isUseful(check, way);
  const needed = new Set(way.reach.limits.keys());
  if (previous.exists && !dropPrevious) {
    const from = previous.header?.sequence ?? 0;
    for (const ordinal of reach(log, from).limits.keys()) needed.add(ordinal);
  }
  // Bad segments that nothing needs any more.
  for (const { ordinal, name } of log.segments) {
    const isBad = check.files.some(({ file, ok }) => file === name && !ok);
    if (isBad && !needed.has(ordinal)) removed.add(ordinal);
  }

  if (rewrite !== null) {
    const from = way.base === 'previous' ? PREVIOUS_NAME : 'the log alone';
    actions.push(`write ${SNAPSHOT_NAME} anew from ${from}, for sequence ${sequence}`);
    if (current.exists) setAside.add(SNAPSHOT_NAME);
  }
  const order = [...removed].sort((a, b) => b - a);
  for (const ordinal of order) {
    actions.push(`remove ${segmentName(ordinal)}`);
    setAside.add(segmentName(ordinal));
  }
  if (cut?.truncates === true && cut.segment !== null) {
    const name = segmentName(cut.segment.ordinal);
    const rest = (last?.bytes ?? 0) - cut.segment.bytes;
    actions.push(`cut ${name} at offset ${cut.segment.bytes}: ${rest} bytes behind it go`);
    setAside.add(name);
  }
  const successor = cut?.successor ?? null;
  if (successor !== null) {
    actions.push(`go on in ${segmentName(successor.ordinal)}, with sequence ${sequence + 1}`);
  }
  if (dropPrevious) {
    actions.push(`remove ${PREVIOUS_NAME}, which could not take the place of ${SNAPSHOT_NAME}`);
    setAside.add(PREVIOUS_NAME);
  }
  const { durable } = log;
  const lowerRecord =
    problem !== null &&
    durable !== null &&
    (durable.sequence > sequence || durable.syncedSequence > sequence);
  if (lowerRecord) {
    actions.push(`lower the durable sequence in the lock file to ${sequence}`);
    setAside.add('lock');
  }
  return {
    check,
    needed: true,
    sequence,
    lost,
    setAside: [...setAside].sort(),
    actions,
    rewrite,
    cut,
    removed: order,
    dropPrevious,
    lowerRecord,
  };
}

/** Where the way ends. A segment that ends before the snapshot has nothing to give, and goes whole. */
function cutBehind(check: StoreCheck, way: Way): Cut {
  const { log } = check;
  const { last, sequence } = way.reach;
  const epoch = Math.max(lastEpoch(log), check.current.header?.epoch ?? 0);
  const end = last?.end ?? null;
  if (last === null || end === null || end.nextSequence !== sequence + 1) {
    const highest = Math.max(log.durable?.segmentOrdinal ?? 0, ...segmentOrdinals(log.names));
    return {
      segment: null,
      truncates: false,
      successor: { ordinal: highest + 1, chain: 0, epoch },
    };
  }
  const segment = { ordinal: last.ordinal, bytes: end.offset };
  const truncates = last.bytes > end.offset;
  if (isEmpty(last) && !truncates) return { segment, truncates, successor: null };
  return { segment, truncates, successor: { ordinal: last.ordinal + 1, chain: end.chain, epoch } };
}

function isEmpty({ end }: SegmentCheck): boolean {
  return end?.offset === SEGMENT_HEADER_BYTES;
}

/** Whether storage.dat.prev, with what is kept of the log, can still take the place of storage.dat. */
function isUseful(check: StoreCheck, way: Way): boolean {
  return way.base === 'current' && check.previousAgrees === true;
}

export interface RepairResult {
  /** Name of the directory, in the store's, that keeps the originals. */
  readonly keptIn: string;
  /** The lock file's durable record, as it now is. */
  readonly durable: DurableRecord | null;
}

/** Does what the plan says. The caller holds `lock`; what it throws leaves a store that can be planned for again. */
export function* executeRepair(
  disk: Disk,
  directory: string,
  lock: LockFile,
  plan: RepairPlan,
  nowUs: number,
): Steps<RepairResult> {
  const total = 5;
  const step = (done: number, phase: string) => ({ phase, unit: 'steps', done, total });
  yield step(0, 'keeping the originals');
  const keptIn = keepOriginals(disk, directory, plan.setAside, 'repair', nowUs);
  if (plan.rewrite !== null) {
    yield step(1, `writing ${SNAPSHOT_NAME}`);
    rewriteSnapshot(disk, directory, lock, plan.rewrite, nowUs);
  }
  yield step(2, 'cutting the log');
  cutLog(disk, directory, plan, nowUs);
  yield step(3, 'removing what has no use');
  for (const ordinal of plan.removed) {
    if (ordinal === plan.cut?.successor?.ordinal) continue;
    removeIfThere(disk, join(directory, segmentName(ordinal)));
  }
  if (plan.dropPrevious) removeIfThere(disk, join(directory, PREVIOUS_NAME));
  disk.syncDirectory(directory);
  let durable = lock.previous;
  if (plan.lowerRecord) {
    yield step(4, 'lowering the durable sequence');
    const { sequence, cut } = plan;
    const segmentOrdinal = cut?.successor?.ordinal ?? cut?.segment?.ordinal ?? 0;
    const segmentBytes = SEGMENT_HEADER_BYTES;
    durable = { sequence, syncedSequence: sequence, segmentOrdinal, segmentBytes };
    lock.publishDurable(sequence, segmentOrdinal, segmentBytes);
    lock.sync();
  }
  yield step(total, 'done');
  return { keptIn, durable };
}

function rewriteSnapshot(
  disk: Disk,
  directory: string,
  lock: LockFile,
  way: Way,
  nowUs: number,
): void {
  const temporary = join(directory, TEMP_NAME);
  removeIfThere(disk, temporary);
  const files = PinnedFiles.open(disk, directory, { durable: lock.previous });
  try {
    const recovered = recoverFrom(files, way.base, way.reach.limits);
    try {
      const { state, uuid, epoch } = recovered;
      if (uuid === null || state.sequence !== way.reach.sequence) {
        throw new SutraError('INTERNAL', `recovery came to ${state.sequence}, not as planned`);
      }
      writeSnapshot(disk, temporary, new CheckpointSource(state, uuid, epoch), {
        createdUs: nowUs,
      });
    } finally {
      recovered.files.closeAll();
      recovered.state.levels.base?.release();
    }
  } finally {
    files.close();
  }
  verifySnapshotFile(disk, temporary);
  disk.rename(temporary, join(directory, SNAPSHOT_NAME));
  disk.syncDirectory(directory);
}

function cutLog(disk: Disk, directory: string, plan: RepairPlan, nowUs: number): void {
  const { cut } = plan;
  if (cut === null) return;
  const { segment, successor } = cut;
  const { uuid } = plan.check;
  if (successor !== null && uuid !== null) {
    const path = join(directory, segmentName(successor.ordinal));
    const temporary = `${path}.tmp`;
    removeIfThere(disk, temporary);
    const file = createSegment(disk, temporary, {
      ordinal: successor.ordinal,
      uuid,
      firstSequence: plan.sequence + 1,
      epoch: successor.epoch,
      chain: successor.chain,
      createdUs: nowUs,
    });
    try {
      file.sync();
    } finally {
      file.close();
    }
    disk.rename(temporary, path);
  }
  for (const ordinal of plan.removed) {
    const isBehind = ordinal > (segment?.ordinal ?? 0);
    // The successor replaces the one of its name.
    if (isBehind && ordinal !== successor?.ordinal) {
      removeIfThere(disk, join(directory, segmentName(ordinal)));
    }
  }
  if (cut.truncates && segment !== null) {
    const path = join(directory, segmentName(segment.ordinal));
    copyRange(disk, path, 0, segment.bytes, `${path}.tmp`);
    disk.rename(`${path}.tmp`, path);
  }
  disk.syncDirectory(directory);
}

function removeIfThere(disk: Disk, path: string): void {
  if (disk.stat(path) !== null) disk.unlink(path);
}
