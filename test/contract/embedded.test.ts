/** The suite over an embedded store, and over one behind a real server through the remote backend. */

import { expect, test } from 'vitest';
import { nodeEnvironment } from '#sutra/engine/environment';
import type { IndexHost } from '#sutra/engine/vector/index-messages';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { temporaryPath } from '../support/fixture.js';
import { localIndexHost } from '../support/local-indexer.js';
import { serveStorage } from '../support/served.js';
import { storageContract } from './storage-contract.js';

/** Searches that an index was asked. */
let asked = 0;
const countedIndexHost: IndexHost = {
  ...localIndexHost,
  start: (...args) => {
    const port = localIndexHost.start(...args);
    return {
      ...port,
      send: (message) => {
        if (message.kind === 'search') asked++;
        port.send(message);
      },
    };
  },
};

storageContract('an embedded store', async () => {
  const storage = await ConcurrentStorage.open(temporaryPath());
  return { storage, close: () => storage.close() };
});

storageContract('an embedded store that checkpoints all the time', async () => {
  const storage = await ConcurrentStorage.open(temporaryPath(), { threshold: 1 });
  return { storage, close: () => storage.close() };
});

storageContract('an embedded store that asks its vector index whatever it costs', async () => {
  const environment = { ...nodeEnvironment(), indexHost: countedIndexHost };
  const storage = await ConcurrentStorage.open(temporaryPath(), { environment });
  return { storage, close: () => storage.close() };
});

test('the index was asked', () => {
  // The suite above it has run by now.
  expect(asked).toBeGreaterThan(0);
});

storageContract('an embedded store behind a server', async () => {
  const { client, close } = await serveStorage(await ConcurrentStorage.open(temporaryPath()));
  return { storage: client, close };
});
