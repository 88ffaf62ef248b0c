/**
 * What is published of measurements: the tables and the chart hold what the results hold, and nothing else; and the committed
 * documents are those that the committed results make.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SaxesParser } from 'saxes';
import { describe, expect, test } from 'vitest';
import { chart } from '../../bench/chart.js';
import { between, byNode, documents, publishedResults } from '../../bench/documents.js';
import type { Results } from '../../bench/report.js';
import { SIZES } from '../../bench/sizes.js';
import {
  compact,
  grownOn,
  growthTable,
  inUnit,
  measuredOn,
  measuredTable,
} from '../../bench/table.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Figure {
  readonly key: string;
  readonly unit: string;
  readonly median: number;
  readonly ok?: boolean;
  readonly section?: string;
}

function resultsOf(
  node: string,
  figures: readonly Figure[],
  form: Results['form'] = 'full',
  sections: readonly string[] = ['write', 'read'],
): Results {
  return {
    machine: {
      cpu: 'a processor',
      cores: 2,
      memoryGb: 24,
      system: 'linux',
      node,
      commit: 'abc1234',
      at: '2026-01-02T03:04:05.000Z',
      load: 0.1,
    },
    form,
    size: SIZES[form],
    sections,
    rows: figures.map(({ section = 'a section', ...row }) => ({
      section,
      work: row.key,
      runs: [row.median],
      ...row,
    })),
    skipped: ['SQLite: not here'],
    detail: {},
  };
}

const cellsOf = (table: string, work: string): string[] => {
  const line = table.split('\n').find((text) => text.startsWith(`| ${work}`)) ?? '';
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());
};

describe('the table', () => {
  const older = resultsOf('v20.20.0', [
    { key: 'write.hex', unit: '1/s', median: 336_400 },
    { key: 'ratio.lmdb.concepts', unit: 'x', median: 3.2, ok: false },
    { key: 'peer.lmdb.concepts', unit: '1/s', median: 105_000 },
    { key: 'read.point', unit: 'us', median: 1.234, ok: true },
  ]);
  const newest = resultsOf('v26.1.0', [{ key: 'write.hex', unit: '1/s', median: 1_234_567 }]);
  const table = measuredTable([[older], [newest]]);

  test('has the figures of each Node beside its peers, and a verdict where there is one', () => {
    expect(cellsOf(table, 'work')).toEqual([
      'work',
      'bar',
      'Node 20',
      'peers, Node 20',
      'Node 26',
      'peers, Node 26',
    ]);
    expect(cellsOf(table, 'concepts, durable')).toEqual([
      'concepts, durable, batches of 1,000, hex ids',
      '>= 4x LMDB, >= 500K/s on the newest Node',
      '336K/s, 3.20x LMDB **short**',
      'LMDB 105K/s',
      '1.23M/s',
      '',
    ]);
    expect(cellsOf(table, 'point read')[2]).toBe('1.23 us ✓');
  });

  test('has a dash for what was not measured', () => {
    expect(cellsOf(table, 'point read')[4]).toBe('-');
    expect(cellsOf(table, 'replay')[2]).toBe('-');
  });

  test('judges no run that was smaller than the bars are stated for', () => {
    const small = resultsOf(
      'v20.20.0',
      [{ key: 'read.point', unit: 'us', median: 9, ok: false }],
      'small',
    );
    expect(cellsOf(measuredTable([[small]]), 'point read')[2]).toBe('9.00 us');
    expect(measuredOn([[small]])).toContain('the small form (100,000 concepts');
  });

  test('says what it is of, and what was left out', () => {
    const said = measuredOn([[older]]);
    for (const part of ['20.20.0', 'abc1234', '2026-01-02', 'a processor', 'SQLite: not here']) {
      expect(said).toContain(part);
    }
  });

  test('takes a row from the last run that has it, and says which run that is', () => {
    const later = resultsOf(
      'v20.21.0',
      [{ key: 'write.hex', unit: '1/s', median: 500_000 }],
      'full',
      ['write'],
    );
    const merged = byNode([newest, older, later]);
    expect(merged).toEqual([[older, later], [newest]]);
    const [runs = []] = merged;
    expect(cellsOf(measuredTable([runs]), 'concepts, durable')[2]).toMatch(/^500K\/s, 3.20x LMDB/);
    const lines = measuredOn([runs]).split('\n');
    expect(lines.find((line) => line.includes('20.20.0'))).toContain('of write, read;');
    expect(lines.find((line) => line.includes('20.21.0'))).toContain('of write;');
  });

  test('of growth has every size and every factor', () => {
    const section = 'growth, 5 associations a concept: flush (should be tenfold)';
    const grown = resultsOf('v20.20.0', [
      { key: 'growth.flush.1000000', unit: 'ms', median: 2500, section },
      { key: 'growth.flush.100000', unit: 'ms', median: 200, section },
    ]);
    const rows = growthTable([grown]);
    expect(cellsOf(rows, 'Node 20')).toEqual([
      'Node 20',
      '100K concepts',
      '1M concepts',
      'for ten times as much',
      'should be',
    ]);
    expect(cellsOf(rows, 'flush')).toEqual(['flush', '200 ms', '2,500 ms', '12.5x', 'tenfold']);
    expect(growthTable([older])).toBe('');
  });

  test('of growth has what an older run does not say behind what it is of', () => {
    const section = (what: string): string =>
      `growth, 5 associations a concept: ${what} (should be flat)`;
    const grown = (what: string, concepts: number, median: number): Figure => ({
      key: `growth.${what}.${concepts}`,
      unit: 'ms',
      median,
      section: section(what),
    });
    const before = resultsOf('v20.20.0', [grown('turn', 1000, 20), grown('flush', 1000, 200)]);
    const after = resultsOf('v20.20.0', [
      grown('turn', 10_000, 30),
      grown('of that, CPU', 10_000, 0),
      grown('flush', 10_000, 300),
    ]);
    const rows = growthTable([before, after]);
    const first = rows.split('\n').map((line) => line.split('|')[1]?.trim());
    expect(first.slice(2, 5)).toEqual(['turn', 'of that, CPU', 'flush']);
    expect(cellsOf(rows, 'of that')).toEqual(['of that, CPU', '-', '0.000 ms', '-', 'flat']);
    expect(cellsOf(rows, 'turn')).toEqual(['turn', '20.0 ms', '30.0 ms', '1.50x', 'flat']);
  });

  test('leaves out a Node on which only growth was measured, and growth is told of its own runs', () => {
    const grown = resultsOf('v26.1.0', [{ key: 'growth.flush.100000', unit: 'ms', median: 2 }]);
    expect(measuredTable([[older], [grown]])).toBe(measuredTable([[older]]));
    expect(measuredOn([[older], [grown]])).toBe(measuredOn([[older]]));
    expect(grownOn([[older], [grown]])).toContain('Node 26.1.0');
    expect(grownOn([[older], [grown]])).not.toContain('Node 20.20.0');
    expect(chart([[older], [grown]])).not.toContain('Node 26');
  });

  test('says figures shortly', () => {
    expect([compact(999), compact(9500), compact(41_400), compact(1_580_000)]).toEqual([
      '999',
      '9,500',
      '41K',
      '1.58M',
    ]);
    expect([inUnit(NaN, 'us'), inUnit(0.987, ''), inUnit(2, 'x')]).toEqual(['-', '0.987', '2.00x']);
  });
});

describe('the chart', () => {
  const figures = (factor: number): Figure[] => [
    { key: 'peer.sutra.concepts', unit: '1/s', median: 400_000 * factor },
    { key: 'peer.lmdb.concepts', unit: '1/s', median: 90_000 * factor },
    { key: 'peer.sutra.path', unit: 'us', median: 10 / factor },
    { key: 'peer.sqlite.path', unit: 'us', median: 9000 / factor },
  ];
  const svg = chart([[resultsOf('v20.20.0', figures(1))], [resultsOf('v26.1.0', figures(2))]]);

  /** Parsed as XML, which throws at whatever is not. */
  const elements = (): { readonly name: string; readonly attributes: Record<string, string> }[] => {
    const found: { name: string; attributes: Record<string, string> }[] = [];
    const parser = new SaxesParser();
    parser.on('opentag', ({ name, attributes }) => found.push({ name, attributes }));
    parser.on('error', (error) => {
      throw error;
    });
    parser.write(svg).close();
    return found;
  };

  test('has a bar for every figure, as long as it is good, and none for what was not measured', () => {
    const bars = elements().filter(
      ({ name, attributes }) => name === 'rect' && attributes['class'] !== 'page',
    );
    const widths = bars.map(({ attributes }) => Number(attributes['width']));
    expect(bars.map(({ attributes }) => attributes['class'])).toEqual([
      ...['sutra older', 'sutra', 'lmdb older', 'lmdb'],
      ...['sutra older', 'sutra', 'sqlite older', 'sqlite'],
    ]);
    for (const width of widths) expect(width).toBeGreaterThan(0);
    const [writes, paths] = [widths.slice(0, 4), widths.slice(4)];
    expect([...writes].sort((a, b) => b - a)).toEqual([1, 0, 3, 2].map((i) => writes[i]));
    expect([...paths].sort((a, b) => b - a)).toEqual([1, 0, 3, 2].map((i) => paths[i]));
    expect(svg).not.toContain('graphology, Node');
    expect(svg).not.toContain('NaN');
  });

  test('says every figure in its own unit', () => {
    for (const said of ['400K/s', '800K/s', '90K/s', '10.0 us', '5.00 us', '9,000 us']) {
      expect(svg).toContain(`>${said}</text>`);
    }
  });
});

describe('a document', () => {
  test('is replaced between its markers only', () => {
    const before = 'a\n<!-- x: by a script -->\nold\n<!-- /x -->\nb\n';
    expect(between(before, 'x', 'new $& $1')).toBe(
      'a\n<!-- x: by a script -->\n\nnew $& $1\n<!-- /x -->\nb\n',
    );
    expect(() => between('a\n', 'x', 'new')).toThrow('no markers');
  });

  test('that is committed is the one that the committed results make', () => {
    const runs = publishedResults(ROOT);
    expect(runs.length).toBeGreaterThan(0);
    for (const [path, text] of documents(ROOT, runs)) {
      expect(readFileSync(join(ROOT, path), 'utf8'), path).toBe(text);
    }
  });
});
