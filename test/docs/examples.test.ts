/**
 * The examples in the documents, run as a reader would: every `sh` and `js` block of a page, in order, in one fresh directory.
 * Blocks marked `server` find a server on the page's own ./knowledge at the address they name. `console` blocks show what
 * takes over a terminal, or needs tools that are not here.
 */

import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { expect, test } from 'vitest';

import { BIN, PROJECT_ROOT, startServe, temporaryDirectory } from '../support/fixture.js';

const run = promisify(execFile);

interface Example {
  readonly language: string;
  readonly server: boolean;
  readonly code: string;
}

function examplesOf(page: string): Example[] {
  const text = readFileSync(join(PROJECT_ROOT, page), 'utf8');
  return [...text.matchAll(/^```(sh|js)( server)?\n([\s\S]*?)^```$/gm)].map((match) => ({
    language: match[1] ?? '',
    server: match[2] !== undefined,
    code: match[3] ?? '',
  }));
}

/** Runs a page's examples and returns what each printed. */
async function runPage(page: string): Promise<string[]> {
  const directory = temporaryDirectory('docs');
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  mkdirSync(join(directory, 'node_modules'));
  symlinkSync(PROJECT_ROOT, join(directory, 'node_modules', 'sutra'));
  const shim = join(bin, 'sutra');
  writeFileSync(shim, `#!/bin/sh\nexec '${process.execPath}' '${BIN}' "$@"\n`);
  chmodSync(shim, 0o755);
  const env = { ...process.env, PATH: `${bin}:${process.env['PATH'] ?? ''}`, NO_COLOR: '1' };

  const printed: string[] = [];
  let serving: Awaited<ReturnType<typeof startServe>> | null = null;
  try {
    for (const { language, server, code } of examplesOf(page)) {
      if (server && serving === null) {
        serving = await startServe(['--storage', join(directory, 'knowledge')]);
      }
      const own = serving === null ? code : code.replaceAll('localhost:50051', serving.address);
      const options = { cwd: directory, env, timeout: 60_000 };
      if (language === 'sh') {
        printed.push((await run('/bin/sh', ['-euc', own], options)).stdout);
      } else {
        const file = join(directory, `example${printed.length}.mjs`);
        writeFileSync(file, own);
        printed.push((await run(process.execPath, [file], options)).stdout);
      }
    }
  } finally {
    await serving?.stop();
  }
  return printed;
}

test('the README’s first minutes, embedded and served', async () => {
  const [shell, search, embedded, copied, served, remote] = await runPage('README.md');
  expect(shell).toContain('Socrates, a philosopher of Athens');
  expect(shell).toContain('2 hops');
  expect(search).toMatch(/^mortal\t0\.9\d+\tWhat will die$/m);
  expect(embedded).toBe('plato -> aristotle\naristotle\n');
  expect(copied).toMatch(/^\d+ accepted, 0 refused$/m);
  expect(served).toContain('diogenes');
  expect(served).toContain('2 hops');
  expect(remote).toContain('socrates');
}, 120_000);

test('the commands of OPERATIONS', async () => {
  const printed = await runPage('docs/OPERATIONS.md');
  const [look, load, backup, damaged] = printed;
  expect(look).toContain('"concepts":1');
  expect(load).toMatch(/^limit query\.p99=10s held: \d+$/m);
  expect(backup).toContain('a domestic animal');
  expect(damaged).toContain('nothing to repair');
  expect(printed.at(-1)).toContain('event loop late p99');
}, 120_000);
