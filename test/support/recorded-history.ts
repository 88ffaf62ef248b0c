/**
 * A recorded concurrent history, and its judge. Clients do operations at once; each is recorded with when it was called and
 * when it was answered, on one clock that counts these events. Afterwards the writes are replayed in the order of their
 * sequences against the model, which must give the answers that were given. Then there must be one order of everything that
 * explains it all (linearizability; the sequences say which order the writes have, so the search is a linear one):
 *
 *  - a write that was answered before another was called has the lower sequence;
 *  - every other answer (a read, a refusal, a forget that found nothing) is the model's after some whole number of calls, no
 *    fewer than were answered before it was called, no more than were called before it was answered;
 *  - and no fewer than a read had seen that was answered before this one was called.
 *
 * M. Herlihy, J. Wing: Linearizability, TOPLAS 1990.
 */

import { isDeepStrictEqual } from 'node:util';

import fc from 'fast-check';
import type { PathAnswer, Storage, StorageStats } from '#sutra/storage/storage';

import { IDS, operation, outcome, type Operation } from '../contract/storage-contract.js';
import { ModelStorage } from './model-storage.js';

interface Step {
  readonly run: Operation;
  /** Changes nothing whatever comes of it. */
  readonly isRead: boolean;
}

interface Recorded extends Step {
  readonly invoked: number;
  readonly responded: number;
  readonly outcome: unknown;
  /** What it took: sequences first .. first + count - 1; count 0: none. */
  readonly first: number;
  readonly count: number;
}

const anId = fc.constantFrom(...IDS);

function pathShape({ found, path }: PathAnswer): unknown {
  // There may be several shortest ones.
  return { found, length: path.length };
}

function counts({ concepts, edges, sequence, vectors }: StorageStats): unknown {
  return { concepts, edges, sequence, vectors };
}

const aRead: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: anId.map((id) =>
      named(`query ${id}`, async (s) => {
        const answer = await s.queryConcept(id, { withEmbedding: true });
        return { ...answer, createdUs: 0, updatedUs: 0 };
      }),
    ),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(anId, fc.constantFrom('both' as const, 'out' as const, 'in' as const))
      .map(([id, direction]) =>
        named(`neighbors ${id} ${direction}`, (s) => s.getNeighbors(id, { direction })),
      ),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(anId, anId)
      .map(([a, b]) => named(`path ${a} ${b}`, async (s) => pathShape(await s.findPath(a, b)))),
  },
  { weight: 1, arbitrary: anId.map((id) => named(`contains ${id}`, (s) => s.contains(id))) },
  { weight: 1, arbitrary: fc.constant(named('stats', async (s) => counts(await s.stats()))) },
);

const aStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 1, arbitrary: operation.map((run) => ({ run, isRead: false })) },
  { weight: 1, arbitrary: aRead.map((run) => ({ run, isRead: true })) },
);

function named(text: string, run: Operation): Operation {
  return Object.assign(run, { [fc.toStringMethod]: () => text });
}

/** The sequences that an outcome says were taken. */
function taken(result: unknown): { first: number; count: number } {
  if (typeof result === 'object' && result !== null && 'answer' in result) {
    const { answer } = result;
    if (typeof answer === 'object' && answer !== null) {
      if ('firstSequence' in answer && 'count' in answer) {
        return { first: Number(answer.firstSequence), count: Number(answer.count) };
      }
      const known = !('found' in answer) || answer.found === true;
      if (known && 'sequence' in answer) return { first: Number(answer.sequence), count: 1 };
    }
  }
  return { first: 0, count: 0 };
}

export class RecordedHistory {
  private readonly recorded: Recorded[] = [];
  private clock = 0;

  /** `count` operations of one client, one after the other; `pause` is waited for between any two of them. */
  async client(
    storage: Storage,
    seed: number,
    count: number,
    pause: () => Promise<void>,
  ): Promise<void> {
    for (const step of fc.sample(aStep, { seed, numRuns: count })) {
      await pause();
      const invoked = ++this.clock;
      const result = await outcome(step.run, storage);
      const responded = ++this.clock;
      const { first, count: took } = step.isRead ? { first: 0, count: 0 } : taken(result);
      this.recorded.push({ ...step, invoked, responded, outcome: result, first, count: took });
    }
  }

  /**
   * Throws an Error that shows what does not fit; else returns the model in the state that the history comes to, and counts.
   */
  async judge(): Promise<{ model: ModelStorage; writes: number; others: number; states: number }> {
    const writes = this.recorded.filter(({ count }) => count > 0);
    const others = this.recorded.filter(({ count }) => count === 0);
    writes.sort((a, b) => a.first - b.first);
    const windows = this.windows(writes);
    const feasible = new Map<Recorded, number[]>(others.map((other) => [other, []]));
    const waiting = [...others].sort((a, b) => lowOf(windows, a) - lowOf(windows, b));
    let begun = 0;
    let active: Recorded[] = [];
    let states = 0;
    const model = new ModelStorage();
    /** What the others say at the state after sequence `sequence`. */
    const look = async (sequence: number): Promise<void> => {
      for (let next = waiting[begun]; next !== undefined; next = waiting[++begun]) {
        if (lowOf(windows, next) > sequence) break;
        active.push(next);
      }
      active = active.filter((other) => (windows.get(other)?.high ?? 0) >= sequence);
      for (const other of active) {
        const expected = await outcome(other.run, other.isRead ? model : model.fork());
        if (isDeepStrictEqual(expected, other.outcome)) feasible.get(other)?.push(sequence);
        states++;
      }
    };
    let sequence = 0;
    await look(0);
    for (const write of writes) {
      if (write.first !== sequence + 1) {
        throw new Error(`sequence ${write.first} follows ${sequence}: ${show(write)}`);
      }
      const { low } = windows.get(write) ?? { low: 0 };
      if (write.first <= low) {
        throw new Error(
          `called after ${low} was answered, yet took ${write.first}: ${show(write)}`,
        );
      }
      const expected = await outcome(write.run, model);
      if (!isDeepStrictEqual(expected, write.outcome)) {
        throw new Error(`replayed it gives ${JSON.stringify(expected)}: ${show(write)}`);
      }
      sequence += write.count;
      await look(sequence);
    }
    this.order(feasible, windows);
    return { model, writes: writes.length, others: others.length, states };
  }

  /** low: the last sequence answered before the call; high: the last that was called before the answer. */
  private windows(writes: readonly Recorded[]): Map<Recorded, { low: number; high: number }> {
    const byInvoked = [...writes].sort((a, b) => a.invoked - b.invoked);
    const byResponded = [...writes].sort((a, b) => a.responded - b.responded);
    const windows = new Map<Recorded, { low: number; high: number }>();
    const lows = new Map<Recorded, number>();
    let low = 0;
    let at = 0;
    for (const entry of [...this.recorded].sort((a, b) => a.invoked - b.invoked)) {
      for (let w = byResponded[at]; w !== undefined && w.responded < entry.invoked;) {
        low = Math.max(low, w.first + w.count - 1);
        w = byResponded[++at];
      }
      lows.set(entry, low);
    }
    let high = 0;
    at = 0;
    for (const entry of [...this.recorded].sort((a, b) => a.responded - b.responded)) {
      for (let w = byInvoked[at]; w !== undefined && w.invoked < entry.responded;) {
        high = Math.max(high, w.first + w.count - 1);
        w = byInvoked[++at];
      }
      windows.set(entry, { low: lows.get(entry) ?? 0, high });
    }
    return windows;
  }

  /** Gives each of the others the earliest state that explains it and is no earlier than what was seen before it. */
  private order(
    feasible: ReadonlyMap<Recorded, readonly number[]>,
    windows: ReadonlyMap<Recorded, { low: number; high: number }>,
  ): void {
    const events: { readonly at: number; readonly entry: Recorded; readonly isCall: boolean }[] =
      [];
    for (const entry of feasible.keys()) {
      events.push({ at: entry.invoked, entry, isCall: true });
      events.push({ at: entry.responded, entry, isCall: false });
    }
    events.sort((a, b) => a.at - b.at);
    const chosen = new Map<Recorded, number>();
    let seen = 0;
    for (const { entry, isCall } of events) {
      if (!isCall) {
        seen = Math.max(seen, chosen.get(entry) ?? 0);
        continue;
      }
      const states = feasible.get(entry) ?? [];
      const state = states.find((sequence) => sequence >= seen);
      if (state === undefined) {
        const { low, high } = windows.get(entry) ?? { low: 0, high: 0 };
        throw new Error(
          `no state from ${Math.max(low, seen)} to ${high} explains it (${states.length} between ` +
            `${low} and ${high} do, but ${seen} had been seen): ${show(entry)}`,
        );
      }
      chosen.set(entry, state);
    }
  }
}

function lowOf(windows: ReadonlyMap<Recorded, { readonly low: number }>, entry: Recorded): number {
  return windows.get(entry)?.low ?? 0;
}

function show({ run, outcome: result, invoked, responded }: Recorded): string {
  return `${fc.stringify(run)} -> ${JSON.stringify(result)} [called ${invoked}, answered ${responded}]`;
}
