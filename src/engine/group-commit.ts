/**
 * The way of a write: checked against the applied state plus everything queued before it, encoded into the group that is
 * forming, appended with its group as one frame, synced, applied, acknowledged. While one group is on its way to the disk the
 * next one forms, and while a group is applied the one behind it is already being written.
 *
 * Invariants: nothing is applied before it is durable under the chosen mode; nothing is acknowledged before it is applied
 * and its sequence is in the lock file; each accepted command takes one sequence, a refused one none; a batch is in one
 * frame. A final disk failure rejects everything pending and everything after it.
 */

import { SutraError, toSutraError } from '../errors.js';
import { recordedUs, type Environment } from './environment.js';
import { crc32Range } from './format/crc32.js';
import { FRAME_HEADER_BYTES, MAX_PAYLOAD_BYTES } from './format/frame.js';
import { ParsedId, parseId } from './format/id.js';
import type { LockFile } from './lock-file.js';
import { CommandBuffer } from './log/command-buffer.js';
import {
  PENDING_FORGOTTEN,
  PENDING_LEARNED,
  PENDING_NONE,
  PendingKeys,
} from './log/pending-keys.js';
import type { WriteLog } from './log/write-log.js';
import { PREFETCH_KEYS } from './prefetch.js';
import { MAX_EDGES, MAX_SLOTS, type State } from './state.js';

/** A group that holds so much is closed and the next one begun; bounds how long applying one holds the event loop. */
const GROUP_BYTES = 512 * 1024;
/** An association takes a few microseconds to apply and only 48 bytes. */
const GROUP_COMMANDS = 2048;
/** Buffers that grew past this are not pooled. */
const POOLED_BYTES = 2 * 1024 * 1024;
/** Queued commands beyond this are refused as OVERLOADED. */
export const MAX_QUEUED_BYTES = 256 * 1024 * 1024;
/** Items of a batch whose lookups are prefetched together. */
const BLOCK = PREFETCH_KEYS / 2;
/** A forget of many associations gives way to others after so long. */
const FORGET_SLICE_MS = 4;
/** How often a full disk is tried again. */
const PROBE_MS = 1000;

/** A concept to learn; its fields are checked by the caller. What is absent is defaulted as it is encoded. */
export interface LearnCommand {
  readonly id: string;
  readonly content: string;
  /** Default 1. */
  readonly strength?: number;
  /** Default 1. */
  readonly confidence?: number;
  /** Absent, null or empty: none. */
  readonly embedding?: ArrayLike<number> | null;
  /** When it was created, if it is new. Default updatedUs. */
  readonly createdUs?: number;
  /** Default now. */
  readonly updatedUs?: number;
}

export interface AssociateCommand {
  readonly source: string;
  readonly target: string;
  /** Default 0. */
  readonly type?: number;
  /** Default 1. */
  readonly confidence?: number;
  /** When it was created, if it is new. Default now. */
  readonly createdUs?: number;
}

export interface CommitReceipt {
  readonly firstSequence: number;
  readonly count: number;
}

export type IngestCommand =
  { readonly concept: LearnCommand } | { readonly association: AssociateCommand };

interface Waiter {
  readonly resolve: (receipt: CommitReceipt) => void;
  readonly reject: (error: SutraError) => void;
  readonly receipt: CommitReceipt;
}

class Group {
  readonly waiters: Waiter[] = [];
  /** Of its payload, how much is counted in the queue. */
  queuedBytes = 0;
  /** By index of the command in the group: what to do with the count of associations a forget removed. */
  forgets: Map<number, (associations: number) => void> | null = null;

  constructor(
    readonly frame: number,
    readonly firstSequence: number,
    readonly buffer: CommandBuffer,
  ) {}
}

const ABSENT = 0;
const NAMELESS = 1;
const SAME_NAME = 2;
const OTHER_NAME = 3;

export class GroupCommit {
  written = 0;
  dropped = 0;
  /** Why no write is taken now, or null. What is queued already is committed. */
  shedding: string | null = null;
  /** Syncs that made something durable. */
  reconciliations = 0;
  /** Groups that were committed, and the bytes of their commands. */
  groups = 0;
  groupBytes = 0;
  /** The disk is full; writes are refused until a probe succeeds. */
  full = false;

  private readonly pending = new PendingKeys();
  private building: Group | null = null;
  private readonly queue: Group[] = [];
  private readonly buffers: CommandBuffer[] = [];
  private queuedBytes = 0;
  private queuedCount = 0;
  private frames = 0;
  private nextSequence: number;
  private running: Promise<void> | null = null;
  private closing = false;
  /** While associations of a forgotten concept are taken out beside everything else. Never rejects. */
  private forgetting: Promise<void> | null = null;
  /** Of forgets that are not answered yet. */
  private readonly refusals = new Set<(error: SutraError) => void>();
  /** Dimension that a queued vector will set; 0 when none. */
  private pendingDimension = 0;
  /** Last frame that holds a forget. */
  private lastForgetFrame = 0;
  private readonly rolls: (() => Promise<void>)[] = [];
  private readonly onceApplied: (() => void)[] = [];
  private readonly id = new ParsedId();
  private readonly other = new ParsedId();
  /** Of a block of a batch. */
  private readonly ids = Array.from({ length: BLOCK }, () => new ParsedId());
  private readonly others = Array.from({ length: BLOCK }, () => new ParsedId());
  private cancelTimer: () => void = () => undefined;

  /** Called once, when the log fails for good. */
  onFailure: (error: SutraError) => void = () => undefined;
  /** Called after each applied group with its commands and bytes. */
  onApplied: (commands: number, bytes: number) => void = () => undefined;

  constructor(
    private readonly environment: Environment,
    private readonly state: State,
    private readonly log: WriteLog,
    private readonly lock: LockFile,
    readonly durability: 'always' | 'interval',
    private readonly reconcileMs: number,
    private readonly configuredDimension: number,
  ) {
    this.nextSequence = log.nextSequence;
    lock.publishDurable(state.sequence, log.ordinal, log.offset, log.syncedThrough);
    if (durability === 'interval') this.scheduleReconcile();
  }

  get pendingCount(): number {
    return this.queuedCount;
  }

  get pendingBytes(): number {
    return this.queuedBytes;
  }

  /** The store's dimension, counting what is queued and what was configured; 0 when nothing says. */
  get dimension(): number {
    return this.state.levels.dimension || this.pendingDimension || this.configuredDimension;
  }

  // --- commands ---

  learn(command: LearnCommand): Promise<CommitReceipt> {
    this.admit();
    const group = this.openGroup();
    try {
      const { id } = this;
      parseId(command.id, id);
      this.encodeLearn(group, command, id, recordedUs(this.environment), 'concept_id', 'embedding');
    } catch (error) {
      return this.refuse(error);
    }
    return this.enqueue(group, 1);
  }

  associate(command: AssociateCommand): Promise<CommitReceipt> {
    this.admit();
    const group = this.openGroup();
    try {
      const { id, other } = this;
      parseId(command.source, id);
      parseId(command.target, other);
      const timeUs = recordedUs(this.environment);
      this.encodeAssociate(group, command, id, other, timeUs, 'source_id', 'target_id');
    } catch (error) {
      return this.refuse(error);
    }
    return this.enqueue(group, 1);
  }

  /** All or nothing, concepts first. @throws what a single one would, with the item's index in the field */
  batch(
    concepts: readonly LearnCommand[],
    associations: readonly AssociateCommand[],
  ): Promise<CommitReceipt> {
    this.admit();
    const count = concepts.length + associations.length;
    const group = this.openGroup();
    if (count === 0) return Promise.resolve({ firstSequence: 0, count: 0 });
    const { buffer } = group;
    const mark = buffer.mark();
    const dimensionBefore = this.pendingDimension;
    const timeUs = recordedUs(this.environment);
    this.pending.beginUndoable();
    try {
      this.encodeLearns(group, concepts, timeUs);
      this.encodeAssociates(group, associations, timeUs);
      if (buffer.payloadBytes > MAX_PAYLOAD_BYTES) {
        throw new SutraError(
          'TOO_LARGE',
          `batch of ${count} items: got ${buffer.payloadBytes - mark.position} bytes encoded, ` +
            `expected at most ${MAX_PAYLOAD_BYTES}`,
        );
      }
    } catch (error) {
      this.pending.undo();
      this.pendingDimension = dimensionBefore;
      buffer.rewind(mark);
      return this.refuse(error);
    }
    this.pending.commitUndoable();
    return this.enqueue(group, count);
  }

  /**
   * Each by itself and in order: `refused` is told of those that cannot be, by index, and the others take one range of
   * sequences. Everything is encoded at the call; resolves when it is applied, which may take several groups. What a group
   * has room for by itself goes into one, so that a crash leaves all of it or none.
   */
  async ingest(
    commands: readonly IngestCommand[],
    refused: (index: number, error: unknown) => void,
  ): Promise<CommitReceipt> {
    this.admit();
    const { ids, others, state } = this;
    const timeUs = recordedUs(this.environment);
    const firstSequence = this.nextSequence;
    const groups: Promise<CommitReceipt>[] = [];
    let group = this.openGroup();
    let inGroup = 0;
    let groupFrom = group.buffer.payloadBytes;
    for (let from = 0; from < commands.length; from += BLOCK) {
      const to = Math.min(from + BLOCK, commands.length);
      for (let i = from; i < to; i++) {
        const command = commands[i]!;
        const id = ids[i - from]!;
        if ('concept' in command) {
          parseId(command.concept.id, id);
        } else {
          const other = others[i - from]!;
          parseId(command.association.source, id);
          parseId(command.association.target, other);
          state.prefetch.addKey(other.k0, other.k1, other.k2, other.k3);
        }
        state.prefetch.addKey(id.k0, id.k1, id.k2, id.k3);
      }
      state.prefetch.run();
      for (let i = from; i < to; i++) {
        // Whatever else is in the group: twice its measure at most.
        if (isFull(group.buffer.payloadBytes - groupFrom, inGroup)) {
          groups.push(this.enqueue(group, inGroup));
          inGroup = 0;
          group = this.openGroup();
          groupFrom = group.buffer.payloadBytes;
        }
        const command = commands[i]!;
        const id = ids[i - from]!;
        try {
          if ('concept' in command) {
            this.encodeLearn(group, command.concept, id, timeUs, 'concept_id', 'embedding');
          } else {
            const { association } = command;
            const other = others[i - from]!;
            this.encodeAssociate(group, association, id, other, timeUs, 'source_id', 'target_id');
          }
          inGroup++;
        } catch (error) {
          refused(i, error);
        }
      }
    }
    if (inGroup > 0) groups.push(this.enqueue(group, inGroup));
    const count = this.nextSequence - firstSequence;
    if (count === 0) await this.answerable();
    await Promise.all(groups);
    return { firstSequence: count === 0 ? 0 : firstSequence, count };
  }

  /** Resolves when much can be queued without being refused as OVERLOADED. */
  async room(): Promise<void> {
    while (this.queuedBytes > MAX_QUEUED_BYTES / 2) await this.settled();
  }

  /** null: nothing by that id, and no sequence taken. */
  async forgetConcept(id: string): Promise<{ sequence: number; associations: number } | null> {
    this.admit();
    parseId(id, this.id);
    const nameCrc = nameCrcOf(this.id);
    if (!this.isKnown(this.id, nameCrc)) {
      await this.answerable();
      return null;
    }
    const group = this.openGroup();
    group.buffer.forgetConcept(this.id, recordedUs(this.environment));
    this.pending.set(this.id, group.frame, PENDING_FORGOTTEN, 0, 0);
    return this.enqueueForget(group);
  }

  /** type null: every type. null: no such association, and no sequence taken. */
  async forgetAssociation(
    source: string,
    target: string,
    type: number | null,
  ): Promise<{ sequence: number; associations: number } | null> {
    for (;;) {
      this.admit();
      parseId(source, this.id);
      parseId(target, this.other);
      const { pending } = this;
      // With nothing queued the applied state is all there is; what a refused batch touched stays touched.
      if (this.queuedCount === 0) break;
      if (
        this.lastForgetFrame <= pending.appliedFrame &&
        !pending.mayTouchPair(this.id, this.other)
      ) {
        break;
      }
      await this.settled();
    }
    const { id, other, state } = this;
    if (!this.isKnown(id, nameCrcOf(id)) || !this.isKnown(other, nameCrcOf(other))) return null;
    const { levels } = state;
    const from = levels.findSlot(id.k0, id.k1, id.k2, id.k3);
    const to = levels.findSlot(other.k0, other.k1, other.k2, other.k3);
    // A concept that is only queued has no association that is not queued too.
    if (from < 0 || to < 0) return null;
    const exists =
      type === null ? state.typesBetween(from, to).length > 0 : levels.findEdge(from, to, type);
    if (!exists) return null;
    const group = this.openGroup();
    group.buffer.forgetAssociation(id, other, type, recordedUs(this.environment));
    return this.enqueueForget(group);
  }

  /** Runs `task` when no append is under way and everything appended is applied; new groups wait for it. */
  betweenGroups(task: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.rolls.push(async () => {
        try {
          await task();
          resolve();
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
      this.start();
    });
  }

  /** Resolves when everything queued at the call is applied or rejected. */
  async settled(): Promise<void> {
    const frame = this.frames;
    while (this.queuedCount > 0 && this.pending.appliedFrame < frame) {
      await new Promise<void>((resolve) => this.onceApplied.push(resolve));
    }
  }

  private wakeSettled(): void {
    for (const wake of this.onceApplied.splice(0)) wake();
  }

  /**
   * Commits what is queued, syncs, and takes nothing more. The log stays open for its owner to close.
   * @throws DISK_FAILED also when that came before and left something acknowledged that may not be on the disk
   */
  async close(): Promise<void> {
    this.closing = true;
    this.cancelTimer();
    while (this.running !== null) await this.running;
    while (this.forgetting !== null) await this.forgetting;
    const { log } = this;
    if (log.broken !== null) {
      // Under interval only; whoever closes must not take it for synced.
      if (this.state.sequence > log.syncedThrough) throw log.broken;
      return;
    }
    if (log.hasUnsynced) await log.sync();
    this.publish();
  }

  // --- checks and encoding ---

  private admit(): void {
    if (this.log.broken !== null) throw this.log.broken;
    if (this.closing) throw new SutraError('CLOSED', 'the store is closed or closing');
    if (this.full) throw this.fullError();
    if (this.shedding !== null) {
      this.dropped++;
      throw new SutraError('OVERLOADED', this.shedding);
    }
    if (this.queuedBytes > MAX_QUEUED_BYTES) {
      this.dropped++;
      throw new SutraError(
        'OVERLOADED',
        `${this.queuedCount} writes are queued (${this.queuedBytes} bytes), ` +
          `expected at most ${MAX_QUEUED_BYTES} bytes`,
      );
    }
  }

  /**
   * Waits until what is queued is applied. An answer that takes no sequence (a refusal, a forget that found nothing) may rest
   * on it, and would else tell of what no reader sees yet and a power cut can take. @throws when the queue came to nothing
   */
  private async answerable(): Promise<void> {
    if (this.queuedCount === 0) return;
    await this.settled();
    if (this.log.broken !== null) throw this.log.broken;
    if (this.full) throw this.fullError();
  }

  private async refuse(error: unknown): Promise<never> {
    await this.answerable();
    throw error;
  }

  private fullError(): SutraError {
    return new SutraError('DISK_FULL', 'the store is read-only: no space left on its disk');
  }

  private openGroup(): Group {
    let group = this.building;
    if (group !== null && isFull(group.buffer.payloadBytes, group.buffer.count)) {
      this.queue.push(group);
      group = null;
    }
    if (group === null) {
      const buffer = this.buffers.pop() ?? new CommandBuffer();
      buffer.reset();
      group = new Group(++this.frames, this.nextSequence, buffer);
      this.building = group;
    }
    return group;
  }

  /** What the applied state and the queue say of an id: ABSENT, NAMELESS, SAME_NAME or OTHER_NAME. */
  private look(id: ParsedId, nameCrc: number): number {
    const { pending } = this;
    const queued = pending.find(id);
    if (queued === PENDING_FORGOTTEN) return ABSENT;
    if (queued === PENDING_LEARNED) {
      if (pending.nameLength === 0) return NAMELESS;
      return pending.nameLength === id.nameLength && pending.nameCrc === nameCrc
        ? SAME_NAME
        : OTHER_NAME;
    }
    const { levels } = this.state;
    const slot = levels.findSlot(id.k0, id.k1, id.k2, id.k3);
    if (slot < 0) return ABSENT;
    const name = levels.name(slot);
    if (name === null) return NAMELESS;
    if (name.length !== id.nameLength) return OTHER_NAME;
    for (let i = 0; i < name.length; i++) if (name[i] !== id.nameBytes[i]) return OTHER_NAME;
    return SAME_NAME;
  }

  /** A name is known when the concept at its key carries it; hex digits are the key itself. */
  private isKnown(id: ParsedId, nameCrc: number): boolean {
    if (id.nameLength > 0) return this.look(id, nameCrc) === SAME_NAME;
    const queued = this.pending.find(id);
    if (queued !== PENDING_NONE) return queued === PENDING_LEARNED;
    return this.state.levels.findSlot(id.k0, id.k1, id.k2, id.k3) >= 0;
  }

  /** In blocks whose ids are parsed first, so that what they look up can be prefetched. */
  private encodeLearns(group: Group, commands: readonly LearnCommand[], timeUs: number): void {
    const { ids, state } = this;
    for (let from = 0; from < commands.length; from += BLOCK) {
      const to = Math.min(from + BLOCK, commands.length);
      for (let i = from; i < to; i++) {
        const id = ids[i - from]!;
        parseId(commands[i]!.id, id);
        state.prefetch.addKey(id.k0, id.k1, id.k2, id.k3);
      }
      state.prefetch.run();
      for (let i = from; i < to; i++) {
        this.encodeLearn(group, commands[i]!, ids[i - from]!, timeUs, 'concepts', null, i);
      }
    }
  }

  /** The same; `ids` and `others` hold the ends. */
  private encodeAssociates(
    group: Group,
    commands: readonly AssociateCommand[],
    timeUs: number,
  ): void {
    const { ids, others, state } = this;
    for (let from = 0; from < commands.length; from += BLOCK) {
      const to = Math.min(from + BLOCK, commands.length);
      for (let i = from; i < to; i++) {
        const id = ids[i - from]!;
        const other = others[i - from]!;
        parseId(commands[i]!.source, id);
        parseId(commands[i]!.target, other);
        state.prefetch.addKey(id.k0, id.k1, id.k2, id.k3);
        state.prefetch.addKey(other.k0, other.k1, other.k2, other.k3);
      }
      state.prefetch.run();
      for (let i = from; i < to; i++) {
        const at = i - from;
        const command = commands[i]!;
        this.encodeAssociate(
          group,
          command,
          ids[at]!,
          others[at]!,
          timeUs,
          'associations',
          null,
          i,
        );
      }
    }
  }

  /** `id` is the command's, parsed; `field` and `index` name the item of a batch in an error. */
  private encodeLearn(
    group: Group,
    command: LearnCommand,
    id: ParsedId,
    timeUs: number,
    field: string,
    embeddingField: string | null,
    index = -1,
  ): void {
    const { pending } = this;
    // An empty embedding is how the wire says none.
    const given = command.embedding ?? null;
    const embedding = given === null || given.length === 0 ? null : given;
    const nameCrc = nameCrcOf(id);
    const found = this.look(id, nameCrc);
    if (id.nameLength > 0 && found === OTHER_NAME) {
      const where = index < 0 ? field : `${field}[${index}].concept_id`;
      throw new SutraError(
        'NAME_COLLISION',
        `${where}: got ${quote(command.id)}, whose key another name already has`,
        { violations: [{ field: where, description: 'another name has the same key' }] },
      );
    }
    if (embedding !== null) {
      const { dimension } = this;
      if (dimension !== 0 && embedding.length !== dimension) {
        const where = embeddingField ?? `${field}[${index}].embedding`;
        const what = `got ${embedding.length} dimensions, expected ${dimension}`;
        throw new SutraError('DIMENSION_MISMATCH', `${where}: ${what}`, {
          violations: [{ field: where, description: what }],
        });
      }
      // Also when the state has one: a forget queued before this may take the last vector, and the dimension, with it.
      this.pendingDimension = embedding.length;
    }
    if (found === ABSENT) {
      // Counts queued updates too, so it may refuse a little early; never late.
      if (this.state.slotCount + this.queuedCount + group.buffer.count >= MAX_SLOTS) {
        throw new SutraError('TOO_LARGE', `the store holds its limit of ${MAX_SLOTS} concepts`);
      }
      pending.set(id, group.frame, PENDING_LEARNED, id.nameLength, nameCrc);
    } else if (found === NAMELESS && id.nameLength > 0) {
      pending.set(id, group.frame, PENDING_LEARNED, id.nameLength, nameCrc);
    }
    group.buffer.learn(
      id,
      nameCrc,
      command.content,
      command.strength ?? 1,
      command.confidence ?? 1,
      embedding,
      command.updatedUs ?? timeUs,
      command.createdUs,
    );
  }

  private encodeAssociate(
    group: Group,
    command: AssociateCommand,
    id: ParsedId,
    other: ParsedId,
    timeUs: number,
    sourceField: string,
    targetField: string | null,
    index = -1,
  ): void {
    if (!this.isKnown(id, nameCrcOf(id))) {
      throw unknown(index < 0 ? sourceField : `${sourceField}[${index}].source_id`, command.source);
    }
    if (!this.isKnown(other, nameCrcOf(other))) {
      throw unknown(targetField ?? `${sourceField}[${index}].target_id`, command.target);
    }
    if (this.state.edgeCount + this.queuedCount + group.buffer.count >= MAX_EDGES) {
      throw new SutraError('TOO_LARGE', `the store holds its limit of ${MAX_EDGES} associations`);
    }
    this.pending.touchPair(id, other, group.frame);
    const { type = 0, confidence = 1, createdUs = timeUs } = command;
    group.buffer.associate(id, other, type, confidence, createdUs);
  }

  private enqueue(group: Group, count: number): Promise<CommitReceipt> {
    const receipt = { firstSequence: this.nextSequence, count };
    this.nextSequence += count;
    this.queuedBytes += group.buffer.payloadBytes - group.queuedBytes;
    group.queuedBytes = group.buffer.payloadBytes;
    this.queuedCount += count;
    return new Promise((resolve, reject) => {
      group.waiters.push({ resolve, reject, receipt });
      this.start();
    });
  }

  /** Resolves when all that is forgotten is out, which may be some time behind its group. */
  private async enqueueForget(group: Group): Promise<{ sequence: number; associations: number }> {
    this.lastForgetFrame = group.frame;
    let refuse: (error: SutraError) => void = () => undefined;
    const counted = new Promise<number>((resolve, reject) => {
      group.forgets ??= new Map();
      group.forgets.set(group.buffer.count - 1, resolve);
      refuse = reject;
    });
    // When its group fails nobody looks at it.
    counted.catch(() => undefined);
    this.refusals.add(refuse);
    try {
      const { firstSequence } = await this.enqueue(group, 1);
      return { sequence: firstSequence, associations: await counted };
    } finally {
      this.refusals.delete(refuse);
    }
  }

  // --- the pipeline ---

  private start(): void {
    if (this.running !== null) return;
    this.running = this.run().finally(() => {
      this.running = null;
      // What came between the last look and this moment.
      if (this.hasWork()) this.start();
    });
  }

  private hasWork(): boolean {
    return (
      this.rolls.length > 0 ||
      this.queue.length > 0 ||
      (this.building !== null && this.building.buffer.count > 0)
    );
  }

  private takeGroup(): Group | null {
    const queued = this.queue.shift();
    if (queued !== undefined) return queued;
    const building = this.building;
    if (building === null || building.buffer.count === 0) return null;
    this.building = null;
    return building;
  }

  /** Appends group after group; each is applied while the next one is on its way. Never rejects. */
  private async run(): Promise<void> {
    // One turn for the synchronous burst that called us to put all its commands into the first group.
    await Promise.resolve();
    const sync = this.durability === 'always';
    let group: Group | null = null;
    let appending: Promise<number> | null = null;
    for (;;) {
      if (group === null || appending === null) {
        await this.runRolls();
        group = this.takeGroup();
        if (group === null) {
          if (this.rolls.length > 0) continue;
          return;
        }
        appending = this.log.append(group.buffer, sync);
      }
      let payloadAt: number;
      try {
        payloadAt = await appending;
      } catch (error) {
        this.failed(group, error);
        return;
      }
      // Taken now: the next append may roll neither ordinal nor offset before this group is published.
      const { ordinal, offset, syncedThrough } = this.log;
      const next = this.rolls.length === 0 ? this.takeGroup() : null;
      const nextAppending: Promise<number> | null =
        next === null ? null : this.log.append(next.buffer, sync);
      // A rejection is looked at in the next turn of this loop; it must not count as unhandled before.
      nextAppending?.catch(() => undefined);
      try {
        while (!this.applyCommands(group, payloadAt, ordinal)) {
          await (this.forgetting ?? this.environment.pause());
          if (this.log.broken !== null) throw this.log.broken;
        }
        this.acknowledge(group, ordinal, offset, syncedThrough);
      } catch (error) {
        // The log is closed next, and must not be while a write of it is under way.
        await nextAppending?.catch(() => undefined);
        this.failed(group, error);
        if (next !== null) this.failed(next, error);
        return;
      }
      group = next;
      appending = nextAppending;
    }
  }

  /** False: what is next waits for a forget, or for others to have a turn. */
  private applyCommands(group: Group, payloadAt: number, ordinal: number): boolean {
    const { buffer, forgets } = group;
    const isDone = this.state.apply(
      buffer.bytes,
      FRAME_HEADER_BYTES,
      buffer.payloadBytes,
      group.firstSequence,
      ordinal,
      payloadAt,
      forgets === null
        ? undefined
        : (index, associations) => {
            forgets.get(index)?.(associations);
          },
      true,
    );
    if (this.state.isForgetting) this.forgetting ??= this.finishForget();
    return isDone;
  }

  /** Takes a concept's many associations out in slices, so that reads and most writes go on. */
  private async finishForget(): Promise<void> {
    const { environment, state } = this;
    try {
      for (;;) {
        await environment.pause();
        const until = environment.nowMs() + FORGET_SLICE_MS;
        do {
          if (state.continueForget()) return;
        } while (environment.nowMs() < until);
      }
    } catch (error) {
      // It is durable, and the state that should say so has half of it.
      this.fatal(error);
      for (const refuse of this.refusals) refuse(toSutraError(error));
    } finally {
      this.forgetting = null;
    }
  }

  /** Resolves when no associations of a forgotten concept are left to be taken out. */
  async forgetDone(): Promise<void> {
    while (this.forgetting !== null) await this.forgetting;
    if (this.log.broken !== null) throw this.log.broken;
  }

  private acknowledge(group: Group, ordinal: number, offset: number, syncedThrough: number): void {
    const { buffer } = group;
    this.lock.publishDurable(this.state.sequence, ordinal, offset, syncedThrough);
    this.pending.appliedFrame = group.frame;
    this.queuedBytes -= buffer.payloadBytes;
    this.queuedCount -= buffer.count;
    this.written += buffer.count;
    this.groups++;
    this.groupBytes += buffer.payloadBytes;
    if (this.durability === 'always') this.reconciliations++;
    if (this.queuedCount === 0) {
      this.pending.clear();
      this.pendingDimension = 0;
    }
    for (const { resolve, receipt } of group.waiters) resolve(receipt);
    this.wakeSettled();
    this.onApplied(buffer.count, buffer.payloadBytes);
    if (buffer.bytes.length <= POOLED_BYTES && this.buffers.length < 4) this.buffers.push(buffer);
  }

  private async runRolls(): Promise<void> {
    for (let roll = this.rolls.shift(); roll !== undefined; roll = this.rolls.shift()) await roll();
    // A roll or a sync that failed for good has no group whose failure would say so.
    if (this.log.broken !== null) this.onFailure(this.log.broken);
  }

  /** A group could not be made durable: it and everything queued behind it are refused, and their sequences given back. */
  private failed(group: Group, cause: unknown): void {
    const error = toSutraError(cause);
    // A state that could not be applied can serve nothing more either.
    if (error.code !== 'DISK_FULL') this.log.broken ??= error;
    const groups = [group, ...this.queue.splice(0)];
    if (this.building !== null) groups.push(this.building);
    this.building = null;
    for (const { waiters, buffer } of groups) {
      if (error.code === 'DISK_FULL') this.dropped += buffer.count;
      for (const waiter of waiters) waiter.reject(error);
    }
    this.queuedBytes = 0;
    this.queuedCount = 0;
    this.pendingDimension = 0;
    this.nextSequence = this.log.nextSequence;
    this.pending.appliedFrame = this.frames;
    this.pending.clear();
    this.wakeSettled();
    if (this.log.broken !== null) {
      this.onFailure(this.log.broken);
    } else {
      this.full = true;
      this.environment.logger.error(
        `${error.message}; the store is read-only until there is space`,
      );
      this.scheduleProbe();
    }
  }

  private publish(): void {
    const { log } = this;
    this.lock.publishDurable(this.state.sequence, log.ordinal, log.offset, log.syncedThrough);
  }

  /** Between groups, because a probe writes where a roll and a close do: behind the last frame. */
  private scheduleProbe(): void {
    this.environment.schedule(PROBE_MS, () => {
      if (this.closing || this.log.broken !== null) return;
      this.betweenGroups(async () => {
        if (this.closing) return;
        if (await this.log.probe()) {
          this.full = false;
          this.environment.logger.info('there is space again; writes are taken');
        } else if (this.log.broken === null) {
          this.scheduleProbe();
        }
      }).catch((error: unknown) => {
        this.fatal(error);
      });
    });
  }

  private fatal(error: unknown): void {
    this.log.broken ??= toSutraError(error);
    this.onFailure(this.log.broken);
  }

  /** Interval mode: syncs what was written, every reconcileMs, between groups. */
  private scheduleReconcile(): void {
    this.cancelTimer = this.environment.schedule(this.reconcileMs, () => {
      if (this.closing || this.log.broken !== null) return;
      if (!this.log.hasUnsynced) {
        this.scheduleReconcile();
        return;
      }
      this.betweenGroups(async () => {
        await this.log.sync();
        this.reconciliations++;
        this.publish();
      }).then(
        () => {
          this.scheduleReconcile();
        },
        (error: unknown) => {
          this.fatal(error);
        },
      );
    });
  }
}

function isFull(bytes: number, commands: number): boolean {
  return bytes >= GROUP_BYTES || commands >= GROUP_COMMANDS;
}

function nameCrcOf(id: ParsedId): number {
  return id.nameLength === 0 ? 0 : crc32Range(id.nameBytes, 0, id.nameLength);
}

function unknown(field: string, id: string): SutraError {
  return new SutraError('UNKNOWN_CONCEPT', `${field}: no concept ${quote(id)}`);
}

/** An id for a message: quoted, and short. */
function quote(id: string): string {
  return JSON.stringify(id.length > 80 ? `${id.slice(0, 77)}...` : id);
}
