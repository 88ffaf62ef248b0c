/**
 * What a user would pick instead, given the same work: LMDB and SQLite for durable writes, both and graphology for the shared graph.
 * Runs alternate between the systems, so that what else the machine does falls on all alike, and ratios are of one turn. Every
 * system is checked against the generated graph, and the lengths of paths between them.
 */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ReadFigures } from '../ask.js';
import { grouped, say, type Bar, type Bench } from '../bench.js';
import type { CaseFigures } from '../case.js';
import { median, verify } from '../measure.js';
import { installPeers, isUnavailable, type PeerWrites } from '../peer.js';

const DATABASES = ['lmdb', 'sqlite'] as const;
type Database = (typeof DATABASES)[number];
const NAMES = { lmdb: 'LMDB', sqlite: 'SQLite', graphology: 'graphology' };
const WRITES = { lmdb: 'peerLmdbWrites', sqlite: 'peerSqliteWrites' } as const;
const GRAPHS = { lmdb: 'peerLmdbGraph', sqlite: 'peerSqliteGraph' } as const;

/** What the speed bar names as to be beaten, by figure and peer, and by how much. */
const BARS: Readonly<Record<string, Bar>> = {
  'concepts lmdb': { text: '>= 4', atLeast: 4 },
  'concepts sqlite': { text: '>= 1', atLeast: 1 },
  'associations lmdb': { text: '>= 1', atLeast: 1 },
  'point lmdb': { text: '>= 1', atLeast: 1 },
  'neighbours lmdb': { text: '>= 1', atLeast: 1 },
  'path graphology': { text: '>= 1', atLeast: 1 },
  'path sqlite': { text: '>= 1', atLeast: 1 },
};

/** `directory` holds the shared store, flushed. */
export async function peerRows(bench: Bench, directory: string): Promise<void> {
  if (!installPeers(say)) {
    bench.skipped.push('peers: their packages cannot be installed from the registry here');
    return;
  }
  const databases = await durableWriteRows(bench);
  await graphRows(bench, directory, databases);
}

/** Returns those there are here. */
async function durableWriteRows(bench: Bench): Promise<readonly Database[]> {
  const { peerConcepts: concepts, peerAssociations: associations, peerRuns } = bench.size;
  const sutra: CaseFigures<'load'>[] = [];
  const peers = new Map<Database, PeerWrites[]>(DATABASES.map((name) => [name, []]));
  for (let run = 0; run < peerRuns; run++) {
    const own = bench.freshDirectory();
    sutra.push(await bench.runCase('load', { directory: own, concepts, associations }));
    rmSync(own, { recursive: true });
    for (const [name, runs] of peers) {
      const directory = bench.freshDirectory();
      const figures = await bench.runCase(WRITES[name], { directory, concepts, associations });
      rmSync(directory, { recursive: true });
      if (isUnavailable(figures)) {
        const why = `no binary of its package for this Node on this machine (${figures.unavailable})`;
        bench.skipped.push(`${NAMES[name]}: ${why}`);
        peers.delete(name);
      } else {
        runs.push(figures);
      }
    }
  }
  bench.detail['peer writes'] = { sutra, ...Object.fromEntries(peers) };
  const section = `durable writes in batches of 1,000: ${grouped(concepts)} concepts, then ${grouped(associations)} random associations`;
  for (const [what, figure] of [
    ['concepts', (run: Rates) => run.conceptsPerSecond],
    ['associations', (run: Rates) => run.associationsPerSecond],
  ] as const) {
    const ours = sutra.map(figure);
    bench.row(section, `sutra: ${what}`, '1/s', ours, { key: `peer.sutra.${what}` });
    for (const [name, runs] of peers) {
      const theirs = runs.map(figure);
      const shown = runs[0]?.name ?? NAMES[name];
      bench.row(section, `${shown}: ${what}`, '1/s', theirs, { key: `peer.${name}.${what}` });
      bench.row(section, `${what}, to ${NAMES[name]}`, 'x', ratios(ours, theirs), {
        bar: BARS[`${what} ${name}`],
        key: `ratio.${name}.${what}`,
      });
    }
  }
  return [...peers.keys()];
}

type Rates = Pick<PeerWrites, 'conceptsPerSecond' | 'associationsPerSecond'>;

async function graphRows(
  bench: Bench,
  directory: string,
  databases: readonly Database[],
): Promise<void> {
  const { concepts, associations, calls, graphRuns, peerSlowPairs } = bench.size;
  const graph = { concepts, associations };
  const asked = { ...graph, rounds: 1, calls };
  const at = (name: Database): string => join(bench.work, `graph-${name}`);
  const built: Partial<Record<Database, CaseFigures<'peerLmdbGraph'>>> = {};
  for (const name of databases) {
    bench.makeDirectory(at(name));
    built[name] = await bench.runCase(GRAPHS[name], { directory: at(name), ...graph });
  }
  const sutra: ReadFigures[] = [];
  const graphology: CaseFigures<'peerGraphology'>[] = [];
  const walked: CaseFigures<'memoryAfterTraversal'>[] = [];
  const peers = new Map<Database, ReadFigures[]>(databases.map((name) => [name, []]));
  for (let run = 0; run < graphRuns; run++) {
    sutra.push(await bench.runCase('reads', { directory, ...asked }));
    peers
      .get('lmdb')
      ?.push(await bench.runCase('peerLmdbReads', { directory: at('lmdb'), ...asked }));
    peers.get('sqlite')?.push(
      await bench.runCase('peerSqliteReads', {
        directory: at('sqlite'),
        ...asked,
        pairs: peerSlowPairs,
      }),
    );
    graphology.push(await bench.runCase('peerGraphology', asked));
    walked.push(await bench.runCase('memoryAfterTraversal', { directory, concepts }));
  }
  for (const name of databases) rmSync(at(name), { recursive: true });
  bench.detail['peer graph'] = {
    built,
    sutra,
    graphology,
    walked,
    ...Object.fromEntries(peers),
  };
  const all: readonly (readonly [string, readonly ReadFigures[]])[] = [
    ...peers,
    ['graphology', graphology],
  ];
  const lengths = sutra[0]?.lengths.join() ?? '';
  for (const [name, runs] of all) {
    for (const run of runs) {
      if (name === 'lmdb') continue;
      verify(run.lengths.join() === lengths, `${name} finds paths as long as sutra's`);
    }
  }
  const section = `the same graph, ${grouped(concepts)} concepts and ${grouped(associations)} associations, asked the same`;
  for (const { what, unit, key, figure } of READS) {
    const ours = sutra.map(figure);
    bench.row(section, `sutra: ${what}`, unit, ours, { key: `peer.sutra.${key}` });
    for (const [name, runs] of all) {
      const theirs = runs.map(figure);
      if (!theirs.every(Number.isFinite)) continue;
      const shown = NAMES[name as keyof typeof NAMES];
      const note = name === 'sqlite' && key === 'path' ? 'its length only' : undefined;
      bench.row(section, `${shown}: ${what}`, unit, theirs, { note, key: `peer.${name}.${key}` });
      bench.row(section, `${what}: ${shown}'s time to sutra's`, 'x', ratios(theirs, ours), {
        bar: BARS[`${key} ${name}`],
        key: `ratio.${name}.${key}`,
      });
    }
  }
  const ours = walked.map(({ rssMb }) => rssMb);
  const theirs = graphology.map(({ residentMb }) => residentMb);
  bench.row(section, 'sutra: resident, the whole process after a full traversal', 'MiB', ours, {
    key: 'peer.sutra.memory',
  });
  bench.row(section, 'graphology: resident, the graph alone', 'MiB', theirs, {
    note: 'without contents, types and confidences',
    key: 'peer.graphology.memory',
  });
  bench.row(section, "memory: graphology's to sutra's", 'x', ratios(theirs, ours), {
    key: 'ratio.graphology.memory',
  });
}

const READS: readonly {
  readonly what: string;
  readonly unit: string;
  readonly key: string;
  readonly figure: (run: ReadFigures) => number;
}[] = [
  {
    what: 'point read, with content',
    unit: 'us',
    key: 'point',
    figure: (run) => median(run.pointUs),
  },
  {
    what: 'neighbours, degree 10',
    unit: 'us',
    key: 'neighbours',
    figure: (run) => median(run.neighborsUs),
  },
  {
    what: 'shortest path, 3 hops apart, p50',
    unit: 'us',
    key: 'path',
    figure: (run) => median(run.pathRoundsP50Us),
  },
];

/** Turn by turn. */
function ratios(over: readonly number[], under: readonly number[]): number[] {
  return over.map((figure, run) => figure / (under[run] ?? NaN));
}
