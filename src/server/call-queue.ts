/**
 * The order in which calls begin. A connection that asks for a thousand large answers in one packet would have them all made before
 * the next connection's packet is even read. So calls wait here, and begin a few in each turn of the event loop, in the order of
 * what their connections have had: the one that has had least is next.
 *
 * This is start-time fair queueing (Goyal, Vin and Cheng, 1996) with bytes as time: what a connection has had is the bytes of its
 * requests and answers, and CALL_BYTES for each call. A connection that was away starts level with the one served last, so
 * that nobody saves up, and when nothing waits all are level again. A new one starts a call behind: else those that
 * go on connecting would all come before one that has had a call.
 *
 * How many begin in a turn goes by what they are expected to take, since nobody knows what a call takes before it is done, and some
 * of that in a later turn, behind a read: a connection's calls are expected to be as large as its last ones, those of a new
 * one to be no small ones. How much is to begin in a turn is learned from how long turns are.
 */

import type { ServerHttp2Session } from 'node:http2';

/** A turn that took longer halves what is to begin in the next one; a shorter one doubles it. */
const TURN_MS = 4;
/** Small calls take 0.1 ms; more at once would gain nothing. */
const MAX_BEGINS = 16;
/** What a call costs beside its bytes: a small one takes as long as some 32 KiB of a large one. */
const CALL_BYTES = 32 * 1024;
/** A call that is expected to take so much is the last to begin in its turn, whatever more it takes. */
const MOST_EXPECTED_BYTES = MAX_BEGINS * CALL_BYTES;
/** What is expected of a connection that has not had an answer yet: two begin in a turn. */
const FIRST_EXPECTED_BYTES = MOST_EXPECTED_BYTES / 2;

/** A call, from when it asks to begin to its end. */
export class QueuedCall {
  /** The most that it had at once: a stream's messages are nothing to expect together. */
  private largest = 0;

  constructor(
    private readonly queue: CallQueue,
    private readonly lane: Lane,
    readonly begin: () => void,
  ) {}

  /** Counts bytes that were taken from the client or written for it. */
  charge(bytes: number): void {
    const { lane } = this;
    this.queue.charge(lane, bytes);
    if (bytes <= this.largest) return;
    this.largest = bytes;
    lane.expected = Math.max(lane.expected, this.took);
  }

  /** It is over; or it need not begin, if it has not. Called once. */
  close(): void {
    const { lane } = this;
    if (!this.queue.take(lane, this)) lane.expected = (lane.expected + this.took) / 2;
  }

  private get took(): number {
    return Math.min(Math.max(CALL_BYTES, this.largest), MOST_EXPECTED_BYTES);
  }
}

/** One connection's part of the queue. */
interface Lane {
  /** In the order they came. */
  readonly waiting: Set<QueuedCall>;
  /** Bytes, on the scale of CallQueue.level. */
  had: number;
  /** Of its next call, bytes. */
  expected: number;
}

export class CallQueue {
  private readonly lanes = new WeakMap<ServerHttp2Session, Lane>();
  /** Lanes in which something waits. */
  private readonly busy = new Set<Lane>();
  private count = 0;
  /** What the connection served last had had by then, bytes. */
  private level = 0;
  /** The most that any has had. */
  private highest = 0;
  /** How many small calls begin in a turn. */
  private begins = MAX_BEGINS;
  /** When the last turn began; null while there is none to come. */
  private turnStart: number | null = null;

  /** Calls that have not begun. */
  get waiting(): number {
    return this.count;
  }

  /** Calls `begin` when it is this call's turn, always later than now. */
  add(session: ServerHttp2Session, begin: () => void): QueuedCall {
    const lane = this.laneOf(session);
    if (lane.waiting.size === 0) {
      lane.had = Math.max(lane.had, this.level);
      this.busy.add(lane);
    }
    const call = new QueuedCall(this, lane, begin);
    lane.waiting.add(call);
    this.count++;
    if (this.turnStart === null) {
      this.turnStart = performance.now();
      process.nextTick(() => this.beginSome());
    }
    return call;
  }

  /** For QueuedCall. */
  charge(lane: Lane, bytes: number): void {
    lane.had += bytes;
    if (lane.had > this.highest) this.highest = lane.had;
  }

  /** Out of the queue. False when it was not in it. */
  take(lane: Lane, call: QueuedCall): boolean {
    if (!lane.waiting.delete(call)) return false;
    this.count--;
    if (lane.waiting.size === 0) this.busy.delete(lane);
    return true;
  }

  private laneOf(session: ServerHttp2Session): Lane {
    let lane = this.lanes.get(session);
    if (lane === undefined) {
      lane = { waiting: new Set(), had: this.level + CALL_BYTES, expected: FIRST_EXPECTED_BYTES };
      this.lanes.set(session, lane);
    }
    return lane;
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
    let room = this.begins * CALL_BYTES;
    for (let lane = this.next(); lane !== null && room > 0; lane = this.next()) {
      room -= lane.expected;
      this.beginFirst(lane);
    }
    // When nothing waits, all are level.
    if (this.count === 0) this.level = this.highest;
    // Also when nothing waits: what comes in this turn belongs to it. The loop does not rest while an immediate is there to be
    // called, so that from one to the next is a turn's work.
    setImmediate(this.turn);
  }

  /** The lane that has had least, of those in which something waits. */
  private next(): Lane | null {
    let next: Lane | null = null;
    for (const lane of this.busy) if (next === null || lane.had < next.had) next = lane;
    return next;
  }

  private beginFirst(lane: Lane): void {
    const [call] = lane.waiting;
    if (call === undefined) return;
    this.take(lane, call);
    this.level = Math.max(this.level, lane.had);
    this.charge(lane, CALL_BYTES);
    call.begin();
  }
}
