/**
 * `sutra completion SHELL` in the real shells (.ci/run installs zsh and fish): each script is sourced, and asked what it
 * would complete.
 */

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

import { errorOf, jsonOf } from '../support/command.js';
import { PROJECT_ROOT, runSutra, temporaryDirectory } from '../support/fixture.js';

const { commands } = JSON.parse(
  readFileSync(join(PROJECT_ROOT, 'oclif.manifest.json'), 'utf8'),
) as { commands: Record<string, { flags: Record<string, unknown> }> };
const names = Object.keys(commands);

/** What zsh lists last. */
function lastOf(words: readonly string[]): string {
  return [...words].sort().at(-1) ?? '';
}

async function scriptOf(shell: string): Promise<string> {
  const { code, stdout } = await runSutra(['completion', shell]);
  expect(code).toBe(0);
  return stdout;
}

test('bash: commands, flags, closed sets, directories with spaces, and --flag=value', async () => {
  const directory = temporaryDirectory('completion');
  mkdirSync(join(directory, 'my store'));
  writeFileSync(join(directory, 'my file'), '');
  const script = await scriptOf('bash');
  const complete = (...words: string[]): string[] => {
    const array = words.map((word) => `'${word}'`).join(' ');
    const ask = `COMP_WORDS=(sutra ${array}); COMP_CWORD=${words.length}; _sutra; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const output = execFileSync('bash', ['--norc', '-uc', `${script}\n${ask}`], {
      cwd: directory,
      encoding: 'utf8',
    });
    return output.split('\n').filter((line) => line !== '');
  };
  expect(complete('')).toEqual(expect.arrayContaining([...names, 'help']));
  expect(complete('ser')).toEqual(['serve']);
  for (const [name, { flags }] of Object.entries(commands)) {
    expect(complete(name, '--').sort()).toEqual(
      [...Object.keys(flags), 'help'].map((flag) => `--${flag}`).sort(),
    );
  }
  expect(complete('serve', '--durability', '')).toEqual(['always', 'interval']);
  expect(complete('path', '--by', '=', 'c')).toEqual(['confidence']);
  expect(complete('path', '--by', '=')).toEqual(['hops', 'confidence']);
  expect(complete('link', 'a', 'b', '--type', 'c')).toEqual(['causal', 'compositional']);
  expect(complete('stats', '--storage', 'my')).toEqual(['my store']);
  expect(complete('import', 'my')).toEqual(['my file', 'my store']);
  expect(complete('query', '')).toEqual([]);
  expect(complete('help', 'st')).toEqual(['stats']);
});

test('fish: commands, flags and closed sets', async () => {
  const directory = temporaryDirectory('completion');
  writeFileSync(join(directory, 'sutra.fish'), await scriptOf('fish'));
  const complete = (line: string): string[] => {
    const ask = `source sutra.fish; complete -C '${line}'`;
    const output = execFileSync('fish', ['--no-config', '-c', ask], {
      cwd: directory,
      encoding: 'utf8',
      env: { ...process.env, HOME: directory },
    });
    return output
      .split('\n')
      .filter((row) => row !== '')
      .map((row) => row.split('\t')[0] ?? '');
  };
  expect(complete('sutra ')).toEqual(expect.arrayContaining([...names, 'help']));
  for (const [name, { flags }] of Object.entries(commands)) {
    expect(complete(`sutra ${name} --`).sort()).toEqual(
      [...Object.keys(flags), 'help'].map((flag) => `--${flag}`).sort(),
    );
  }
  expect(complete('sutra serve --durability ')).toEqual(['always', 'interval']);
  expect(complete('sutra query stats --w')).toEqual(['--with-embedding']);
  expect(complete('sutra completion ')).toEqual(['bash', 'fish', 'zsh']);
});

test('zsh: commands, flags and closed sets', async () => {
  const directory = temporaryDirectory('completion');
  writeFileSync(join(directory, 'sutra.zsh'), await scriptOf('zsh'));
  // zsh completes only while somebody types: in a terminal of its own, where Tab lists what there is.
  const complete = (line: string, last: string): string => {
    const ask = `
      zmodload zsh/zpty
      zpty -b shell 'HOME=$PWD TERM=dumb zsh -f -i'
      await() { local all= part=; repeat 600; do zpty -r -t shell part && all+=$part; [[ $all == *$1* ]] && break; sleep 0.02; done; print -r -- $all }
      zpty -w shell 'PS1=; unsetopt zle_bracketed_paste; autoload -U compinit; compinit -u -D; source ./sutra.zsh; LISTMAX=1000; setopt list_ambiguous no_auto_menu no_list_beep; COLUMNS=200; print READ""Y'
      await READY >/dev/null
      zpty -w -n shell $'${line}\\t\\t'
      await '${last}'
      zpty -d shell`;
    return execFileSync('zsh', ['-f', '-c', ask], { cwd: directory, encoding: 'utf8' });
  };
  const listed = complete('sutra ', lastOf(names));
  for (const name of names) expect(listed).toMatch(new RegExp(`\\b${name}\\b`));
  const known = Object.keys(commands['serve']?.flags ?? {});
  const flags = complete('sutra serve --', `--${lastOf(known)}`);
  for (const flag of known) {
    expect(flags).toContain(`--${flag}`);
  }
  expect(complete('sutra serve --durability ', 'interval')).toMatch(/always\s+interval/);
});

test('--json, and a shell that it does not know', async () => {
  expect(await jsonOf(['completion', 'fish'], [])).toMatchObject({
    shell: 'fish',
    script: expect.stringContaining('complete -c sutra') as string,
  });
  expect(await errorOf(['completion', 'tcsh'], 2)).toMatchObject({ code: 'INVALID_ARGUMENT' });
});
