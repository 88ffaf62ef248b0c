/** Slots in the order in which they came, each at most once: first in, first out, in chunks, so that no step is long. */

import { SlotSet } from './slot-set.js';

const CHUNK = 4096;

export class SlotQueue {
  private readonly members = new SlotSet();
  private readonly chunks: Uint32Array[] = [];
  /** Of the first chunk's first slot, and behind the last chunk's last. */
  private head = 0;
  private tail = CHUNK;

  get length(): number {
    return this.members.size;
  }

  has(slot: number): boolean {
    return this.members.has(slot);
  }

  push(slot: number): void {
    if (!this.members.add(slot)) return;
    if (this.tail === CHUNK) {
      this.chunks.push(new Uint32Array(CHUNK));
      this.tail = 0;
    }
    this.chunks[this.chunks.length - 1]![this.tail++] = slot;
  }

  /** -1 when there is none. */
  shift(): number {
    const chunk = this.chunks[0];
    if (chunk === undefined || this.members.size === 0) return -1;
    const slot = chunk[this.head++]!;
    this.members.delete(slot);
    if (this.members.size === 0) {
      this.chunks.length = 0;
      this.head = 0;
      this.tail = CHUNK;
    } else if (this.head === CHUNK) {
      this.chunks.shift();
      this.head = 0;
    }
    return slot;
  }

  toArray(): Uint32Array {
    const all = new Uint32Array(this.members.size);
    let count = 0;
    this.chunks.forEach((chunk, i) => {
      const from = i === 0 ? this.head : 0;
      const to = i === this.chunks.length - 1 ? this.tail : CHUNK;
      all.set(chunk.subarray(from, to), count);
      count += to - from;
    });
    return all;
  }
}
