/**
 * The usearch package alone, with the parameters that sutra's index has: as one asks it for what sutra answers, by cosine, and
 * by inner product with vectors that were made of unit length before, as sutra's index does.
 */

import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Index, MetricKind, ScalarKind, exactSearch } from 'usearch';
import { verify } from './measure.js';

export const ALONE_METRICS = ['cosine', 'product'] as const;
export type AloneMetric = (typeof ALONE_METRICS)[number];

/** As src/engine/vector/vector-index.ts has them. */
const CONNECTIVITY = 16;
const EF_CONSTRUCTION = 128;
const BATCH = 1000;

interface Package {
  readonly Index: typeof Index;
  readonly MetricKind: typeof MetricKind;
  readonly ScalarKind: typeof ScalarKind;
  readonly exactSearch: typeof exactSearch;
}

const library = createRequire(import.meta.url)('usearch') as Package;

export class UsearchAlone {
  private readonly path: string;

  constructor(
    directory: string,
    private readonly metric: AloneMetric,
    private readonly dimension: number,
  ) {
    this.path = join(directory, `alone-${metric}.usearch`);
  }

  /** Builds it on this thread, rows numbered from 0, and writes its file. */
  build(matrix: Float32Array): void {
    const { dimension, metric } = this;
    const index = this.newIndex(1);
    const count = matrix.length / dimension;
    for (let from = 0; from < count; from += BATCH) {
      const end = Math.min(count, from + BATCH);
      const keys = BigUint64Array.from({ length: end - from }, (_, n) => BigInt(from + n));
      const rows = matrix.subarray(from * dimension, end * dimension);
      index.add(keys, metric === 'product' ? unitRows(rows, dimension) : rows, 1);
    }
    verify(index.size() === count, `${index.size()} in the index`);
    index.save(this.path);
  }

  /** As loaded from its file; ef is fixed when an index is made. Takes only queries of `asked`. */
  open(ef: number): Index {
    const index = this.newIndex(ef);
    index.load(this.path);
    return index;
  }

  /** What it has to be asked for these. */
  asked(queries: readonly Float32Array[]): Float32Array[] {
    if (this.metric === 'cosine') return [...queries];
    return queries.map((query) => unitRows(query, this.dimension));
  }

  private newIndex(ef: number): Index {
    const { Cos, IP } = library.MetricKind;
    return new library.Index({
      dimensions: this.dimension,
      metric: this.metric === 'product' ? IP : Cos,
      quantization: library.ScalarKind.F16,
      connectivity: CONNECTIVITY,
      expansion_add: EF_CONSTRUCTION,
      expansion_search: ef,
      multi: false,
    });
  }
}

/** The rows of the k nearest to a query, by the package's exact search. */
export function nearestByScan(
  matrix: Float32Array,
  query: Float32Array,
  dimension: number,
  k: number,
): number[] {
  const { Cos } = library.MetricKind;
  const { keys } = library.exactSearch(matrix, query, dimension, k, Cos);
  verify(keys.length === k, `${keys.length} exact matches`);
  return Array.from(keys, Number);
}

function unitRows(rows: Float32Array, dimension: number): Float32Array {
  const units = rows.slice();
  for (let from = 0; from < units.length; from += dimension) {
    const row = units.subarray(from, from + dimension);
    const length = Math.hypot(...row);
    for (let i = 0; i < dimension; i++) row[i] = (row[i] ?? 0) / length;
  }
  return units;
}
