/**
 * What traversals need to know of a graph: slots, and the live associations at a slot. The engine's read view
 * implements it over memtable and snapshot; tests implement it over plain Maps. A slot is a uint32 below
 * `slotCapacity`; slots are stable while a traversal yields to the event loop, but associations may come and go.
 */

export const OUT = 1;
export const IN = 2;
export const BOTH = 3;

/** A set of association types, or null for all: typeMask[type] === 1 when wanted. 65,536 entries. */
export type TypeMask = Uint8Array | null;

/**
 * A reusable cursor over the live associations at one slot. After `fill()` returned n > 0, entries 0..n-1 of the
 * parallel arrays are valid until the next `fill()` or `start()`. An association learned twice appears once; a deleted
 * one or one to a forgotten concept never appears. A self-loop appears once, as OUT, when OUT is asked for, else as IN.
 * Parallel associations of different types to the same slot each appear.
 */
export interface AdjacencyCursor {
  /** The slot at the other end. */
  readonly slots: Uint32Array;
  /** Association type, 0-65535. */
  readonly types: Uint16Array;
  /** float32 confidence in [0, 1]. */
  readonly confidences: Float32Array;
  /** OUT: the association points from the start slot to slots[i]; IN: the other way. */
  readonly directions: Uint8Array;
  /** Aim at a slot; direction is OUT, IN or BOTH. */
  start(slot: number, direction: number, types: TypeMask): void;
  /** The next batch, at most slots.length entries; 0 when there are no more. Bounded work per call. */
  fill(): number;
}

export interface GraphView {
  /** Every slot is below this; grows only. */
  readonly slotCapacity: number;
  /** Counts every change of the graph, so that a traversal that yielded can tell whether something changed. */
  readonly version: number;
  openCursor(): AdjacencyCursor;
  isLive(slot: number): boolean;
  /** Orders two slots by the bytes of their concepts' 128-bit keys: negative, 0 or positive. */
  compareKeys(a: number, b: number): number;
}
