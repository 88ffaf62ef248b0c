/** What the serving thread and the index's thread say to each other. Order counts: a search sees what was sent before it. */

import type { VectorPrecision } from '../format/vector-index-format.js';

export interface IndexOptions {
  readonly precision: VectorPrecision;
  /** Neighbours of a node in the graph (twice as many at the lowest level). */
  readonly connectivity: number;
  /** Candidates looked at when a vector is placed. */
  readonly efConstruction: number;
}

export interface IndexRequest {
  readonly directory: string;
  readonly uuid: Uint8Array;
  readonly dimension: number;
  /** For a new index. Those in `demanded` must also be an old one's, or it is built anew. */
  readonly options: IndexOptions;
  readonly demanded: Partial<IndexOptions>;
  /** Only answer from the file that is there, mapped; nothing is added or written. */
  readonly readOnly: boolean;
  /** That build the graph, and that answer searches which wait together. */
  readonly threads: number;
}

export type ToIndexer =
  /** Vectors that are to replace what the index has for these slots; `vectors` has a row for each. Transferred. */
  | {
      readonly kind: 'add';
      readonly ticket: number;
      readonly slots: Uint32Array;
      readonly crcs: Uint32Array;
      readonly vectors: Float32Array<ArrayBuffer>;
    }
  | { readonly kind: 'remove'; readonly ticket: number; readonly slots: Uint32Array }
  | SearchesMessage
  /** The store has no vectors of the old dimension any more: begin anew. */
  | { readonly kind: 'reset'; readonly dimension: number }
  | { readonly kind: 'save'; readonly sequence: number };

export interface Search {
  readonly id: number;
  readonly query: Float32Array;
  /** How many candidates it asks for. */
  readonly count: number;
}

/** Searches that were asked for in one turn; in one array, for the same reason as their answers. */
export interface SearchesMessage {
  readonly kind: 'search';
  readonly ids: readonly number[];
  /** How many candidates each asks for. */
  readonly counts: readonly number[];
  /** A row of unit length for each. Transferred. */
  readonly queries: Float32Array<ArrayBuffer>;
}

/** What a search found, nearest first, by distances that are as exact as the index's precision. */
export interface Candidates {
  readonly slots: Uint32Array;
  readonly distances: Float32Array;
}

/** Answers to several searches; in one pair of arrays over one buffer, which costs more to send than what is in it. */
export interface FoundMessage extends Candidates {
  readonly kind: 'found';
  readonly ids: readonly number[];
  /** Where each one's candidates end; they begin where those of the one before end. */
  readonly ends: readonly number[];
}

export type FromIndexer =
  /** `pairs`: slot and vector CRC of all there is, ascending by slot; transferred. `note`: why an old file was not taken. */
  | {
      readonly kind: 'opened';
      readonly options: IndexOptions;
      readonly pairs: Uint32Array<ArrayBuffer>;
      readonly fileBytes: number;
      readonly note: string | null;
    }
  /** All of that batch is in the index; `size` vectors now are. */
  | { readonly kind: 'done'; readonly ticket: number; readonly size: number }
  | FoundMessage
  | { readonly kind: 'saved'; readonly fileBytes: number }
  | { readonly kind: 'unsaved'; readonly reason: string };

/** The other side of the index's thread, as the serving thread holds it. */
export interface IndexPort {
  send(message: ToIndexer): void;
  /** Whether an answer is awaited: only then does it keep the process alive. */
  hold(awaited: boolean): void;
  /** Resolves when nothing of it runs any more. Never rejects. */
  close(): Promise<void>;
}

/** What the engine needs of its surroundings to keep an index. */
export interface IndexHost {
  readonly start: StartIndexer;
  /** That build the graph, and that answer searches which wait together. */
  readonly threads: number;
  /** Numbers in all vectors from which an index is worth a thread. */
  readonly fromFloats: number;
  /** So many changes are worth a new file when the store is closed. */
  readonly saveChanges: number;
  /** Ask the index even where a scan is cheaper; for tests. */
  readonly preferIndex: boolean;
}

export type StartIndexer = (
  request: IndexRequest,
  onMessage: (message: FromIndexer) => void,
  /** It ended, and will not answer any more. */
  onFailure: (reason: string) => void,
) => IndexPort;
