/**
 * Touches what a block of commands is about to look up, so that the waits for memory overlap. In a store of a million concepts
 * one lookup waits two or three times, one after the other, and the work between two lookups keeps a processor from starting
 * the next one early: 350 ns each, against 100 ns when many are read in loops that do nothing else (lab: 1M concepts, Node
 * 20 and 26). This is the memory-level parallelism that group prefetching in hash joins is about (Chen et al., "Improving
 * Hash Join Performance through Prefetching", 2004).
 *
 * Nothing here decides anything: candidates are taken by hash alone, and what reads them afterwards compares keys.
 */

import { hashKey } from './format/id.js';
import type { Levels } from './levels.js';
import { NO_SLOT } from './memtable/slot-map.js';

/** Keys of a block; their lines (three each) fit the first two levels of cache. */
export const PREFETCH_KEYS = 256;

export class Prefetch {
  private readonly hashes = new Uint32Array(PREFETCH_KEYS);
  private readonly slots = new Uint32Array(PREFETCH_KEYS);
  private readonly rows = new Uint32Array(PREFETCH_KEYS);
  private keys = 0;
  /** By association: where its source's key is (its target's follows), its type. */
  private readonly sources = new Uint16Array(PREFETCH_KEYS / 2);
  private readonly types = new Uint16Array(PREFETCH_KEYS / 2);
  private readonly edgeHashes = new Uint32Array(PREFETCH_KEYS / 2);
  private edges = 0;
  /** Of everything read, so that no compiler leaves the reading out. */
  sum = 0;

  constructor(private readonly levels: Levels) {}

  /** Whether two more keys fit. */
  get hasRoom(): boolean {
    return this.keys + 2 <= PREFETCH_KEYS;
  }

  addKey(k0: number, k1: number, k2: number, k3: number): void {
    this.hashes[this.keys++] = hashKey(k0, k1, k2, k3);
  }

  /** The association between the last two keys that were added. */
  addEdge(type: number): void {
    this.sources[this.edges] = this.keys - 2;
    this.types[this.edges++] = type;
  }

  /** Touches everything that was added, and forgets it. */
  run(): void {
    const { levels, hashes, slots, rows, keys, edges } = this;
    const { active, frozen, base } = levels;
    slots.fill(NO_SLOT, 0, keys);
    let sum = active.touchKeys(hashes, keys, rows, slots);
    if (frozen !== null) sum += frozen.touchKeys(hashes, keys, rows, slots);
    if (base !== null) sum += base.touchKeys(hashes, keys, slots);
    if (edges > 0) {
      const { sources, types, edgeHashes } = this;
      sum += active.touchEdges(slots, sources, types, edges, edgeHashes);
      if (frozen !== null) sum += frozen.touchEdges(slots, sources, types, edges, edgeHashes);
      if (base !== null) sum += base.touchRows(slots, sources, edges);
    }
    this.sum = (this.sum + sum) | 0;
    this.keys = this.edges = 0;
  }
}
