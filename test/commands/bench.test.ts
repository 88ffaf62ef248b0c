/** `sutra bench`: on a directory and a server, what it refuses, when it passes and fails, and that it leaves nothing behind. */

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { errorOf, jsonOf } from '../support/command.js';
import { BIN, runSutra, startServe, temporaryPath } from '../support/fixture.js';

interface Measured {
  readonly call: string;
  readonly answered: number;
  readonly errors: number;
  readonly p999_us: number | null;
  readonly max_us: number | null;
  readonly latency_counts: number[];
}

interface Answer {
  readonly pass: boolean;
  readonly interrupted: boolean;
  readonly prefix: string;
  readonly answered: number;
  readonly errors: number;
  readonly calls: Measured[];
  readonly limits: { limit: string; pass: boolean; measured: number }[];
  readonly clean_up: { concepts: number; associations: number; left: number; failure: null };
}

const SHORT = ['--concepts', '60', '--warm-up', '50ms', '--duration', '400ms'];
const ALL = 'learn=20,link=10,query=30,neighbors=20,path=10,search=10';

/** One document on stdout. On stderr there may be progress, where the machine is slow. */
async function bench(args: readonly string[], code = 0): Promise<Answer> {
  const result = await runSutra(['bench', ...SHORT, ...args, '--json'], { timeoutMs: 100_000 });
  expect(result).toMatchObject({ code, stdout: expect.stringMatching(/^[^\n]+\n$/) as string });
  return JSON.parse(result.stdout) as Answer;
}

async function digestOf(store: string): Promise<unknown> {
  return (await jsonOf(['verify'], ['--storage', store]))['digest'];
}

async function storeWithData(): Promise<string> {
  const store = temporaryPath();
  const lines = [
    { kind: 'concept', id: 'a', content: 'about a', embedding: [1, 0, 2, 0] },
    { kind: 'concept', id: 'b', content: 'about b' },
    { kind: 'association', source: 'a', target: 'b' },
  ];
  const input = lines.map((line) => JSON.stringify(line)).join('\n');
  await jsonOf(['import', '-'], ['--storage', store], { input });
  return store;
}

function expectWhole(answer: Answer): void {
  expect(answer).toMatchObject({ pass: true, interrupted: false, errors: 0 });
  expect(answer.prefix).toMatch(/^bench-[0-9a-f]{8}-$/);
  expect(answer.calls.map(({ call }) => call)).toEqual(
    ALL.split(',').map((one) => one.split('=')[0]),
  );
  for (const one of answer.calls) {
    expect(one.latency_counts.reduce((sum, count) => sum + count, 0)).toBe(one.answered);
    if (one.p999_us !== null && one.max_us !== null)
      expect(one.p999_us).toBeLessThanOrEqual(one.max_us);
  }
  expect(answer.calls.reduce((sum, { answered }) => sum + answered, 0)).toBe(answer.answered);
  expect(answer.answered).toBeGreaterThan(0);
  expect(answer.clean_up).toMatchObject({ left: 0, failure: null });
  expect(answer.clean_up.concepts).toBeGreaterThanOrEqual(60);
  expect(answer.clean_up.associations).toBeGreaterThanOrEqual(300);
}

describe('a directory', () => {
  test('that was not there is gone at the end; one that was empty is empty', async () => {
    const missing = temporaryPath();
    expectWhole(await bench(['--storage', missing, '--mix', ALL]));
    expect(existsSync(missing)).toBe(false);
    const empty = temporaryPath();
    mkdirSync(empty);
    expectWhole(await bench(['--storage', empty, '--mix', ALL, '--rate', '200']));
    expect(readdirSync(empty)).toEqual([]);
  });

  test('that holds data is refused, and with --beside-data left as it was', async () => {
    const store = await storeWithData();
    const before = await digestOf(store);
    const files = readdirSync(store);
    const refused = await errorOf(['bench', ...SHORT, '--storage', store], 2);
    expect(refused).toMatchObject({ code: 'ALREADY_THERE' });
    expect(refused.message).toContain('2 concepts');
    expect(refused.hint).toContain('--beside-data');
    expect(readdirSync(store)).toEqual(files);
    expectWhole(await bench(['--storage', store, '--mix', ALL, '--beside-data']));
    expect(await digestOf(store)).toBe(before);
    expect(await jsonOf(['stats'], ['--storage', store])).toMatchObject({
      concepts: 2,
      edges: 1,
      dimension: 4,
    });
  });

  test('searches beside data without embeddings want to be told their dimension', async () => {
    const store = temporaryPath();
    await jsonOf(['learn', 'a'], ['--storage', store]);
    const args = ['bench', ...SHORT, '--storage', store, '--beside-data', '--mix', 'search=100'];
    expect((await errorOf(args, 2)).message).toContain('--dimension');
  });

  test('Ctrl-C: what was measured, nothing left, 130', async () => {
    const store = await storeWithData();
    const before = await digestOf(store);
    const args = ['bench', '--storage', store, '--beside-data', '--concepts', '60', '--json'];
    const child = spawn(process.execPath, [BIN, ...args, '--duration', '10m', '--warm-up', '0'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    const ended = new Promise((resolve) => child.once('close', resolve));
    // Its first line, a few seconds in: the load runs.
    const line = await new Promise<string>((resolve) => {
      child.stderr.setEncoding('utf8').once('data', resolve);
    });
    expect(line).toMatch(/^measuring: /);
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    const answer = JSON.parse(stdout) as Answer;
    expect(answer).toMatchObject({ interrupted: true, errors: 0 });
    expect(answer.answered).toBeGreaterThan(0);
    expect(answer.clean_up.left).toBe(0);
    expect(await digestOf(store)).toBe(before);
  }, 30_000);
});

describe('a server', () => {
  test('closed and open loop; it stays empty', async () => {
    const server = await startServe();
    const at = ['--server', server.address, '--mix', ALL];
    expectWhole(await bench([...at, '--concurrency', '8']));
    expectWhole(await bench([...at, '--rate', '200']));
    expect(await jsonOf(['stats'], ['--server', server.address])).toMatchObject({
      concepts: 0,
      edges: 0,
      vectors: 0,
    });
    await jsonOf(['learn', 'a'], ['--server', server.address]);
    const refused = await errorOf(['bench', ...SHORT, '--server', server.address], 2);
    expect(refused.code).toBe('ALREADY_THERE');
    expect(await server.stop()).toBe(0);
  });

  test('that nobody reaches: 3', async () => {
    expect(await errorOf(['bench', ...SHORT, '--server', '127.0.0.1:1'], 3)).toMatchObject({
      code: 'UNREACHABLE',
    });
  });
});

describe('the verdict', () => {
  test('limits that hold: 0; one that does not: 1, and it is named', async () => {
    const store = temporaryPath();
    const held = await bench([
      '--storage',
      store,
      '--limit',
      'query.p99=100s,rate=1',
      '--limit',
      'max=100s',
    ]);
    expect(held.limits.map(({ limit, pass }) => [limit, pass])).toEqual([
      ['query.p99=100s', true],
      ['rate=1', true],
      ['max=100s', true],
      ['errors=0', true],
    ]);
    // No disk syncs in a thousandth of a microsecond, and nothing answers a million calls a second.
    const failed = await bench(
      ['--storage', store, '--limit', 'learn.p50=0.001us,errors=3', '--limit', 'rate=100000000'],
      1,
    );
    expect(failed.pass).toBe(false);
    expect(failed.limits.map(({ limit, pass }) => [limit, pass])).toEqual([
      ['learn.p50=0.001us', false],
      ['errors=3', true],
      ['rate=100000000', false],
    ]);
  });

  test('as text: a row a call and the verdict', async () => {
    const { code, stdout } = await runSutra(['bench', ...SHORT, '--storage', temporaryPath()]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^query\t\d+\t0\t/m);
    expect(stdout).toMatch(/^all\t\d+\t0\t/m);
    expect(stdout).toMatch(/^limit errors=0 held: 0$/m);
    expect(stdout).toMatch(/\npass\n$/);
  });
});

test.each<[string, readonly string[]]>([
  ['rate and concurrency', ['--rate', '10', '--concurrency', '2']],
  ['a limit on a call that does not come up', ['--limit', 'search.p99=5ms']],
  ['more associations than there is room for', ['--concepts', '5', '--associations', '11']],
  ['no time', ['--duration', '0']],
])('%s: 2, and nothing is made', async (_, args) => {
  const store = temporaryPath();
  const error = await errorOf(['bench', ...args, '--storage', store], 2);
  expect(error.code).toBe('INVALID_ARGUMENT');
  expect(existsSync(store)).toBe(false);
});
