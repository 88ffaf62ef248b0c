/** The worker thread of checkpoints: runs each on the real disk as it is asked for, one at a time, and reports once. */

import { parentPort } from 'node:worker_threads';

import { toSutraError } from '../errors.js';
import { runCheckpoint, type CheckpointRequest, type CheckpointResult } from './checkpoint.js';
import type { LogFields, Logger } from './logger.js';
import { NodeDisk } from './node-disk.js';
import { translate } from './recovery.js';

export type CheckpointMessage =
  | {
      readonly kind: 'log';
      readonly level: keyof Logger;
      readonly message: string;
      readonly fields?: LogFields;
    }
  | { readonly kind: 'progress'; readonly written: number; readonly expected: number }
  | { readonly kind: 'done'; readonly result: CheckpointResult }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

const port = parentPort;
if (port === null) throw new Error('checkpoint-worker.js runs as a worker thread only');

const post = (message: CheckpointMessage): void => {
  port.postMessage(message);
};
const logger: Logger = {
  info: (message, fields = {}) => {
    post({ kind: 'log', level: 'info', message, fields });
  },
  warn: (message, fields = {}) => {
    post({ kind: 'log', level: 'warn', message, fields });
  },
  error: (message, _cause, fields = {}) => {
    post({ kind: 'log', level: 'error', message, fields });
  },
};

port.on('message', (request: CheckpointRequest) => {
  try {
    const result = runCheckpoint(new NodeDisk(), request, logger, (written, expected) => {
      post({ kind: 'progress', written, expected });
    });
    post({ kind: 'done', result });
  } catch (error) {
    const { code, message } = toSutraError(translate(error, 'checkpoint'));
    post({ kind: 'failed', code, message });
  }
});
