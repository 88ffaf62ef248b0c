/**
 * A version 2 file as a snapshot source: what was read of it, in the order of the file, with contents and vectors read again
 * from there when they are wanted. The snapshot writer holds them to the checksums that were taken when they were checked.
 */

import type { DiskFile } from '../disk.js';
import { Digest } from '../format/digest.js';
import type { ConceptRecord, EdgeRow, SnapshotSource } from '../snapshot/snapshot-source.js';
import { FileWindow } from './file-window.js';
import type { Version2Graph } from './version2-reader.js';

const WINDOW_BYTES = 2 << 20;
const SEMANTIC = 0;

/** Rows by slot: positions [starts[slot], starts[slot + 1]) of `others`, ascending, and the edge that each stands for. */
interface Adjacency {
  readonly starts: Uint32Array;
  readonly others: Uint32Array;
  readonly edges: Uint32Array;
}

export class Version2Source implements SnapshotSource {
  /**
   * One for each concept and association, as if each had been a write. So the log behind it does not begin with 1, and
   * cannot be taken for a whole store when storage.dat is lost.
   */
  readonly sequence: number;
  readonly epoch = 0;
  readonly digest = new Digest();
  readonly dimension: number;
  readonly slotCount: number;
  readonly conceptCount: number;
  readonly edgeCount: number;
  readonly vectorCount: number;
  readonly freeSlots = new Uint32Array(0);
  private readonly createdUs: number;
  private readonly contents: FileWindow;
  private readonly vectors: FileWindow;
  private readonly outgoing: Adjacency;
  private readonly incoming: Adjacency;

  constructor(
    file: DiskFile,
    private readonly graph: Version2Graph,
    readonly uuid: Uint8Array,
  ) {
    const { conceptCount, edgeCount, sources, targets, header } = graph;
    this.conceptCount = conceptCount;
    this.slotCount = conceptCount;
    this.edgeCount = edgeCount;
    this.vectorCount = graph.vectorCount;
    this.dimension = graph.dimension;
    this.sequence = conceptCount + edgeCount;
    this.createdUs = header.writtenUs <= Number.MAX_SAFE_INTEGER ? header.writtenUs : 0;
    this.contents = new FileWindow(file, WINDOW_BYTES);
    this.vectors = new FileWindow(file, WINDOW_BYTES);
    this.outgoing = adjacency(sources, targets, edgeCount, conceptCount);
    this.incoming = adjacency(targets, sources, edgeCount, conceptCount);
    this.sum();
  }

  readConcept(slot: number, out: ConceptRecord): boolean {
    const { graph } = this;
    const { keys } = graph;
    const k = slot * 4;
    out.k0 = keys[k]!;
    out.k1 = keys[k + 1]!;
    out.k2 = keys[k + 2]!;
    out.k3 = keys[k + 3]!;
    out.strength = graph.strengths[slot]!;
    out.confidence = graph.confidences[slot]!;
    out.createdUs = this.createdUs;
    out.updatedUs = this.createdUs;
    out.name = null;
    out.contentLength = graph.contentLengths[slot]!;
    out.contentCrc = graph.contentCrcs[slot]!;
    out.hasVector = graph.vectorAts[slot] !== 0;
    out.vectorCrc = graph.vectorCrcs[slot]!;
    return true;
  }

  readKey(slot: number, out: Uint32Array): boolean {
    const { keys } = this.graph;
    for (let i = 0; i < 4; i++) out[i] = keys[slot * 4 + i]!;
    return true;
  }

  readContent(slot: number): Uint8Array {
    const { contents, graph } = this;
    const length = graph.contentLengths[slot]!;
    const at = contents.at(graph.contentAts[slot]!, length);
    return contents.bytes.subarray(at, at + length);
  }

  readVector(slot: number): Uint8Array {
    const { vectors, graph, dimension } = this;
    const at = vectors.at(graph.vectorAts[slot]!, dimension * 4);
    return vectors.bytes.subarray(at, at + dimension * 4);
  }

  outEdges(slot: number, row: EdgeRow): void {
    this.fill(this.outgoing, slot, row);
  }

  inEdges(slot: number, row: EdgeRow): void {
    this.fill(this.incoming, slot, row);
  }

  private fill({ starts, others, edges }: Adjacency, slot: number, row: EdgeRow): void {
    const { edgeConfidences } = this.graph;
    const from = starts[slot]!;
    const length = starts[slot + 1]! - from;
    row.reserve(length);
    row.length = length;
    for (let i = 0; i < length; i++) {
      row.slots[i] = others[from + i]!;
      row.types[i] = SEMANTIC;
      row.confidences[i] = edgeConfidences[edges[from + i]!]!;
      row.createdUs[i] = this.createdUs;
    }
  }

  private sum(): void {
    const { graph, digest, createdUs, dimension } = this;
    const { keys, sources, targets, edgeConfidences } = graph;
    for (let slot = 0; slot < graph.conceptCount; slot++) {
      const k = slot * 4;
      digest.concept(
        1,
        keys[k]!,
        keys[k + 1]!,
        keys[k + 2]!,
        keys[k + 3]!,
        0,
        0,
        graph.contentLengths[slot]!,
        graph.contentCrcs[slot]!,
        graph.vectorAts[slot] === 0 ? 0 : dimension,
        graph.vectorCrcs[slot]!,
        graph.strengths[slot]!,
        graph.confidences[slot]!,
        createdUs,
        createdUs,
      );
    }
    for (let edge = 0; edge < graph.edgeCount; edge++) {
      const s = sources[edge]! * 4;
      const t = targets[edge]! * 4;
      digest.association(
        1,
        keys[s]!,
        keys[s + 1]!,
        keys[s + 2]!,
        keys[s + 3]!,
        keys[t]!,
        keys[t + 1]!,
        keys[t + 2]!,
        keys[t + 3]!,
        SEMANTIC,
        edgeConfidences[edge]!,
        createdUs,
      );
    }
  }
}

/** Two passes of counting sort: by the far end, then, keeping that order, by the near one; so each row ascends. */
function adjacency(
  nears: Uint32Array,
  fars: Uint32Array,
  edgeCount: number,
  slots: number,
): Adjacency {
  const byFar = sortedBy(fars, null, edgeCount, slots);
  const { starts, order } = sortedBy(nears, byFar.order, edgeCount, slots);
  const others = new Uint32Array(edgeCount);
  for (let i = 0; i < edgeCount; i++) others[i] = fars[order[i]!]!;
  return { starts, others, edges: order };
}

function sortedBy(
  slotsOf: Uint32Array,
  before: Uint32Array | null,
  edgeCount: number,
  slots: number,
): { readonly starts: Uint32Array; readonly order: Uint32Array } {
  const starts = new Uint32Array(slots + 1);
  for (let edge = 0; edge < edgeCount; edge++) starts[slotsOf[edge]! + 1]!++;
  for (let slot = 0; slot < slots; slot++) starts[slot + 1]! += starts[slot]!;
  const next = starts.slice();
  const order = new Uint32Array(edgeCount);
  for (let i = 0; i < edgeCount; i++) {
    const edge = before === null ? i : before[i]!;
    order[next[slotsOf[edge]!]!++] = edge;
  }
  return { starts, order };
}
