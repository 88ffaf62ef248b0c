/**
 * Recorded concurrent histories: many clients of one store at once, embedded and over connections of their own to a served
 * one, with checkpoints on the way. What they were told must have one explanation (support/recorded-history.ts), and the
 * store must hold what that comes to, now and after a restart.
 *
 * SUTRA_HISTORY_OPERATIONS operations per client (default 150).
 */

import { describe, expect, test } from 'vitest';

import { ConcurrentStorage } from '#sutra/storage/embedded';
import { StorageClient } from '#sutra/storage/remote';

import { compareAll } from '../contract/storage-contract.js';
import { startServe, temporaryPath } from '../support/fixture.js';
import { seededRandom, testSeed } from '../support/random.js';
import { RecordedHistory } from '../support/recorded-history.js';
import { checkDirectory } from '../support/whole-store.js';

const OPERATIONS = Number(process.env['SUTRA_HISTORY_OPERATIONS'] ?? 150);
/** Bounds a hang. */
const LONGEST_MS = 2_000 * OPERATIONS;
const THRESHOLD = 100;

/** A turn of the event loop now and then, so that clients meet in ever other ways. */
function pauses(random: () => number): () => Promise<void> {
  return async () => {
    if (random() < 0.3) await new Promise((resolve) => setImmediate(resolve));
  };
}

describe('what concurrent clients are told has one explanation', () => {
  for (const durability of ['always', 'interval'] as const) {
    test(
      `embedded, ${durability}`,
      async () => {
        const seed = testSeed();
        const random = seededRandom(seed);
        const path = temporaryPath();
        const options = { durability, threshold: THRESHOLD };
        const storage = await ConcurrentStorage.open(path, options);
        const history = new RecordedHistory();
        const clients = 16;
        await Promise.all(
          Array.from({ length: clients }, (_, n) =>
            history.client(storage, (seed + n) | 0, OPERATIONS, pauses(random)),
          ),
        );
        const { checkpoints } = await storage.stats();
        const { model, writes, others, states } = await history.judge();
        await compareAll(storage, model);
        await storage.close();
        const again = await ConcurrentStorage.open(path, options);
        await compareAll(again, model);
        await again.close();
        await checkDirectory(path);
        console.log(
          `history, embedded, ${durability}: ${clients} clients, ${writes} writes replayed, ${others} other ` +
            `answers explained over ${states} states, ${checkpoints} checkpoints, seed ${seed}`,
        );
        expect(checkpoints).toBeGreaterThan(0);
        expect(writes).toBeGreaterThan(OPERATIONS);
      },
      LONGEST_MS,
    );

    test(
      `served, ${durability}`,
      async () => {
        const seed = testSeed();
        const random = seededRandom(seed);
        const path = temporaryPath();
        const args = ['--storage', path, '--durability', durability];
        const server = await startServe([...args, '--threshold', String(THRESHOLD)]);
        const history = new RecordedHistory();
        const clients = Array.from(
          { length: 8 },
          () => new StorageClient(server.address, { timeoutMs: 30_000 }),
        );
        await Promise.all(
          clients.map((client, n) =>
            history.client(client, (seed + n) | 0, OPERATIONS, pauses(random)),
          ),
        );
        const { model, writes, others, states } = await history.judge();
        const [first] = clients;
        if (first === undefined) throw new Error('no client');
        const { checkpoints } = await first.stats();
        await compareAll(first, model);
        await Promise.all(clients.map((client) => client.close()));
        await server.kill9();
        const again = await ConcurrentStorage.open(path);
        await compareAll(again, model);
        await again.close();
        await checkDirectory(path);
        console.log(
          `history, served, ${durability}: ${clients.length} connections, ${writes} writes replayed, ${others} ` +
            `other answers explained over ${states} states, ${checkpoints} checkpoints, seed ${seed}`,
        );
        expect(checkpoints).toBeGreaterThan(0);
        expect(writes).toBeGreaterThan(OPERATIONS);
      },
      LONGEST_MS,
    );
  }
});
