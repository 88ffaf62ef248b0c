/** `sutra doctor` on real stores and servers: what it finds, what it exits with, and that it leaves everything as it was. */

import {
  chmodSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeSync,
  closeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';

import { errorOf, jsonOf } from '../support/command.js';
import { runSutra, startServe, temporaryPath } from '../support/fixture.js';
import { certificate, FULL_TOKEN, secretFile } from '../support/secrets.js';

interface Finding {
  readonly check: string;
  readonly severity: string;
  readonly what: string;
  readonly remedy?: string;
}

interface Examined {
  readonly healthy: boolean;
  readonly score: number;
  readonly findings: Finding[];
  readonly examined: { concepts: number; associations: number; complete: boolean } | null;
}

async function doctor(args: readonly string[], code = 0): Promise<Examined> {
  return (await jsonOf(['doctor'], args, { code })) as unknown as Examined;
}

function severityOf({ findings }: Examined, check: string): string | undefined {
  return findings.find((finding) => finding.check === check)?.severity;
}

async function learnedStore(): Promise<string> {
  const store = temporaryPath();
  const lines = [
    ...['a', 'b', 'c'].map((id) => ({ kind: 'concept', id, content: `about ${id}` })),
    { kind: 'association', source: 'a', target: 'b' },
    { kind: 'association', source: 'b', target: 'c' },
  ];
  const input = lines.map((line) => JSON.stringify(line)).join('\n');
  await jsonOf(['import', '-'], ['--storage', store], { input });
  await jsonOf(['flush'], ['--storage', store]);
  return store;
}

/** Names, sizes, times of change, and bytes. */
function pictureOf(directory: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(directory).map((name) => {
      const path = join(directory, name);
      const { mtimeMs, ctimeMs, mode } = statSync(path);
      return [name, `${mtimeMs} ${ctimeMs} ${mode} ${readFileSync(path, 'base64')}`];
    }),
  );
}

describe('a directory', () => {
  test('that is well: 0, all checks, and nothing is changed in it or left beside it', async () => {
    const store = await learnedStore();
    const before = pictureOf(store);
    const found = await doctor(['--storage', store]);
    expect(pictureOf(store)).toEqual(before);
    expect(readdirSync(dirname(store))).toEqual(['store']);

    expect(found.healthy).toBe(true);
    expect(found.examined).toMatchObject({ concepts: 3, associations: 2, complete: true });
    const checks = found.findings.map(({ check }) => check).sort();
    expect(checks).toEqual(
      [
        ...['dangling', 'disk space', 'duplicates', 'islands', 'leftovers', 'lock', 'permissions'],
        ...['supernodes', 'sync latency', 'times'],
      ].sort(),
    );
    // The disk of the machine that runs this is as fast as it is.
    const others = found.findings.filter(
      ({ check }) => !['sync latency', 'disk space'].includes(check),
    );
    expect(others.filter(({ severity }) => severity !== 'good')).toEqual([]);
  });

  test('that others can read', async () => {
    const store = await learnedStore();
    chmodSync(store, 0o755);
    chmodSync(join(store, 'storage.dat'), 0o644);
    const found = await doctor(['--storage', store]);
    expect(severityOf(found, 'permissions')).toBe('warning');
    expect(found.findings[0]?.remedy).toBeTruthy();
  });

  test('that is damaged: 5, with what to do', async () => {
    const store = await learnedStore();
    const path = join(store, 'storage.dat');
    const file = openSync(path, 'r+');
    writeSync(file, Buffer.alloc(64, 0xff), 0, 64, 0);
    closeSync(file);
    const found = await doctor(['--storage', store], 5);
    expect(found.healthy).toBe(false);
    expect(found.findings[0]).toMatchObject({
      check: 'data',
      severity: 'critical',
      remedy: expect.stringContaining('sutra') as string,
    });
    expect(found.score).toBeLessThanOrEqual(60);
  });

  test('that a server holds: both are examined', async () => {
    const store = await learnedStore();
    const server = await startServe(['--storage', store]);
    const found = await doctor(['--storage', store]);
    expect(severityOf(found, 'lock')).toBe('good');
    expect(found.findings.find(({ check }) => check === 'lock')?.what).toContain(server.address);
    for (const check of ['health', 'clock', 'pending', 'checkpoint', 'open bind']) {
      expect(severityOf(found, check)).toBe('good');
    }
    expect(found.findings.filter(({ check }) => check === 'disk space')).toHaveLength(1);
    expect(await server.stop()).toBe(0);
  });

  test('that is not there, or no store: as any reading command', async () => {
    expect(await errorOf(['doctor', '--storage', temporaryPath()], 2)).toMatchObject({
      code: 'NO_SUCH_DIRECTORY',
    });
  });
});

describe('a server', () => {
  test('on every interface, without TLS or token: a warning that says what to do', async () => {
    const server = await startServe(['--host', '0.0.0.0']);
    const found = await doctor(['--server', server.address]);
    const open = found.findings.find(({ check }) => check === 'open bind');
    expect(open).toMatchObject({ severity: 'warning' });
    expect(open?.remedy).toContain('--host 127.0.0.1');
    expect(found.examined).toBeNull();
    const text = await runSutra(['doctor', '--server', server.address]);
    expect(text.code).toBe(0);
    expect(text.stdout).toMatch(/^WARNING {2}open bind/m);
    expect(text.stdout).toMatch(/^score \d+ of 100: .*good\n$/m);
    expect(await server.stop()).toBe(0);
  });

  test('with TLS and tokens: asked with them, and open only to who has one', async () => {
    const tls = ['--tls-cert', certificate('server.pem'), '--tls-key', certificate('server.key')];
    const token = ['--token-file', secretFile(FULL_TOKEN)];
    const ca = ['--tls-ca', certificate('authority.pem')];
    const store = temporaryPath();
    const served = ['--storage', store, '--host', '0.0.0.0', ...tls, ...token];
    const server = await startServe(served);
    const remote = ['--server', server.address, ...ca];
    for (const where of [remote, ['--storage', store, ...ca]]) {
      const found = await doctor([...where, ...token]);
      expect(severityOf(found, 'health')).toBe('good');
      expect(severityOf(found, 'certificate')).toBe('good');
      expect(found.findings.find(({ check }) => check === 'open bind')).toMatchObject({
        severity: 'good',
        what: 'it asks who calls',
      });
    }
    expect(await errorOf(['doctor', ...remote], 6)).toMatchObject({ code: 'UNAUTHENTICATED' });
    expect(await server.stop()).toBe(0);

    const open = await startServe(['--host', '0.0.0.0', ...tls]);
    const found = await doctor(['--server', open.address, ...ca]);
    expect(found.findings.find(({ check }) => check === 'open bind')).toMatchObject({
      severity: 'warning',
      what: expect.stringContaining('without a token') as string,
    });
    expect(await open.stop()).toBe(0);
  });

  test('that is not there: 3', async () => {
    expect(await errorOf(['doctor', '--server', '127.0.0.1:1'], 3)).toMatchObject({
      code: 'UNREACHABLE',
    });
  });
});
