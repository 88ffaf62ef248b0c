/**
 * `npm run bench`: runs the cases one after another, each in a process of its own, prints a table and writes JSON to
 * bench/results/. `--quick` does the same with small stores in half a minute: it shows that all of it runs, and its figures
 * mean little. `--only SECTION` (several: comma), or sections alone, run some. Work files are under bench/.work or --work, on the disk the repository is on
 * (never a tmpfs, where a sync costs nothing), and are removed at the end.
 */

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { CaseFigures, CaseName, CaseParameters } from './case.js';
import { median, verify } from './measure.js';
import { machine, printTable, writeJson, type Row } from './report.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CASE = fileURLToPath(new URL('./case.js', import.meta.url));
const PEERS = join(ROOT, 'bench', 'peers');

const SECTIONS = [
  'write',
  'read',
  'open',
  'checkpoint',
  'grpc',
  'cli',
  'import',
  'vectors',
  'peers',
] as const;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: SECTIONS.join(',') },
    work: { type: 'string', default: join(ROOT, 'bench', '.work', String(process.pid)) },
    help: { type: 'boolean', default: false },
  },
});
const WORK = flags.work;

const FULL = {
  concepts: 1_000_000,
  associations: 3_000_000,
  names: 300_000,
  awaited: 3000,
  concurrent: 200_000,
  writeRuns: 3,
  calls: 100_000,
  rounds: 5,
  quietMs: 3000,
  openRuns: 7,
  grpcCalls: 3000,
  grpcBatched: 300_000,
  grpcRuns: 3,
  cliRuns: 9,
  importConcepts: 1_000_000,
  importAssociations: 5_000_000,
  peerConcepts: 200_000,
  peerAssociations: 100_000,
  vectors: 100_000,
  uniformVectors: 50_000,
  vectorDimension: 768,
  vectorExtra: 20_000,
  vectorQueries: 500,
  vectorRounds: 5,
};
const QUICK: typeof FULL = {
  concepts: 20_000,
  associations: 60_000,
  names: 10_000,
  awaited: 200,
  concurrent: 5000,
  writeRuns: 1,
  calls: 2000,
  rounds: 1,
  quietMs: 300,
  openRuns: 2,
  grpcCalls: 200,
  grpcBatched: 10_000,
  grpcRuns: 1,
  cliRuns: 1,
  importConcepts: 20_000,
  importAssociations: 100_000,
  peerConcepts: 5000,
  peerAssociations: 5000,
  vectors: 10_000,
  uniformVectors: 5000,
  vectorDimension: 128,
  vectorExtra: 2000,
  vectorQueries: 100,
  vectorRounds: 1,
};

const size = flags.quick ? QUICK : FULL;
const chosen = new Set(positionals.length > 0 ? positionals : flags.only.split(','));
const rows: Row[] = [];
const skipped: string[] = [];
const detail: Record<string, unknown> = {};
let directories = 0;

async function main(): Promise<void> {
  if (flags.help) {
    process.stdout.write(
      `npm run bench [-- SECTION...] [-- --quick] [-- --only ${SECTIONS.join(',')}] [-- --work DIR]\n`,
    );
    return;
  }
  for (const name of chosen) {
    const known: readonly string[] = SECTIONS;
    if (!known.includes(name)) throw new Error(`no section ${name}; there are ${known.join(', ')}`);
  }
  mkdirSync(WORK, { recursive: true });
  const on = machine(ROOT);
  const start = performance.now();
  try {
    if (chosen.has('write')) await writeRows();
    const store = join(WORK, 'store');
    const needsStore = ['write', 'read', 'open', 'checkpoint', 'grpc', 'cli'];
    if (needsStore.some((section) => chosen.has(section))) {
      const edges = await loadRows(store);
      if (chosen.has('read')) await readRows(store);
      if (chosen.has('open')) await openRows(store, edges);
      if (chosen.has('cli')) await cliRows(store);
      // These write to it.
      if (chosen.has('grpc')) await grpcRows(store);
      if (chosen.has('checkpoint')) await checkpointRows(store);
    }
    if (chosen.has('import')) await importRows();
    if (chosen.has('vectors')) await vectorRows();
    if (chosen.has('peers')) await peerRows();
  } finally {
    rmSync(WORK, { recursive: true, force: true });
  }
  say('');
  printTable(rows, skipped, on);
  const path = writeJson(ROOT, rows, skipped, on, detail);
  say(`${Math.round((performance.now() - start) / 1000)} s; written to ${path}`);
}

/** Progress goes to stderr, the table to stdout. */
function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function freshDirectory(): string {
  const path = join(WORK, `run-${++directories}`);
  mkdirSync(path);
  return path;
}

/** Runs a case to its end. */
function runCase<N extends CaseName>(
  name: N,
  parameters: CaseParameters<N>,
): Promise<CaseFigures<N>> {
  say(`${name} ${JSON.stringify(parameters).replace(WORK, '.work')}`);
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CASE, name, JSON.stringify(parameters)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.on('error', reject);
    child.on('close', (code) => {
      if (code !== 0) {
        reject(new Error(`case ${name} ended with ${code ?? 'a signal'}`));
        return;
      }
      resolve(JSON.parse(output.trim().split('\n').at(-1) ?? '') as CaseFigures<N>);
    });
  });
}

async function repeated<T>(runs: number, run: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let index = 0; index < runs; index++) results.push(await run(index));
  return results;
}

function row(
  section: string,
  work: string,
  unit: string,
  runs: readonly number[],
  bar?: { readonly text: string; readonly atLeast?: number; readonly atMost?: number },
  note?: string,
): void {
  const figure = median(runs);
  const judged = bar !== undefined && !flags.quick;
  rows.push({
    section,
    work,
    unit,
    runs,
    ...(bar === undefined ? {} : { bar: bar.text }),
    ...(judged && bar.atLeast !== undefined ? { ok: figure >= bar.atLeast } : {}),
    ...(judged && bar.atMost !== undefined ? { ok: figure <= bar.atMost } : {}),
    ...(note === undefined ? {} : { note }),
  });
}

async function writeRows(): Promise<void> {
  const variants = [
    ['concepts, batches of 1,000, hex ids', 'hex', 'batch', size.concepts, size.writeRuns],
    ['concepts, batches of 1,000, names', 'names', 'batch', size.names, size.writeRuns],
    ['concepts, 1,000 single calls at once', 'hex', 'concurrent', size.concurrent, size.writeRuns],
    ['concepts, single awaited calls', 'hex', 'awaited', size.awaited, size.writeRuns],
  ] as const;
  for (const [work, ids, mode, count, runs] of variants) {
    const results = await repeated(runs, async () => {
      const directory = freshDirectory();
      const result = await runCase('writes', { directory, count, ids, mode });
      rmSync(directory, { recursive: true });
      return result;
    });
    detail[work] = results;
    const bar =
      ids === 'hex' && mode === 'batch'
        ? { text: '>= 500,000 (newest Node)', atLeast: 500_000 }
        : undefined;
    const perSecond = results.map((result) => result.perSecond);
    const p50 = median(results.map((result) => result.latencyUs?.p50 ?? NaN));
    const cpuUs = median(results.map((result) => result.cpuUs)).toFixed(1);
    const note = `${cpuUs} us of CPU each${mode === 'awaited' ? `, p50 ${Math.round(p50)} us a call` : ''}`;
    row('durable writes, embedded', work, '1/s', perSecond, bar, note);
  }
}

/** Returns how many associations the store holds in the end. */
async function loadRows(directory: string): Promise<number> {
  const { concepts, associations } = size;
  const result = await runCase('load', { directory, concepts, associations });
  detail['load'] = result;
  const section = `one store of ${concepts.toLocaleString('en-US')} concepts and ${associations.toLocaleString('en-US')} associations`;
  row(
    section,
    'its concepts, with background checkpoints',
    '1/s',
    [result.conceptsPerSecond],
    undefined,
    `${result.conceptCpuUs.toFixed(1)} us of CPU each`,
  );
  row(
    section,
    'its associations, random, batches of 1,000',
    '1/s',
    [result.associationsPerSecond],
    { text: '>= 400,000', atLeast: 400_000 },
    `${result.associationCpuUs.toFixed(1)} us of CPU each, ${result.checkpoints} checkpoints in all`,
  );
  row(section, 'event loop held while loading, longest', 'ms', [result.longestTurnMs], {
    text: '<= 50',
    atMost: 50,
  });
  row(
    section,
    'flush at the end',
    'ms',
    [result.flushMs],
    undefined,
    `${Math.round(result.snapshotBytes / 2 ** 20)} MiB storage.dat`,
  );
  return associations;
}

async function readRows(directory: string): Promise<void> {
  const { concepts, associations, rounds, calls } = size;
  const result = await runCase('reads', { directory, concepts, associations, rounds, calls });
  detail['reads'] = result;
  const section = 'reads, embedded, warm';
  row(section, 'point read by id, random, with content', 'us', result.pointUs, {
    text: '<= 1.5',
    atMost: 1.5,
  });
  row(section, 'neighbours of a concept of degree 10', 'us', result.neighborsUs, {
    text: '<= 2',
    atMost: 2,
  });
  row(section, 'shortest path, 3 hops apart, p50', 'us', result.pathRoundsP50Us, {
    text: '<= 30',
    atMost: 30,
  });
  row(section, 'shortest path, 3 hops apart, p99', 'us', [result.pathUs.p99], {
    text: '<= 1,000',
    atMost: 1000,
  });
}

async function openRows(directory: string, edges: number): Promise<void> {
  const { concepts } = size;
  const results = await repeated(size.openRuns, () =>
    runCase('firstRead', { directory, concepts }),
  );
  detail['firstRead'] = results;
  const section = 'a fresh process';
  row(
    section,
    'open to first answer',
    'ms',
    results.map((r) => r.openToAnswerMs),
    {
      text: '<= 50',
      atMost: 50,
    },
  );
  row(
    section,
    'process start to first answer',
    'ms',
    results.map((r) => r.processToAnswerMs),
  );
  row(
    section,
    'next 100 reads, first touches, p99',
    'us',
    results.map((r) => r.nextUs.p99),
  );
  const grown = results.map((r) => r.after.rssMb - r.before.rssMb);
  row(section, 'resident memory taken by open and first answer', 'MiB', grown);
  const walked = await runCase('memoryAfterTraversal', { directory, concepts, edges });
  detail['memoryAfterTraversal'] = walked;
  row(
    section,
    'resident after a full traversal',
    'MiB',
    [walked.rssMb],
    { text: '<= 250 (with 5M associations)', atMost: 250 },
    `${Math.round(walked.anonymousMb)} own, ${Math.round(walked.fileMb)} pages of files`,
  );
  const log = freshDirectory();
  await runCase('makeLog', { directory: log, concepts });
  const replays = await repeated(size.writeRuns, () =>
    runCase('replay', { directory: log, concepts }),
  );
  detail['replay'] = replays;
  rmSync(log, { recursive: true });
  row(
    section,
    'replay of a log of concepts',
    '1/s',
    replays.map((r) => r.perSecond),
    {
      text: '>= 1,000,000',
      atLeast: 1_000_000,
    },
  );
}

async function cliRows(directory: string): Promise<void> {
  const { emptyMs, versionMs, queryMs } = await runCase('cliStart', {
    directory,
    runs: size.cliRuns,
  });
  detail['cli'] = { emptyMs, versionMs, queryMs };
  const section = 'command line';
  const empty = median(emptyMs);
  row(section, 'node -e 0', 'ms', emptyMs);
  row(
    section,
    'sutra --version, to node -e 0',
    'x',
    versionMs.map((ms) => ms / empty),
    {
      text: '<= 4',
      atMost: 4,
    },
  );
  row(
    section,
    'sutra query on that store, to node -e 0',
    'x',
    queryMs.map((ms) => ms / empty),
    {
      text: '<= 6',
      atMost: 6,
    },
  );
}

async function grpcRows(directory: string): Promise<void> {
  const { concepts, grpcCalls: calls, grpcBatched: batched, grpcRuns } = size;
  const common = { concepts, calls, window: 32 };
  const noop = await withServer('grpcNoop', {}, (port) =>
    repeated(grpcRuns, () =>
      runCase('grpcClient', { ...common, port, firstNew: 0, batched: 0, checked: false }),
    ),
  );
  const served: CaseFigures<'grpcClient'>[] = [];
  for (let run = 0, firstNew = concepts; run < grpcRuns; run++) {
    // A server a run, so that its count of writes is that run's.
    served.push(
      await withServer('grpcServer', { directory }, (port) =>
        runCase('grpcClient', { ...common, port, firstNew, batched, checked: true }),
      ),
    );
    firstNew += calls * 3 + 2 * batched;
  }
  detail['grpc'] = { noop, served };
  const section = 'served over gRPC, beside a no-op grpc-js server';
  const noopRead = median(noop.map((r) => r.readMs.p50));
  const noopReads = median(noop.map((r) => r.readsPerSecond));
  const noopWrite = median(noop.map((r) => r.writeMs.p50));
  row(
    section,
    'no-op: unary read, p50',
    'ms',
    noop.map((r) => r.readMs.p50),
  );
  row(
    section,
    'unary read, p50, to no-op',
    'x',
    served.map((r) => r.readMs.p50 / noopRead),
    {
      text: '<= 1.15',
      atMost: 1.15,
    },
  );
  row(
    section,
    'no-op: unary reads, 32 at once',
    '1/s',
    noop.map((r) => r.readsPerSecond),
  );
  row(
    section,
    'unary reads, 32 at once, to no-op',
    'x',
    served.map((r) => r.readsPerSecond / noopReads),
    { text: '>= 0.9', atLeast: 0.9 },
  );
  row(
    section,
    'durable unary write, p50, beyond no-op',
    'ms',
    served.map((r) => r.writeMs.p50 - noopWrite),
    { text: '<= 1.2 syncs' },
  );
  row(
    section,
    'durable unary writes, 32 at once',
    '1/s',
    served.map((r) => r.writesPerSecond),
  );
  row(
    section,
    'batches of 1,000 concepts, 4 at once',
    '1/s',
    served.map((r) => r.batchedPerSecond ?? NaN),
    { text: '>= 150,000', atLeast: 150_000 },
  );
  row(
    section,
    'ingest: one stream of concepts',
    '1/s',
    served.map((r) => r.ingestedPerSecond ?? NaN),
    { text: '>= 150,000', atLeast: 150_000 },
  );
}

/** Of each target a small file and one five times that: memory that is the same for both is the same for any. */
async function importRows(): Promise<void> {
  const files: {
    readonly path: string;
    readonly concepts: number;
    readonly associations: number;
  }[] = [];
  for (const share of [25, 5, 1]) {
    const file = {
      path: join(WORK, `import-${share}.jsonl`),
      concepts: size.importConcepts / share,
      associations: size.importAssociations / share,
    };
    await runCase('importFile', file);
    files.push(file);
  }
  const section = 'sutra import of JSON lines, the command itself';
  const counts = ({ concepts, associations }: { concepts: number; associations: number }): string =>
    `${concepts.toLocaleString('en-US')} + ${associations.toLocaleString('en-US')}`;
  const server: CaseFigures<'importInto'>[] = [];
  const embedded: CaseFigures<'importInto'>[] = [];
  let unary: CaseFigures<'grpcClient'> | null = null;
  for (const [i, file] of files.entries()) {
    const { concepts } = file;
    if (i > 0) {
      const directory = freshDirectory();
      embedded.push(await runCase('importInto', { ...file, directory }));
      rmSync(directory, { recursive: true });
    }
    if (i === 2) break;
    const directory = freshDirectory();
    server.push(
      await withServer('grpcServer', { directory }, (port) =>
        runCase('importInto', { ...file, port }),
      ),
    );
    if (i === 1) {
      const common = { concepts, calls: size.grpcCalls, window: 32, firstNew: concepts };
      unary = await withServer('grpcServer', { directory }, (port) =>
        runCase('grpcClient', { ...common, port, batched: 0, checked: true }),
      );
    }
    rmSync(directory, { recursive: true });
  }
  detail['import'] = { server, embedded, unary };
  for (const [target, results, of] of [
    ['into a directory', embedded, files.slice(1)],
    ['to a server', server, files],
  ] as const) {
    for (const [i, { perSecond, seconds, cpuSeconds, peakMb, ownMb }] of results.entries()) {
      const file = of[i];
      if (file === undefined) throw new Error('more results than files');
      const what = `${target}, ${counts(file)}`;
      const count = file.concepts + file.associations;
      const cpuUs = ((cpuSeconds * 1e6) / count).toFixed(1);
      row(
        section,
        what,
        '1/s',
        [perSecond],
        undefined,
        `${seconds.toFixed(1)} s, ${cpuUs} us of CPU each`,
      );
      row(
        section,
        `${what}: resident, peak`,
        'MiB',
        [peakMb],
        undefined,
        `${Math.round(ownMb)} own, the rest pages of files`,
      );
    }
    const [small, large] = results;
    if (small !== undefined && large !== undefined) {
      row(section, `${target}: own memory, five times the input`, 'x', [large.ownMb / small.ownMb]);
    }
  }
  if (unary !== null) {
    row(section, 'unary writes of concepts, 32 at once, to that server', '1/s', [
      unary.writesPerSecond,
    ]);
    row(
      section,
      'import to a server, to unary writes',
      'x',
      server.slice(1).map((figures) => figures.perSecond / unary.writesPerSecond),
    );
  }
}

/** Starts a server case, waits for its port, and ends it by closing its stdin. */
async function withServer<T>(
  name: 'grpcNoop' | 'grpcServer',
  parameters: object,
  work: (port: number) => Promise<T>,
): Promise<T> {
  const child = spawn(process.execPath, [CASE, name, JSON.stringify(parameters)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  const lines = createInterface({ input: child.stdout });
  const first = new Promise<string>((resolve, reject) => {
    lines.once('line', resolve);
    void ended.then(() => reject(new Error(`${name} ended before it listened`)));
  });
  try {
    const { port } = JSON.parse(await first) as { port: number };
    return await work(port);
  } finally {
    child.stdin.end();
    const code = await ended;
    verify(code === 0, `${name} ended with ${code}`);
  }
}

async function checkpointRows(directory: string): Promise<void> {
  const { concepts, quietMs } = size;
  // What the gRPC rows added is part of the store by now.
  const added = chosen.has('grpc')
    ? size.grpcRuns * (size.grpcCalls * 3 + 2 * size.grpcBatched)
    : 0;
  const figures = await runCase('checkpointLatency', {
    directory,
    concepts: concepts + added,
    quietMs,
  });
  detail['checkpoint'] = figures;
  const section = 'checkpoint, under a steady writer and reader';
  const { without, background, flush } = figures;
  for (const [name, phase] of Object.entries({ without, background, flush })) {
    const label = name === 'without' ? 'without one' : `during one (${name} pace)`;
    if (phase !== without) row(section, `${label}: duration`, 'ms', [phase.ms]);
    const isBackground = phase === background;
    const ackP99 = phase.acknowledgementMs.p99;
    const readP99 = phase.readUs.p99;
    row(
      section,
      `${label}: acknowledgement p99`,
      'ms',
      [ackP99],
      isBackground
        ? { text: '<= 2x without', atMost: 2 * without.acknowledgementMs.p99 }
        : undefined,
      `max ${phase.acknowledgementMs.max.toFixed(1)}`,
    );
    row(
      section,
      `${label}: read p99`,
      'us',
      [readP99],
      isBackground ? { text: '<= 2x without', atMost: 2 * without.readUs.p99 } : undefined,
      `max ${Math.round(phase.readUs.max)}`,
    );
    row(section, `${label}: event loop held, longest`, 'ms', [phase.longestTurnMs], {
      text: '<= 50',
      atMost: 50,
    });
  }
}

async function vectorRows(): Promise<void> {
  const { vectorDimension: dimension, vectorQueries: queries, vectorRounds: rounds } = size;
  for (const kind of ['clustered', 'uniform'] as const) {
    const directory = freshDirectory();
    const count = kind === 'clustered' ? size.vectors : size.uniformVectors;
    const set = { directory, kind, count, dimension };
    // Without clusters it takes a wide search to find anything: a curve.
    const efs = kind === 'clustered' ? [16, 50, 128, 256] : [50, 200, 800, 3200];
    const figures = await runCase('vectors', { ...set, efs, queries, rounds });
    detail[`vectors ${kind}`] = figures;
    const name = `${kind}, ${count.toLocaleString('en-US')} x ${dimension}, f16, k = 10`;
    buildRows(`vectors, ${name}`, figures);
    searchRows(`vector search, ${name}`, figures, kind === 'clustered');
    if (kind === 'clustered') await besideVectorRows(set);
    rmSync(directory, { recursive: true });
  }
}

function buildRows(section: string, figures: CaseFigures<'vectors'>): void {
  const { build, aloneBuild } = figures;
  row(section, 'learned, durable, batches of 1,000', '1/s', [figures.learnedPerSecond]);
  row(
    section,
    'learned and indexed',
    '1/s',
    [build.perSecond],
    undefined,
    `${Math.round(build.cpuUs)} us of CPU each`,
  );
  row(
    section,
    'usearch alone, one thread',
    '1/s',
    [aloneBuild.perSecond],
    undefined,
    `${Math.round(aloneBuild.cpuUs)} us of CPU each`,
  );
  row(section, 'event loop held meanwhile, longest', 'ms', [figures.longestTurnMs]);
  row(section, 'index, a vector, as stats say', 'bytes', [figures.indexBytesPerVector]);
  row(section, 'exact scan, p50', 'ms', [figures.exactUs.p50 / 1000]);
  row(section, 'close, the index written', 'ms', [figures.closeMs]);
}

function searchRows(section: string, { efs }: CaseFigures<'vectors'>, clustered: boolean): void {
  // The first ef of at most 128 that finds enough is the one to be judged by, else 128.
  const judged = efs.find(({ ef, sutra }) => ef === 128 || (ef < 128 && sutra.recall >= 0.95));
  for (const figures of efs) {
    const { ef, sutra, alone } = figures;
    const bars = clustered && figures === judged;
    row(
      section,
      `ef ${ef}: recall@10`,
      '',
      [sutra.recall],
      bars ? { text: '>= 0.95 at ef <= 128', atLeast: 0.95 } : undefined,
      `usearch alone ${alone.recall.toFixed(3)}`,
    );
    const { p50, p99 } = sutra.latencyUs;
    row(
      section,
      `ef ${ef}: searches, one after another`,
      '1/s',
      sutra.perSecond,
      undefined,
      `p50 ${Math.round(p50)}, p99 ${Math.round(p99)} us; ${Math.round(median(sutra.cpuUs))} us of CPU, alone ${Math.round(median(alone.cpuUs))}`,
    );
    const ratio = (ours: readonly number[]): number[] =>
      ours.map((perSecond, round) => perSecond / (alone.perSecond[round] ?? NaN));
    row(section, `ef ${ef}: one after another, to usearch alone`, 'x', ratio(sutra.perSecond));
    const cpu = sutra.cpuUs.map((us, round) => us / (alone.cpuUs[round] ?? NaN));
    row(section, `ef ${ef}: CPU of all threads, to usearch alone`, 'x', cpu);
    row(
      section,
      `ef ${ef}: 8 at once, to usearch alone`,
      'x',
      ratio(figures.atOncePerSecond),
      bars ? { text: '>= 0.9', atLeast: 0.9 } : undefined,
    );
  }
}

/** The store with its index in fresh processes: opening it, its memory, and what others feel while the index catches up. */
async function besideVectorRows(set: {
  readonly directory: string;
  readonly kind: 'clustered' | 'uniform';
  readonly count: number;
  readonly dimension: number;
}): Promise<void> {
  const { vectorQueries: queries, vectorExtra: extra, quietMs } = size;
  const opens = await repeated(size.vectorRounds, () => runCase('vectorOpen', { ...set, queries }));
  detail['vectorOpen'] = opens;
  const section = 'a store with its index, opened in a fresh process';
  const bar = { text: '< 1,000', atMost: 1000 };
  const open = (figure: (opened: CaseFigures<'vectorOpen'>) => number): number[] =>
    opens.map(figure);
  row(
    section,
    'open to first read',
    'ms',
    open((o) => o.openToReadMs),
    bar,
  );
  row(
    section,
    'open to first search',
    'ms',
    open((o) => o.openToSearchMs),
    bar,
  );
  row(
    section,
    'open to the whole index',
    'ms',
    open((o) => o.openToIndexMs),
    bar,
    `${Math.round(median(open((o) => o.cpuMs)))} ms of CPU`,
  );
  row(
    section,
    'resident after searching, a vector',
    'bytes',
    open((o) => o.residentPerVector),
    { text: '<= 2,200', atMost: 2200 },
    opens.map(({ after }) => `${Math.round(after.fileMb)} MiB of files`).at(-1),
  );
  const caught = await runCase('vectorCatchUp', { ...set, extra, quietMs });
  detail['vectorCatchUp'] = caught;
  const { without, during } = caught;
  const beside = 'reads and writes beside the index';
  for (const [phase, label] of [
    [without, 'index idle'],
    [during, 'index catching up'],
  ] as const) {
    const judged = phase === during;
    row(
      beside,
      `${label}: acknowledgement p99`,
      'ms',
      [phase.acknowledgementMs.p99],
      judged ? { text: '<= 2x idle', atMost: 2 * without.acknowledgementMs.p99 } : undefined,
      judged ? `${caught.behind} vectors behind, ${Math.round(phase.ms)} ms` : undefined,
    );
    row(
      beside,
      `${label}: read p99`,
      'us',
      [phase.readUs.p99],
      judged ? { text: '<= 2x idle', atMost: 2 * without.readUs.p99 } : undefined,
      `max ${Math.round(phase.readUs.max)}`,
    );
    row(beside, `${label}: event loop held, longest`, 'ms', [phase.longestTurnMs]);
  }
}

async function peerRows(): Promise<void> {
  const { peerConcepts: concepts, peerAssociations: associations, calls } = size;
  if (!installPeers()) return;
  for (const name of ['peerLmdb', 'peerSqlite'] as const) {
    const directory = freshDirectory();
    const peer = await runCase(name, { directory, concepts, associations, reads: calls });
    rmSync(directory, { recursive: true });
    detail[name] = peer;
    if ('unavailable' in peer) {
      const what = name === 'peerLmdb' ? 'LMDB' : 'SQLite';
      skipped.push(`${what}: its package has no binary for this machine (${peer.unavailable})`);
      continue;
    }
    const section = `${peer.name}, durable, transactions of 1,000`;
    row(section, 'concepts', '1/s', [peer.conceptsPerSecond]);
    row(section, 'associations, random', '1/s', [peer.associationsPerSecond]);
    row(section, 'point read by key, with content', 'us', [peer.pointUs]);
  }
}

/** From the package registry only: no install scripts, which would fetch or compile binaries from elsewhere. */
function installPeers(): boolean {
  if (existsSync(join(PEERS, 'node_modules', 'lmdb'))) return true;
  say('installing lmdb and better-sqlite3 into bench/peers');
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'];
  const { status } = spawnSync('npm', args, { cwd: PEERS, stdio: ['ignore', 'ignore', 'pipe'] });
  if (status === 0) return true;
  skipped.push('LMDB and SQLite: cannot be installed from the package registry here');
  return false;
}

await main();
