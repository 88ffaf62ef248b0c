/** What an operator sees of a running `sutra serve` from outside: its metrics and its log. */

import { expect, test } from 'vitest';
import { StorageClient } from '#sutra/storage/remote';
import { errorOf } from '../support/command.js';
import { Exposition } from '../support/exposition.js';
import { startServe, temporaryPath } from '../support/fixture.js';

type Line = Record<string, unknown>;

const jsonLines = (text: string): Line[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);

test('metrics where they were asked for, and a log of start, slow calls, checkpoint, drain and stop', async () => {
  const storage = temporaryPath();
  const server = await startServe([
    ...['--storage', storage, '--metrics-port', '0'],
    ...['--log-format', 'json', '--slow-ms', '1'],
  ]);
  const address = /^ {2}metrics {7}(\S+)$/m.exec(server.stdout)?.[1] ?? '';
  expect(address).toMatch(/^127\.0\.0\.1:\d+$/);
  expect(await (await fetch(`http://${address}/readyz`)).text()).toBe('ready\n');

  const client = new StorageClient(server.address);
  const content = 'confidential '.repeat(80_000);
  const concepts = Array.from({ length: 12 }, (_, i) => ({ id: `hidden-${i}`, content }));
  await client.learnBatch({ concepts });
  await client.flush();
  await client.close();
  const seen = new Exposition(await (await fetch(`http://${address}/metrics`)).text());
  expect(seen.value('sutra_concepts')).toBe(12);
  expect(seen.value('sutra_disk_free_bytes')).toBeGreaterThan(0);
  expect(await server.stop()).toBe(0);

  const lines = jsonLines(server.stderr);
  for (const line of lines) {
    expect(line['time']).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    expect(['info', 'warn']).toContain(line['level']);
    expect(line['message']).toEqual(expect.any(String));
  }
  const event = (name: string) => lines.filter((line) => line['event'] === name);
  expect(event('start')).toMatchObject([{ storage, concepts: 0, metrics_address: address }]);
  expect(event('slow_call')).toContainEqual(
    expect.objectContaining({
      level: 'warn',
      method: 'LearnBatch',
      code: 'OK',
      concepts_count: 12,
      associations_count: 0,
    }),
  );
  expect(event('checkpoint')).toMatchObject([{ concepts: 12, sequence: 12, replayed: 12 }]);
  expect(event('drain')).toHaveLength(1);
  expect(event('stop')).toMatchObject([{ abandoned_calls: 0, written: 12 }]);
  expect(server.stderr).not.toMatch(/confidential|hidden/);
});

test('--log-level leaves out what is less grave, and text is the default', async () => {
  const quiet = await startServe(['--log-level', 'error']);
  expect(await quiet.stop()).toBe(0);
  expect(quiet.stderr).toBe('');
  const plain = await startServe();
  expect(await plain.stop()).toBe(0);
  expect(plain.stderr).toMatch(/^\S+Z info {2}serving .* 0 concepts.*\n\S+Z info {2}draining\n/);
});

test('a metrics port in use keeps it from serving, and nothing is made', async () => {
  const first = await startServe(['--metrics-port', '0', '--json']);
  const { metrics_address } = JSON.parse(first.stdout) as { metrics_address: string };
  const port = metrics_address.split(':')[1] ?? '';
  const storage = temporaryPath();
  const args = ['serve', '--port', '0', '--metrics-port', port, '--storage', storage];
  const error = await errorOf(args, 1);
  expect(error).toMatchObject({ code: 'ADDRESS_IN_USE' });
  expect(error.message).toContain(metrics_address);
  expect(await errorOf(['query', 'a', '--storage', storage], 2)).toMatchObject({
    code: 'NO_SUCH_DIRECTORY',
  });
  expect(await first.stop()).toBe(0);
});
