import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { errorOf } from '../support/command.js';
import { checkDirectory } from '../support/whole-store.js';
import {
  BIN,
  runSutra,
  startServe,
  temporaryDirectory,
  temporaryPath,
  type RunResult,
  type Serving,
} from '../support/fixture.js';

const directory = temporaryDirectory('import');

function file(name: string, content: string | Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

const line = (record: object): string => `${JSON.stringify(record)}\n`;
const concept = (id: string, more: object = {}): string =>
  line({ kind: 'concept', id, content: `about ${id}`, ...more });
const association = (source: string, target: string, more: object = {}): string =>
  line({ kind: 'association', source, target, ...more });

const PETS =
  concept('dog', { strength: 2, confidence: 0.9 }) +
  concept('cat') +
  concept('pet', { content: 'ein Haustier, 宠物' }) +
  association('dog', 'pet', { type: 'hierarchical' }) +
  association('cat', 'pet', { type: 3, confidence: 0.5 });

function json(result: RunResult): unknown {
  return JSON.parse(result.stdout);
}

async function stats(target: readonly string[]): Promise<unknown> {
  return json(await runSutra(['stats', ...target, '--json']));
}

describe.each([['embedded'], ['server']] as const)('into a store: %s', (mode) => {
  let server: Serving | undefined;
  let target: readonly string[];

  beforeAll(async () => {
    if (mode === 'server') server = await startServe();
    target = server === undefined ? ['--storage', temporaryPath()] : ['--server', server.address];
  });
  afterAll(async () => {
    expect(await server?.stop()).toBe(server === undefined ? undefined : 0);
  });

  test('brings in concepts and associations as they are written', async () => {
    const result = await runSutra(['import', file('pets.jsonl', PETS), ...target, '--json']);
    expect(result).toMatchObject({ code: 0 });
    expect(json(result)).toEqual({
      concepts: 3,
      associations: 2,
      skipped: 0,
      types: {},
      left_out: {},
      seconds: expect.any(Number) as number,
      last_sequence: 5,
    });
    const dog = await runSutra(['query', 'dog', ...target, '--json']);
    expect(json(dog)).toMatchObject({ content: 'about dog', strength: 2, confidence: 0.9 });
    const pet = await runSutra(['neighbors', 'pet', ...target, '--json']);
    expect(json(pet)).toMatchObject({
      neighbors: [
        { id: 'dog', type: 3, confidence: 1, direction: 'in' },
        { id: 'cat', type: 3, confidence: 0.5, direction: 'in' },
      ],
    });
  });

  test('again changes nothing but the sequence', async () => {
    const result = await runSutra(['import', file('pets.jsonl', PETS), ...target, '--json']);
    expect(json(result)).toMatchObject({ concepts: 3, associations: 2, last_sequence: 10 });
    expect(await stats(target)).toMatchObject({ concepts: 3, edges: 2 });
  });

  test('many batches: every record of 20,000, with associations across batches', async () => {
    let text = '';
    for (let i = 0; i < 10_000; i++) text += concept(`n${i}`);
    for (let i = 0; i < 10_000; i++) text += association(`n${i}`, `n${(i * 7 + 1) % 10_000}`);
    const result = await runSutra(['import', file('many.jsonl', text), ...target, '--json']);
    expect(result.stderr).not.toContain('error');
    expect(json(result)).toMatchObject({ concepts: 10_000, associations: 10_000 });
    expect(await stats(target)).toMatchObject({ concepts: 10_003, edges: 10_002 });
  });

  test('an unknown endpoint: file, line and id, exit 2; the rest goes in', async () => {
    const path = file('dangling.jsonl', concept('fish') + '\n' + association('fish', 'nowhere'));
    const result = await runSutra(['import', path, ...target]);
    expect(result.code).toBe(2);
    expect(result.stdout).toBe('');
    expect(result.stderr).toContain(`${path}:3: target: `);
    expect(result.stderr).toContain('"nowhere"');
    expect((await runSutra(['query', 'fish', ...target])).code).toBe(0);
  });

  test('a value out of range: file and line, exit 2', async () => {
    const path = file('range.jsonl', concept('fish') + concept('crow', { confidence: 1.5 }));
    const result = await runSutra(['import', path, ...target, '--json']);
    expect(result).toMatchObject({ code: 2, stdout: '' });
    const { error } = JSON.parse(result.stderr) as { error: { code: string; message: string } };
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toContain(`${path}:2: confidence: got 1.5, expected 0 to 1`);
  });

  test('a malformed line: all before it is in, exit 2', async () => {
    const path = file('bad.jsonl', `${concept('bird')}{"kind":"concept","id":\n${concept('bee')}`);
    const result = await runSutra(['import', path, ...target]);
    expect(result.code).toBe(2);
    expect(result.stderr).toContain(`${path}:2: not JSON`);
    expect(result.stderr).toContain(
      `In the store: lines 1 to 1 of ${path} (1 concept, 0 associations)`,
    );
    expect((await runSutra(['query', 'bird', ...target])).code).toBe(0);
    expect((await runSutra(['query', 'bee', ...target])).code).toBe(4);
  });
});

describe('what it reads', () => {
  test('standard input', async () => {
    const storage = temporaryPath();
    const result = await runSutra(['import', '-', '--storage', storage], { input: PETS });
    expect(result.stdout).toMatch(/^Imported 3 concepts and 2 associations in [\d.]+ s\.\n$/);
    expect(await stats(['--storage', storage])).toMatchObject({ concepts: 3, edges: 2 });
  });

  test('a gzip file, whatever it is called', async () => {
    const storage = temporaryPath();
    const path = file('pets.jsonl', gzipSync(PETS));
    expect((await runSutra(['import', path, '--storage', storage])).code).toBe(0);
    expect(await stats(['--storage', storage])).toMatchObject({ concepts: 3, edges: 2 });
  });

  test('an empty file', async () => {
    const storage = temporaryPath();
    const result = await runSutra([
      'import',
      file('none.jsonl', ''),
      '--storage',
      storage,
      '--json',
    ]);
    expect(json(result)).toMatchObject({ concepts: 0, associations: 0, last_sequence: 0 });
  });

  const gone = join(directory, 'gone.jsonl');
  test.each([
    ['no such file', () => gone, 2, `${gone}: no such file`],
    ['a directory', () => directory, 2, `${directory}: a directory, expected a file`],
    [
      'a bad gzip file',
      () => file('bad.gz', Buffer.from([0x1f, 0x8b, 1, 2, 3])),
      2,
      'bad.gz: the gzip data is damaged',
    ],
    [
      'a cut gzip file',
      () => file('cut.gz', gzipSync(PETS).subarray(0, 60)),
      2,
      'cut.gz: the gzip data ends early',
    ],
    ['bytes', () => file('bytes.jsonl', Buffer.alloc(100, 0xff)), 2, 'jsonl:1: not valid UTF-8'],
  ])('not %s', async (_, path, code, message) => {
    const result = await runSutra(['import', path(), '--storage', temporaryPath()]);
    expect(result.code).toBe(code);
    expect(result.stderr).toContain(message);
    expect(result.stdout).toBe('');
  });
});

describe('other formats', () => {
  test('tables of nodes and edges, edges first, with names of types kept in a map', async () => {
    const storage = temporaryPath();
    const nodes = file('people.csv', ':ID,name,:LABEL\np1,Ada,Person\np2,"Grace, H.",Person\n');
    const edges = file('knows.csv', ':START_ID,:END_ID,:TYPE\np1,p2,KNOWS\np2,p1,causal\n');
    const map = join(directory, 'types.json');
    const args = ['import', edges, nodes, '--content', 'name', '--type-map', map];
    const dry = await runSutra([...args, '--storage', storage, '--dry-run']);
    expect(dry.stdout).toContain(
      'Would import 2 concepts and 2 associations; nothing was changed.',
    );
    expect(dry.stderr).toContain('note: not kept: column ":LABEL" (2)');
    expect(existsSync(storage)).toBe(false);
    expect(existsSync(map)).toBe(false);
    const result = await runSutra([...args, '--storage', storage, '--json']);
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(json(result)).toMatchObject({
      concepts: 2,
      associations: 2,
      types: { KNOWS: 64_134 },
      left_out: { 'column ":LABEL"': 2 },
    });
    expect(JSON.parse(readFileSync(map, 'utf8'))).toEqual({ KNOWS: 64_134 });
    const query = await runSutra(['query', 'p2', '--storage', storage, '--json']);
    expect(json(query)).toMatchObject({ content: 'Grace, H.' });
    writeFileSync(map, '{"KNOWS": 9}');
    await runSutra([...args, '--storage', storage]);
    const neighbors = await runSutra(['neighbors', 'p1', '--storage', storage, '--type', '9']);
    expect(neighbors.stdout).toContain('p2');
  });

  test('triples from standard input', async () => {
    const storage = temporaryPath();
    const args = ['import', '-', '--format', 'triples', '--storage', storage];
    const result = await runSutra(args, { input: 'dog hierarchical animal\ncat 3 animal\n' });
    expect(result.stdout).toMatch(/^Imported 3 concepts and 2 associations in /);
    expect(await stats(['--storage', storage])).toMatchObject({ concepts: 3, edges: 2 });
  });

  test('bad records are skipped and listed', async () => {
    const storage = temporaryPath();
    const path = file('some.triples', 'a 1 b\nnonsense\nb 70000 c\nc 1 d\n');
    const list = join(directory, 'bad.txt');
    const args = ['import', path, '--storage', storage, '--bad-file', list];
    const strict = await runSutra([...args, '--skip-bad', '1']);
    expect(strict.code).toBe(2);
    expect(strict.stderr).toContain(`${path}:3: type: got "70000"`);
    const result = await runSutra([...args, '--skip-bad', '2']);
    expect(result.stdout).toMatch(/skipped 2 bad records\.\n$/);
    expect(readFileSync(list, 'utf8').split('\n')).toEqual([
      `${path}:2: 1 fields, expected subject, predicate and object`,
      `${path}:3: type: got "70000", expected a name or a number from 0 to 65535`,
      '',
    ]);
    const shown = await runSutra(['import', path, '--storage', storage, '--skip-bad', '2']);
    expect(shown.stderr).toContain(`bad: ${path}:2: 1 fields`);
    expect(shown.stderr).toContain('note: the store holds 4 concepts');
  });

  test.each([
    [[], 'missing FILE'],
    [['-', '-'], '- stands twice'],
    [['a', 'b', '--from-line', '2'], '--from-line is for one file'],
    [['a', '--format', 'yaml'], '--format: got "yaml", expected jsonl, csv'],
    [['a', '--skip-bad', '-1'], '--skip-bad: got "-1"'],
    [['--no-such-flag', 'a'], 'nonexistent flag: --no-such-flag'],
  ])('%j is refused: %s', async (args, message) => {
    const error = await errorOf(['import', ...args, '--storage', temporaryPath()], 2);
    expect(error.message.toLowerCase()).toContain(message.toLowerCase());
  });
});

test('killed in the middle: what is there is whole, and importing again goes on', async () => {
  const storage = temporaryPath();
  let text = '';
  for (let i = 0; i < 60_000; i++) text += concept(`n${i}`);
  for (let i = 0; i < 60_000; i++) text += association(`n${i}`, `n${(i * 7 + 1) % 60_000}`);
  const path = file('killed.jsonl', text);
  const child = spawn(process.execPath, [BIN, 'import', path, '--storage', storage]);
  const ended = once(child, 'close');
  // Some of it is there and not all: the log has begun to grow.
  while (child.exitCode === null && logBytes(storage) < 1 << 20) await sleep(5);
  child.kill('SIGKILL');
  await ended;
  await checkDirectory(storage);
  const before = (await stats(['--storage', storage])) as { concepts: number; edges: number };
  expect(before.concepts + before.edges).toBeGreaterThan(0);
  const again = await runSutra(['import', path, '--storage', storage]);
  expect(again.stderr).toMatch(
    /note: the store holds [\d,]+ concepts and [\d,]+ associations? already/,
  );
  expect(await stats(['--storage', storage])).toMatchObject({ concepts: 60_000, edges: 60_000 });
  await checkDirectory(storage);
});

function logBytes(storage: string): number {
  if (!existsSync(storage)) return 0;
  return readdirSync(storage).reduce((sum, name) => {
    try {
      return sum + statSync(join(storage, name)).size;
    } catch {
      // Replaced between the two calls.
      return sum;
    }
  }, 0);
}
