/**
 * The benchmark runs: every section that needs no network, on a small store, with its own verifications. What it measures is not
 * looked at here; a test never decides anything by time.
 */

import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { SIZES } from '../../bench/sizes.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);

interface Report {
  readonly machine: { readonly node: string; readonly commit: string };
  readonly rows: readonly {
    readonly section: string;
    readonly work: string;
    readonly runs: readonly number[];
    readonly key?: string;
  }[];
}

/** Where the system says what its threads do; see bench/thread-account.ts. */
const isKept = existsSync(`/proc/self/task/${process.pid}/schedstat`);

test('npm run bench -- --quick measures and verifies every row, and leaves nothing but its JSON', async () => {
  await run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'bench/tsconfig.json'], {
    cwd: ROOT,
  });
  const work = mkdtempSync(join(tmpdir(), 'sutra-bench-'));
  const sections = 'write,read,open,cli,grpc,checkpoint,import,vectors,growth';
  const { stdout, stderr } = await run(
    process.execPath,
    ['bench/dist/run.js', '--quick', '--only', sections, '--work', work],
    { cwd: ROOT, maxBuffer: 1 << 24 },
  );
  const path = /written to (\S+\.json)/.exec(stderr)?.[1] ?? '';
  const report = JSON.parse(readFileSync(path, 'utf8')) as Report;
  rmSync(path);
  expect(report.machine.node).toBe(process.version);
  expect(report.rows.length).toBeGreaterThan(30);
  for (const { section, work, runs } of report.rows) {
    expect(runs.length, `${section}: ${work}`).toBeGreaterThan(0);
    for (const figure of runs) expect(Number.isFinite(figure), `${section}: ${work}`).toBe(true);
    expect(stdout).toContain(work);
  }
  expect(existsSync(work)).toBe(false);
  const figure = (key: string): number =>
    report.rows.find((row) => row.key === key)?.runs[0] ?? NaN;
  expectTurn(figure, 'write.turn', 'write.turn.cpu', 'write.turn.waited');
  for (const concepts of SIZES.quick.growth) {
    const [whole = '', ...parts] = [
      'load: event loop held, longest',
      'of that, CPU of the thread',
      'of that, waiting for a processor',
    ].map((what) => `growth.${what}.${concepts}`);
    expectTurn(figure, whole, ...parts);
  }
  for (const phase of ['without', 'background']) expectSlowest(figure, `checkpoint.${phase}`);
}, 300_000);

type FigureOf = (key: string) => number;

/** The parts of a turn are no longer than it; where nothing is known of them, they have no rows. */
function expectTurn(figure: FigureOf, whole: string, ...parts: readonly string[]): void {
  expect(figure(whole), whole).toBeGreaterThan(0);
  if (isKept) {
    const sum = parts.reduce((ms, part) => ms + figure(part), 0);
    // They are differences of floating point numbers.
    expect(sum, whole).toBeLessThanOrEqual(figure(whole) + 1e-6);
    expect(sum, whole).toBeGreaterThanOrEqual(0);
  } else {
    for (const part of parts) expect(figure(part), part).toBeNaN();
  }
}

/** The slowest acknowledgements are those from the p99 on, each has a sync, and no part is longer than they are. */
function expectSlowest(figure: FigureOf, phase: string): void {
  const ms = figure(`${phase}.slowest`);
  expect(ms, phase).toBeGreaterThanOrEqual(figure(`${phase}.acknowledgement`));
  for (const part of ['sync', 'write', 'waited']) {
    const key = `${phase}.slowest.${part}`;
    if (part === 'waited' && !isKept) {
      expect(figure(key), key).toBeNaN();
      continue;
    }
    expect(figure(key), key).toBeLessThanOrEqual(ms);
    if (part !== 'waited') expect(figure(key), key).toBeGreaterThan(0);
  }
}
