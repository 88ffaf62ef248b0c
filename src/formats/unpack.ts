/** What is packed with gzip is unpacked, whatever the file is called: its first two bytes say so. */

import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';

const GZIP_MAGIC = [0x1f, 0x8b] as const;

export async function* unpacked(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = chunks[Symbol.asyncIterator]();
  try {
    // The magic may come one byte at a time.
    let head = Buffer.alloc(0);
    while (head.length < GZIP_MAGIC.length) {
      const next = await iterator.next();
      if (next.done === true) break;
      head = Buffer.concat([head, next.value]);
    }
    const all = following(head, iterator);
    if (head[0] !== GZIP_MAGIC[0] || head[1] !== GZIP_MAGIC[1]) {
      yield* all;
      return;
    }
    // The pipeline's callback has nothing to do: an error also ends the iteration.
    const text = pipeline(
      Readable.from(all, { objectMode: false }),
      createGunzip(),
      () => undefined,
    );
    for await (const chunk of text) yield chunk as Uint8Array;
  } finally {
    await iterator.return?.();
  }
}

async function* following(
  head: Uint8Array,
  iterator: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (head.length > 0) yield head;
  for (;;) {
    const next = await iterator.next();
    if (next.done === true) return;
    yield next.value;
  }
}
