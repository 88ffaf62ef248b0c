/**
 * A Storage over plain Maps: the oracle. It says what interface.md says in the plainest way there is, and is as slow as that
 * makes it. Nothing here is shared with the engine but the validation of arguments and the parsing of ids.
 */

import { createHash } from 'node:crypto';
import { ParsedId, keyToId, parseId } from '#sutra/engine/format/id';
import { SutraError } from '#sutra/errors';
import { ingestChunks, itemError, screenChunk } from '#sutra/storage/ingest';
import { LATENCY_BOUNDS_US, NO_LATENCIES } from '#sutra/latency';
import type {
  AssociationInput,
  BackupChunk,
  BatchInput,
  BatchReceipt,
  CallOptions,
  CheckpointStats,
  ConceptAnswer,
  ConceptInput,
  Direction,
  ForgetReceipt,
  HealthAnswer,
  IngestAck,
  IngestOptions,
  IngestSource,
  Neighbor,
  NeighborOptions,
  NeighborsAnswer,
  PathAnswer,
  PathOptions,
  PathStep,
  QueryOptions,
  ScanOptions,
  ScanPage,
  ScannedAssociation,
  ScannedConcept,
  SearchOptions,
  Storage,
  StorageStats,
  VectorMatch,
  WriteReceipt,
} from '#sutra/storage/storage';
import {
  checkAssociation,
  checkBatch,
  checkCall,
  checkConcept,
  checkForgetAssociation,
  checkIngest,
  checkNeighbors,
  checkPath,
  checkQuery,
  checkScan,
  checkSearch,
  throwIfAborted,
} from '#sutra/storage/validation';

const NO_CHECKPOINT: CheckpointStats = {
  running: false,
  writtenBytes: 0,
  expectedBytes: 0,
  runningUs: 0,
  lastDurationUs: 0,
  lastEndUs: 0,
  failures: 0,
  lastError: '',
};

interface Id {
  /** 32 hex digits. */
  readonly key: string;
  /** null for an id that is hex digits. */
  readonly name: string | null;
}

interface Concept {
  readonly key: string;
  readonly name: string | null;
  readonly content: string;
  readonly strength: number;
  readonly confidence: number;
  readonly createdUs: number;
  readonly updatedUs: number;
  readonly embedding: Float32Array | null;
}

interface Association {
  readonly source: string;
  readonly target: string;
  readonly type: number;
  readonly confidence: number;
  readonly createdUs: number;
}

/** What a scan gives, all of it. */
interface Scanned {
  readonly sequence: number;
  readonly concepts: readonly ScannedConcept[];
  readonly associations: readonly ScannedAssociation[];
  readonly kinds: string;
}

/** One association as seen from one of its ends. */
interface Link {
  readonly other: string;
  readonly type: number;
  readonly confidence: number;
  readonly direction: 'out' | 'in';
}

interface State {
  readonly concepts: Map<string, Concept>;
  /** By source, target and type. */
  readonly associations: Map<string, Association>;
}

export interface ModelOptions {
  /** The explicit dimension. */
  readonly dimension?: number;
  /** Microseconds since 1970. */
  readonly nowUs?: () => number;
}

export class ModelStorage implements Storage {
  readonly mode = 'embedded';
  private state: State = { concepts: new Map(), associations: new Map() };
  private sequence = 0;
  private snapshotSequence = 0;
  private checkpoints = 0;
  private closed = false;
  /** By number, for scans to be resumed. */
  private readonly scans: Scanned[] = [];
  private readonly explicitDimension: number;
  private readonly nowUs: () => number;
  private readonly openedAt = Date.now();

  constructor(options: ModelOptions = {}) {
    this.explicitDimension = options.dimension ?? 0;
    this.nowUs = options.nowUs ?? (() => Date.now() * 1000);
  }

  /** Another model in the same state; what is done to one leaves the other as it is. */
  fork(): ModelStorage {
    const copy = new ModelStorage({ dimension: this.explicitDimension, nowUs: this.nowUs });
    copy.state = {
      concepts: new Map(this.state.concepts),
      associations: new Map(this.state.associations),
    };
    copy.sequence = this.sequence;
    copy.snapshotSequence = this.snapshotSequence;
    copy.checkpoints = this.checkpoints;
    return copy;
  }

  async learnConcept(concept: ConceptInput, options?: CallOptions): Promise<WriteReceipt> {
    this.begin(options);
    checkConcept(concept, options);
    const { firstSequence } = this.apply({ concepts: [concept] }, false);
    return { sequence: firstSequence };
  }

  async learnAssociation(
    association: AssociationInput,
    options?: CallOptions,
  ): Promise<WriteReceipt> {
    this.begin(options);
    checkAssociation(association, options);
    const { firstSequence } = this.apply({ associations: [association] }, false);
    return { sequence: firstSequence };
  }

  async learnBatch(batch: BatchInput, options?: CallOptions): Promise<BatchReceipt> {
    this.begin(options);
    checkBatch(batch, options);
    return this.apply(batch, true);
  }

  async forgetConcept(id: string, options?: CallOptions): Promise<ForgetReceipt> {
    this.begin(options);
    checkQuery(id, options);
    const concept = this.find(id);
    if (concept === null) return { found: false, sequence: 0, associations: 0 };
    let associations = 0;
    for (const [identity, { source, target }] of this.state.associations) {
      if (source !== concept.key && target !== concept.key) continue;
      this.state.associations.delete(identity);
      associations++;
    }
    this.state.concepts.delete(concept.key);
    return { found: true, sequence: ++this.sequence, associations };
  }

  async forgetAssociation(
    source: string,
    target: string,
    type?: number,
    options?: CallOptions,
  ): Promise<ForgetReceipt> {
    this.begin(options);
    checkForgetAssociation(source, target, type, options);
    const from = this.find(source);
    const to = this.find(target);
    let associations = 0;
    if (from !== null && to !== null) {
      for (const [identity, association] of this.state.associations) {
        if (association.source !== from.key || association.target !== to.key) continue;
        if (type !== undefined && association.type !== type) continue;
        this.state.associations.delete(identity);
        associations++;
      }
    }
    if (associations === 0) return { found: false, sequence: 0, associations: 0 };
    return { found: true, sequence: ++this.sequence, associations };
  }

  async queryConcept(id: string, options: QueryOptions = {}): Promise<ConceptAnswer> {
    this.begin(options);
    checkQuery(id, options);
    const concept = this.find(id);
    if (concept === null) {
      return {
        found: false,
        id,
        content: '',
        strength: 0,
        confidence: 0,
        createdUs: 0,
        updatedUs: 0,
        dimension: 0,
      };
    }
    const { content, strength, confidence, createdUs, updatedUs, embedding } = concept;
    return {
      found: true,
      id: idOf(concept),
      content,
      strength,
      confidence,
      createdUs,
      updatedUs,
      dimension: embedding === null ? 0 : embedding.length,
      ...(embedding !== null && options.withEmbedding === true
        ? { embedding: embedding.slice() }
        : {}),
    };
  }

  async contains(id: string, options?: CallOptions): Promise<boolean> {
    this.begin(options);
    checkQuery(id, options);
    return this.find(id) !== null;
  }

  async getNeighbors(id: string, options: NeighborOptions = {}): Promise<NeighborsAnswer> {
    this.begin(options);
    checkNeighbors(id, options);
    const concept = this.find(id);
    if (concept === null) return { known: false, id, neighbors: [] };
    const links =
      options.parallel === true
        ? [...this.links(concept.key, options)]
        : [...this.strongestLinks(concept.key, options).values()];
    links.sort(
      (a, b) =>
        b.confidence - a.confidence ||
        compare(a.other, b.other) ||
        a.type - b.type ||
        compare(b.direction, a.direction),
    );
    const neighbors = links.map(({ other, type, confidence, direction }): Neighbor => ({
      id: this.idOfKey(other),
      type,
      confidence,
      direction,
    }));
    const limit = options.limit ?? 0;
    return {
      known: true,
      id: idOf(concept),
      neighbors: limit === 0 ? neighbors : neighbors.slice(0, limit),
    };
  }

  async findPath(start: string, end: string, options: PathOptions = {}): Promise<PathAnswer> {
    this.begin(options);
    checkPath(start, end, options);
    const none: PathAnswer = { found: false, path: [], steps: [], confidence: 0 };
    const from = this.find(start);
    const to = this.find(end);
    if (from === null || to === null) return none;
    const depth = (options.maxDepth ?? 0) === 0 ? 6 : (options.maxDepth ?? 0);
    const links =
      options.by === 'confidence'
        ? this.strongestPath(from.key, to.key, depth, options)
        : this.shortestPath(from.key, to.key, depth, options);
    if (links === null) return none;
    const path = [idOf(from)];
    const steps: PathStep[] = [];
    let confidence = 1;
    for (const link of links) {
      const here = path[path.length - 1] ?? '';
      const there = this.idOfKey(link.other);
      const { type, direction } = link;
      steps.push({ from: here, to: there, type, confidence: link.confidence, direction });
      path.push(there);
      confidence *= link.confidence;
    }
    return { found: true, path, steps, confidence };
  }

  async vectorSearch(
    query: Float32Array | readonly number[],
    options: SearchOptions = {},
  ): Promise<VectorMatch[]> {
    this.begin(options);
    checkSearch(query, options);
    const vector = Float32Array.from(query);
    requireDimension('query_vector', vector.length, this.dimensionOf(this.state));
    const { within, minSimilarity = -1 } = options;
    const near = within === undefined ? null : this.neighborhood(within.id, within.hops ?? 0);
    const matches: { key: string; similarity: number; content: string }[] = [];
    for (const { key, embedding, content } of this.state.concepts.values()) {
      if (embedding === null || near?.has(key) === false) continue;
      const similarity = Math.fround(cosine(vector, embedding));
      if (similarity >= Math.fround(minSimilarity)) matches.push({ key, similarity, content });
    }
    matches.sort((a, b) => b.similarity - a.similarity || compare(a.key, b.key));
    const k = (options.k ?? 0) === 0 ? 10 : (options.k ?? 0);
    return matches.slice(0, k).map(({ key, similarity, content }) => ({
      id: this.idOfKey(key),
      similarity,
      ...(options.withContent === true ? { content } : {}),
    }));
  }

  /** The keys of the concepts at most so many hops away; 0 means 1. */
  private neighborhood(id: string, hops: number): Set<string> {
    const center = this.find(id);
    if (center === null) throw unknownConcept(id);
    const near = new Set([center.key]);
    for (let depth = 0; depth < Math.max(1, hops); depth++) {
      for (const key of [...near]) {
        for (const { other } of this.links(key, {})) near.add(other);
      }
    }
    return near;
  }

  async *ingest(
    items: IngestSource,
    options: IngestOptions = {},
  ): AsyncGenerator<IngestAck, void, undefined> {
    this.begin(options);
    checkIngest(options);
    yield* ingestChunks(items, options, async (chunk, firstIndex) => {
      this.begin(options);
      const { errors } = screenChunk(chunk, firstIndex);
      const refused = new Set(errors.map(({ index }) => index));
      const before = this.sequence;
      chunk.forEach((item, i) => {
        if (refused.has(firstIndex + i)) return;
        try {
          if ('concept' in item) this.apply({ concepts: [item.concept] }, false);
          else this.apply({ associations: [item.association] }, false);
        } catch (error) {
          errors.push(itemError(error, firstIndex + i));
        }
      });
      const accepted = this.sequence - before;
      return {
        firstIndex,
        received: chunk.length,
        accepted,
        firstSequence: accepted === 0 ? 0 : before + 1,
        lastSequence: accepted === 0 ? 0 : this.sequence,
        errors: errors.sort((a, b) => a.index - b.index),
      };
    });
  }

  async *scan(options: ScanOptions = {}): AsyncGenerator<ScanPage, void, undefined> {
    this.begin(options);
    checkScan(options);
    const [, which, from] = /^model-(\d+)-(\d+)$/.exec(options.resume ?? '') ?? [];
    if (options.resume !== undefined && which === undefined) {
      throw new SutraError('INVALID_ARGUMENT', 'resume: not a token', {
        violations: [{ field: 'resume', description: 'not a token' }],
      });
    }
    const number = which === undefined ? this.scans.push(this.scanned(options)) - 1 : Number(which);
    const whole = this.scans[number];
    if (whole === undefined) throw new SutraError('SCAN_EXPIRED', 'no such scan');
    const { sequence, kinds } = whole;
    const concepts = kinds === 'associations' ? [] : whole.concepts;
    const associations = kinds === 'concepts' ? [] : whole.associations;
    const items = (options.pageItems ?? 0) === 0 ? 1000 : (options.pageItems ?? 0);
    const digest = createHash('md5')
      .update(JSON.stringify([whole.concepts, whole.associations]))
      .digest('hex');
    for (let at = Number(from ?? 0); ; at += items) {
      const end = at + items;
      const isLast = end >= concepts.length + associations.length;
      yield {
        sequence,
        digest,
        conceptCount: whole.concepts.length,
        associationCount: whole.associations.length,
        concepts: concepts.slice(at, end).map((concept) => {
          if (options.withEmbeddings !== false) return concept;
          const copy = { ...concept };
          delete (copy as { embedding?: Float32Array }).embedding;
          return copy;
        }),
        associations: associations.slice(
          Math.max(0, at - concepts.length),
          Math.max(0, end - concepts.length),
        ),
        resume: isLast ? null : `model-${number}-${end}`,
      };
      if (isLast) return;
      this.begin(options);
    }
  }

  private scanned({ kinds = 'all' }: ScanOptions): Scanned {
    const order = new Map([...this.state.concepts.keys()].map((key, i) => [key, i]));
    const place = (key: string): number => order.get(key) ?? -1;
    const associations = [...this.state.associations.values()].sort(
      (a, b) =>
        place(a.source) - place(b.source) || place(a.target) - place(b.target) || a.type - b.type,
    );
    return {
      sequence: this.sequence,
      kinds,
      concepts: [...this.state.concepts.values()].map((concept): ScannedConcept => {
        const { content, strength, confidence, createdUs, updatedUs, embedding } = concept;
        const scanned = { id: idOf(concept), content, strength, confidence, createdUs, updatedUs };
        return embedding === null ? scanned : { ...scanned, embedding: embedding.slice() };
      }),
      associations: associations.map(({ source, target, type, confidence, createdUs }) => ({
        source: this.idOfKey(source),
        target: this.idOfKey(target),
        type,
        confidence,
        createdUs,
      })),
    };
  }

  async stats(options?: CallOptions): Promise<StorageStats> {
    this.begin(options);
    checkCall(options);
    const { concepts, associations } = this.state;
    return {
      concepts: concepts.size,
      edges: associations.size,
      written: this.sequence,
      dropped: 0,
      pending: 0,
      reconciliations: 0,
      uptimeSeconds: this.uptimeSeconds(),
      sequence: this.sequence,
      snapshotSequence: this.snapshotSequence,
      vectors: vectorsIn(this.state),
      dimension: this.dimensionOf(this.state),
      indexed: 0,
      vectorPrecision: '',
      indexBytes: 0,
      indexFileBytes: 0,
      indexQueued: 0,
      walBytes: 0,
      snapshotBytes: 0,
      checkpoints: this.checkpoints,
      groupCommits: 0,
      committedBytes: 0,
      pendingBytes: 0,
      pendingLimitBytes: 0,
      memtableWrites: this.sequence - this.snapshotSequence,
      memtableThreshold: 0,
      walThresholdBytes: 0,
      walDiskBytes: 0,
      epoch: 1,
      uuid: '',
      durability: 'always',
      readOnly: false,
      diskFull: false,
      syncLatency: NO_LATENCIES,
      latencyBoundsUs: LATENCY_BOUNDS_US,
      checkpoint: NO_CHECKPOINT,
    };
  }

  async flush(options?: CallOptions): Promise<void> {
    this.begin(options);
    checkCall(options);
    if (this.snapshotSequence === this.sequence) return;
    this.snapshotSequence = this.sequence;
    this.checkpoints++;
  }

  /** The model has no files: backups are held against the store they are of. */
  backup(): AsyncIterable<BackupChunk> {
    throw new SutraError('UNIMPLEMENTED', 'backup: the model has no files');
  }

  async healthCheck(options?: CallOptions): Promise<HealthAnswer> {
    this.begin(options);
    checkCall(options);
    return { healthy: true, status: 'ok', uptimeSeconds: this.uptimeSeconds() };
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  private begin(options: CallOptions | undefined): void {
    if (this.closed) throw new SutraError('CLOSED', 'the store has been closed');
    throwIfAborted(options?.signal);
  }

  private uptimeSeconds(): number {
    return Math.floor((Date.now() - this.openedAt) / 1000);
  }

  /** Learns into a copy, which takes the state's place only when every item was accepted. */
  private apply(batch: BatchInput, inBatch: boolean): BatchReceipt {
    const next: State = {
      concepts: new Map(this.state.concepts),
      associations: new Map(this.state.associations),
    };
    const now = this.nowUs();
    const { concepts = [], associations = [] } = batch;
    concepts.forEach((concept, i) => {
      this.applyConcept(next, concept, now, inBatch ? `concepts[${i}].` : '');
    });
    associations.forEach((association) => {
      applyAssociation(next, association, now);
    });
    const count = concepts.length + associations.length;
    if (count === 0) return { firstSequence: 0, count: 0 };
    const firstSequence = this.sequence + 1;
    this.sequence += count;
    this.state = next;
    return { firstSequence, count };
  }

  private applyConcept(state: State, input: ConceptInput, nowUs: number, scope: string): void {
    const { key, name } = idFrom(input.id);
    const known = state.concepts.get(key);
    if (known !== undefined && known.name !== null && name !== null && known.name !== name) {
      throw new SutraError('NAME_COLLISION', `${input.id} has the same key as ${known.name}`, {
        violations: [
          { field: `${scope}concept_id`, description: `has the same key as ${known.name}` },
        ],
      });
    }
    const given = input.embedding === undefined ? null : Float32Array.from(input.embedding);
    if (given !== null) {
      requireDimension(`${scope}embedding`, given.length, this.dimensionOf(state));
    }
    state.concepts.set(key, {
      key,
      name: known?.name ?? name,
      content: input.content,
      strength: Math.fround(input.strength ?? 1),
      confidence: Math.fround(input.confidence ?? 1),
      createdUs: known?.createdUs ?? input.createdUs ?? input.updatedUs ?? nowUs,
      updatedUs: input.updatedUs ?? nowUs,
      embedding: given ?? known?.embedding ?? null,
    });
  }

  /** The explicit dimension, else that of the vectors there are, else 0. */
  private dimensionOf(state: State): number {
    if (this.explicitDimension !== 0) return this.explicitDimension;
    for (const { embedding } of state.concepts.values()) {
      if (embedding !== null) return embedding.length;
    }
    return 0;
  }

  private find(id: string): Concept | null {
    return findIn(this.state, id);
  }

  private idOfKey(key: string): string {
    const concept = this.state.concepts.get(key);
    if (concept === undefined) throw new Error(`the model has lost ${key}`);
    return idOf(concept);
  }

  /** Every link at a concept that may be walked; a self-loop once, as out when that is asked for. */
  private links(key: string, filter: LinkFilter): Link[] {
    const { direction = 'both', types = [] } = filter;
    const links: Link[] = [];
    for (const { source, target, type, confidence } of this.state.associations.values()) {
      if (types.length > 0 && !types.includes(type)) continue;
      if (source === key && direction !== 'in') {
        links.push({ other: target, type, confidence, direction: 'out' });
      } else if (target === key && direction !== 'out') {
        links.push({ other: source, type, confidence, direction: 'in' });
      }
    }
    return links;
  }

  /** For each neighbour its strongest link; ties take the lower type, then out before in. */
  private strongestLinks(key: string, filter: LinkFilter): Map<string, Link> {
    const strongest = new Map<string, Link>();
    for (const link of this.links(key, filter)) {
      const known = strongest.get(link.other);
      if (known === undefined || isStronger(link, known)) strongest.set(link.other, link);
    }
    return strongest;
  }

  /** Breadth first. */
  private shortestPath(from: string, to: string, depth: number, filter: LinkFilter): Link[] | null {
    let front = new Map<string, Link[]>([[from, []]]);
    const seen = new Set([from]);
    for (let hops = 0; hops <= depth; hops++) {
      const found = front.get(to);
      if (found !== undefined) return found;
      const next = new Map<string, Link[]>();
      for (const [key, path] of front) {
        for (const [other, link] of this.strongestLinks(key, filter)) {
          if (seen.has(other)) continue;
          seen.add(other);
          next.set(other, [...path, link]);
        }
      }
      front = next;
    }
    return null;
  }

  /** Bellman and Ford: the best product with at most h hops, for h = 0, 1, ... depth. */
  private strongestPath(
    from: string,
    to: string,
    depth: number,
    filter: LinkFilter,
  ): Link[] | null {
    let best = new Map<string, { product: number; path: Link[] }>([
      [from, { product: 1, path: [] }],
    ]);
    for (let hops = 1; hops <= depth; hops++) {
      const next = new Map(best);
      for (const [key, { product, path }] of best) {
        for (const [other, link] of this.strongestLinks(key, filter)) {
          const reached = product * link.confidence;
          // Only more counts, so the fewest hops win a tie; zero is more than nothing nowhere.
          if (reached > (next.get(other)?.product ?? 0)) {
            next.set(other, { product: reached, path: [...path, link] });
          }
        }
      }
      best = next;
    }
    return best.get(to)?.path ?? null;
  }
}

interface LinkFilter {
  readonly direction?: Direction;
  readonly types?: readonly number[];
}

function applyAssociation(state: State, input: AssociationInput, nowUs: number): void {
  const source = findIn(state, input.source);
  if (source === null) throw unknownConcept(input.source);
  const target = findIn(state, input.target);
  if (target === null) throw unknownConcept(input.target);
  const type = input.type ?? 0;
  const identity = `${source.key} ${target.key} ${type}`;
  state.associations.set(identity, {
    source: source.key,
    target: target.key,
    type,
    confidence: Math.fround(input.confidence ?? 1),
    createdUs: state.associations.get(identity)?.createdUs ?? input.createdUs ?? nowUs,
  });
}

function unknownConcept(id: string): SutraError {
  return new SutraError('UNKNOWN_CONCEPT', `unknown concept: ${id}`);
}

function requireDimension(field: string, got: number, expected: number): void {
  if (expected === 0 || got === expected) return;
  const description = `got ${got} numbers, expected ${expected}`;
  throw new SutraError('DIMENSION_MISMATCH', `${field}: ${description}`, {
    violations: [{ field, description }],
  });
}

function idFrom(id: string): Id {
  const parsed = new ParsedId();
  parseId(id, parsed);
  const word = (value: number): string => value.toString(16).padStart(8, '0');
  const key = word(parsed.k0) + word(parsed.k1) + word(parsed.k2) + word(parsed.k3);
  return { key, name: parsed.name === null ? null : id };
}

/** By hex digits: whatever has that key. By name: what has that key and that very name. */
function findIn(state: State, id: string): Concept | null {
  const { key, name } = idFrom(id);
  const concept = state.concepts.get(key);
  if (concept === undefined) return null;
  return name === null || concept.name === name ? concept : null;
}

function idOf({ key, name }: Concept): string {
  const word = (at: number): number => Number.parseInt(key.slice(at, at + 8), 16);
  return name ?? keyToId(word(0), word(8), word(16), word(24));
}

function isStronger(a: Link, b: Link): boolean {
  if (a.confidence !== b.confidence) return a.confidence > b.confidence;
  if (a.type !== b.type) return a.type < b.type;
  return a.direction === 'out' && b.direction === 'in';
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function vectorsIn({ concepts }: State): number {
  let count = 0;
  for (const { embedding } of concepts.values()) if (embedding !== null) count++;
  return count;
}

function cosine(a: Float32Array, b: Float32Array): number {
  let dot = 0;
  let normA = 0;
  let normB = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i] ?? 0;
    const y = b[i] ?? 0;
    dot += x * y;
    normA += x * x;
    normB += y * y;
  }
  return dot / (Math.sqrt(normA) * Math.sqrt(normB));
}
