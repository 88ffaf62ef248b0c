/**
 * Scratch memory of traversals. A traversal object owns its cursors and arrays and is reused: making them for each call
 * would cost more than a typical call. Free ones are kept per view, in a WeakMap, so that a closed store takes its
 * scratch along. Invariant: whatever lies in a pool is clean (every slot index all zero).
 */

import type { GraphView } from './graph-view.js';

/** More are made when more run at once, and dropped afterwards. */
const KEPT_PER_VIEW = 4;

/** A list longer than this is not kept: one traversal of everything must not hold its memory for good. */
const KEPT_ENTRIES = 1 << 18;

export class ViewPool<T> {
  private readonly free = new WeakMap<GraphView, T[]>();

  constructor(private readonly create: (view: GraphView) => T) {}

  take(view: GraphView): T {
    return this.free.get(view)?.pop() ?? this.create(view);
  }

  give(view: GraphView, item: T): void {
    const free = this.free.get(view);
    if (free === undefined) this.free.set(view, [item]);
    else if (free.length < KEPT_PER_VIEW) free.push(item);
  }
}

type ScratchArray = Uint8Array | Uint16Array | Uint32Array | Float32Array | Float64Array;

/** `array` itself when it holds `needed` entries, else a copy at least twice as long. */
export function grown<A extends ScratchArray>(array: A, needed: number): A {
  if (needed <= array.length) return array;
  const length = Math.max(needed, array.length * 2);
  const larger = new (array.constructor as new (length: number) => A)(length);
  larger.set(array);
  return larger;
}

/** `array`, or a short new one when it has grown too long to be kept between traversals. */
export function trimmed<A extends ScratchArray>(array: A): A {
  if (array.length <= KEPT_ENTRIES) return array;
  return new (array.constructor as new (length: number) => A)(64);
}

/** Zeroes array[slots[0..count)], or all of it when that is cheaper than so many scattered writes. */
export function clearSlots(
  array: Uint8Array | Uint32Array | Float64Array,
  slots: Uint32Array,
  count: number,
): void {
  if (count > array.length >>> 3) {
    array.fill(0);
    return;
  }
  for (let i = 0; i < count; i++) array[slots[i]!] = 0;
}
