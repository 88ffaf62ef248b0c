/** How long commands take from start to exit, beside an empty program. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { verify } from '../measure.js';
import { contentOf, hexId } from '../workload.js';

const RUN = fileURLToPath(new URL('../../../bin/run', import.meta.url));

export interface CliFigures {
  readonly emptyMs: readonly number[];
  readonly versionMs: readonly number[];
  readonly queryMs: readonly number[];
}

export async function cliStart(parameters: {
  readonly directory: string;
  readonly runs: number;
}): Promise<CliFigures> {
  const { directory, runs } = parameters;
  const emptyMs: number[] = [];
  const versionMs: number[] = [];
  const queryMs: number[] = [];
  // In turn, so that what else the machine does falls on all alike; the first turn warms the page cache.
  for (let run = 0; run <= runs; run++) {
    const empty = timed(['-e', '0']);
    const version = timed([RUN, '--version']);
    verify(version.stdout.startsWith('sutra/'), `--version says ${version.stdout}`);
    const query = timed([RUN, 'query', hexId(run), '--storage', directory, '--json']);
    verify(query.stdout.includes(contentOf(run)), `query says ${query.stdout}`);
    if (run === 0) continue;
    emptyMs.push(empty.ms);
    versionMs.push(version.ms);
    queryMs.push(query.ms);
  }
  return { emptyMs, versionMs, queryMs };
}

function timed(args: readonly string[]): { readonly ms: number; readonly stdout: string } {
  const start = performance.now();
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const ms = performance.now() - start;
  verify(status === 0, `node ${args.join(' ')} exits ${status}: ${stderr}`);
  return { ms, stdout };
}
