/** The suite over the model, and over the model behind a real server through the remote backend. */

import { ModelStorage } from '../support/model-storage.js';
import { serveStorage } from '../support/served.js';
import { storageContract } from './storage-contract.js';

storageContract('the model', async () => {
  const storage = new ModelStorage();
  return { storage, close: () => storage.close() };
});

storageContract('the model behind a server', async () => {
  const { client, close } = await serveStorage(new ModelStorage());
  return { storage: client, close };
});
