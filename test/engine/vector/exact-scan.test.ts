import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ExactScan, type VectorRanking, type VectorSource } from '#sutra/engine/vector/exact-scan';
import { pausing, unhurried } from '../../support/budgets.js';

interface Row {
  readonly slot: number;
  readonly vector: readonly number[];
  current: boolean;
}

/** Rows in memory; as the engine's source, it skips rows that are no longer current. */
class Rows implements VectorSource {
  readonly rows: Row[] = [];
  reads = 0;
  failAt = Number.POSITIVE_INFINITY;

  constructor(readonly dimension: number) {}

  get rowCount(): number {
    return this.rows.length;
  }

  learn(slot: number, vector: readonly number[]): void {
    this.forget(slot);
    this.rows.push({ slot, vector, current: true });
  }

  forget(slot: number): void {
    for (const row of this.rows) if (row.slot === slot) row.current = false;
  }

  readBlock(firstRow: number, rows: number, vectors: Float32Array, slots: Uint32Array): number {
    if (++this.reads === this.failAt) throw new Error('injected: a block is damaged');
    expect(firstRow + rows).toBeLessThanOrEqual(this.rowCount);
    expect(rows * this.dimension).toBeLessThanOrEqual(vectors.length);
    let n = 0;
    for (const row of this.rows.slice(firstRow, firstRow + rows)) {
      if (!row.current) continue;
      vectors.set(row.vector, n * this.dimension);
      slots[n++] = row.slot;
    }
    return n;
  }

  isLive(slot: number): boolean {
    return this.rows.some((row) => row.slot === slot && row.current);
  }

  /** Keys fall as slots rise, so that an order by slot is seen to be wrong. */
  compareKeys(a: number, b: number): number {
    return b - a;
  }
}

/** Every similarity in float64, sorted. */
function naive(source: Rows, query: readonly number[], k: number): [number, number][] {
  const dot = (a: readonly number[], b: readonly number[]): number =>
    a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
  const found: [number, number][] = [];
  for (const { slot, vector, current } of source.rows) {
    if (!current) continue;
    const norms = Math.sqrt(dot(query, query)) * Math.sqrt(dot(vector, vector));
    const similarity = norms > 0 ? Math.fround(dot(query, vector) / norms) : 0;
    found.push([slot, Math.max(-1, Math.min(1, similarity))]);
  }
  found.sort((a, b) => b[1] - a[1] || source.compareKeys(a[0], b[0]));
  return found.slice(0, k);
}

function pairs(ranking: VectorRanking): [number, number][] {
  return Array.from(ranking.slots, (slot, i) => [slot, ranking.similarities[i] ?? Number.NaN]);
}

function topK(source: Rows, query: readonly number[], k: number): [number, number][] {
  const answer = new ExactScan().topK(Float32Array.from(query), k, source, unhurried);
  if (answer instanceof Promise) throw new Error('expected an answer without a promise');
  return pairs(answer);
}

/** Small integers: sums of their products are exact in any order, so that the oracle's ties are ties. */
const component = fc.integer({ min: -3, max: 3 });

describe('ExactScan', () => {
  it('ranks by cosine similarity, ties by key bytes, whatever the lengths', () => {
    const source = new Rows(2);
    source.learn(0, [0, 5]);
    source.learn(1, [3, 0]);
    source.learn(2, [-1, 0]);
    source.learn(3, [1e-20, 0]);
    source.learn(4, [0, 0]);
    source.learn(5, [1e30, 1e30]);
    const diagonal = Math.fround(Math.SQRT1_2);
    expect(topK(source, [2, 0], 10)).toEqual([
      [3, 1],
      [1, 1],
      [5, diagonal],
      [4, 0],
      [0, 0],
      [2, -1],
    ]);
    expect(topK(source, [2, 0], 3).map(([slot]) => slot)).toEqual([3, 1, 5]);
    expect(topK(source, [2, 0], 0)).toEqual([]);
    expect(topK(source, [0, 0], 2)).toEqual([
      [5, 0],
      [4, 0],
    ]);
  });

  it('keeps the extremes of float32 apart from overflow, underflow and rounding beyond 1', () => {
    const huge = 3.4028234663852886e38;
    const tiny = 1.401298464324817e-45;
    const source = new Rows(3);
    source.learn(0, [huge, huge, huge]);
    source.learn(1, [tiny, tiny, tiny]);
    source.learn(2, [0.1, 0.1, 0.1].map(Math.fround));
    for (const query of [
      [huge, huge, huge],
      [tiny, tiny, tiny],
      [1, 1, 1],
    ]) {
      expect(topK(source, query, 3)).toEqual([
        [2, 1],
        [1, 1],
        [0, 1],
      ]);
    }
  });

  it('agrees with a naive scan, for every dimension, k and hole', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }).chain((dimension) => {
          const vector = fc.array(component, { minLength: dimension, maxLength: dimension });
          return fc.record({
            query: vector,
            vectors: fc.array(fc.tuple(vector, fc.boolean()), { maxLength: 60 }),
          });
        }),
        fc.integer({ min: 1, max: 70 }),
        ({ query, vectors }, k) => {
          const source = new Rows(query.length);
          for (const [slot, [vector]] of vectors.entries()) source.learn(slot, vector);
          for (const [slot, [, forgotten]] of vectors.entries()) if (forgotten) source.forget(slot);
          expect(topK(source, query, k)).toEqual(naive(source, query, k));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('reads in blocks, pauses between them, and answers the same', async () => {
    const dimension = 1024;
    const source = new Rows(dimension);
    let seed = 1;
    const random = (): number => (seed = (Math.imul(seed, 48271) >>> 0) % 7) - 3;
    for (let slot = 0; slot < 900; slot++) {
      source.learn(slot, Array.from({ length: dimension }, random));
    }
    const query = Array.from({ length: dimension }, (_, i) => (i % 5) - 2);
    const expected = naive(source, query, 25);
    const scan = new ExactScan();
    const budget = pausing(() => undefined);
    const answer = await scan.topK(Float32Array.from(query), 25, source, budget);
    expect(pairs(answer)).toEqual(expected);
    // 192 rows of 1,024 dimensions to a block.
    expect(source.reads).toBe(5);
    expect(budget.pauses).toBe(4);
    // The same buffers serve another k and another dimension, and several scans at a time.
    const answers = await Promise.all(
      [1, 900, 1000, 3].map(async (k) => {
        return scan.topK(Float32Array.from(query), k, source, budget);
      }),
    );
    for (const [i, k] of [1, 900, 1000, 3].entries()) {
      expect(answers[i] && pairs(answers[i])).toEqual(naive(source, query, k));
    }
    const small = new Rows(1);
    small.learn(7, [-2]);
    expect(pairs(await scan.topK(Float32Array.of(1), 5, small, budget))).toEqual([[7, -1]]);
  });

  it('refuses a query of another length', () => {
    expect(() => topK(new Rows(3), [1, 2], 1)).toThrow(
      expect.objectContaining({ code: 'DIMENSION_MISMATCH' }),
    );
  });

  it('scans what is added in a pause, lists a replaced vector once and a forgotten one never', async () => {
    const dimension = 1024;
    const axis = (at: number): number[] =>
      Array.from({ length: dimension }, (_, i) => (i === at ? 1 : 0));
    const toward = (share: number): number[] => {
      const vector = axis(1);
      vector[0] = share;
      return vector;
    };
    const scanWhileChanging = async (k: number): Promise<number[]> => {
      const source = new Rows(dimension);
      for (let slot = 0; slot < 400; slot++) source.learn(slot, toward(slot / 100));
      const budget = pausing((pauses) => {
        if (pauses !== 2) return;
        // Two blocks of 192 were read. Two of their rows and one not yet read are replaced, for better and for worse.
        source.learn(150, toward(9));
        source.learn(382, toward(-1));
        source.learn(398, toward(10));
        source.forget(383);
        source.forget(399);
        source.learn(1000, toward(11));
      });
      const ranking = await new ExactScan().topK(Float32Array.from(axis(0)), k, source, budget);
      expect(budget.pauses).toBe(3);
      return [...ranking.slots];
    };
    expect(await scanWhileChanging(6)).toEqual([1000, 398, 150, 397, 396, 395]);
    const all = await scanWhileChanging(500);
    expect(all.slice(0, 2)).toEqual([1000, 398]);
    const expected = Array.from({ length: 399 }, (_, slot) => slot).filter((slot) => slot !== 383);
    expect(all.toSorted((a, b) => a - b)).toEqual([...expected, 1000]);
  });

  it('is cancelled between blocks, and scans again after that and after a failed read', async () => {
    const dimension = 1024;
    const source = new Rows(dimension);
    for (let slot = 0; slot < 600; slot++) {
      source.learn(
        slot,
        Array.from({ length: dimension }, (_, i) => ((i * slot) % 7) - 3),
      );
    }
    const query = Array.from({ length: dimension }, (_, i) => (i % 3) - 1);
    const expected = naive(source, query, 10);
    const scan = new ExactScan();
    const controller = new AbortController();
    const cancelling = pausing((pauses) => pauses === 2 && controller.abort(), {
      signal: controller.signal,
    });
    await expect(scan.topK(Float32Array.from(query), 10, source, cancelling)).rejects.toMatchObject(
      { code: 'CANCELLED' },
    );
    expect(source.reads).toBe(2);
    source.failAt = 4;
    expect(() => scan.topK(Float32Array.from(query), 10, source, unhurried)).toThrow('injected');
    const budget = pausing(() => undefined);
    const ranking = await scan.topK(Float32Array.from(query), 10, source, budget);
    expect(pairs(ranking)).toEqual(expected);
  });
});
