/**
 * One case in a process of its own: `node bench/dist/case.js NAME '{"parameters": ...}'` runs it and prints its figures as one
 * line of JSON. So no case warms or burdens another, and each can be run by hand under --cpu-prof.
 */

import { cliStart } from './cases/cli.js';
import { checkpointLatency } from './cases/checkpoint.js';
import { firstRead, memoryAfterTraversal } from './cases/open.js';
import { peerLmdb, peerSqlite } from './cases/peers.js';
import { reads } from './cases/reads.js';
import { grpcClient, grpcNoop, grpcServer } from './cases/grpc.js';
import { load, makeLog, replay, writes } from './cases/writes.js';

export const CASES = {
  cliStart,
  checkpointLatency,
  firstRead,
  memoryAfterTraversal,
  peerLmdb,
  peerSqlite,
  reads,
  grpcClient,
  grpcNoop,
  grpcServer,
  load,
  makeLog,
  replay,
  writes,
} as const;

export type CaseName = keyof typeof CASES;
export type CaseFigures<N extends CaseName> = Awaited<ReturnType<(typeof CASES)[N]>>;
export type CaseParameters<N extends CaseName> = Parameters<(typeof CASES)[N]>[0];

async function main(): Promise<void> {
  const [name = '', parameters = '{}'] = process.argv.slice(2);
  if (!Object.hasOwn(CASES, name)) {
    throw new Error(`no case ${name}; there are ${Object.keys(CASES).join(', ')}`);
  }
  const run = CASES[name as CaseName] as (given: unknown) => Promise<unknown>;
  const figures = await run(JSON.parse(parameters));
  process.stdout.write(`${JSON.stringify(figures)}\n`);
}

await main();
