/**
 * What stands before grpc-js on every HTTP/2 stream: it decides from the headers alone whether a call may begin (so that what is
 * refused is never read), lets calls begin in an order that is fair to connections (CallQueue), takes the request's body in through an
 * Upload, lets answers out in pieces so that it can see whether their reader takes them, and looks once a second for calls that make
 * no progress and connections that do not go when told to.
 *
 * grpc-js has no seam for any of this: its interceptors see a call whose stream is out of reach. So this takes the place
 * of its listener on the one HTTP/2 server that its connection injector makes, and calls that listener for the
 * streams that are let in. `guardStreams` throws when grpc-js is not built the way it expects: a server without its guard never
 * starts.
 */

import { EventEmitter } from 'node:events';
import {
  constants,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Socket } from 'node:net';
import type { Server } from '@grpc/grpc-js';
import { SutraError } from '../errors.js';
import { CallQueue } from './call-queue.js';
import type { ServerLogger } from './logger.js';
import { OpenCalls, type OpenCall, type StreamForm } from './open-calls.js';
import { refuse } from './refusal.js';
import { StandingStreams, type StandingLimits } from './standing-streams.js';
import { Upload, UploadPool } from './upload.js';

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR, NGHTTP2_INTERNAL_ERROR } = constants;

const TICK_MS = 1_000;
/** Ending a call takes 0.05 ms and some more in later turns, and a thousand may be due at once. */
const ENDS_A_TURN = 8;
/** A reader that takes less than this within stallMs is stuck. */
const PIECE_BYTES = 64 * 1024;
/** Honest clients send a request, or take an answer, within this, also where they and this server share a busy machine. */
const HONEST_MS = 500;
/** When there is room for no more calls, all are gone through no more often than this, however many more come. */
const WAITING_MS = 100;
/** What is left of the budget for answers when it has been exceeded, so that not every further one exceeds it again. */
const KEPT_SHARE = 0.75;

export interface GuardLimits {
  /** Of one message, packed and unpacked. */
  readonly maxMessageBytes: number;
  /** Of all unfinished requests together. */
  readonly maxUploadBytes: number;
  /** Of all answers that clients have not taken yet. */
  readonly maxUnsentBytes: number;
  /** Of one call's headers, names and values. */
  readonly maxHeaderBytes: number;
  /** Calls under way, over all connections, without those that stand. */
  readonly maxCalls: number;
  readonly standing: StandingLimits;
  /** A request must be there after this, plus its size at minUploadRate. */
  readonly uploadGraceMs: number;
  /** Bytes a second. */
  readonly minUploadRate: number;
  /** An answer of which no piece is taken for so long is given up. */
  readonly stallMs: number;
}

/** Decides from the headers whether a call may begin; throws the SutraError to answer when it may not. */
export type Admission = (headers: IncomingHttpHeaders, session: ServerHttp2Session) => void;

/** Told of calls that were refused before a handler saw them. */
export type OnRefused = (path: string, error: SutraError) => void;

const UNARY: StreamForm = { requestStream: false, responseStream: false, standing: false };

type StreamHandler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

type Listener = (chunk?: Buffer) => void;

/** As grpc-js writes answers. */
type Write = (chunk: Buffer, done?: (error?: Error | null) => void) => boolean;

export class StreamGuard {
  private readonly limits: GuardLimits;
  private readonly admission: Admission;
  /** The calls that are streams, by path. */
  private readonly streams: ReadonlyMap<string, StreamForm>;
  private readonly logger: ServerLogger;
  private readonly pool: UploadPool;
  /** Those that wait in the queue among them. */
  private readonly calls = new OpenCalls();
  /** Of them, those that waited for their client when they were last gone through; the one that had for longest is last. */
  private waiting: OpenCall[] = [];
  private waitingAt = -Infinity;
  private readonly queue = new CallQueue();
  private readonly standing: StandingStreams;
  /** Sessions and what carries them, until that is closed. */
  private readonly carriers = new Map<ServerHttp2Session, Socket>();
  /** Sessions that were over at the last look, and their connections still open. */
  private lingering = new Set<ServerHttp2Session>();
  /** At least what is waiting to be sent. */
  private unsentBytes = 0;
  /** Since it was last logged. */
  private cutCalls = 0;
  private readonly timer: NodeJS.Timeout;

  constructor(
    limits: GuardLimits,
    admission: Admission,
    streams: ReadonlyMap<string, StreamForm>,
    logger: ServerLogger,
    private readonly onRefused: OnRefused = () => undefined,
  ) {
    this.limits = limits;
    this.admission = admission;
    this.streams = streams;
    this.logger = logger;
    this.standing = new StandingStreams(limits.standing);
    const { maxMessageBytes, maxUploadBytes } = limits;
    this.pool = new UploadPool({ maxMessageBytes, maxBufferedBytes: maxUploadBytes });
    this.timer = setInterval(() => this.tick(performance.now()), TICK_MS).unref();
  }

  /** Calls that have not begun, because others come first. */
  get waitingCalls(): number {
    return this.queue.waiting;
  }

  close(): void {
    clearInterval(this.timer);
  }

  /** Takes the place of grpc-js's listener. Whatever a stream does, nothing is thrown: that would end the process. */
  open(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, handle: StreamHandler): void {
    // Reset or lost before it could be looked at.
    if (stream.destroyed || stream.closed) return;
    stream.on('error', () => undefined);
    // grpc-js takes it out of the headers.
    const path = headers[':path'] ?? '';
    const form = this.streams.get(path) ?? UNARY;
    // Not destroyed, so it has one.
    const session = stream.session as ServerHttp2Session;
    try {
      this.checkHeaders(headers);
      this.admission(headers, session);
      if (form.standing) this.standing.add(session, stream);
      else this.makeRoom(session, performance.now());
    } catch (error) {
      if (!(error instanceof SutraError)) this.logger.error('a call was refused by a bug', error);
      const told = error instanceof SutraError ? error : unexpected();
      this.onRefused(path, told);
      refuse(stream, told);
      return;
    }
    this.track(session, stream, path, form, (call) => this.begin(call, headers, handle));
  }

  private track(
    session: ServerHttp2Session,
    stream: ServerHttp2Stream,
    path: string,
    form: StreamForm,
    begin: (call: OpenCall) => void,
  ): void {
    const now = performance.now();
    const call: OpenCall = {
      session,
      queued: this.queue.add(session, () => begin(call)),
      stream,
      path,
      form,
      begun: false,
      openedAt: now,
      upload: null,
      ended: false,
      answered: false,
      unsent: 0,
      movedAt: now,
    };
    this.calls.add(call);
    stream.once('close', () => {
      call.queued.close();
      call.upload?.close();
      this.calls.delete(call);
    });
  }

  private begin(call: OpenCall, headers: IncomingHttpHeaders, handle: StreamHandler): void {
    const { stream } = call;
    if (stream.destroyed || stream.closed) return;
    call.begun = true;
    call.openedAt = performance.now();
    stream.once('end', () => {
      call.ended = true;
    });
    this.watchWrites(call);
    const endListeners = stream.listeners('end');
    try {
      handle(stream, headers);
    } catch (error) {
      this.logger.error('grpc-js could not take a call', error);
      stream.close(NGHTTP2_INTERNAL_ERROR);
      return;
    }
    const added = (stream.listeners('end') as Listener[]).filter(
      (listener) => !endListeners.includes(listener),
    );
    call.upload = this.takeBody(call, headers, added);
  }

  private checkHeaders(headers: IncomingHttpHeaders): void {
    let bytes = 0;
    for (const name in headers) {
      bytes += name.length;
      const value = headers[name];
      if (typeof value === 'string') bytes += value.length;
      else if (value !== undefined) for (const one of value) bytes += one.length;
    }
    const { maxHeaderBytes } = this.limits;
    if (bytes > maxHeaderBytes) {
      throw new SutraError(
        'TOO_LARGE',
        `got ${bytes} bytes of headers, expected at most ${maxHeaderBytes}`,
      );
    }
  }

  /** Ends a call where no more may be open. @throws OVERLOADED when none is to go before a new one of this session */
  private makeRoom(session: ServerHttp2Session, now: number): void {
    const { maxCalls } = this.limits;
    if (this.calls.underWay < maxCalls) return;
    const error = new SutraError('OVERLOADED', `${maxCalls} calls are open, and no more are taken`);
    const call = this.longestWaiting(now) ?? this.oneOfMost(session, now);
    if (call === null) throw error;
    if (call.stream.writableLength > 0) this.cut(call);
    else this.end(call, error);
  }

  /** The call that has waited for its client for longest, where that is longer than honest ones take. */
  private longestWaiting(now: number): OpenCall | null {
    if (this.waiting.length === 0 && now - this.waitingAt >= WAITING_MS) {
      this.waitingAt = now;
      this.waiting = Array.from(this.calls, (call) => ({ call, since: this.waitsSince(call, now) }))
        .filter(({ since }) => since < now - HONEST_MS)
        .sort((a, b) => b.since - a.since)
        .map(({ call }) => call);
    }
    for (let call = this.waiting.pop(); call !== undefined; call = this.waiting.pop()) {
      if (this.calls.has(call) && this.waitsSince(call, now) < now - HONEST_MS) return call;
    }
    return null;
  }

  /**
   * Of the connection that has most calls, the one that has waited for longest, for its client or for its turn; null when no
   * connection has more than this one.
   */
  private oneOfMost(session: ServerHttp2Session, now: number): OpenCall | null {
    let first: OpenCall | null = null;
    let earliest = Infinity;
    for (const call of this.calls.ofMost(session) ?? []) {
      const time = call.begun ? this.waitsSince(call, now) : call.openedAt;
      if (time >= earliest) continue;
      first = call;
      earliest = time;
    }
    return first;
  }

  /** Since when the call has waited for its client to send or to take something; Infinity when it does not. */
  private waitsSince(call: OpenCall, now: number): number {
    const { stream, form, upload, ended } = call;
    if (form.standing) return Infinity;
    if (!this.moved(call, now)) return call.movedAt;
    // It has not begun, or was refused.
    if (upload === null) return Infinity;
    if (stream.writableLength > 0 || ended || stream.isPaused()) return Infinity;
    if (!form.requestStream) return call.openedAt;
    return upload.unfinished ? upload.since : upload.movedAt;
  }

  /** Puts an Upload between the stream and the two listeners that grpc-js reads it with; null when it refused the call. */
  private takeBody(
    call: OpenCall,
    headers: IncomingHttpHeaders,
    endListeners: readonly Listener[],
  ): Upload | null {
    const { stream, path, queued } = call;
    const [read, ...others] = stream.listeners('data') as Listener[];
    const [end, ...more] = endListeners;
    if (read === undefined || end === undefined || others.length > 0 || more.length > 0) {
      // Whatever still comes is of no use to anyone.
      stream.resume();
      return null;
    }
    const encoding = headers['grpc-encoding'];
    const upload = new Upload(
      stream,
      this.pool,
      typeof encoding === 'string' ? encoding : undefined,
      {
        message: (chunk) => read.call(stream, chunk),
        end: () => end.call(stream),
        refuse: (error) => {
          this.onRefused(path, error);
          refuse(stream, error);
        },
      },
    );
    stream.off('data', read);
    stream.off('end', end);
    stream.on('data', (chunk: Buffer) => {
      queued.charge(chunk.length);
      upload.receive(chunk);
    });
    stream.on('end', () => upload.end());
    return upload;
  }

  /**
   * Counts what is written, and writes it in pieces: one large write would be all there or all gone to whoever looks at its
   * progress, and Node would join the pieces again where a stream can take several at once.
   */
  private watchWrites(call: OpenCall): void {
    const { stream, form, queued } = call;
    const write = stream.write.bind(stream) as Write;
    const watched: Write = (chunk, done) => {
      const waits = stream.writableLength > 0;
      let from = 0;
      // A stream's answers are small, and each waits for the one before to be taken (streams.ts).
      if (chunk.length > PIECE_BYTES && !form.responseStream) {
        Reflect.set(stream, '_writev', null);
        for (; chunk.length - from > PIECE_BYTES; from += PIECE_BYTES) {
          write(chunk.subarray(from, from + PIECE_BYTES));
        }
      }
      const more = write(from === 0 ? chunk : chunk.subarray(from), done);
      if (!waits) {
        call.movedAt = performance.now();
        call.unsent = stream.writableLength;
      }
      queued.charge(chunk.length);
      this.unsentBytes += chunk.length;
      if (this.unsentBytes > this.limits.maxUnsentBytes) this.cutUnsent();
      return more;
    };
    Reflect.set(stream, 'write', watched);
  }

  /** Ends a call that waits for its client's request, or for its turn, with an error. */
  private end(call: OpenCall, error: SutraError): void {
    this.calls.delete(call);
    // Of a stream of requests that has begun, the handler knows, and counts it itself.
    if (!call.form.requestStream || !call.begun) this.onRefused(call.path, error);
    refuse(call.stream, error);
  }

  /** Gives an answer up, and what it holds at once: a connection that is not read takes no reset either. */
  private cut(call: OpenCall): void {
    this.calls.delete(call);
    call.upload?.close();
    call.stream.close(NGHTTP2_CANCEL);
    call.stream.destroy();
    this.cutCalls++;
  }

  /** Makes a session over this connection, and sees to it that the one ends with the other. */
  connect(server: EventEmitter, socket: Socket, inject: (socket: Socket) => void): void {
    const add = (session: ServerHttp2Session): void => {
      this.carriers.set(session, socket);
      socket.once('close', () => this.carriers.delete(session));
    };
    server.once('session', add);
    inject(socket);
    server.off('session', add);
  }

  /**
   * A session that is destroyed waits for what it has written last to be taken. Where nobody reads, that is for ever: the connection
   * has to be closed under it.
   */
  private closeLingering(): void {
    const over = new Set<ServerHttp2Session>();
    for (const [session, socket] of this.carriers) {
      if (!session.destroyed) continue;
      if (this.lingering.has(session)) socket.destroy();
      else over.add(session);
    }
    this.lingering = over;
  }

  private tick(now: number): void {
    this.closeLingering();
    this.letGo(this.calls[Symbol.iterator](), now);
    // What has been taken meanwhile counts no more.
    this.cutUnsent();
    if (this.cutCalls > 0) {
      this.logger.warn(`${this.cutCalls} calls cut off: their answers were not taken`);
      this.cutCalls = 0;
    }
  }

  /** Ends calls whose client has had its time, a few in one turn of the event loop. */
  private letGo(calls: Iterator<OpenCall>, now: number): void {
    let ends = 0;
    for (let next = calls.next(); next.done !== true; next = calls.next()) {
      if (this.endWhenDue(next.value, now)) ends++;
      if (ends < ENDS_A_TURN) continue;
      setImmediate(() => this.letGo(calls, now));
      return;
    }
  }

  /** Returns whether it was. */
  private endWhenDue(call: OpenCall, now: number): boolean {
    const { stream } = call;
    if (stream.writableFinished && hasStatus(stream) && !call.ended) {
      // Answered, but the client goes on sending, although the answer itself told it to stop. Not at the first look: the status may
      // still be on its way out, and would be lost. A closed one stays until its connection takes the reset.
      const due = call.answered && !stream.closed;
      call.answered = true;
      if (due) stream.close(NGHTTP2_NO_ERROR);
      return due;
    }
    if (this.isLate(call, now)) {
      const seconds = Math.round((now - (call.upload?.since ?? call.openedAt)) / 1000);
      this.end(
        call,
        new SutraError('DEADLINE_EXCEEDED', `the request did not come within ${seconds} s`, {
          hint: 'Send less at once, or over a faster connection.',
        }),
      );
      return true;
    }
    if (!this.isStuck(call, now)) return false;
    this.cut(call);
    return true;
  }

  /** A unary request has one message and an end; of a stream only the message that has begun must come on. */
  private isLate(call: OpenCall, now: number): boolean {
    const { upload, form, ended, stream } = call;
    if (ended || upload === null || stream.isPaused()) return false;
    if (form.requestStream && !upload.unfinished) return false;
    const { uploadGraceMs, minUploadRate } = this.limits;
    return now - upload.since > uploadGraceMs + (upload.received / minUploadRate) * 1000;
  }

  /** Of a stream of answers little is ever waiting: its reader may take a rest (`sutra export | less`). */
  private isStuck(call: OpenCall, now: number): boolean {
    if (this.moved(call, now)) return false;
    return !call.form.responseStream && now - call.movedAt > this.limits.stallMs;
  }

  /** False when an answer waits for its reader, and none of it was taken since it was last looked at. */
  private moved(call: OpenCall, now: number): boolean {
    const unsent = call.stream.writableLength;
    if (unsent === 0 || unsent === call.unsent) return unsent === 0;
    call.unsent = unsent;
    call.movedAt = now;
    return true;
  }

  /** When answers wait for slower readers than there is memory for, those that have not moved for longest go first. */
  private cutUnsent(): void {
    const { maxUnsentBytes } = this.limits;
    let unsent = 0;
    for (const { stream } of this.calls) unsent += stream.writableLength;
    this.unsentBytes = unsent;
    if (unsent <= maxUnsentBytes) return;
    const holding = [...this.calls].filter(({ stream }) => stream.writableLength > 0);
    holding.sort((a, b) => a.movedAt - b.movedAt || a.openedAt - b.openedAt);
    for (const call of holding) {
      if (this.unsentBytes <= maxUnsentBytes * KEPT_SHARE) break;
      this.unsentBytes -= call.stream.writableLength;
      this.cut(call);
    }
  }
}

/**
 * Puts the guard before grpc-js's own listener, and returns the HTTP/2 server that it listens to. Call it once, when the
 * connection injector has been made.
 */
export function guardStreams(server: Server, guard: StreamGuard): EventEmitter {
  const servers: unknown = Reflect.get(server, 'http2Servers');
  const found: unknown[] = servers instanceof Map ? Array.from<unknown>(servers.keys()) : [];
  const [http2, ...others] = found;
  const handlers: unknown[] = http2 instanceof EventEmitter ? http2.listeners('stream') : [];
  const [handle, ...more] = handlers;
  if (
    !(http2 instanceof EventEmitter) ||
    others.length > 0 ||
    handle === undefined ||
    more.length > 0
  ) {
    throw new SutraError(
      'INTERNAL',
      'this version of grpc-js keeps its HTTP/2 server elsewhere: calls cannot be guarded',
    );
  }
  http2.removeAllListeners('stream');
  http2.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    guard.open(stream, headers, handle as StreamHandler);
  });
  return http2 as EventEmitter;
}

/** The call's status has been sent: until then a writable that is finished may still wait for room for its trailers. */
function hasStatus(stream: ServerHttp2Stream): boolean {
  if (stream.sentTrailers !== undefined) return true;
  return stream.headersSent && stream.sentHeaders['grpc-status'] !== undefined;
}

function unexpected(): SutraError {
  return new SutraError('INTERNAL', 'the call could not be taken; the server’s log says more');
}
