/**
 * Sutra beside what a user would pick instead, as a picture: plain SVG by hand, readable on light and on dark, drawn from the results
 * of runs and nothing else. Every panel has a logarithmic axis of its own, a line for every tenfold; a bar that was not
 * measured is not drawn.
 */

import { compact, inUnit, medianOf, nodeOf, type NodeResults } from './table.js';

const SYSTEMS = ['sutra', 'lmdb', 'sqlite', 'graphology'] as const;
type System = (typeof SYSTEMS)[number];
const NAMES: Readonly<Record<System, string>> = {
  sutra: 'sutra',
  lmdb: 'LMDB',
  sqlite: 'SQLite',
  graphology: 'graphology',
};

interface Panel {
  readonly title: string;
  readonly what: string;
  /** Of the figure; times are drawn as what can be done in a second. */
  readonly unit: '1/s' | 'us' | 'MiB';
}

const PANELS: readonly Panel[] = [
  { title: 'Concepts learned a second, durable, batches of 1,000', what: 'concepts', unit: '1/s' },
  {
    title: 'Random associations a second, durable, batches of 1,000',
    what: 'associations',
    unit: '1/s',
  },
  { title: 'Point reads a second, with content', what: 'point', unit: 'us' },
  { title: 'Neighbours of degree 10, calls a second', what: 'neighbours', unit: 'us' },
  { title: 'Shortest paths a second, 3 hops apart', what: 'path', unit: 'us' },
  { title: 'Resident memory, MiB: shorter is better', what: 'memory', unit: 'MiB' },
];

const WIDTH = 860;
const LEFT = 160;
const RIGHT = 110;
const BAR = 16;
const GAP = 4;
const TITLE = 26;
const AXIS = 22;
const BETWEEN = 20;
const TOP = 64;

const STYLE = `
  text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328; }
  .head { font-size: 16px; font-weight: 600; }
  .title { font-size: 13px; font-weight: 600; }
  .soft { fill: #59636e; }
  .grid { stroke: #d1d9e0; }
  .sutra { fill: #0969da; }
  .lmdb { fill: #bf8700; }
  .sqlite { fill: #8250df; }
  .graphology { fill: #1a7f37; }
  .older { opacity: 0.6; }
  .page { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .soft { fill: #9198a1; }
    .grid { stroke: #3d444d; }
    .sutra { fill: #4493f8; }
    .lmdb { fill: #d29922; }
    .sqlite { fill: #ab7df8; }
    .graphology { fill: #3fb950; }
    .page { fill: #0d1117; }
  }`;

interface Bar {
  readonly label: string;
  readonly system: System;
  readonly older: boolean;
  /** What its length is of. */
  readonly value: number;
  readonly said: string;
}

/** From the oldest Node to the newest. */
export function chart(all: readonly NodeResults[]): string {
  const nodes = all.filter((parts) => parts.some(hasPeers));
  const parts: string[] = [];
  let y = TOP;
  for (const panel of PANELS) {
    const bars = barsOf(panel, nodes);
    if (bars.length === 0) continue;
    const drawn = drawPanel(panel.title, bars, y);
    parts.push(...drawn.parts);
    y = drawn.bottom + BETWEEN;
  }
  const runs = nodes.flatMap((parts) => parts.filter(hasPeers).slice(-1));
  const of = [...new Set(runs.map(({ size }) => `${compact(size.concepts)} concepts`))].join(', ');
  const commits = [...new Set(runs.map(({ machine }) => machine.commit))].join(', ');
  const under = `${of}; ${nodes.map(nodeOf).join(' and ')}; commit ${commits}; the bars of one Node are of one run; logarithmic axes`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" role="img" aria-label="sutra beside LMDB, SQLite and graphology">
<style>${STYLE}
</style>
<rect class="page" width="${WIDTH}" height="${y}"/>
${text(16, 28, 'Sutra beside what else could be used', 'head')}
${text(16, 48, under, 'soft')}
${parts.join('\n')}
</svg>
`;
}

function hasPeers({ rows }: NodeResults[number]): boolean {
  return rows.some(({ key }) => key?.startsWith('peer.'));
}

function barsOf({ what, unit }: Panel, nodes: readonly NodeResults[]): Bar[] {
  return SYSTEMS.flatMap((system) =>
    nodes.flatMap((runs, i) => {
      const figure = medianOf(runs, `peer.${system}.${what}`);
      if (!Number.isFinite(figure) || figure <= 0) return [];
      return [
        {
          label: `${NAMES[system]}, ${nodeOf(runs)}`,
          system,
          older: i < nodes.length - 1,
          value: unit === 'us' ? 1e6 / figure : figure,
          said: inUnit(figure, unit),
        },
      ];
    }),
  );
}

function drawPanel(
  title: string,
  bars: readonly Bar[],
  top: number,
): { readonly parts: readonly string[]; readonly bottom: number } {
  const logs = bars.map(({ value }) => Math.log10(value));
  // A bar is never without length, and the longest ends before the edge.
  const low = Math.floor(Math.min(...logs) - 0.05);
  const high = Math.max(low + 1, Math.ceil(Math.max(...logs)));
  const x = (log: number): number =>
    round(LEFT + ((WIDTH - LEFT - RIGHT) * (log - low)) / (high - low));
  const first = top + TITLE;
  const bottom = first + bars.length * (BAR + GAP);
  const parts = [text(16, top + 14, title, 'title')];
  for (let decade = low; decade <= high; decade++) {
    const at = x(decade);
    parts.push(
      `<line class="grid" x1="${at}" y1="${first - 4}" x2="${at}" y2="${bottom}"/>`,
      text(at, bottom + 14, decadeName(decade), 'soft', 'middle'),
    );
  }
  for (const [n, { label, system, older, said }] of bars.entries()) {
    const at = first + n * (BAR + GAP);
    const end = x(logs[n] ?? low);
    parts.push(
      text(LEFT - 8, at + 12, label, '', 'end'),
      `<rect class="${system}${older ? ' older' : ''}" x="${LEFT}" y="${at}" width="${round(end - LEFT)}" height="${BAR}" rx="2"/>`,
      text(end + 6, at + 12, said),
    );
  }
  return { parts, bottom: bottom + AXIS };
}

function decadeName(decade: number): string {
  return decade < 0 ? String(10 ** decade) : compact(10 ** decade);
}

function text(x: number, y: number, content: string, kind = '', anchor = 'start'): string {
  const attributes =
    (kind === '' ? '' : ` class="${kind}"`) +
    (anchor === 'start' ? '' : ` text-anchor="${anchor}"`);
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${x}" y="${y}"${attributes}>${escaped}</text>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
