/**
 * The same concepts and associations in LMDB and SQLite, durable, in transactions of 1,000: what an embedded database gives
 * for the same schema. A concept is a record by key; an association is a record by (source, target, type), and for LMDB,
 * whose records carry their neighbours nowhere else, once more by (target, source, type).
 */

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { median, verify } from '../measure.js';
import { contentOf, hexId, Random, RandomGraph } from '../workload.js';

export interface PeerParameters {
  readonly directory: string;
  readonly concepts: number;
  readonly associations: number;
  readonly reads: number;
}

/** What stands in the way of a comparison, in a few words. */
export interface Unavailable {
  readonly unavailable: string;
}

export interface PeerFigures {
  readonly name: string;
  readonly conceptsPerSecond: number;
  readonly associationsPerSecond: number;
  readonly pointUs: number;
}

const BATCH = 1000;
const ROUNDS = 3;

/** The part of the `lmdb` package that is used. */
interface Lmdb {
  open(options: object): LmdbStore;
}
interface LmdbStore {
  readonly flushed: Promise<unknown>;
  put(key: Buffer, value: Buffer): Promise<boolean>;
  get(key: Buffer): Buffer | undefined;
  transaction<T>(work: () => T): Promise<T>;
  getCount(): number;
  openDB(options: object): LmdbStore;
  close(): Promise<void>;
}

/** The part that node:sqlite and `better-sqlite3` share. */
interface Sqlite {
  exec(sql: string): unknown;
  prepare(sql: string): SqliteStatement;
  close(): void;
}
interface SqliteStatement {
  run(...values: unknown[]): unknown;
  get(...values: unknown[]): unknown;
}

function requirePeer(name: string): unknown {
  return createRequire(new URL('../../peers/package.json', import.meta.url))(name);
}

function unavailable(error: unknown): Unavailable {
  const message = error instanceof Error ? error.message : String(error);
  return { unavailable: message.split('\n', 1)[0] ?? '' };
}

export async function peerLmdb(parameters: PeerParameters): Promise<PeerFigures | Unavailable> {
  const { directory, concepts, associations, reads } = parameters;
  let lmdb: Lmdb;
  try {
    lmdb = requirePeer('lmdb') as Lmdb;
  } catch (error) {
    return unavailable(error);
  }
  const root = lmdb.open({ path: join(directory, 'lmdb'), maxDbs: 4, mapSize: 2 ** 33 });
  const options = { keyEncoding: 'binary', encoding: 'binary' };
  const table = root.openDB({ name: 'concepts', ...options });
  const out = root.openDB({ name: 'out', ...options });
  const incoming = root.openDB({ name: 'in', ...options });
  const keys = Array.from({ length: concepts }, (_, i) => Buffer.from(hexId(i), 'hex'));
  const keyOf = (i: number): Buffer => keys[i] ?? Buffer.alloc(0);
  const graph = new RandomGraph(concepts, associations);

  /** Batches of 1,000, the next one forming while the last one syncs; done when all is flushed. */
  const inBatches = async (count: number, put: (i: number) => void): Promise<number> => {
    const start = performance.now();
    const flushed: Promise<unknown>[] = [];
    for (let from = 0; from < count; from += BATCH) {
      const to = Math.min(count, from + BATCH);
      await root.transaction(() => {
        for (let i = from; i < to; i++) put(i);
      });
      flushed.push(root.flushed);
      if (flushed.length > 8) await flushed.shift();
    }
    await Promise.all(flushed);
    return count / ((performance.now() - start) / 1000);
  };

  const conceptsPerSecond = await inBatches(concepts, (i) => {
    const content = contentOf(i);
    const value = Buffer.allocUnsafe(16 + content.length);
    value.writeFloatLE(1, 0);
    value.writeFloatLE(1, 4);
    value.writeDoubleLE(Date.now(), 8);
    value.write(content, 16, 'latin1');
    void table.put(keyOf(i), value);
  });
  verify(table.getCount() === concepts, 'LMDB holds the concepts');
  const pair = (a: Buffer, b: Buffer, type: number): Buffer => {
    const key = Buffer.allocUnsafe(34);
    a.copy(key, 0);
    b.copy(key, 16);
    key.writeUInt16BE(type, 32);
    return key;
  };
  const associationsPerSecond = await inBatches(associations, (e) => {
    const source = keyOf(graph.sources[e] ?? 0);
    const target = keyOf(graph.targets[e] ?? 0);
    const value = Buffer.allocUnsafe(12);
    value.writeFloatLE(graph.confidenceOf(e), 0);
    value.writeDoubleLE(Date.now(), 4);
    void out.put(pair(source, target, graph.typeOf(e)), value);
    void incoming.put(pair(target, source, graph.typeOf(e)), value);
  });

  const random = new Random(1);
  const asked = Array.from({ length: reads }, () => random.below(concepts));
  const rounds: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const start = performance.now();
    let bytes = 0;
    for (const i of asked) {
      const value = table.get(keyOf(i));
      if (value !== undefined) bytes += value.toString('latin1', 16).length;
    }
    if (round > 0) rounds.push(((performance.now() - start) * 1000) / reads);
    verify(bytes === reads * 60, 'LMDB gives the contents');
  }
  await root.close();
  return { name: 'LMDB', conceptsPerSecond, associationsPerSecond, pointUs: median(rounds) };
}

/** node:sqlite where Node has it, else better-sqlite3. */
async function openSqlite(path: string): Promise<{ readonly name: string; readonly db: Sqlite }> {
  const builtIn = 'node:sqlite';
  try {
    const { DatabaseSync } = (await import(builtIn)) as {
      DatabaseSync: new (path: string) => Sqlite;
    };
    return { name: 'SQLite (node:sqlite)', db: new DatabaseSync(path) };
  } catch {
    const Database = requirePeer('better-sqlite3') as new (path: string) => Sqlite;
    return { name: 'SQLite (better-sqlite3)', db: new Database(path) };
  }
}

export async function peerSqlite(parameters: PeerParameters): Promise<PeerFigures | Unavailable> {
  const { directory, concepts, associations, reads } = parameters;
  let opened: Awaited<ReturnType<typeof openSqlite>>;
  try {
    opened = await openSqlite(join(directory, 'sqlite.db'));
  } catch (error) {
    return unavailable(error);
  }
  const { name, db } = opened;
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
  db.exec(
    'CREATE TABLE concept (id BLOB PRIMARY KEY, content TEXT, strength REAL, confidence REAL, created INTEGER) WITHOUT ROWID;' +
      'CREATE TABLE association (source BLOB, target BLOB, type INTEGER, confidence REAL, created INTEGER, ' +
      'PRIMARY KEY (source, target, type)) WITHOUT ROWID;' +
      'CREATE INDEX incoming ON association (target, source, type);',
  );
  const keys = Array.from({ length: concepts }, (_, i) => Buffer.from(hexId(i), 'hex'));
  const graph = new RandomGraph(concepts, associations);

  const inBatches = (count: number, put: (i: number) => void): number => {
    const start = performance.now();
    for (let from = 0; from < count; from += BATCH) {
      db.exec('BEGIN');
      for (let i = from; i < Math.min(count, from + BATCH); i++) put(i);
      db.exec('COMMIT');
    }
    return count / ((performance.now() - start) / 1000);
  };

  const learn = db.prepare('INSERT OR REPLACE INTO concept VALUES (?, ?, ?, ?, ?)');
  const conceptsPerSecond = inBatches(concepts, (i) => {
    learn.run(keys[i], contentOf(i), 1, 1, Date.now());
  });
  const link = db.prepare('INSERT OR REPLACE INTO association VALUES (?, ?, ?, ?, ?)');
  const associationsPerSecond = inBatches(associations, (e) => {
    const source = keys[graph.sources[e] ?? 0];
    const target = keys[graph.targets[e] ?? 0];
    link.run(source, target, graph.typeOf(e), graph.confidenceOf(e), Date.now());
  });

  const query = db.prepare('SELECT content, strength, confidence FROM concept WHERE id = ?');
  const random = new Random(1);
  const asked = Array.from({ length: reads }, () => random.below(concepts));
  const rounds: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const start = performance.now();
    let bytes = 0;
    for (const i of asked) bytes += (query.get(keys[i]) as { content: string }).content.length;
    if (round > 0) rounds.push(((performance.now() - start) * 1000) / reads);
    verify(bytes === reads * 60, 'SQLite gives the contents');
  }
  db.close();
  return { name, conceptsPerSecond, associationsPerSecond, pointUs: median(rounds) };
}
