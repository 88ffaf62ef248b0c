/**
 * How much of everything a run works on. `full` is what the bars are stated for; `small` is a run to be waited for, where every
 * row is measured on a fifth or a tenth of that; `quick` only shows that everything runs.
 */

export interface Sizes {
  /** The store that most sections share; its associations are five for each concept, as the bars have them. */
  readonly concepts: number;
  readonly associations: number;
  readonly writeConcepts: number;
  readonly names: number;
  readonly awaited: number;
  readonly concurrent: number;
  readonly writeRuns: number;
  readonly calls: number;
  readonly rounds: number;
  readonly quietMs: number;
  readonly openRuns: number;
  readonly grpcCalls: number;
  readonly grpcBatched: number;
  readonly grpcRuns: number;
  readonly cliRuns: number;
  readonly importConcepts: number;
  readonly importAssociations: number;
  /** Durable writes, for which a fresh store is made in every run. */
  readonly peerConcepts: number;
  readonly peerAssociations: number;
  readonly peerRuns: number;
  /** Of the shared graph, which graphology builds anew in each. */
  readonly graphRuns: number;
  /** How many of the pairs SQLite is asked for: it takes a thousand times as long. */
  readonly peerSlowPairs: number;
  readonly vectors: number;
  readonly uniformVectors: number;
  readonly vectorDimension: number;
  readonly vectorExtra: number;
  readonly vectorQueries: number;
  readonly vectorRounds: number;
  /** Concepts, ten times as many each time, with five associations each. */
  readonly growth: readonly number[];
}

export type Form = 'full' | 'small' | 'quick';

export const SIZES: Readonly<Record<Form, Sizes>> = {
  full: {
    concepts: 1_000_000,
    associations: 5_000_000,
    writeConcepts: 1_000_000,
    names: 300_000,
    awaited: 3000,
    concurrent: 200_000,
    writeRuns: 3,
    calls: 100_000,
    rounds: 5,
    quietMs: 3000,
    openRuns: 7,
    grpcCalls: 3000,
    grpcBatched: 300_000,
    grpcRuns: 3,
    cliRuns: 9,
    importConcepts: 1_000_000,
    importAssociations: 5_000_000,
    peerConcepts: 1_000_000,
    peerAssociations: 300_000,
    peerRuns: 3,
    graphRuns: 3,
    peerSlowPairs: 100,
    vectors: 100_000,
    uniformVectors: 50_000,
    vectorDimension: 768,
    vectorExtra: 20_000,
    vectorQueries: 500,
    vectorRounds: 5,
    growth: [100_000, 1_000_000, 10_000_000],
  },
  small: {
    concepts: 100_000,
    associations: 500_000,
    writeConcepts: 200_000,
    names: 100_000,
    awaited: 500,
    concurrent: 30_000,
    writeRuns: 3,
    calls: 20_000,
    rounds: 3,
    quietMs: 1000,
    openRuns: 5,
    grpcCalls: 500,
    grpcBatched: 30_000,
    grpcRuns: 2,
    cliRuns: 5,
    importConcepts: 12_500,
    importAssociations: 62_500,
    peerConcepts: 100_000,
    peerAssociations: 50_000,
    peerRuns: 3,
    graphRuns: 2,
    peerSlowPairs: 20,
    vectors: 5000,
    uniformVectors: 2000,
    vectorDimension: 768,
    vectorExtra: 1000,
    vectorQueries: 100,
    vectorRounds: 2,
    growth: [5000, 50_000],
  },
  quick: {
    concepts: 20_000,
    associations: 100_000,
    writeConcepts: 20_000,
    names: 10_000,
    awaited: 200,
    concurrent: 5000,
    writeRuns: 1,
    calls: 2000,
    rounds: 1,
    quietMs: 300,
    openRuns: 2,
    grpcCalls: 200,
    grpcBatched: 10_000,
    grpcRuns: 1,
    cliRuns: 1,
    importConcepts: 20_000,
    importAssociations: 100_000,
    peerConcepts: 5000,
    peerAssociations: 5000,
    peerRuns: 1,
    graphRuns: 1,
    peerSlowPairs: 10,
    vectors: 10_000,
    uniformVectors: 5000,
    vectorDimension: 128,
    vectorExtra: 2000,
    vectorQueries: 100,
    vectorRounds: 1,
    growth: [2000, 20_000],
  },
};
