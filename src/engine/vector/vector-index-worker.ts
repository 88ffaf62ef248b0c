/** The thread of the vector index: an `Indexer` on the real disk. */

import { parentPort, workerData } from 'node:worker_threads';

import { NodeDisk } from '../node-disk.js';
import { Indexer } from './indexer.js';
import type { IndexRequest, ToIndexer } from './index-messages.js';

const port = parentPort;
if (port === null) throw new Error('vector-index-worker.js runs as a worker thread only');

const indexer = new Indexer(workerData as IndexRequest, {
  disk: new NodeDisk(),
  nowMs: () => performance.now(),
  turn: () => new Promise((resolve) => setImmediate(resolve)),
  post: (message) => {
    port.postMessage(message, message.kind === 'opened' ? [message.pairs.buffer] : []);
  },
});
indexer.open();
port.on('message', (message: ToIndexer) => {
  indexer.receive(message).catch((error: unknown) => {
    // Ends the thread, and is what the serving thread is told.
    queueMicrotask(() => {
      throw error;
    });
  });
});
