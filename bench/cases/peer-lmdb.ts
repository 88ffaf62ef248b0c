/**
 * The same concepts and associations in LMDB. A concept is a record by its key of 16 bytes; an association is a record by
 * (source, target, type), and once more by (target, source, type), since LMDB has its neighbours nowhere else.
 */

import { join } from 'node:path';
import { ask, type ReadFigures } from '../ask.js';
import { verify } from '../measure.js';
import {
  bytesIn,
  isUnavailable,
  requirePeer,
  tried,
  type PeerGraph,
  type PeerWrites,
  type Unavailable,
} from '../peer.js';
import { Questions } from '../questions.js';
import { contentOf, hexId, RandomGraph } from '../workload.js';

const BATCH = 1000;
/** Where nobody waits for a sync. */
const LARGE_BATCH = 100_000;
const KEY_BYTES = 16;
const HEAD_BYTES = 16;

/** The part of the `lmdb` package that is used. */
interface Lmdb {
  open(options: object): LmdbRoot;
}
interface LmdbRoot {
  readonly flushed: Promise<unknown>;
  transaction<T>(work: () => T): Promise<T>;
  openDB(options: object): LmdbTable;
  close(): Promise<void>;
}
interface LmdbTable {
  put(key: Buffer, value: Buffer): Promise<boolean>;
  /** Its bytes are good until the next call. */
  getBinaryFast(key: Buffer): Buffer | undefined;
  getKeys(range: { start: Buffer; end: Buffer }): Iterable<Buffer>;
  getCount(): number;
}

export async function peerLmdbWrites(parameters: {
  readonly directory: string;
  readonly concepts: number;
  readonly associations: number;
}): Promise<PeerWrites | Unavailable> {
  const { directory, concepts, associations } = parameters;
  const tables = await tried(() => new Tables(directory, concepts, true));
  if (isUnavailable(tables)) return tables;
  const graph = new RandomGraph(concepts, associations);
  const conceptsPerSecond = await tables.batches(concepts, BATCH, (i) => tables.learn(i));
  verify(tables.concepts.getCount() === concepts, 'LMDB holds the concepts');
  const associationsPerSecond = await tables.batches(associations, BATCH, (e) =>
    tables.link(graph, e),
  );
  verify(tables.out.getCount() > associations * 0.999, 'LMDB holds the associations');
  await tables.root.close();
  return { name: 'LMDB', conceptsPerSecond, associationsPerSecond };
}

/** The graph that is asked about, written without syncs. */
export async function peerLmdbGraph(parameters: {
  readonly directory: string;
  readonly concepts: number;
  readonly associations: number;
}): Promise<PeerGraph> {
  const { directory, concepts, associations } = parameters;
  const start = performance.now();
  const tables = new Tables(directory, concepts, false);
  const graph = new RandomGraph(concepts, associations);
  await tables.batches(concepts, LARGE_BATCH, (i) => tables.learn(i));
  await tables.batches(associations, LARGE_BATCH, (e) => tables.link(graph, e));
  verify(tables.out.getCount() > associations * 0.999, 'LMDB holds the associations');
  await tables.root.close();
  return { seconds: (performance.now() - start) / 1000, bytes: bytesIn(directory) };
}

export async function peerLmdbReads(parameters: {
  readonly directory: string;
  readonly concepts: number;
  readonly associations: number;
  readonly rounds: number;
  readonly calls: number;
}): Promise<ReadFigures> {
  const { directory, concepts, associations, rounds, calls } = parameters;
  const tables = new Tables(directory, 0, true);
  const questions = new Questions(new RandomGraph(concepts, associations), calls);
  const figures = ask(
    {
      keyOf: (i) => Buffer.from(hexId(i), 'hex'),
      content: (key: Buffer) => {
        const record = tables.concepts.getBinaryFast(key);
        // Its bytes may go on behind its length.
        return record?.toString('latin1', HEAD_BYTES, record.length) ?? 'nothing';
      },
      neighbors: (key: Buffer) => tables.neighbors(key),
    },
    questions,
    { rounds, pairs: 0 },
  );
  await tables.root.close();
  return figures;
}

class Tables {
  readonly root: LmdbRoot;
  readonly concepts: LmdbTable;
  readonly out: LmdbTable;
  private readonly incoming: LmdbTable;
  private readonly keys: readonly Buffer[];

  constructor(directory: string, concepts: number, durable: boolean) {
    const lmdb = requirePeer('lmdb') as Lmdb;
    const path = join(directory, 'lmdb');
    this.root = lmdb.open({ path, maxDbs: 4, mapSize: 2 ** 34, noSync: !durable });
    const options = { keyEncoding: 'binary', encoding: 'binary' };
    this.concepts = this.root.openDB({ name: 'concepts', ...options });
    this.out = this.root.openDB({ name: 'out', ...options });
    this.incoming = this.root.openDB({ name: 'in', ...options });
    this.keys = Array.from({ length: concepts }, (_, i) => Buffer.from(hexId(i), 'hex'));
    contentOf(0);
  }

  learn(i: number): void {
    const content = contentOf(i);
    const value = Buffer.allocUnsafe(HEAD_BYTES + content.length);
    value.writeFloatLE(1, 0);
    value.writeFloatLE(1, 4);
    value.writeDoubleLE(Date.now(), 8);
    value.write(content, HEAD_BYTES, 'latin1');
    void this.concepts.put(this.keyOf(i), value);
  }

  link(graph: RandomGraph, e: number): void {
    const source = this.keyOf(graph.sources[e] ?? 0);
    const target = this.keyOf(graph.targets[e] ?? 0);
    const value = Buffer.allocUnsafe(12);
    value.writeFloatLE(graph.confidenceOf(e), 0);
    value.writeDoubleLE(Date.now(), 4);
    void this.out.put(associationKey(source, target, graph.typeOf(e)), value);
    void this.incoming.put(associationKey(target, source, graph.typeOf(e)), value);
  }

  neighbors(key: Buffer): string[] {
    const start = Buffer.alloc(KEY_BYTES * 2 + 2);
    const end = Buffer.alloc(KEY_BYTES * 2 + 3, 0xff);
    key.copy(start, 0);
    key.copy(end, 0);
    const found: string[] = [];
    for (const table of [this.out, this.incoming]) {
      for (const at of table.getKeys({ start, end })) {
        const id = at.toString('hex', KEY_BYTES, KEY_BYTES * 2);
        if (!found.includes(id)) found.push(id);
      }
    }
    return found;
  }

  /** The next batch forms while the last one syncs; done when all is flushed. Gives a rate. */
  async batches(count: number, size: number, put: (i: number) => void): Promise<number> {
    const start = performance.now();
    const flushed: Promise<unknown>[] = [];
    for (let from = 0; from < count; from += size) {
      const to = Math.min(count, from + size);
      await this.root.transaction(() => {
        for (let i = from; i < to; i++) put(i);
      });
      flushed.push(this.root.flushed);
      if (flushed.length > 8) await flushed.shift();
    }
    await Promise.all(flushed);
    return count / ((performance.now() - start) / 1000);
  }

  private keyOf(i: number): Buffer {
    const key = this.keys[i];
    if (key === undefined) throw new Error(`no concept ${i}`);
    return key;
  }
}

function associationKey(a: Buffer, b: Buffer, type: number): Buffer {
  const key = Buffer.allocUnsafe(KEY_BYTES * 2 + 2);
  a.copy(key, 0);
  b.copy(key, KEY_BYTES);
  key.writeUInt16BE(type, KEY_BYTES * 2);
  return key;
}
