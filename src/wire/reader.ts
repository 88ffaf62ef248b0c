/**
 * A strict reader of protobuf's wire format (https://protobuf.dev/programming-guides/encoding/), for bytes that anyone may
 * have sent. It differs from a general one where a server must not be lenient: strings must be UTF-8, a known field must
 * have its own wire type, a nested message cannot read past its end, groups are refused instead of followed, and every
 * failure names the field. Nothing is allocated from a length before that many bytes are known to be there.
 *
 * Invariant: start <= pos <= end <= buffer.length; `end` is that of the innermost open message.
 */

import { isUtf8 } from 'node:buffer';
import type { FieldViolation } from '../errors.js';

/** Beyond so many violations a request is not read on. */
export const MAX_VIOLATIONS = 100;

/** Types are 0-65535, so a longer list can only repeat itself. */
export const MAX_TYPES = 65_536;

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

/** The bytes are not a message of this shape. Never leaves this room: decoding turns it into a DecodeFailure. */
export class WireError extends Error {
  readonly field: string;

  constructor(field: string, description: string) {
    super(description);
    this.name = 'WireError';
    this.field = field;
  }
}

export class WireReader {
  /** What is wrong with values that could be read over: invalid UTF-8, unknown enum values. */
  readonly violations: FieldViolation[] = [];
  private readonly buffer: Buffer;
  private pos = 0;
  private end: number;
  private wire = 0;
  /** Name and index of the repeated message that is being read, for violations. */
  private scope = '';
  private index = 0;

  constructor(buffer: Buffer) {
    this.buffer = buffer;
    this.end = buffer.length;
  }

  /** The next field's number, or 0 at the end of the message. */
  next(): number {
    if (this.pos === this.end) return 0;
    const tag = this.varint('');
    const field = tag >>> 3;
    if (field === 0) throw this.error('', 'got field number 0, expected protobuf');
    this.wire = tag & 7;
    return field;
  }

  /** Skips a field that this version does not know. */
  skip(): void {
    switch (this.wire) {
      case VARINT:
        this.varint('');
        return;
      case FIXED64:
        this.take('', 8);
        return;
      case LENGTH_DELIMITED:
        this.take('', this.varint(''));
        return;
      case FIXED32:
        this.take('', 4);
        return;
      default:
        throw this.error('', `got wire type ${this.wire}, expected 0, 1, 2 or 5`);
    }
  }

  string(name: string): string {
    const length = this.length(name);
    const start = this.take(name, length);
    const text = this.buffer.toString('utf8', start, start + length);
    // Decoding replaces what is not UTF-8 by U+FFFD; only then is it worth looking whether the sender meant that.
    if (text.includes('\uFFFD') && !isUtf8(this.buffer.subarray(start, start + length))) {
      this.problem(name, 'got bytes that are not UTF-8, expected valid UTF-8');
    }
    return text;
  }

  uint32(name: string): number {
    this.expect(name, VARINT);
    return this.varint(name);
  }

  bool(name: string): boolean {
    return this.uint64(name) !== 0;
  }

  /** Exact below 2^53. */
  uint64(name: string): number {
    this.expect(name, VARINT);
    return this.varint64(name);
  }

  float(name: string): number {
    this.expect(name, FIXED32);
    return this.buffer.readFloatLE(this.take(name, 4));
  }

  double(name: string): number {
    this.expect(name, FIXED64);
    return this.buffer.readDoubleLE(this.take(name, 8));
  }

  bytes(name: string): Buffer {
    const length = this.length(name);
    const start = this.take(name, length);
    return this.buffer.subarray(start, start + length);
  }

  /** One of `names` by its number. */
  enumeration<T extends string>(name: string, names: readonly [T, ...T[]]): T {
    const value = this.uint32(name);
    const known = names[value];
    if (known !== undefined) return known;
    this.problem(name, `got ${value}, expected 0 to ${names.length - 1}`);
    return names[0];
  }

  /** A repeated float, packed or not, in any mixture; `floats` collects over all its occurrences. */
  floats(name: string, floats: FloatSink): void {
    if (this.wire === FIXED32) {
      floats.push(this.float(name));
      return;
    }
    const length = this.length(name);
    if (length % 4 !== 0) {
      throw this.error(name, `got ${length} packed bytes, expected a multiple of 4`);
    }
    const start = this.take(name, length);
    floats.append(this.buffer, start, length);
  }

  /** A repeated uint32, packed or not. */
  uint32s(name: string, values: number[]): void {
    if (this.wire === VARINT) {
      values.push(this.varint(name));
    } else {
      const outer = this.open(name);
      while (this.pos < this.end && values.length <= MAX_TYPES) values.push(this.varint(name));
      this.pos = this.end;
      this.close(outer);
    }
    if (values.length > MAX_TYPES) {
      throw this.error(name, `got more than ${MAX_TYPES} values, expected at most ${MAX_TYPES}`);
    }
  }

  /** A repeated uint64, packed or not; refused when there are more than `limit`. */
  uint64s(name: string, values: number[], limit: number): void {
    if (this.wire === VARINT) {
      values.push(this.varint64(name));
    } else {
      const outer = this.open(name);
      while (this.pos < this.end && values.length <= limit) values.push(this.varint64(name));
      this.pos = this.end;
      this.close(outer);
    }
    if (values.length > limit) {
      throw this.error(name, `got more than ${limit} values, expected at most ${limit}`);
    }
  }

  /** Opens a nested message; give what it returns to `close` once `next` has returned 0. */
  open(name: string): number {
    const length = this.length(name);
    const outer = this.end;
    const start = this.take(name, length);
    this.pos = start;
    this.end = start + length;
    return outer;
  }

  close(outer: number): void {
    this.end = outer;
  }

  /** Names the element that is being read, `concepts[3].`; '' ends it. */
  within(scope: string, index: number): void {
    this.scope = scope;
    this.index = index;
  }

  problem(name: string, description: string): void {
    if (this.violations.length >= MAX_VIOLATIONS) throw this.error(name, description);
    this.violations.push({ field: this.path(name), description });
  }

  /** For a caller to throw: what is read on is worth nothing. */
  refusal(name: string, description: string): WireError {
    return this.error(name, description);
  }

  private error(name: string, description: string): WireError {
    return new WireError(this.path(name), description);
  }

  /** name '': the message itself. */
  private path(name: string): string {
    if (this.scope === '') return name === '' ? 'request' : name;
    const element = `${this.scope}[${this.index}]`;
    return name === '' ? element : `${element}.${name}`;
  }

  private expect(name: string, wire: number): void {
    if (this.wire !== wire) {
      throw this.error(name, `got wire type ${this.wire}, expected ${wire}`);
    }
  }

  private length(name: string): number {
    this.expect(name, LENGTH_DELIMITED);
    return this.varint(name);
  }

  /** Moves over `length` bytes and returns where they start. */
  private take(name: string, length: number): number {
    const start = this.pos;
    if (length > this.end - start) {
      throw this.error(name, `got ${this.end - start} bytes, expected ${length}: cut short`);
    }
    this.pos = start + length;
    return start;
  }

  private byte(name: string): number {
    if (this.pos === this.end) throw this.error(name, 'got the end of the message within a number');
    return this.buffer[this.pos++] ?? 0;
  }

  /** The low 32 bits of a varint, as protobuf says for a 32-bit field. */
  private varint(name: string): number {
    let byte = this.byte(name);
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let shift = 7; shift < 35; shift += 7) {
      byte = this.byte(name);
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    this.varintTail(name, 5);
    return value >>> 0;
  }

  private varint64(name: string): number {
    let value = 0;
    let scale = 1;
    // 10 bytes hold 64 bits; scale stays a power of two, so the sum is exact below 2^53.
    for (let i = 0; i < 10; i++) {
      const byte = this.byte(name);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw this.error(name, 'got a number of more than 10 bytes');
  }

  /** The rest of a varint whose first `read` bytes all said that more follows. */
  private varintTail(name: string, read: number): void {
    for (let i = read; i < 10; i++) if (this.byte(name) < 0x80) return;
    throw this.error(name, 'got a number of more than 10 bytes');
  }
}

/** Collects a repeated float straight from wire bytes into a Float32Array, which grows by doubling. */
export class FloatSink {
  private values = new Float32Array(0);
  private count = 0;

  /** length is a multiple of 4. */
  append(source: Buffer, start: number, length: number): void {
    const added = length / 4;
    this.reserve(this.count + added);
    // Element bytes are little-endian on the wire and in memory (little-endian hosts only, as storage.dat).
    const target = new Uint8Array(this.values.buffer, this.count * 4, length);
    target.set(source.subarray(start, start + length));
    this.count += added;
  }

  push(value: number): void {
    this.reserve(this.count + 1);
    this.values[this.count++] = value;
  }

  finish(): Float32Array {
    return this.count === this.values.length ? this.values : this.values.slice(0, this.count);
  }

  private reserve(count: number): void {
    if (count <= this.values.length) return;
    // The first chunk is nearly always all of it: take exactly that.
    const size = this.count === 0 ? count : Math.max(count, this.values.length * 2, 16);
    const grown = new Float32Array(size);
    grown.set(this.values.subarray(0, this.count));
    this.values = grown;
  }
}
