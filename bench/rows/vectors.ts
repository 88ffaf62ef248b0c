/** Vectors: building the index, searching it, and what others feel of it. */

import { rmSync } from 'node:fs';
import { grouped, repeated, type Bench } from '../bench.js';
import type { CaseFigures } from '../case.js';
import { median } from '../measure.js';
import { ALONE_METRICS, type AloneMetric } from '../usearch-alone.js';

const ALONE_NAMES: Readonly<Record<AloneMetric, string>> = {
  cosine: 'cosine',
  product: 'inner product',
};

export async function vectorRows(bench: Bench): Promise<void> {
  const { vectorDimension: dimension, vectorQueries: queries, vectorRounds: rounds } = bench.size;
  for (const kind of ['clustered', 'uniform'] as const) {
    const directory = bench.freshDirectory();
    const count = kind === 'clustered' ? bench.size.vectors : bench.size.uniformVectors;
    const set = { directory, kind, count, dimension };
    // Without clusters it takes a wide search to find anything: a curve.
    const efs = kind === 'clustered' ? [16, 50, 128, 256] : [50, 200, 800, 3200];
    const figures = await bench.runCase('vectors', { ...set, efs, queries, rounds });
    bench.detail[`vectors ${kind}`] = figures;
    const name = `${kind}, ${grouped(count)} x ${dimension}, f16, k = 10`;
    buildRows(bench, `vectors, ${name}`, figures);
    searchRows(bench, `vector search, ${name}`, figures, kind === 'clustered');
    if (kind === 'clustered') await besideVectorRows(bench, set);
    rmSync(directory, { recursive: true });
  }
}

function buildRows(bench: Bench, section: string, figures: CaseFigures<'vectors'>): void {
  const { build, aloneBuild } = figures;
  bench.row(section, 'learned, durable, batches of 1,000', '1/s', [figures.learnedPerSecond]);
  bench.row(section, 'learned and indexed', '1/s', [build.perSecond], {
    note: `${Math.round(build.cpuUs)} us of CPU each`,
  });
  for (const metric of ALONE_METRICS) {
    const { perSecond, cpuUs } = aloneBuild[metric];
    bench.row(section, `usearch alone by ${ALONE_NAMES[metric]}, one thread`, '1/s', [perSecond], {
      note: `${Math.round(cpuUs)} us of CPU each`,
    });
  }
  bench.row(section, 'event loop held meanwhile, longest', 'ms', [figures.longestTurnMs]);
  bench.row(section, 'index, a vector, as stats say', 'bytes', [figures.indexBytesPerVector]);
  bench.row(section, 'exact scan, p50', 'ms', [figures.exactUs.p50 / 1000]);
  bench.row(section, 'close, the index written', 'ms', [figures.closeMs]);
}

function searchRows(
  bench: Bench,
  section: string,
  { efs }: CaseFigures<'vectors'>,
  clustered: boolean,
): void {
  // The first ef of at most 128 that finds enough is the one to be judged by, else 128.
  const judged = efs.find(({ ef, sutra }) => ef === 128 || (ef < 128 && sutra.recall >= 0.95));
  for (const figures of efs) {
    const { ef, sutra, alone } = figures;
    const bars = clustered && figures === judged;
    bench.row(section, `ef ${ef}: recall@10`, '', [sutra.recall], {
      bar: bars ? { text: '>= 0.95 at ef <= 128', atLeast: 0.95 } : undefined,
      note: `usearch alone ${alone.cosine.recall.toFixed(3)}, by inner product ${alone.product.recall.toFixed(3)}`,
      key: bars ? 'vectors.recall' : undefined,
    });
    const { p50, p99 } = sutra.latencyUs;
    bench.row(section, `ef ${ef}: searches, one after another`, '1/s', sutra.perSecond, {
      note: `p50 ${Math.round(p50)}, p99 ${Math.round(p99)} us; ${Math.round(median(sutra.cpuUs))} us of CPU, alone ${Math.round(median(alone.cosine.cpuUs))}`,
    });
    for (const metric of ALONE_METRICS) {
      const { perSecond: theirs, cpuUs } = alone[metric];
      const to = `to usearch alone by ${ALONE_NAMES[metric]}`;
      const ratio = (ours: readonly number[]): number[] =>
        ours.map((perSecond, round) => perSecond / (theirs[round] ?? NaN));
      bench.row(section, `ef ${ef}: one after another, ${to}`, 'x', ratio(sutra.perSecond));
      const cpu = sutra.cpuUs.map((us, round) => us / (cpuUs[round] ?? NaN));
      bench.row(section, `ef ${ef}: CPU of all threads, ${to}`, 'x', cpu);
      // What sutra answers is the cosine.
      const decides = bars && metric === 'cosine';
      bench.row(section, `ef ${ef}: 8 at once, ${to}`, 'x', ratio(figures.atOncePerSecond), {
        bar: decides ? { text: '>= 0.9', atLeast: 0.9 } : undefined,
        key: decides ? 'vectors.search' : undefined,
      });
    }
  }
}

/** The store with its index in fresh processes: opening it, its memory, and what others feel while the index catches up. */
async function besideVectorRows(
  bench: Bench,
  set: {
    readonly directory: string;
    readonly kind: 'clustered' | 'uniform';
    readonly count: number;
    readonly dimension: number;
  },
): Promise<void> {
  const { vectorQueries: queries, vectorExtra: extra, quietMs } = bench.size;
  const opens = await repeated(bench.size.vectorRounds, () =>
    bench.runCase('vectorOpen', { ...set, queries }),
  );
  bench.detail['vectorOpen'] = opens;
  const section = 'a store with its index, opened in a fresh process';
  const bar = { text: '< 1,000', atMost: 1000 };
  const open = (figure: (opened: CaseFigures<'vectorOpen'>) => number): number[] =>
    opens.map(figure);
  bench.row(
    section,
    'open to first read',
    'ms',
    open((o) => o.openToReadMs),
    { bar },
  );
  bench.row(
    section,
    'open to first search',
    'ms',
    open((o) => o.openToSearchMs),
    { bar },
  );
  bench.row(
    section,
    'open to the whole index',
    'ms',
    open((o) => o.openToIndexMs),
    { bar, note: `${Math.round(median(open((o) => o.cpuMs)))} ms of CPU` },
  );
  bench.row(
    section,
    'resident after searching, a vector',
    'bytes',
    open((o) => o.residentPerVector),
    {
      bar: { text: '<= 2,200', atMost: 2200 },
      note: opens.map(({ after }) => `${Math.round(after.fileMb)} MiB of files`).at(-1),
    },
  );
  const caught = await bench.runCase('vectorCatchUp', { ...set, extra, quietMs });
  bench.detail['vectorCatchUp'] = caught;
  const { without, during } = caught;
  const beside = 'reads and writes beside the index';
  for (const [phase, label] of [
    [without, 'index idle'],
    [during, 'index catching up'],
  ] as const) {
    const judged = phase === during;
    bench.row(beside, `${label}: acknowledgement p99`, 'ms', [phase.acknowledgementMs.p99], {
      bar: judged ? { text: '<= 2x idle', atMost: 2 * without.acknowledgementMs.p99 } : undefined,
      note: judged ? `${caught.behind} vectors behind, ${Math.round(phase.ms)} ms` : undefined,
    });
    bench.row(beside, `${label}: read p99`, 'us', [phase.readUs.p99], {
      bar: judged ? { text: '<= 2x idle', atMost: 2 * without.readUs.p99 } : undefined,
      note: `max ${Math.round(phase.readUs.max)}`,
    });
    bench.row(beside, `${label}: event loop held, longest`, 'ms', [phase.longestTurnMs]);
  }
}
