/**
 * `npm run bench:readme -- [RESULTS.json ...]`: publishes results of bench/results/, that is, copies them without their details to
 * bench/published/, one file for each Node version; writes the tables of README.md and docs/PERFORMANCE.md and the chart
 * docs/bench.svg from all that are published; and prints the tables. Of several runs on one Node, each of some sections, a row is
 * of the last one given. Without arguments, from what is published already. `--print`: only the tables, of the files named.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  byNode,
  documents,
  growth,
  majorOf,
  PUBLISHED,
  publishedResults,
  readResults,
} from './documents.js';
import { measuredOn, measuredTable } from './table.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { print: { type: 'boolean', default: false } },
});
const given = byNode(positionals.flatMap(readResults));
if (!flags.print) {
  mkdirSync(join(ROOT, PUBLISHED), { recursive: true });
  for (const runs of given) {
    const [first] = runs;
    if (first === undefined) continue;
    const path = join(ROOT, PUBLISHED, `node-${majorOf(first)}.json`);
    const short = runs.map((run) => ({ ...run, detail: {} }));
    writeFileSync(path, `${JSON.stringify(short, null, 2)}\n`);
  }
  for (const [path, text] of documents(ROOT, publishedResults(ROOT))) {
    writeFileSync(join(ROOT, path), text);
  }
}
const nodes = flags.print && given.length > 0 ? given : publishedResults(ROOT);
process.stdout.write(`${measuredTable(nodes)}\n${measuredOn(nodes)}\n${growth(nodes)}`);
