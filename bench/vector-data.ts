/**
 * Vectors as functions of an index, and of what they are like: `uniform` has no structure whatever, the hardest thing to ask of
 * a graph index; `clustered` has a cluster for every hundred vectors, whose members lie at a cosine of about 0.8 to each other,
 * nearer to how embeddings of texts lie. Queries come from the same distribution as what is searched.
 */

export type VectorKind = 'clustered' | 'uniform';

const CLUSTER_SIZE = 100;
/** Of the noise around a centre, to the centre's own: the cosine of two members is 1 / (1 + SPREAD^2). */
const SPREAD = 0.5;

export class VectorData {
  private readonly centers: Float32Array;
  private readonly clusters: number;

  constructor(
    readonly kind: VectorKind,
    readonly count: number,
    readonly dimension: number,
  ) {
    this.clusters = kind === 'clustered' ? Math.max(1, Math.floor(count / CLUSTER_SIZE)) : 0;
    this.centers = new Float32Array(this.clusters * dimension);
    for (let c = 0; c < this.clusters; c++) {
      addNoise(this.centers.subarray(c * dimension, (c + 1) * dimension), 0x51ed270b + c, 1);
    }
  }

  /** Vector i; those from `count` on are queries. */
  vector(i: number, out = new Float32Array(this.dimension)): Float32Array {
    const { clusters, centers, dimension } = this;
    if (clusters === 0) {
      out.fill(0);
      addNoise(out, i + 1, 1);
    } else {
      const c = Math.imul(i, 0x9e3779b1) >>> 0;
      const at = (c % clusters) * dimension;
      out.set(centers.subarray(at, at + dimension));
      addNoise(out, i + 1, SPREAD);
    }
    return out;
  }

  /** All of them in one, row by row. */
  matrix(): Float32Array {
    const { count, dimension } = this;
    const rows = new Float32Array(count * dimension);
    for (let i = 0; i < count; i++) {
      this.vector(i, rows.subarray(i * dimension, (i + 1) * dimension));
    }
    return rows;
  }

  queries(count: number): Float32Array[] {
    return Array.from({ length: count }, (_, q) => this.vector(this.count + q));
  }
}

/** Adds what is nearly normally distributed: the sum of four uniform numbers, of variance `scale` squared. */
function addNoise(out: Float32Array, seed: number, scale: number): void {
  let x = Math.imul(seed, 0x85ebca6b) ^ 0x2545f491 || 1;
  // The first few numbers of neighbouring seeds are alike.
  for (let n = 0; n < 8; n++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
  }
  // Four uniform numbers over [0, 2^32) have variance 4 / 12 * 2^64.
  const factor = (scale * Math.sqrt(3)) / 2 ** 32;
  for (let i = 0; i < out.length; i++) {
    let sum = 0;
    for (let n = 0; n < 4; n++) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      sum += x;
    }
    out[i] = (out[i] ?? 0) + sum * factor;
  }
}
