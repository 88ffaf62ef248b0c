/** The suite over an embedded store, and over one behind a real server through the remote backend. */

import { ConcurrentStorage } from '#sutra/storage/embedded';
import { temporaryPath } from '../support/fixture.js';
import { serveStorage } from '../support/served.js';
import { storageContract } from './storage-contract.js';

storageContract('an embedded store', async () => {
  const storage = await ConcurrentStorage.open(temporaryPath());
  return { storage, close: () => storage.close() };
});

storageContract('an embedded store that checkpoints all the time', async () => {
  const storage = await ConcurrentStorage.open(temporaryPath(), { threshold: 1 });
  return { storage, close: () => storage.close() };
});

storageContract('an embedded store behind a server', async () => {
  const { client, close } = await serveStorage(await ConcurrentStorage.open(temporaryPath()));
  return { storage: client, close };
});
