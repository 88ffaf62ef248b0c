/**
 * `npm run bench`: runs the cases one after another, each in a process of its own, prints a table and writes JSON to
 * bench/results/. That is the small form, of three minutes; `--full` (`npm run bench:full`) has the sizes that the bars are stated
 * for, and takes the better part of an hour; `--quick` only shows that all of it runs, and its figures mean little.
 * `--only SECTION` (several: comma), or sections alone, run some; `--growth CONCEPTS` (several: comma) says for how many concepts growth
 * is measured, so that its stores can be had one by one. Work files are under bench/.work or --work, on the disk the
 * repository is on (never a tmpfs, where a sync costs nothing), and are removed at the end.
 */

import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Bench, say } from './bench.js';
import { machine, printTable, writeJson } from './report.js';
import { growthRows } from './rows/growth.js';
import { importRows } from './rows/imports.js';
import { peerRows } from './rows/peers.js';
import { cliRows, openRows, readRows } from './rows/reads.js';
import { checkpointRows, grpcRows } from './rows/served.js';
import { vectorRows } from './rows/vectors.js';
import { loadRows, writeRows } from './rows/writes.js';
import type { Sizes } from './sizes.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** In the order in which they run. */
const SECTIONS: readonly string[] = [
  'write',
  'read',
  'open',
  'cli',
  'peers',
  'grpc',
  'checkpoint',
  'import',
  'vectors',
  'growth',
];
/** Those of one store, which the first of them makes. The last two write to it. */
const ON_ONE_STORE = ['write', 'read', 'open', 'cli', 'peers', 'grpc', 'checkpoint'];

async function main(): Promise<void> {
  const { values: flags, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      full: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      only: { type: 'string', default: SECTIONS.join(',') },
      growth: { type: 'string' },
      work: { type: 'string', default: join(ROOT, 'bench', '.work', String(process.pid)) },
      help: { type: 'boolean', default: false },
    },
  });
  if (flags.help) {
    process.stdout.write(
      `npm run bench [-- SECTION...] [-- --quick | --full] [-- --only ${SECTIONS.join(',')}] [-- --growth CONCEPTS,...] [-- --work DIR]\n`,
    );
    return;
  }
  const chosen = new Set(positionals.length > 0 ? positionals : flags.only.split(','));
  for (const name of chosen) {
    if (!SECTIONS.includes(name)) {
      throw new Error(`no section ${name}; there are ${SECTIONS.join(', ')}`);
    }
  }
  if (flags.full && flags.quick) throw new Error('--full or --quick, not both');
  const form = flags.full ? 'full' : flags.quick ? 'quick' : 'small';
  const bench = new Bench(form, flags.work, chosen, growthOf(flags.growth));
  mkdirSync(flags.work, { recursive: true });
  const on = machine(ROOT);
  const start = performance.now();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      bench.stop();
      rmSync(flags.work, { recursive: true, force: true });
      process.exit(130);
    });
  }
  try {
    await measure(bench);
  } finally {
    rmSync(flags.work, { recursive: true, force: true });
  }
  say('');
  printTable(bench, on);
  const path = writeJson(ROOT, bench, on);
  say(`${Math.round((performance.now() - start) / 1000)} s; written to ${path}`);
}

function growthOf(flag: string | undefined): Partial<Sizes> {
  if (flag === undefined) return {};
  const growth = flag.split(',').map(Number);
  for (const concepts of growth) {
    if (!Number.isInteger(concepts) || concepts < 1000) {
      throw new Error(`--growth takes whole numbers of at least 1000, not ${flag}`);
    }
  }
  return { growth };
}

async function measure(bench: Bench): Promise<void> {
  const has = (section: string): boolean => bench.chosen.has(section);
  if (ON_ONE_STORE.some(has)) {
    if (has('write')) await writeRows(bench);
    const store = join(bench.work, 'store');
    await loadRows(bench, store);
    if (has('read')) await readRows(bench, store);
    if (has('open')) await openRows(bench, store);
    if (has('cli')) await cliRows(bench, store);
    if (has('peers')) await peerRows(bench, store);
    if (has('grpc')) await grpcRows(bench, store);
    if (has('checkpoint')) await checkpointRows(bench, store);
    rmSync(store, { recursive: true });
  }
  if (has('import')) await importRows(bench);
  if (has('vectors')) await vectorRows(bench);
  if (has('growth')) await growthRows(bench);
}

await main();
