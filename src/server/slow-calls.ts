/**
 * Calls that took long, in the log: which, how long, from where, and the sizes of what was asked, never the text of it. At
 * most so many lines a second, because under overload every call is slow, and the log must not make it worse.
 */

import { status } from '@grpc/grpc-js';
import type { LogFields, ServerLogger } from './logger.js';

const LINES_A_SECOND = 10;

/** The part of grpc-js's server call that this needs. */
interface SlowCall {
  readonly request: unknown;
  getPeer(): string;
}

export class SlowCalls {
  /** Calls that take so long are slow; Infinity: none is. */
  readonly limitMs: number;
  private second = 0;
  private lines = 0;
  private unsaid = 0;

  /** limitMs 0: no call is slow. */
  constructor(
    limitMs: number,
    private readonly logger: ServerLogger,
    private readonly nowMs: () => number = () => performance.now(),
  ) {
    this.limitMs = limitMs > 0 ? limitMs : Infinity;
  }

  note(method: string, code: number, ms: number, call: SlowCall): void {
    const second = Math.floor(this.nowMs() / 1000);
    if (second !== this.second) {
      this.second = second;
      this.lines = 0;
    }
    if (this.lines >= LINES_A_SECOND) {
      this.unsaid++;
      return;
    }
    this.lines++;
    if (this.unsaid > 0) {
      this.logger.warn(`${this.unsaid} more slow calls were not logged`, {
        event: 'slow_calls',
        count: this.unsaid,
      });
      this.unsaid = 0;
    }
    const sizes = sizesOf(call.request);
    const shown = Object.entries(sizes).map(([name, size]) => `${name}=${size}`);
    const name = status[code] ?? String(code);
    const duration = Math.round(ms);
    this.logger.warn(`slow call: ${[method, name, `${duration} ms`, ...shown].join(' ')}`, {
      event: 'slow_call',
      method,
      code: name,
      duration_ms: duration,
      peer: call.getPeer(),
      ...sizes,
    });
  }
}

/** Of texts the bytes, of lists the items, and numbers as they are; nothing that a client wrote. */
function sizesOf(request: unknown): LogFields {
  const sizes: Record<string, number> = {};
  if (typeof request !== 'object' || request === null) return sizes;
  for (const [key, value] of Object.entries(request) as [string, unknown][]) {
    const name = key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    if (typeof value === 'string') sizes[`${name}_bytes`] = Buffer.byteLength(value);
    else if (typeof value === 'number') sizes[name] = value;
    else if (Array.isArray(value) || value instanceof Float32Array) {
      sizes[`${name}_count`] = value.length;
    }
  }
  return sizes;
}
