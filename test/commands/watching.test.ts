/** What scripts and orchestrators use: `stats --watch` across a restart, and `health --wait` and `--live`. */

import { spawn } from 'node:child_process';
import { expect, test } from 'vitest';
import type { Storage } from '#sutra/storage/storage';
import { errorOf } from '../support/command.js';
import {
  BIN,
  runSutra,
  startServe,
  temporaryDirectory,
  temporaryPath,
} from '../support/fixture.js';
import { serveStorage } from '../support/served.js';
import { stubStorage } from '../support/stub-storage.js';

test('stats --watch prints a document a line, says when the server is away, and goes on when it is back', async () => {
  const storage = temporaryPath();
  const first = await startServe(['--storage', storage]);
  const args = ['stats', '--server', first.address, '--watch', '--json', '--interval', '100ms'];
  const child = spawn(process.execPath, [BIN, ...args], { cwd: temporaryDirectory() });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const lines = () => stdout.split('\n').slice(0, -1);
  const until = async (done: () => boolean) => {
    while (!done()) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  try {
    await until(() => lines().length >= 2);
    expect(await first.stop()).toBe(0);
    await until(() => stderr.includes('trying again\n'));
    const before = lines().length;
    const second = await startServe(['--storage', storage, '--port', String(first.port)]);
    await until(() => lines().length > before);
    expect(stderr).toMatch(/^no sutra server answers [^\n]*; trying again\nit answers again\n$/);
    const epochs = lines().map((line) => (JSON.parse(line) as { epoch: number }).epoch);
    expect(epochs[0]).toBe(1);
    expect(epochs.at(-1)).toBe(2);
    expect(await second.stop()).toBe(0);
  } finally {
    child.kill('SIGKILL');
  }
}, 60_000);

test('health --wait waits for a server that starts', async () => {
  const taken = await startServe();
  const { port } = taken;
  expect(await taken.stop()).toBe(0);
  const address = `127.0.0.1:${port}`;
  await errorOf(['health', '--server', address], 3);
  await errorOf(['health', '--server', address, '--wait', '0.5'], 3);
  const waiting = runSutra(['health', '--server', address, '--wait', '30', '--json']);
  const server = await startServe(['--port', String(port)]);
  const result = await waiting;
  expect(result).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(result.stdout)).toMatchObject({ healthy: true });
  expect(await server.stop()).toBe(0);
}, 60_000);

test('health: unhealthy is 5, alive is enough with --live', async () => {
  let looks = 0;
  const storage: Storage = stubStorage({
    healthCheck: async () => ({
      healthy: ++looks > 3,
      status: looks > 3 ? 'ok' : 'read-only: the disk is full',
      uptimeSeconds: 1,
    }),
  });
  const { server, close } = await serveStorage(storage);
  try {
    const target = ['--server', `127.0.0.1:${server.port}`];
    const sick = await runSutra(['health', ...target]);
    expect(sick).toMatchObject({ code: 5, stdout: 'unhealthy: read-only: the disk is full\n' });
    expect((await runSutra(['health', '--live', ...target])).code).toBe(0);
    expect((await runSutra(['health', '--wait', '20', ...target])).code).toBe(0);
    expect(looks).toBe(4);
  } finally {
    await close();
  }
}, 60_000);

test('stats for people: store, writing, server, calls', async () => {
  const server = await startServe();
  const target = ['--server', server.address];
  await runSutra(['learn', 'a', ...target]);
  const { stdout } = await runSutra(['stats', ...target]);
  const rows = new Map(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => [line.split('\t')[0], line.split('\t').slice(1)]),
  );
  expect(rows.get('concepts')).toEqual(['1']);
  expect(rows.get('durability')).toEqual(['always']);
  expect(rows.get('checkpoint')).toEqual(['none yet']);
  expect(rows.get('connections')).toEqual(['1']);
  expect(rows.get('LearnConcept')?.slice(0, 3)).toEqual(['1', '0', '0']);
  expect(Number(rows.get('LearnConcept')?.[4])).toBeGreaterThan(0);
  expect(rows.has('FindPath')).toBe(false);
  expect(await server.stop()).toBe(0);
});
