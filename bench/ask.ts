/**
 * The questions, asked of a peer that answers at once: the same rounds that cases/reads.ts asks of sutra, whose answers are
 * promises. The first round of each kind is for the compiler and the caches and is not counted.
 */

import { latencies, median, verify, type Latencies } from './measure.js';
import { DEGREE, HOPS, type Pair, type Questions } from './questions.js';
import { contentOf, hexId } from './workload.js';

export interface ReadFigures {
  /** Microseconds a call, one per round; empty where a peer is not asked that. */
  readonly pointUs: readonly number[];
  readonly neighborsUs: readonly number[];
  readonly pathUs: Latencies;
  readonly pathRoundsP50Us: readonly number[];
  /** Hops between the checked pairs, for comparing systems with each other. */
  readonly lengths: readonly number[];
}

/** A peer by its own keys, which are made before anything is timed. */
export interface Peer<Key> {
  keyOf(i: number): Key;
  content?(key: Key): string;
  /** Ids in hex, each once, in any order. */
  neighbors?(key: Key): Iterable<string> & { readonly length: number };
  /** -1: no path. */
  hops?(from: Key, to: Key): number;
}

export function ask<Key>(
  peer: Peer<Key>,
  questions: Questions,
  { rounds, pairs }: { readonly rounds: number; readonly pairs: number },
): ReadFigures {
  const pointUs = askContents(peer, questions.asked, rounds);
  const neighborsUs = askNeighbors(peer, questions, rounds);
  const { took, roundsP50 } = askPaths(peer, questions.pairs.slice(0, pairs), rounds);
  const lengths = questions.checked.map(({ from, to }) => {
    return peer.hops?.(peer.keyOf(from), peer.keyOf(to)) ?? NaN;
  });
  if (peer.hops !== undefined) verifyLengths(lengths, questions.checked);
  return {
    pointUs,
    neighborsUs,
    pathUs: latencies(took),
    pathRoundsP50Us: roundsP50,
    lengths: peer.hops === undefined ? [] : lengths,
  };
}

export function verifyLengths(lengths: readonly number[], checked: readonly Pair[]): void {
  for (const [n, { from, to, hops }] of checked.entries()) {
    verify(lengths[n] === hops, `${lengths[n]} hops from ${from} to ${to}, which is ${hops}`);
  }
}

function askContents<Key>(peer: Peer<Key>, asked: readonly number[], rounds: number): number[] {
  if (peer.content === undefined) return [];
  const keys = asked.map((i) => peer.keyOf(i));
  const us: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    let bytes = 0;
    const start = performance.now();
    for (const key of keys) bytes += peer.content(key).length;
    if (round > 0) us.push(((performance.now() - start) * 1000) / keys.length);
    verify(bytes === keys.length * 60, 'contents read');
  }
  for (const [n, i] of asked.slice(0, 1000).entries()) {
    const key = keys[n];
    verify(key !== undefined && peer.content(key) === contentOf(i), `content of ${i}`);
  }
  return us;
}

function askNeighbors<Key>(
  peer: Peer<Key>,
  { hubs, adjacency }: Questions,
  rounds: number,
): number[] {
  if (peer.neighbors === undefined) return [];
  const keys = hubs.map((i) => peer.keyOf(i));
  const us: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    let found = 0;
    const start = performance.now();
    for (const key of keys) found += peer.neighbors(key).length;
    if (round > 0) us.push(((performance.now() - start) * 1000) / keys.length);
    verify(found === keys.length * DEGREE, 'neighbours found');
  }
  for (const hub of hubs.slice(0, 100)) {
    const found = [...peer.neighbors(peer.keyOf(hub))].sort();
    const expected = adjacency.neighbors(hub).map(hexId).sort();
    verify(found.join() === expected.join(), `neighbours of ${hub}`);
  }
  return us;
}

function askPaths<Key>(
  peer: Peer<Key>,
  pairs: readonly Pair[],
  rounds: number,
): { readonly took: readonly number[]; readonly roundsP50: readonly number[] } {
  const took: number[] = [];
  const roundsP50: number[] = [];
  if (peer.hops === undefined) return { took, roundsP50 };
  const keys = pairs.map(({ from, to }) => [peer.keyOf(from), peer.keyOf(to)] as const);
  for (let round = 0; round <= rounds; round++) {
    const us: number[] = [];
    for (const [from, to] of keys) {
      const start = performance.now();
      const hops = peer.hops(from, to);
      us.push((performance.now() - start) * 1000);
      verify(hops === HOPS, `a path of ${hops} hops`);
    }
    if (round === 0) continue;
    took.push(...us);
    roundsP50.push(median(us));
  }
  return { took, roundsP50 };
}
