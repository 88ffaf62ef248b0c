/**
 * What stands before grpc-js on every HTTP/2 stream: it decides from the headers alone whether a call may begin (so that what is
 * refused is never read), takes the request's body in through an Upload, lets answers out in pieces so that it can see whether their
 * reader takes them, and looks once a second for calls that make no progress and connections that do not go when told to.
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
import type { ServerLogger } from './logger.js';
import { refuse } from './refusal.js';
import { StandingStreams, type StandingLimits } from './standing-streams.js';
import { Upload, UploadPool } from './upload.js';

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR, NGHTTP2_INTERNAL_ERROR } = constants;

const TICK_MS = 1_000;
/** A reader that takes less than this within stallMs is stuck. */
const PIECE_BYTES = 64 * 1024;
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
/** Between the messages of a stream its sender may wait as long as it likes: the client, and we where we send one. */
export interface StreamForm {
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  /** It may stay open for ever with nothing to say. */
  readonly standing: boolean;
}

const UNARY: StreamForm = { requestStream: false, responseStream: false, standing: false };

type StreamHandler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

type Listener = (chunk?: Buffer) => void;

/** As grpc-js writes answers. */
type Write = (chunk: Buffer, done?: (error?: Error | null) => void) => boolean;

/** One call from its headers to the end of its stream. */
interface OpenCall {
  readonly stream: ServerHttp2Stream;
  readonly upload: Upload | null;
  readonly form: StreamForm;
  readonly openedAt: number;
  /** The client has sent all it will. */
  ended: boolean;
  /** Unsent bytes of the answer when they last changed, and that time. */
  unsent: number;
  movedAt: number;
}

export class StreamGuard {
  private readonly limits: GuardLimits;
  private readonly admission: Admission;
  /** The calls that are streams, by path. */
  private readonly streams: ReadonlyMap<string, StreamForm>;
  private readonly logger: ServerLogger;
  private readonly pool: UploadPool;
  /** In the order they were opened. */
  private readonly calls = new Set<OpenCall>();
  /** Those of them that stand. */
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
    try {
      this.checkHeaders(headers);
      // Not destroyed, so it has one.
      const session = stream.session as ServerHttp2Session;
      this.admission(headers, session);
      if (form.standing) this.standing.add(session, stream);
      else this.makeRoom();
    } catch (error) {
      if (!(error instanceof SutraError)) this.logger.error('a call was refused by a bug', error);
      const told = error instanceof SutraError ? error : unexpected();
      this.onRefused(path, told);
      refuse(stream, told);
      return;
    }
    // A stream's answers are small, and each waits for the one before to be taken (streams.ts).
    if (!form.responseStream) this.writeInPieces(stream);
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
    this.watch(stream, form, this.takeBody(stream, headers, path, added));
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

  /**
   * At the limit, the call that has been sending its request for longest makes room, or the one whose answer has not moved for
   * longest; honest ones take milliseconds for either.
   */
  private makeRoom(): void {
    const { maxCalls } = this.limits;
    if (this.calls.size - this.standing.count < maxCalls) return;
    const error = new SutraError('OVERLOADED', `${maxCalls} calls are open, and no more are taken`);
    let stuck: OpenCall | null = null;
    for (const call of this.calls) {
      if (call.form.standing) continue;
      if (!call.ended && !call.form.requestStream) {
        this.calls.delete(call);
        refuse(call.stream, error);
        return;
      }
      if (call.stream.writableLength > 0 && (stuck === null || call.movedAt < stuck.movedAt))
        stuck = call;
    }
    if (stuck === null) throw error;
    this.cut(stuck);
  }

  private watch(stream: ServerHttp2Stream, form: StreamForm, upload: Upload | null): void {
    const now = performance.now();
    const call: OpenCall = {
      stream,
      upload,
      form,
      openedAt: now,
      ended: false,
      unsent: 0,
      movedAt: now,
    };
    this.calls.add(call);
    stream.once('end', () => {
      call.ended = true;
    });
    stream.once('close', () => {
      call.upload?.close();
      this.calls.delete(call);
    });
  }

  /** Puts an Upload between the stream and the two listeners that grpc-js reads it with; null when it refused the call. */
  private takeBody(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    path: string,
    endListeners: readonly Listener[],
  ): Upload | null {
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
    stream.on('data', (chunk: Buffer) => upload.receive(chunk));
    stream.on('end', () => upload.end());
    return upload;
  }

  /**
   * One large write would be all there or all gone to whoever looks at its progress, and Node would join the pieces again
   * where a stream can take several at once.
   */
  private writeInPieces(stream: ServerHttp2Stream): void {
    const write = stream.write.bind(stream) as Write;
    const inPieces: Write = (chunk, done) => {
      let from = 0;
      if (chunk.length > PIECE_BYTES) {
        Reflect.set(stream, '_writev', null);
        for (; chunk.length - from > PIECE_BYTES; from += PIECE_BYTES) {
          write(chunk.subarray(from, from + PIECE_BYTES));
        }
      }
      const more = write(from === 0 ? chunk : chunk.subarray(from), done);
      this.unsentBytes += chunk.length;
      if (this.unsentBytes > this.limits.maxUnsentBytes) this.cutUnsent();
      return more;
    };
    Reflect.set(stream, 'write', inPieces);
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
    for (const call of this.calls) {
      const { stream } = call;
      // Answered, but the client goes on sending: it was told to stop by the answer itself.
      if (stream.writableFinished && !stream.closed) stream.close(NGHTTP2_NO_ERROR);
      else if (this.isLate(call, now)) {
        const seconds = Math.round((now - (call.upload?.since ?? call.openedAt)) / 1000);
        refuse(
          stream,
          new SutraError('DEADLINE_EXCEEDED', `the request did not come within ${seconds} s`, {
            hint: 'Send less at once, or over a faster connection.',
          }),
        );
      } else if (this.isStuck(call, now)) this.cut(call);
    }
    // For the answers of streams, which are not counted as they are written.
    this.cutUnsent();
    if (this.cutCalls > 0) {
      this.logger.warn(`${this.cutCalls} calls cut off: their answers were not taken`);
      this.cutCalls = 0;
    }
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
    const unsent = call.stream.writableLength;
    if (unsent === 0 || unsent !== call.unsent) {
      call.unsent = unsent;
      call.movedAt = now;
      return false;
    }
    return !call.form.responseStream && now - call.movedAt > this.limits.stallMs;
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

function unexpected(): SutraError {
  return new SutraError('INTERNAL', 'the call could not be taken; the server’s log says more');
}
