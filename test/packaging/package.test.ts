/**
 * What `npm pack` makes: what is in it, that it installs globally into a prefix of its own without running any install script,
 * and that what was installed works. The packages it depends on come out of npm's cache where they are there.
 */

import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

import { PROJECT_ROOT, temporaryDirectory } from '../support/fixture.js';

const run = promisify(execFile);

const manifest = JSON.parse(readFileSync(join(PROJECT_ROOT, 'oclif.manifest.json'), 'utf8')) as {
  commands: Record<string, { flags: Record<string, unknown> }>;
};

test('packed, installed globally, run', async () => {
  const directory = temporaryDirectory('package');
  const prefix = join(directory, 'prefix');
  mkdirSync(prefix);
  // Not the prepare script: dist is built, and other tests are running it.
  const pack = ['pack', '--json', '--ignore-scripts', '--pack-destination', directory];
  const { stdout } = await run('npm', pack, { cwd: PROJECT_ROOT });
  const [packed] = JSON.parse(stdout) as {
    filename: string;
    files: { path: string; mode: number }[];
  }[];
  const paths = packed?.files.map(({ path }) => path) ?? [];
  expect(paths).toEqual(
    expect.arrayContaining([
      'bin/run',
      'dist/cli/main.js',
      'dist/index.d.ts',
      'deploy/systemd/sutra.service',
      'docs/OPERATIONS.md',
      'man/sutra.1',
      'oclif.manifest.json',
      'proto/sutra/storage.proto',
    ]),
  );
  expect(packed?.files.find(({ path }) => path === 'bin/run')?.mode).toBe(0o755);
  const strangers = paths.filter((path) =>
    /\.(map|tsbuildinfo)$|^(src|test|bench|demo)\//.test(path),
  );
  expect(strangers).toEqual([]);
  for (const command of Object.keys(manifest.commands)) {
    expect(paths).toContain(`dist/commands/${command}.js`);
  }

  const install = ['install', '--global', '--prefix', prefix, '--prefer-offline'];
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund'];
  await run('npm', [...install, ...quiet, join(directory, packed?.filename ?? '')], {
    cwd: directory,
    timeout: 150_000,
  });

  const sutra = async (...args: string[]): Promise<string> => {
    const env: NodeJS.ProcessEnv = { PATH: process.env['PATH'], HOME: directory };
    const bin = join(prefix, 'bin', 'sutra');
    return (await run(process.execPath, [realpathSync(bin), ...args], { cwd: directory, env }))
      .stdout;
  };
  expect(await sutra('--version')).toMatch(/^sutra\/\d/);
  expect(await sutra('--help')).toContain('COMMANDS');
  // Takes the kernel lock, and maps storage.dat: both through koffi's binary.
  await sutra('learn', 'a', 'installed');
  await sutra('flush');
  expect(await sutra('query', 'a')).toContain('installed');
  expect(await sutra('completion', 'bash')).toContain('complete -F');
  expect(realpathSync(join(prefix, 'share', 'man', 'man1', 'sutra.1'))).toMatch(/sutra\.1$/);
}, 180_000);

test('the manual page: groff finds nothing wrong, and every command and flag is in it', () => {
  const page = join(PROJECT_ROOT, 'man', 'sutra.1');
  expect(existsSync(page)).toBe(true);
  const groff = ['-man', '-ww', '-z', '-K', 'utf8', page];
  // Warnings go to stderr, which execFileSync shows on failure only: a shell brings it over.
  const warnings = execFileSync('sh', ['-c', 'groff "$@" 2>&1', 'sh', ...groff], {
    encoding: 'utf8',
  });
  expect(warnings).toBe('');
  const shown = execFileSync('sh', ['-c', 'groff -man -Tascii "$1" | col -bx', 'sh', page], {
    encoding: 'utf8',
  });
  for (const [name, { flags }] of Object.entries(manifest.commands)) {
    const start = shown.indexOf(`\n   sutra ${name}`);
    expect(start).toBeGreaterThan(0);
    const end = shown.indexOf('\n   sutra ', start + 1);
    const section = shown.slice(start, end < 0 ? undefined : end);
    for (const flag of Object.keys(flags)) expect(section).toContain(`--${flag}`);
  }
  expect(shown).toContain('EXIT STATUS');
});
