/**
 * What is refused, how it is told, and what it must not leave behind. Failures leave stdout empty, say on stderr what was
 * got and what was expected, and end with the exit code of the error table. Which store a command uses is decided here
 * too: flag over environment over default.
 */

import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { errorOf, jsonOf } from '../support/command.js';
import {
  runSutra,
  startServe,
  temporaryDirectory,
  temporaryPath,
  type Serving,
} from '../support/fixture.js';

describe('bad usage ends with 2 and changes nothing', () => {
  test.each([
    [['learn'], 'missing ID'],
    [['link', 'a'], 'missing TARGET'],
    [['query', 'a', 'b'], 'unexpected argument: b'],
    [['stats', 'a'], 'unexpected argument: a'],
    [['query', 'a', '--nope'], 'nonexistent flag: --nope'],
    [['learn', ''], 'concept_id: got an empty id, expected 1 to 512 bytes of UTF-8'],
    [['learn', 'x'.repeat(513)], 'concept_id: got 513 bytes, expected at most 512'],
    [
      ['learn', 'a', '--strength', 'abc'],
      '--strength: got "abc", expected a number that fits a float32',
    ],
    [['learn', 'a', '--strength', ''], '--strength: got "", expected a number that fits a float32'],
    [
      ['learn', 'a', '--strength', 'NaN'],
      '--strength: got "NaN", expected a number that fits a float32',
    ],
    [
      ['learn', 'a', '--strength', '1e39'],
      '--strength: got "1e39", expected a number that fits a float32',
    ],
    [['learn', 'a', '--strength', '-1'], '--strength: got "-1", expected a number of at least 0'],
    [
      ['learn', 'a', '--confidence', '1.01'],
      '--confidence: got "1.01", expected a number from 0 to 1',
    ],
    [
      ['learn', 'a', '--confidence', '0.5x'],
      '--confidence: got "0.5x", expected a number that fits a float32',
    ],
    [
      ['learn', 'a', '-', '--embedding', '-'],
      'content and --embedding cannot both be standard input',
    ],
    [
      ['learn', 'a', '--embedding', '/nowhere/x.json'],
      '--embedding /nowhere/x.json: cannot be read (ENOENT)',
    ],
    [
      ['link', 'a', 'b', '--type', 'friendly'],
      /^--type: got "friendly", expected semantic, causal,/,
    ],
    [['link', 'a', 'b', '--type', '65536'], /^--type: got "65536", expected .* 0 to 65535$/],
    [['neighbors', 'a', '--direction', 'up'], '--direction: got "up", expected both, out or in'],
    [
      ['path', 'a', 'b', '--max-depth', '65'],
      '--max-depth: got "65", expected a whole number from 0 to 64',
    ],
    [['path', 'a', 'b', '--by', 'luck'], '--by: got "luck", expected hops or confidence'],
    [['search'], 'give one of --embedding FILE and --like ID'],
    [['search', '--like', 'a', '--embedding', '-'], 'give one of --embedding FILE and --like ID'],
    [['search', '--like', 'a', '-k', '10001'], /^--k: got "10001"/],
    [['search', '--like', 'a', '--ef', '4294967296'], /^--ef: got "4294967296"/],
    [['search', '--like', 'a', '--hops', '2'], '--hops: needs --within ID'],
    [['search', '--like', 'a', '--within', 'b', '--hops', '0'], /^--hops: got "0", .* 1 to 64$/],
    [['search', '--like', 'a', '--within', ''], /^within_id: got an empty id/],
    [['search', '--like', ''], /^concept_id: got an empty id/],
    [
      ['search', '--like', 'a', '--min-similarity', '1.5'],
      '--min-similarity: got "1.5", expected a number from -1 to 1',
    ],
    [['forget', 'a', '--type', '1'], '--type: needs a SOURCE and a TARGET'],
    [['query', 'a', '--timeout', '0'], /^--timeout: got "0", expected a time above zero/],
    [
      ['query', 'a', '--server', 'localhost:99999'],
      /^--server: got "localhost:99999", expected HOST:PORT/,
    ],
    [['query', 'a', '--server', ''], '--server: got "", expected HOST:PORT'],
    [['serve', '--port', '65536'], '--port: got "65536", expected a whole number from 0 to 65535'],
    [['serve', '--reconcile-ms', '0'], /^--reconcile-ms: got "0"/],
    [['serve', '--durability', 'never'], '--durability: got "never", expected always or interval'],
    [
      ['serve', '--vector-dim', '5000'],
      /^--vector-dim: got "5000", expected a whole number from 1 to 4096$/,
    ],
    [
      ['serve', '--vector-precision', 'f64'],
      '--vector-precision: got "f64", expected f32, f16 or i8',
    ],
    [
      ['serve', '--vector-connectivity', '1'],
      /^--vector-connectivity: got "1", expected a whole number from 2 to 256$/,
    ],
    [
      ['serve', '--vector-ef-construction', '0'],
      /^--vector-ef-construction: got "0", expected a whole number from 1 to 4096$/,
    ],
    [['qery', 'a'], 'there is no command "qery"'],
  ])('%j', async (args, message) => {
    const cwd = temporaryDirectory();
    const error = await errorOf(args, 2, { cwd });
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', status: 'INVALID_ARGUMENT' });
    if (typeof message === 'string') expect(error.message).toBe(message);
    else expect(error.message).toMatch(message);
    // No ./knowledge has come into being.
    expect(readdirSync(cwd)).toEqual([]);
  });

  test('for people: the reason and the next step, one line each', async () => {
    expect(await runSutra(['qery', 'a'])).toEqual({
      code: 2,
      stdout: '',
      stderr: 'error: there is no command "qery"\nhint: Did you mean `sutra query`?\n',
    });
    expect(await runSutra(['query', '-x'])).toEqual({
      code: 2,
      stdout: '',
      stderr:
        'error: nonexistent flag: -x\n' +
        'hint: See `sutra query --help`; put -- before ids that begin with a dash.\n',
    });
  });

  test.each([
    ['{"a": 1}', 'expected a JSON array of numbers'],
    ['[1, 2', 'not JSON'],
    ['[]', 'got 0 numbers, expected 1 to 4096'],
    ['[1, null]', 'number 1 is null, expected one that fits a float32'],
    ['[1, 1e39]', 'number 1 is 1e+39, expected one that fits a float32'],
    ['[0, 0]', 'zero norm'],
    ['\u0000\u0000?', 'got 3 bytes that are neither JSON nor .npy'],
  ])('an embedding of %s', async (input, reason) => {
    const store = temporaryPath();
    const args = ['learn', 'a', '--embedding', '-', '--storage', store];
    const error = await errorOf(args, 2, { input });
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(error.message).toContain(reason);
    expect(existsSync(store)).toBe(false);
  });
});

describe('which store: flag over environment over default', () => {
  const cwd = temporaryDirectory();
  let server: Serving;

  beforeAll(async () => {
    server = await startServe();
    await jsonOf(['learn', 'where', 'served'], ['--server', server.address]);
    await jsonOf(['learn', 'where', 'default'], [], { cwd });
    await jsonOf(['learn', 'where', 'environment'], ['--storage', join(cwd, 'env')]);
    await jsonOf(['learn', 'where', 'flag'], ['--storage', join(cwd, 'flag')]);
  });
  afterAll(async () => {
    expect(await server.stop()).toBe(0);
  });

  const where = async (flags: readonly string[], env: Record<string, string>) => {
    const document = await jsonOf(['query', 'where'], flags, { cwd, env });
    return document['content'];
  };

  test('without anything: embedded on ./knowledge', async () => {
    expect(existsSync(join(cwd, 'knowledge'))).toBe(true);
    expect(await where([], {})).toBe('default');
    expect(await where([], { SUTRA_STORAGE_MODE: '', SUTRA_STORAGE_PATH: '' })).toBe('default');
  });

  test('the environment names a directory or a server', async () => {
    const SUTRA_STORAGE_SERVER = server.address;
    expect(await where([], { SUTRA_STORAGE_PATH: 'env' })).toBe('environment');
    expect(await where([], { SUTRA_STORAGE_MODE: 'server', SUTRA_STORAGE_SERVER })).toBe('served');
    // The address alone does not choose the mode.
    expect(await where([], { SUTRA_STORAGE_PATH: 'env', SUTRA_STORAGE_SERVER })).toBe(
      'environment',
    );
  });

  test('flags win', async () => {
    expect(await where(['--storage', 'flag'], { SUTRA_STORAGE_PATH: 'env' })).toBe('flag');
    expect(await where(['--storage', 'flag'], { SUTRA_STORAGE_MODE: 'server' })).toBe('flag');
    expect(await where(['--server', server.address], { SUTRA_STORAGE_PATH: 'env' })).toBe('served');
  });

  test('both flags are a usage error', async () => {
    const error = await errorOf(['stats', '--server', server.address, '--storage', 'flag'], 2);
    expect(error).toMatchObject({ code: 'WRONG_MODE' });
  });

  test('another mode is an error that names the two', async () => {
    const error = await errorOf(['stats'], 2, { env: { SUTRA_STORAGE_MODE: 'Server' } });
    expect(error.message).toBe('SUTRA_STORAGE_MODE: got "Server", expected embedded or server');
  });

  test('SUTRA_<FLAG> stands in for a flag, and a bad one is named', async () => {
    const env = { SUTRA_TYPE: 'causal,7', SUTRA_JSON: '1', SUTRA_STORAGE_PATH: 'flag' };
    expect(await runSutra(['neighbors', 'where'], { cwd, env })).toMatchObject({
      code: 0,
      stdout: '{"found":true,"id":"where","neighbors":[]}\n',
    });
    for (const [name, value] of [
      ['SUTRA_TIMEOUT', 'soon'],
      ['SUTRA_MAX_DEPTH', '-1'],
      ['SUTRA_TYPE', 'x'],
    ] as const) {
      const error = await errorOf(['path', 'a', 'b'], 2, { cwd, env: { [name]: value } });
      expect(error.message).toMatch(new RegExp(`^${name}: got "${value}", expected `));
    }
    expect(await runSutra(['stats'], { cwd, env: { SUTRA_JSON: 'maybe' } })).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('SUTRA_JSON: got "maybe"') as string,
    });
    // The engine's own settings count for embedded commands as well.
    const error = await errorOf(['learn', 'a'], 2, { cwd, env: { SUTRA_THRESHOLD: 'lots' } });
    expect(error.message).toMatch(/^SUTRA_THRESHOLD: got "lots"/);
  });
});

describe('reading creates nothing', () => {
  const READING = [
    ['query', 'a'],
    ['neighbors', 'a'],
    ['path', 'a', 'b'],
    ['search', '--like', 'a'],
    ['stats'],
    ['health'],
  ];

  test.each(READING)(
    '%s: a directory that is not there is an error that names it',
    async (...args) => {
      const store = temporaryPath('missing');
      const error = await errorOf([...args, '--storage', store], 2);
      expect(error).toMatchObject({ code: 'NO_SUCH_DIRECTORY', status: 'NOT_FOUND' });
      expect(error.message).toContain(store);
      expect(existsSync(store)).toBe(false);
    },
  );

  test.each([['link', 'a', 'b'], ['forget', 'a'], ['flush']])(
    '%s: there is nothing to write to where nothing is',
    async (...args) => {
      const store = temporaryPath('missing');
      expect(await errorOf([...args, '--storage', store], 2)).toMatchObject({
        code: 'NO_SUCH_DIRECTORY',
      });
      expect(existsSync(store)).toBe(false);
    },
  );

  test('a file, and a directory of something else, are no stores', async () => {
    const directory = temporaryDirectory();
    const file = join(directory, 'file');
    writeFileSync(file, 'text');
    for (const command of [['stats'], ['learn', 'a']]) {
      const asFile = await errorOf([...command, '--storage', file], 2);
      expect(asFile.code).toMatch(/^(NOT_A_STORE|NO_SUCH_DIRECTORY)$/);
      const error = await errorOf([...command, '--storage', directory], 2);
      expect(error).toMatchObject({ code: 'NOT_A_STORE' });
      expect(error.message).toContain(directory);
    }
    expect(readdirSync(directory)).toEqual(['file']);
  });

  test('a storage.dat of garbage is damage or of no known format, and is left as it is', async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'storage.dat'), 'SUTRADAT and then nothing of use');
    for (const command of [['stats'], ['learn', 'a']]) {
      const { code } = await errorOf([...command, '--storage', directory], 5);
      expect(code).toMatch(/^(DAMAGED|UNSUPPORTED_FORMAT)$/);
    }
  });

  test('no permission ends with 6', async () => {
    // Nobody, root included, makes directories there.
    const error = await errorOf(['learn', 'a', '--storage', '/sys/sutra-test'], 6);
    expect(error).toMatchObject({ code: 'NOT_PERMITTED', status: 'PERMISSION_DENIED' });
    expect(error.message).toContain('/sys/sutra-test');
  });
});

describe('a directory that a server holds', () => {
  const store = temporaryPath();
  let server: Serving;

  beforeAll(async () => {
    server = await startServe(['--storage', store]);
    await jsonOf(['learn', 'a'], ['--server', server.address]);
  });
  afterAll(async () => {
    expect(await server.stop()).toBe(0);
  });

  test.each([
    ['learn', 'b'],
    ['link', 'a', 'a'],
    ['forget', 'a'],
    ['flush'],
    ['serve', '--port', '0'],
  ])('%s ends with 7 and says where to turn', async (...args) => {
    const error = await errorOf([...args, '--storage', store], 7);
    expect(error).toMatchObject({ code: 'STORE_LOCKED' });
    expect(error.hint).toContain(`--server ${server.address}`);
    const people = await runSutra([...args, '--storage', store]);
    expect(people).toMatchObject({ code: 7, stdout: '' });
    expect(people.stderr).toContain(`--server ${server.address}`);
  });

  test('reading commands just read, and see what was acknowledged', async () => {
    await jsonOf(['learn', 'fresh'], ['--server', server.address]);
    expect(await jsonOf(['query', 'fresh'], ['--storage', store])).toMatchObject({ found: true });
  });
});

describe('a server that does not answer', () => {
  test('nobody there: unreachable, exit code 3', async () => {
    const probe = createServer();
    const port = await new Promise<number>((resolve) => {
      probe.listen(0, '127.0.0.1', () => {
        const address = probe.address();
        resolve(typeof address === 'object' && address !== null ? address.port : 0);
      });
    });
    await new Promise((resolve) => probe.close(resolve));
    for (const args of [['query', 'a'], ['learn', 'a'], ['health'], ['flush', '--timeout', '3']]) {
      const error = await errorOf([...args, '--server', `127.0.0.1:${port}`], 3);
      expect(error).toMatchObject({ code: 'UNREACHABLE', status: 'UNAVAILABLE' });
      expect(error.message).toContain(`127.0.0.1:${port}`);
    }
  });

  test('one that accepts and says nothing: the deadline passes, exit code 3', async () => {
    const mute = createServer((socket) => socket.on('error', () => undefined));
    const port = await new Promise<number>((resolve) => {
      mute.listen(0, '127.0.0.1', () => {
        const address = mute.address();
        resolve(typeof address === 'object' && address !== null ? address.port : 0);
      });
    });
    const error = await errorOf(
      ['query', 'a', '--server', `127.0.0.1:${port}`, '--timeout', '300ms'],
      3,
    );
    expect(error.code).toMatch(/^(DEADLINE_EXCEEDED|UNREACHABLE)$/);
    mute.close();
  });
});
