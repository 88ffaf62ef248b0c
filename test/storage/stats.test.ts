/** What the engine counts for operators. */

import { expect, test } from 'vitest';
import { latencyCount } from '#sutra/latency';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { temporaryPath } from '../support/fixture.js';

test('a writer counts its groups, syncs, memtable and checkpoints', async () => {
  const path = temporaryPath();
  const storage = await ConcurrentStorage.open(path, { threshold: 1000 });
  await storage.learnConcept({ id: 'a', content: 'a' });
  await Promise.all(['b', 'c', 'd'].map((id) => storage.learnConcept({ id, content: id })));
  const before = await storage.stats();
  expect(before).toMatchObject({
    written: 4,
    groupCommits: 2,
    pending: 0,
    pendingBytes: 0,
    memtableWrites: 4,
    memtableThreshold: 1000,
    epoch: 1,
    durability: 'always',
    readOnly: false,
    diskFull: false,
    checkpoint: { running: false, lastDurationUs: 0, lastEndUs: 0, failures: 0, lastError: '' },
  });
  expect(before.server).toBeUndefined();
  expect(before.uuid).toMatch(/^[0-9a-f]{32}$/);
  expect(latencyCount(before.syncLatency)).toBe(2);
  expect(before.syncLatency.sumUs).toBeGreaterThan(0);
  expect(before.committedBytes).toBeGreaterThan(0);
  expect(before.walDiskBytes).toBeGreaterThan(before.committedBytes);
  expect(before.walThresholdBytes).toBeGreaterThan(0);
  expect(before.pendingLimitBytes).toBeGreaterThan(0);

  const startUs = Date.now() * 1000;
  await storage.flush();
  const flushed = await storage.stats();
  expect(flushed).toMatchObject({ memtableWrites: 0, checkpoints: 1, walBytes: 0 });
  expect(flushed.checkpoint).toMatchObject({ running: false, failures: 0, lastError: '' });
  expect(flushed.checkpoint.lastDurationUs).toBeGreaterThan(0);
  expect(flushed.checkpoint.lastEndUs).toBeGreaterThanOrEqual(startUs - 1_000_000);
  expect(flushed.checkpoint.writtenBytes).toBe(flushed.snapshotBytes);
  expect(flushed.checkpoint.expectedBytes).toBe(flushed.snapshotBytes);
  await storage.learnConcept({ id: 'e', content: 'e' });
  await storage.close();

  const reader = await ConcurrentStorage.open(path, { readOnly: true });
  expect(await reader.stats()).toMatchObject({
    concepts: 5,
    memtableWrites: 1,
    groupCommits: 0,
    durability: 'none',
    readOnly: true,
    uuid: before.uuid,
    syncLatency: { counts: [], sumUs: 0 },
  });
  await reader.close();
  const again = await ConcurrentStorage.open(path, { durability: 'interval' });
  expect(await again.stats()).toMatchObject({
    epoch: 2,
    durability: 'interval',
    uuid: before.uuid,
    memtableWrites: 1,
  });
  await again.close();
});
