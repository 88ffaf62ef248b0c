/**
 * One call of a load: what it asks, and whether the answer is what was learned. Queries, neighbours, paths and searches are
 * about the graph that was learned before; learn and link add concepts and associations beside it, which change no answer,
 * and after so many of them go round and learn the same again, so that a long run does not fill a disk.
 *
 * The clock stops when the answer is there; checking it comes after.
 */

import { toSutraError } from '../errors.js';
import type {
  CallOptions,
  NeighborsAnswer,
  PathAnswer,
  Storage,
  VectorMatch,
  WriteReceipt,
} from '../storage/storage.js';
import { cosine, randomFrom, type LoadGraph } from './graph.js';
import { WRONG_ANSWER, type CallMeter } from './meter.js';
import type { LoadCall } from './mix.js';

/** Concepts that links are learned between. */
export const LINK_ENDS = 512;
const MAX_WALK = 4;
const SEARCH_K = 10;
const SIMILARITY_TOLERANCE = 1e-4;
/** Messages of errors that are kept to be shown. */
const EXAMPLES = 5;

/** What was sent, by number; of what failed nobody knows whether it was learned. */
export class Additions {
  private next = 0;
  readonly uncertain = new Set<number>();

  constructor(private readonly most: number) {}

  take(): number {
    return this.next++ % this.most;
  }

  /** Distinct ones that were sent. */
  get sent(): number {
    return Math.min(this.next, this.most);
  }
}

export class LoadCalls {
  readonly learned: Additions;
  readonly linked: Additions;
  readonly examples: string[] = [];
  /** Without one that was answered rightly in between. */
  failuresInARow = 0;
  private readonly random: () => number;
  /** The highest that was acknowledged: a write that is sent later has a higher one. */
  private lastSequence = 0;

  constructor(
    private readonly storage: Storage,
    private readonly graph: LoadGraph,
    private readonly options: CallOptions,
    seed: number,
    maxNew: number,
  ) {
    this.random = randomFrom(seed);
    this.learned = new Additions(maxNew);
    this.linked = new Additions(Math.min(maxNew, LINK_ENDS * (LINK_ENDS - 1)));
  }

  chance(): number {
    return this.random();
  }

  /** Index of the first concept that learn learns; link ends lie between the graph and these. */
  get firstLearned(): number {
    return this.graph.size.concepts + LINK_ENDS;
  }

  async make(call: LoadCall, dueMs: number | null, meter: CallMeter): Promise<void> {
    const { storage, graph, options } = this;
    switch (call) {
      case 'learn': {
        const number = this.learned.take();
        const concept = graph.concept(this.firstLearned + number);
        await this.write(meter, dueMs, this.learned, number, () =>
          storage.learnConcept(concept, options),
        );
        return;
      }
      case 'link': {
        const number = this.linked.take();
        const link = this.link(number);
        await this.write(meter, dueMs, this.linked, number, () =>
          storage.learnAssociation(link, options),
        );
        return;
      }
      case 'query': {
        const index = this.anyConcept();
        const id = graph.id(index);
        const content = graph.content(index);
        await this.timed(
          meter,
          dueMs,
          () => storage.queryConcept(id, options),
          (answer) =>
            answer.found && answer.id === id && answer.content === content
              ? null
              : `query ${id}: ${answer.found ? 'another content' : 'not found'}`,
        );
        return;
      }
      case 'neighbors': {
        const index = this.anyConcept();
        const id = graph.id(index);
        await this.timed(
          meter,
          dueMs,
          () => storage.getNeighbors(id, options),
          (answer) => this.checkNeighbors(index, answer),
        );
        return;
      }
      case 'path': {
        const walk = this.walk();
        const start = graph.id(walk.start);
        const end = graph.id(walk.end);
        await this.timed(
          meter,
          dueMs,
          () => storage.findPath(start, end, options),
          (answer) => this.checkPath(start, end, walk.hops, answer),
        );
        return;
      }
      case 'search': {
        const index = this.anyConcept();
        const vector = graph.vector(index);
        await this.timed(
          meter,
          dueMs,
          () => storage.vectorSearch(vector, { ...options, k: SEARCH_K }),
          (matches) => this.checkSearch(index, vector, matches, meter),
        );
        return;
      }
    }
  }

  link(number: number): { source: string; target: string; type: number } {
    const { concepts } = this.graph.size;
    const source = number % LINK_ENDS;
    const target = (source + 1 + Math.floor(number / LINK_ENDS)) % LINK_ENDS;
    return {
      source: this.graph.id(concepts + source),
      target: this.graph.id(concepts + target),
      type: 0,
    };
  }

  fail(meter: CallMeter, code: string, message: string): void {
    meter.fail(code);
    this.failuresInARow++;
    if (this.examples.length < EXAMPLES) this.examples.push(`${code}: ${message}`);
  }

  /** `check` gives what is wrong with an answer, or null. Whether it went well comes back. */
  private async timed<Answer>(
    meter: CallMeter,
    dueMs: number | null,
    send: () => Promise<Answer>,
    check: (answer: Answer) => string | null,
  ): Promise<boolean> {
    const startMs = dueMs ?? performance.now();
    let answer: Answer;
    try {
      answer = await send();
    } catch (error) {
      const { code, message } = toSutraError(error);
      this.fail(meter, code, message);
      return false;
    }
    const us = (performance.now() - startMs) * 1000;
    const wrong = check(answer);
    if (wrong === null) {
      this.failuresInARow = 0;
      meter.record(us);
      return true;
    }
    this.fail(meter, WRONG_ANSWER, wrong);
    return false;
  }

  private async write(
    meter: CallMeter,
    dueMs: number | null,
    additions: Additions,
    number: number,
    send: () => Promise<WriteReceipt>,
  ): Promise<void> {
    const before = this.lastSequence;
    const well = await this.timed(meter, dueMs, send, ({ sequence }) => {
      if (sequence <= before) return `a write behind sequence ${before} took ${sequence}`;
      if (sequence > this.lastSequence) this.lastSequence = sequence;
      return null;
    });
    if (!well) additions.uncertain.add(number);
  }

  private anyConcept(): number {
    return Math.floor(this.random() * this.graph.size.concepts);
  }

  /** Two concepts with a path of at most so many hops between them. */
  private walk(): { start: number; end: number; hops: number } {
    const start = this.anyConcept();
    let end = start;
    const hops = 1 + Math.floor(this.random() * MAX_WALK);
    for (let hop = 0; hop < hops; hop++) {
      const neighbors = this.graph.neighbors(end);
      end = neighbors[Math.floor(this.random() * neighbors.length)]?.index ?? end;
    }
    return { start, end, hops };
  }

  private checkNeighbors(index: number, { known, neighbors }: NeighborsAnswer): string | null {
    const id = this.graph.id(index);
    if (!known) return `neighbors ${id}: not known`;
    const expected = new Map(
      this.graph.neighbors(index).map((neighbor) => [this.graph.id(neighbor.index), neighbor]),
    );
    if (neighbors.length !== expected.size) {
      return `neighbors ${id}: got ${neighbors.length}, expected ${expected.size}`;
    }
    let above = Infinity;
    for (const { id: other, type, confidence, direction } of neighbors) {
      const wanted = expected.get(other);
      // Taken out, so that a neighbour that comes twice is not there the second time.
      expected.delete(other);
      if (
        wanted?.type !== type ||
        wanted.confidence !== confidence ||
        wanted.direction !== direction ||
        confidence > above
      ) {
        return `neighbors ${id}: ${other} is not as it was learned, or out of order`;
      }
      above = confidence;
    }
    return null;
  }

  private checkPath(start: string, end: string, hops: number, answer: PathAnswer): string | null {
    const { found, path } = answer;
    const what = `path ${start} ${end}`;
    if (!found) return `${what}: not found within ${hops} hops`;
    if (path[0] !== start || path.at(-1) !== end) return `${what}: of other ends`;
    if (path.length - 1 > hops) return `${what}: ${path.length - 1} hops, there is one of ${hops}`;
    for (let i = 1; i < path.length; i++) {
      const from = this.graph.indexOf(path[i - 1] ?? '');
      const to = this.graph.indexOf(path[i] ?? '');
      const joined = from !== null && this.graph.neighbors(from).some(({ index }) => index === to);
      if (!joined) return `${what}: ${path[i - 1] ?? ''} and ${path[i] ?? ''} are not associated`;
    }
    return null;
  }

  private checkSearch(
    index: number,
    vector: Float32Array,
    matches: readonly VectorMatch[],
    meter: CallMeter,
  ): string | null {
    const what = `search like ${this.graph.id(index)}`;
    if (matches.length < Math.min(SEARCH_K, this.graph.size.concepts)) {
      return `${what}: got ${matches.length} matches`;
    }
    let above = Infinity;
    const seen = new Set<string>();
    for (const { id, similarity } of matches) {
      if (seen.has(id) || similarity > above) return `${what}: matches repeat or are out of order`;
      seen.add(id);
      above = similarity;
    }
    // Of each answer the best and the last: comparing all would keep the client busier than the store.
    for (const match of [matches[0], matches.at(-1)]) {
      const other = match === undefined ? null : this.graph.indexOf(match.id);
      if (match === undefined || other === null) continue;
      const similarity = cosine(vector, this.graph.vector(other));
      if (Math.abs(similarity - match.similarity) > SIMILARITY_TOLERANCE) {
        return `${what}: ${match.id} has similarity ${similarity}, not ${match.similarity}`;
      }
    }
    // An approximate index may miss even this one; that is a matter of recall, not of truth.
    if (!seen.has(this.graph.id(index))) meter.missed++;
    return null;
  }
}
