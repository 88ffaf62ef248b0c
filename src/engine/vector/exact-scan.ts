/**
 * Exact vector search: cosine similarity of a query with every row, the best k. Rows come from a source in blocks, read
 * from disk into one reused Float32Array, so that memory does not grow with the store. Dot product and norm are summed in
 * float64 (a float32 squared never overflows there), divided, clamped to [-1, 1] and rounded to float32, the precision
 * that answers travel in, before they are compared: what a client sees as a tie is ordered by key bytes. A row (or query)
 * of zero norm has similarity 0 with everything.
 *
 * The scan pauses between blocks. Rows added meanwhile are scanned too; a concept whose vector was replaced meanwhile
 * comes once; one forgotten meanwhile does not come, and then there may be fewer than k.
 */

import { SutraError } from '../../errors.js';
import { type Traversal, type TraversalBudget, runTraversal } from '../graph/budget.js';

/** 256 rows of 768 dimensions: 768 KiB, about 0.3 ms to read and compare. */
const BLOCK_FLOATS = 256 * 768;

/** Rows in a fixed order. Its numbering must hold for a whole scan (pin the view it reads from); it may grow at the end. */
export interface VectorSource {
  readonly dimension: number;
  /** Rows are 0..rowCount-1; grows only. */
  readonly rowCount: number;
  /**
   * Looks at rows firstRow..firstRow+rows-1, all below rowCount, and stores those that are current, one behind the other:
   * `dimension` floats each into `vectors`, their slots into `slots`. Returns how many it stored, 0..rows. No two of the
   * rows that are there when a scan begins are stored with the same slot.
   */
  readBlock(firstRow: number, rows: number, vectors: Float32Array, slots: Uint32Array): number;
  isLive(slot: number): boolean;
  /** Orders two slots by key bytes. */
  compareKeys(a: number, b: number): number;
}

/** Parallel arrays, best first. */
export interface VectorRanking {
  readonly slots: Uint32Array;
  readonly similarities: Float32Array;
}

/** Those of a ranking that are at least so similar: its beginning. */
export function atLeast(ranking: VectorRanking, minSimilarity: number): VectorRanking {
  const { slots, similarities } = ranking;
  let kept = similarities.length;
  while (kept > 0 && !(similarities[kept - 1]! >= minSimilarity)) kept--;
  if (kept === similarities.length) return ranking;
  return { slots: slots.subarray(0, kept), similarities: similarities.subarray(0, kept) };
}

/** Holds the block buffers between scans; one per store. */
export class ExactScan {
  private readonly free: Scan[] = [];

  /** The k rows most similar to `query`, which has the source's dimension. */
  topK(
    query: Float32Array,
    k: number,
    source: VectorSource,
    budget: TraversalBudget,
  ): VectorRanking | Promise<VectorRanking> {
    if (query.length !== source.dimension) {
      throw new SutraError(
        'DIMENSION_MISMATCH',
        `got a query of ${query.length} dimensions, expected ${source.dimension}`,
      );
    }
    const scan = this.free.pop() ?? new Scan(this.free);
    scan.begin(query, k, source);
    return runTraversal(scan, budget);
  }
}

/** Concurrent scans beyond these make their own buffers and drop them. */
const KEPT_SCANS = 2;

class Scan implements Traversal<VectorRanking> {
  readonly uninterrupted = false;
  private source: VectorSource = NO_SOURCE;
  private query = new Float64Array(0);
  private queryNorm = 0;
  private row = 0;
  private firstRowCount = 0;
  private vectors = new Float32Array(0);
  private slots = new Uint32Array(0);

  /** The best so far: a heap with the worst at 0. */
  private k = 0;
  private length = 0;
  private bestSlots = new Uint32Array(0);
  private bestSimilarities = new Float32Array(0);

  constructor(private readonly free: Scan[]) {}

  begin(query: Float32Array, k: number, source: VectorSource): void {
    const { dimension } = source;
    if (this.query.length !== dimension) {
      this.query = new Float64Array(dimension);
      const rows = Math.max(1, Math.floor(BLOCK_FLOATS / dimension));
      this.vectors = new Float32Array(rows * dimension);
      this.slots = new Uint32Array(rows);
    }
    const doubles = this.query;
    let squares = 0;
    for (let i = 0; i < dimension; i++) {
      const value = query[i]!;
      doubles[i] = value;
      squares += value * value;
    }
    this.queryNorm = Math.sqrt(squares);
    this.source = source;
    this.row = 0;
    this.firstRowCount = source.rowCount;
    this.k = k;
    this.length = 0;
    if (this.bestSlots.length < k) {
      this.bestSlots = new Uint32Array(k);
      this.bestSimilarities = new Float32Array(k);
    }
  }

  /** One block; `work` is not looked at, because a block is the least that can be read. */
  step(): boolean {
    const { source, slots, vectors, row } = this;
    const rowCount = source.rowCount;
    // The rows there at first and those added since are told apart by block.
    const end = row < this.firstRowCount ? this.firstRowCount : rowCount;
    const rows = Math.min(slots.length, end - row);
    if (rows > 0 && this.k > 0) {
      const stored = source.readBlock(row, rows, vectors, slots);
      this.compare(stored, row >= this.firstRowCount);
      this.row = row + rows;
    }
    return this.k === 0 || this.row >= rowCount;
  }

  result(): VectorRanking {
    const { source, bestSlots, bestSimilarities } = this;
    const { length } = this;
    // Taking the worst first fills the answer from its end.
    for (let last = length - 1; last > 0; last--) {
      const slot = bestSlots[0]!;
      const similarity = bestSimilarities[0]!;
      this.siftDown(bestSlots[last]!, bestSimilarities[last]!, last);
      bestSlots[last] = slot;
      bestSimilarities[last] = similarity;
    }
    let kept = 0;
    const rankedSlots = new Uint32Array(length);
    const similarities = new Float32Array(length);
    for (let i = 0; i < length; i++) {
      const slot = bestSlots[i]!;
      if (!source.isLive(slot)) continue;
      rankedSlots[kept] = slot;
      similarities[kept] = bestSimilarities[i]!;
      kept++;
    }
    if (kept === length) return { slots: rankedSlots, similarities };
    return { slots: rankedSlots.slice(0, kept), similarities: similarities.slice(0, kept) };
  }

  release(): void {
    this.source = NO_SOURCE;
    if (this.free.length < KEPT_SCANS) this.free.push(this);
  }

  private compare(rows: number, late: boolean): void {
    const { vectors, slots, query, queryNorm, k } = this;
    const dimension = query.length;
    for (let row = 0; row < rows; row++) {
      const similarity = cosine(query, queryNorm, vectors, row * dimension, dimension);
      const slot = slots[row]!;
      if (this.length === k) {
        const worst = this.bestSimilarities[0]!;
        if (similarity < worst) continue;
        if (similarity === worst && !this.isWorse(this.bestSlots[0]!, worst, slot, similarity)) {
          continue;
        }
      }
      if (late && this.bestSlots.subarray(0, this.length).includes(slot)) continue;
      if (this.length < k) this.siftUp(slot, similarity);
      else this.siftDown(slot, similarity, k);
    }
  }

  private isWorse(slotA: number, similarityA: number, slotB: number, similarityB: number): boolean {
    if (similarityA !== similarityB) return similarityA < similarityB;
    return this.source.compareKeys(slotA, slotB) > 0;
  }

  private siftUp(slot: number, similarity: number): void {
    const { bestSlots, bestSimilarities } = this;
    let i = this.length++;
    while (i > 0) {
      const up = (i - 1) >>> 1;
      if (!this.isWorse(slot, similarity, bestSlots[up]!, bestSimilarities[up]!)) break;
      bestSlots[i] = bestSlots[up]!;
      bestSimilarities[i] = bestSimilarities[up]!;
      i = up;
    }
    bestSlots[i] = slot;
    bestSimilarities[i] = similarity;
  }

  /** Puts an entry in the root's place, in a heap of `length`. */
  private siftDown(slot: number, similarity: number, length: number): void {
    const { bestSlots, bestSimilarities } = this;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= length) break;
      if (
        child + 1 < length &&
        this.isWorse(
          bestSlots[child + 1]!,
          bestSimilarities[child + 1]!,
          bestSlots[child]!,
          bestSimilarities[child]!,
        )
      ) {
        child++;
      }
      if (!this.isWorse(bestSlots[child]!, bestSimilarities[child]!, slot, similarity)) break;
      bestSlots[i] = bestSlots[child]!;
      bestSimilarities[i] = bestSimilarities[child]!;
      i = child;
    }
    bestSlots[i] = slot;
    bestSimilarities[i] = similarity;
  }
}

/** Cosine similarity of the query with vectors[offset..offset+dimension), as float32; four sums hide the latency of add. */
function cosine(
  query: Float64Array,
  queryNorm: number,
  vectors: Float32Array,
  offset: number,
  dimension: number,
): number {
  let dot0 = 0;
  let dot1 = 0;
  let dot2 = 0;
  let dot3 = 0;
  let squares0 = 0;
  let squares1 = 0;
  let squares2 = 0;
  let squares3 = 0;
  const whole = dimension & ~3;
  let i = 0;
  for (; i < whole; i += 4) {
    const a = vectors[offset + i]!;
    const b = vectors[offset + i + 1]!;
    const c = vectors[offset + i + 2]!;
    const d = vectors[offset + i + 3]!;
    dot0 += a * query[i]!;
    dot1 += b * query[i + 1]!;
    dot2 += c * query[i + 2]!;
    dot3 += d * query[i + 3]!;
    squares0 += a * a;
    squares1 += b * b;
    squares2 += c * c;
    squares3 += d * d;
  }
  for (; i < dimension; i++) {
    const a = vectors[offset + i]!;
    dot0 += a * query[i]!;
    squares0 += a * a;
  }
  const norms = queryNorm * Math.sqrt(squares0 + squares1 + (squares2 + squares3));
  if (!(norms > 0)) return 0;
  const similarity = (dot0 + dot1 + (dot2 + dot3)) / norms;
  return Math.fround(Math.max(-1, Math.min(1, similarity)));
}

const NO_SOURCE: VectorSource = {
  dimension: 0,
  rowCount: 0,
  readBlock: () => 0,
  isLive: () => false,
  compareKeys: () => 0,
};
