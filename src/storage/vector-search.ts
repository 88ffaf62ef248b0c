/**
 * A vector search of an embedded store, from what was asked to what is answered: the neighbourhood it is restricted to, the
 * ranking, ids, and contents. Whatever the engine ranks is turned into ids in the same turn. A slot of the neighbourhood
 * may be another concept's when the ranking comes; then both are done again, the last time in one turn. Contents are read
 * in that turn too as far as one slice goes, and the rest by id, so that a concept forgotten meanwhile is left out.
 */

import { SutraError } from '../errors.js';
import {
  DEFAULT_SLICE_MS,
  MAX_RESTARTS,
  checkBudget,
  type TraversalBudget,
} from '../engine/graph/budget.js';
import type { Store } from '../engine/store.js';
import type { VectorRanking } from '../engine/vector/exact-scan.js';
import type { Neighborhood, SearchOptions, VectorMatch } from './storage.js';
import {
  DEFAULT_EF_SEARCH,
  DEFAULT_HOPS,
  DEFAULT_K,
  MAX_SEARCH_CONTENT_BYTES,
} from './validation.js';

/** The arguments have been checked. @throws UNKNOWN_CONCEPT, DIMENSION_MISMATCH, TOO_LARGE, and what a budget throws */
export async function searchStore(
  store: Store,
  query: Float32Array | readonly number[],
  options: SearchOptions,
  budgetOf: (sliceMs: number) => TraversalBudget,
): Promise<VectorMatch[]> {
  const { within } = options;
  if (within !== undefined) requireSlot(store, within);
  const { dimension } = store;
  if (dimension === 0) return [];
  if (query.length !== dimension) {
    const description = `got ${query.length} dimensions, expected ${dimension}`;
    throw new SutraError('DIMENSION_MISMATCH', `query_vector: ${description}`, {
      violations: [{ field: 'query_vector', description }],
    });
  }
  // A copy: the caller may change its own while the search is under way.
  const vector = new Float32Array(query);
  for (let attempt = 0; ; attempt++) {
    const budget = budgetOf(attempt < MAX_RESTARTS ? DEFAULT_SLICE_MS : Infinity);
    const { reusedSlots } = store.state;
    const slots = within === undefined ? null : neighborhood(store, within, budget);
    const answer = new Answer(store, options.withContent === true, budget);
    const found = store.searchVectors(
      vector,
      {
        k: orDefault(options.k, DEFAULT_K),
        ef: orDefault(options.efSearch, DEFAULT_EF_SEARCH),
        minSimilarity: Math.fround(options.minSimilarity ?? -1),
        within: slots instanceof Promise ? await slots : slots,
      },
      budget,
      (ranking) => {
        if (within !== undefined && store.state.reusedSlots !== reusedSlots) return false;
        answer.take(ranking);
        return true;
      },
    );
    if (found instanceof Promise ? await found : found) return answer.complete();
    if (attempt === MAX_RESTARTS)
      throw new SutraError('INTERNAL', 'a search did not come to an end');
  }
}

function orDefault(value: number | undefined, fallback: number): number {
  return value === undefined || value === 0 ? fallback : value;
}

function requireSlot(store: Store, { id }: Neighborhood): number {
  const slot = store.findSlot(id);
  if (slot >= 0) return slot;
  throw new SutraError('UNKNOWN_CONCEPT', `within_id: ${JSON.stringify(id)} is not known`);
}

function neighborhood(
  store: Store,
  within: Neighborhood,
  budget: TraversalBudget,
): Uint32Array | Promise<Uint32Array> {
  const slot = requireSlot(store, within);
  return store.neighborhood(slot, orDefault(within.hops, DEFAULT_HOPS), budget);
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** The matches of one ranking, best first, and how far their contents have been read. */
class Answer {
  private matches: Mutable<VectorMatch>[] = [];
  private read = 0;
  private bytes = 0;
  private forgotten = false;

  constructor(
    private readonly store: Store,
    private readonly withContent: boolean,
    private readonly budget: TraversalBudget,
  ) {}

  /** In the turn of the ranking. */
  take({ slots, similarities }: VectorRanking): void {
    const { store } = this;
    for (let i = 0; i < slots.length; i++) {
      const id = store.idOf(slots[i] ?? 0);
      this.matches.push({ id, similarity: similarities[i] ?? 0 });
    }
    if (this.withContent) this.readContents();
  }

  async complete(): Promise<VectorMatch[]> {
    while (this.withContent && this.read < this.matches.length) {
      await this.budget.pause();
      checkBudget(this.budget);
      this.readContents();
    }
    if (!this.forgotten) return this.matches;
    return this.matches.filter(({ content }) => content !== undefined);
  }

  /** For one slice. */
  private readContents(): void {
    const { store, matches, budget } = this;
    const end = budget.now() + budget.sliceMs;
    do {
      const match = matches[this.read++];
      if (match === undefined) return;
      const slot = store.findSlot(match.id);
      if (slot < 0) {
        this.forgotten = true;
        continue;
      }
      match.content = store.readContent(slot);
      this.bytes += Buffer.byteLength(match.content);
      if (this.bytes > MAX_SEARCH_CONTENT_BYTES) {
        throw new SutraError(
          'TOO_LARGE',
          `the contents of ${matches.length} matches are more than ${MAX_SEARCH_CONTENT_BYTES} bytes`,
          { hint: 'Ask for fewer, or search without content and query each.' },
        );
      }
    } while (budget.now() < end);
  }
}
