/**
 * A set of ids by their 128-bit keys, 16 bytes each in one table of open addressing, at most three quarters full. For
 * checking an input, where every concept it learns has to be remembered and nothing else does.
 */

import { hashKey, ParsedId, parseId } from '../engine/format/id.js';

const FIRST_CAPACITY = 1024;

export class KeySet {
  size = 0;
  private capacity = FIRST_CAPACITY;
  private words = new Uint32Array(4 * FIRST_CAPACITY);
  private used = new Uint8Array(FIRST_CAPACITY);
  private readonly parsed = new ParsedId();

  /** False: it was there. */
  add(id: string): boolean {
    const { k0, k1, k2, k3 } = this.parse(id);
    if (this.size >= this.capacity * 0.75) this.grow();
    return this.put(k0, k1, k2, k3);
  }

  has(id: string): boolean {
    const { k0, k1, k2, k3 } = this.parse(id);
    return this.used[this.find(k0, k1, k2, k3)] === 1;
  }

  private parse(id: string): ParsedId {
    parseId(id, this.parsed);
    return this.parsed;
  }

  private put(k0: number, k1: number, k2: number, k3: number): boolean {
    const place = this.find(k0, k1, k2, k3);
    if (this.used[place] === 1) return false;
    this.used[place] = 1;
    this.words.set([k0, k1, k2, k3], 4 * place);
    this.size++;
    return true;
  }

  /** Where the key is, or the free place where it belongs; there always is one, a quarter being free. */
  private find(k0: number, k1: number, k2: number, k3: number): number {
    const { words, used, capacity } = this;
    let place = hashKey(k0, k1, k2, k3) & (capacity - 1);
    for (; used[place] === 1; place = (place + 1) & (capacity - 1)) {
      const at = 4 * place;
      if (
        words[at] === k0 &&
        words[at + 1] === k1 &&
        words[at + 2] === k2 &&
        words[at + 3] === k3
      ) {
        break;
      }
    }
    return place;
  }

  private grow(): void {
    const { words, used, capacity } = this;
    this.capacity = 2 * capacity;
    this.words = new Uint32Array(4 * this.capacity);
    this.used = new Uint8Array(this.capacity);
    this.size = 0;
    for (let place = 0; place < capacity; place++) {
      if (used[place] !== 1) continue;
      const at = 4 * place;
      this.put(words[at] ?? 0, words[at + 1] ?? 0, words[at + 2] ?? 0, words[at + 3] ?? 0);
    }
  }
}
