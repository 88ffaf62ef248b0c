/**
 * The nine calls as a client sees them that is not ours: Python's grpcio (Debian's python3-grpcio) against `sutra serve`.
 * client.py knows the contract from its own descriptors; this test starts the server, runs it, and looks at its checks.
 */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PROJECT_ROOT, startServe } from '../support/fixture.js';

/** Debian's own, which has the packages; the one on PATH may be another. */
const PYTHON = '/usr/bin/python3';
const TIMEOUT_MS = 60_000;
/** How many there are in client.py: one that stops half way has not passed. */
const CHECKS = 72;

interface Line {
  readonly check?: string;
  readonly ok?: boolean;
  readonly detail?: string;
  readonly checks?: number;
  readonly failures?: number;
}

function runClient(
  address: string,
): Promise<{ code: number | null; lines: Line[]; stderr: string }> {
  const child = spawn(PYTHON, [join(PROJECT_ROOT, 'test', 'interop', 'client.py'), address], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      const lines = stdout
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Line);
      resolve({ code, lines, stderr });
    });
  });
}

test('Python’s grpcio gets from sutra serve what the contract says', async () => {
  const serving = await startServe();
  const { code, lines, stderr } = await runClient(serving.address);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(lines.filter(({ ok }) => ok === false)).toEqual([]);
  expect(lines).toHaveLength(CHECKS + 1);
  expect(lines.at(-1)).toEqual({ checks: CHECKS, failures: 0 });
  expect(await serving.stop()).toBe(0);
}, 90_000);
