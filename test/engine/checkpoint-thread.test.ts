/** The thread that runs checkpoints: used again by the next one, never after one that failed, and gone once it is cancelled. */

import { expect, test } from 'vitest';

import { nodeEnvironment } from '#sutra/engine/environment';
import { ConcurrentStorage } from '#sutra/storage/embedded';

import { temporaryPath } from '../support/fixture.js';
import { checkDirectory } from '../support/whole-store.js';

const NOTHING = {
  directory: '/nowhere',
  baseSequence: 0,
  throughOrdinal: 1,
  sequence: 1,
  digest: '0'.repeat(32),
  nowUs: 0,
  pauseMs: 0,
};

test('checkpoints follow each other on one environment, also behind one that failed', async () => {
  const environment = nodeEnvironment();
  const path = temporaryPath();
  const storage = await ConcurrentStorage.open(path, { environment });
  for (let i = 0; i < 3; i++) {
    await storage.learnConcept({ id: `c${i}`, content: 'x' });
    await storage.flush();
    await expect(environment.startCheckpoint(NOTHING).done).rejects.toThrow();
  }
  // Two at once have a thread each.
  await storage.learnConcept({ id: 'last', content: 'x' });
  const [, failed] = await Promise.allSettled([
    storage.flush(),
    environment.startCheckpoint(NOTHING).done,
  ]);
  expect(failed.status).toBe('rejected');
  expect(await storage.stats()).toMatchObject({ checkpoints: 4, snapshotSequence: 4 });
  await storage.close();
  expect(await checkDirectory(path)).toMatchObject({ sequence: 4 });
});

test('one that is cancelled rejects with CANCELLED, and the next has another thread', async () => {
  const environment = nodeEnvironment();
  const first = environment.startCheckpoint(NOTHING);
  const outcome = expect(first.done).rejects.toMatchObject({ code: 'CANCELLED' });
  await first.cancel();
  await outcome;
  const second = environment.startCheckpoint(NOTHING).done;
  await expect(second).rejects.not.toMatchObject({ code: 'CANCELLED' });
});
