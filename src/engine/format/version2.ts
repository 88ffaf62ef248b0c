/**
 * storage.dat version 2 as bytes: what the earlier implementation wrote. It has no checksums, so whoever reads it checks every
 * count, length and number. No I/O and no policy here; docs/FILE_FORMAT.md, "Version 2", is the page. Little-endian:
 *
 *   header    64 bytes: magic, version, counts, when it was written, 32 zeros
 *   concepts  36 bytes each and the content behind them
 *   edges     36 bytes each
 *   vectors   20 bytes each and float32 x dimension behind them
 */

export const V2_VERSION = 2;
export const V2_HEADER_BYTES = 64;
/** Of a concept, without its content. */
export const V2_CONCEPT_BYTES = 36;
export const V2_EDGE_BYTES = 36;
/** Of a vector, without its numbers. */
export const V2_VECTOR_BYTES = 20;

/** Offsets within a concept; the id is at 0. At 28 is an access count, at 32 half of a time: of no use to anybody. */
export const V2_CONCEPT = { CONTENT_LENGTH: 16, STRENGTH: 20, CONFIDENCE: 24 } as const;
/** Offsets within an edge; the source is at 0. */
export const V2_EDGE = { TARGET: 16, CONFIDENCE: 32 } as const;
/** Offset within a vector; the id is at 0. */
export const V2_VECTOR = { DIMENSION: 16 } as const;

const MAGIC = Buffer.from('SUTRADAT', 'latin1');
const PREFIX_BYTES = 12;

export interface Version2Header {
  readonly concepts: number;
  readonly edges: number;
  readonly vectors: number;
  /** When the file was written, microseconds since 1970; above 2^53 when it cannot be. */
  readonly writtenUs: number;
  /** The last 32 bytes are zeros, as they should be. */
  readonly isPadded: boolean;
}

/** Whether a file that begins with these bytes is one of version 2. */
export function isVersion2(bytes: Uint8Array): boolean {
  if (bytes.length < PREFIX_BYTES) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return (
    Buffer.compare(bytes.subarray(0, MAGIC.length), MAGIC) === 0 &&
    view.getUint32(MAGIC.length, true) === V2_VERSION
  );
}

/** Null: fewer bytes than a header has. */
export function decodeVersion2Header(bytes: Uint8Array): Version2Header | null {
  if (bytes.length < V2_HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    concepts: view.getUint32(12, true),
    edges: view.getUint32(16, true),
    vectors: view.getUint32(20, true),
    writtenUs: view.getUint32(24, true) + view.getUint32(28, true) * 2 ** 32,
    isPadded: bytes.subarray(32, V2_HEADER_BYTES).every((byte) => byte === 0),
  };
}
