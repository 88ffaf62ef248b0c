/**
 * A seeded run of a store over a simulated disk, and the record that judges it: which calls were made, which of them were
 * acknowledged, and what every prefix of them comes to.
 */

import { SutraError } from '#sutra/errors';
import { Store, type StoreOptions } from '#sutra/engine/store';

import {
  dumpState,
  HistoryMaker,
  HistoryModel,
  perform,
  waitsForState,
  type Call,
} from './history.js';
import type { SimDisk } from './sim-disk.js';
import { SimEnvironment } from './sim-environment.js';
import { checkState } from './whole-store.js';

export const DIRECTORY = '/store';

export const STORE_OPTIONS: StoreOptions = {
  readOnly: false,
  durability: 'always',
  reconcileMs: 10,
  threshold: 12,
  vectorDim: 0,
};

export class Scenario {
  /** Acknowledged, or made and not refused for lack of space, in the order of their sequences. */
  readonly calls: Call[] = [];
  /** Of `calls`, so many were acknowledged. */
  acknowledged = 0;
  /** What the acknowledged ones come to. */
  model = new HistoryModel();
  /** Sequence of the last acknowledged call, and of the last call made. */
  acknowledgedSequence = 0;
  madeSequence = 0;
  refusedForSpace = 0;
  store: Store | null = null;
  environment: SimEnvironment;
  private readonly maker: HistoryMaker;
  private readonly dumps = new Map<number, string>();
  private replay = new HistoryModel();
  private replayed = 0;

  constructor(
    readonly disk: SimDisk,
    random: () => number,
    readonly options: StoreOptions = STORE_OPTIONS,
    names = 24,
    longestContent = 3000,
  ) {
    this.maker = new HistoryMaker(random, names, longestContent);
    this.environment = new SimEnvironment(disk, 7);
  }

  open(): Store {
    const { clockUs } = this.environment;
    this.environment = new SimEnvironment(this.disk, 7);
    this.environment.clockUs = clockUs;
    this.store = Store.open(DIRECTORY, this.environment, this.options);
    return this.store;
  }

  /** Makes `count` calls at once, or as many as do not depend on each other's outcome. False: the store has failed. */
  async burst(count: number): Promise<boolean> {
    const { store, environment } = this;
    if (store === null) throw new Error('not open');
    const ahead = this.model.clone();
    const made: { call: Call; done: Promise<void> }[] = [];
    for (let n = 0; n < count; n++) {
      environment.clockUs += 1000;
      const call = this.maker.next(ahead, environment.clockUs);
      if (waitsForState(call) && made.length > 0) break;
      ahead.applyCall(call);
      this.calls.push(call);
      this.madeSequence = ahead.sequence;
      const expected = ahead.sequence;
      const done = perform(store, call).then((sequence) => {
        if (sequence !== expected)
          throw new Error(`took sequence ${sequence}, expected ${expected}`);
        // Promises of different depth resolve out of order; the highest one vouches for all before it.
        this.acknowledgedSequence = Math.max(this.acknowledgedSequence, sequence);
      });
      // Looked at below; none may count as unhandled before.
      done.catch(() => undefined);
      made.push({ call, done });
      if (waitsForState(call)) break;
    }
    const results = await Promise.allSettled(made.map(({ done }) => done));
    for (const [index, result] of results.entries()) {
      if (result.status === 'fulfilled') {
        const call = made[index]?.call;
        if (call !== undefined) this.model.applyCall(call);
        this.acknowledged++;
        continue;
      }
      const error: unknown = result.reason;
      if (!(error instanceof SutraError)) throw error;
      if (error.code === 'DISK_FULL') {
        // Refused, with all behind it: none of them may ever be seen.
        this.refusedForSpace += this.calls.length - this.acknowledged;
        this.calls.length = this.acknowledged;
        this.madeSequence = this.acknowledgedSequence;
        for (const later of results.slice(index)) {
          if (later.status === 'fulfilled') throw new Error('acknowledged behind a refused write');
        }
        return true;
      }
      if (error.code !== 'DISK_FAILED' && error.code !== 'INTERNAL') throw error;
      return false;
    }
    return true;
  }

  /** The text of the state after sequence `sequence`; null when that is inside a batch, or was never made. */
  expected(sequence: number): string | null {
    if (sequence === 0) return new HistoryModel().dump();
    while (this.replayed < this.calls.length) {
      const call = this.calls[this.replayed++];
      if (call === undefined) break;
      this.replay.applyCall(call);
      this.dumps.set(this.replay.sequence, this.replay.dump());
    }
    return this.dumps.get(sequence) ?? null;
  }
}

/** Throws unless the store holds a whole number of the scenario's calls, from `least` to `most`, and nothing else. */
export function checkAgainst(scenario: Scenario, store: Store, least: number, most: number): void {
  const { sequence } = store.state;
  if (sequence < least) throw new Error(`lost: acknowledged ${least}, found ${sequence}`);
  if (sequence > most) throw new Error(`never written: made ${most}, found ${sequence}`);
  checkState(store.state);
  const expected = scenario.expected(sequence);
  if (expected === null) throw new Error(`half a batch: found ${sequence}`);
  const found = dumpState(store.state);
  if (found !== expected) throw new Error(`at ${sequence}: found\n${found}\nexpected\n${expected}`);
}

/** One more write on a recovered store, a close and a second recovery: it must be there, and all before it. */
export async function checkWritesOn(disk: SimDisk, store: Store, flush: boolean): Promise<void> {
  const before = store.state.sequence;
  const { firstSequence } = await store.commits.learn({
    id: 'written after the crash',
    content: 'x',
    strength: 1,
    confidence: 1,
    embedding: null,
  });
  if (firstSequence !== before + 1)
    throw new Error(`took ${firstSequence}, expected ${before + 1}`);
  if (flush) await store.flush();
  const text = dumpState(store.state);
  await store.close();
  if (disk.openFiles.size > 0) throw new Error('files are open after close');
  const again = Store.open(DIRECTORY, new SimEnvironment(disk, 8), STORE_OPTIONS);
  try {
    checkState(again.state);
    const found = dumpState(again.state);
    if (found !== text) throw new Error(`after close: found\n${found}\nexpected\n${text}`);
  } finally {
    await again.close();
  }
}
