/**
 * What is said of measurements in README.md and docs/, made from the published results in bench/published/, one file per Node
 * version: between the markers of a document nothing is written by hand, so that it cannot drift from what was measured.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chart } from './chart.js';
import type { Results } from './report.js';
import { grownOn, growthTable, measuredOn, measuredTable, type NodeResults } from './table.js';

export const PUBLISHED = join('bench', 'published');

/** By Node versions, from the oldest to the newest. */
export function publishedResults(root: string): NodeResults[] {
  const directory = join(root, PUBLISHED);
  const names = readdirSync(directory).filter((name) => name.endsWith('.json'));
  return byNode(names.flatMap((name) => readResults(join(directory, name))));
}

/** A run of the benchmark, or what is published of several. */
export function readResults(path: string): Results[] {
  const read = JSON.parse(readFileSync(path, 'utf8')) as Results | Results[];
  const runs = Array.isArray(read) ? read : [read];
  for (const { machine, form, size, rows } of runs as Partial<Results>[]) {
    if (machine === undefined || form === undefined || size === undefined || rows === undefined) {
      throw new Error(`${path} is not the JSON of a run of the benchmark`);
    }
  }
  return runs;
}

/** The runs of a Node version in the order in which they were given. */
export function byNode(runs: readonly Results[]): NodeResults[] {
  const nodes = new Map<number, Results[]>();
  for (const run of runs) {
    const major = majorOf(run);
    nodes.set(major, [...(nodes.get(major) ?? []), run]);
  }
  return [...nodes].sort(([a], [b]) => a - b).map(([, found]) => found);
}

export function majorOf({ machine }: Results): number {
  return Number(machine.node.slice(1).split('.')[0]);
}

/** The documents as they should be, by their paths below the root. */
export function documents(root: string, nodes: readonly NodeResults[]): Map<string, string> {
  if (nodes.length === 0) throw new Error('no results');
  const read = (path: string): string => readFileSync(join(root, path), 'utf8');
  return new Map([
    [
      'README.md',
      between(read('README.md'), 'measured', `${measuredTable(nodes)}\n${measuredOn(nodes)}`),
    ],
    ['docs/PERFORMANCE.md', between(read('docs/PERFORMANCE.md'), 'growth', growth(nodes))],
    ['docs/bench.svg', chart(nodes)],
  ]);
}

/** The growth of every Node version it was measured on. */
export function growth(nodes: readonly NodeResults[]): string {
  const tables = nodes.map(growthTable).filter((table) => table !== '');
  return `${tables.join('\n')}\n${grownOn(nodes)}`;
}

/** Replaces what stands between `<!-- NAME: ... -->` and `<!-- /NAME -->`. */
export function between(document: string, name: string, content: string): string {
  const pattern = new RegExp(`(<!-- ${name}:[^>]*-->\n)[^]*?(<!-- /${name} -->\n)`);
  if (!pattern.test(document)) throw new Error(`no markers <!-- ${name}: ... --> in the document`);
  return document.replace(pattern, (_, open: string, end: string) => `${open}\n${content}\n${end}`);
}
