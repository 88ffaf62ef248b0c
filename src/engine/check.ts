/**
 * The whole-store check: every checksum of every file, the log from end to end, the state against itself, and storage.dat.prev
 * with the log behind it against storage.dat. It reads only, takes no lock, works on files pinned at one moment
 * (pinned-files.ts), and goes on after what it finds: bad bytes are findings, never errors.
 *
 * What is damage and what a torn tail is decided as at start-up. Besides what is wrong it says what can still be had: the
 * state of the best way through the files, which is all of it as long as only copies are damaged. Repair builds on that.
 */

import { basename } from 'node:path';

import type { SutraError } from '../errors.js';
import {
  checkLog,
  isTorn,
  isVouchedFor,
  lastKnownSequence,
  reach,
  type LogCheck,
  type LogPlace,
  type LogProblem,
  type Reach,
} from './check-log.js';
import { checkState, faultOf, type StateSum } from './check-state.js';
import type { Disk } from './disk.js';
import type { SnapshotHeader } from './format/snapshot-format.js';
import { Digest } from './format/digest.js';
import { silentLogger } from './logger.js';
import type { DurableRecord } from './lock-file.js';
import { PinnedFiles } from './pinned-files.js';
import { PREVIOUS_NAME, recover, SNAPSHOT_NAME, type Recovered } from './recovery.js';
import { checkBlocks, openSnapshotFile, type SnapshotFile } from './snapshot/snapshot-file.js';
import type { State } from './state.js';
import type { Steps } from './steps.js';

export interface Finding {
  /** Name within the store's directory. */
  readonly file: string;
  readonly offset?: number;
  /** What is wrong: got and expected. */
  readonly what: string;
  /** First and last sequence that cannot be had any more because of it; absent when everything can. */
  readonly sequences?: readonly [number, number];
}

export interface FileCheck {
  readonly file: string;
  readonly bytes: number;
  readonly ok: boolean;
  /** The sequences that the file covers: 0 to its own for a snapshot. Null when that cannot be read. */
  readonly sequences: readonly [number, number] | null;
}

/** A way to a state: where it starts, and how far the log then leads. */
export interface Way {
  readonly base: 'current' | 'previous' | 'none';
  readonly baseSequence: number;
  readonly reach: Reach;
}

export interface SnapshotCheck {
  readonly exists: boolean;
  /** Null when not even the header is good. */
  readonly header: SnapshotHeader | null;
  readonly isWhole: boolean;
}

export interface StoreCheck {
  readonly files: readonly FileCheck[];
  readonly findings: readonly Finding[];
  /** What is as it may be after a crash. */
  readonly notes: readonly Finding[];
  /** The state of the best way; null when there is none. */
  readonly state: StateSum | null;
  readonly way: Way | null;
  /** What the best way leaves out; null: nothing. */
  readonly lost: readonly [number, number] | null;
  /** A writer is at work, and this was the state that it had published. */
  readonly held: boolean;
  readonly current: SnapshotCheck;
  readonly previous: SnapshotCheck;
  /** storage.dat.prev and the log behind it give storage.dat; null when there is nothing to compare. */
  readonly previousAgrees: boolean | null;
  /** The log leads from storage.dat.prev to storage.dat. */
  readonly previousReaches: boolean;
  /** A file was written by a newer version. */
  readonly isNewer: boolean;
  readonly uuid: Uint8Array | null;
  readonly log: LogCheck;
}

/** So many findings for one file; the rest is counted. */
const MAX_FINDINGS = 50;

const NO_LOG: ReadonlyMap<number, number> = new Map();

/**
 * `owner`: the caller holds the lock, and this is its predecessor's record.
 * @throws NO_SUCH_DIRECTORY, NOT_A_STORE, NOT_PERMITTED, UNAVAILABLE
 */
export function* checkStore(
  disk: Disk,
  directory: string,
  owner: { readonly durable: DurableRecord | null } | null = null,
): Steps<StoreCheck> {
  const files = PinnedFiles.open(disk, directory, owner);
  try {
    return yield* new Check(files).run();
  } finally {
    files.close();
  }
}

/**
 * Recovers from one of the snapshots, or none: all of the log, as start-up would, or as far as `limits`. The caller closes
 * its files and releases its base. @throws DAMAGED
 */
export function recoverFrom(
  files: PinnedFiles,
  base: Way['base'],
  limits: ReadonlyMap<number, number> | null,
): Recovered {
  const without: string[] = [];
  if (base !== 'current') without.push(SNAPSHOT_NAME);
  if (base === 'none') without.push(PREVIOUS_NAME);
  const range =
    limits === null
      ? { durable: files.durable, limits: files.limits }
      : { durable: null, limits, throughOrdinal: Math.max(0, ...limits.keys()) };
  return recover(files.view(without), files.directory, { ...range, logger: silentLogger });
}

class Check {
  private readonly findings: Finding[] = [];
  private readonly notes: Finding[] = [];
  private readonly counts = new Map<string, number>();
  /** The sequences of the snapshots, as far as they are known. */
  private readonly lastHeld = new Map<string, number>();
  private isNewer = false;
  private previousReaches = false;

  constructor(private readonly files: PinnedFiles) {}

  *run(): Steps<StoreCheck> {
    const { files } = this;
    const current = yield* this.snapshot(SNAPSHOT_NAME);
    const previous = yield* this.snapshot(PREVIOUS_NAME);
    if (!current.exists && previous.exists) this.find(SNAPSHOT_NAME, null, 'missing');
    this.compareHeaders(current, previous);
    const uuid = (current.header ?? previous.header)?.uuid ?? null;
    const mark = current.header?.sequence;
    const log = yield* checkLog(files, uuid, mark === undefined ? [] : [mark]);
    this.segments(log);

    const ways = waysThrough(log, current, previous);
    for (const way of ways) {
      // One that is not needed is judged by what it is kept for: see `comparePrevious`.
      if (way === ways[0] || way.base === 'current') this.problem(way.reach.problem);
    }
    if (ways.length === 0) this.problem(reach(log, 0).problem);
    let best: Way | null = null;
    let state: StateSum | null = null;
    for (const way of ways) {
      state = yield* this.state(way);
      if (state === null) continue;
      best = way;
      break;
    }
    const previousAgrees = this.comparePrevious(log, current, previous);
    const lost = lostBy(best, log, [current, previous]);
    return {
      files: this.fileChecks(log, current, previous),
      findings: this.withStakes(lost, log),
      notes: this.notes,
      state,
      way: best,
      lost,
      held: files.held,
      current,
      previous,
      previousAgrees,
      previousReaches: this.previousReaches,
      isNewer: this.isNewer,
      uuid: uuid ?? log.segments.find(({ header }) => header !== null)?.header?.uuid ?? null,
      log,
    };
  }

  private find(file: string, offset: number | null, what: string): void {
    const at = offset === null ? {} : { offset };
    const known = this.findings.some((f) => f.file === file && f.offset === at.offset);
    if (known && offset !== null) return;
    const count = (this.counts.get(file) ?? 0) + 1;
    this.counts.set(file, count);
    if (count <= MAX_FINDINGS) this.findings.push({ file, ...at, what });
  }

  private fault(file: string, error: SutraError, offset = error.offset): void {
    const prefix = `${this.files.path(file)}: `;
    this.isNewer ||= error.code === 'UNSUPPORTED_FORMAT';
    let what = error.message;
    if (what.startsWith(prefix)) what = what.slice(prefix.length);
    // Said beside it.
    if (offset !== null) what = what.replace(` at offset ${offset}`, '');
    this.find(file, offset, what);
  }

  private problem(problem: LogProblem | null): void {
    if (problem !== null) this.find(problem.file, problem.offset, problem.what);
  }

  // --- snapshots ---

  private *snapshot(name: string): Steps<SnapshotCheck> {
    if (!this.files.has(name)) return { exists: false, header: null, isWhole: false };
    let file: SnapshotFile;
    try {
      file = openSnapshotFile(this.files.view(), this.files.path(name));
    } catch (error) {
      this.fault(name, bytesFault(error));
      return { exists: true, header: null, isWhole: false };
    }
    this.lastHeld.set(name, file.header.sequence);
    let isWhole = true;
    const blocks = checkBlocks(file, (error, offset) => {
      isWhole = false;
      this.fault(name, bytesFault(error), offset);
    });
    const total = file.header.fileBytes;
    for (let step = blocks.next(); step.done !== true; step = blocks.next()) {
      yield { phase: name, unit: 'bytes', done: step.value, total };
    }
    return { exists: true, header: file.header, isWhole };
  }

  private compareHeaders(current: SnapshotCheck, previous: SnapshotCheck): void {
    const a = current.header;
    const b = previous.header;
    if (a === null || b === null) return;
    if (Buffer.compare(a.uuid, b.uuid) !== 0) {
      this.find(PREVIOUS_NAME, 32, 'belongs to another store than storage.dat');
    } else if (b.sequence > a.sequence) {
      const what = `stands for sequence ${b.sequence}, behind that of storage.dat, ${a.sequence}`;
      this.find(PREVIOUS_NAME, 48, what);
    }
  }

  // --- the log ---

  private segments(log: LogCheck): void {
    log.segments.forEach((segment, at) => {
      const { name, bad } = segment;
      if (bad === null) return;
      this.isNewer ||= bad.isNewer;
      if (isTorn(log, at)) {
        const what = `torn tail, as a crash leaves it: ${bad.reason}; the next writer cuts it off`;
        this.notes.push({ file: name, offset: bad.offset, what });
      } else if (isVouchedFor(log, at)) {
        const what = `${bad.reason}, behind all that the segment after it continues; harmless`;
        this.notes.push({ file: name, offset: bad.offset, what });
      } else {
        this.find(name, bad.offset, bad.reason);
      }
    });
  }

  // --- the state ---

  /**
   * Recovers along a way and holds the state against itself; null when that does not come out whole. The snapshot is also held
   * against itself alone: what the log hides of it would not be seen otherwise.
   */
  private *state(way: Way): Steps<StateSum | null> {
    const name = way.base === 'previous' ? PREVIOUS_NAME : SNAPSHOT_NAME;
    const { problem, limits } = way.reach;
    const recovered = this.recovered(name, way.base, problem === null ? null : limits);
    if (recovered === null) return null;
    const { state, replayed } = recovered;
    try {
      if (way.base !== 'none' && replayed > 0) {
        const alone = this.recovered(name, way.base, NO_LOG);
        if (alone === null) return null;
        try {
          if ((yield* this.scan(name, alone.state, `${name}, slots`)) === null) return null;
        } finally {
          release(alone);
        }
      }
      const phase = replayed > 0 ? 'with the log, slots' : `${name}, slots`;
      return yield* this.scan(name, state, phase);
    } finally {
      release(recovered);
    }
  }

  private *scan(name: string, state: State, phase: string): Steps<StateSum | null> {
    let wrong = 0;
    const sum = yield* checkState(state, phase, (what, error) => {
      if (error === null) this.find(name, null, what);
      else this.fault(name, error);
      return ++wrong < MAX_FINDINGS;
    });
    return wrong === 0 ? sum : null;
  }

  /** Null, and a finding, when recovery refuses it. */
  private recovered(
    name: string,
    base: Way['base'],
    limits: ReadonlyMap<number, number> | null,
  ): Recovered | null {
    try {
      return recoverFrom(this.files, base, limits);
    } catch (error) {
      const fault = bytesFault(error);
      const file = basename(/^(.*?): /.exec(fault.message)?.[1] ?? '');
      this.fault(this.files.has(file) ? file : name, fault);
      return null;
    }
  }

  /** storage.dat.prev and the log behind it must give storage.dat (reliability.md, rule 9). */
  private comparePrevious(
    log: LogCheck,
    current: SnapshotCheck,
    previous: SnapshotCheck,
  ): boolean | null {
    const a = current.header;
    const b = previous.header;
    if (a === null || b === null || !current.isWhole || !previous.isWhole) return null;
    if (b.sequence > a.sequence || Buffer.compare(a.uuid, b.uuid) !== 0) return null;
    const expected = digestOf(a);
    if (a.sequence === b.sequence) {
      this.previousReaches = true;
      const agrees = digestOf(b).equals(expected);
      if (!agrees) this.disagree(digestOf(b), expected, a.sequence);
      return agrees;
    }
    const way = reach(log, b.sequence);
    const end = log.marks.get(a.sequence);
    if (end === undefined || !leadsTo(way, end)) {
      const what =
        `the log behind it leads to sequence ${Math.min(way.sequence, a.sequence)} only; it cannot ` +
        `take the place of storage.dat, which stands for ${a.sequence}`;
      this.find(PREVIOUS_NAME, null, what);
      return false;
    }
    const recovered = this.recovered(PREVIOUS_NAME, 'previous', upTo(way, end));
    if (recovered === null) return false;
    this.previousReaches = true;
    const { digest, sequence } = recovered.state;
    release(recovered);
    const agrees = sequence === a.sequence && digest.equals(expected);
    if (!agrees) this.disagree(digest, expected, sequence);
    return agrees;
  }

  private disagree(got: Digest, expected: Digest, sequence: number): void {
    const what =
      `with the log behind it the state digest at sequence ${sequence} is ${got.toString()}, but ` +
      `storage.dat has ${expected.toString()}`;
    this.find(PREVIOUS_NAME, null, what);
  }

  // --- the report ---

  private fileChecks(log: LogCheck, current: SnapshotCheck, previous: SnapshotCheck): FileCheck[] {
    const { files } = this;
    const isOk = (name: string): boolean => !this.counts.has(name);
    const checks: FileCheck[] = [];
    const add = (file: string, snapshot: SnapshotCheck): void => {
      if (!snapshot.exists) return;
      const bytes = files.file(file).identity().size;
      const { header } = snapshot;
      const sequences = header === null ? null : ([0, header.sequence] as const);
      checks.push({ file, bytes, ok: isOk(file), sequences });
    };
    add(SNAPSHOT_NAME, current);
    add(PREVIOUS_NAME, previous);
    for (const { name, bytes, header, end } of log.segments) {
      const sequences =
        header === null || end === null
          ? null
          : ([header.firstSequence, end.nextSequence - 1] as const);
      checks.push({ file: name, bytes, ok: isOk(name), sequences });
    }
    return checks;
  }

  /** The findings, with what was left out for their number, and with what is lost where that file would have held it. */
  private withStakes(lost: readonly [number, number] | null, log: LogCheck): Finding[] {
    const all = [...this.findings];
    for (const [file, count] of this.counts) {
      if (count > MAX_FINDINGS) all.push({ file, what: `and ${count - MAX_FINDINGS} more` });
    }
    if (lost === null) return all;
    return all.map((finding) => {
      const holds = this.lastHeld.get(finding.file) ?? segmentHolds(log, finding.file);
      return holds < lost[0] ? finding : { ...finding, sequences: lost };
    });
  }
}

/** The last sequence that a segment can have held: one below the first of the segment after it. */
function segmentHolds(log: LogCheck, name: string): number {
  const at = log.segments.findIndex((segment) => segment.name === name);
  const next = at < 0 ? undefined : log.segments[at + 1];
  return (next?.header?.firstSequence ?? Infinity) - 1;
}

/** The ways to a state, best first: the one that leads furthest, and of these the one from the newest snapshot. */
function waysThrough(log: LogCheck, current: SnapshotCheck, previous: SnapshotCheck): Way[] {
  const ways: Way[] = [];
  const add = (base: Way['base'], baseSequence: number): void => {
    ways.push({ base, baseSequence, reach: reach(log, baseSequence) });
  };
  if (current.isWhole) add('current', current.header?.sequence ?? 0);
  if (previous.isWhole) add('previous', previous.header?.sequence ?? 0);
  const isEmpty = !current.exists && !previous.exists && log.segments.length === 0;
  const isYoung = isEmpty && reach(log, 0).problem === null;
  if (isYoung || log.segments.some(({ header }) => header?.firstSequence === 1)) add('none', 0);
  // The sort is stable.
  return ways.sort((a, b) => b.reach.sequence - a.reach.sequence);
}

/** What a way leaves out of all that the files know of. Null without a problem: then a torn tail may be all that goes. */
function lostBy(
  way: Way | null,
  log: LogCheck,
  snapshots: readonly SnapshotCheck[],
): readonly [number, number] | null {
  if (way !== null && way.reach.problem === null) return null;
  let last = lastKnownSequence(log);
  for (const { header } of snapshots) last = Math.max(last, header?.sequence ?? 0);
  const reached = way?.reach.sequence ?? 0;
  return last > reached ? [reached + 1, last] : null;
}

function release({ files, state }: Recovered): void {
  files.closeAll();
  state.levels.base?.release();
}

function digestOf(header: SnapshotHeader): Digest {
  const digest = new Digest();
  digest.lanes.set(header.digest);
  return digest;
}

function leadsTo(way: Reach, place: LogPlace): boolean {
  return (way.limits.get(place.ordinal) ?? 0) >= place.offset;
}

/** Limits of the way as far as a place in it. */
function upTo(way: Reach, place: LogPlace): Map<number, number> {
  const limits = new Map<number, number>();
  for (const [ordinal, limit] of way.limits) {
    if (ordinal < place.ordinal) limits.set(ordinal, limit);
  }
  return limits.set(place.ordinal, place.offset);
}

/** The fault of the bytes; anything else goes on as it is. */
function bytesFault(error: unknown): SutraError {
  const fault = faultOf(error);
  if (fault === null) throw error;
  return fault;
}
