/**
 * A store's vectors as rows for the exact scan: a row is a slot, so the numbering holds across writes and checkpoints; or,
 * for a search among given slots, a row is a place in that list. One
 * instance serves one scan and keeps the dimension it began with: when the last vector is forgotten meanwhile and one
 * of another length learned, it has nothing more to say.
 */

import type { State } from '../state.js';
import type { VectorSource } from './exact-scan.js';

export class VectorRows implements VectorSource {
  readonly dimension: number;

  /** `among`: only these slots, each once; null: all there are. */
  constructor(
    private readonly state: State,
    private readonly among: Uint32Array | null = null,
  ) {
    this.dimension = state.levels.dimension;
  }

  get rowCount(): number {
    return this.among === null ? this.state.slotCount : this.among.length;
  }

  readBlock(firstRow: number, rows: number, vectors: Float32Array, slots: Uint32Array): number {
    const { levels } = this.state;
    const { dimension, among } = this;
    if (levels.dimension !== dimension) return 0;
    let count = 0;
    for (let row = firstRow; row < firstRow + rows; row++) {
      const slot = among === null ? row : among[row]!;
      if (levels.vectorCrc(slot) < 0) continue;
      levels.readVector(slot, vectors.subarray(count * dimension, (count + 1) * dimension));
      slots[count++] = slot;
    }
    return count;
  }

  isLive(slot: number): boolean {
    return this.state.isLive(slot);
  }

  compareKeys(a: number, b: number): number {
    return this.state.compareKeys(a, b);
  }
}
