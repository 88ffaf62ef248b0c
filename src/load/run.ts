/**
 * A load from beginning to end: learn a graph, warm up, measure, forget everything again. Whatever happens in between, what
 * was learned is forgotten at the end, and what that finds missing was lost by the store and is counted as a wrong answer.
 * All ids begin with `bench-` and eight random hex digits of the run's own: nothing that somebody else learned is touched.
 */

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { SutraError, toSutraError } from '../errors.js';
import { NO_LATENCIES, type LatencyHistogram } from '../latency.js';
import type { CallOptions, ForgetReceipt, IngestItem, Storage } from '../storage/storage.js';
import { LINK_ENDS, LoadCalls } from './calls.js';
import { LoadGraph, type GraphSize } from './graph.js';
import type { Limit } from './limits.js';
import { CallMeter, NOT_SENT, WRONG_ANSWER } from './meter.js';
import { chooseCall, type LoadCall, type Mix } from './mix.js';
import { closedLoop, openLoop, type MakeCall, type Paced } from './pace.js';

export interface LoadPlan {
  readonly mix: Mix;
  readonly pace: { readonly rate: number } | { readonly concurrency: number };
  readonly durationMs: number;
  readonly warmUpMs: number;
  readonly size: GraphSize;
  /** Concepts that learn learns, and associations that link learns, before they learn the same again. */
  readonly maxNew: number;
  readonly limits: readonly Limit[];
}

export type Phase = 'preparing' | 'warming up' | 'measuring' | 'cleaning up';

export interface LoadWatch {
  /** Ends the load; what was learned is forgotten all the same. */
  readonly signal: AbortSignal;
  /** `total` is an estimate where nobody knows. */
  readonly progress: (phase: Phase, done: number, total: number) => void;
  /** The prefix of all ids, before the first of them is learned. */
  readonly begin: (prefix: string) => void;
}

export interface LoadReport {
  readonly prefix: string;
  readonly interrupted: boolean;
  /** Why it ended before its time without having been told to; else null. */
  readonly gaveUp: string | null;
  readonly preloadMs: number;
  readonly elapsedMs: number;
  /** How late calls of a paced load began. */
  readonly late: LatencyHistogram;
  /** In the order of the mix. */
  readonly meters: ReadonlyMap<LoadCall, CallMeter>;
  /** Some of what went wrong. */
  readonly examples: readonly string[];
  readonly cleanUp: CleanUp;
}

export interface CleanUp {
  readonly ms: number;
  readonly concepts: number;
  readonly associations: number;
  /** Concepts that may be there still, because the store refused to forget them or did not answer. */
  readonly left: number;
  readonly failure: string | null;
}

const CHUNK_ITEMS = 1_000;
/** Of contents and embeddings in one chunk, far below the 16 MiB of a message. */
const CHUNK_BYTES = 2 * 1024 * 1024;
/** A store that answers nothing at all is not asked for the rest of the time. */
const MAX_FAILURES_IN_A_ROW = 1_000;
const FORGETS_AT_ONCE = 64;
const FORGET_TIMEOUT_MS = 60_000;
const FORGET_TRIES = 6;
const RETRY_MS = 250;

export async function runLoad(
  storage: Storage,
  plan: LoadPlan,
  call: CallOptions,
  watch: LoadWatch,
): Promise<LoadReport> {
  const { signal } = watch;
  const seed = randomBytes(4);
  const prefix = `bench-${seed.toString('hex')}-`;
  const graph = new LoadGraph(prefix, plan.size);
  const calls = new LoadCalls(storage, graph, call, seed.readUInt32LE(), plan.maxNew);
  const preload = new Preload(storage, graph, calls, plan.mix.has('link'));
  const meters = metersOf(plan);
  let paced: Paced = { elapsedMs: 0, unsent: 0, late: NO_LATENCIES };
  let preloadMs = 0;
  let failure: { readonly error: unknown } | null = null;
  watch.begin(prefix);
  try {
    const startMs = performance.now();
    await preload.run(watch);
    preloadMs = performance.now() - startMs;
    if (preload.complete && plan.warmUpMs > 0) {
      const warm = metersOf(plan);
      await drive(plan, plan.warmUpMs, calls, warm, watch, 'warming up');
      // Latencies of the warm-up do not count; answers that are wrong do.
      for (const [name, { errors }] of warm) {
        const wrong = errors.get(WRONG_ANSWER);
        if (wrong !== undefined) meters.get(name)?.fail(WRONG_ANSWER, wrong);
      }
    }
    if (preload.complete && !signal.aborted && !exhausted(calls)) {
      paced = await drive(plan, plan.durationMs, calls, meters, watch, 'measuring');
    }
  } catch (error) {
    failure = { error };
  }
  const gaveUp = exhausted(calls) ? `${MAX_FAILURES_IN_A_ROW} calls in a row failed` : null;
  const cleanUp = await forgetAll(storage, graph, calls, preload, meters, watch);
  if (failure !== null) {
    const { code, message, hint, violations } = toSutraError(failure.error);
    const left = cleanUp.left === 0 ? '' : `; up to ${cleanUp.left} concepts ${prefix}* are left`;
    throw new SutraError(code, message + left, { hint, violations, cause: failure.error });
  }
  return {
    prefix,
    interrupted: signal.aborted,
    gaveUp,
    preloadMs,
    elapsedMs: paced.elapsedMs,
    late: paced.late,
    meters,
    examples: calls.examples,
    cleanUp,
  };
}

function metersOf({ mix, limits }: LoadPlan): Map<LoadCall, CallMeter> {
  const meters = new Map<LoadCall, CallMeter>();
  for (const call of mix.keys()) {
    const thresholds = new Set<number>();
    for (const limit of limits) {
      const concerns = limit.call === null || limit.call === call;
      if (limit.kind === 'latency' && concerns) thresholds.add(limit.us);
    }
    meters.set(call, new CallMeter([...thresholds]));
  }
  return meters;
}

function exhausted(calls: LoadCalls): boolean {
  return calls.failuresInARow >= MAX_FAILURES_IN_A_ROW;
}

/** Calls of the mix at the plan's pace for so long. */
async function drive(
  { mix, pace }: LoadPlan,
  durationMs: number,
  calls: LoadCalls,
  meters: ReadonlyMap<LoadCall, CallMeter>,
  { signal, progress }: LoadWatch,
  phase: Phase,
): Promise<Paced> {
  const startMs = performance.now();
  let done = 0;
  const meterOf = (call: LoadCall): CallMeter => {
    const meter = meters.get(call);
    if (meter === undefined) throw new Error(`no meter for ${call}`);
    return meter;
  };
  const make: MakeCall = async (dueMs) => {
    const call = chooseCall(mix, calls.chance());
    await calls.make(call, dueMs, meterOf(call));
    done++;
    const share = (performance.now() - startMs) / durationMs;
    progress(phase, done, Math.max(done, Math.round(done / share)));
  };
  const options = { durationMs, stopped: () => signal.aborted || exhausted(calls) };
  const paced =
    'rate' in pace
      ? await openLoop(pace.rate, options, make)
      : await closedLoop(pace.concurrency, options, make);
  // Nobody knows which calls they would have been: they are shared out as the mix would have.
  for (let i = 0; i < paced.unsent; i++) meterOf(chooseCall(mix, calls.chance())).fail(NOT_SENT);
  return paced;
}

/** Learns the graph that the load asks about, and knows how much of it was sent. */
class Preload {
  /** Indexes below this may have been learned. */
  sentConcepts = 0;
  /** All of it was acknowledged. */
  complete = false;
  private readonly concepts: number;

  constructor(
    private readonly storage: Storage,
    private readonly graph: LoadGraph,
    private readonly calls: LoadCalls,
    withLinkEnds: boolean,
  ) {
    this.concepts = graph.size.concepts + (withLinkEnds ? LINK_ENDS : 0);
  }

  async run({ signal, progress }: LoadWatch): Promise<void> {
    const total = this.concepts + this.graph.size.associations;
    let learned = 0;
    for await (const { received, errors } of this.storage.ingest(this.chunks(signal))) {
      const [first] = errors;
      if (first !== undefined) {
        const { code, message, violations } = first;
        throw new SutraError(code, `learning the graph: ${message}`, { violations });
      }
      learned += received;
      progress('preparing', learned, total);
    }
    this.complete = learned === total;
  }

  private *chunks(signal: AbortSignal): Generator<IngestItem[], void, undefined> {
    const { associations, contentBytes, dimension } = this.graph.size;
    const itemBytes = contentBytes + 4 * dimension + 64;
    const most = Math.max(1, Math.min(CHUNK_ITEMS, Math.floor(CHUNK_BYTES / itemBytes)));
    for (let from = 0; from < this.concepts; from += most) {
      if (signal.aborted) return;
      const length = Math.min(most, this.concepts - from);
      this.sentConcepts = from + length;
      yield Array.from({ length }, (_, i) => ({ concept: this.graph.concept(from + i) }));
    }
    for (let from = 0; from < associations; from += CHUNK_ITEMS) {
      if (signal.aborted) return;
      const length = Math.min(CHUNK_ITEMS, associations - from);
      yield Array.from({ length }, (_, i) => ({ association: this.graph.association(from + i) }));
    }
  }

  /** Indexes of everything that may be there, the newest first. */
  *sent(): Generator<number, void, undefined> {
    const { firstLearned, learned } = this.calls;
    for (let i = learned.sent - 1; i >= 0; i--) yield firstLearned + i;
    for (let i = this.sentConcepts - 1; i >= 0; i--) yield i;
  }

  /** Whether a concept was acknowledged, so that it must be there. */
  isCertain(index: number): boolean {
    const number = index - this.calls.firstLearned;
    return number < 0 ? this.complete : !this.calls.learned.uncertain.has(number);
  }

  /** Associations that must be there. */
  get certainAssociations(): number {
    const { linked } = this.calls;
    return this.complete ? this.graph.size.associations + linked.sent - linked.uncertain.size : 0;
  }

  get sentCount(): number {
    return this.sentConcepts + this.calls.learned.sent;
  }
}

async function forgetAll(
  storage: Storage,
  graph: LoadGraph,
  calls: LoadCalls,
  preload: Preload,
  meters: ReadonlyMap<LoadCall, CallMeter>,
  { progress }: LoadWatch,
): Promise<CleanUp> {
  const startMs = performance.now();
  const total = preload.sentCount;
  const indexes = preload.sent();
  let concepts = 0;
  let associations = 0;
  let settled = 0;
  let anyRetried = false as boolean;
  let failure = null as SutraError | null;
  // What was lost is charged to learn, or where nothing is learned to the first call there is.
  const meter = meters.get('learn') ?? [...meters.values()][0];
  const lost = (message: string): void => {
    if (meter !== undefined) calls.fail(meter, WRONG_ANSWER, message);
  };
  const worker = async (): Promise<void> => {
    for (const index of indexes) {
      try {
        const { answer, retried } = await forget(storage, graph.id(index));
        settled++;
        anyRetried ||= retried;
        if (answer.found) concepts++;
        else if (!retried && preload.isCertain(index))
          lost(`${graph.id(index)} was learned and is gone`);
        associations += answer.associations;
        progress('cleaning up', settled, total);
      } catch (error) {
        failure ??= toSutraError(error);
        // Leaving the loop ends the generator, and with it the other workers.
        return;
      }
    }
  };
  await Promise.all(Array.from({ length: FORGETS_AT_ONCE }, worker));
  if (failure === null && !anyRetried && associations < preload.certainAssociations) {
    lost(`${preload.certainAssociations - associations} associations were learned and are gone`);
  }
  return {
    ms: performance.now() - startMs,
    concepts,
    associations,
    left: total - settled,
    failure: failure === null ? null : failure.message,
  };
}

/** Tries again while the store is overloaded or restarts. The first try may have been done all the same. */
async function forget(
  storage: Storage,
  id: string,
): Promise<{ readonly answer: ForgetReceipt; readonly retried: boolean }> {
  for (let attempt = 1; ; attempt++) {
    try {
      const answer = await storage.forgetConcept(id, { timeoutMs: FORGET_TIMEOUT_MS });
      return { answer, retried: attempt > 1 };
    } catch (error) {
      const { status } = toSutraError(error);
      const passing = status === 'UNAVAILABLE' || status === 'RESOURCE_EXHAUSTED';
      if (!passing || attempt === FORGET_TRIES) throw error;
      await sleep(RETRY_MS * 2 ** (attempt - 1));
    }
  }
}
