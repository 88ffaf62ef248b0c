/**
 * The trailer of vectors.usearch, and what a graph in it must look like. The file is what the usearch package saves, from byte
 * 0 on, then an entry for every vector in it (u32 slot, u32 CRC-32 of the float32 vector it was made from; ascending by slot),
 * 8-byte aligned, then 128 bytes of trailer. Everything is little-endian.
 *
 *     0  8 bytes  "SUTRAVEC"            40  f64  bytes that usearch saved      60  u32  connectivity
 *     8  u32      version, 2            48  u32  entries                       64  u32  efConstruction
 *    12  u32      CRC-32 of the trailer 52  u32  dimension                     68  u32  CRC-32 of all before the trailer
 *        with these four bytes zero     56  u32  precision: 0 f32, 1 f16, 2 i8 72       zero
 *    16  16 bytes UUID of the store
 *    32  f64      sequence applied when it was saved (for people; validity is decided by the entries)
 */

import { crc32, crc32Range } from './crc32.js';

/** How the index keeps its copies; what is found is ranked with the full vectors whatever it is. */
export type VectorPrecision = 'f32' | 'f16' | 'i8';

export const INDEX_TRAILER_BYTES = 128;
export const ENTRY_BYTES = 8;

const MAGIC = new TextEncoder().encode('SUTRAVEC');
const VERSION = 2;
const PRECISIONS: readonly VectorPrecision[] = ['f32', 'f16', 'i8'];

export interface IndexTrailer {
  readonly uuid: Uint8Array;
  readonly sequence: number;
  readonly indexBytes: number;
  readonly entries: number;
  readonly dimension: number;
  readonly precision: VectorPrecision;
  readonly connectivity: number;
  readonly efConstruction: number;
  readonly bodyCrc: number;
}

/** Bytes of one number, and the package's own code for it. */
const SCALARS: Readonly<
  Record<VectorPrecision, { readonly bytes: number; readonly code: number }>
> = { f32: { bytes: 4, code: 11 }, f16: { bytes: 2, code: 12 }, i8: { bytes: 1, code: 23 } };

/**
 * Whether nodes are compared by their inner product, which of vectors of unit length is their cosine and one sum instead of
 * three: 1.1 to 1.2 times as many searches a second. The package's i8 copies are cut off at integers and of no one length.
 */
export function comparesByProduct(precision: VectorPrecision): boolean {
  return precision !== 'i8';
}

export function bytesPerVector(dimension: number, precision: VectorPrecision): number {
  return dimension * SCALARS[precision].bytes;
}

/** Where the entries begin. */
export function entriesOffset(indexBytes: number): number {
  return Math.ceil(indexBytes / ENTRY_BYTES) * ENTRY_BYTES;
}

export function encodeIndexTrailer(trailer: IndexTrailer): Uint8Array {
  const bytes = new Uint8Array(INDEX_TRAILER_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint32(8, VERSION, true);
  bytes.set(trailer.uuid, 16);
  view.setFloat64(32, trailer.sequence, true);
  view.setFloat64(40, trailer.indexBytes, true);
  view.setUint32(48, trailer.entries, true);
  view.setUint32(52, trailer.dimension, true);
  view.setUint32(56, PRECISIONS.indexOf(trailer.precision), true);
  view.setUint32(60, trailer.connectivity, true);
  view.setUint32(64, trailer.efConstruction, true);
  view.setUint32(68, trailer.bodyCrc, true);
  view.setUint32(12, crc32(bytes), true);
  return bytes;
}

/** The trailer of a file of `fileBytes`, or what is wrong with it. */
export function decodeIndexTrailer(bytes: Uint8Array, fileBytes: number): IndexTrailer | string {
  if (bytes.length !== INDEX_TRAILER_BYTES) return `it is only ${fileBytes} bytes long`;
  for (let i = 0; i < MAGIC.length; i++) if (bytes[i] !== MAGIC[i]) return 'it has no trailer';
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const crc = crc32Range(
    bytes,
    16,
    bytes.length,
    crc32(new Uint8Array(4), crc32Range(bytes, 0, 12)),
  );
  if (view.getUint32(12, true) !== crc) return 'its trailer’s checksum does not match';
  const version = view.getUint32(8, true);
  if (version !== VERSION) return `it has version ${version}, expected ${VERSION}`;
  const precision = PRECISIONS[view.getUint32(56, true)];
  const indexBytes = view.getFloat64(40, true);
  const entries = view.getUint32(48, true);
  const dimension = view.getUint32(52, true);
  const connectivity = view.getUint32(60, true);
  const efConstruction = view.getUint32(64, true);
  if (connectivity < 2 || connectivity > 256 || efConstruction < 1 || efConstruction > 4096) {
    return `its connectivity is ${connectivity} and its efConstruction ${efConstruction}`;
  }
  const expected = entriesOffset(indexBytes) + entries * ENTRY_BYTES + INDEX_TRAILER_BYTES;
  if (precision === undefined || dimension === 0 || !(expected === fileBytes)) {
    return `its trailer stands for ${expected} bytes, but it has ${fileBytes}`;
  }
  return {
    uuid: bytes.slice(16, 32),
    sequence: view.getFloat64(32, true),
    indexBytes,
    entries,
    dimension,
    precision,
    connectivity,
    efConstruction,
    bodyCrc: view.getUint32(68, true),
  };
}

// --- what usearch saved ---

/** The matrix: u32 rows, u32 bytes a row; then 64 bytes about the vectors, 40 about the graph, an i16 level a node, the nodes. */
const MATRIX_BYTES = 8;
const HEAD_BYTES = 64;
const GRAPH_BYTES = 40;
const PACKAGE_MAGIC = new TextEncoder().encode('usearch');
const PACKAGE_MAJOR = 2;
/** The package's own codes. */
const COSINE = 0x63;
const INNER_PRODUCT = 0x69;
/** u64 key, i16 level. */
const NODE_BYTES = 10;
/** The package draws levels up to about the logarithm of the size. */
const MAX_LEVEL = 64;

/** Reads exactly `length` bytes at `offset`; the result is valid until the next call. */
export type ReadAt = (offset: number, length: number) => Uint8Array;

/**
 * Whether a graph can be handed to native code, which believes what it reads: every number that it would use as a size or as
 * a place is looked at. The checksums say that the file is as it was written; this, that what was written is an index.
 * Returns what is wrong, or null.
 */
export function checkIndexGraph(read: ReadAt, trailer: IndexTrailer): string | null {
  const { dimension, precision, indexBytes } = trailer;
  const fixed = MATRIX_BYTES + HEAD_BYTES + GRAPH_BYTES;
  if (indexBytes < fixed) return `an index of ${indexBytes} bytes`;
  const matrix = viewOf(read(0, MATRIX_BYTES));
  const rows = matrix.getUint32(0, true);
  const rowBytes = matrix.getUint32(4, true);
  if (rowBytes !== bytesPerVector(dimension, precision)) return `rows of ${rowBytes} bytes`;
  const headAt = MATRIX_BYTES + rows * rowBytes;
  const levelsAt = headAt + HEAD_BYTES + GRAPH_BYTES;
  const nodesAt = levelsAt + 2 * rows;
  if (nodesAt > indexBytes) return `${rows} rows in ${indexBytes} bytes`;
  const head = viewOf(read(headAt, HEAD_BYTES));
  // A load that the package gives up leaves its heap corrupted (2.25.3), so what it would refuse is refused here.
  for (let i = 0; i < PACKAGE_MAGIC.length; i++) {
    if (head.getUint8(i) !== PACKAGE_MAGIC[i]) return 'no index';
  }
  const major = head.getUint16(7, true);
  if (major !== PACKAGE_MAJOR) return `an index of version ${major}, expected ${PACKAGE_MAJOR}`;
  const kinds = [head.getUint8(13), head.getUint8(14), head.getUint8(15), head.getUint8(16)];
  const metric = comparesByProduct(precision) ? INNER_PRODUCT : COSINE;
  const expected = [metric, SCALARS[precision].code, 14, 15];
  if (kinds.some((kind, i) => kind !== expected[i])) return `of kinds ${kinds.join(', ')}`;
  if (u64(head, 33) !== dimension || head.getUint8(41) !== 0) return 'of another shape';
  const graph = viewOf(read(headAt + HEAD_BYTES, GRAPH_BYTES));
  const connectivity = u64(graph, 8);
  const baseConnectivity = u64(graph, 16);
  const maxLevel = u64(graph, 24);
  const entry = u64(graph, 32);
  if (u64(graph, 0) !== rows || connectivity !== trailer.connectivity) return 'of another size';
  if (baseConnectivity !== 2 * connectivity || maxLevel > MAX_LEVEL) return 'of another form';
  if (rows > 0 && entry >= rows) return `entered at ${entry} of ${rows}`;
  const levels = new Int16Array(rows);
  new Uint8Array(levels.buffer).set(read(levelsAt, 2 * rows));
  if (rows > 0 && levels[entry] !== maxLevel) return 'entered at a level that is not the highest';
  return checkNodes(read, { indexBytes, nodesAt, levels, connectivity, maxLevel });
}

interface Nodes {
  readonly indexBytes: number;
  readonly nodesAt: number;
  readonly levels: Int16Array;
  readonly connectivity: number;
  readonly maxLevel: number;
}

/** So many bytes of nodes are read at a time. */
const NODE_WINDOW = 512 * 1024;

function checkNodes(read: ReadAt, nodes: Nodes): string | null {
  const { indexBytes, levels, connectivity, maxLevel } = nodes;
  const rows = levels.length;
  const baseBytes = NODE_BYTES + 4 + 8 * connectivity;
  const levelBytes = 4 + 4 * connectivity;
  let at = nodes.nodesAt;
  for (let row = 0; row < rows;) {
    let bytes = 0;
    let end = row;
    while (end < rows && bytes < NODE_WINDOW) {
      const level = levels[end]!;
      if (level < 0 || level > maxLevel) return `node ${end} has level ${level}`;
      bytes += baseBytes + level * levelBytes;
      end++;
    }
    if (at + bytes > indexBytes) return `nodes beyond its end`;
    const view = viewOf(read(at, bytes));
    let node = 0;
    for (; row < end; row++) {
      const level = levels[row]!;
      if (view.getInt16(node + 8, true) !== level) return `node ${row} has two levels`;
      const high = view.getUint32(node + 4, true);
      // A key is a slot, or all ones for a node whose vector was removed.
      if (high !== 0 && !(high === 0xffffffff && view.getUint32(node, true) === 0xffffffff)) {
        return `node ${row} has a key beyond 32 bits`;
      }
      let list = node + NODE_BYTES;
      for (let l = 0; l <= level; l++) {
        const room = l === 0 ? 2 * connectivity : connectivity;
        const count = view.getUint32(list, true);
        if (count > room) return `node ${row} has ${count} neighbours in ${room} places`;
        for (let i = 1; i <= count; i++) {
          const other = view.getUint32(list + 4 * i, true);
          if (!(other < rows && levels[other]! >= l)) {
            return `node ${row} leads to ${other} at level ${l}`;
          }
        }
        list += 4 + 4 * room;
      }
      node = list;
    }
    at += bytes;
  }
  return at === indexBytes ? null : `${indexBytes - at} bytes behind its last node`;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** As a number: exact below 2^53, and beyond that larger than anything it is compared with. */
function u64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
}
