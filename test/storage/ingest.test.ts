/** Chunks on their way: what was acknowledged is let go of, so that a stream takes the same memory however long it is. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { describe, expect, test } from 'vitest';

import { ingestChunks } from '#sutra/storage/ingest';
import type { IngestAck, IngestItem } from '#sutra/storage/storage';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function acknowledged(received: number, firstIndex: number): IngestAck {
  return {
    received,
    firstIndex,
    accepted: received,
    errors: [],
    firstSequence: 1,
    lastSequence: 1,
  };
}

describe('a stream of chunks', () => {
  test.each([
    ['with a signal', new AbortController().signal] as const,
    ['without', undefined] as const,
  ])('keeps none that was acknowledged: %s', async (_, signal) => {
    const sent: WeakRef<readonly IngestItem[]>[] = [];
    async function* source(): AsyncGenerator<readonly IngestItem[]> {
      for (let i = 0; i < 100; i++) {
        const chunk: IngestItem[] = [{ concept: { id: `c${i}`, content: '' } }];
        sent.push(new WeakRef(chunk));
        yield chunk;
        await turn();
      }
    }
    let acks = 0;
    let kept = Infinity;
    const options = signal === undefined ? {} : { signal };
    for await (const ack of ingestChunks(source(), options, async (chunk, firstIndex) => {
      await turn();
      return acknowledged(chunk.length, firstIndex);
    })) {
      acks += ack.received;
      if (acks !== 90) continue;
      // A weak reference that was made or read in this turn counts as a strong one.
      await turn();
      collect();
      kept = sent.slice(0, 80).filter((chunk) => chunk.deref() !== undefined).length;
    }
    expect(acks).toBe(100);
    expect(kept).toBe(0);
  });

  test('ends when it is aborted, though nothing comes of its source or its chunks', async () => {
    const abort = new AbortController();
    async function* source(): AsyncGenerator<readonly IngestItem[]> {
      yield [{ concept: { id: 'a', content: '' } }];
      await new Promise(() => undefined);
    }
    const stream = ingestChunks(
      source(),
      { signal: abort.signal },
      () => new Promise(() => undefined),
    );
    const next = stream.next();
    await turn();
    abort.abort();
    await expect(next).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});
