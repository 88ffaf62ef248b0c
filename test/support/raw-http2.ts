/**
 * HTTP/2 by hand over one socket, for what no client library would send. Enough of RFC 9113 and HPACK (RFC 7541) to open
 * streams and to count what comes back; header blocks are literals without indexing, answers are not decoded.
 */

import { connect, type Socket } from 'node:net';

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;

/** Of the settings. */
const INITIAL_WINDOW_SIZE = 4;

export function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

export const SETTINGS = frame(FRAME.SETTINGS, 0, 0, Buffer.alloc(0));

/** A literal header field without indexing; HPACK's integers have a 7-bit prefix here. */
function field(name: string, value: string): Buffer {
  const length = (text: string): Buffer => {
    const bytes = Buffer.byteLength(text);
    if (bytes < 127) return Buffer.from([bytes]);
    const out = [127];
    let rest = bytes - 127;
    for (; rest >= 128; rest >>>= 7) out.push((rest & 127) | 128);
    return Buffer.from([...out, rest]);
  };
  return Buffer.concat([
    Buffer.from([0]),
    length(name),
    Buffer.from(name),
    length(value),
    Buffer.from(value),
  ]);
}

export function headerBlock(path: string, more: Readonly<Record<string, string>> = {}): Buffer {
  return Buffer.concat([
    field(':method', 'POST'),
    field(':scheme', 'http'),
    field(':path', path),
    field(':authority', 'sutra'),
    field('content-type', 'application/grpc'),
    field('te', 'trailers'),
    ...Object.entries(more).map(([name, value]) => field(name, value)),
  ]);
}

export function headers(
  stream: number,
  path: string,
  more: Readonly<Record<string, string>> = {},
): Buffer {
  return frame(FRAME.HEADERS, END_HEADERS, stream, headerBlock(path, more));
}

export function reset(stream: number): Buffer {
  return frame(FRAME.RST_STREAM, 0, stream, Buffer.from([0, 0, 0, 8]));
}

/** A gRPC message header: not compressed, of this length. */
export function messageHeader(length: number): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(length, 1);
  return header;
}

/** One connection. It answers SETTINGS and PING as it must, gives the flow-control windows back, and counts what comes. */
export class RawConnection {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  /** By frame type. */
  readonly counts = new Map<number, number>();
  bytesSent = 0;
  /** What the connection's flow control lets us send as DATA. */
  window = 65_535;
  /** The same of a stream at its start, and what its own has had since: below 0 for what was sent. */
  private firstWindow = 65_535;
  private readonly windows = new Map<number, number>();
  /** Whether PING is answered; a stopped client does not. */
  answering = true;
  private pending: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => this.receive(bytes));
  }

  static open(port: number, host = '127.0.0.1'): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, host);
      socket.setNoDelay(true);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        const connection = new RawConnection(socket);
        connection.write(PREFACE, SETTINGS);
        resolve(connection);
      });
    });
  }

  write(...parts: Buffer[]): boolean {
    if (this.socket.destroyed) return false;
    const bytes = Buffer.concat(parts);
    this.bytesSent += bytes.length;
    return this.socket.write(bytes);
  }

  /** Bytes of DATA that may be sent on this stream; `sendData` keeps account of what was. */
  room(stream: number): number {
    return Math.min(this.window, this.firstWindow + (this.windows.get(stream) ?? 0));
  }

  sendData(stream: number, flags: number, payload: Buffer): void {
    this.window -= payload.length;
    this.widen(stream, -payload.length);
    this.write(frame(FRAME.DATA, flags, stream, payload));
  }

  /** Resolves when the socket takes more, or has gone. */
  async drained(): Promise<void> {
    // Others in this process have their turn.
    await new Promise((resolve) => setImmediate(resolve));
    if (this.socket.destroyed || !this.socket.writableNeedDrain) return;
    await Promise.race([
      new Promise<void>((resolve) => this.socket.once('drain', () => resolve())),
      this.closed,
    ]);
  }

  count(type: number): number {
    return this.counts.get(type) ?? 0;
  }

  destroy(): void {
    this.socket.destroy();
  }

  private receive(bytes: Buffer): void {
    this.pending = this.pending.length === 0 ? bytes : Buffer.concat([this.pending, bytes]);
    let start = 0;
    while (this.pending.length - start >= 9) {
      const length = this.pending.readUIntBE(start, 3);
      if (this.pending.length - start < 9 + length) break;
      const type = this.pending.readUInt8(start + 3);
      const flags = this.pending.readUInt8(start + 4);
      this.counts.set(type, this.count(type) + 1);
      if (type === FRAME.WINDOW_UPDATE) {
        this.widen(this.pending.readUInt32BE(start + 5), this.pending.readUInt32BE(start + 9));
      }
      if (type === FRAME.SETTINGS)
        this.readSettings(this.pending.subarray(start + 9, start + 9 + length));
      if (this.answering && (flags & ACK) === 0) {
        if (type === FRAME.SETTINGS) this.write(frame(FRAME.SETTINGS, ACK, 0, Buffer.alloc(0)));
        if (type === FRAME.PING) {
          this.write(frame(FRAME.PING, ACK, 0, this.pending.subarray(start + 9, start + 17)));
        }
      }
      start += 9 + length;
    }
    this.pending = this.pending.subarray(start);
  }

  private widen(stream: number, bytes: number): void {
    if (stream === 0) this.window += bytes;
    else this.windows.set(stream, (this.windows.get(stream) ?? 0) + bytes);
  }

  private readSettings(payload: Buffer): void {
    for (let at = 0; at < payload.length; at += 6) {
      if (payload.readUInt16BE(at) === INITIAL_WINDOW_SIZE) {
        this.firstWindow = payload.readUInt32BE(at + 2);
      }
    }
  }
}
