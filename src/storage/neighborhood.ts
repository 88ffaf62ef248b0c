/**
 * The neighbourhood of a concept: everything within some hops of it, both ways, and every association among what was found,
 * by the calls of the Storage interface alone. Bounded: the strongest associations are followed first, and what is beyond
 * `limit` concepts is left out and said.
 *
 * It takes many calls. When something is written between them, it is gathered again; a store that is written all the while
 * gives a neighbourhood that was never whole at one moment, and says so.
 */

import { SutraError } from '../errors.js';
import type { CallOptions, ConceptAnswer, Storage } from './storage.js';

const ATTEMPTS = 3;
/** Of one concept the strongest so many associations are looked at: what fits a message for ids of 70 bytes. */
const MOST = 100_000;

export interface NeighborhoodOptions extends CallOptions {
  readonly hops: number;
  /** At most so many concepts. */
  readonly limit: number;
  readonly withEmbeddings: boolean;
}

export interface NeighborhoodAssociation {
  readonly source: string;
  readonly target: string;
  readonly type: number;
  readonly confidence: number;
}

export interface Neighborhood {
  /** By distance, the concept asked about first. */
  readonly concepts: readonly ConceptAnswer[];
  readonly associations: readonly NeighborhoodAssociation[];
  /** Concepts within the hops that the limit left out; there may be more behind them. */
  readonly leftOut: number;
  /** The store stood at this sequence before and after; null: it was written meanwhile. */
  readonly sequence: number | null;
}

export async function neighborhoodOf(
  storage: Storage,
  center: string,
  options: NeighborhoodOptions,
): Promise<Neighborhood> {
  for (let attempt = 1; ; attempt++) {
    const before = await storage.stats(call(options));
    const found = await gather(storage, center, options);
    const after = await storage.stats(call(options));
    if (before.sequence === after.sequence) return { ...found, sequence: after.sequence };
    if (attempt === ATTEMPTS) return { ...found, sequence: null };
  }
}

async function gather(
  storage: Storage,
  center: string,
  options: NeighborhoodOptions,
): Promise<Omit<Neighborhood, 'sequence'>> {
  const concepts: ConceptAnswer[] = [];
  const seen = new Set<string>();
  let chosen = 1;
  let leftOut = 0;
  let front = [center];
  for (let hop = 0; front.length > 0; hop++) {
    const next: string[] = [];
    for (const id of front) {
      const concept = await storage.queryConcept(id, {
        ...call(options),
        withEmbedding: options.withEmbeddings,
      });
      if (!concept.found) {
        // Forgotten meanwhile.
        if (hop > 0) continue;
        throw new SutraError('UNKNOWN_CONCEPT', `--around: no concept ${JSON.stringify(id)}`);
      }
      concepts.push(concept);
      // The concept asked about may be called by its key; from here on ids are as they were learned.
      seen.add(concept.id);
      if (hop === options.hops) continue;
      const { neighbors } = await storage.getNeighbors(concept.id, {
        ...call(options),
        limit: MOST,
      });
      for (const neighbor of neighbors) {
        if (seen.has(neighbor.id)) continue;
        seen.add(neighbor.id);
        if (chosen < options.limit) {
          chosen++;
          next.push(neighbor.id);
        } else leftOut++;
      }
    }
    front = next;
  }
  return { concepts, associations: await among(storage, concepts, options), leftOut };
}

async function among(
  storage: Storage,
  concepts: readonly ConceptAnswer[],
  options: CallOptions,
): Promise<NeighborhoodAssociation[]> {
  const inside = new Set(concepts.map(({ id }) => id));
  const associations: NeighborhoodAssociation[] = [];
  for (const { id: source } of concepts) {
    const { neighbors } = await storage.getNeighbors(source, {
      ...call(options),
      direction: 'out',
      parallel: true,
      limit: MOST,
    });
    for (const { id: target, type, confidence } of neighbors) {
      if (inside.has(target)) associations.push({ source, target, type, confidence });
    }
  }
  return associations;
}

/** Without what is not for calls. */
function call({ signal, timeoutMs }: CallOptions): CallOptions {
  return {
    ...(signal === undefined ? {} : { signal }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
}
