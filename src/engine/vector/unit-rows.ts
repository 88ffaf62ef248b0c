/** Vectors of one length as rows of one array, one behind the other. */

/** To unit length, by sums in float64: squares of float32 overflow and vanish in float32 and more so in float16. */
export function normalizeRows(vectors: Float32Array, dimension: number): void {
  for (let row = 0; row < vectors.length; row += dimension) {
    let squares = 0;
    for (let i = row; i < row + dimension; i++) squares += vectors[i]! * vectors[i]!;
    const scale = 1 / Math.sqrt(squares);
    for (let i = row; i < row + dimension; i++) vectors[i]! *= scale;
  }
}

/** Copies of vectors of one length, each of unit length. */
export function unitRows(vectors: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const rows = copiedRows(vectors);
  normalizeRows(rows, vectors[0]?.length ?? 0);
  return rows;
}

/** Vectors of one length as rows: as they are where they lie like that, copied where they do not. */
export function joinedRows(vectors: readonly Float32Array[]): Float32Array {
  const [first = new Float32Array(0)] = vectors;
  const { length, buffer, byteOffset } = first;
  const inPlace = vectors.every(
    (vector, row) =>
      vector.buffer === buffer && vector.byteOffset === byteOffset + row * first.byteLength,
  );
  return inPlace
    ? new Float32Array(buffer, byteOffset, vectors.length * length)
    : copiedRows(vectors);
}

function copiedRows(vectors: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const length = vectors[0]?.length ?? 0;
  const rows = new Float32Array(vectors.length * length);
  for (const [row, vector] of vectors.entries()) rows.set(vector, row * length);
  return rows;
}
