/**
 * An embedding as people have it in files: a JSON array of numbers, a NumPy array (.npy, versions 1 to 3, little-endian f2,
 * f4 or f8, of shape (n,) or (1, n)), or bare float32 numbers, little-endian, one behind the other. What it is shows in
 * the bytes, so that a pipe does as well as a file: .npy begins with its magic, JSON is text, and all else is float32.
 * Bytes are checked before they are believed, and every refusal names the file, what was got and what was expected.
 *
 * Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */

import { isUtf8 } from 'node:buffer';
import { SutraError } from '../errors.js';
import { readInput } from './input.js';

const MAX_DIMENSION = 4_096;
/** \x93NUMPY */
const NPY_MAGIC = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]);
/** A header is 128 bytes or so; records with many fields have longer ones, and are not embeddings. */
const MAX_NPY_HEADER = 64 * 1024;

type Refuse = (message: string) => SutraError;

/** An embedding from a file, or from standard input for `-`. @throws INVALID_ARGUMENT, NOT_PERMITTED */
export async function readEmbedding(path: string): Promise<Float32Array> {
  const what = path === '-' ? '--embedding -' : `--embedding ${path}`;
  const bytes = await readInput(path, what);
  const refuse = (message: string): SutraError =>
    new SutraError('INVALID_ARGUMENT', `${what}: ${message}`, {
      hint: 'Give a JSON array of numbers such as [0.1, -0.2, 0.3], a .npy file, or raw float32.',
    });
  return parseEmbedding(bytes, refuse);
}

/** `refuse` makes the error of what is wrong with the bytes. */
export function parseEmbedding(bytes: Buffer, refuse: Refuse): Float32Array {
  if (bytes.length === 0) throw refuse('got nothing, expected an embedding');
  const values = isNpy(bytes)
    ? parseNpy(bytes, refuse)
    : isText(bytes)
      ? parseJson(bytes, refuse)
      : parseRaw(bytes, refuse);
  let squares = 0;
  values.forEach((value, index) => {
    if (!Number.isFinite(value)) {
      throw refuse(`number ${index} is ${value}, expected one that fits a float32`);
    }
    squares += value * value;
  });
  if (squares === 0) throw refuse('got a vector of zero norm, expected one that has a direction');
  return values;
}

function checkLength(length: number, refuse: Refuse): void {
  if (length >= 1 && length <= MAX_DIMENSION) return;
  throw refuse(`got ${length} numbers, expected 1 to ${MAX_DIMENSION}`);
}

function isNpy(bytes: Buffer): boolean {
  return bytes.subarray(0, NPY_MAGIC.length).equals(NPY_MAGIC);
}

/** Numbers in float32 nearly always hold control characters or bytes that are no UTF-8; JSON never does. */
function isText(bytes: Buffer): boolean {
  for (const byte of bytes) {
    if (byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) return false;
  }
  return isUtf8(bytes);
}

function parseJson(bytes: Buffer, refuse: Refuse): Float32Array {
  let parsed: unknown;
  try {
    parsed = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw refuse(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!Array.isArray(parsed)) throw refuse('expected a JSON array of numbers');
  checkLength(parsed.length, refuse);
  return Float32Array.from(parsed, (value: unknown, index) => {
    if (typeof value === 'number' && Number.isFinite(Math.fround(value))) return value;
    throw refuse(`number ${index} is ${JSON.stringify(value)}, expected one that fits a float32`);
  });
}

function parseRaw(bytes: Buffer, refuse: Refuse): Float32Array {
  if (bytes.length % 4 !== 0) {
    throw refuse(
      `got ${bytes.length} bytes that are neither JSON nor .npy, expected float32: a multiple of 4`,
    );
  }
  checkLength(bytes.length / 4, refuse);
  return floats(bytes, 4);
}

function parseNpy(bytes: Buffer, refuse: Refuse): Float32Array {
  const version = bytes[6] ?? 0;
  // Version 1 counts the header's bytes in 16 bits, later ones in 32.
  const start = version === 1 ? 10 : 12;
  if (version < 1 || version > 3) {
    throw refuse(`got .npy version ${version}, expected 1, 2 or 3`);
  }
  if (bytes.length < start) throw refuse('got a .npy file that ends within its header');
  const length = version === 1 ? bytes.readUInt16LE(8) : bytes.readUInt32LE(8);
  const end = start + length;
  if (length > MAX_NPY_HEADER || end > bytes.length) {
    throw refuse(
      `got a .npy header of ${length} bytes in a file of ${bytes.length}, expected a whole one`,
    );
  }
  const header = bytes.toString('latin1', start, end);
  const type = /['"]descr['"]\s*:\s*['"]([^'"]*)['"]/.exec(header)?.[1];
  const size = type === '<f2' ? 2 : type === '<f4' ? 4 : type === '<f8' ? 8 : 0;
  if (size === 0) {
    throw refuse(`got .npy numbers of type ${type ?? '(a record)'}, expected <f4, <f8 or <f2`);
  }
  const shape = /['"]shape['"]\s*:\s*\(([\d\s,L]*)\)/.exec(header)?.[1];
  const sides = (shape ?? '')
    .split(',')
    .map((side) => side.trim().replace(/L$/, ''))
    .filter((side) => side !== '')
    .map(Number);
  const count = sides.length === 2 && sides[0] === 1 ? sides[1] : sides[0];
  if (count === undefined || sides.length > (sides[0] === 1 ? 2 : 1)) {
    throw refuse(`got a .npy array of shape (${shape ?? '?'}), expected (n,) or (1, n)`);
  }
  checkLength(count, refuse);
  if (bytes.length - end !== count * size) {
    throw refuse(
      `got ${bytes.length - end} bytes of numbers, expected ${count * size} for ${count} of ${type}`,
    );
  }
  return floats(bytes.subarray(end), size);
}

/** Little-endian floats of so many bytes each. One of 8 that is beyond float32 becomes infinite, and is refused as such. */
function floats(bytes: Buffer, size: 2 | 4 | 8): Float32Array {
  const values = new Float32Array(bytes.length / size);
  for (let i = 0; i < values.length; i++) {
    values[i] =
      size === 4
        ? bytes.readFloatLE(i * 4)
        : size === 8
          ? bytes.readDoubleLE(i * 8)
          : half(bytes.readUInt16LE(i * 2));
  }
  return values;
}

/** IEEE 754 binary16: a sign, 5 bits of exponent, 10 of fraction. */
function half(bits: number): number {
  const sign = (bits & 0x8000) === 0 ? 1 : -1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
