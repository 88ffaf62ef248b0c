/**
 * The same concepts and associations in SQLite: WAL and synchronous=FULL, so that a committed transaction survives a power cut.
 * Neighbours are a union over both directions, a path is a recursive common table expression: breadth first, since SQLite takes
 * rows out of its queue in the order in which they came, and ended by the first row that is the goal. It tells only how long
 * the path is; to carry the path along, every row would have to hold one.
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
import { MAX_DEPTH, Questions } from '../questions.js';
import { contentOf, hexId, RandomGraph } from '../workload.js';

const BATCH = 1000;
const DURABLE = 'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;';
const FAST = 'PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;';
/** As much as the whole graph, where it fits: reads are of memory, as sutra's are. */
const CACHE = 'PRAGMA cache_size = -2000000;';

const TABLES = `
CREATE TABLE concept (
  id BLOB PRIMARY KEY, content TEXT, strength REAL, confidence REAL, created INTEGER
) WITHOUT ROWID;
CREATE TABLE association (
  source BLOB, target BLOB, type INTEGER, confidence REAL, created INTEGER,
  PRIMARY KEY (source, target, type)
) WITHOUT ROWID;
CREATE INDEX incoming ON association (target, source, type);`;

const CONTENT = 'SELECT content, strength, confidence FROM concept WHERE id = ?';
const NEIGHBORS = `
SELECT lower(hex(target)) AS id FROM association WHERE source = ?
UNION SELECT lower(hex(source)) FROM association WHERE target = ?`;
const HOPS = `
WITH RECURSIVE reached (id, depth) AS (
  SELECT ?, 0
  UNION SELECT a.target, r.depth + 1 FROM reached r JOIN association a ON a.source = r.id WHERE r.depth < ?
  UNION SELECT a.source, r.depth + 1 FROM reached r JOIN association a ON a.target = r.id WHERE r.depth < ?
)
SELECT depth FROM reached WHERE id = ? LIMIT 1`;

/** The part that node:sqlite and `better-sqlite3` share. */
interface Sqlite {
  exec(sql: string): unknown;
  prepare(sql: string): SqliteStatement;
  close(): void;
}
interface SqliteStatement {
  run(...values: unknown[]): unknown;
  get(...values: unknown[]): unknown;
  all(...values: unknown[]): unknown[];
}

export async function peerSqliteWrites(parameters: {
  readonly directory: string;
  readonly concepts: number;
  readonly associations: number;
}): Promise<PeerWrites | Unavailable> {
  const { directory, concepts, associations } = parameters;
  const opened = await tried(() => openSqlite(directory));
  if (isUnavailable(opened)) return opened;
  const { name, db } = opened;
  db.exec(DURABLE + TABLES);
  const graph = new RandomGraph(concepts, associations);
  const tables = new Statements(db, concepts);
  const conceptsPerSecond = inBatches(db, concepts, BATCH, (i) => tables.learn(i));
  const associationsPerSecond = inBatches(db, associations, BATCH, (e) => tables.link(graph, e));
  verifyCounts(db, concepts, associations);
  db.close();
  return { name, conceptsPerSecond, associationsPerSecond };
}

/** The graph that is asked about, in two transactions without syncs. */
export async function peerSqliteGraph(parameters: {
  readonly directory: string;
  readonly concepts: number;
  readonly associations: number;
}): Promise<PeerGraph> {
  const { directory, concepts, associations } = parameters;
  const start = performance.now();
  const { db } = openSqlite(directory);
  db.exec(FAST + CACHE + TABLES);
  const graph = new RandomGraph(concepts, associations);
  const tables = new Statements(db, concepts);
  inBatches(db, concepts, concepts, (i) => tables.learn(i));
  inBatches(db, associations, associations, (e) => tables.link(graph, e));
  verifyCounts(db, concepts, associations);
  db.close();
  return { seconds: (performance.now() - start) / 1000, bytes: bytesIn(directory) };
}

export async function peerSqliteReads(parameters: {
  readonly directory: string;
  readonly concepts: number;
  readonly associations: number;
  readonly rounds: number;
  readonly calls: number;
  readonly pairs: number;
}): Promise<ReadFigures> {
  const { directory, concepts, associations, rounds, calls, pairs } = parameters;
  const { db } = openSqlite(directory);
  db.exec(DURABLE + CACHE);
  const content = db.prepare(CONTENT);
  const neighbors = db.prepare(NEIGHBORS);
  const hops = db.prepare(HOPS);
  const questions = new Questions(new RandomGraph(concepts, associations), calls);
  const figures = ask(
    {
      keyOf: (i) => Buffer.from(hexId(i), 'hex'),
      content: (key: Buffer) => (content.get(key) as { content: string }).content,
      neighbors: (key: Buffer) => (neighbors.all(key, key) as { id: string }[]).map(({ id }) => id),
      hops: (from: Buffer, to: Buffer) => {
        const found = hops.get(from, MAX_DEPTH, MAX_DEPTH, to) as { depth: number } | undefined;
        return found?.depth ?? -1;
      },
    },
    questions,
    { rounds, pairs },
  );
  db.close();
  return figures;
}

/** node:sqlite where Node has it, else better-sqlite3, which needs a binary. */
function openSqlite(directory: string): { readonly name: string; readonly db: Sqlite } {
  const path = join(directory, 'sqlite.db');
  const builtIn = process.getBuiltinModule('node:sqlite') as
    { readonly DatabaseSync: new (path: string) => Sqlite } | undefined;
  if (builtIn !== undefined) {
    return { name: 'SQLite (node:sqlite)', db: new builtIn.DatabaseSync(path) };
  }
  const Database = requirePeer('better-sqlite3') as new (path: string) => Sqlite;
  return { name: 'SQLite (better-sqlite3)', db: new Database(path) };
}

class Statements {
  private readonly concept: SqliteStatement;
  private readonly association: SqliteStatement;
  private readonly keys: readonly Buffer[];

  constructor(db: Sqlite, concepts: number) {
    this.concept = db.prepare('INSERT OR REPLACE INTO concept VALUES (?, ?, ?, ?, ?)');
    this.association = db.prepare('INSERT OR REPLACE INTO association VALUES (?, ?, ?, ?, ?)');
    this.keys = Array.from({ length: concepts }, (_, i) => Buffer.from(hexId(i), 'hex'));
    contentOf(0);
  }

  learn(i: number): void {
    this.concept.run(this.keys[i], contentOf(i), 1, 1, Date.now());
  }

  link(graph: RandomGraph, e: number): void {
    const source = this.keys[graph.sources[e] ?? 0];
    const target = this.keys[graph.targets[e] ?? 0];
    this.association.run(source, target, graph.typeOf(e), graph.confidenceOf(e), Date.now());
  }
}

function inBatches(db: Sqlite, count: number, size: number, put: (i: number) => void): number {
  const start = performance.now();
  for (let from = 0; from < count; from += size) {
    db.exec('BEGIN');
    for (let i = from; i < Math.min(count, from + size); i++) put(i);
    db.exec('COMMIT');
  }
  return count / ((performance.now() - start) / 1000);
}

function verifyCounts(db: Sqlite, concepts: number, associations: number): void {
  const countOf = (table: string): number =>
    (db.prepare(`SELECT count(*) AS n FROM ${table}`).get() as { n: number }).n;
  verify(countOf('concept') === concepts, 'SQLite holds the concepts');
  verify(countOf('association') > associations * 0.999, 'SQLite holds the associations');
}
