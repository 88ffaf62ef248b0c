/**
 * What a terminal sees, through a real one (`script` gives the command a pseudo-terminal): drawing and colour there, none
 * elsewhere; and that nothing a client stored drives it. And what happens when stdout goes away.
 */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { BIN, runSutra, temporaryDirectory, temporaryPath } from '../support/fixture.js';

const store = temporaryPath();

/** Clears the screen, sets the window title, reports a status back as typed input, and hides text by reordering it. */
const HOSTILE = 'a\x1b[2J\x1b]0;owned\x07\x9b31m\x1b[6n\r\u202egnp\u2066.\u007f\0';
const CONTROLS = new RegExp(
  // eslint-disable-next-line no-control-regex -- what must not come through
  '[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u202a-\\u202e\\u2066-\\u2069]',
  'u',
);

interface Shell {
  readonly code: number;
  readonly output: string;
}

/** Runs a shell line with its own pipes; $SUTRA is the binary. */
function shell(line: string, env: Record<string, string> = {}): Promise<Shell> {
  return new Promise((resolve, reject) => {
    const child = spawn('bash', ['-c', line], {
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: process.env['HOME'] ?? '/',
        TERM: 'xterm-256color',
        SUTRA: `${process.execPath} ${BIN}`,
        SUTRA_STORAGE_PATH: store,
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? -1, output }));
  });
}

/** Runs a command on a pseudo-terminal of 80 columns and gives what it wrote there. */
async function onTerminal(command: string, env?: Record<string, string>): Promise<Shell> {
  const { code, output } = await shell(
    `script -qec 'stty cols 80 rows 24; exec $SUTRA ${command}' /dev/null`,
    env,
  );
  return { code, output: output.replaceAll('\r\n', '\n') };
}

beforeAll(async () => {
  const file = join(temporaryDirectory(), 'records.jsonl');
  const records = [
    { kind: 'concept', id: 'rain', content: 'Water falling from clouds, '.repeat(20) },
    { kind: 'concept', id: '雨', content: 'Regen' },
    { kind: 'concept', id: HOSTILE, content: `${HOSTILE}\nsecond line` },
    { kind: 'association', source: 'rain', target: '雨', type: 'causal', confidence: 0.9 },
    { kind: 'association', source: HOSTILE, target: 'rain' },
  ];
  writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  expect(await runSutra(['import', file, '--storage', store])).toMatchObject({ code: 0 });
});

describe('on a terminal', () => {
  test('neighbors are a table, paths are drawn, within the width', async () => {
    const table = await onTerminal('neighbors 雨', { NO_COLOR: '1' });
    expect(table).toEqual({
      code: 0,
      output: [
        '┌───────────┬────────┬────────────┬──────┐',
        '│ neighbour │ type   │ confidence │      │',
        '├───────────┼────────┼────────────┼──────┤',
        '│ rain      │ causal │        0.9 │ ← in │',
        '└───────────┴────────┴────────────┴──────┘',
        '',
      ].join('\n'),
    });
    const path = await onTerminal('path 雨 rain', { NO_COLOR: '1' });
    expect(path.output.split('\n')).toEqual([
      '● 雨    Regen',
      '▲',
      '│ causal 0.9',
      expect.stringMatching(/^● rain {2}Water falling from clouds, Water .*…$/),
      '1 hop, confidence 0.9',
      '',
    ]);
    expect(Math.max(...path.output.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  test('colour, unless NO_COLOR or a dumb terminal', async () => {
    expect((await onTerminal('health')).output).toBe('\x1b[32mhealthy\x1b[39m\n');
    expect((await onTerminal('health', { NO_COLOR: '1' })).output).toBe('healthy\n');
    expect((await onTerminal('health', { TERM: 'dumb' })).output).toBe('healthy\n');
    expect((await onTerminal('health', { NO_COLOR: '' })).output).toContain('\x1b[32m');
    const help = await onTerminal('path --help', { NO_COLOR: '1' });
    expect(help.output).toContain('EXAMPLES');
    expect(help.output).not.toContain('\x1b');
  });

  test('--json is the same bytes as in a pipe', async () => {
    const piped = await shell('$SUTRA path rain 雨 --json');
    expect(await onTerminal('path rain 雨 --json')).toEqual(piped);
  });

  test('errors are in colour on a terminal only', async () => {
    const { output } = await onTerminal('query');
    expect(output.split('\n')[0]).toBe('\x1b[31merror:\x1b[39m missing ID');
    expect((await onTerminal('query', { NO_COLOR: '1' })).output).toMatch(/^error: missing ID\n/);
  });
});

describe('what clients stored drives no terminal', () => {
  test.each([
    ['query', ['query', HOSTILE]],
    ['query of nothing', ['query', `${HOSTILE.replace('\0', '')}?`]],
    ['neighbors', ['neighbors', 'rain']],
    ['path', ['path', HOSTILE, '雨']],
    ['query --json', ['query', HOSTILE, '--json']],
    ['neighbors --json', ['neighbors', 'rain', '--json']],
  ])('%s', async (_name, args) => {
    const result = await runSutra(args.map(argument), { env: { SUTRA_STORAGE_PATH: store } });
    expect(result.stdout).not.toMatch(CONTROLS);
    expect(result.stdout).not.toBe('');
  });

  test('nor in errors', async () => {
    const hostile = HOSTILE.replace('\0', '');
    const result = await runSutra(['query', 'a', hostile, '--storage', store]);
    expect(result).toMatchObject({ code: 2, stdout: '' });
    expect(result.stderr).not.toMatch(CONTROLS);
    expect(result.stderr).toContain('\\x1b');
  });

  test('and JSON still says exactly what was stored', async () => {
    const env = { SUTRA_STORAGE_PATH: store };
    const { stdout } = await runSutra(['neighbors', 'rain', '--json'], { env });
    const { neighbors } = JSON.parse(stdout) as { neighbors: { id: string }[] };
    expect(neighbors[0]?.id).toBe(HOSTILE);
  });
});

describe('when stdout goes away', () => {
  test.each(['stats', 'neighbors rain', 'path rain 雨 --json', '--help', '--version'])(
    '%s: EPIPE is a quiet exit 0',
    async (command) => {
      // The reader is gone before the first byte: `sleep 0` would race, so it waits for the reader's end.
      const result = await shell(
        `exec 3> >(exec true); wait $!; $SUTRA ${command} >&3; echo "code $?"`,
      );
      expect(result.output).toBe('code 0\n');
    },
  );

  test('a full disk is a failure', async () => {
    const result = await shell('$SUTRA stats > /dev/full');
    expect(result).toMatchObject({ code: 1 });
    expect(result.output).toContain('ENOSPC');
  });
});

test('Ctrl-C while it waits ends with 130', async () => {
  const args = ['stats', '--storage', store, '--watch', '--interval', '60', '--json'];
  const child = spawn(process.execPath, [BIN, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const code = new Promise((resolve) => child.once('exit', resolve));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  child.kill('SIGINT');
  expect(await code).toBe(130);
});

/** No argument can hold a NUL, so that id goes by its key. */
function argument(id: string): string {
  return id.includes('\0') ? createHash('md5').update(id).digest('hex') : id;
}
