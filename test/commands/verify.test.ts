/** `sutra verify` on the real binary: whole and damaged stores, beside a server, and what it prints. */

import { cpSync, existsSync, readdirSync, statSync, truncateSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';

import { jsonOf } from '../support/command.js';
import { flipByte, makeStoreDirectory } from '../support/damaged-directory.js';
import { runSutra, startServe, temporaryDirectory, temporaryPath } from '../support/fixture.js';

interface Document {
  readonly ok: boolean;
  readonly sequence: number | null;
  readonly digest: string | null;
  readonly lost: readonly [number, number] | null;
  readonly files: readonly { file: string; bytes: number; ok: boolean }[];
  readonly findings: readonly {
    file: string;
    offset?: number;
    what: string;
    sequences?: readonly [number, number];
  }[];
  readonly notes: readonly { file: string; what: string }[];
}

let whole: string;

beforeAll(async () => {
  whole = await makeStoreDirectory();
});

function copyOf(directory: string): string {
  const copy = temporaryPath();
  cpSync(directory, copy, { recursive: true });
  return copy;
}

async function verify(directory: string, code: number): Promise<Document> {
  const document = await jsonOf(['verify'], ['--storage', directory], { code });
  return document as unknown as Document;
}

describe('a whole store', () => {
  test('ends with 0 and says what was verified', async () => {
    const document = await verify(whole, 0);
    expect(document).toEqual({
      ok: true,
      sequence: 40,
      digest: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
      concepts: 31,
      edges: 9,
      vectors: 1,
      lost: null,
      in_use: false,
      files: [
        { file: 'storage.dat', bytes: expect.any(Number) as number, ok: true, sequences: [0, 30] },
        {
          file: 'storage.dat.prev',
          bytes: expect.any(Number) as number,
          ok: true,
          sequences: [0, 20],
        },
        {
          file: 'wal-0000000003.log',
          bytes: expect.any(Number) as number,
          ok: true,
          sequences: [21, 30],
        },
        {
          file: 'wal-0000000004.log',
          bytes: expect.any(Number) as number,
          ok: true,
          sequences: [31, 40],
        },
      ],
      findings: [],
      notes: [],
    });
    const { code, stdout, stderr } = await runSutra(['verify', '--storage', whole]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain(`is whole: sequence 40, digest ${document.digest ?? ''}`);
  });

  test('by a relative path, and one with a slash too many', async () => {
    const cwd = join(copyOf(whole), '..');
    for (const [at, path] of [
      [cwd, './store'],
      [cwd, 'store/../store//'],
      [join(cwd, 'store'), '.'],
    ] as const) {
      expect(await jsonOf(['verify'], ['--storage', path], { cwd: at })).toMatchObject({
        ok: true,
      });
    }
  });

  test('is not touched', async () => {
    const store = copyOf(whole);
    const look = (): unknown =>
      readdirSync(store).map((name) => [name, statSync(join(store, name)).mtimeMs]);
    const before = look();
    await verify(store, 0);
    expect(look()).toEqual(before);
  });

  test('beside a server that writes to it', async () => {
    const store = copyOf(whole);
    const server = await startServe(['--storage', store]);
    await runSutra(['learn', 'during', '--server', server.address]);
    expect(await verify(store, 0)).toMatchObject({ ok: true, sequence: 41, in_use: true });
    await runSutra(['flush', '--server', server.address]);
    await runSutra(['learn', 'again', '--server', server.address]);
    expect(await verify(store, 0)).toMatchObject({ ok: true, sequence: 42, in_use: true });
    expect(await server.stop()).toBe(0);
  });
});

describe('a damaged store ends with 5 and says where', () => {
  test('a byte in the middle of the log', async () => {
    const store = copyOf(whole);
    flipByte(join(store, 'wal-0000000004.log'), 300);
    const { ok, findings, lost, sequence } = await verify(store, 5);
    expect(ok).toBe(false);
    expect(sequence).toBeGreaterThanOrEqual(30);
    expect(lost).toEqual([(sequence ?? 0) + 1, 40]);
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatchObject({ file: 'wal-0000000004.log', sequences: lost });
    const { code, stdout } = await runSutra(['verify', '--storage', store]);
    expect(code).toBe(5);
    expect(stdout).toMatch(
      /is damaged: 1 finding\n {2}wal-0000000004\.log, offset \d+: .*at stake/,
    );
  });

  test.each(['storage.dat', 'storage.dat.prev'])(
    'a byte in %s, which costs nothing',
    async (file) => {
      const store = copyOf(whole);
      flipByte(join(store, file), 5000);
      const document = await verify(store, 5);
      const { digest } = await verify(whole, 0);
      expect(document).toMatchObject({ ok: false, sequence: 40, digest, lost: null });
      expect(document.findings).toEqual([
        { file, offset: 4096, what: expect.stringContaining('checksum of block 0') as string },
      ]);
      expect(document.files.map((f) => [f.file, f.ok])).toContainEqual([file, false]);
    },
  );

  test('a missing segment', async () => {
    const store = copyOf(whole);
    unlinkSync(join(store, 'wal-0000000004.log'));
    const { findings, lost } = await verify(store, 5);
    expect(lost).toEqual([31, 40]);
    expect(findings[0]?.file).toBe('wal-0000000003.log');
  });

  test('a sealed segment cut short', async () => {
    const store = copyOf(whole);
    truncateSync(join(store, 'wal-0000000003.log'), 200);
    const { findings, lost } = await verify(store, 5);
    expect(lost).toBeNull();
    expect(findings.map(({ file }) => file)).toEqual(['wal-0000000003.log', 'storage.dat.prev']);
  });

  test('everything at once', async () => {
    const store = copyOf(whole);
    for (const name of readdirSync(store)) flipByte(join(store, name), 100);
    const { sequence, digest, findings } = await verify(store, 5);
    expect({ sequence, digest }).toEqual({ sequence: null, digest: null });
    expect(new Set(findings.map(({ file }) => file)).size).toBe(4);
  });
});

test('a torn tail is a note', async () => {
  const store = copyOf(whole);
  const last = join(store, 'wal-0000000004.log');
  unlinkSync(join(store, 'lock'));
  // Behind the last frame stands the closed marker, 48 bytes.
  truncateSync(last, statSync(last).size - 56);
  const { ok, notes, sequence } = await verify(store, 0);
  expect({ ok, sequence }).toEqual({ ok: true, sequence: 39 });
  expect(notes).toHaveLength(1);
  expect(notes[0]?.what).toContain('torn tail');
  expect(existsSync(join(store, 'lock'))).toBe(false);
});

describe('what is no store', () => {
  test.each([
    [['verify', '--server', 'localhost:1'], /on the machine that holds the files/],
    [['verify', '--storage', '/nowhere/at/all'], /./],
    [['verify', '--storage', '/etc/passwd'], /./],
  ])('%j is a usage error', async (args, hint) => {
    const { code, stdout, stderr } = await runSutra(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(hint);
  });

  test('a directory of something else', async () => {
    const { code } = await runSutra(['verify', '--storage', temporaryDirectory()]);
    expect(code).toBe(2);
  });
});
