/**
 * The deterministic state machine: `apply` turns a frame's commands into state. It is total and pure: whatever can be refused
 * was refused before the append, times and ids are in the commands, and slots are handed out in an order that depends on
 * the log alone, so the same log gives the same state everywhere: on the serving thread, at start-up, in the checkpoint
 * worker, in a reader. The digest is kept up as it goes (design.md, decisions 4, 5 and 11).
 *
 * A free slot is reused first-in first-out. Reuse is safe at once, with the old concept still in a lower level, because
 * forgetting marks the slot HIDES_LOWER in the active generation and that mark outlives the reuse.
 *
 * Forgetting a concept of many associations takes longer than a turn should, so the serving thread takes them out in steps,
 * beside whatever is applied meanwhile. For everybody the concept is gone at once (`dyingSlot`); what is left to do is
 * sums, which come out the same in any order. Its slot alone could tell the difference, so it is held back
 * until the generation is frozen, on the serving thread and in every replay alike.
 */

import { SutraError } from '../errors.js';
import { crc32 } from './format/crc32.js';
import { Digest } from './format/digest.js';
import { CommandKind, CommandReader, FORGET_ALL_TYPES, LEARN_HAS_VECTOR } from './format/frame.js';
import { BOTH, IN, OUT, type GraphView } from './graph/graph-view.js';
import { LevelCursor } from './level-cursor.js';
import { Levels, LEVEL_ACTIVE, type SegmentFiles } from './levels.js';
import type { Generation } from './memtable/generation.js';
import type { Snapshot } from './snapshot/snapshot.js';
import { Prefetch } from './prefetch.js';
import { ConceptRecord } from './snapshot/snapshot-source.js';

/** Slots are uint32 and sections stay below 2 GiB: 16 bytes of key a slot. */
export const MAX_SLOTS = 0x7fffffff >>> 4;
/** Eight bytes of creation time an association. */
export const MAX_EDGES = 0x7fffffff >>> 3;

/** Frames below this are applied without prefetching. */
const PREFETCH_BYTES = 1024;

/** How many associations the last forget of a frame removed, by index of the command; filled on demand. */
export type ForgetCounts = (commandIndex: number, associations: number) => void;

/**
 * Associations that one step of a forget takes out, about: some milliseconds. A concept with more than these is forgotten in
 * steps, and its slot held back: part of how slots are handed out, so a store's reader and writer must have the same.
 */
const FORGET_STEP = 2048;

/** A concept on its way out. */
interface Forgetting {
  readonly slot: number;
  readonly k0: number;
  readonly k1: number;
  readonly k2: number;
  readonly k3: number;
  removed: number;
}

interface DyingConcept {
  readonly forgetting: Forgetting;
  readonly done: (count: number) => void;
}

export class State implements GraphView {
  readonly levels: Levels;
  readonly digest: Digest;
  sequence: number;
  slotCount: number;
  conceptCount: number;
  edgeCount: number;
  vectorCount: number;
  /** Changes with every applied frame. */
  version = 0;
  /** How often a free slot was handed out again: whoever holds slots across a pause may hold somebody else's then. */
  reusedSlots = 0;
  /** Is told of each slot whose vector was learned, replaced or forgotten, once the state has it. */
  onVector: ((slot: number) => void) | null = null;

  private readonly freeBase: Uint32Array;
  private freeBaseHead = 0;
  private freed: number[] = [];
  private freedHead = 0;
  /** Free too, but handed out only behind the next freeze: those of concepts with more than FORGET_STEP associations. */
  private held: number[] = [];

  private dying: DyingConcept | null = null;

  private readonly reader = new CommandReader();
  /** Of the commands that are prefetched. */
  private readonly ahead = new CommandReader();
  readonly prefetch: Prefetch;
  private readonly record = new ConceptRecord();
  private readonly cursor: LevelCursor;
  private readonly otherCursor: LevelCursor;
  /** What a forget walks, so that it can pause while checkpoints swap the levels. */
  private readonly view: Levels;
  private readonly viewCursor: LevelCursor;
  /** What `view` looks at between forgets, so that it keeps no level longer than it serves. */
  private readonly nothing: Generation;

  constructor(base: Snapshot | null, segmentFiles: SegmentFiles) {
    this.levels = new Levels(base, segmentFiles);
    this.cursor = new LevelCursor(this.levels);
    this.otherCursor = new LevelCursor(this.levels);
    this.view = new Levels(null, segmentFiles);
    this.nothing = this.view.active;
    this.viewCursor = new LevelCursor(this.view);
    this.prefetch = new Prefetch(this.levels);
    this.digest = base === null ? new Digest() : base.digest.clone();
    this.sequence = base?.sequence ?? 0;
    this.slotCount = base?.slotCount ?? 0;
    this.conceptCount = base?.conceptCount ?? 0;
    this.edgeCount = base?.edgeCount ?? 0;
    this.vectorCount = base?.vectorCount ?? 0;
    this.freeBase = base === null ? new Uint32Array(0) : base.freeSlots();
  }

  // --- GraphView ---

  get slotCapacity(): number {
    return this.slotCount;
  }
  openCursor(): LevelCursor {
    return new LevelCursor(this.levels);
  }
  isLive(slot: number): boolean {
    return this.levels.isLive(slot);
  }
  compareKeys(a: number, b: number): number {
    return this.levels.compareKeys(a, b);
  }

  /** Free slots in the order of their reuse. */
  freeSlots(): Uint32Array {
    const fromBase = this.freeBase.subarray(this.freeBaseHead);
    const freed = this.freed.slice(this.freedHead);
    const all = new Uint32Array(fromBase.length + freed.length + this.held.length);
    all.set(fromBase);
    all.set(freed, fromBase.length);
    all.set(this.held, fromBase.length + freed.length);
    return all;
  }

  /** Seals the active generation: what is applied from here on goes into a new one. No forget is under way. */
  freeze(): void {
    if (this.dying !== null) throw new SutraError('INTERNAL', 'frozen within a forget');
    this.releaseHeld();
    this.levels.freeze();
  }

  /** For a replay that comes to where the serving thread froze a generation. */
  releaseHeld(): void {
    for (const slot of this.held) this.freed.push(slot);
    this.held = [];
  }

  // --- apply ---

  /**
   * Applies a frame's commands, of which those up to `this.sequence` are already in the state and are passed over.
   *
   * @param bytes the buffer that holds the payload at `from` (8-byte aligned)
   * @param segment ordinal of the segment the payload lies in, and `offset` where in that file
   * @param pausable leave it to `continueForget` to take out the associations of a concept that has more than a turn
   *   should take, and apply what is behind it; and come back with false when what is next has to wait for that, or when forgets
   *   took enough of this turn. The caller then lets others have theirs, sees to the forget, and calls again.
   * @throws DAMAGED when the bytes do not parse (before anything of the bad command is applied)
   */
  apply(
    bytes: Uint8Array,
    from: number,
    length: number,
    firstSequence: number,
    segment: number,
    offset: number,
    forgotten?: ForgetCounts,
    pausable = false,
  ): boolean {
    const reader = this.reader;
    reader.open(bytes, from, length);
    const shift = offset - from;
    let index = 0;
    this.ahead.open(bytes, from, length);
    // Of a few commands nothing can overlap.
    let prefetched = length < PREFETCH_BYTES ? -1 : 0;
    let removed = 0;
    for (; reader.next(); index++) {
      if (index === prefetched) prefetched += this.prefetchCommands();
      if (firstSequence + index <= this.sequence) continue;
      switch (reader.kind) {
        case CommandKind.Learn:
        case CommandKind.LearnTimed:
          if (this.isDying(reader)) return this.comeBack();
          this.learn(reader, segment, shift);
          break;
        case CommandKind.Associate:
          this.associate(reader);
          break;
        case CommandKind.ForgetConcept: {
          // Two at once would hide associations from each other; and a frame may hold thousands of forgets.
          if (this.dying !== null) return this.comeBack();
          if (pausable && removed >= FORGET_STEP) return this.comeBack();
          const command = index;
          removed += this.forget(reader, pausable, (count) => forgotten?.(command, count));
          break;
        }
        default: {
          const count = this.forgetAssociation(reader);
          forgotten?.(index, count);
        }
      }
      this.sequence = firstSequence + index;
    }
    this.version++;
    if (reader.bad !== null) {
      throw new SutraError(
        'DAMAGED',
        `write log segment ${segment}: command ${index} of the frame at offset ${offset} ` +
          `does not parse: ${reader.bad}`,
      );
    }
    return true;
  }

  /** Whether associations of a forgotten concept are still to be taken out, by `continueForget`. */
  get isForgetting(): boolean {
    return this.dying !== null;
  }

  /** One step of that; true when all are out. */
  continueForget(): boolean {
    const { dying, levels } = this;
    if (dying === null) return true;
    const { forgetting, done } = dying;
    if (!this.removeEdges(forgetting, FORGET_STEP)) return false;
    const { base } = this.view;
    this.endForget(forgetting);
    this.dying = null;
    levels.dyingSlot = -1;
    base?.release();
    this.version++;
    done(forgetting.removed);
    return true;
  }

  private comeBack(): false {
    this.version++;
    return false;
  }

  /** Touches what the next commands of the frame will look up; returns how many. */
  private prefetchCommands(): number {
    const { ahead, prefetch } = this;
    let count = 0;
    while (prefetch.hasRoom && ahead.next()) {
      count++;
      const kind = ahead.kind;
      prefetch.addKey(ahead.word(4), ahead.word(5), ahead.word(6), ahead.word(7));
      if (kind !== CommandKind.Associate) continue;
      prefetch.addKey(ahead.word(8), ahead.word(9), ahead.word(10), ahead.word(11));
      prefetch.addEdge(ahead.associationType);
    }
    prefetch.run();
    return count;
  }

  private takeSlot(): number {
    const free =
      this.freeBaseHead < this.freeBase.length
        ? this.freeBase[this.freeBaseHead++]
        : this.freed[this.freedHead++];
    if (free === undefined) {
      this.freedHead--;
      return this.slotCount++;
    }
    this.reusedSlots++;
    if (this.freedHead > 1024 && this.freedHead * 2 > this.freed.length) {
      this.freed = this.freed.slice(this.freedHead);
      this.freedHead = 0;
    }
    return free;
  }

  private learn(c: CommandReader, segment: number, shift: number): void {
    const levels = this.levels;
    const active = levels.active;
    const k0 = c.word(4);
    const k1 = c.word(5);
    const k2 = c.word(6);
    const k3 = c.word(7);
    const timeUs = c.timeUs(10);
    const dimension = c.dimension;
    const given = (c.flags & LEARN_HAS_VECTOR) !== 0;
    // A vector of another dimension was refused before the append; for totality it is left out here.
    if (given && levels.dimension === 0) levels.dimension = dimension;
    const hasNewVector = given && dimension === levels.dimension;
    let row = active.findConcept(k0, k1, k2, k3);
    let createdUs = c.kind === CommandKind.LearnTimed ? c.createdUs : timeUs;
    let nameLength = c.nameLength;
    let nameCrc = c.word(3);
    let vectorCrc = hasNewVector ? c.word(13) : 0;
    let hasVector = hasNewVector;
    const slot =
      row !== 0
        ? active.isLive(row)
          ? active.slot(row)
          : -1
        : levels.findSlotBelow(k0, k1, k2, k3);
    if (slot < 0) {
      const fresh = this.takeSlot();
      if (row === 0) row = active.addConcept(k0, k1, k2, k3, fresh);
      else active.bind(row, fresh);
      if (nameLength > 0) active.setName(row, c.name);
      this.conceptCount++;
    } else {
      const old = this.record;
      levels.readConcept(slot, old);
      createdUs = old.createdUs;
      old.addTo(this.digest, -1, levels.dimension);
      if (row === 0) {
        row = active.addConcept(k0, k1, k2, k3, slot);
        if (old.name !== null) active.setName(row, old.name);
        if (old.hasVector && !hasNewVector) active.inheritVector(row, old.vectorCrc);
      }
      if (old.name !== null) {
        nameLength = old.name.length;
        nameCrc = crc32(old.name);
      } else if (nameLength > 0) {
        active.setName(row, c.name);
      }
      if (old.hasVector) {
        this.vectorCount--;
        hasVector = true;
        if (!hasNewVector) vectorCrc = old.vectorCrc;
      }
    }
    active.setConcept(
      row,
      c.float(8),
      c.float(9),
      createdUs,
      timeUs,
      segment,
      c.contentAt + shift,
      c.contentLength,
      c.word(2),
    );
    if (hasNewVector) active.setVector(row, segment, c.vectorAt + shift, vectorCrc);
    if (hasVector) this.vectorCount++;
    if (hasNewVector) this.onVector?.(active.slot(row));
    this.digest.concept(
      1,
      k0,
      k1,
      k2,
      k3,
      nameLength,
      nameCrc,
      c.contentLength,
      c.word(2),
      hasVector ? levels.dimension : 0,
      vectorCrc,
      c.float(8),
      c.float(9),
      createdUs,
      timeUs,
    );
  }

  private associate(c: CommandReader): void {
    const levels = this.levels;
    const source = levels.findSlot(c.word(4), c.word(5), c.word(6), c.word(7));
    const target = levels.findSlot(c.word(8), c.word(9), c.word(10), c.word(11));
    // Unknown endpoints were refused before the append; a log that holds one all the same changes nothing.
    if (source < 0 || target < 0) return;
    const type = c.associationType;
    const confidence = c.float(1);
    let createdUs = c.timeUs(2);
    const active = levels.active;
    const known = levels.findEdge(source, target, type);
    if (known) {
      createdUs = levels.edgeCreatedUs();
      this.addEdge(-1, c, type, levels.edgeConfidence(), createdUs);
    } else {
      this.edgeCount++;
    }
    const row = active.findEdge(source, target, type);
    if (row !== 0) active.setEdge(row, confidence, createdUs);
    else active.addEdge(source, target, type, confidence, createdUs, known);
    this.addEdge(1, c, type, confidence, createdUs);
  }

  private addEdge(
    sign: 1 | -1,
    c: CommandReader,
    type: number,
    confidence: number,
    createdUs: number,
  ): void {
    this.digest.association(
      sign,
      c.word(4),
      c.word(5),
      c.word(6),
      c.word(7),
      c.word(8),
      c.word(9),
      c.word(10),
      c.word(11),
      type,
      confidence,
      createdUs,
    );
  }

  /** Returns how many associations it took out now; `done` is told of all of them, then or by `continueForget`. */
  private forget(c: CommandReader, pausable: boolean, done: (count: number) => void): number {
    const { levels, record: old } = this;
    const slot = levels.findSlot(c.word(4), c.word(5), c.word(6), c.word(7));
    if (slot < 0) {
      done(0);
      return 0;
    }
    levels.readConcept(slot, old);
    const { k0, k1, k2, k3, hasVector } = old;
    const forgetting = { slot, k0, k1, k2, k3, removed: 0 };
    old.addTo(this.digest, -1, levels.dimension);
    this.conceptCount--;
    // A store without vectors takes its dimension from the next one (interface.md).
    if (hasVector && --this.vectorCount === 0) levels.dimension = 0;
    this.view.lookAt(levels);
    this.viewCursor.start(slot, BOTH, null);
    const isDone = this.removeEdges(forgetting, pausable ? FORGET_STEP : Infinity);
    const { removed } = forgetting;
    if (isDone) {
      this.endForget(forgetting);
      done(removed);
    } else {
      // The levels may be swapped meanwhile; what the cursor walks must stay.
      this.view.base?.retain();
      levels.dyingSlot = slot;
      this.dying = { forgetting, done };
    }
    if (hasVector) this.onVector?.(slot);
    return removed;
  }

  /** Whether a command is about the concept that is on its way out. */
  private isDying(c: CommandReader): boolean {
    if (this.dying === null) return false;
    const { k0, k1, k2, k3 } = this.dying.forgetting;
    return k0 === c.word(4) && k1 === c.word(5) && k2 === c.word(6) && k3 === c.word(7);
  }

  /** Takes the concept's associations out, until they were more than `most`; true when all are out. */
  private removeEdges(forgetting: Forgetting, most: number): boolean {
    const { slot } = forgetting;
    const { view, viewCursor: cursor } = this;
    const until = forgetting.removed + most;
    for (let n = cursor.fill(); n > 0; n = cursor.fill()) {
      for (let i = 0; i < n; i++) {
        const other = cursor.slots[i]!;
        const isOut = cursor.directions[i] === OUT;
        const source = isOut ? slot : other;
        this.removeEdge(view, source, isOut ? other : slot, cursor.types[i]!, false);
      }
      forgetting.removed += n;
      if (forgetting.removed > until) return false;
    }
    return true;
  }

  /** Leaves a tombstone of the concept, and its slot to others. */
  private endForget({ slot, k0, k1, k2, k3, removed }: Forgetting): void {
    const { levels, view } = this;
    const { active } = levels;
    view.active = this.nothing;
    view.frozen = null;
    view.base = null;
    const row = active.findConcept(k0, k1, k2, k3);
    active.kill(row === 0 ? active.addConcept(k0, k1, k2, k3, slot) : row);
    active.hide(slot);
    if (removed > FORGET_STEP) this.held.push(slot);
    else this.freed.push(slot);
  }

  private forgetAssociation(c: CommandReader): number {
    const levels = this.levels;
    const source = levels.findSlot(c.word(4), c.word(5), c.word(6), c.word(7));
    const target = levels.findSlot(c.word(8), c.word(9), c.word(10), c.word(11));
    if (source < 0 || target < 0) return 0;
    if ((c.flags & FORGET_ALL_TYPES) === 0) {
      const type = c.associationType;
      if (!levels.findEdge(source, target, type)) return 0;
      this.removeEdge(levels, source, target, type, true);
      return 1;
    }
    const types = this.typesBetween(source, target);
    for (const type of types) this.removeEdge(levels, source, target, type, true);
    return types.length;
  }

  /**
   * Types of the live associations from source to target, ascending. They are in the list of either end: both are walked by
   * turns until one has ended, so that a hub's long list costs nothing where the other's is short.
   */
  typesBetween(source: number, target: number): number[] {
    const { cursor, otherCursor } = this;
    const outOf = new Set<number>();
    const into = new Set<number>();
    cursor.start(source, OUT, null);
    otherCursor.start(target, IN, null);
    for (;;) {
      if (!collectTypes(cursor, target, outOf)) return ascending(outOf);
      if (!collectTypes(otherCursor, source, into)) return ascending(into);
    }
  }

  /**
   * Takes a live association out of digest and count. `bury`: also leave a tombstone for one of a lower level; not needed
   * when an endpoint is about to hide its lower levels.
   */
  private removeEdge(
    levels: Levels,
    source: number,
    target: number,
    type: number,
    bury: boolean,
  ): void {
    if (!levels.findEdge(source, target, type)) return;
    this.digest.association(
      -1,
      levels.keyWord(source, 0),
      levels.keyWord(source, 1),
      levels.keyWord(source, 2),
      levels.keyWord(source, 3),
      levels.keyWord(target, 0),
      levels.keyWord(target, 1),
      levels.keyWord(target, 2),
      levels.keyWord(target, 3),
      type,
      levels.edgeConfidence(),
      levels.edgeCreatedUs(),
    );
    this.edgeCount--;
    if (levels.edgeLevel === LEVEL_ACTIVE) levels.active.deleteEdge(levels.edgeAt);
    else if (bury) levels.active.addEdgeTombstone(source, target, type);
  }
}

/** The types of the next associations that lead to `other`; false at the end. */
function collectTypes(cursor: LevelCursor, other: number, types: Set<number>): boolean {
  const n = cursor.fill();
  for (let i = 0; i < n; i++) if (cursor.slots[i] === other) types.add(cursor.types[i]!);
  return n > 0;
}

function ascending(types: Set<number>): number[] {
  return [...types].sort((a, b) => a - b);
}
