/** The metrics endpoint over a real server: every series from the first scrape on, right figures, and nothing but GET. */

import { request } from 'node:http';
import { connect } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { SutraError } from '#sutra/errors';
import { startMetricsEndpoint, type MetricsEndpoint } from '#sutra/server/metrics-endpoint';
import { SILENT } from '#sutra/server/logger';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { METHODS } from '#sutra/wire/methods';
import { expectError } from '../contract/storage-contract.js';
import { temporaryPath } from '../support/fixture.js';
import { Exposition } from '../support/exposition.js';
import { serveStorage, type Served } from '../support/served.js';
import { stubStorage } from '../support/stub-storage.js';

const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function endpoint(): Promise<MetricsEndpoint> {
  const started = await startMetricsEndpoint({ host: '127.0.0.1', port: 0, logger: SILENT });
  cleanups.push(() => started.close());
  return started;
}

async function watched(): Promise<{ metrics: MetricsEndpoint; served: Served }> {
  const metrics = await endpoint();
  const served = await serveStorage(await ConcurrentStorage.open(temporaryPath()));
  cleanups.push(served.close);
  metrics.watch(served.server);
  return { metrics, served };
}

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly type: string;
}

async function get(metrics: MetricsEndpoint, path: string): Promise<Answer> {
  const answer = await fetch(`http://${metrics.address}${path}`);
  const type = answer.headers.get('content-type') ?? '';
  return { status: answer.status, text: await answer.text(), type };
}

async function scrape(metrics: MetricsEndpoint): Promise<Exposition> {
  const { status, text, type } = await get(metrics, '/metrics');
  expect(status).toBe(200);
  expect(type).toBe('text/plain; version=0.0.4; charset=utf-8');
  return new Exposition(text);
}

test('every method has its series from the first scrape on, at zero', async () => {
  const { metrics } = await watched();
  const first = await scrape(metrics);
  for (const { name } of Object.values(METHODS)) {
    const labels = { grpc_service: 'sutra.storage.StorageService', grpc_method: name };
    expect(first.value('grpc_server_started_total', labels), name).toBe(0);
    for (const grpc_code of ['OK', 'InvalidArgument', 'ResourceExhausted', 'Canceled']) {
      expect(first.value('grpc_server_handled_total', { ...labels, grpc_code })).toBe(0);
    }
    const bucket = { ...labels, le: '0.0001' };
    expect(first.value('grpc_server_handling_seconds_bucket', bucket)).toBe(0);
    expect(first.value('grpc_server_handling_seconds_count', labels)).toBe(0);
    expect(first.value('grpc_server_msg_received_total', labels)).toBe(0);
    expect(first.value('grpc_server_msg_sent_total', labels)).toBe(0);
  }
  const scan = { grpc_type: 'server_stream', grpc_method: 'Scan' };
  expect(first.value('grpc_server_started_total', scan)).toBe(0);
  expect(first.value('sutra_ready')).toBe(1);
  expect(first.value('sutra_log_sync_seconds_count')).toBe(0);
  expect(first.value('process_resident_memory_bytes')).toBeGreaterThan(0);
  // Nothing is said twice.
  expect(first.duplicates()).toEqual([]);
});

test('figures are those of GetStats, and a scrape is repeatable', async () => {
  const { metrics, served } = await watched();
  const { client } = served;
  await client.learnConcept({ id: 'a', content: 'a' });
  await client.learnConcept({ id: 'b', content: 'b', embedding: [1, 2] });
  await client.learnAssociation({ source: 'a', target: 'b' });
  await expectError(client.learnAssociation({ source: 'a', target: 'x' }), 'UNKNOWN_CONCEPT');
  await client.flush();
  const stats = await client.stats();
  await scrape(metrics);
  const seen = await scrape(metrics);
  const link = { grpc_method: 'LearnAssociation' };
  expect(seen.value('grpc_server_started_total', link)).toBe(2);
  expect(seen.value('grpc_server_handled_total', { ...link, grpc_code: 'OK' })).toBe(1);
  expect(seen.value('grpc_server_handled_total', { ...link, grpc_code: 'NotFound' })).toBe(1);
  expect(seen.value('grpc_server_msg_received_total', link)).toBe(2);
  expect(seen.value('grpc_server_msg_sent_total', link)).toBe(1);
  expect(seen.value('grpc_server_handling_seconds_count', link)).toBe(2);
  expect(seen.value('grpc_server_handling_seconds_bucket', { ...link, le: '+Inf' })).toBe(2);
  expect(seen.value('sutra_concepts')).toBe(2);
  expect(seen.value('sutra_associations')).toBe(1);
  expect(seen.value('sutra_vectors')).toBe(1);
  expect(seen.value('sutra_writes_total')).toBe(3);
  expect(seen.value('sutra_group_commits_total')).toBe(stats.groupCommits);
  expect(seen.value('sutra_snapshot_bytes')).toBe(stats.snapshotBytes);
  expect(seen.value('sutra_checkpoints_total')).toBe(1);
  expect(seen.value('sutra_connections')).toBe(1);
  expect(seen.value('sutra_info', { uuid: stats.uuid, durability: 'always' })).toBe(1);
  const pages = [];
  for await (const page of client.scan()) pages.push(page);
  const scanned = await scrape(metrics);
  const scan = { grpc_type: 'server_stream', grpc_method: 'Scan' };
  expect(scanned.value('grpc_server_msg_received_total', scan)).toBe(1);
  expect(scanned.value('grpc_server_msg_sent_total', scan)).toBe(pages.length);
  // Buckets only grow, up to the count.
  const buckets = seen.all('sutra_log_sync_seconds_bucket').map(({ value }) => value);
  expect([...buckets].sort((a, b) => a - b)).toEqual(buckets);
  expect(buckets.at(-1)).toBe(seen.value('sutra_log_sync_seconds_count'));
  expect(seen.value('sutra_log_sync_seconds_sum')).toBeGreaterThan(0);
});

test('alive is not ready: before the server, in trouble, and as it drains', async () => {
  const metrics = await endpoint();
  expect(await get(metrics, '/healthz')).toMatchObject({ status: 200, text: 'alive\n' });
  expect(await get(metrics, '/readyz')).toMatchObject({ status: 503, text: 'starting\n' });
  expect((await scrape(metrics)).value('sutra_ready')).toBe(0);

  let healthy = false;
  const storage = stubStorage({
    healthCheck: async () => ({
      healthy,
      status: healthy ? 'ok' : 'read-only: the disk is full',
      uptimeSeconds: 1,
    }),
  });
  const served = await serveStorage(storage);
  cleanups.push(served.close);
  metrics.watch(served.server);
  expect(await get(metrics, '/readyz')).toMatchObject({
    status: 503,
    text: 'read-only: the disk is full\n',
  });
  healthy = true;
  expect(await get(metrics, '/readyz')).toMatchObject({ status: 200, text: 'ready\n' });
  await served.server.drain(0);
  expect(await get(metrics, '/healthz')).toMatchObject({ status: 200 });
  expect(await get(metrics, '/readyz')).toMatchObject({ status: 503, text: 'draining\n' });
});

test('only GET and HEAD, only its paths, and no large or odd requests', async () => {
  const metrics = await endpoint();
  expect(await get(metrics, '/')).toMatchObject({ status: 404 });
  expect(await get(metrics, '/metrics?x=1')).toMatchObject({ status: 200 });
  expect(await get(metrics, '/../etc/passwd')).toMatchObject({ status: 404 });
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const answer = await new Promise<{ status: number | undefined; allow: string | undefined }>(
      (resolve, reject) => {
        const { port } = metrics;
        request({ host: '127.0.0.1', port, path: '/metrics', method }, (response) => {
          response.resume();
          resolve({ status: response.statusCode, allow: response.headers.allow });
        })
          .on('error', reject)
          .end();
      },
    );
    expect(answer).toEqual({ status: 405, allow: 'GET, HEAD' });
  }
  const head = await fetch(`http://${metrics.address}/healthz`, { method: 'HEAD' });
  expect(head.status).toBe(200);
  expect(await head.text()).toBe('');
  for (const bytes of [
    'garbage\r\n\r\n',
    `GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
  ]) {
    const answered = await new Promise<string>((resolve) => {
      let text = '';
      const socket = connect(metrics.port, '127.0.0.1', () => socket.write(bytes));
      socket.on('data', (chunk) => (text += chunk.toString('latin1')));
      socket.on('error', () => undefined);
      socket.on('close', () => resolve(text));
    });
    expect(answered).toBe('');
  }
  expect(await get(metrics, '/healthz')).toMatchObject({ status: 200 });
});

test('a port in use names the flag to change', async () => {
  const { port } = await endpoint();
  const error: unknown = await startMetricsEndpoint({
    host: '127.0.0.1',
    port,
    logger: SILENT,
  }).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SutraError);
  expect(error).toMatchObject({
    code: 'ADDRESS_IN_USE',
    hint: expect.stringContaining('--metrics-port') as string,
  });
});
