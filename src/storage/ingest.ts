/**
 * Bulk ingest as both backends do it: items are read into chunks, a few chunks are under way at once, and each is acknowledged
 * in order once what was accepted of it is durable. Items are not atomic together: one that is refused is named by its index,
 * and the others go in.
 *
 * A chunk is an array that the source gives, or of items that come one by one as many as there are, up to a limit: a fast source
 * fills chunks, a slow one is not kept waiting for its acknowledgements. The source is read no faster than chunks are
 * acknowledged and the acknowledgements taken.
 */

import { SutraError, invalidField, toSutraError } from '../errors.js';
import type {
  IngestAck,
  IngestItem,
  IngestItemError,
  IngestOptions,
  IngestSource,
} from './storage.js';
import {
  DEFAULT_CHUNK_ITEMS,
  MAX_CHUNK_ITEMS,
  abortError,
  checkIngestItem,
  throwIfAborted,
} from './validation.js';

/** Chunks that are not acknowledged yet. */
const WINDOW = 8;
/** UTF-16 units and numbers of a chunk of single items, so that it is far below the message limit. */
const CHUNK_UNITS = 512 * 1024;
/** How long a chunk that has an item waits for more. */
const LINGER_MS = 2;

type Chunk = readonly IngestItem[];

/** Gives a chunk on; resolves when it is durable. Called in the order of chunks, each before the one before is done. */
export type SubmitChunk = (items: Chunk, firstIndex: number) => Promise<IngestAck>;

export async function* ingestChunks(
  source: IngestSource,
  { signal, chunkItems = 0 }: IngestOptions,
  submit: SubmitChunk,
): AsyncGenerator<IngestAck, void, undefined> {
  const chunks = new ChunkReader(source, chunkItems === 0 ? DEFAULT_CHUNK_ITEMS : chunkItems);
  const underWay: Promise<IngestAck>[] = [];
  let reading: Promise<{ readonly chunk: Chunk | null } | { readonly error: unknown }> | null =
    null;
  let ended = false;
  let failure: { readonly error: unknown } | null = null;
  let index = 0;
  let abort = (error: Error): unknown => error;
  const onAbort = (): void => {
    if (signal !== undefined) abort(abortError(signal));
  };
  signal?.addEventListener('abort', onAbort);
  try {
    for (;;) {
      throwIfAborted(signal);
      if (!ended && reading === null && underWay.length < WINDOW) {
        reading = chunks.read().then(
          (chunk) => ({ chunk }),
          (error: unknown) => ({ error }),
        );
      }
      const oldest = underWay[0];
      if (reading === null && oldest === undefined) break;
      // Its own for every race: one that lasts would keep the outcome of each, and so every chunk.
      const aborted = new Promise<never>((_, reject) => {
        abort = reject;
      });
      const event = await Promise.race([
        aborted,
        ...(oldest === undefined ? [] : [oldest]),
        ...(reading === null ? [] : [reading]),
      ]);
      if ('received' in event) {
        // It has come: this only takes it off.
        await underWay.shift();
        yield event;
        continue;
      }
      reading = null;
      if ('error' in event) {
        // What was read before it still goes in and is acknowledged.
        ended = true;
        failure = event;
      } else if (event.chunk === null) {
        ended = true;
      } else {
        const ack = submit(event.chunk, index);
        // Looked at when it is the oldest; it must not count as unhandled before.
        ack.catch(() => undefined);
        underWay.push(ack);
        index += event.chunk.length;
      }
    }
    if (failure !== null) throw failure.error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    chunks.leave();
  }
}

/** The items of a chunk that can be, with their indexes in it, and an error for each of the others. */
export function screenChunk(
  items: Chunk,
  firstIndex: number,
): { valid: IngestItem[]; indexes: number[]; errors: IngestItemError[] } {
  if (items.length > MAX_CHUNK_ITEMS) {
    throw invalidField('items', `got ${items.length} items, expected at most ${MAX_CHUNK_ITEMS}`);
  }
  const valid: IngestItem[] = [];
  const indexes: number[] = [];
  const errors: IngestItemError[] = [];
  for (let i = 0; i < items.length; i++) {
    const item = items[i] as IngestItem;
    try {
      checkIngestItem(item);
      valid.push(item);
      indexes.push(i);
    } catch (error) {
      errors.push(itemError(error, firstIndex + i));
    }
  }
  return { valid, indexes, errors };
}

export function itemError(error: unknown, index: number): IngestItemError {
  const { code, message, violations } = toSutraError(error);
  return { index, code, message, violations };
}

class ChunkReader {
  private readonly iterator: Iterator<IngestItem | Chunk> | AsyncIterator<IngestItem | Chunk>;
  /** Asked for and not there yet. */
  private next: Promise<IteratorResult<IngestItem | Chunk>> | null = null;
  /** An array that came behind single items. */
  private held: Chunk | null = null;
  private ended = false;

  constructor(
    source: IngestSource,
    private readonly limit: number,
  ) {
    if (Symbol.asyncIterator in source) this.iterator = source[Symbol.asyncIterator]();
    else if (Symbol.iterator in source) this.iterator = source[Symbol.iterator]();
    else throw invalidField('items', 'expected an iterable or an async iterable');
  }

  /** null at the end. */
  async read(): Promise<Chunk | null> {
    const { held } = this;
    if (held !== null) {
      this.held = null;
      return held;
    }
    const chunk: IngestItem[] = [];
    let units = 0;
    let soon: Promise<null> | null = null;
    while (!this.ended && chunk.length < this.limit && units < CHUNK_UNITS) {
      let result: IteratorResult<IngestItem | Chunk> | null;
      if (this.next === null) {
        const asked = this.iterator.next();
        if (asked instanceof Promise) this.next = asked;
        result = asked instanceof Promise ? null : asked;
      } else result = null;
      if (this.next !== null) {
        if (chunk.length > 0) {
          soon ??= new Promise((resolve) => {
            setTimeout(resolve, LINGER_MS, null);
          });
          result = await Promise.race([this.next, soon]);
          if (result === null) break;
        } else result = await this.next;
        this.next = null;
      }
      if (result === null) continue;
      if (result.done === true) {
        this.ended = true;
      } else if (isChunk(result.value)) {
        if (chunk.length === 0) return result.value;
        this.held = result.value;
        return chunk;
      } else {
        chunk.push(result.value);
        units += unitsOf(result.value);
      }
    }
    return chunk.length === 0 && this.ended ? null : chunk;
  }

  /** Tells the source that nobody reads on. Not awaited: it may be waiting for an item itself. */
  leave(): void {
    if (this.ended) return;
    const left = this.iterator.return?.();
    if (left instanceof Promise) left.catch(() => undefined);
  }
}

function isChunk(value: IngestItem | Chunk): value is Chunk {
  return Array.isArray(value);
}

/** A source in JavaScript may give anything; what is no item is refused later. */
function unitsOf(item: unknown): number {
  if (typeof item !== 'object' || item === null) return 1;
  const { concept } = item as { concept?: { content?: unknown; embedding?: unknown } };
  const content = concept?.content;
  const embedding = concept?.embedding;
  return (
    32 +
    (typeof content === 'string' ? content.length : 0) +
    (Array.isArray(embedding) || embedding instanceof Float32Array ? embedding.length * 2 : 0)
  );
}

/** Puts a server's answer about the valid items of a chunk and what was refused before sending together. */
export function mergedAck(
  ack: IngestAck,
  indexes: readonly number[],
  refused: readonly IngestItemError[],
  firstIndex: number,
  received: number,
): IngestAck {
  const answered = ack.errors.map((error) => {
    const at = indexes[error.index - ack.firstIndex];
    if (at === undefined) {
      throw new SutraError('INTERNAL', `the server named item ${error.index}, which was not sent`);
    }
    return { ...error, index: firstIndex + at };
  });
  const errors = [...refused, ...answered].sort((a, b) => a.index - b.index);
  return { ...ack, firstIndex, received, errors };
}
