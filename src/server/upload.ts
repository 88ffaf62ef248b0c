/**
 * One request body on its way in, between HTTP/2 and grpc-js. grpc-js keeps every DATA frame of an unfinished message as a
 * Buffer of its own over the socket's read buffer: 19 MiB of one-byte frames cost it 280 MiB. Here an unfinished
 * message is one buffer that grows with what arrived (never with what its header promises), and grpc-js gets whole
 * messages only. A compressed message is unpacked here too, a few at a time and up to the limit, so that no number of bombs
 * takes more memory than that.
 *
 * Framing: a flag byte (1: compressed), a 4-byte big-endian length, the message
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
 */

import type { ServerHttp2Stream } from 'node:http2';
import { gunzip, inflate, type ZlibOptions } from 'node:zlib';
import { SutraError, toSutraError } from '../errors.js';

const HEADER_BYTES = 5;
const FIRST_BUFFER_BYTES = 4_096;
/** Frames of a message that may be tiny, and how many bytes each further one must bring on average. */
const FREE_FRAMES = 1_000;
const MIN_MEAN_FRAME_BYTES = 32;
/** Messages unpacked at once, over all connections: each may take the limit twice, as parts and as a whole. */
const MAX_UNPACKING = 2;

export interface UploadLimits {
  /** Of one message, packed and unpacked. */
  readonly maxMessageBytes: number;
  /** Of all unfinished messages of all calls together. */
  readonly maxBufferedBytes: number;
}

/** What all uploads of a server share. */
export class UploadPool {
  readonly limits: UploadLimits;
  /** What the buffers of all unfinished messages hold room for. */
  bufferedBytes = 0;
  /** Those that hold any of it, longest first. */
  private readonly holders = new Set<Upload>();
  private unpacking = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(limits: UploadLimits) {
    this.limits = limits;
  }

  /** Takes room for an upload; where there is none left, the one that has been at it for longest goes. */
  take(upload: Upload, bytes: number): void {
    this.bufferedBytes += bytes;
    this.holders.add(upload);
    while (this.bufferedBytes > this.limits.maxBufferedBytes) {
      const [oldest] = this.holders;
      if (oldest === undefined) break;
      oldest.fail(
        new SutraError(
          'OVERLOADED',
          `unfinished requests hold ${this.bufferedBytes} bytes, expected at most ` +
            `${this.limits.maxBufferedBytes}; this one has been at it for longest`,
        ),
      );
    }
  }

  giveBack(upload: Upload, bytes: number): void {
    this.bufferedBytes -= bytes;
    this.holders.delete(upload);
  }

  /** Resolves to the unpacked message, or null when the upload was given up; rejects with a SutraError. */
  async unpack(upload: Upload, encoding: 'gzip' | 'deflate'): Promise<Buffer | null> {
    if (this.unpacking < MAX_UNPACKING) this.unpacking++;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    try {
      const { packed } = upload;
      if (packed === null) return null;
      const message = packed.subarray(HEADER_BYTES);
      return await unpacked(message, encoding, this.limits.maxMessageBytes);
    } finally {
      const next = this.waiting.shift();
      // The place is handed over, not given up and taken again.
      if (next === undefined) this.unpacking--;
      else next();
    }
  }
}

/** Where it goes. */
export interface UploadSink {
  /** Takes whole messages, with their headers. */
  message(chunk: Buffer): void;
  end(): void;
  /** Answers with an error, and closes the stream. */
  refuse(error: SutraError): void;
}

export class Upload {
  /** When the message that is unfinished now began; the call's own beginning before its first one. */
  since = performance.now();
  /** When the last whole message had come; the call's own beginning before that. */
  movedAt = this.since;
  /** A whole message that waits to be unpacked. */
  packed: Buffer | null = null;
  private readonly stream: ServerHttp2Stream;
  private readonly pool: UploadPool;
  private readonly encoding: string | undefined;
  private readonly sink: UploadSink;
  /** The unfinished message with its header, or null between messages. */
  private partial: Buffer | null = null;
  private filled = 0;
  private frames = 0;
  /** What arrived behind a message that is being unpacked. */
  private behind: Buffer[] | null = null;
  /** The client ended its side meanwhile. */
  private endBehind = false;
  private over = false;

  constructor(
    stream: ServerHttp2Stream,
    pool: UploadPool,
    encoding: string | undefined,
    sink: UploadSink,
  ) {
    this.stream = stream;
    this.pool = pool;
    this.encoding = encoding;
    this.sink = sink;
  }

  /** Bytes of the unfinished message so far. */
  get received(): number {
    return this.filled;
  }

  /** Whether a message has begun and not come whole. */
  get unfinished(): boolean {
    return this.partial !== null;
  }

  receive(chunk: Buffer): void {
    // Nobody reads on: the answer is given, or the stream is closed.
    if (this.over || this.stream.closed || this.stream.writableEnded) {
      this.close();
      return;
    }
    if (this.behind !== null) {
      this.behind.push(chunk);
      return;
    }
    let start = 0;
    if (this.partial === null) {
      // Whole messages pass as they came, however many there are.
      start = this.wholeMessages(chunk);
      if (start > 0) this.movedAt = performance.now();
      if (start === chunk.length) {
        this.sink.message(chunk);
        return;
      }
      if (start > 0) this.sink.message(chunk.subarray(0, start));
    }
    this.collect(chunk, start);
  }

  /** The client will send no more. */
  end(): void {
    if (this.behind === null) this.sink.end();
    else this.endBehind = true;
  }

  /** Lets go of everything. */
  close(): void {
    this.over = true;
    this.behind = null;
    this.release();
  }

  /** How far the chunk consists of whole, plain messages. */
  private wholeMessages(chunk: Buffer): number {
    let end = 0;
    while (chunk.length - end >= HEADER_BYTES && chunk[end] === 0) {
      const next = end + HEADER_BYTES + chunk.readUInt32BE(end + 1);
      if (next > chunk.length) break;
      end = next;
    }
    return end;
  }

  /** Adds what belongs to the unfinished message, and goes on behind it where the chunk does. */
  private collect(chunk: Buffer, from: number): void {
    let start = from;
    while (start < chunk.length && !this.isOver()) {
      if (this.partial === null) {
        this.since = performance.now();
        this.frames = 0;
      }
      this.frames++;
      if (this.filled < HEADER_BYTES) {
        const taken = Math.min(HEADER_BYTES - this.filled, chunk.length - start);
        this.append(chunk, start, start + taken);
        start += taken;
        if (this.isOver() || this.filled < HEADER_BYTES) return;
        if (!this.checkLength()) return;
      }
      const total = HEADER_BYTES + this.length();
      const end = start + Math.min(total - this.filled, chunk.length - start);
      this.append(chunk, start, end);
      start = end;
      if (this.isOver()) return;
      if (this.filled === total) {
        this.finish(chunk.subarray(start));
        if (this.behind !== null) return;
      } else if (
        this.frames > FREE_FRAMES &&
        this.filled < (this.frames - FREE_FRAMES) * MIN_MEAN_FRAME_BYTES
      ) {
        this.fail(
          new SutraError(
            'TOO_LARGE',
            `got ${this.frames} DATA frames for ${this.filled} bytes, expected ` +
              `${MIN_MEAN_FRAME_BYTES} bytes a frame or more`,
          ),
        );
      }
    }
  }

  private isUnpacking(): boolean {
    return this.behind !== null;
  }

  private isOver(): boolean {
    return this.over;
  }

  private length(): number {
    return this.partial?.readUInt32BE(1) ?? 0;
  }

  /** A message that is too long is refused from its header alone. */
  private checkLength(): boolean {
    const { maxMessageBytes } = this.pool.limits;
    if (this.length() <= maxMessageBytes) return true;
    this.fail(
      new SutraError(
        'TOO_LARGE',
        `got a message of ${this.length()} bytes, expected at most ${maxMessageBytes}`,
      ),
    );
    return false;
  }

  private append(chunk: Buffer, from: number, to: number): void {
    const needed = this.filled + to - from;
    if (this.partial === null || needed > this.partial.length) {
      // By doubling, but never beyond the message: what is held is at most twice what came.
      const whole = this.filled < HEADER_BYTES ? Infinity : HEADER_BYTES + this.length();
      const size = Math.min(whole, Math.max(needed, FIRST_BUFFER_BYTES, this.filled * 2));
      const grown = Buffer.allocUnsafeSlow(size);
      this.partial?.copy(grown, 0, 0, this.filled);
      const added = size - (this.partial?.length ?? 0);
      this.partial = grown;
      this.pool.take(this, added);
      // It may have been this one's turn to go.
      if (this.isOver()) return;
    }
    chunk.copy(this.partial, this.filled, from, to);
    this.filled = needed;
  }

  private finish(rest: Buffer): void {
    const message = this.partial?.subarray(0, this.filled);
    this.release();
    this.movedAt = performance.now();
    if (message === undefined) return;
    const { encoding } = this;
    // Unknown encodings are grpc-js's to refuse, which says which ones it knows.
    if (message[0] !== 1 || (encoding !== 'gzip' && encoding !== 'deflate')) {
      this.sink.message(message);
      return;
    }
    // What has come already may still be emitted, and so may 'end'.
    this.stream.pause();
    this.behind = rest.length === 0 ? [] : [rest];
    this.packed = message;
    this.pool.take(this, message.length);
    void this.pool.unpack(this, encoding).then(
      (plain) => {
        this.release();
        if (plain !== null) this.resume(plain);
      },
      (error: unknown) => this.fail(toSutraError(error)),
    );
  }

  /** Hands on what was unpacked, then what came behind it. */
  private resume(plain: Buffer): void {
    const behind = this.behind ?? [];
    this.behind = null;
    if (this.over || this.stream.closed) return;
    this.stream.resume();
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32BE(plain.length, 1);
    this.sink.message(header);
    if (plain.length > 0) this.sink.message(plain);
    for (const chunk of behind) this.receive(chunk);
    // Not when the next message is being unpacked by now.
    if (this.endBehind && !this.isUnpacking()) this.sink.end();
  }

  /** Gives the upload up, and tells the client why. */
  fail(error: SutraError): void {
    if (this.over) return;
    this.close();
    this.sink.refuse(error);
  }

  private release(): void {
    const held = (this.partial?.length ?? 0) + (this.packed?.length ?? 0);
    if (held > 0) this.pool.giveBack(this, held);
    this.partial = null;
    this.packed = null;
    this.filled = 0;
  }
}

function unpacked(packed: Buffer, encoding: 'gzip' | 'deflate', limit: number): Promise<Buffer> {
  const options: ZlibOptions = { maxOutputLength: limit, chunkSize: 64 * 1024 };
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, plain: Buffer): void => {
      // The promise's types say null; at run time it is undefined, too.
      if (!(error instanceof Error)) resolve(plain);
      else reject(unpackError(error, limit));
    };
    if (encoding === 'gzip') gunzip(packed, options, done);
    else inflate(packed, options, done);
  });
}

function unpackError(error: Error, limit: number): SutraError {
  if ('code' in error && error.code === 'ERR_BUFFER_TOO_LARGE') {
    return new SutraError(
      'TOO_LARGE',
      `got a message that unpacks to more than ${limit} bytes, expected at most ${limit}`,
    );
  }
  return new SutraError(
    'INVALID_ARGUMENT',
    `got a compressed message that cannot be unpacked: ${error.message}`,
    { cause: error },
  );
}
