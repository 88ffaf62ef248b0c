/** A storage behind a real server on a loopback port, and a client of it. */

import { startServer, type RunningServer, type ServerOptions } from '#sutra/server/server';
import { StorageClient } from '#sutra/storage/remote';
import type { Storage } from '#sutra/storage/storage';

export interface Served {
  readonly server: RunningServer;
  readonly client: StorageClient;
  /** Closes client, server and storage. */
  readonly close: () => Promise<void>;
}

export async function serveStorage(
  storage: Storage,
  options: Partial<ServerOptions> = {},
): Promise<Served> {
  const server = await startServer(storage, { host: '127.0.0.1', port: 0, ...options });
  const client = new StorageClient(`127.0.0.1:${server.port}`, { timeoutMs: 20_000 });
  return {
    server,
    client,
    close: async () => {
      await client.close();
      await server.drain(1_000);
      await storage.close();
    },
  };
}
