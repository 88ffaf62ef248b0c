/**
 * The order in which calls begin. A connection that asks for a thousand large answers in one packet would have them all made before
 * the next connection's packet is even read. So calls wait here, and begin a few in each turn of the event loop, in the order of
 * what their connections have had: the one that has had least is next. How many is learned from how long turns are, since
 * nobody knows what a call takes before it is done, and some of that in a later turn, behind a read.
 *
 * This is start-time fair queueing (Goyal, Vin and Cheng, 1996) with bytes as time: what a connection has had is the bytes of its
 * requests and answers, and CALL_BYTES for each call. A connection that was away starts level with the one served last, so
 * that nobody saves up, and when nothing waits all are level again.
 */

import type { ServerHttp2Session } from 'node:http2';

/** A turn that took longer halves the number of calls that begin in the next one; a shorter one doubles it. */
const TURN_MS = 4;
/** Small calls take 0.1 ms; more at once would gain nothing. */
const MAX_BEGINS = 16;
/** What a call costs beside its bytes: a small one takes as long as some 32 KiB of a large one. */
const CALL_BYTES = 32 * 1024;

/** One connection's part of the queue. */
interface Lane<Call> {
  /** In the order they came. */
  readonly waiting: Map<Call, () => void>;
  /** Bytes, on the scale of CallQueue.level. */
  had: number;
}

export class CallQueue<Call> {
  private readonly lanes = new WeakMap<ServerHttp2Session, Lane<Call>>();
  /** Lanes in which something waits. */
  private readonly busy = new Set<Lane<Call>>();
  private count = 0;
  /** What the connection served last had had by then, bytes. */
  private level = 0;
  /** The most that any has had. */
  private highest = 0;
  /** How many calls begin in a turn. */
  private begins = MAX_BEGINS;
  /** When the last turn began; null while there is none to come. */
  private turnStart: number | null = null;

  /** Calls that have not begun. */
  get waiting(): number {
    return this.count;
  }

  /** Calls `begin` when it is this call's turn, always later than now. */
  add(session: ServerHttp2Session, call: Call, begin: () => void): void {
    const lane = this.laneOf(session);
    if (lane.waiting.size === 0) {
      lane.had = Math.max(lane.had, this.level);
      this.busy.add(lane);
    }
    lane.waiting.set(call, begin);
    this.count++;
    if (this.turnStart !== null) return;
    this.turnStart = performance.now();
    process.nextTick(() => this.beginSome());
  }

  /** It need not begin, if it has not. */
  remove(session: ServerHttp2Session, call: Call): void {
    this.take(this.laneOf(session), call);
  }

  /** Counts bytes that were taken from the connection or written for it. */
  charge(session: ServerHttp2Session, bytes: number): void {
    const lane = this.laneOf(session);
    lane.had += bytes;
    if (lane.had > this.highest) this.highest = lane.had;
  }

  private laneOf(session: ServerHttp2Session): Lane<Call> {
    let lane = this.lanes.get(session);
    if (lane === undefined) {
      lane = { waiting: new Map(), had: this.level };
      this.lanes.set(session, lane);
    }
    return lane;
  }

  private take(lane: Lane<Call>, call: Call): void {
    if (!lane.waiting.delete(call)) return;
    this.count--;
    if (lane.waiting.size === 0) this.busy.delete(lane);
  }

  private readonly turn = (): void => {
    if (this.turnStart === null) return;
    const now = performance.now();
    const { begins } = this;
    this.begins =
      now - this.turnStart > TURN_MS ? Math.max(1, begins >> 1) : Math.min(MAX_BEGINS, begins * 2);
    if (this.count === 0) {
      this.turnStart = null;
      return;
    }
    this.turnStart = now;
    this.beginSome();
  };

  private beginSome(): void {
    for (let i = 0; i < this.begins && this.count > 0; i++) this.beginNext();
    // When nothing waits, all are level.
    if (this.count === 0) this.level = this.highest;
    // Also when nothing waits: what comes in this turn belongs to it. The loop does not rest while an immediate is there to be
    // called, so that from one to the next is a turn's work.
    setImmediate(this.turn);
  }

  private beginNext(): void {
    let next: Lane<Call> | null = null;
    for (const lane of this.busy) if (next === null || lane.had < next.had) next = lane;
    if (next === null) return;
    const [first] = next.waiting;
    if (first === undefined) return;
    const [call, begin] = first;
    this.take(next, call);
    this.level = Math.max(this.level, next.had);
    next.had += CALL_BYTES;
    this.highest = Math.max(this.highest, next.had);
    begin();
  }
}
