/**
 * Random histories with restarts in them, against the model: whatever is done, and wherever it is closed, copied while
 * open (what a killed process leaves), flushed or read by somebody else in between, the store answers as the model does,
 * and holds together when every byte of it is checked against every other.
 */

import { cpSync } from 'node:fs';
import { join } from 'node:path';

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { ConcurrentStorage } from '#sutra/storage/embedded';
import { compareAll, operation, outcome, type Operation } from '../contract/storage-contract.js';
import { temporaryDirectory } from '../support/fixture.js';
import { ModelStorage } from '../support/model-storage.js';
import { checkDirectory } from '../support/whole-store.js';

type Step = { kind: 'operation'; run: Operation } | { kind: 'close' | 'crash' | 'read' | 'flush' };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: operation.map((run) => ({ kind: 'operation' as const, run })) },
  { weight: 1, arbitrary: fc.constant({ kind: 'close' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'crash' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'read' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'flush' as const }) },
);

describe('a store that is restarted', () => {
  for (const durability of ['always', 'interval'] as const) {
    for (const threshold of [1, 7, 50_000]) {
      test(`answers as the model does: ${durability}, threshold ${threshold}`, async () => {
        await fc.assert(
          fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
            const root = temporaryDirectory('restart');
            const options = { durability, threshold, reconcileMs: 5 };
            let generation = 0;
            let directory = join(root, 'store0');
            let storage = await ConcurrentStorage.open(directory, options);
            const model = new ModelStorage();
            try {
              for (const s of steps) {
                if (s.kind === 'operation') {
                  expect(await outcome(s.run, storage)).toEqual(await outcome(s.run, model));
                } else if (s.kind === 'flush') {
                  await storage.flush();
                } else if (s.kind === 'close') {
                  await storage.close();
                  storage = await ConcurrentStorage.open(directory, options);
                  await compareAll(storage, model);
                } else if (s.kind === 'crash') {
                  // The files as a killed process leaves them; what the copy misses is what it would miss.
                  const copy = join(root, `store${++generation}`);
                  cpSync(directory, copy, { recursive: true });
                  await storage.close();
                  directory = copy;
                  storage = await ConcurrentStorage.open(directory, options);
                  await compareAll(storage, model);
                } else {
                  const reader = await ConcurrentStorage.open(directory, { readOnly: true });
                  await compareAll(reader, model);
                  await reader.close();
                }
              }
              await compareAll(storage, model);
              const whole = await checkDirectory(directory);
              await storage.flush();
              expect((await checkDirectory(directory)).digest).toBe(whole.digest);
            } finally {
              await storage.close();
            }
          }),
          { numRuns: 15 },
        );
      }, 300_000);
    }
  }
});
