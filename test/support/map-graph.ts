/**
 * A GraphView over plain Maps: the simplest thing that satisfies graph-view.ts, for traversals to be tested on and their
 * oracles to read. Its cursor hands out small batches, so that batching is exercised, and survives changes made between
 * two fills as the engine's does (a Map's iterator skips what was deleted and sees what was added).
 */

import {
  type AdjacencyCursor,
  BOTH,
  type GraphView,
  IN,
  OUT,
  type TypeMask,
} from '#sutra/engine/graph/graph-view';

export interface MapEdge {
  readonly source: number;
  readonly target: number;
  readonly type: number;
  confidence: number;
}

/** What one end of an association sees. */
export interface SeenEdge {
  readonly slot: number;
  readonly type: number;
  readonly confidence: number;
  readonly direction: number;
}

export interface MapGraphOptions {
  /** Entries per fill. Default 3. */
  readonly batch?: number;
  /** Spreads the keys, so that their order is not the slots'. */
  readonly keySeed?: number;
}

export class MapGraph implements GraphView {
  slotCapacity = 0;
  version = 0;
  readonly batch: number;
  /** Counts down with each fill; at zero the fill throws, as a damaged block would. */
  fillsUntilFailure = Number.POSITIVE_INFINITY;
  /** Associations handed out by all cursors. */
  examined = 0;
  readonly outgoing = new Map<number, Map<string, MapEdge>>();
  readonly incoming = new Map<number, Map<string, MapEdge>>();
  private readonly live = new Set<number>();
  private readonly keySeed: number;

  constructor(options: MapGraphOptions = {}) {
    this.batch = options.batch ?? 3;
    this.keySeed = options.keySeed ?? 1;
  }

  learn(count = 1): number {
    const first = this.slotCapacity;
    for (let i = 0; i < count; i++) this.live.add(this.slotCapacity++);
    this.version++;
    return first;
  }

  /** Adds an association or updates its confidence. */
  link(source: number, target: number, type = 0, confidence = 1): void {
    if (!this.live.has(source) || !this.live.has(target)) throw new Error('unknown endpoint');
    const rounded = Math.fround(confidence);
    const known = this.outgoing.get(source)?.get(`${target}/${type}`);
    if (known !== undefined) {
      known.confidence = rounded;
    } else {
      const edge = { source, target, type, confidence: rounded };
      edgesOf(this.outgoing, source).set(`${target}/${type}`, edge);
      edgesOf(this.incoming, target).set(`${source}/${type}`, edge);
    }
    this.version++;
  }

  unlink(source: number, target: number, type: number): void {
    this.outgoing.get(source)?.delete(`${target}/${type}`);
    this.incoming.get(target)?.delete(`${source}/${type}`);
    this.version++;
  }

  forget(slot: number): void {
    for (const edge of [...this.edges()]) {
      if (edge.source === slot || edge.target === slot) {
        this.unlink(edge.source, edge.target, edge.type);
      }
    }
    this.live.delete(slot);
    this.version++;
  }

  *edges(): Generator<MapEdge> {
    for (const edges of this.outgoing.values()) yield* edges.values();
  }

  /** What a cursor at `slot` must report, as the interface says it, for oracles. */
  *seen(slot: number, direction: number, types: TypeMask): Generator<SeenEdge> {
    for (const edge of (direction & OUT && this.outgoing.get(slot)?.values()) || []) {
      if (types !== null && types[edge.type] !== 1) continue;
      yield { slot: edge.target, type: edge.type, confidence: edge.confidence, direction: OUT };
    }
    for (const edge of (direction & IN && this.incoming.get(slot)?.values()) || []) {
      if (types !== null && types[edge.type] !== 1) continue;
      if (direction === BOTH && edge.source === slot) continue;
      yield { slot: edge.source, type: edge.type, confidence: edge.confidence, direction: IN };
    }
  }

  openCursor(): AdjacencyCursor {
    return new MapCursor(this);
  }

  isLive(slot: number): boolean {
    return this.live.has(slot);
  }

  compareKeys(a: number, b: number): number {
    return this.key(a) - this.key(b);
  }

  /** A 32-bit stand-in for the key: a bijection of the slot, so that no two are equal. */
  private key(slot: number): number {
    let key = Math.imul(slot ^ this.keySeed, 0x9e3779b1);
    key ^= key >>> 15;
    return Math.imul(key, 0x85ebca6b) >>> 0;
  }
}

class MapCursor implements AdjacencyCursor {
  readonly slots: Uint32Array;
  readonly types: Uint16Array;
  readonly confidences: Float32Array;
  readonly directions: Uint8Array;
  private entries: Iterator<SeenEdge> = [][Symbol.iterator]();

  constructor(private readonly graph: MapGraph) {
    this.slots = new Uint32Array(graph.batch);
    this.types = new Uint16Array(graph.batch);
    this.confidences = new Float32Array(graph.batch);
    this.directions = new Uint8Array(graph.batch);
  }

  start(slot: number, direction: number, types: TypeMask): void {
    this.entries = this.graph.seen(slot, direction, types);
  }

  fill(): number {
    if (--this.graph.fillsUntilFailure <= 0) throw new Error('injected: a block is damaged');
    let n = 0;
    while (n < this.slots.length) {
      const next = this.entries.next();
      if (next.done === true) break;
      this.slots[n] = next.value.slot;
      this.types[n] = next.value.type;
      this.confidences[n] = next.value.confidence;
      this.directions[n] = next.value.direction;
      n++;
    }
    this.graph.examined += n;
    return n;
  }
}

function edgesOf(map: Map<number, Map<string, MapEdge>>, slot: number): Map<string, MapEdge> {
  let edges = map.get(slot);
  if (edges === undefined) map.set(slot, (edges = new Map<string, MapEdge>()));
  return edges;
}

/** A mask that admits these types; null, all, for none. */
export function maskOf(types: readonly number[]): TypeMask {
  if (types.length === 0) return null;
  const mask = new Uint8Array(65_536);
  for (const type of types) mask[type] = 1;
  return mask;
}
