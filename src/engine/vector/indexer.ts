/**
 * The index itself, on its own thread: an HNSW graph (Malkov and Yashunin, 2018) from the usearch package, with slots as
 * keys. What it is sent waits in a queue and is placed in slices between searches; a search looks at the graph and, exactly, at
 * the queue, so it sees all that was sent before it. A slot is in the queue at most once (the sender sees to that), and what the
 * graph has for a slot in the queue is out of date and is not answered with.
 *
 * Answers are slots with the distance of some vector that the slot had; whoever asked ranks them by what the store has for the
 * slot now. So nothing that is out of date here can make an answer wrong, only worse.
 */

import { createRequire } from 'node:module';

import type { BatchMatches, Index, Matches, MetricKind, ScalarKind, exactSearch } from 'usearch';

import type { Disk } from '../disk.js';
import { comparesByProduct } from '../format/vector-index-format.js';
import { errorCode } from '../log/write-log.js';
import { takeIndexFile, writeIndexFile, type StoredIndex } from './index-file.js';
import type {
  Candidates,
  FoundMessage,
  FromIndexer,
  IndexOptions,
  IndexRequest,
  Search,
  SearchesMessage,
  ToIndexer,
} from './index-messages.js';
import { SlotColumn } from './slot-column.js';
import { SlotSet } from './slot-set.js';
import { joinedRows, normalizeRows } from './unit-rows.js';

/** How long placing may keep a search waiting: less while there are searches. */
const SLICE_MS = 8;
const BUSY_SLICE_MS = 2;
/** A search is recent for so long. */
const BUSY_MS = 50;
/**
 * Searches that wait together are searched for on all threads at once, and their answers sent together: to wake the other
 * thread costs as much as a small search. Not more of them, nor more than this takes, unless one for each thread does.
 */
const SEARCHES = 4;
const SEARCHES_MS = 2;

interface Package {
  readonly Index: typeof Index;
  readonly exactSearch: typeof exactSearch;
  readonly MetricKind: typeof MetricKind;
  readonly ScalarKind: typeof ScalarKind;
}

/** Vectors of unit length that wait; rows before `next` are in the graph. */
interface Batch {
  readonly ticket: number;
  readonly slots: Uint32Array;
  readonly crcs: Uint32Array;
  readonly vectors: Float32Array<ArrayBuffer>;
  next: number;
}

export interface IndexerSurroundings {
  readonly disk: Disk;
  nowMs(): number;
  /** Resolves when messages that came meanwhile were received. */
  turn(): Promise<void>;
  post(message: FromIndexer): void;
}

export class Indexer {
  private readonly library = loadPackage();
  private dimension: number;
  private options: IndexOptions;
  private index: Index;
  /** CRCs of the vectors in the graph. */
  private crcs = new SlotColumn();
  private queue: Batch[] = [];
  private queued = new SlotSet();
  /** In the graph of a file that is only looked at, but not in the store any more. */
  private removed = new SlotSet();
  private working = false;
  /** Not answered yet, in the order they came. */
  private searches: Search[] = [];
  private answering = false;
  private lastSearchMs = -Infinity;
  /** What one search took, of those that were made last. */
  private searchMs = 0;
  private readonly key = new BigUint64Array(1);
  private readonly keyWords = new Uint32Array(this.key.buffer);

  constructor(
    private readonly request: IndexRequest,
    private readonly around: IndexerSurroundings,
  ) {
    this.dimension = request.dimension;
    this.options = request.options;
    this.index = this.newIndex();
  }

  /** Takes the file that is there, when it is good, and tells of it. */
  open(): void {
    const { request, around } = this;
    const stored = takeIndexFile(around.disk, request, (path, trailer) => {
      const { precision, connectivity, efConstruction } = trailer;
      this.options = { precision, connectivity, efConstruction };
      this.index = this.newIndex();
      if (request.readOnly) this.index.view(path);
      else this.index.load(path);
    });
    let note = typeof stored === 'string' ? stored : null;
    let taken: StoredIndex | null = typeof stored === 'string' ? null : stored;
    if (taken !== null && this.index.size() !== taken.trailer.entries) {
      note = `it holds ${this.index.size()} vectors and ${taken.trailer.entries} entries`;
      taken = null;
    }
    if (taken === null) {
      this.options = request.options;
      this.index = this.newIndex();
    } else {
      const { pairs } = taken;
      for (let i = 0; i < pairs.length; i += 2) this.crcs.set(pairs[i]!, pairs[i + 1]!);
    }
    around.post({
      kind: 'opened',
      options: this.options,
      pairs: taken?.pairs ?? new Uint32Array(0),
      fileBytes: taken?.fileBytes ?? 0,
      note,
    });
  }

  async receive(message: ToIndexer): Promise<void> {
    switch (message.kind) {
      case 'search':
        this.searches.push(...searchesOf(message));
        await this.answer();
        return;
      case 'add':
        normalizeRows(message.vectors, this.dimension);
        this.queue.push({ ...message, next: 0 });
        for (const slot of message.slots) {
          this.queued.add(slot);
          this.removed.delete(slot);
        }
        if (!this.request.readOnly) await this.work();
        return;
      case 'remove':
        for (const slot of message.slots) this.remove(slot);
        this.around.post({ kind: 'done', ticket: message.ticket, size: this.crcs.size });
        return;
      case 'reset':
        this.reset(message.dimension);
        return;
      case 'save':
        await this.save(message.sequence);
    }
  }

  private newIndex(): Index {
    const { precision, connectivity, efConstruction } = this.options;
    const { library } = this;
    const { F32, F16, I8 } = library.ScalarKind;
    const { Cos, IP } = library.MetricKind;
    return new library.Index({
      dimensions: this.dimension,
      metric: comparesByProduct(precision) ? IP : Cos,
      quantization: { f32: F32, f16: F16, i8: I8 }[precision],
      connectivity,
      expansion_add: efConstruction,
      // Searches ask for as many results as candidates are to be looked at, which is what counts when it is more than this.
      expansion_search: 1,
      multi: false,
    });
  }

  private reset(dimension: number): void {
    for (const { ticket } of this.queue) this.around.post({ kind: 'done', ticket, size: 0 });
    this.queue = [];
    this.queued = new SlotSet();
    this.removed = new SlotSet();
    this.crcs = new SlotColumn();
    this.dimension = dimension;
    this.index = this.newIndex();
  }

  private remove(slot: number): void {
    if (this.request.readOnly) {
      this.removed.add(slot);
      return;
    }
    if (!this.crcs.delete(slot)) return;
    this.keyWords[0] = slot;
    this.index.remove(this.key);
  }

  /** Places what is in the queue, slice by slice, until it is empty. */
  private async work(): Promise<void> {
    if (this.working) return;
    this.working = true;
    try {
      while (this.queue.length > 0) {
        this.slice();
        await this.around.turn();
      }
    } finally {
      this.working = false;
    }
  }

  private slice(): void {
    const { around, queue } = this;
    const startMs = around.nowMs();
    const sliceMs = startMs - this.lastSearchMs < BUSY_MS ? BUSY_SLICE_MS : SLICE_MS;
    const { threads } = this.request;
    // Each thread places a few vectors a call, so that starting threads is little of the work.
    const rows = threads > 1 ? 4 * threads : 1;
    for (let batch = queue[0]; batch !== undefined; batch = queue[0]) {
      while (batch.next < batch.slots.length) {
        this.place(batch, Math.min(batch.next + rows, batch.slots.length));
        if (around.nowMs() - startMs >= sliceMs) break;
      }
      if (batch.next < batch.slots.length) return;
      queue.shift();
      around.post({ kind: 'done', ticket: batch.ticket, size: this.crcs.size });
      if (around.nowMs() - startMs >= sliceMs) return;
    }
  }

  private place(batch: Batch, end: number): void {
    const { dimension } = this;
    const { slots, crcs, vectors, next } = batch;
    const count = end - next;
    const keys = count === 1 ? this.key : new BigUint64Array(count);
    const words = count === 1 ? this.keyWords : new Uint32Array(keys.buffer);
    for (let i = 0; i < count; i++) {
      const slot = slots[next + i]!;
      if (this.crcs.delete(slot)) {
        this.keyWords[0] = slot;
        this.index.remove(this.key);
      }
      words[2 * i] = slot;
    }
    // So many threads can also search: the package reserves for both here.
    this.index.add(keys, vectors.subarray(next * dimension, end * dimension), this.request.threads);
    for (let i = next; i < end; i++) {
      this.crcs.set(slots[i]!, crcs[i]!);
      this.queued.delete(slots[i]!);
    }
    batch.next = end;
  }

  /** Answers searches, those that came together together, until there are none. */
  private async answer(): Promise<void> {
    if (this.answering) return;
    this.answering = true;
    const { around } = this;
    try {
      while (this.searches.length > 0) {
        // Whatever else has come by now is searched for in this turn too.
        await around.turn();
        const searches = this.takeSearches();
        const startMs = around.nowMs();
        around.post(packed(searches, this.search(searches)));
        this.lastSearchMs = around.nowMs();
        this.searchMs = (this.lastSearchMs - startMs) / searches.length;
      }
    } finally {
      this.answering = false;
    }
  }

  /** The oldest, and those behind it that can be answered in one call of the package: for as many results. */
  private takeSearches(): Search[] {
    const { searches } = this;
    const isQuick = this.searchMs * SEARCHES <= SEARCHES_MS;
    const most = Math.max(isQuick ? SEARCHES : 1, this.request.threads);
    let taken = 1;
    while (
      taken < most &&
      searches[taken]?.count === searches[0]?.count &&
      searches[taken]?.query.length === searches[0]?.query.length
    ) {
      taken++;
    }
    return searches.splice(0, taken);
  }

  /** `searches`: for as many results each, by queries of one length. */
  private search(searches: readonly Search[]): Candidates[] {
    const queries = searches.map(({ query }) => query);
    const { count = 0 } = searches[0] ?? {};
    // Of before a reset: whoever asked knows by now.
    if (queries[0]?.length !== this.dimension) return searches.map(() => NOTHING);
    const found = this.searchGraph(queries, Math.min(count, this.index.size()), count);
    return queries.map((query, i) => {
      const ofGraph = found[i] ?? NOTHING;
      if (this.queue.length === 0) return ofGraph;
      return merge([ofGraph, ...this.searchQueue(query, count)], count);
    });
  }

  /** For each query the nearest `count` of those that are not outdated; the graph is asked for `ask`, or more when these are too few. */
  private searchGraph(
    queries: readonly Float32Array[],
    ask: number,
    count: number,
  ): (Candidates | undefined)[] {
    if (ask === 0) return [];
    const { index, request } = this;
    const size = index.size();
    const { keys, distances, lengths } = resultRows(
      index.search(joinedRows(queries), ask, request.threads),
    );
    const words = new Uint32Array(keys.buffer, keys.byteOffset, 2 * keys.length);
    return queries.map((query, row) => {
      const from = row * ask;
      const length = lengths[row] ?? 0;
      const found = this.current(words, distances, from, from + length, count);
      if (found.slots.length === Math.min(length, count) || ask === size) return found;
      return this.searchGraph([query], Math.min(size, ask * 4), count)[0];
    });
  }

  /** Those of `from` to `end` that are not outdated, at most `count`; `words` holds keys of two words each. */
  private current(
    words: Uint32Array,
    distances: Float32Array,
    from: number,
    end: number,
    count: number,
  ): Candidates {
    const { queued, removed } = this;
    const outdated = queued.size + removed.size;
    const slots = new Uint32Array(Math.min(end - from, count));
    let kept = 0;
    for (let i = from; i < end && kept < slots.length; i++) {
      const slot = words[2 * i]!;
      if (outdated > 0 && (queued.has(slot) || removed.has(slot))) continue;
      // Over what was looked at already.
      distances[from + kept] = distances[i]!;
      slots[kept++] = slot;
    }
    return {
      slots: slots.subarray(0, kept),
      distances: distances.subarray(from, from + kept),
    };
  }

  private searchQueue(view: Float32Array, count: number): Candidates[] {
    const { dimension } = this;
    // In a buffer of its own: the package's exact search looks at no offset.
    const query = view.slice();
    return this.queue.map(({ vectors, slots, next }) => {
      const rows = slots.length;
      // Rows before `next` are found in the graph: they are left out, and must not take the place of others.
      const wanted = Math.min(rows, count + next);
      const { exactSearch: searchRows, MetricKind: metrics } = this.library;
      const { keys, distances } = searchRows(vectors, query, dimension, wanted, metrics.IP, 1);
      const words = new Uint32Array(keys.buffer, keys.byteOffset, 2 * keys.length);
      const found = new Uint32Array(wanted);
      let kept = 0;
      for (let i = 0; i < wanted; i++) {
        const row = words[2 * i]!;
        if (row < next) continue;
        distances[kept] = distances[i]!;
        found[kept++] = slots[row]!;
      }
      return { slots: found.subarray(0, kept), distances: distances.subarray(0, kept) };
    });
  }

  private async save(sequence: number): Promise<void> {
    const { around, request, options, dimension } = this;
    try {
      const fileBytes = await writeIndexFile(
        around.disk,
        request.directory,
        (path) => {
          this.index.save(path);
        },
        // Taken in the same turn as the graph.
        this.crcs.toPairs(),
        { uuid: request.uuid, sequence, dimension, ...options },
        () => around.turn(),
      );
      around.post({ kind: 'saved', fileBytes });
    } catch (error) {
      const reason = errorCode(error) ?? (error instanceof Error ? error.message : String(error));
      around.post({ kind: 'unsaved', reason });
    }
  }
}

function searchesOf({ ids, counts, queries }: SearchesMessage): Search[] {
  const length = queries.length / ids.length;
  return ids.map((id, row) => ({
    id,
    query: queries.subarray(row * length, (row + 1) * length),
    count: counts[row] ?? 0,
  }));
}

function packed(searches: readonly Search[], found: readonly Candidates[]): FoundMessage {
  let end = 0;
  const ends = found.map(({ slots }) => (end += slots.length));
  return { kind: 'found', ids: searches.map(({ id }) => id), ends, ...joined(found) };
}

/** One behind the other, over one buffer. */
function joined(lists: readonly Candidates[]): Candidates {
  let total = 0;
  for (const list of lists) total += list.slots.length;
  const buffer = new ArrayBuffer(8 * total);
  const slots = new Uint32Array(buffer, 0, total);
  const distances = new Float32Array(buffer, 4 * total);
  let at = 0;
  for (const list of lists) {
    slots.set(list.slots, at);
    distances.set(list.distances, at);
    at += list.slots.length;
  }
  return { slots, distances };
}

/** What the package found for one query or for several, whose rows have one length and are filled up to `lengths`. */
function resultRows(found: Matches | BatchMatches): {
  readonly keys: BigUint64Array;
  readonly distances: Float32Array;
  readonly lengths: readonly number[];
} {
  const { keys, distances } = found;
  const lengths = 'counts' in found ? Array.from(found.counts, Number) : [keys.length];
  return { keys, distances, lengths };
}

const NOTHING: Candidates = { slots: new Uint32Array(0), distances: new Float32Array(0) };

/** The best `count` of all, nearest first. */
function merge(lists: readonly Candidates[], count: number): Candidates {
  const { slots, distances } = joined(lists);
  const order = Uint32Array.from(slots, (_, i) => i);
  order.sort((a, b) => distances[a]! - distances[b]!);
  const kept = order.subarray(0, count);
  return {
    slots: kept.map((i) => slots[i]!),
    distances: Float32Array.from(kept, (i) => distances[i]!),
  };
}

/** By require: as an ES module the package finds its binary by a stack trace, which does not hold everywhere. */
function loadPackage(): Package {
  return createRequire(import.meta.url)('usearch') as Package;
}
