/**
 * The doorway: one interface that the embedded and the remote backend implement alike. Commands, the server and library
 * users call this and nothing below it. All methods reject with SutraError; all validate their arguments first, so that
 * a refused call changes nothing. Ids are the strings of the interface: a name, or 16 or 32 hex digits.
 */

import type { ErrorCode, FieldViolation } from '../errors.js';
import type { LatencyHistogram } from '../latency.js';

/** Association types with names; 5-65535 are the client's own numbers. */
export const ASSOCIATION_TYPES = [
  'semantic',
  'causal',
  'temporal',
  'hierarchical',
  'compositional',
] as const;

export type Direction = 'both' | 'out' | 'in';
export type Weighting = 'hops' | 'confidence';

export interface CallOptions {
  /** Aborts the call: CANCELLED, or DEADLINE_EXCEEDED when the reason is a timeout. */
  readonly signal?: AbortSignal;
  /** Remote: milliseconds until DEADLINE_EXCEEDED. Embedded traversals honour it too. Absent: the backend's default. */
  readonly timeoutMs?: number;
}

export interface ConceptInput {
  readonly id: string;
  readonly content: string;
  /** Any length from 1 to 4,096, the same for a whole store; finite, not of zero norm. */
  readonly embedding?: Float32Array | readonly number[];
  /** Default 1. Finite, >= 0 after rounding to float32. */
  readonly strength?: number;
  /** Default 1. In [0, 1] after rounding to float32. */
  readonly confidence?: number;
  /** For restoring: when it was created, in microseconds since 1970. A concept that is known keeps its own. Default updatedUs. */
  readonly createdUs?: number;
  /** For restoring: when it was learned last. Default now. */
  readonly updatedUs?: number;
}

export interface AssociationInput {
  readonly source: string;
  readonly target: string;
  /** 0-65535; default 0, semantic. */
  readonly type?: number;
  /** Default 1. In [0, 1]. */
  readonly confidence?: number;
  /** For restoring: when it was created, in microseconds since 1970. One that is known keeps its own. Default now. */
  readonly createdUs?: number;
}

export interface WriteReceipt {
  /** The sequence this write took. */
  readonly sequence: number;
}

export interface BatchInput {
  readonly concepts?: readonly ConceptInput[];
  /** Applied after the concepts, so they may link what the same batch learns. */
  readonly associations?: readonly AssociationInput[];
}

export interface BatchReceipt {
  /** The batch took sequences firstSequence .. firstSequence + count - 1: concepts first, then associations. */
  readonly firstSequence: number;
  readonly count: number;
}

export interface ForgetReceipt {
  /** False: nothing by that id; no sequence was taken (sequence is then 0). */
  readonly found: boolean;
  readonly sequence: number;
  /** How many distinct associations went. */
  readonly associations: number;
}

export interface ConceptAnswer {
  readonly found: boolean;
  /** The id as it was learned; as asked for when not found. */
  readonly id: string;
  readonly content: string;
  readonly strength: number;
  readonly confidence: number;
  /** Microseconds since 1970; 0 when not found. */
  readonly createdUs: number;
  readonly updatedUs: number;
  /** Float32 values as learned; absent when none. Only when asked for. */
  readonly embedding?: Float32Array;
  /** Dimension of its embedding, 0 when it has none. */
  readonly dimension: number;
}

export interface QueryOptions extends CallOptions {
  /** Also read the embedding. Default false. */
  readonly withEmbedding?: boolean;
}

export interface NeighborOptions extends CallOptions {
  /** Default both. */
  readonly direction?: Direction;
  /** Only associations of these types. Absent or empty: all. */
  readonly types?: readonly number[];
  /** At most so many, strongest first. 0 or absent: all. */
  readonly limit?: number;
  /** Every association: a neighbour then comes once for each, ties by type and out before in. Default: its strongest only. */
  readonly parallel?: boolean;
}

export interface Neighbor {
  readonly id: string;
  /** Of the strongest association between the two; ties: lower type, then out before in. */
  readonly type: number;
  readonly confidence: number;
  /** `out`: from the concept asked about to this neighbour. */
  readonly direction: 'out' | 'in';
}

export interface NeighborsAnswer {
  /** Whether the concept asked about exists. */
  readonly known: boolean;
  readonly id: string;
  /** Distinct, by confidence descending, ties by key bytes. */
  readonly neighbors: readonly Neighbor[];
}

export interface PathOptions extends CallOptions {
  /** 0 or absent: 6; at most 64. */
  readonly maxDepth?: number;
  readonly direction?: Direction;
  readonly types?: readonly number[];
  /** hops: fewest hops. confidence: highest product of confidences, ties fewest hops. Default hops. */
  readonly by?: Weighting;
}

/** One association along a path, from path[i] to path[i + 1]. */
export interface PathStep {
  readonly from: string;
  readonly to: string;
  readonly type: number;
  readonly confidence: number;
  /** `out`: the association points from `from` to `to`; `in`: it points the other way. */
  readonly direction: 'out' | 'in';
}

export interface PathAnswer {
  readonly found: boolean;
  /** From start to end, both included; empty when not found. */
  readonly path: readonly string[];
  readonly steps: readonly PathStep[];
  /** Product of the steps' confidences; 1 for a path of one concept, 0 when not found. */
  readonly confidence: number;
}

export interface SearchOptions extends CallOptions {
  /** 0 or absent: 10; at most 10,000. */
  readonly k?: number;
  /** 0 or absent: 50. Ignored while search is exact. */
  readonly efSearch?: number;
  /** Only matches of at least this cosine similarity, -1..1 after rounding to float32. Absent: all. */
  readonly minSimilarity?: number;
  /** Only concepts in this neighbourhood. Absent: everywhere. UNKNOWN_CONCEPT when there is no such concept. */
  readonly within?: Neighborhood;
  /** Also read each match's content; TOO_LARGE when that is more than 16 MiB in all. Default false. */
  readonly withContent?: boolean;
}

/** The concepts within so many hops of one, along associations of any type, either way. That one counts itself. */
export interface Neighborhood {
  readonly id: string;
  /** 0 or absent: 1; at most 64. */
  readonly hops?: number;
}

export interface VectorMatch {
  readonly id: string;
  /** Cosine similarity, -1..1, best first, ties by key bytes. */
  readonly similarity: number;
  /** Only when asked for. */
  readonly content?: string;
}

export type ScanKinds = 'concepts' | 'associations' | 'all';

export interface ScanOptions extends CallOptions {
  /** Default all. */
  readonly kinds?: ScanKinds;
  /** Also read the embeddings. Default true. */
  readonly withEmbeddings?: boolean;
  /** At most so many items a page; 0 or absent: 1,000; at most 10,000. A page ends earlier at about 1 MiB. */
  readonly pageItems?: number;
  /** Goes on behind the page that had this `resume`; the kinds are those of the scan that is resumed. */
  readonly resume?: string;
}

export interface ScannedConcept {
  readonly id: string;
  readonly content: string;
  readonly strength: number;
  readonly confidence: number;
  readonly createdUs: number;
  readonly updatedUs: number;
  /** Absent: it has none, or none were asked for. */
  readonly embedding?: Float32Array;
}

export interface ScannedAssociation {
  readonly source: string;
  readonly target: string;
  readonly type: number;
  readonly confidence: number;
  readonly createdUs: number;
}

/** Some of a state's concepts, or behind the last of them its associations; a page may have both, or be empty. */
export interface ScanPage {
  /** The state that is scanned is the one after this write. */
  readonly sequence: number;
  /** Of that state, 32 hex digits: two stores with the same concepts and associations have the same. */
  readonly digest: string;
  /** How many concepts and associations that state has in all. */
  readonly conceptCount: number;
  readonly associationCount: number;
  readonly concepts: readonly ScannedConcept[];
  readonly associations: readonly ScannedAssociation[];
  /** What ScanOptions.resume takes to go on behind this page; null: this is the last one. */
  readonly resume: string | null;
}

export type IngestItem =
  { readonly concept: ConceptInput } | { readonly association: AssociationInput };

/** Items one by one, or in arrays, which are cheaper and stay together: each becomes one chunk, of at most 16,384 items. */
export type IngestSource =
  Iterable<IngestItem | readonly IngestItem[]> | AsyncIterable<IngestItem | readonly IngestItem[]>;

export interface IngestOptions extends CallOptions {
  /** Items a chunk that come one by one; 0 or absent: 1,000; at most 16,384. Fewer when no more are there yet. */
  readonly chunkItems?: number;
}

/** Why one item was refused; the others are not concerned. */
export interface IngestItemError {
  /** From the start of the stream, from 0. */
  readonly index: number;
  readonly code: ErrorCode;
  readonly message: string;
  readonly violations: readonly FieldViolation[];
}

/** One chunk: its accepted items are durable. */
export interface IngestAck {
  /** Index of the chunk's first item, from the start of the stream, from 0. */
  readonly firstIndex: number;
  /** Items of the chunk. */
  readonly received: number;
  readonly accepted: number;
  /** What the accepted ones took, in order and without gaps; 0 when there are none. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** One for each item that was refused, in order. */
  readonly errors: readonly IngestItemError[];
}

/** What checkpoints do. Times in microseconds. */
export interface CheckpointStats {
  readonly running: boolean;
  /** Of the running one: bytes of the new storage.dat that are written, and how many there will be by its own estimate. */
  readonly writtenBytes: number;
  readonly expectedBytes: number;
  /** How long the running one has been at it; 0 when none runs. */
  readonly runningUs: number;
  /** Of the last one that completed since start-up. 0: there was none. */
  readonly lastDurationUs: number;
  /** When it completed, since 1970. */
  readonly lastEndUs: number;
  /** Since start-up. */
  readonly failures: number;
  /** Why the last one failed; empty once one completed. */
  readonly lastError: string;
}

/** How often calls of one method ended with one gRPC status code. */
export interface StatusCount {
  readonly code: number;
  readonly count: number;
}

/** In the words of the gRPC ecosystem's metrics. */
export type CallType = 'unary' | 'client_stream' | 'server_stream' | 'bidi_stream';

/** One method of a server, since its start. */
export interface CallStats {
  /** As in the .proto: LearnConcept. */
  readonly method: string;
  /** A CallType, or one of a newer server. */
  readonly type: string;
  readonly started: number;
  readonly inFlight: number;
  /** Messages from and to clients. */
  readonly received: number;
  readonly sent: number;
  /** Only codes that came up, in their order; 0 is OK. */
  readonly handled: readonly StatusCount[];
  /** From the request in memory to the answer handed over, whatever its code. */
  readonly latency: LatencyHistogram;
}

/** What only a server knows. Counters count since its start; bytes and CPU are those of the whole process. */
export interface ServerStats {
  readonly version: string;
  readonly nodeVersion: string;
  readonly pid: number;
  /** Microseconds since 1970. */
  readonly startUs: number;
  readonly draining: boolean;
  readonly connections: number;
  readonly connectionsAccepted: number;
  /** Closed at once because too many were open. */
  readonly connectionsRefused: number;
  /** Calls that have not begun, because those of other connections come first. */
  readonly callsWaiting: number;
  readonly cpuUserUs: number;
  readonly cpuSystemUs: number;
  readonly residentBytes: number;
  readonly heapUsedBytes: number;
  readonly heapTotalBytes: number;
  /** Array buffers and other memory beside the heap. */
  readonly externalBytes: number;
  /** The share active / (active + idle) of two answers' differences is how busy the serving thread was. */
  readonly loopActiveUs: number;
  readonly loopIdleUs: number;
  /** How late the event loop came to a timer of 20 ms. */
  readonly loopDelay: LatencyHistogram;
  /** From and to the disk itself; 0 where the system does not say. */
  readonly diskReadBytes: number;
  readonly diskWrittenBytes: number;
  /** Over the connections of clients. */
  readonly networkReceivedBytes: number;
  readonly networkSentBytes: number;
  /** Of the file system that holds the store. */
  readonly diskFreeBytes: number;
  readonly diskTotalBytes: number;
  readonly calls: readonly CallStats[];
}

/** GetStats: the interface's seven, then what operators ask for. Sizes in bytes, counts as plain integers. */
export interface StorageStats {
  readonly concepts: number;
  readonly edges: number;
  readonly written: number;
  readonly dropped: number;
  readonly pending: number;
  readonly reconciliations: number;
  readonly uptimeSeconds: number;
  /** Last sequence applied. */
  readonly sequence: number;
  /** Sequence that storage.dat stands for. */
  readonly snapshotSequence: number;
  readonly vectors: number;
  /** Dimension of the store's vectors; 0: none yet. */
  readonly dimension: number;
  /** Vectors that the approximate index holds; the others are compared one by one. */
  readonly indexed: number;
  /** Changes that the index has not taken in yet: vectors to place, and to take out. */
  readonly indexQueued: number;
  /** How the index keeps a number: f32, f16 or i8. Empty from a server that has no index. */
  readonly vectorPrecision: string;
  /** Memory that the index takes. */
  readonly indexBytes: number;
  /** Bytes of its file; 0: none yet. */
  readonly indexFileBytes: number;
  /** Of the log behind storage.dat. */
  readonly walBytes: number;
  readonly snapshotBytes: number;
  readonly checkpoints: number;
  /** Groups of writes committed since start-up. */
  readonly groupCommits: number;
  /** Bytes of their commands. */
  readonly committedBytes: number;
  /** Bytes that are queued for the log, and how many may be until writes are refused as OVERLOADED. */
  readonly pendingBytes: number;
  readonly pendingLimitBytes: number;
  /** Writes since the last seal, which the memtable holds, and how many (or how many bytes of log) begin a checkpoint. */
  readonly memtableWrites: number;
  readonly memtableThreshold: number;
  readonly walThresholdBytes: number;
  /** Of all segments on the disk, those that only storage.dat.prev needs included. */
  readonly walDiskBytes: number;
  /** Changes with every opening for writing. */
  readonly epoch: number;
  /** 32 hex digits. */
  readonly uuid: string;
  /** always or interval; none for a store that was opened for reading. */
  readonly durability: string;
  readonly readOnly: boolean;
  /** The disk is full: writes are refused until there is space. */
  readonly diskFull: boolean;
  /** How long syncs of the log took. */
  readonly syncLatency: LatencyHistogram;
  /** Upper bounds of the buckets of every histogram here, in microseconds. */
  readonly latencyBoundsUs: readonly number[];
  readonly checkpoint: CheckpointStats;
  /** Absent when the answer is not a server's. */
  readonly server?: ServerStats;
}

export interface HealthAnswer {
  readonly healthy: boolean;
  /** `ok`, or what is wrong in a few words. */
  readonly status: string;
  readonly uptimeSeconds: number;
}

/** What a backup holds. */
export interface BackupInfo {
  /** The backup is of the state after this write. */
  readonly sequence: number;
  /** State digest, 32 hex digits: equal for equal states, whatever store they are in. */
  readonly digest: string;
  readonly concepts: number;
  readonly edges: number;
  readonly vectors: number;
  /** Of the whole backup. */
  readonly bytes: number;
}

export interface BackupChunk {
  /** The same in every chunk. */
  readonly info: BackupInfo;
  /** Where these bytes belong; each chunk begins where the one before it ended. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface Storage {
  readonly mode: 'embedded' | 'server';
  learnConcept(concept: ConceptInput, options?: CallOptions): Promise<WriteReceipt>;
  learnAssociation(association: AssociationInput, options?: CallOptions): Promise<WriteReceipt>;
  /** All or nothing; at most 16 MiB encoded. An empty batch takes no sequence: count 0. */
  learnBatch(batch: BatchInput, options?: CallOptions): Promise<BatchReceipt>;
  forgetConcept(id: string, options?: CallOptions): Promise<ForgetReceipt>;
  /** Without a type: every association from source to target. */
  forgetAssociation(
    source: string,
    target: string,
    type?: number,
    options?: CallOptions,
  ): Promise<ForgetReceipt>;
  queryConcept(id: string, options?: QueryOptions): Promise<ConceptAnswer>;
  contains(id: string, options?: CallOptions): Promise<boolean>;
  getNeighbors(id: string, options?: NeighborOptions): Promise<NeighborsAnswer>;
  findPath(start: string, end: string, options?: PathOptions): Promise<PathAnswer>;
  vectorSearch(
    query: Float32Array | readonly number[],
    options?: SearchOptions,
  ): Promise<VectorMatch[]>;
  /**
   * Learns a stream of items, each by itself: one that is refused is named in its chunk's acknowledgement, and the others go
   * in. An acknowledgement comes once its chunk is durable, in order; the stream is read as acknowledgements are taken. When
   * it throws, what was acknowledged is in, and what was sent behind that may be, or a beginning of it.
   */
  ingest(items: IngestSource, options?: IngestOptions): AsyncIterable<IngestAck>;
  /**
   * Everything there is at one sequence, in pages, while writes go on: concepts in the order in which they were first learned
   * (where nothing was forgotten), then associations by source, target and type, the ends in that same order. Learning it
   * all in this order and scanning again gives the same. At least one page, even of an empty store. A writer's scan begins
   * with a flush. A scan that was left or broken off can be resumed for a minute, or until storage.dat is replaced.
   */
  scan(options?: ScanOptions): AsyncIterable<ScanPage>;
  stats(options?: CallOptions): Promise<StorageStats>;
  /** Resolves when storage.dat holds everything acknowledged before the call. */
  flush(options?: CallOptions): Promise<void>;
  /**
   * The whole state at one sequence as the bytes of a storage.dat, while writes go on: at least one chunk. It holds everything
   * that was acknowledged before the call. `sutra restore` and a directory of its own take the file; check it first, as
   * `sutra backup` does.
   */
  backup(options?: CallOptions): AsyncIterable<BackupChunk>;
  healthCheck(options?: CallOptions): Promise<HealthAnswer>;
  close(): Promise<void>;
}
