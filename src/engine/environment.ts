/**
 * Everything the engine takes from outside, in one place: disk, clock, randomness, timers, logger, and who runs checkpoints. Tests
 * put their own in, so that whole runs replay from one seed.
 */

import { randomFillSync } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

import { isErrorCode, SutraError } from '../errors.js';
import type { CheckpointRequest, CheckpointResult, WriteProgress } from './checkpoint.js';
import type { CheckpointMessage } from './checkpoint-worker.js';
import type { Disk } from './disk.js';
import { silentLogger, type Logger } from './logger.js';
import { NodeDisk } from './node-disk.js';
import type { IndexHost, IndexPort, StartIndexer, ToIndexer } from './vector/index-messages.js';

/** Fewer numbers than these are scanned in a millisecond or two, and need no index. */
const INDEX_FROM_FLOATS = 256 * 1024;
/** Placed anew in less than a second at the next start. */
const INDEX_SAVE_CHANGES = 1_000;

/** Behind its last checkpoint. */
const CHECKPOINT_THREAD_LINGER_MS = 3_000;

export interface RunningCheckpoint {
  readonly done: Promise<CheckpointResult>;
  /** Stops it; `done` then rejects with CANCELLED. Resolves when nothing of it runs any more. */
  cancel(): Promise<void>;
}

export interface Environment {
  readonly disk: Disk;
  readonly logger: Logger;
  /** Wall clock in microseconds since 1970. Only recorded (by `recordedUs`), never used to order anything. */
  nowUs(): number;
  /** Monotonic milliseconds. */
  nowMs(): number;
  randomBytes(length: number): Uint8Array;
  /** Runs `task` once after `ms`; returns how to cancel it. Must not keep the process alive by itself. */
  schedule(ms: number, task: () => void): () => void;
  /** Resolves when everything that waits on the event loop has had a turn. */
  pause(): Promise<void>;
  startCheckpoint(request: CheckpointRequest, onProgress?: WriteProgress): RunningCheckpoint;
  /** What the vector index runs on; absent: searches are exact. */
  readonly indexHost?: IndexHost;
}

/**
 * The wall clock as it may be recorded: an integer in [0, 2^53), whatever the clock says. A time outside would be encoded as
 * bytes that no reader accepts, in a frame that is acknowledged.
 */
export function recordedUs(environment: Environment): number {
  const us = Math.floor(environment.nowUs());
  // NaN is not >= 0 either.
  return us >= 0 ? Math.min(us, Number.MAX_SAFE_INTEGER) : 0;
}

export function nodeEnvironment(logger: Logger = silentLogger): Environment {
  return {
    disk: new NodeDisk(),
    logger,
    nowUs: () => Math.round((performance.timeOrigin + performance.now()) * 1000),
    nowMs: () => performance.now(),
    randomBytes: (length) => randomFillSync(new Uint8Array(length)),
    schedule: (ms, task) => {
      const timer = setTimeout(task, ms);
      timer.unref();
      return () => {
        clearTimeout(timer);
      };
    },
    pause: () => new Promise((resolve) => setImmediate(resolve)),
    startCheckpoint: checkpointThread(logger),
    indexHost: {
      start: startIndexWorker,
      threads: indexThreads(availableParallelism()),
      fromFloats: INDEX_FROM_FLOATS,
      saveChanges: INDEX_SAVE_CHANGES,
      preferIndex: false,
    },
  };
}

/** One of two processors; of more, half: the others serve. */
function indexThreads(processors: number): number {
  return Math.max(1, Math.min(8, Math.floor(processors / 2)));
}

function startIndexWorker(...[request, onMessage, onFailure]: Parameters<StartIndexer>): IndexPort {
  const worker = new Worker(new URL('./vector/vector-index-worker.js', import.meta.url), {
    workerData: request,
    // Its objects are small and few; what V8 would let them take is as much as two thousand vectors take.
    resourceLimits: { maxYoungGenerationSizeMb: 2 },
  });
  worker.unref();
  let closing = false;
  worker.on('message', onMessage);
  worker.on('error', (error) => {
    onFailure(error.message);
  });
  worker.on('exit', (code) => {
    if (!closing) onFailure(`its thread ended with code ${code}`);
  });
  return {
    send: (message) => {
      worker.postMessage(message, transferred(message));
    },
    hold: (awaited) => {
      if (awaited) worker.ref();
      else worker.unref();
    },
    close: async () => {
      closing = true;
      await worker.terminate();
    },
  };
}

/** Of a message's buffers those that its sender has no more use for. */
function transferred(message: ToIndexer): ArrayBuffer[] {
  switch (message.kind) {
    case 'add':
      return [message.vectors.buffer];
    case 'search':
      return [message.queries.buffer];
    default:
      return [];
  }
}

/**
 * Runs checkpoints in a thread, one at a time. It stays for a while behind a checkpoint: while much is written the next one
 * follows soon, and a new thread would load and compile everything anew.
 */
function checkpointThread(logger: Logger): Environment['startCheckpoint'] {
  let idle: Worker | null = null;
  let dismissal: NodeJS.Timeout | undefined;
  const dismiss = (): void => {
    clearTimeout(dismissal);
    const worker = idle;
    idle = null;
    // Nothing runs in it; how it ended is nobody's concern.
    void worker?.terminate();
  };
  const rest = (worker: Worker): void => {
    worker.removeAllListeners();
    worker.on('error', (error) => {
      logger.warn(`checkpoint worker at rest: ${error.message}`);
    });
    worker.on('exit', () => {
      if (idle === worker) idle = null;
    });
    worker.unref();
    idle = worker;
    dismissal = setTimeout(dismiss, CHECKPOINT_THREAD_LINGER_MS);
    dismissal.unref();
  };
  return (request, onProgress = () => undefined) => {
    clearTimeout(dismissal);
    const worker = idle ?? new Worker(new URL('./checkpoint-worker.js', import.meta.url));
    idle = null;
    worker.removeAllListeners();
    worker.ref();
    const done = new Promise<CheckpointResult>((resolve, reject) => {
      worker.on('message', (message: CheckpointMessage) => {
        if (message.kind === 'log') logger[message.level](message.message, message.fields);
        else if (message.kind === 'progress') onProgress(message.written, message.expected);
        else if (message.kind === 'done') resolve(message.result);
        else {
          const code = isErrorCode(message.code) ? message.code : 'INTERNAL';
          reject(new SutraError(code, message.message));
        }
      });
      worker.on('error', (error) => {
        reject(new SutraError('INTERNAL', `checkpoint worker: ${error.message}`, { cause: error }));
      });
      worker.on('exit', () => {
        reject(new SutraError('CANCELLED', 'the checkpoint was stopped'));
      });
      worker.postMessage(request);
    });
    let cancelled = false;
    return {
      done: done.then(
        (result) => {
          if (cancelled || idle !== null) void worker.terminate();
          else rest(worker);
          return result;
        },
        (error: unknown) => {
          void worker.terminate();
          throw error;
        },
      ),
      cancel: async () => {
        cancelled = true;
        if (idle === worker) idle = null;
        await worker.terminate();
      },
    };
  };
}
