/**
 * What every reader of a format yields and every writer takes: records, in blocks, in the order of the input. A record that
 * cannot be read is yielded as a `BadRecord` in its place, so that the import decides whether one bad line ends it; what
 * leaves a reader unable to tell where the next record begins is thrown, with `SOURCE:LINE: reason`.
 */

import { SutraError } from '../errors.js';
import type { AssociationInput, ConceptInput } from '../storage/storage.js';
import type { TypeNames } from './type-names.js';

export interface ConceptRecord {
  readonly kind: 'concept';
  /** Where the record begins, counted from 1. */
  readonly line: number;
  readonly concept: ConceptInput;
}

export interface AssociationRecord {
  readonly kind: 'association';
  readonly line: number;
  readonly association: AssociationInput;
}

export interface BadRecord {
  readonly kind: 'bad';
  readonly line: number;
  readonly reason: string;
}

export type ImportRecord = ConceptRecord | AssociationRecord | BadRecord;

export type RecordBlock = readonly ImportRecord[];

export interface ReadOptions {
  /** What messages call the input: a file's name. */
  readonly source: string;
  /** Longest line or record; default 24 MiB. */
  readonly maxRecordBytes?: number;
  /** Gives names of association types their numbers. */
  readonly types: TypeNames;
  /** What the input has and a concept or an association does not. */
  readonly leftOut: LeftOut;
  /** Which column, data key or predicate is a concept's content; default what the format's page says. */
  readonly content?: string;
}

/** An input as the import takes it. */
export interface RecordSource {
  readonly source: string;
  readonly blocks: AsyncIterable<RecordBlock>;
  /**
   * Whether an association learns ends that nobody learned, with their id for content. Some inputs tell only when
   * they have been read.
   */
  readonly learnsEndpoints: boolean;
}

/** 1 MiB of content is at most 6 MiB when every byte is a \u escape; 4,096 floats add some 100 KiB. */
export const MAX_RECORD_BYTES = 24 * 1024 * 1024;

/** Records a block: enough that the cost of a step between them vanishes. */
export const BLOCK_RECORDS = 1024;

/** Counts of what was left out, by what it is: a column, a label, a literal. */
export class LeftOut {
  /** An input with a new name in every record must not fill the memory. */
  private static readonly MAX_KINDS = 50;
  private readonly counts = new Map<string, number>();

  add(what: string): void {
    const kind =
      this.counts.has(what) || this.counts.size < LeftOut.MAX_KINDS ? what : 'other things';
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
  }

  entries(): (readonly [what: string, count: number])[] {
    return [...this.counts];
  }
}

/** `SOURCE:LINE: reason`, of an input that cannot be read on. */
export function unreadableAt(source: string, line: number, reason: string): SutraError {
  return new SutraError('INVALID_ARGUMENT', `${source}:${line}: ${reason}`, {
    hint: 'Correct the input and try again; the formats are described in docs/FORMATS.md.',
  });
}
