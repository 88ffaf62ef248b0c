/**
 * The rows of the speed bar as a Markdown table, a pair of columns for each Node version. A figure that was not measured is a dash;
 * nothing here knows a number of its own.
 */

import { figure, type Results } from './report.js';

/** Runs on one Node version, the newest last: a row is of the last run that has it. */
export type NodeResults = readonly Results[];

interface Shown {
  readonly key: string;
  readonly before?: string;
  readonly after?: string;
}

interface Line {
  readonly work: string;
  readonly bar: string;
  readonly sutra: readonly Shown[];
  readonly peers?: readonly Shown[];
}

const databases = (what: string): Shown[] => [
  { key: `peer.lmdb.${what}`, before: 'LMDB ' },
  { key: `peer.sqlite.${what}`, before: 'SQLite ' },
];

const LINES: readonly Line[] = [
  {
    work: 'concepts, durable, batches of 1,000, hex ids',
    bar: '>= 4x LMDB, >= 500K/s on the newest Node',
    sutra: [{ key: 'write.hex' }, { key: 'ratio.lmdb.concepts', after: ' LMDB' }],
    peers: databases('concepts'),
  },
  { work: 'the same, names', bar: '', sutra: [{ key: 'write.names' }] },
  { work: '1,000 single calls at once', bar: '', sutra: [{ key: 'write.concurrent' }] },
  { work: 'single awaited calls', bar: '', sutra: [{ key: 'write.awaited' }] },
  {
    work: 'random associations, durable, batches of 1,000',
    bar: '> LMDB, >= 400K/s',
    sutra: [{ key: 'write.associations' }, { key: 'ratio.lmdb.associations', after: ' LMDB' }],
    peers: databases('associations'),
  },
  {
    work: 'point read by id, random, with content',
    bar: '<= 1.5 us',
    sutra: [{ key: 'read.point' }],
    peers: databases('point'),
  },
  {
    work: 'neighbours of a concept of degree 10',
    bar: '<= 2 us',
    sutra: [{ key: 'read.neighbours' }],
    peers: databases('neighbours'),
  },
  {
    work: 'shortest path, 3 hops apart',
    bar: 'p50 <= 30 us, p99 <= 1 ms',
    sutra: [
      { key: 'read.path.p50', before: 'p50 ' },
      { key: 'read.path.p99', before: 'p99 ' },
    ],
    peers: [
      { key: 'peer.graphology.path', before: 'graphology ' },
      { key: 'peer.sqlite.path', before: 'SQLite ' },
    ],
  },
  {
    work: 'open to the first answer',
    bar: '<= 50 ms, flat in size',
    sutra: [
      { key: 'open.answer' },
      { key: 'growth.open to first answer.10000000', after: ' for 10M concepts' },
    ],
  },
  { work: 'replay of a log', bar: '>= 1M writes/s', sutra: [{ key: 'open.replay' }] },
  {
    work: 'acknowledgement p99 during a checkpoint',
    bar: '<= 2x without',
    sutra: [
      { key: 'checkpoint.background.acknowledgement' },
      { key: 'checkpoint.without.acknowledgement', before: 'without ' },
    ],
  },
  {
    work: 'read p99 during a checkpoint',
    bar: '<= 2x without',
    sutra: [
      { key: 'checkpoint.background.read' },
      { key: 'checkpoint.without.read', before: 'without ' },
    ],
  },
  {
    work: 'event loop held during a checkpoint, longest',
    bar: '<= 50 ms',
    sutra: [{ key: 'checkpoint.background.turn' }],
  },
  {
    work: 'resident after a full traversal',
    bar: '<= 250 MB',
    sutra: [{ key: 'open.memory' }],
    peers: [{ key: 'peer.graphology.memory', before: 'graphology ' }],
  },
  {
    work: 'vector search, k = 10, clustered, 8 at once, to usearch alone',
    bar: '>= 0.9x, recall@10 >= 0.95 at ef <= 128',
    sutra: [{ key: 'vectors.search' }, { key: 'vectors.recall', before: 'recall ' }],
  },
  {
    work: 'unary reads over gRPC, to a no-op server',
    bar: '>= 0.9x throughput, p50 <= 1.15x',
    sutra: [{ key: 'grpc.reads' }, { key: 'grpc.read', before: 'p50 ' }],
  },
  {
    work: 'durable unary write over gRPC, p50 beyond a no-op server',
    bar: '<= 1.2 syncs',
    sutra: [{ key: 'grpc.write' }],
  },
  {
    work: 'bulk ingest over gRPC, one stream; batches',
    bar: '>= 150K concepts/s',
    sutra: [{ key: 'grpc.ingest' }, { key: 'grpc.batches' }],
  },
  {
    work: '`sutra --version`; one query; to `node -e 0`',
    bar: '<= 4x; <= 6x',
    sutra: [{ key: 'cli.version' }, { key: 'cli.query' }],
  },
];

/** From the oldest Node to the newest; one on which none of it was measured is left out. */
export function measuredTable(all: readonly NodeResults[]): string {
  const nodes = all.filter((runs) => keyedRows(runs).some(([, { key }]) => !isGrowth(key)));
  const head = [
    'work',
    'bar',
    ...nodes.flatMap((runs) => [nodeOf(runs), `peers, ${nodeOf(runs)}`]),
  ];
  const body = LINES.map(({ work, bar, sutra, peers }) => [
    work,
    bar,
    ...nodes.flatMap((runs) => [judged(runs, sutra), shown(runs, peers ?? []).join('; ')]),
  ]);
  return markdown(head, body);
}

/** What the figures of that table are of. */
export function measuredOn(nodes: readonly NodeResults[]): string {
  return runsOf(nodes, (key) => !isGrowth(key));
}

/** What the figures of the growth tables are of. */
export function grownOn(nodes: readonly NodeResults[]): string {
  return runsOf(nodes, isGrowth);
}

/** A line for every run that has a row which is told of. */
function runsOf(nodes: readonly NodeResults[], told: (key: string | undefined) => boolean): string {
  const lines = nodes.flatMap((runs) => {
    const rows = keyedRows(runs).filter(([, { key }]) => told(key));
    const used = new Set(rows.map(([run]) => run));
    return runs.filter((run) => used.has(run)).flatMap(aboutRun);
  });
  return `${lines.join('\n')}\n`;
}

function aboutRun({ machine, form, size, sections, skipped }: Results): string[] {
  const { cpu, cores, memoryGb, system, node, commit, at, load } = machine;
  const of = `${whole(size.concepts)} concepts and ${whole(size.associations)} associations`;
  const vectors = `vectors ${whole(size.vectors)} x ${size.vectorDimension}`;
  const on = `${cpu}, ${cores} cores, ${memoryGb} GB, ${system}; load ${load.toFixed(1)} before the start${load > cores / 2 ? ': busy, and its times too long' : ''}`;
  return [
    `- Node ${node.slice(1)}, commit ${commit}, ${at.slice(0, 10)}, the ${form} form (${of}, ${vectors}) of ${sections.join(', ')}; ${on}.`,
    ...skipped.map((line) => `- Not measured on Node ${node.slice(1)}: ${line}.`),
  ];
}

function isGrowth(key: string | undefined): boolean {
  return GROWTH.test(key ?? '');
}

const GROWTH = /^growth\.(.+)\.(\d+)$/;

/** Every figure at every size, and by what factor it grew each time. */
export function growthTable(runs: NodeResults): string {
  const sizes = new Set<number>();
  const byFigure = new Map<
    string,
    Map<number, { readonly median: number; readonly unit: string }>
  >();
  const expected = new Map<string, string>();
  for (const [, { key, median, unit, section }] of keyedRows(runs)) {
    const [, what, size] = GROWTH.exec(key ?? '') ?? [];
    if (what === undefined || size === undefined) continue;
    sizes.add(Number(size));
    const figures = byFigure.get(what) ?? new Map<number, { median: number; unit: string }>();
    byFigure.set(what, figures.set(Number(size), { median, unit }));
    expected.set(what, /\(should be (.+)\)$/.exec(section)?.[1] ?? '');
  }
  if (sizes.size === 0) return '';
  const columns = [...sizes].sort((a, b) => a - b);
  const head = [
    nodeOf(runs),
    ...columns.map((size) => `${compact(size)} concepts`),
    'for ten times as much',
    'should be',
  ];
  const body = [...byFigure].map(([what, figures]) => {
    const medians = columns.map((size) => figures.get(size)?.median ?? NaN);
    const unit = [...figures.values()][0]?.unit ?? '';
    const factors = medians.slice(1).map((value, i) => inUnit(value / (medians[i] ?? NaN), 'x'));
    const shownAt = medians.map((value) => inUnit(value, unit));
    return [what, ...shownAt, factors.join(', '), expected.get(what) ?? ''];
  });
  return markdown(head, body);
}

export function nodeOf(runs: NodeResults): string {
  const node = runs.at(-1)?.machine.node ?? '';
  return `Node ${node.slice(1).split('.')[0]}`;
}

/** The median of a row, by its key; NaN: it was not measured. */
export function medianOf(runs: NodeResults, key: string): number {
  return rowOf(runs, key)?.[1].median ?? NaN;
}

type PublishedRow = Results['rows'][number];

function rowOf(runs: NodeResults, key: string): readonly [Results, PublishedRow] | undefined {
  for (const run of [...runs].reverse()) {
    const row = run.rows.find((candidate) => candidate.key === key);
    if (row !== undefined) return [run, row];
  }
  return undefined;
}

/** Each with the run that it is of; in the order of the newest run, since a row that says `of that` stands behind what it is of. */
function keyedRows(runs: NodeResults): (readonly [Results, PublishedRow])[] {
  const newestFirst = [...runs].reverse();
  const keys = new Set(newestFirst.flatMap(({ rows }) => rows.map(({ key }) => key)));
  return [...keys].flatMap((key) => {
    const found = key === undefined ? undefined : rowOf(runs, key);
    return found === undefined ? [] : [found];
  });
}

/** As it is said: rates in thousands and millions, the rest in three digits. */
export function inUnit(value: number, unit: string): string {
  if (!Number.isFinite(value)) return '-';
  if (unit === '1/s') return `${compact(value)}/s`;
  if (unit === 'x') return `${figure(value)}x`;
  return unit === '' ? figure(value) : `${figure(value)} ${unit}`;
}

export function compact(value: number): string {
  const thousands = Math.round(value / 1000);
  if (thousands >= 1000) return `${Number((value / 1e6).toPrecision(3))}M`;
  return value >= 10_000 ? `${thousands}K` : Math.round(value).toLocaleString('en-US');
}

function shown(runs: NodeResults, wanted: readonly Shown[]): string[] {
  return wanted.flatMap(({ key, before = '', after = '' }) => {
    const [, row] = rowOf(runs, key) ?? [];
    return row === undefined ? [] : [`${before}${inUnit(row.median, row.unit)}${after}`];
  });
}

/** With a verdict, where the run was of the size that the bars are stated for. */
function judged(runs: NodeResults, wanted: readonly Shown[]): string {
  const cells = shown(runs, wanted);
  if (cells.length === 0) return '-';
  const verdicts = wanted.flatMap(({ key }) => {
    const [run, row] = rowOf(runs, key) ?? [];
    return run?.form !== 'full' || row?.ok === undefined ? [] : [row.ok];
  });
  const verdict = verdicts.length === 0 ? '' : verdicts.every((ok) => ok) ? ' ✓' : ' **short**';
  return cells.join(', ') + verdict;
}

function whole(value: number): string {
  return value.toLocaleString('en-US');
}

function markdown(head: readonly string[], body: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return `${[line(head), `|${'---|'.repeat(head.length)}`, ...body.map(line)].join('\n')}\n`;
}
