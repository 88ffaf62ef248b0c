/** Vectors for tests: around some centres, as embeddings are. */

export function clusteredVectors(
  random: () => number,
  dimension: number,
  centres = 20,
): () => Float32Array {
  const around = Array.from({ length: centres }, () =>
    Float32Array.from({ length: dimension }, () => random() - 0.5),
  );
  return () => {
    const centre = around[Math.floor(random() * centres)] ?? new Float32Array(dimension);
    return centre.map((value) => value + 0.3 * (random() - 0.5));
  };
}

export function cosine(a: Float32Array, b: Float32Array): number {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  a.forEach((value, i) => {
    const other = b[i] ?? 0;
    dot += value * other;
    aa += value * value;
    bb += other * other;
  });
  return dot / Math.sqrt(aa * bb);
}
