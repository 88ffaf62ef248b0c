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

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);

interface Report {
  readonly machine: { readonly node: string; readonly commit: string };
  readonly rows: readonly {
    readonly section: string;
    readonly work: string;
    readonly runs: readonly number[];
  }[];
}

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
}, 300_000);
