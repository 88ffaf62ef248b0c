import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
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

  test('an unknown endpoint: file, line and id, exit 2, and its batch stays out', async () => {
    const path = file('dangling.jsonl', concept('fish') + '\n' + association('fish', 'nowhere'));
    const result = await runSutra(['import', path, ...target]);
    expect(result.code).toBe(2);
    expect(result.stdout).toBe('');
    expect(result.stderr).toContain(`${path}:3: target: `);
    expect(result.stderr).toContain('"nowhere"');
    expect((await runSutra(['query', 'fish', ...target])).code).toBe(4);
  });

  test('a value out of range: file and line, exit 2', async () => {
    const path = file('range.jsonl', concept('fish') + concept('bird', { confidence: 1.5 }));
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
    expect(result.stderr).toContain('Lines 1 to 1 are in the store');
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

  test('a gzip file', async () => {
    const storage = temporaryPath();
    const path = file('pets.jsonl.gz', gzipSync(PETS));
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

  test('times, which it does not keep and says so', async () => {
    const path = file('times.jsonl', concept('old', { created_us: 1, updated_us: 2 }));
    const result = await runSutra(['import', path, '--storage', temporaryPath()]);
    expect(result.code).toBe(0);
    expect(result.stderr).toContain('created_us and updated_us of 1 line were not kept');
  });

  const gone = join(directory, 'gone.jsonl');
  test.each([
    ['no such file', () => gone, 2, `${gone}: no such file`],
    ['a directory', () => directory, 2, `${directory}: a directory, expected a file`],
    ['text named .gz', () => file('text.gz', PETS), 2, 'text.gz: not gzip data'],
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
