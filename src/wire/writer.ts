/**
 * Writing protobuf fields, on protobufjs's Writer primitives. Fields with implicit presence are left out at their default,
 * as proto3 does; -0 is not the default and is written. Embeddings go out as one block of bytes.
 */

import protobuf from 'protobufjs/minimal.js';

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

export class WireWriter {
  private readonly writer = protobuf.Writer.create();

  string(field: number, value: string): void {
    if (value !== '') this.element(field, value);
  }

  /** A string of a repeated field: written even when it is empty. */
  element(field: number, value: string): void {
    this.writer.uint32((field << 3) | LENGTH_DELIMITED).string(value);
  }

  bytes(field: number, value: Uint8Array): void {
    if (value.length > 0) this.writer.uint32((field << 3) | LENGTH_DELIMITED).bytes(value);
  }

  uint32(field: number, value: number): void {
    if (value !== 0) this.presentUint32(field, value);
  }

  /** A field with explicit presence. */
  presentUint32(field: number, value: number): void {
    this.writer.uint32((field << 3) | VARINT).uint32(value);
  }

  uint64(field: number, value: number): void {
    if (value !== 0) this.presentUint64(field, value);
  }

  /** A field with explicit presence. */
  presentUint64(field: number, value: number): void {
    this.writer.uint32((field << 3) | VARINT).uint64(value);
  }

  bool(field: number, value: boolean): void {
    if (value) this.writer.uint32((field << 3) | VARINT).bool(true);
  }

  float(field: number, value: number): void {
    if (!Object.is(value, 0)) this.presentFloat(field, value);
  }

  /** A field with explicit presence. */
  presentFloat(field: number, value: number): void {
    this.writer.uint32((field << 3) | FIXED32).float(value);
  }

  double(field: number, value: number): void {
    if (!Object.is(value, 0)) this.writer.uint32((field << 3) | FIXED64).double(value);
  }

  floats(field: number, values: Float32Array | readonly number[]): void {
    if (values.length === 0) return;
    const floats = values instanceof Float32Array ? values : Float32Array.from(values);
    this.bytes(field, new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength));
  }

  uint32s(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    this.open(field);
    for (const value of values) this.writer.uint32(value);
    this.close();
  }

  uint64s(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    this.open(field);
    for (const value of values) this.writer.uint64(value);
    this.close();
  }

  open(field: number): void {
    this.writer.uint32((field << 3) | LENGTH_DELIMITED).fork();
  }

  close(): void {
    this.writer.ldelim();
  }

  finish(): Buffer {
    const bytes = this.writer.finish();
    return Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
}
