/**
 * One vector search: by the index, or exactly where that is cheaper or all there is. The index names candidates; what they are
 * worth is decided by an exact scan of the best of them and of the slots that the index was not told of yet, so an answer's
 * similarities and order are those of the full vectors, and every vector that was acknowledged before the search is looked
 * at. What changed under a search that had to wait is looked at again before it answers.
 */

import { SutraError } from '../../errors.js';
import { checkBudget, type TraversalBudget } from '../graph/budget.js';
import type { State } from '../state.js';
import { atLeast, type ExactScan, type VectorRanking } from './exact-scan.js';
import type { Candidates } from './index-messages.js';
import { indexUs, scanUs } from './search-plan.js';
import type { VectorIndex } from './vector-index.js';
import type { VectorPrecision, VectorQuery } from './vector-query.js';
import { VectorRows } from './vector-rows.js';

/** A search whose results keep changing under it is run so often; the last answer is put right in place. */
const ATTEMPTS = 3;
/** A reader that is asked once rather waits for its index than scan for longer than this. */
const PATIENCE_US = 150_000;
/**
 * How far a distance of the index may be off. For f16 six standard deviations of what rounding does to the product of two
 * vectors that are alike, where it is most: it goes with each number, so it shrinks with their count. For f32 what adding up
 * does; that of i8 is the same for all.
 */
function distanceError(precision: VectorPrecision, dimension: number): number {
  if (precision === 'i8') return 2e-2;
  return precision === 'f16' ? 4.2e-3 / Math.sqrt(dimension) : 1e-6;
}
/** When fewer than k of the candidates are within, so many times as many are asked for. */
const WIDEN = 4;

export class VectorSearch {
  private searched = false;

  constructor(
    private readonly state: State,
    private readonly scan: ExactScan,
    private readonly index: VectorIndex,
    private readonly waitsForIndex: boolean,
    private readonly requireOpen: () => void,
  ) {}

  run<Answer>(
    query: Float32Array,
    options: VectorQuery,
    budget: TraversalBudget,
    finish: (ranking: VectorRanking) => Answer,
  ): Answer | Promise<Answer> {
    const rows = this.rowsOf(options);
    const { dimension } = this.state.levels;
    const exactUs = scanUs(rows, dimension);
    const { index } = this;
    if (budget.sliceMs !== Infinity && index.possible) {
      if (!index.ready) {
        if (!this.waitsForIndex) index.start();
        else if (this.searched || exactUs > PATIENCE_US) {
          return this.afterOpening(query, options, budget, finish);
        }
      }
      const count = this.candidatesFor(options, rows);
      if (index.ready && (index.preferred || this.indexCost(options, count) < exactUs)) {
        return this.byIndex(query, options, count, budget, finish);
      }
    }
    this.searched = true;
    return this.exactly(query, options, budget, finish);
  }

  private rowsOf(options: VectorQuery): number {
    return options.within === null ? this.state.vectorCount : options.within.length;
  }

  private async afterOpening<Answer>(
    query: Float32Array,
    options: VectorQuery,
    budget: TraversalBudget,
    finish: (ranking: VectorRanking) => Answer,
  ): Promise<Answer> {
    await this.index.opened();
    this.requireOpen();
    checkBudget(budget);
    if (this.index.ready) return this.run(query, options, budget, finish);
    return this.exactly(query, options, budget, finish);
  }

  /** Of a search among few of many, as many more as it takes for k of them to be within. */
  private candidatesFor(options: VectorQuery, rows: number): number {
    const { vectorCount } = this.state;
    const count = Math.max(options.k, options.ef);
    if (options.within === null) return Math.min(count, vectorCount);
    return Math.min(Math.ceil((count * vectorCount) / Math.max(1, rows)), vectorCount);
  }

  private indexCost(options: VectorQuery, count: number): number {
    const { index, state } = this;
    const { dimension } = state.levels;
    return indexUs(count, options.k, index.queuedCount, index.changedCount, dimension);
  }

  // --- by the index ---

  private async byIndex<Answer>(
    query: Float32Array,
    options: VectorQuery,
    firstCount: number,
    budget: TraversalBudget,
    finish: (ranking: VectorRanking) => Answer,
  ): Promise<Answer> {
    const { state, index, scan } = this;
    const error = distanceError(index.options.precision, query.length);
    let count = firstCount;
    for (let attempt = 1; ; attempt++) {
      const begin = index.journal.begin();
      // Those that are handed over from here on come to the worker behind the search.
      const before = index.changedSlots();
      try {
        const found = await index.search(query, count);
        this.requireOpen();
        checkBudget(budget);
        if (state.levels.dimension !== query.length) return finish(NOTHING);
        if (found === null) break;
        const changed = union(before, index.changedSlots());
        const chosen = choose(found, changed, options, error);
        const all = found.slots.length < count;
        if (chosen.kept < options.k && !all && count < state.vectorCount) {
          // Too many of them are not within, or changed since.
          count = Math.min(count * WIDEN, state.vectorCount);
          const exactUs = scanUs(this.rowsOf(options), query.length);
          if (index.preferred || this.indexCost(options, count) < exactUs) continue;
          break;
        }
        const rows = new VectorRows(state, chosen.slots);
        const ranked = scan.topK(query, options.k, rows, budget);
        const ranking = ranked instanceof Promise ? await ranked : ranked;
        this.requireOpen();
        if (this.unchanged(ranking, begin, options.k)) {
          return finish(atLeast(ranking, options.minSimilarity));
        }
        if (attempt >= ATTEMPTS) {
          return finish(
            atLeast(this.again(query, options.k, ranking, budget), options.minSimilarity),
          );
        }
      } finally {
        index.journal.end(begin);
      }
    }
    return this.exactly(query, options, budget, finish);
  }

  // --- exactly ---

  private exactly<Answer>(
    query: Float32Array,
    options: VectorQuery,
    budget: TraversalBudget,
    finish: (ranking: VectorRanking) => Answer,
  ): Answer | Promise<Answer> {
    const { k, within, minSimilarity } = options;
    const found = this.scan.topK(query, k, new VectorRows(this.state, within), budget);
    if (!(found instanceof Promise)) return finish(atLeast(found, minSimilarity));
    return this.afterPauses(found, query, options, budget, finish);
  }

  private async afterPauses<Answer>(
    first: Promise<VectorRanking>,
    query: Float32Array,
    options: VectorQuery,
    budget: TraversalBudget,
    finish: (ranking: VectorRanking) => Answer,
  ): Promise<Answer> {
    const { state, scan, index } = this;
    const { k, within, minSimilarity } = options;
    let running: VectorRanking | Promise<VectorRanking> = first;
    for (let attempt = 1; ; attempt++) {
      // Nothing has run since the scan began but the scan.
      const begin = index.journal.begin();
      try {
        const ranking = await running;
        this.requireOpen();
        if (this.unchanged(ranking, begin, k)) return finish(atLeast(ranking, minSimilarity));
        if (state.levels.dimension !== query.length) return finish(NOTHING);
        if (attempt >= ATTEMPTS) {
          return finish(atLeast(this.again(query, k, ranking, budget), minSimilarity));
        }
        running = scan.topK(query, k, new VectorRows(state, within), budget);
      } finally {
        index.journal.end(begin);
      }
    }
  }

  // --- what changed under a search ---

  /**
   * Whether all that was found still has the vector that it was found by. When fewer than k were, what was forgotten may have
   * been found too, in the place of others.
   */
  private unchanged(ranking: VectorRanking, begin: number, k: number): boolean {
    const { journal } = this.index;
    if (!journal.hasChanged(begin)) return true;
    return ranking.slots.length >= k && !journal.hasChangedAmong(ranking.slots, begin);
  }

  /** The same slots, as they are now, in one turn. */
  private again(
    query: Float32Array,
    k: number,
    ranking: VectorRanking,
    budget: TraversalBudget,
  ): VectorRanking {
    if (this.state.levels.dimension !== query.length) return NOTHING;
    const rows = new VectorRows(this.state, ranking.slots);
    const found = this.scan.topK(query, k, rows, { ...budget, sliceMs: Infinity });
    if (found instanceof Promise)
      throw new SutraError('INTERNAL', 'a scan did not end in its turn');
    return found;
  }
}

/**
 * The slots to look at closely: the k nearest candidates and those that may be as near, for all the index can tell; and
 * those that changed without it. Ascending, each once. `kept`: candidates that count.
 */
function choose(
  found: Candidates,
  changed: Uint32Array,
  options: VectorQuery,
  error: number,
): { readonly slots: Uint32Array; readonly kept: number } {
  const { k, within } = options;
  const { slots, distances } = found;
  const chosen = new Uint32Array(slots.length + changed.length);
  let count = 0;
  let farthest = Infinity;
  const most = 2 * k + 32;
  for (let i = 0; i < slots.length && count < most; i++) {
    const slot = slots[i]!;
    if (changed.length > 0 && includes(changed, slot)) continue;
    if (within !== null && !includes(within, slot)) continue;
    if (distances[i]! > farthest) break;
    chosen[count++] = slot;
    if (count === k) farthest = distances[i]! + 2 * error;
  }
  const kept = count;
  for (const slot of changed) {
    if (within === null || includes(within, slot)) chosen[count++] = slot;
  }
  return { slots: chosen.slice(0, count).sort(), kept };
}

/** Ascending, each once. */
function union(a: Uint32Array, b: Uint32Array): Uint32Array {
  if (a.length + b.length === 0) return a;
  const all = new Uint32Array(a.length + b.length);
  all.set(a);
  all.set(b, a.length);
  all.sort();
  return all.filter((slot, i) => i === 0 || slot !== all[i - 1]);
}

const NOTHING: VectorRanking = { slots: new Uint32Array(0), similarities: new Float32Array(0) };

/** Whether an ascending list has a slot. */
function includes(sorted: Uint32Array, slot: number): boolean {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < slot) low = middle + 1;
    else high = middle;
  }
  return low < sorted.length && sorted[low] === slot;
}
