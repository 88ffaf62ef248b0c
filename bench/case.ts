/**
 * One case in a process of its own: `node bench/dist/case.js NAME '{"parameters": ...}'` runs it and prints its figures as one
 * line of JSON. So no case warms or burdens another, and each can be run by hand under --cpu-prof.
 */

/** Loaded one at a time, so that a case pays only for what it imports. */
const CASES = {
  cliStart: async () => (await import('./cases/cli.js')).cliStart,
  checkpointLatency: async () => (await import('./cases/checkpoint.js')).checkpointLatency,
  firstRead: async () => (await import('./cases/open.js')).firstRead,
  memoryAfterTraversal: async () => (await import('./cases/open.js')).memoryAfterTraversal,
  peerGraphology: async () => (await import('./cases/peer-graphology.js')).peerGraphology,
  peerLmdbGraph: async () => (await import('./cases/peer-lmdb.js')).peerLmdbGraph,
  peerLmdbReads: async () => (await import('./cases/peer-lmdb.js')).peerLmdbReads,
  peerLmdbWrites: async () => (await import('./cases/peer-lmdb.js')).peerLmdbWrites,
  peerSqliteGraph: async () => (await import('./cases/peer-sqlite.js')).peerSqliteGraph,
  peerSqliteReads: async () => (await import('./cases/peer-sqlite.js')).peerSqliteReads,
  peerSqliteWrites: async () => (await import('./cases/peer-sqlite.js')).peerSqliteWrites,
  reads: async () => (await import('./cases/reads.js')).reads,
  grpcClient: async () => (await import('./cases/grpc.js')).grpcClient,
  grpcNoop: async () => (await import('./cases/grpc.js')).grpcNoop,
  grpcServer: async () => (await import('./cases/grpc.js')).grpcServer,
  importFile: async () => (await import('./cases/import.js')).importFile,
  importInto: async () => (await import('./cases/import.js')).importInto,
  load: async () => (await import('./cases/writes.js')).load,
  makeLog: async () => (await import('./cases/writes.js')).makeLog,
  syncCost: async () => (await import('./cases/sync.js')).syncCost,
  replay: async () => (await import('./cases/writes.js')).replay,
  vectorCatchUp: async () => (await import('./cases/vectors.js')).vectorCatchUp,
  vectorOpen: async () => (await import('./cases/vectors.js')).vectorOpen,
  vectors: async () => (await import('./cases/vectors.js')).vectors,
  writes: async () => (await import('./cases/writes.js')).writes,
} as const;

export type CaseName = keyof typeof CASES;
type Case<N extends CaseName> = Awaited<ReturnType<(typeof CASES)[N]>>;
export type CaseFigures<N extends CaseName> = Awaited<ReturnType<Case<N>>>;
export type CaseParameters<N extends CaseName> = Parameters<Case<N>>[0];

async function main(): Promise<void> {
  const [name = '', parameters = '{}'] = process.argv.slice(2);
  if (!Object.hasOwn(CASES, name)) {
    throw new Error(`no case ${name}; there are ${Object.keys(CASES).join(', ')}`);
  }
  const run = (await CASES[name as CaseName]()) as (given: unknown) => Promise<unknown>;
  const figures = await run(JSON.parse(parameters));
  process.stdout.write(`${JSON.stringify(figures)}\n`);
}

await main();
