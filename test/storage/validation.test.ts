/** What validation says and costs beyond what the contract suite shows of it. */

import { describe, expect, test } from 'vitest';
import { SutraError } from '#sutra/errors';
import type { ConceptInput } from '#sutra/storage/storage';
import {
  MAX_BATCH_BYTES,
  abortError,
  checkBatch,
  checkConcept,
  checkNeighbors,
  checkPath,
} from '#sutra/storage/validation';
import { METHODS } from '#sutra/wire/methods';

function refusal(check: () => void): SutraError {
  try {
    check();
  } catch (error) {
    if (error instanceof SutraError) return error;
    throw error;
  }
  throw new Error('expected a refusal');
}

describe('refusals', () => {
  test('name the field, what was got and what was expected', () => {
    const error = refusal(() => checkConcept({ id: 'a', content: '', confidence: 1.5 }));
    expect(error.message).toBe('confidence: got 1.5, expected 0 to 1');
    expect(error.violations).toEqual([
      { field: 'confidence', description: 'got 1.5, expected 0 to 1' },
    ]);
  });

  test('a vector’s first bad number is told with its place', () => {
    const error = refusal(() => checkConcept({ id: 'a', content: '', embedding: [1, 2, NaN, 4] }));
    expect(error.message).toContain('got NaN at index 2');
  });

  test('a thousand bad items are counted, the first hundred listed', () => {
    const concepts = Array.from({ length: 1000 }, () => ({ id: '', content: '' }));
    const error = refusal(() => checkBatch({ concepts }));
    expect(error.violations).toHaveLength(100);
    expect(error.violations[99]?.field).toBe('concepts[99].concept_id');
    expect(error.message).toContain('and 997 more');
  });

  test('what JavaScript may pass instead of the types is refused, not thrown as a TypeError', () => {
    const odd: unknown[] = [
      { id: 7, content: '' },
      { id: 'a', content: null },
      { id: 'a', content: '', strength: '1' },
      { id: 'a', content: '', confidence: 1n },
      { id: 'a', content: '', embedding: 'vector' },
      { id: 'a', content: '', embedding: [1, '2'] },
      { id: 'a', content: '', embedding: [1, undefined] },
      undefined,
      null,
    ];
    for (const concept of odd) {
      const single = refusal(() => checkConcept(concept as ConceptInput));
      expect(single.code).toBe('INVALID_ARGUMENT');
      const batch = refusal(() => checkBatch({ concepts: [concept as ConceptInput] }));
      expect(batch.violations[0]?.field).toMatch(/^concepts\[0\]/);
    }
    for (const options of [{ direction: 'up' }, { by: 'luck' }, { types: 5 }, { types: ['0'] }]) {
      expect(refusal(() => checkPath('a', 'b', options as never)).violations).toHaveLength(1);
    }
    expect(refusal(() => checkNeighbors('a', { direction: 'OUT' } as never)).message).toContain(
      '"OUT"',
    );
  });
});

describe('the size of a batch', () => {
  test('is exactly that of its message', () => {
    const content = '🐈'.repeat(250_000);
    const concepts: ConceptInput[] = Array.from({ length: 16 }, (_, i) => ({
      id: `id${i}`,
      content,
      embedding: new Float32Array(300).fill(1),
      strength: 1,
    }));
    const associations = [{ source: 'id1', target: 'id2', type: 300, confidence: 0 }];
    const size = (last: string): number =>
      METHODS.learnBatch.encodeRequest({
        concepts: [...concepts, { id: 'last', content: last }],
        associations,
      }).length;
    // Fill up to the very byte; lengths of one and the same number of digits keep the framing alike.
    const filler = 'x'.repeat(600_000 + MAX_BATCH_BYTES - size('x'.repeat(600_000)));
    expect(size(filler)).toBe(MAX_BATCH_BYTES);
    const batch = (last: string) => ({
      concepts: [...concepts, { id: 'last', content: last }],
      associations,
    });
    expect(() => checkBatch(batch(filler))).not.toThrow();
    const error = refusal(() => checkBatch(batch(`${filler}x`)));
    expect(error.code).toBe('TOO_LARGE');
    expect(error.message).toContain(String(MAX_BATCH_BYTES + 1));
  });
});

test('the reason of an abort becomes the error', () => {
  expect(abortError(AbortSignal.abort()).code).toBe('CANCELLED');
  const timeout = new DOMException('late', 'TimeoutError');
  expect(abortError(AbortSignal.abort(timeout)).code).toBe('DEADLINE_EXCEEDED');
  const own = new SutraError('UNAVAILABLE', 'draining');
  expect(abortError(AbortSignal.abort(own))).toBe(own);
});
