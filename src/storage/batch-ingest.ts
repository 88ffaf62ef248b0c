/**
 * Chunks of items into a Storage, each item by itself: what is refused is told by its place, and the rest of its chunk goes
 * in. A chunk is one atomic batch, and one that is refused is learned by halves, down to the items that are the reason. Chunks follow each other: only so is the order of the items
 * the order in which they are learned. The next chunk is read while one is under way.
 */

import { SutraError, type ErrorCode, type FieldViolation } from '../errors.js';
import { KeySet } from './key-set.js';
import type { AssociationInput, CallOptions, ConceptInput, Storage } from './storage.js';

/** Ids that are known to be there are remembered, so many at most. */
const MAX_KNOWN = 1_000_000;
/** Questions to a server at one time. */
const ASKED_AT_ONCE = 32;

export type IngestItem =
  | { readonly concept: ConceptInput }
  | {
      readonly association: AssociationInput;
      /** Learns ends that nobody learned, with their id for content. */
      readonly learnsEndpoints: boolean;
    };

export interface IngestItemError {
  /** In its chunk. */
  readonly index: number;
  readonly code: ErrorCode;
  readonly message: string;
  readonly violations: readonly FieldViolation[];
}

export interface IngestAck {
  readonly received: number;
  readonly errors: readonly IngestItemError[];
  /** Concepts that were learned because associations name them. */
  readonly endpoints: number;
  /** Of the last item that went in; 0: none did. */
  readonly lastSequence: number;
}

/** What the learning of one chunk needs and finds. */
interface Ingest {
  readonly storage: Storage;
  readonly options: CallOptions;
  readonly ends: Endpoints;
  readonly errors: IngestItemError[];
  endpoints: number;
  lastSequence: number;
}

export async function* ingest(
  storage: Storage,
  chunks: AsyncIterable<readonly IngestItem[]>,
  options: CallOptions,
): AsyncGenerator<IngestAck, void, undefined> {
  const ends = new Endpoints(storage, options);
  const iterator = chunks[Symbol.asyncIterator]();
  let next = iterator.next();
  for (;;) {
    const result = await next;
    if (result.done === true) return;
    const items = result.value;
    const run: Ingest = { storage, options, ends, errors: [], endpoints: 0, lastSequence: 0 };
    const learning = learnSome(run, items, 0, items.length);
    // Read ahead; a failure of the reading is looked at in its turn, behind this chunk's answer.
    next = iterator.next();
    next.catch(() => undefined);
    await learning;
    const { errors, endpoints, lastSequence } = run;
    yield { received: items.length, errors, endpoints, lastSequence };
  }
}

/** Learns items[from..to) as one batch, or what of it is not refused by halves: the order stays. */
async function learnSome(
  run: Ingest,
  items: readonly IngestItem[],
  from: number,
  to: number,
): Promise<void> {
  const some = items.slice(from, to);
  const ends = await run.ends.missing(some);
  const concepts = [...ends];
  const associations: AssociationInput[] = [];
  for (const item of some) {
    if ('concept' in item) concepts.push(item.concept);
    else associations.push(item.association);
  }
  try {
    const batch = { concepts, associations };
    const { firstSequence, count } = await run.storage.learnBatch(batch, run.options);
    run.lastSequence = firstSequence + count - 1;
    run.endpoints += ends.length;
  } catch (error) {
    if (!isAboutItems(error)) throw error;
    run.ends.forget(ends);
    if (to - from === 1) {
      const { code, message, violations } = error;
      run.errors.push({ index: from, code, message, violations });
      return;
    }
    const middle = (from + to) >>> 1;
    await learnSome(run, items, from, middle);
    await learnSome(run, items, middle, to);
  }
}

/** Refused for what the items are; anything else is the storage's own trouble. */
function isAboutItems(error: unknown): error is SutraError {
  if (!(error instanceof SutraError)) return false;
  return error.status === 'INVALID_ARGUMENT' || error.code === 'UNKNOWN_CONCEPT';
}

/** Which ends of associations are there already; asked for once each, as long as they are remembered. */
class Endpoints {
  private known = new KeySet();

  constructor(
    private readonly storage: Storage,
    private readonly options: CallOptions,
  ) {}

  /** Concepts that the items' associations want learned first. */
  async missing(items: readonly IngestItem[]): Promise<ConceptInput[]> {
    const unsure = new Set<string>();
    for (const item of items) {
      if ('concept' in item || !item.learnsEndpoints) continue;
      for (const id of [item.association.source, item.association.target]) {
        if (!this.known.has(id)) unsure.add(id);
      }
    }
    if (unsure.size === 0) return [];
    // A concept of the chunk is no end to be learned; that it is asked for anyhow does no harm.
    const learned = new Set(items.flatMap((item) => ('concept' in item ? [item.concept.id] : [])));
    const ids = [...unsure].filter((id) => !learned.has(id));
    const missing: ConceptInput[] = [];
    for (let at = 0; at < ids.length; at += ASKED_AT_ONCE) {
      const asked = ids.slice(at, at + ASKED_AT_ONCE);
      const answers = await Promise.all(asked.map((id) => this.storage.contains(id, this.options)));
      for (const [i, id] of asked.entries()) {
        if (answers[i] !== true) missing.push({ id, content: id });
      }
    }
    if (this.known.size + unsure.size > MAX_KNOWN) this.known = new KeySet();
    for (const id of unsure) this.known.add(id);
    return missing;
  }

  /** The batch that would have learned them was refused. */
  forget(concepts: readonly ConceptInput[]): void {
    if (concepts.length > 0) this.known = new KeySet();
  }
}
