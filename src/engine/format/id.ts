/**
 * Ids and keys. A concept id is a non-empty UTF-8 string of at most 512 bytes; inside, it is a 128-bit key held as four
 * uint32 words, most significant first: 32 hex digits are the key itself, 16 hex digits its first half (the rest zero),
 * anything else hashes to the MD5 of its UTF-8 bytes and keeps its text as the concept's name (interface.md, "Ids").
 */

import { createHash } from 'node:crypto';

export const MAX_ID_BYTES = 512;

/** A parsed id; one instance is reused across a batch, so copy what must last. */
export class ParsedId {
  k0 = 0;
  k1 = 0;
  k2 = 0;
  k3 = 0;
  /** UTF-8 bytes of the name in `nameBytes[0..nameLength)`; 0 when the id is hex digits. */
  nameLength = 0;
  readonly nameBytes = Buffer.allocUnsafe(MAX_ID_BYTES);

  /** The name's bytes (a view), or null for a hex id. */
  get name(): Uint8Array | null {
    return this.nameLength === 0 ? null : this.nameBytes.subarray(0, this.nameLength);
  }
}

/** Value of a hex digit by its char code below 128; 255 for what is none. */
const HEX_VALUES = Uint8Array.from({ length: 128 }, (_, code) => {
  const value = '0123456789abcdef'.indexOf(String.fromCharCode(code).toLowerCase());
  return value < 0 ? 255 : value;
});

/** Eight hex digits from `at` as a uint32, or -1. */
function hexWord(id: string, at: number): number {
  let word = 0;
  // Digits are 0-15 below code 128, so one look at the end tells whether all eight were digits.
  let values = 0;
  let codes = 0;
  for (let i = at; i < at + 8; i++) {
    const code = id.charCodeAt(i);
    const value = HEX_VALUES[code & 127]!;
    codes |= code;
    values |= value;
    word = (word << 4) | value;
  }
  return codes > 127 || values > 15 ? -1 : word >>> 0;
}

/** What is wrong with an id, in words with got and expected; null when it is fine. */
export function idProblem(id: unknown): string | null {
  if (typeof id !== 'string') return `got ${typeof id}, expected a string`;
  if (id.length === 0) return 'got an empty id, expected 1 to 512 bytes of UTF-8';
  // A UTF-16 unit is at most 3 bytes of UTF-8, so short strings need no count.
  if (id.length > MAX_ID_BYTES / 3) {
    const bytes = Buffer.byteLength(id, 'utf8');
    if (bytes > MAX_ID_BYTES) return `got ${bytes} bytes, expected at most ${MAX_ID_BYTES}`;
  }
  if (!id.isWellFormed()) return 'got a lone surrogate, expected valid UTF-8';
  return null;
}

/** Parses an id that `idProblem` accepts into `out`. */
export function parseId(id: string, out: ParsedId): void {
  const length = id.length;
  if (length === 32 || length === 16) {
    const k0 = hexWord(id, 0);
    const k1 = k0 < 0 ? -1 : hexWord(id, 8);
    if (k1 >= 0) {
      const k2 = length === 16 ? 0 : hexWord(id, 16);
      const k3 = length === 16 || k2 < 0 ? Math.min(k2, 0) : hexWord(id, 24);
      if (k2 >= 0 && k3 >= 0) {
        out.k0 = k0;
        out.k1 = k1;
        out.k2 = k2;
        out.k3 = k3;
        out.nameLength = 0;
        return;
      }
    }
  }
  out.nameLength = out.nameBytes.write(id, 0, 'utf8');
  const digest = createHash('md5').update(out.nameBytes.subarray(0, out.nameLength)).digest();
  out.k0 = digest.readUInt32BE(0);
  out.k1 = digest.readUInt32BE(4);
  out.k2 = digest.readUInt32BE(8);
  out.k3 = digest.readUInt32BE(12);
}

/** Char codes of the hex digits. */
const DIGITS = Uint8Array.from('0123456789abcdef', (digit) => digit.charCodeAt(0));

/**
 * A key without a name as its id: 16 hex digits when the second half is zero, else 32, lower case. One call with a code for
 * each digit makes a flat string in 70 ns; concatenating digits makes a rope of sixteen in 160 (Node 20).
 */
export function keyToId(k0: number, k1: number, k2: number, k3: number): string {
  const D = DIGITS;
  if (k2 === 0 && k3 === 0) {
    return String.fromCharCode(
      D[(k0 >>> 28) & 15]!,
      D[(k0 >>> 24) & 15]!,
      D[(k0 >>> 20) & 15]!,
      D[(k0 >>> 16) & 15]!,
      D[(k0 >>> 12) & 15]!,
      D[(k0 >>> 8) & 15]!,
      D[(k0 >>> 4) & 15]!,
      D[(k0 >>> 0) & 15]!,
      D[(k1 >>> 28) & 15]!,
      D[(k1 >>> 24) & 15]!,
      D[(k1 >>> 20) & 15]!,
      D[(k1 >>> 16) & 15]!,
      D[(k1 >>> 12) & 15]!,
      D[(k1 >>> 8) & 15]!,
      D[(k1 >>> 4) & 15]!,
      D[(k1 >>> 0) & 15]!,
    );
  }
  return String.fromCharCode(
    D[(k0 >>> 28) & 15]!,
    D[(k0 >>> 24) & 15]!,
    D[(k0 >>> 20) & 15]!,
    D[(k0 >>> 16) & 15]!,
    D[(k0 >>> 12) & 15]!,
    D[(k0 >>> 8) & 15]!,
    D[(k0 >>> 4) & 15]!,
    D[(k0 >>> 0) & 15]!,
    D[(k1 >>> 28) & 15]!,
    D[(k1 >>> 24) & 15]!,
    D[(k1 >>> 20) & 15]!,
    D[(k1 >>> 16) & 15]!,
    D[(k1 >>> 12) & 15]!,
    D[(k1 >>> 8) & 15]!,
    D[(k1 >>> 4) & 15]!,
    D[(k1 >>> 0) & 15]!,
    D[(k2 >>> 28) & 15]!,
    D[(k2 >>> 24) & 15]!,
    D[(k2 >>> 20) & 15]!,
    D[(k2 >>> 16) & 15]!,
    D[(k2 >>> 12) & 15]!,
    D[(k2 >>> 8) & 15]!,
    D[(k2 >>> 4) & 15]!,
    D[(k2 >>> 0) & 15]!,
    D[(k3 >>> 28) & 15]!,
    D[(k3 >>> 24) & 15]!,
    D[(k3 >>> 20) & 15]!,
    D[(k3 >>> 16) & 15]!,
    D[(k3 >>> 12) & 15]!,
    D[(k3 >>> 8) & 15]!,
    D[(k3 >>> 4) & 15]!,
    D[(k3 >>> 0) & 15]!,
  );
}

/** Spreads a key over 32 bits; clients choose hex keys, so low words alone may all be equal. murmur3's finalizer. */
export function hashKey(k0: number, k1: number, k2: number, k3: number): number {
  let h = Math.imul(k0, 0x9e3779b1) ^ k1;
  h = Math.imul((h << 13) | (h >>> 19), 0x85ebca6b) ^ k2;
  h = Math.imul((h << 13) | (h >>> 19), 0xc2b2ae35) ^ k3;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A word of a key as it is to be in memory for its bytes to be in the order of the id's digits, or back; an int32. */
export function swapBytes(word: number): number {
  return (word >>> 24) | ((word >>> 8) & 0xff00) | ((word << 8) & 0xff0000) | (word << 24);
}
