import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { runSutra, startServe, temporaryPath } from './fixture.js';

test('a run gives exit code, stdout and stderr', async () => {
  const version = await runSutra(['--version']);
  expect(version.code).toBe(0);
  expect(version.stdout).toContain(`node-${process.version}`);
  const unknown = await runSutra(['no-such-command']);
  expect(unknown.code).toBe(2);
  expect(unknown.stdout).toBe('');
  expect(unknown.stderr).toContain('no-such-command');
});

test('a run that outlives its time is killed and said so', async () => {
  const hanging = runSutra(['serve', '--port', '0', '--storage', temporaryPath()], {
    timeoutMs: 2_000,
  });
  await expect(hanging).rejects.toThrow(/still running after 2000 ms: sutra serve/);
});

test('a server starts, answers, and drains', async () => {
  const storage = temporaryPath();
  const server = await startServe(['--storage', storage]);
  expect(server.stdout).toContain(`listening on ${server.address}`);
  const health = await runSutra(['health', '--server', server.address, '--json']);
  expect(health).toMatchObject({ code: 0 });
  expect(await server.stop()).toBe(0);
  expect(existsSync(storage)).toBe(true);
});

test('a server can be killed, and one that cannot start says why', async () => {
  const server = await startServe();
  const second = startServe(['--port', String(server.port)]);
  await expect(second).rejects.toThrow(/ended with code \d+ before it listened/);
  await server.kill9();
  expect(await server.exited).toBe(137);
});
