/** The table on the terminal and the JSON beside it. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus, loadavg, platform, release, totalmem } from 'node:os';
import { join } from 'node:path';
import Table from 'cli-table3';
import { median } from './measure.js';
import { SIZES, type Form, type Sizes } from './sizes.js';

export interface Row {
  readonly section: string;
  readonly work: string;
  readonly unit: string;
  /** One figure per run. */
  readonly runs: readonly number[];
  /** The bar in words, from the speed bar; absent: for information. */
  readonly bar?: string;
  /** Whether the median clears the bar; absent: no bar, or one that this form of the benchmark cannot judge. */
  readonly ok?: boolean;
  readonly note?: string;
  /** What the published table and the chart know the row by, whatever its sizes. */
  readonly key?: string;
}

/** What a run found: the part of a Bench that is printed and written. */
export interface Findings {
  readonly form: Form;
  readonly size: Sizes;
  readonly chosen: ReadonlySet<string>;
  readonly rows: readonly Row[];
  readonly skipped: readonly string[];
  readonly detail: Readonly<Record<string, unknown>>;
}

/** As it is in bench/results/. */
export interface Results {
  readonly machine: Machine;
  readonly form: Form;
  readonly size: Sizes;
  readonly sections: readonly string[];
  readonly rows: readonly (Row & { readonly median: number })[];
  readonly skipped: readonly string[];
  readonly detail: Readonly<Record<string, unknown>>;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly system: string;
  readonly node: string;
  readonly commit: string;
  readonly at: string;
  /** Load average over a minute before the benchmark began: what else the machine was doing. */
  readonly load: number;
}

export function machine(root: string): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${release()} ${arch()}`,
    node: process.version,
    commit: commitOf(root),
    at: new Date().toISOString(),
    load: loadavg()[0] ?? NaN,
  };
}

function commitOf(root: string): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: 'pipe' }).trim();
    const dirty = git('status', '--porcelain', '--', 'src') === '' ? '' : ' with changes in src';
    return git('rev-parse', '--short', 'HEAD') + dirty;
  } catch {
    return 'unknown';
  }
}

/** Three significant digits, and thousands as they are read. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const digits =
    Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3;
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

function spread(runs: readonly number[]): string {
  return runs.length < 2 ? '' : `${figure(Math.min(...runs))} .. ${figure(Math.max(...runs))}`;
}

export function printTable({ form, size, rows, skipped }: Findings, on: Machine): void {
  const table = new Table({
    head: ['work', 'median', 'unit', 'runs', 'spread', 'bar', ''],
    colAligns: ['left', 'right', 'left', 'right', 'left', 'left', 'left'],
    style: { head: [], border: [], compact: true },
  });
  let section = '';
  for (const row of rows) {
    if (row.section !== section) {
      section = row.section;
      table.push([{ colSpan: 7, content: section.toUpperCase() }]);
    }
    const verdict = row.ok === undefined ? '' : row.ok ? 'ok' : 'short';
    table.push([
      `  ${row.work}`,
      figure(median(row.runs)),
      row.unit,
      row.runs.length,
      spread(row.runs),
      row.bar ?? '',
      [verdict, row.note ?? ''].filter((text) => text !== '').join('; '),
    ]);
  }
  process.stdout.write(`${table.toString()}\n`);
  for (const line of skipped) process.stdout.write(`skipped: ${line}\n`);
  process.stdout.write(
    `${on.cpu}, ${on.cores} cores, ${on.memoryGb} GB; ${on.system}; Node ${on.node}; commit ${on.commit}\n`,
  );
  if (form !== 'full') {
    const bars = SIZES.full.concepts.toLocaleString('en-US');
    process.stdout.write(
      `The ${form} form, ${size.concepts.toLocaleString('en-US')} concepts; the bars are stated for ${bars}: npm run bench:full.\n`,
    );
  }
  if (on.load > on.cores / 2) {
    process.stdout.write(
      `The machine was busy (load ${on.load.toFixed(1)} on ${on.cores} cores before the start): times are too long.\n`,
    );
  }
}

/** Returns the file's path. */
export function writeJson(root: string, findings: Findings, on: Machine): string {
  const directory = join(root, 'bench', 'results');
  mkdirSync(directory, { recursive: true });
  const path = join(directory, `${on.at.replaceAll(':', '-')}.json`);
  const { form, size, chosen, rows, skipped, detail } = findings;
  const results: Results = {
    machine: on,
    form,
    size,
    sections: [...chosen],
    rows: rows.map((row) => ({ ...row, median: median(row.runs) })),
    skipped,
    detail,
  };
  writeFileSync(path, `${JSON.stringify(results, null, 2)}\n`);
  return path;
}
