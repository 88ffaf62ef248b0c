/**
 * What writes that are queued, but not applied yet, will do to the existence of concepts. Checks that depend on state run
 * when a command is encoded, against the applied state plus everything queued before it, so that `link A B` works straight
 * behind `learn B`. An entry counts while its frame is not applied; stale entries are dropped when the table grows.
 *
 * Also remembers, by the frame that last touched its hash bucket, which pairs of concepts the queue associates: deleting
 * one of those associations has to wait until that frame is applied; any other can be judged by the applied state.
 */

import { hashKey, type ParsedId } from '../format/id.js';

/** Key words 0..3, frame, state, name length, name CRC. */
const STRIDE = 8;
const FRAME = 4;
const STATE = 5;
const NAME_LENGTH = 6;
const NAME_CRC = 7;
const INITIAL_CAPACITY = 256;
const PAIR_BUCKETS = 1 << 14;

export const PENDING_NONE = 0;
/** Will exist, and says by itself what its name is. */
export const PENDING_LEARNED = 1;
export const PENDING_FORGOTTEN = 2;

export class PendingKeys {
  private table = new Uint32Array(INITIAL_CAPACITY * STRIDE);
  private capacity = INITIAL_CAPACITY;
  private used = 0;
  private readonly pairFrames = new Uint32Array(PAIR_BUCKETS);
  /** Overwritten entries since `mark`: index and the five words that change, for undoing a refused batch. */
  private journal: number[] | null = null;

  /** Of the entry that `find` found. */
  nameLength = 0;
  nameCrc = 0;

  /** Frames up to this one are applied. */
  appliedFrame = 0;

  /** What the queue says of a key: PENDING_*; nameLength and nameCrc are set for PENDING_LEARNED. */
  find(id: ParsedId): number {
    if (this.used === 0) return PENDING_NONE;
    const at = this.probe(this.table, this.capacity, id.k0, id.k1, id.k2, id.k3);
    const table = this.table;
    if (table[at + STATE] === PENDING_NONE || table[at + FRAME]! <= this.appliedFrame) {
      return PENDING_NONE;
    }
    this.nameLength = table[at + NAME_LENGTH]!;
    this.nameCrc = table[at + NAME_CRC]!;
    return table[at + STATE]!;
  }

  set(id: ParsedId, frame: number, state: number, nameLength: number, nameCrc: number): void {
    if ((this.used + 1) * 2 > this.capacity) this.grow();
    const table = this.table;
    const at = this.probe(table, this.capacity, id.k0, id.k1, id.k2, id.k3);
    if (this.journal !== null) {
      this.journal.push(
        id.k0,
        id.k1,
        id.k2,
        id.k3,
        table[at + FRAME]!,
        table[at + STATE]!,
        table[at + NAME_LENGTH]!,
        table[at + NAME_CRC]!,
      );
    }
    if (table[at + STATE] === PENDING_NONE) {
      table[at] = id.k0;
      table[at + 1] = id.k1;
      table[at + 2] = id.k2;
      table[at + 3] = id.k3;
      this.used++;
    }
    table[at + FRAME] = frame;
    table[at + STATE] = state;
    table[at + NAME_LENGTH] = nameLength;
    table[at + NAME_CRC] = nameCrc;
  }

  /** Starts to remember overwritten entries. */
  beginUndoable(): void {
    this.journal = [];
  }
  commitUndoable(): void {
    this.journal = null;
  }
  /** Puts back what was there when `beginUndoable` was called; a key that had no entry gets a stale one. */
  undo(): void {
    const journal = this.journal ?? [];
    this.journal = null;
    for (let i = journal.length - STRIDE; i >= 0; i -= STRIDE) {
      const [k0, k1, k2, k3] = [journal[i]!, journal[i + 1]!, journal[i + 2]!, journal[i + 3]!];
      const at = this.probe(this.table, this.capacity, k0, k1, k2, k3);
      const hadNone = journal[i + 5] === PENDING_NONE;
      this.table[at + FRAME] = hadNone ? 0 : journal[i + 4]!;
      this.table[at + STATE] = hadNone ? PENDING_FORGOTTEN : journal[i + 5]!;
      this.table[at + NAME_LENGTH] = journal[i + 6]!;
      this.table[at + NAME_CRC] = journal[i + 7]!;
    }
  }

  touchPair(source: ParsedId, target: ParsedId, frame: number): void {
    this.pairFrames[pairBucket(source, target)] = frame;
  }
  /** False: no queued command touches an association between the two. */
  mayTouchPair(source: ParsedId, target: ParsedId): boolean {
    return this.pairFrames[pairBucket(source, target)]! > this.appliedFrame;
  }

  /** Nothing is queued any more. */
  clear(): void {
    if (this.used > 0) {
      if (this.capacity > 65536) {
        this.capacity = INITIAL_CAPACITY;
        this.table = new Uint32Array(INITIAL_CAPACITY * STRIDE);
      } else {
        this.table.fill(0);
      }
      this.used = 0;
    }
  }

  private probe(
    table: Uint32Array,
    capacity: number,
    k0: number,
    k1: number,
    k2: number,
    k3: number,
  ): number {
    const mask = capacity - 1;
    let position = hashKey(k0, k1, k2, k3) & mask;
    for (;;) {
      const at = position * STRIDE;
      if (table[at + STATE] === PENDING_NONE) return at;
      if (
        table[at] === k0 &&
        table[at + 1] === k1 &&
        table[at + 2] === k2 &&
        table[at + 3] === k3
      ) {
        return at;
      }
      position = (position + 1) & mask;
    }
  }

  /** Rehashes what is not stale; the table is bounded by the bytes that may be queued. */
  private grow(): void {
    const old = this.table;
    let live = 0;
    for (let at = 0; at < old.length; at += STRIDE) {
      if (old[at + STATE] !== PENDING_NONE && old[at + FRAME]! > this.appliedFrame) live++;
    }
    let capacity = INITIAL_CAPACITY;
    while (capacity < (live + 1) * 4) capacity *= 2;
    const table = new Uint32Array(capacity * STRIDE);
    for (let at = 0; at < old.length; at += STRIDE) {
      if (old[at + STATE] === PENDING_NONE || old[at + FRAME]! <= this.appliedFrame) continue;
      const to = this.probe(table, capacity, old[at]!, old[at + 1]!, old[at + 2]!, old[at + 3]!);
      for (let word = 0; word < STRIDE; word++) table[to + word] = old[at + word]!;
    }
    this.table = table;
    this.capacity = capacity;
    this.used = live;
  }
}

function pairBucket(source: ParsedId, target: ParsedId): number {
  const hash = hashKey(source.k0 ^ target.k1, source.k1, target.k0, source.k2 ^ target.k3);
  return hash & (PAIR_BUCKETS - 1);
}
