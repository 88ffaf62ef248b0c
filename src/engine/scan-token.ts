/**
 * Where an interrupted scan goes on, as text for its reader to keep: which state (store, sequence, digest, slot count), which
 * kinds, and which slot and association come next. 60 bytes, little-endian, in base64url:
 *
 *   0 version, 1 kinds, 2 phase, 3 zero, 4 uuid (16), 20 sequence (f64), 28 digest (16), 44 slot count, 48 slot,
 *   52 association within the slot's row, 56 CRC-32 of what stands before it
 *
 * It comes back from outside, so everything in it is checked; a good checksum only says that it was not mistyped.
 */

import { crc32 } from './format/crc32.js';

export const SCAN_CONCEPTS = 1;
export const SCAN_ASSOCIATIONS = 2;

const VERSION = 1;
const BYTES = 60;

/** Tells one state of one store from every other. */
export interface ScanIdentity {
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  readonly sequence: number;
  /** 32 hex digits. */
  readonly digest: string;
  /** An offline compaction changes no digest, but slots. */
  readonly slotCount: number;
}

export interface ScanPosition {
  /** SCAN_CONCEPTS, SCAN_ASSOCIATIONS or both. */
  readonly kinds: number;
  /** Which of the two comes next. */
  readonly phase: number;
  readonly slot: number;
  /** Associations of the slot that are done. */
  readonly edge: number;
}

export interface ScanToken extends ScanPosition {
  readonly of: ScanIdentity;
}

export function encodeScanToken(of: ScanIdentity, position: ScanPosition): string {
  const bytes = Buffer.alloc(BYTES);
  bytes[0] = VERSION;
  bytes[1] = position.kinds;
  bytes[2] = position.phase;
  bytes.set(of.uuid, 4);
  bytes.writeDoubleLE(of.sequence, 20);
  bytes.write(of.digest, 28, 'hex');
  bytes.writeUInt32LE(of.slotCount, 44);
  bytes.writeUInt32LE(position.slot, 48);
  bytes.writeUInt32LE(position.edge, 52);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 56)), 56);
  return bytes.toString('base64url');
}

/** null: not a token. */
export function decodeScanToken(text: string): ScanToken | null {
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.length !== BYTES || bytes.toString('base64url') !== text) return null;
  if (bytes.readUInt32LE(56) !== crc32(bytes.subarray(0, 56))) return null;
  const kinds = bytes[1] ?? 0;
  const phase = bytes[2] ?? 0;
  if (bytes[0] !== VERSION || kinds < 1 || kinds > 3) return null;
  if ((phase !== SCAN_CONCEPTS && phase !== SCAN_ASSOCIATIONS) || (phase & kinds) === 0)
    return null;
  const of = {
    uuid: Uint8Array.from(bytes.subarray(4, 20)),
    sequence: bytes.readDoubleLE(20),
    digest: bytes.toString('hex', 28, 44),
    slotCount: bytes.readUInt32LE(44),
  };
  return { of, kinds, phase, slot: bytes.readUInt32LE(48), edge: bytes.readUInt32LE(52) };
}

export function sameState(a: ScanIdentity, b: ScanIdentity): boolean {
  return (
    a.sequence === b.sequence &&
    a.slotCount === b.slotCount &&
    a.digest === b.digest &&
    Buffer.compare(a.uuid, b.uuid) === 0
  );
}
