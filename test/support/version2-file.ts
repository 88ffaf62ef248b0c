/**
 * Writes a storage.dat of version 2 from the page that describes it (interface.md, last section), with nothing of the code that
 * reads one. Ids are 16 or 32 hex digits; whatever is left out has a plain value.
 */

export interface OldConcept {
  readonly id: string;
  readonly content?: string | Uint8Array;
  readonly strength?: number;
  readonly confidence?: number;
  /** Claimed instead of the content's own. */
  readonly contentLength?: number;
}

export interface OldEdge {
  readonly source: string;
  readonly target: string;
  readonly confidence?: number;
}

export interface OldVector {
  readonly id: string;
  readonly values: readonly number[];
  readonly dimension?: number;
}

export interface OldFile {
  readonly concepts?: readonly OldConcept[];
  readonly edges?: readonly OldEdge[];
  readonly vectors?: readonly OldVector[];
  readonly writtenUs?: number;
  /** Claimed in the header instead of how many there are. */
  readonly counts?: readonly [concepts: number, edges: number, vectors: number];
  readonly padding?: Uint8Array;
  readonly trailing?: Uint8Array;
}

export const OLD_WRITTEN_US = 1_650_000_000_123_456;

export function oldFile(file: OldFile): Buffer {
  const { concepts = [], edges = [], vectors = [] } = file;
  const counts = file.counts ?? [concepts.length, edges.length, vectors.length];
  const header = Buffer.alloc(64);
  header.write('SUTRADAT', 0, 'latin1');
  header.writeUInt32LE(2, 8);
  counts.forEach((count, i) => header.writeUInt32LE(count, 12 + 4 * i));
  header.writeBigUInt64LE(BigInt(file.writtenUs ?? OLD_WRITTEN_US), 24);
  if (file.padding !== undefined) header.set(file.padding, 32);
  const parts: Uint8Array[] = [header];
  for (const { id, content = '', strength = 1, confidence = 1, contentLength } of concepts) {
    const bytes = Buffer.from(content);
    const fixed = Buffer.alloc(20);
    fixed.writeUInt32LE(contentLength ?? bytes.length, 0);
    fixed.writeFloatLE(strength, 4);
    fixed.writeFloatLE(confidence, 8);
    fixed.writeUInt32LE(7, 12);
    fixed.writeUInt32LE(0xdeadbeef, 16);
    parts.push(idBytes(id), fixed, bytes);
  }
  for (const { source, target, confidence = 1 } of edges) {
    const bytes = Buffer.alloc(4);
    bytes.writeFloatLE(confidence);
    parts.push(idBytes(source), idBytes(target), bytes);
  }
  for (const { id, values, dimension } of vectors) {
    const bytes = Buffer.alloc(4 + 4 * values.length);
    bytes.writeUInt32LE(dimension ?? values.length, 0);
    values.forEach((value, i) => bytes.writeFloatLE(value, 4 + 4 * i));
    parts.push(idBytes(id), bytes);
  }
  if (file.trailing !== undefined) parts.push(file.trailing);
  return Buffer.concat(parts);
}

/** An edge as the old writer stored it: both ways. */
export function mirrored(source: string, target: string, confidence = 1): OldEdge[] {
  return [
    { source, target, confidence },
    { source: target, target: source, confidence },
  ];
}

function idBytes(id: string): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.write(id, 'hex');
  return bytes;
}
