/**
 * The same work on stores of ten times the size, and ten times that: what a concept, an association or a call takes at each, and by
 * what factor it grew. Ids are kept outside the heap, so that what is weighed is the store and not the benchmark.
 */

import { rmSync } from 'node:fs';
import { grouped, repeated, type Bench } from '../bench.js';
import type { CaseFigures } from '../case.js';
import { median } from '../measure.js';

const ASSOCIATIONS_EACH = 5;

interface Stage {
  readonly concepts: number;
  readonly load: CaseFigures<'load'>;
  readonly opens: readonly CaseFigures<'firstRead'>[];
  readonly reads: CaseFigures<'reads'>;
  readonly walked: CaseFigures<'memoryAfterTraversal'>;
}

/** What ten times the store should make of a figure. */
type Expected = 'flat' | 'about 6 more' | 'tenfold' | 'at most tenfold';

const FIGURES: readonly {
  readonly what: string;
  readonly unit: string;
  readonly expected: Expected;
  /** null: this system does not say. */
  readonly figure: (stage: Stage) => number | null;
}[] = [
  {
    what: 'load: time of a concept',
    unit: 'us',
    expected: 'flat',
    figure: ({ load }) => 1e6 / load.conceptsPerSecond,
  },
  {
    what: 'load: CPU of a concept',
    unit: 'us',
    expected: 'flat',
    figure: ({ load }) => load.conceptCpuUs,
  },
  {
    what: 'load: time of an association',
    unit: 'us',
    expected: 'flat',
    figure: ({ load }) => 1e6 / load.associationsPerSecond,
  },
  {
    what: 'load: CPU of an association',
    unit: 'us',
    expected: 'flat',
    figure: ({ load }) => load.associationCpuUs,
  },
  {
    what: 'load: event loop held, longest',
    unit: 'ms',
    expected: 'flat',
    figure: ({ load }) => load.longestTurn.ms,
  },
  {
    what: 'of that, CPU of the thread',
    unit: 'ms',
    expected: 'flat',
    figure: ({ load }) => load.longestTurn.cpuMs,
  },
  {
    what: 'of that, waiting for a processor',
    unit: 'ms',
    expected: 'flat',
    figure: ({ load }) => load.longestTurn.waitedMs,
  },
  // One for every half that the store grew by, log(10) / log(1.5) of them for ten times as much; more where a million writes are less.
  {
    what: 'load: checkpoints',
    unit: '',
    expected: 'about 6 more',
    figure: ({ load }) => load.checkpoints,
  },
  { what: 'flush', unit: 'ms', expected: 'tenfold', figure: ({ load }) => load.flushMs },
  {
    what: 'storage.dat',
    unit: 'MiB',
    expected: 'tenfold',
    figure: ({ load }) => load.snapshotBytes / 2 ** 20,
  },
  {
    what: 'open to first answer',
    unit: 'ms',
    expected: 'flat',
    figure: ({ opens }) => median(opens.map(({ openToAnswerMs }) => openToAnswerMs)),
  },
  {
    what: 'resident memory taken by open and first answer',
    unit: 'MiB',
    expected: 'flat',
    figure: ({ opens }) => median(opens.map(({ before, after }) => after.rssMb - before.rssMb)),
  },
  {
    what: 'point read, with content',
    unit: 'us',
    expected: 'flat',
    figure: ({ reads }) => median(reads.pointUs),
  },
  {
    what: 'neighbours, degree 10',
    unit: 'us',
    expected: 'flat',
    figure: ({ reads }) => median(reads.neighborsUs),
  },
  {
    what: 'shortest path, 3 hops apart, p50',
    unit: 'us',
    expected: 'flat',
    figure: ({ reads }) => median(reads.pathRoundsP50Us),
  },
  {
    what: 'shortest path, 3 hops apart, p99',
    unit: 'us',
    expected: 'flat',
    figure: ({ reads }) => reads.pathUs.p99,
  },
  {
    what: 'full traversal: time of a concept',
    unit: 'us',
    expected: 'flat',
    figure: ({ walked, concepts }) => (walked.traversalMs * 1000) / concepts,
  },
  {
    what: 'resident after a full traversal',
    unit: 'MiB',
    expected: 'at most tenfold',
    figure: ({ walked }) => walked.rssMb,
  },
  {
    what: 'of that, own memory',
    unit: 'MiB',
    expected: 'flat',
    figure: ({ walked }) => walked.anonymousMb,
  },
];

export async function growthRows(bench: Bench): Promise<void> {
  const stages: Stage[] = [];
  for (const concepts of bench.size.growth) stages.push(await stageOf(bench, concepts));
  bench.detail['growth'] = stages;
  for (const { what, unit, expected, figure } of FIGURES) {
    const section = `growth, ${ASSOCIATIONS_EACH} associations a concept: ${what} (should be ${expected})`;
    let before: number | null = null;
    for (const stage of stages) {
      const value = figure(stage);
      if (value === null) continue;
      // Nothing can be said of what grew from nothing: the thread may never have waited.
      const note = before === null || before === 0 ? undefined : `x ${(value / before).toFixed(2)}`;
      bench.row(section, `${grouped(stage.concepts)} concepts`, unit, [value], {
        note,
        key: `growth.${what}.${stage.concepts}`,
      });
      before = value;
    }
  }
}

async function stageOf(bench: Bench, concepts: number): Promise<Stage> {
  const associations = concepts * ASSOCIATIONS_EACH;
  const { openRuns, rounds, calls } = bench.size;
  const directory = bench.freshDirectory();
  const graph = { directory, concepts, associations };
  const load = await bench.runCase('load', { ...graph, idsOffHeap: true });
  const opens = await repeated(openRuns, () => bench.runCase('firstRead', { directory, concepts }));
  const reads = await bench.runCase('reads', { ...graph, rounds, calls });
  const walked = await bench.runCase('memoryAfterTraversal', { directory, concepts });
  rmSync(directory, { recursive: true });
  return { concepts, load, opens, reads, walked };
}
