/**
 * A state held against itself, by one scan over its slots. Digest, counts and free slots are computed anew; each key must lead to
 * its slot, each association be found by its index and be seen from both ends; each content and vector is read, which
 * checks its checksum.
 *
 * Memory: four bytes and a bit a slot. The two ends of the associations are not matched one by one: each association is
 * hashed and added at its target when met going out, and subtracted there when met coming in, so that whatever is left over
 * at a slot says that the two lists disagree, and where.
 */

import { SutraError } from '../errors.js';
import { Digest } from './format/digest.js';
import { IN, OUT } from './graph/graph-view.js';
import { LEVEL_BASE, LEVEL_NONE } from './levels.js';
import { errorCode } from './log/write-log.js';
import { ConceptRecord } from './snapshot/snapshot-source.js';
import type { State } from './state.js';
import type { Steps } from './steps.js';

export interface StateSum {
  readonly digest: string;
  readonly sequence: number;
  readonly concepts: number;
  readonly edges: number;
  readonly vectors: number;
}

/** Told of each thing that is wrong, with the error that said so if there was one; false: that is enough. */
export type OnWrong = (what: string, error: SutraError | null) => boolean;

/** Slots between two steps. */
const STEP = 4096;

/** Returns what was counted; null when `onWrong` ended the scan. Throws what is no fault of the bytes. */
export function* checkState(state: State, phase: string, onWrong: OnWrong): Steps<StateSum | null> {
  const scan = new StateScan(state, onWrong);
  const { slotCount } = state;
  for (let from = 0; from < slotCount; from += STEP) {
    const to = Math.min(from + STEP, slotCount);
    if (!scan.slots(from, to)) return null;
    yield { phase, unit: 'slots', done: to, total: slotCount };
  }
  return scan.finish();
}

class StateScan {
  private readonly digest = new Digest();
  private readonly record = new ConceptRecord();
  private readonly cursor;
  private readonly target = new Uint32Array(4);
  /** By slot: hashes of its associations, met at their source minus met here. */
  private readonly balance: Int32Array;
  /** A bit per slot: on the free list. */
  private readonly free: Uint8Array;
  private readonly vector: Float32Array;
  private concepts = 0;
  private vectors = 0;
  private edgesOut = 0;
  private edgesIn = 0;
  private goOn = true;

  constructor(
    private readonly state: State,
    private readonly onWrong: OnWrong,
  ) {
    this.cursor = state.openCursor();
    this.balance = new Int32Array(state.slotCount);
    this.free = new Uint8Array(Math.ceil(state.slotCount / 8));
    this.vector = new Float32Array(state.levels.dimension);
    for (const slot of state.freeSlots()) {
      const bit = 1 << (slot & 7);
      if (slot >= state.slotCount || (this.free[slot >>> 3]! & bit) !== 0) {
        this.wrong(`slot ${slot} is on the free list twice, or beyond ${state.slotCount}`);
        continue;
      }
      this.free[slot >>> 3]! |= bit;
    }
  }

  /** Scans slots [from, to); false when there is enough. */
  slots(from: number, to: number): boolean {
    for (let slot = from; slot < to && this.goOn; slot++) {
      try {
        this.slot(slot);
      } catch (error) {
        const fault = faultOf(error);
        if (fault === null) throw error;
        this.wrong(fault.message, fault);
      }
    }
    return this.goOn;
  }

  private wrong(what: string, error: SutraError | null = null): void {
    this.goOn &&= this.onWrong(what, error);
  }

  private slot(slot: number): void {
    const { state, record, digest } = this;
    const { levels } = state;
    const isFree = (this.free[slot >>> 3]! & (1 << (slot & 7))) !== 0;
    const isLive = levels.readConcept(slot, record);
    if (isLive === isFree) {
      this.wrong(
        `slot ${slot} is ${isLive ? 'in use and' : 'neither in use nor'} on the free list`,
      );
    }
    if (!isLive) return;
    this.concepts++;
    record.addTo(digest, 1, levels.dimension);
    const { k0, k1, k2, k3 } = record;
    const { strength, confidence, createdUs, updatedUs } = record;
    if (!(strength >= 0 && strength < Infinity && isFraction(confidence))) {
      this.wrong(`slot ${slot} has strength ${strength} and confidence ${confidence}`);
    }
    if (!isTime(createdUs) || !isTime(updatedUs)) {
      this.wrong(`slot ${slot} has times ${createdUs} and ${updatedUs}`);
    }
    const found = levels.findSlot(k0, k1, k2, k3);
    if (found !== slot) this.wrong(`the key of slot ${slot} leads to slot ${found}`);
    this.outgoing(slot, k0, k1, k2, k3);
    this.incoming(slot);
    this.payloads(slot);
  }

  private payloads(slot: number): void {
    const { record } = this;
    const { levels } = this.state;
    const { base } = levels;
    const inBase = base !== null && levels.locate(slot) === LEVEL_BASE;
    if (record.hasVector) {
      this.vectors++;
      if (inBase) base.vectorBytes(slot);
      else levels.readVector(slot, this.vector);
    }
    const content = inBase ? base.readContentAhead(slot) : levels.readContent(slot);
    if (content.length !== record.contentLength) {
      this.wrong(
        `content of slot ${slot} has ${content.length} bytes, not ${record.contentLength}`,
      );
    }
  }

  private outgoing(slot: number, k0: number, k1: number, k2: number, k3: number): void {
    const { cursor, target, balance, digest } = this;
    const { levels } = this.state;
    const { slots, types, confidences } = cursor;
    const slotCount = balance.length;
    cursor.start(slot, OUT, null);
    for (let n = cursor.fill(); n > 0 && this.goOn; n = cursor.fill()) {
      for (let i = 0; i < n; i++) {
        const to = slots[i]!;
        const type = types[i]!;
        const confidence = confidences[i]!;
        if (to >= slotCount || !this.readKey(to)) {
          this.wrong(
            `the association of slot ${slot} to ${to}, type ${type}, leads to a free slot`,
          );
          continue;
        }
        this.edgesOut++;
        balance[to] = (balance[to]! + hashEdge(slot, to, type, confidence)) | 0;
        if (!levels.findEdge(slot, to, type)) {
          this.wrong(
            `the association of slot ${slot} to ${to}, type ${type}, is not found by its index`,
          );
          continue;
        }
        if (levels.edgeConfidence() !== confidence) {
          this.wrong(`the association of slot ${slot} to ${to}, type ${type}, has two confidences`);
        }
        const createdUs = levels.edgeCreatedUs();
        if (!isFraction(confidence) || !isTime(createdUs)) {
          this.wrong(
            `the association of slot ${slot} to ${to}, type ${type}, has confidence ${confidence} and ` +
              `time ${createdUs}`,
          );
        }
        digest.association(
          1,
          k0,
          k1,
          k2,
          k3,
          target[0]!,
          target[1]!,
          target[2]!,
          target[3]!,
          type,
          confidence,
          createdUs,
        );
      }
    }
  }

  private incoming(slot: number): void {
    const { cursor, balance } = this;
    const { slots, types, confidences } = cursor;
    let sum = 0;
    cursor.start(slot, IN, null);
    for (let n = cursor.fill(); n > 0; n = cursor.fill()) {
      for (let i = 0; i < n; i++)
        sum = (sum + hashEdge(slots[i]!, slot, types[i]!, confidences[i]!)) | 0;
      this.edgesIn += n;
    }
    balance[slot] = (balance[slot]! - sum) | 0;
  }

  /** The key of a live slot into `target`; false when it is free. */
  private readKey(slot: number): boolean {
    const { target } = this;
    const { levels } = this.state;
    const level = levels.locate(slot);
    if (level === LEVEL_NONE) return false;
    if (level === LEVEL_BASE) {
      levels.base!.readKey(slot, target, 0);
      return true;
    }
    const generation = levels.generation(level);
    const { row } = levels;
    for (let i = 0; i < 4; i++) target[i] = generation.keyWord(row, i);
    return true;
  }

  finish(): StateSum | null {
    const { state, balance, concepts, vectors } = this;
    for (let slot = 0; slot < balance.length && this.goOn; slot++) {
      if (balance[slot] === 0) continue;
      this.wrong(`the associations that come in at slot ${slot} are not those that go out to it`);
    }
    this.count('associations coming in', this.edgesIn, this.edgesOut);
    this.count('concepts', concepts, state.conceptCount);
    this.count('associations', this.edgesOut, state.edgeCount);
    this.count('vectors', vectors, state.vectorCount);
    const digest = this.digest.toString();
    if (!this.digest.equals(state.digest)) {
      this.wrong(`state digest: got ${digest}, expected ${state.digest.toString()}`);
    }
    if (!this.goOn) return null;
    return { digest, sequence: state.sequence, concepts, edges: this.edgesOut, vectors };
  }

  private count(what: string, got: number, expected: number): void {
    if (got !== expected) this.wrong(`number of ${what}: got ${got}, expected ${expected}`);
  }
}

function isFraction(value: number): boolean {
  return value >= 0 && value <= 1;
}

/** Microseconds since 1970: whole, and below 2^53. */
function isTime(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

const f32 = new Float32Array(1);
const f32Bits = new Uint32Array(f32.buffer);

function hashEdge(source: number, target: number, type: number, confidence: number): number {
  f32[0] = confidence;
  let h = Math.imul(source ^ 0x9e3779b9, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15) ^ target, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 13) ^ type, 0x27d4eb2f);
  h = Math.imul(h ^ (h >>> 16) ^ f32Bits[0]!, 0x165667b1);
  h ^= h >>> 15;
  // Never 0: one that is missing must show.
  return h === 0 ? 1 : h;
}

/** What reading bad bytes throws: damage, or a refusal of the disk to give them. Null for anything else. */
export function faultOf(error: unknown): SutraError | null {
  if (error instanceof SutraError) {
    const isFault =
      error.code === 'DAMAGED' ||
      error.code === 'UNSUPPORTED_FORMAT' ||
      error.code === 'DISK_FAILED';
    return isFault ? error : null;
  }
  if (errorCode(error) !== 'EIO') return null;
  const message = error instanceof Error ? error.message : '';
  return new SutraError('DISK_FAILED', `cannot be read: ${message}`, { cause: error });
}
