/**
 * The data of a load. Ids, contents, embeddings and associations all follow from a concept's index, so that any answer can be
 * checked without keeping what was learned. Concepts 0..N-1 are a circulant graph: layer k of associations goes from each
 * concept i to (i + stride k) mod N. Strides are distinct and below N/2, therefore no two associations join the same pair,
 * and the neighbours of each concept are known by arithmetic.
 */

import type { AssociationInput, ConceptInput } from '../storage/storage.js';

export interface GraphSize {
  readonly concepts: number;
  readonly associations: number;
  readonly contentBytes: number;
  /** Of each concept's embedding; 0: none have one. */
  readonly dimension: number;
}

export interface ExpectedNeighbor {
  readonly index: number;
  readonly type: number;
  readonly confidence: number;
  readonly direction: 'out' | 'in';
}

/** Associations that so many concepts have room for. */
export function maxAssociations(concepts: number): number {
  return concepts * Math.floor((concepts - 1) / 2);
}

export class LoadGraph {
  private readonly strides: readonly number[];

  /** `prefix` begins every id. */
  constructor(
    readonly prefix: string,
    readonly size: GraphSize,
  ) {
    const { concepts, associations } = size;
    const room = Math.floor((concepts - 1) / 2);
    // Steps of the golden section spread over the room; coprime to it, so none comes twice.
    let step = Math.max(1, Math.round(room * 0.618));
    while (gcd(step, room) > 1) step++;
    const layers = Math.ceil(associations / concepts);
    this.strides = Array.from({ length: layers }, (_, k) => 1 + ((k * step) % room));
  }

  id(index: number): string {
    return this.prefix + String(index);
  }

  /** Null: not one of ours. */
  indexOf(id: string): number | null {
    if (!id.startsWith(this.prefix)) return null;
    const digits = id.slice(this.prefix.length);
    return /^\d{1,15}$/.test(digits) ? Number(digits) : null;
  }

  content(index: number): string {
    const head = `${this.id(index)} `;
    return head.padEnd(this.size.contentBytes, 'what a benchmark learned ');
  }

  vector(index: number): Float32Array {
    const vector = new Float32Array(this.size.dimension);
    const random = randomFrom(index + 1);
    for (let i = 0; i < vector.length; i++) vector[i] = random() * 2 - 1;
    return vector;
  }

  concept(index: number): ConceptInput {
    const concept = { id: this.id(index), content: this.content(index) };
    return this.size.dimension === 0 ? concept : { ...concept, embedding: this.vector(index) };
  }

  /** One of 0..associations-1. */
  association(number: number): AssociationInput {
    const { concepts } = this.size;
    const layer = Math.floor(number / concepts);
    const source = number % concepts;
    const target = (source + (this.strides[layer] ?? 0)) % concepts;
    return {
      source: this.id(source),
      target: this.id(target),
      type: layer % 5,
      confidence: this.confidence(layer),
    };
  }

  neighbors(index: number): ExpectedNeighbor[] {
    const { concepts, associations } = this.size;
    const found: ExpectedNeighbor[] = [];
    this.strides.forEach((stride, layer) => {
      const facts = { type: layer % 5, confidence: this.confidence(layer) };
      if (layer * concepts + index < associations) {
        found.push({ index: (index + stride) % concepts, ...facts, direction: 'out' });
      }
      const source = (index - stride + concepts) % concepts;
      if (layer * concepts + source < associations) {
        found.push({ index: source, ...facts, direction: 'in' });
      }
    });
    return found;
  }

  /** Lower with each layer, as float32 keeps it. */
  private confidence(layer: number): number {
    return Math.fround(1 - layer / (this.strides.length + 1));
  }
}

/** Numbers in [0, 1), always the same for one seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b1);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function cosine(a: Float32Array, b: Float32Array): number {
  let product = 0;
  let squaresA = 0;
  let squaresB = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i] ?? 0;
    const y = b[i] ?? 0;
    product += x * y;
    squaresA += x * x;
    squaresB += y * y;
  }
  return product / Math.sqrt(squaresA * squaresB);
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
