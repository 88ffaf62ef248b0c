/** `sutra repair` on the real binary: what it says, what it asks, what it does, and what it leaves. */

import { spawn } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, truncateSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';

import { errorOf, jsonOf } from '../support/command.js';
import { flipByte, makeStoreDirectory } from '../support/damaged-directory.js';
import {
  BIN,
  runSutra,
  startServe,
  temporaryDirectory,
  temporaryPath,
} from '../support/fixture.js';

interface Document {
  readonly ok: boolean;
  readonly needed: boolean;
  readonly repaired: boolean;
  readonly sequence: number;
  readonly lost: readonly [number, number] | null;
  readonly lost_count: number;
  readonly actions: readonly string[];
  readonly set_aside: readonly string[];
  readonly kept_in: string | null;
  readonly findings: readonly { file: string }[];
}

let whole: string;

beforeAll(async () => {
  whole = await makeStoreDirectory();
});

function damagedCopy(damage: (store: string) => void): string {
  const copy = temporaryPath();
  cpSync(whole, copy, { recursive: true });
  damage(copy);
  return copy;
}

function badLog(): string {
  return damagedCopy((store) => {
    flipByte(join(store, 'wal-0000000004.log'), 300);
  });
}

async function repair(store: string, flags: readonly string[], code: number): Promise<Document> {
  const document = await jsonOf(['repair', ...flags], ['--storage', store], { code });
  return document as unknown as Document;
}

function contentOf(store: string): Map<string, string> {
  return new Map(
    readdirSync(store).map((name) => [name, readFileSync(join(store, name)).toString('base64')]),
  );
}

test('a whole store needs nothing, and keeps its files', async () => {
  const store = damagedCopy(() => undefined);
  const before = contentOf(store);
  const nothing = {
    ok: true,
    needed: false,
    repaired: false,
    sequence: 40,
    lost: null,
    lost_count: 0,
    actions: [],
    set_aside: [],
    kept_in: null,
    findings: [],
  };
  expect(await repair(store, [], 0)).toEqual(nothing);
  expect(contentOf(store)).toEqual(before);
  expect(await repair(store, ['--accept-loss'], 0)).toEqual(nothing);
  expect(readdirSync(store)).toEqual([...before.keys()]);
});

describe('without --accept-loss', () => {
  test('it says what would go, and changes nothing', async () => {
    const store = badLog();
    const before = contentOf(store);
    const plan = await repair(store, [], 5);
    expect(plan).toMatchObject({ ok: false, needed: true, repaired: false, kept_in: null });
    expect(plan.lost).toEqual([plan.sequence + 1, 40]);
    expect(plan.lost_count).toBe(40 - plan.sequence);
    expect(plan.set_aside).toEqual(['lock', 'wal-0000000004.log']);
    const { code, stdout } = await runSutra(['repair', '--yes', '--storage', store]);
    expect(code).toBe(5);
    expect(stdout).toContain(`would be lost, sequences ${plan.sequence + 1}..40`);
    expect(stdout).toContain('nothing was changed');
    expect(contentOf(store)).toEqual(before);
  });
});

describe('with --accept-loss', () => {
  test('somebody must agree', async () => {
    const store = badLog();
    const before = contentOf(store);
    before.delete('lock');
    const { message, hint } = await errorOf(['repair', '--accept-loss', '--storage', store], 2, {
      input: 'yes\n',
    });
    expect(message).toMatch(/would be lost, sequences \d+\.\.40; the store would end with/);
    expect(hint).toContain('--yes');
    const after = contentOf(store);
    after.delete('lock');
    expect(after).toEqual(before);
  });

  test.each([
    [
      'a bad frame',
      (store: string) => {
        flipByte(join(store, 'wal-0000000004.log'), 300);
      },
    ],
    [
      'a missing segment',
      (store: string) => {
        unlinkSync(join(store, 'wal-0000000004.log'));
      },
    ],
    [
      'a cut log behind a bad storage.dat',
      (store: string) => {
        flipByte(join(store, 'storage.dat'), 5000);
        truncateSync(join(store, 'wal-0000000003.log'), 300);
      },
    ],
  ])('%s: the rest is saved, the originals kept', async (_what, damage) => {
    const store = damagedCopy(damage);
    const before = contentOf(store);
    const promised = await repair(store, [], 5);
    const done = await repair(store, ['--accept-loss', '--yes'], 0);
    expect(done).toMatchObject({
      ok: true,
      needed: true,
      repaired: true,
      sequence: promised.sequence,
      lost: [promised.sequence + 1, 40],
      actions: promised.actions,
      findings: [],
    });
    const keptIn = done.kept_in ?? '';
    expect(keptIn.startsWith(join(store, 'repair-2'))).toBe(true);
    expect(readdirSync(keptIn)).toEqual(promised.set_aside);
    for (const name of readdirSync(keptIn)) {
      const kept = readFileSync(join(keptIn, name)).toString('base64');
      if (name !== 'lock') expect(kept, name).toBe(before.get(name));
    }
    expect(await jsonOf(['verify'], ['--storage', store])).toMatchObject({
      ok: true,
      sequence: promised.sequence,
    });
    const learned = await jsonOf(['learn', 'new'], ['--storage', store]);
    expect(learned['sequence']).toBe(promised.sequence + 1);
    expect(await repair(store, ['--accept-loss', '--yes'], 0)).toMatchObject({ needed: false });
  });

  test.each(['storage.dat', 'storage.dat.prev', 'wal-0000000003.log'])(
    'a bad %s costs nothing',
    async (file) => {
      const store = damagedCopy((directory) => {
        flipByte(join(directory, file), file.startsWith('wal') ? 200 : 5000);
      });
      const { code, stdout } = await runSutra([
        'repair',
        '--accept-loss',
        '--yes',
        '--storage',
        store,
      ]);
      expect(code).toBe(0);
      expect(stdout).toContain('nothing is lost');
      const check = await jsonOf(['verify'], ['--storage', store]);
      const { digest } = await jsonOf(['verify'], ['--storage', whole]);
      expect(check).toMatchObject({ ok: true, sequence: 40, digest, findings: [] });
    },
  );

  test('a store of which nothing can be had is left alone', async () => {
    const store = damagedCopy((directory) => {
      flipByte(join(directory, 'storage.dat'), 5000);
      flipByte(join(directory, 'storage.dat.prev'), 5000);
    });
    const names = readdirSync(store);
    const { code, hint } = await errorOf(
      ['repair', '--accept-loss', '--yes', '--storage', store],
      5,
    );
    expect(code).toBe('DAMAGED');
    expect(hint).toContain('backup');
    expect(readdirSync(store)).toEqual(names);
  });
});

/** Runs repair on a pseudo-terminal, on which `answer` is typed once it asks. */
function onTerminal(store: string, answer: string): Promise<{ code: number; output: string }> {
  const command = `exec ${process.execPath} ${BIN} repair --accept-loss --storage ${store}`;
  return new Promise((resolve, reject) => {
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { PATH: process.env['PATH'], TERM: 'dumb' },
    });
    let output = '';
    let isTyped = false;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (isTyped || !/Type yes to go on: $/.test(output)) return;
      isTyped = true;
      child.stdin.write(answer);
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? -1, output }));
  });
}

describe('on a terminal', () => {
  test('yes is asked for, and taken', async () => {
    const store = badLog();
    const { code, output } = await onTerminal(store, 'yes\n');
    expect(output).toMatch(/would be lost, sequences \d+\.\.40; .* Type yes to go on:/);
    expect(output).toMatch(/lost: sequences \d+\.\.40/);
    expect(code).toBe(0);
    expect(await jsonOf(['verify'], ['--storage', store])).toMatchObject({ ok: true });
  });

  test.each(['y\n', 'no\n', '\n', '\x04'])('%j is no', async (answer) => {
    const store = badLog();
    const before = readdirSync(store);
    const { code, output } = await onTerminal(store, answer);
    expect(output).toContain('not confirmed: nothing was changed');
    expect(code).toBe(5);
    expect(readdirSync(store)).toEqual(before);
  });

  test('Ctrl-C ends it with 130', async () => {
    const store = badLog();
    const before = readdirSync(store);
    const { code } = await onTerminal(store, '\x03');
    expect(code).toBe(130);
    expect(readdirSync(store)).toEqual(before);
  });
});

test('a store that somebody writes to is left alone', async () => {
  const store = damagedCopy(() => undefined);
  const server = await startServe(['--storage', store]);
  for (const flags of [[], ['--accept-loss', '--yes']]) {
    const error = await errorOf(['repair', ...flags, '--storage', store], 7);
    expect(error.code).toBe('STORE_LOCKED');
    expect(error.message).toContain(server.address);
  }
  expect(await server.stop()).toBe(0);
});

test('no lock file is made where there is no store', async () => {
  const directory = temporaryDirectory();
  const { code } = await runSutra(['repair', '--accept-loss', '--yes', '--storage', directory]);
  expect(code).toBe(2);
  expect(readdirSync(directory)).toEqual([]);
});
