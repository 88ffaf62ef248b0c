/**
 * The write log of a store, looked at end to end: every segment by itself, bad ones included, and then how far one comes along
 * them from a given sequence. What counts as damage and what as a torn tail is as in recovery.ts, which throws at the first
 * thing it cannot go on from, while this goes on and keeps what it saw.
 */

import { errorCode } from './log/write-log.js';
import {
  CommandReader,
  decodeSegmentHeader,
  headerSeed,
  SEGMENT_HEADER_BYTES,
  type FrameHeader,
  type SegmentHeader,
} from './format/frame.js';
import type { DurableRecord } from './lock-file.js';
import { segmentName } from './log/segment-files.js';
import {
  readFully,
  readSegment,
  scanForFrames,
  type SegmentEnd,
  type StrayFrames,
} from './log/segment-reader.js';
import type { DiskFile } from './disk.js';
import type { PinnedFiles } from './pinned-files.js';
import type { Steps } from './steps.js';

/** Where a segment stops being good. */
export interface BadPlace {
  readonly offset: number;
  readonly reason: string;
  /** It cannot be a write that was cut off: a header with bytes behind it, commands that do not parse, a bad sector. */
  readonly isDamage: boolean;
  /** Written by a newer version. */
  readonly isNewer: boolean;
  readonly laterSynced: number;
  /** Highest sequence that anything behind it claims. */
  readonly laterSequence: number;
  readonly laterEpoch: number;
}

export interface SegmentCheck {
  readonly ordinal: number;
  readonly name: string;
  /** That belong to the state. */
  readonly bytes: number;
  /** Null when it is bad; then `bad` says why, and `end` is null. */
  readonly header: SegmentHeader | null;
  readonly end: SegmentEnd | null;
  readonly bad: BadPlace | null;
}

export interface LogCheck {
  /** Ascending. */
  readonly segments: readonly SegmentCheck[];
  readonly names: readonly string[];
  readonly durable: DurableRecord | null;
  /** Where, in the log, the state at a sequence that was asked for is reached. */
  readonly marks: ReadonlyMap<number, LogPlace>;
}

export interface LogPlace {
  readonly ordinal: number;
  readonly offset: number;
}

/** Reads every segment. `uuid`: the snapshot's, null when there is none. `marks`: sequences whose place is wanted. */
export function* checkLog(
  files: PinnedFiles,
  uuid: Uint8Array | null,
  marks: readonly number[],
): Steps<LogCheck> {
  const segments: SegmentCheck[] = [];
  const places = new Map<number, LogPlace>();
  let total = 0;
  for (const [ordinal, limit] of files.limits) total += bytesOf(files, ordinal, limit);
  let known = uuid;
  let done = 0;
  for (const [ordinal, limit] of files.limits) {
    const segment = checkSegment(files, ordinal, limit, known, (sequence, offset) => {
      if (marks.includes(sequence)) places.set(sequence, { ordinal, offset });
    });
    known ??= segment.header?.uuid ?? null;
    segments.push(segment);
    done += segment.bytes;
    yield { phase: 'write log', unit: 'bytes', done, total };
  }
  return { segments, names: files.names, durable: files.durable, marks: places };
}

function bytesOf(files: PinnedFiles, ordinal: number, limit: number): number {
  return Math.min(limit, files.file(segmentName(ordinal)).identity().size);
}

/** `onSequence` is told of each frame: its last sequence, and where it ends. */
function checkSegment(
  files: PinnedFiles,
  ordinal: number,
  limit: number,
  uuid: Uint8Array | null,
  onSequence: (sequence: number, offset: number) => void,
): SegmentCheck {
  const name = segmentName(ordinal);
  const file = files.file(name);
  const bytes = bytesOf(files, ordinal, limit);
  const wrong = (
    offset: number,
    reason: string,
    isDamage: boolean,
    isNewer = false,
  ): SegmentCheck => {
    const later =
      uuid === null ? NOTHING : framesBehind(file, SEGMENT_HEADER_BYTES, bytes, headerSeed(uuid));
    const bad = {
      offset,
      reason,
      isDamage,
      isNewer,
      laterSynced: later.synced,
      laterSequence: later.sequence,
      laterEpoch: later.epoch,
    };
    return { ordinal, name, bytes, header: null, end: null, bad };
  };
  let header: SegmentHeader;
  try {
    const page = new Uint8Array(SEGMENT_HEADER_BYTES);
    const got = readFully(file, page, 0, Math.min(SEGMENT_HEADER_BYTES, bytes), 0);
    const decoded = decodeSegmentHeader(page.subarray(0, got));
    if (typeof decoded === 'string') {
      const isNewer = decoded === 'version' || decoded === 'features';
      const reason = isNewer
        ? `segment header with an unknown ${decoded}: written by a newer sutra`
        : `bad segment header (${decoded})`;
      return wrong(0, reason, isNewer || bytes > SEGMENT_HEADER_BYTES, isNewer);
    }
    header = decoded;
  } catch (error) {
    return wrong(0, unreadable(error), true);
  }
  if (header.ordinal !== ordinal) {
    return wrong(12, `got ordinal ${header.ordinal}, expected ${ordinal}`, true);
  }
  if (uuid !== null && Buffer.compare(header.uuid, uuid) !== 0) {
    return wrong(16, 'the segment belongs to another store', true);
  }
  return { ordinal, name, bytes, header, ...readFrames(file, header, bytes, onSequence) };
}

/** Reads the frames; where one cannot be read or does not parse, what is before it. */
function readFrames(
  file: DiskFile,
  header: SegmentHeader,
  bytes: number,
  onSequence: (sequence: number, offset: number) => void,
): { end: SegmentEnd; bad: BadPlace | null } {
  const commands = new CommandReader();
  let goodEnd = SEGMENT_HEADER_BYTES;
  let fault: string | null = null;
  onSequence(header.firstSequence - 1, SEGMENT_HEADER_BYTES);
  const visit = (frame: FrameHeader, payload: Uint8Array, at: number, offset: number): boolean => {
    fault = parseFault(commands, frame, payload, at);
    if (fault !== null) return false;
    goodEnd = offset + frame.payloadBytes;
    onSequence(frame.firstSequence + frame.count - 1, goodEnd);
    return true;
  };
  let end: SegmentEnd;
  try {
    end = readSegment(file, header, bytes, visit);
  } catch (error) {
    fault = unreadable(error);
    end = readSegment(file, header, goodEnd, () => true);
  }
  if (fault !== null) {
    const later = framesBehind(file, end.offset, bytes, headerSeed(header.uuid));
    return {
      end,
      bad: {
        offset: end.offset,
        reason: fault,
        isDamage: true,
        isNewer: false,
        laterSynced: later.synced,
        laterSequence: later.sequence,
        laterEpoch: later.epoch,
      },
    };
  }
  return {
    end,
    bad: end.bad === null ? null : { ...end.bad, isDamage: end.sealed, isNewer: false },
  };
}

/** What apply would stop at. */
function parseFault(
  commands: CommandReader,
  frame: FrameHeader,
  payload: Uint8Array,
  at: number,
): string | null {
  commands.open(payload, at, frame.payloadBytes);
  let count = 0;
  while (commands.next()) count++;
  if (commands.bad !== null) return `command ${count} of the frame does not parse: ${commands.bad}`;
  return count === frame.count ? null : `frame of ${count} commands, expected ${frame.count}`;
}

const NOTHING: StrayFrames = { synced: 0, sequence: 0, epoch: 0 };

/** What stands behind a bad place; where that cannot be read either, nothing is known of it. */
function framesBehind(file: DiskFile, from: number, bytes: number, seed: number): StrayFrames {
  try {
    return scanForFrames(file, from, bytes, seed);
  } catch (error) {
    unreadable(error);
    return NOTHING;
  }
}

/** What to say of a read that the disk refused; anything else that was thrown goes on. */
function unreadable(error: unknown): string {
  if (errorCode(error) !== 'EIO') throw error;
  return `cannot be read: ${error instanceof Error ? error.message : ''}`;
}

/** What keeps the log from being followed, or contradicts its end. */
export interface LogProblem {
  readonly file: string;
  readonly offset: number | null;
  readonly what: string;
}

export interface Reach {
  /** The sequence that one comes to. */
  readonly sequence: number;
  /** The segments along the way, ascending, and up to which byte: limits for `recover`. */
  readonly limits: ReadonlyMap<number, number>;
  /** The last of them; null when there is none. */
  readonly last: SegmentCheck | null;
  /** Null: the way ends where the log does. */
  readonly problem: LogProblem | null;
}

/** How far one comes along the log with the state as of `sequence`. */
export function reach(log: LogCheck, sequence: number): Reach {
  const { segments } = log;
  const limits = new Map<number, number>();
  // Recovery walks back in the same way.
  let at = segments.length - 1;
  while (at >= 0 && (segments[at]?.header?.firstSequence ?? Infinity) > sequence + 1) at--;
  let last: SegmentCheck | null = null;
  let reached = sequence;
  const stop = (problem: LogProblem | null): Reach => ({
    sequence: reached,
    limits,
    last,
    problem: problem ?? shortOf(log, reached, last),
  });

  const first = segments[at];
  if (first === undefined) {
    const next = segments[0];
    if (next === undefined) return stop(null);
    const { header, name, bad } = next;
    if (header === null) return stop(tornHeader(log, 0) ? null : problemOf(name, bad));
    return stop({
      file: name,
      offset: 32,
      what:
        `the log begins with sequence ${header.firstSequence}, expected ${sequence + 1}: ` +
        `sequences ${sequence + 1}..${header.firstSequence - 1} are missing`,
    });
  }

  for (;;) {
    const segment: SegmentCheck | undefined = segments[at];
    if (segment === undefined) break;
    const { end, name, bad, ordinal } = segment;
    if (end === null) return stop(tornHeader(log, at) ? null : problemOf(name, bad));
    limits.set(ordinal, end.offset);
    last = segment;
    reached = Math.max(sequence, end.nextSequence - 1);
    const next: SegmentCheck | undefined = segments[at + 1];
    if (next === undefined) {
      if (bad !== null && !isTorn(log, at)) return stop(problemOf(name, bad));
      if (end.sealed && !log.names.includes(segmentName(ordinal + 1))) {
        return stop({
          file: name,
          offset: end.offset,
          what: `sealed, but ${segmentName(ordinal + 1)} is missing`,
        });
      }
      break;
    }
    if (next.ordinal !== ordinal + 1) {
      return stop({
        file: segmentName(ordinal + 1),
        offset: null,
        what: `missing, between ${name} and ${next.name}`,
      });
    }
    if (bad !== null && !isVouchedFor(log, at)) return stop(problemOf(name, bad));
    if (next.header !== null && next.header.firstSequence !== end.nextSequence) {
      return stop({
        file: name,
        offset: end.offset,
        what:
          `the segment ends before sequence ${end.nextSequence}, but ${next.name} begins with ` +
          `${next.header.firstSequence}`,
      });
    }
    if (next.header !== null && next.header.chain !== end.chain) {
      return stop({
        file: next.name,
        offset: 44,
        what: 'the chain from the segment before is broken',
      });
    }
    at++;
  }
  return stop(null);
}

function problemOf(file: string, bad: BadPlace | null): LogProblem {
  return { file, offset: bad?.offset ?? 0, what: bad?.reason ?? 'bad' };
}

/** The log ends before what the lock file says was synced. */
function shortOf(log: LogCheck, reached: number, last: SegmentCheck | null): LogProblem | null {
  const synced = log.durable?.syncedSequence ?? 0;
  if (synced <= reached) return null;
  return {
    file: last?.name ?? segmentName(log.durable?.segmentOrdinal ?? 1),
    offset: last?.end?.offset ?? null,
    what: `the log ends with sequence ${reached}, but ${synced} was synced`,
  };
}

/** Bytes behind the good end of a segment whose successor says that there is nothing: what a crash left of a seal. */
export function isVouchedFor(log: LogCheck, at: number): boolean {
  const segment = log.segments[at];
  const next = log.segments[at + 1];
  if (segment === undefined || segment.end === null) return false;
  if (segment.bad === null || segment.bad.isDamage) return false;
  if (next === undefined || next.header === null) return false;
  if (next.ordinal !== segment.ordinal + 1) return false;
  const { chain, nextSequence } = segment.end;
  return next.header.firstSequence === nextSequence && next.header.chain === chain;
}

/** A bad end that recovery may cut off: of the last segment, and nothing says that it was synced. */
export function isTorn(log: LogCheck, at: number): boolean {
  const segment = log.segments[at];
  if (segment === undefined || at + 1 < log.segments.length) return false;
  if (segment.end === null) return tornHeader(log, at);
  const { bad, end } = segment;
  if (bad === null || bad.isDamage) return false;
  const synced = Math.max(bad.laterSynced, log.durable?.syncedSequence ?? 0);
  return synced < end.nextSequence;
}

/** A last segment of which not even the header is whole. The one before must be whole, and not vouch for it by a seal. */
function tornHeader(log: LogCheck, at: number): boolean {
  const segment = log.segments[at];
  if (segment === undefined || at + 1 < log.segments.length) return false;
  if (segment.header !== null || segment.bad === null || segment.bad.isDamage) return false;
  const before = log.segments[at - 1];
  return before === undefined || (before.bad === null && before.end?.sealed === false);
}

/** The highest sequence that the log or the lock file knows of, leaving out a torn tail. */
export function lastKnownSequence(log: LogCheck): number {
  let highest = log.durable?.sequence ?? 0;
  log.segments.forEach(({ header, end, bad }, at) => {
    if (header !== null) highest = Math.max(highest, header.firstSequence - 1);
    if (end !== null) highest = Math.max(highest, end.nextSequence - 1, end.syncedThrough);
    if (bad !== null && !isTorn(log, at)) highest = Math.max(highest, bad.laterSequence);
  });
  return highest;
}

/** The highest epoch that anything in the log carries. */
export function lastEpoch(log: LogCheck): number {
  let highest = 0;
  for (const { header, end, bad } of log.segments) {
    highest = Math.max(highest, header?.epoch ?? 0, end?.epoch ?? 0, bad?.laterEpoch ?? 0);
  }
  return highest;
}
