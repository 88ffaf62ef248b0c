/** Pins what each command takes: arguments, flags, their variables and short forms; and that help explains it. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PROJECT_ROOT, runSutra } from '../support/fixture.js';

interface Flag {
  readonly char?: string;
  readonly env?: string;
  readonly helpValue?: string;
  readonly multiple?: boolean;
  readonly summary?: string;
  readonly type: string;
}

interface ManifestCommand {
  readonly args: Readonly<Record<string, { required?: boolean; description?: string }>>;
  readonly flags: Readonly<Record<string, Flag>>;
  readonly examples?: readonly string[];
  readonly summary?: string;
}

const { commands } = JSON.parse(
  readFileSync(join(PROJECT_ROOT, 'oclif.manifest.json'), 'utf8'),
) as { commands: Record<string, ManifestCommand> };
const names = Object.keys(commands).sort();

/** `<required> [optional]`, then each flag as one line. */
function signature(command: ManifestCommand): string[] {
  const args = Object.entries(command.args).map(([name, arg]) =>
    arg.required === true ? `<${name}>` : `[${name}]`,
  );
  const flags = Object.entries(command.flags).map(([name, flag]) => {
    const long = flag.type === 'boolean' ? `--${name}` : `--${name} ${flag.helpValue ?? '?'}`;
    const short = flag.char === undefined ? '' : `-${flag.char}, `;
    const repeated = flag.multiple === true ? ' (repeatable)' : '';
    return `${short}${long}${repeated}${flag.env === undefined ? '' : ` [${flag.env}]`}`;
  });
  return [args.join(' '), ...flags.sort()];
}

test.each(names)('%s', (name) => {
  const command = commands[name];
  expect(command).toBeDefined();
  if (command !== undefined) expect(signature(command)).toMatchSnapshot();
});

test('every command, argument and flag says what it is, and every command shows how', () => {
  for (const [name, command] of Object.entries(commands)) {
    expect(command.summary, name).toMatch(/^[A-Z].*\.$/);
    expect(command.examples?.length, name).toBeGreaterThan(0);
    for (const [arg, { description }] of Object.entries(command.args)) {
      expect(description, `${name} ${arg}`).toMatch(/\.$/);
    }
    for (const [flag, { summary }] of Object.entries(command.flags)) {
      expect(summary, `${name} --${flag}`).toMatch(/[.\]]$/);
    }
  }
});

describe('help', () => {
  test('without arguments, with --help and as `help`: the commands', async () => {
    const [bare, flag, word] = await Promise.all([
      runSutra([]),
      runSutra(['--help']),
      runSutra(['help']),
    ]);
    expect(bare).toMatchObject({ code: 0, stderr: '' });
    for (const name of names) expect(bare.stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
    expect(flag).toEqual(bare);
    expect(word).toEqual(bare);
  });

  test('of a command: usage, flags and examples', async () => {
    const help = await runSutra(['path', '--help']);
    expect(help).toMatchObject({ code: 0, stderr: '' });
    expect(help.stdout).toContain('$ sutra path FROM TO');
    expect(help.stdout).toContain('--by=hops|confidence');
    expect(help.stdout).toContain('[env: SUTRA_BY]');
    expect(help.stdout).toContain('$ sutra path rain umbrella');
    expect(await runSutra(['help', 'path'])).toEqual(help);
  });

  test('--version', async () => {
    const { version } = JSON.parse(readFileSync(join(PROJECT_ROOT, 'package.json'), 'utf8')) as {
      version: string;
    };
    const plain = await runSutra(['--version']);
    expect(plain).toMatchObject({ code: 0, stderr: '' });
    expect(plain.stdout).toBe(
      `sutra/${version} ${process.platform}-${process.arch} node-${process.version}\n`,
    );
    const json = await runSutra(['--version', '--json']);
    expect(JSON.parse(json.stdout)).toMatchObject({ version });
  });
});
