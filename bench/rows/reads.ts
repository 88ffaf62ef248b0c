/** Reads, opens and command lines over a flushed store. */

import { rmSync } from 'node:fs';
import { repeated, type Bench } from '../bench.js';
import { median } from '../measure.js';

export async function readRows(bench: Bench, directory: string): Promise<void> {
  const { concepts, associations, rounds, calls } = bench.size;
  const result = await bench.runCase('reads', { directory, concepts, associations, rounds, calls });
  bench.detail['reads'] = result;
  const section = 'reads, embedded, warm';
  bench.row(section, 'point read by id, random, with content', 'us', result.pointUs, {
    bar: {
      text: '<= 1.5',
      atMost: 1.5,
    },
    key: 'read.point',
  });
  bench.row(section, 'neighbours of a concept of degree 10', 'us', result.neighborsUs, {
    bar: {
      text: '<= 2',
      atMost: 2,
    },
    key: 'read.neighbours',
  });
  bench.row(section, 'shortest path, 3 hops apart, p50', 'us', result.pathRoundsP50Us, {
    bar: {
      text: '<= 30',
      atMost: 30,
    },
    key: 'read.path.p50',
  });
  bench.row(section, 'shortest path, 3 hops apart, p99', 'us', [result.pathUs.p99], {
    bar: {
      text: '<= 1,000',
      atMost: 1000,
    },
    key: 'read.path.p99',
  });
}

export async function openRows(bench: Bench, directory: string): Promise<void> {
  const { concepts } = bench.size;
  const results = await repeated(bench.size.openRuns, () =>
    bench.runCase('firstRead', { directory, concepts }),
  );
  bench.detail['firstRead'] = results;
  const section = 'a fresh process';
  bench.row(
    section,
    'open to first answer',
    'ms',
    results.map((r) => r.openToAnswerMs),
    {
      bar: {
        text: '<= 50',
        atMost: 50,
      },
      key: 'open.answer',
    },
  );
  bench.row(
    section,
    'process start to first answer',
    'ms',
    results.map((r) => r.processToAnswerMs),
  );
  bench.row(
    section,
    'next 100 reads, first touches, p99',
    'us',
    results.map((r) => r.nextUs.p99),
  );
  const grown = results.map((r) => r.after.rssMb - r.before.rssMb);
  bench.row(section, 'resident memory taken by open and first answer', 'MiB', grown);
  const walked = await bench.runCase('memoryAfterTraversal', { directory, concepts });
  bench.detail['memoryAfterTraversal'] = walked;
  bench.row(section, 'resident after a full traversal', 'MiB', [walked.rssMb], {
    bar: { text: '<= 250 (with 5M associations)', atMost: 250 },
    note: `${Math.round(walked.anonymousMb)} own, ${Math.round(walked.fileMb)} pages of files`,
    key: 'open.memory',
  });
  const log = bench.freshDirectory();
  await bench.runCase('makeLog', { directory: log, concepts });
  const replays = await repeated(bench.size.writeRuns, () =>
    bench.runCase('replay', { directory: log, concepts }),
  );
  bench.detail['replay'] = replays;
  rmSync(log, { recursive: true });
  bench.row(
    section,
    'replay of a log of concepts',
    '1/s',
    replays.map((r) => r.perSecond),
    {
      bar: {
        text: '>= 1,000,000',
        atLeast: 1_000_000,
      },
      key: 'open.replay',
    },
  );
}

export async function cliRows(bench: Bench, directory: string): Promise<void> {
  const { emptyMs, versionMs, queryMs } = await bench.runCase('cliStart', {
    directory,
    runs: bench.size.cliRuns,
  });
  bench.detail['cli'] = { emptyMs, versionMs, queryMs };
  const section = 'command line';
  const empty = median(emptyMs);
  bench.row(section, 'node -e 0', 'ms', emptyMs);
  bench.row(
    section,
    'sutra --version, to node -e 0',
    'x',
    versionMs.map((ms) => ms / empty),
    {
      bar: {
        text: '<= 4',
        atMost: 4,
      },
      key: 'cli.version',
    },
  );
  bench.row(
    section,
    'sutra query on that store, to node -e 0',
    'x',
    queryMs.map((ms) => ms / empty),
    {
      bar: {
        text: '<= 6',
        atMost: 6,
      },
      key: 'cli.query',
    },
  );
}
