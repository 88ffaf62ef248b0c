/** What every writer of a format offers: text for the beginning, for each record, and for the end. */

/** A concept of a scan, or of a neighbourhood. */
export interface WrittenConcept {
  readonly id: string;
  readonly content: string;
  readonly strength: number;
  readonly confidence: number;
  readonly createdUs: number;
  readonly updatedUs: number;
  readonly embedding?: Float32Array;
}

export interface WrittenAssociation {
  readonly source: string;
  readonly target: string;
  readonly type: number;
  readonly confidence: number;
  /** Absent where it is not known: in a neighbourhood. */
  readonly createdUs?: number;
}

export interface RecordWriter {
  readonly head: string;
  readonly tail: string;
  concept(concept: WrittenConcept): string;
  association(association: WrittenAssociation): string;
}
