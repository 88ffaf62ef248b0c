/** Slow calls in the log: sizes and never text, and no flood. */

import { status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import type { LogFields } from '#sutra/server/logger';
import { SlowCalls } from '#sutra/server/slow-calls';

function collecting() {
  const lines: { message: string; fields: LogFields }[] = [];
  const logger = {
    info: () => undefined,
    warn: (message: string, fields: LogFields = {}) => lines.push({ message, fields }),
    error: () => undefined,
  };
  return { lines, logger };
}

const call = (request: unknown) => ({ request, getPeer: () => '127.0.0.1:1' });

test('a line names method, code, duration, peer and sizes; nothing that the client wrote', () => {
  const { lines, logger } = collecting();
  const slow = new SlowCalls(100, logger);
  const request = {
    id: 'sécret',
    content: 'confidential',
    embedding: new Float32Array(3),
    maxDepth: 6,
    concepts: [{ id: 'hidden' }],
    withEmbedding: true,
  };
  slow.note('LearnConcept', status.OK, 1234.5, call(request));
  expect(lines).toEqual([
    {
      message:
        'slow call: LearnConcept OK 1235 ms ' +
        'id_bytes=7 content_bytes=12 embedding_count=3 max_depth=6 concepts_count=1',
      fields: {
        event: 'slow_call',
        method: 'LearnConcept',
        code: 'OK',
        duration_ms: 1235,
        peer: '127.0.0.1:1',
        id_bytes: 7,
        content_bytes: 12,
        embedding_count: 3,
        max_depth: 6,
        concepts_count: 1,
      },
    },
  ]);
  expect(JSON.stringify(lines)).not.toMatch(/cret|confid|hidden/);
});

test('at most ten lines a second, and then how many there were', () => {
  const { lines, logger } = collecting();
  let nowMs = 5_000;
  const slow = new SlowCalls(1, logger, () => nowMs);
  for (let i = 0; i < 1_000; i++) slow.note('Flush', status.OK, 5, call({}));
  expect(lines).toHaveLength(10);
  nowMs += 1_000;
  slow.note('Flush', status.DEADLINE_EXCEEDED, 5, call({}));
  expect(lines).toHaveLength(12);
  expect(lines[10]?.message).toBe('990 more slow calls were not logged');
  expect(lines[11]?.message).toBe('slow call: Flush DEADLINE_EXCEEDED 5 ms');
});

test('0 means that no call is slow', () => {
  const { logger } = collecting();
  expect(new SlowCalls(0, logger).limitMs).toBe(Infinity);
});
