/** What is asked of a vector search, and what there is to know about the index behind it. */

import type { VectorPrecision } from '../format/vector-index-format.js';

export type { VectorPrecision };

export interface VectorQuery {
  /** 1..10,000. */
  readonly k: number;
  /** How many candidates the index looks at; more find more, and take longer. Below k it counts as k. */
  readonly ef: number;
  /** Only what is at least so similar; -1 lets all through. */
  readonly minSimilarity: number;
  /**
   * Only these slots, each once, in ascending order; null: all. They hold for the turn they were taken in: whoever paused
   * since looks at `state.reusedSlots` in `finish`.
   */
  readonly within: Uint32Array | null;
}

export interface VectorIndexStats {
  /** Vectors that the index finds; those that it does not know yet are scanned. */
  readonly indexed: number;
  /** Vectors, and vectors gone, that the index is still to be told of or to place. */
  readonly queued: number;
  readonly precision: VectorPrecision;
  /** Bytes that the index takes in memory; and those of its file, 0 when there is none. */
  readonly residentBytes: number;
  readonly fileBytes: number;
}
