/**
 * Chunks of items through Storage.ingest, each item by itself: what is refused is told by its place, and the rest of its chunk
 * goes in. A chunk's concepts are learned before its associations, and chunks follow each other: only so is the order of the
 * items the order in which they are learned. A few chunks are under way at once.
 *
 * Ends of associations that nobody learned are learned with their chunk, when it is wanted. Whether a concept is there is asked of the
 * storage while chunks are under way, so what those learn counts as being there.
 */

import { ERRORS, SutraError, type ErrorCode, type FieldViolation } from '../errors.js';
import { KeySet } from './key-set.js';
import type {
  AssociationInput,
  CallOptions,
  ConceptInput,
  Storage,
  IngestAck as StorageAck,
  IngestItem as StorageItem,
} from './storage.js';

/** Ids that are known to be there are remembered, so many at most. */
const MAX_KNOWN = 1_000_000;
/** Questions to a server at one time. */
const ASKED_AT_ONCE = 32;
/** A server ends a stream that is silent for minutes; one whose input pauses is ended here before, and the next chunk begins another. */
const PAUSE_MS = 10_000;

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

export interface IngestSettings extends CallOptions {
  /** How long the input may pause within one stream. Default 10 s. */
  readonly pauseMs?: number;
}

export async function* ingest(
  storage: Storage,
  chunks: AsyncIterable<readonly IngestItem[]>,
  { pauseMs = PAUSE_MS, ...options }: IngestSettings,
): AsyncGenerator<IngestAck, void, undefined> {
  const ends = new Endpoints(storage, options);
  const input = new PausingInput(chunks, pauseMs);
  const underWay: SentChunk[] = [];
  // A stream begins with a chunk that is there, and ends with the input or its pause.
  while (await input.waits()) {
    const sending = sentChunks(input, ends, underWay);
    for await (const ack of storage.ingest(sending, options)) {
      const chunk = underWay.shift();
      if (chunk === undefined)
        throw new SutraError('INTERNAL', 'the storage acknowledged too much');
      yield chunk.answer(ack);
    }
  }
}

async function* sentChunks(
  input: PausingInput,
  ends: Endpoints,
  underWay: SentChunk[],
): AsyncGenerator<readonly StorageItem[], void, undefined> {
  for (let items = await input.next(); items !== null; items = await input.next()) {
    const chunk = new SentChunk(items, await ends.missing(items, underWay));
    underWay.push(chunk);
    yield chunk.sent;
  }
}

/** Chunks until their source pauses, and on from there. */
class PausingInput {
  private readonly iterator: AsyncIterator<readonly IngestItem[]>;
  /** Asked for, and not taken. */
  private asked: Promise<IteratorResult<readonly IngestItem[]>> | null = null;

  constructor(
    chunks: AsyncIterable<readonly IngestItem[]>,
    private readonly pauseMs: number,
  ) {
    this.iterator = chunks[Symbol.asyncIterator]();
  }

  /** Resolves when there is a chunk, to true, or at the end. */
  async waits(): Promise<boolean> {
    return (await this.ask()).done !== true;
  }

  /** null: at the end, or none has come for a while. */
  async next(): Promise<readonly IngestItem[] | null> {
    const asked = this.ask();
    let timer: NodeJS.Timeout | undefined;
    const pause = new Promise<null>((resolve) => {
      timer = setTimeout(resolve, this.pauseMs, null).unref();
    });
    try {
      const result = await Promise.race([asked, pause]);
      if (result === null || result.done === true) return null;
      this.asked = null;
      return result.value;
    } finally {
      clearTimeout(timer);
    }
  }

  private ask(): Promise<IteratorResult<readonly IngestItem[]>> {
    if (this.asked === null) {
      this.asked = this.iterator.next();
      // A failure is looked at when the chunk is wanted.
      this.asked.catch(() => undefined);
    }
    return this.asked;
  }
}

/** A chunk as it goes to the storage: ends that it learns, its concepts, its associations. */
class SentChunk {
  readonly sent: StorageItem[];
  /** Places in the chunk of what is sent behind the ends. */
  private readonly places: number[] = [];
  private keys: KeySet | null = null;

  constructor(
    private readonly items: readonly IngestItem[],
    private readonly ends: readonly ConceptInput[],
  ) {
    this.sent = ends.map((concept) => ({ concept }));
    for (const [place, item] of items.entries()) {
      if ('concept' in item) this.send(item, place);
    }
    for (const [place, item] of items.entries()) {
      if ('association' in item) this.send({ association: item.association }, place);
    }
  }

  /** Whether it learns this concept, unless that is refused. */
  learns(id: string): boolean {
    if (this.keys === null) {
      this.keys = new KeySet();
      for (const item of this.sent) if ('concept' in item) this.keys.add(item.concept.id);
    }
    return this.keys.has(id);
  }

  answer(ack: StorageAck): IngestAck {
    if (ack.received !== this.sent.length) {
      const got = `the storage acknowledged ${ack.received} items at once`;
      throw new SutraError('INTERNAL', `${got}, expected ${this.sent.length}`);
    }
    const errors: IngestItemError[] = [];
    let endpoints = this.ends.length;
    for (const { index, code, message, violations } of ack.errors) {
      // Anything else is the storage's own trouble.
      if (ERRORS[code].status !== 'INVALID_ARGUMENT' && code !== 'UNKNOWN_CONCEPT') {
        throw new SutraError(code, message, { violations });
      }
      const place = this.places[index - ack.firstIndex - this.ends.length];
      // An end that is refused is missed by its association, which says so.
      if (place === undefined) endpoints--;
      else errors.push({ index: place, code, message, violations });
    }
    return { received: this.items.length, errors, endpoints, lastSequence: ack.lastSequence };
  }

  private send(item: StorageItem, place: number): void {
    this.sent.push(item);
    this.places.push(place);
  }
}

/** Which ends of associations are there already; asked for once each, as long as they are remembered. */
class Endpoints {
  private known = new KeySet();

  constructor(
    private readonly storage: Storage,
    private readonly options: CallOptions,
  ) {}

  /** Concepts that the items' associations want learned first. */
  async missing(
    items: readonly IngestItem[],
    underWay: readonly SentChunk[],
  ): Promise<ConceptInput[]> {
    const unsure = new Set<string>();
    for (const item of items) {
      if ('concept' in item || !item.learnsEndpoints) continue;
      for (const id of [item.association.source, item.association.target]) {
        if (!this.known.has(id)) unsure.add(id);
      }
    }
    if (unsure.size === 0) return [];
    // What is acknowledged while others are asked about would look missing: this list is of now.
    const before = [new SentChunk(items, []), ...underWay];
    // One concept may be written in two ways.
    const distinct = new KeySet();
    const ids = [...unsure].filter(
      (id) => distinct.add(id) && !before.some((chunk) => chunk.learns(id)),
    );
    const missing: ConceptInput[] = [];
    for (let at = 0; at < ids.length; at += ASKED_AT_ONCE) {
      const asked = ids.slice(at, at + ASKED_AT_ONCE);
      const answers = await Promise.all(asked.map((id) => this.storage.contains(id, this.options)));
      for (const [i, id] of asked.entries()) {
        if (answers[i] !== true) missing.push({ id, content: id });
      }
    }
    if (this.known.size + ids.length > MAX_KNOWN) this.known = new KeySet();
    for (const id of ids) this.known.add(id);
    return missing;
  }
}
