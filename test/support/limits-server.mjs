/**
 * A server with limits of its own, in a process of its own so that its memory can be read: `node limits-server.mjs DIRECTORY
 * '{"uploadGraceMs":1000}'`. Prints `listening on HOST:PORT`; ends, drained, when its standard input does.
 */

import process from 'node:process';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { startServer } from '#sutra/server/server';

const [, , directory = '', options = '{}'] = process.argv;
/** @type {import('#sutra/server/logger').ServerLogger} */
const logger = {
  info: () => undefined,
  warn: (message) => process.stderr.write(`${message}\n`),
  error: (message, cause) =>
    process.stderr.write(`ERROR ${message} ${cause instanceof Error ? cause.stack : ''}\n`),
};
const storage = await ConcurrentStorage.open(directory);
const server = await startServer(storage, {
  host: '127.0.0.1',
  port: 0,
  logger,
  ...JSON.parse(options),
});
process.stdout.write(`listening on ${server.address}\n`);
process.stdin.resume();
process.stdin.once('end', async () => {
  await server.drain(1_000);
  await storage.close();
  process.exit(0);
});
