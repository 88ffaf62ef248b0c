/**
 * The data that every case works on, as functions of an index and a seed: whoever needs concept 123,456 or association
 * 2,000,000 computes it, so that no file passes between processes and a verification does not trust what it verifies.
 */

const HEX: readonly string[] = Array.from({ length: 65_536 }, (_, value) =>
  value.toString(16).padStart(4, '0'),
);
const CONTENTS = 4096;
/** Contents are 60 bytes, as in the figures to beat. */
const CONTENT_BYTES = 60;

/** murmur3's finalizer over a counter: a bijection of 32 bits, so that distinct indexes stay distinct. */
function mixed(value: number): number {
  let h = value | 0;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function hexWord(word: number): string {
  return (HEX[word >>> 16] ?? '') + (HEX[word & 0xffff] ?? '');
}

/** Concept i as 32 hex digits; distinct for i below 2^32. */
export function hexId(i: number): string {
  const text =
    hexWord(mixed(i)) +
    hexWord(mixed(i ^ 0x5bd1e995)) +
    hexWord(mixed(i + 0x9e3779b9)) +
    'c0ffee00';
  return flat(text);
}

/** Concept i as a name of about 20 characters. */
export function nameId(i: number): string {
  return flat(`concept ${hexWord(mixed(i))} ${i}`);
}

/** Concatenation makes ropes, and the store under test should not pay for straightening them. */
function flat(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}

const contents: string[] = [];

/** The content of concept i: 60 bytes of ASCII, one of 4,096. */
export function contentOf(i: number): string {
  if (contents.length === 0) {
    for (let n = 0; n < CONTENTS; n++) {
      contents.push(
        flat(
          `${hexWord(mixed(n))} learns that one thing leads to another, and so on.`.padEnd(
            CONTENT_BYTES,
            '.',
          ),
        ),
      );
    }
  }
  return contents[mixed(i ^ 0x2545f491) & (CONTENTS - 1)] ?? '';
}

/** xorshift32; enough for choosing what to ask. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = mixed(seed) | 1;
  }

  /** An integer in [0, limit). */
  below(limit: number): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x;
    return Math.floor(((x >>> 0) / 4294967296) * limit);
  }
}

/** A random graph: association e goes from sources[e] to targets[e]; none occurs twice. */
export class RandomGraph {
  readonly sources: Uint32Array;
  readonly targets: Uint32Array;

  constructor(
    readonly concepts: number,
    readonly associations: number,
  ) {
    this.sources = new Uint32Array(associations);
    this.targets = new Uint32Array(associations);
    const random = new Random(concepts ^ associations);
    const seen = new Set<number>();
    for (let e = 0; e < associations;) {
      const source = random.below(concepts);
      const target = random.below(concepts);
      const pair = source * concepts + target;
      // A set of all pairs would weigh as much as the store; a small one catches repeats well enough to try again.
      if (source === target || seen.has(pair)) continue;
      if (seen.size < 4096) seen.add(pair);
      this.sources[e] = source;
      this.targets[e] = target;
      e++;
    }
  }

  confidenceOf(e: number): number {
    return ((mixed(e) & 1023) + 1) / 1024;
  }

  typeOf(e: number): number {
    return mixed(e) % 5;
  }
}

/** Neighbours in both directions, as a plain array of lists in one: the oracle for degrees and path lengths. */
export class Adjacency {
  private readonly offsets: Uint32Array;
  private readonly others: Uint32Array;

  constructor({ concepts, associations, sources, targets }: RandomGraph) {
    const offsets = new Uint32Array(concepts + 1);
    const countAt = (i: number): void => {
      offsets[i + 1] = (offsets[i + 1] ?? 0) + 1;
    };
    sources.forEach(countAt);
    targets.forEach(countAt);
    for (let i = 0; i < concepts; i++) offsets[i + 1] = (offsets[i + 1] ?? 0) + (offsets[i] ?? 0);
    const next = offsets.slice();
    const others = new Uint32Array(associations * 2);
    const place = (i: number, other: number): void => {
      const at = next[i] ?? 0;
      others[at] = other;
      next[i] = at + 1;
    };
    sources.forEach((source, e) => place(source, targets[e] ?? 0));
    targets.forEach((target, e) => place(target, sources[e] ?? 0));
    this.offsets = offsets;
    this.others = others;
  }

  /** Ends of the associations at i; one that is linked twice is there twice. */
  private ends(i: number): Uint32Array {
    return this.others.subarray(this.offsets[i], this.offsets[i + 1]);
  }

  degree(i: number): number {
    return this.ends(i).length;
  }

  /** Distinct neighbours, ascending. */
  neighbors(i: number): number[] {
    return [...new Set(this.ends(i))].sort((a, b) => a - b);
  }

  /** Everything exactly `depth` hops away: plain breadth-first search. */
  atDistance(start: number, depth: number): number[] {
    const seen = new Set([start]);
    let level = [start];
    for (let d = 0; d < depth; d++) {
      const next: number[] = [];
      for (const node of level) {
        for (const other of this.ends(node)) {
          if (seen.has(other)) continue;
          seen.add(other);
          next.push(other);
        }
      }
      level = next;
    }
    return level;
  }
}
