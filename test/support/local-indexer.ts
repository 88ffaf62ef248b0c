/**
 * An index without a thread: the very `Indexer` of the worker, in this one, on the real disk. Messages are delivered on later
 * turns and in order, as a thread's are. It is asked whatever it costs, from the first vector on, and written at
 * every close.
 */

import type { IndexHost } from '#sutra/engine/vector/index-messages';
import { Indexer } from '#sutra/engine/vector/indexer';
import { NodeDisk } from '#sutra/engine/node-disk';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export const localIndexHost: IndexHost = {
  threads: 1,
  fromFloats: 1,
  saveChanges: 1,
  preferIndex: true,
  start: (request, onMessage, onFailure) => {
    let closed = false;
    let last: Promise<void> = turn();
    const running = new Set<Promise<void>>();
    const fail = (error: unknown): void => {
      if (!closed) onFailure(error instanceof Error ? error.message : String(error));
    };
    const indexer = new Indexer(structuredClone(request), {
      disk: new NodeDisk(),
      nowMs: () => performance.now(),
      turn,
      post: (message) => {
        const copy = structuredClone(message);
        setImmediate(() => {
          if (!closed) onMessage(copy);
        });
      },
    });
    last = last.then(() => {
      indexer.open();
    });
    last.catch(fail);
    return {
      send: (message) => {
        const copy = structuredClone(message);
        last = last.then(() => {
          const work = closed ? Promise.resolve() : indexer.receive(copy);
          const done = work.catch(fail);
          running.add(done);
          void done.then(() => running.delete(done));
        });
      },
      hold: () => undefined,
      close: async () => {
        closed = true;
        await last.catch(() => undefined);
        await Promise.all(running);
      },
    };
  },
};
