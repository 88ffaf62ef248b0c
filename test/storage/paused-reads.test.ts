/** Reads that pause between slices while writes go on: what they answer is never another concept's. */

import { expect, test } from 'vitest';

import { nodeEnvironment } from '#sutra/engine/environment';
import { ConcurrentStorage } from '#sutra/storage/embedded';

import { temporaryPath } from '../support/fixture.js';

test('a slot that is handed out again while a search pauses brings no concept in that was never found', async () => {
  let ms = 0;
  let onPause = (): Promise<void> => Promise.resolve();
  const storage = await ConcurrentStorage.open(temporaryPath(), {
    environment: {
      ...nodeEnvironment(),
      // Every look at the clock is worth a slice, so every block of the scan is followed by a pause.
      nowMs: () => (ms += 10),
      pause: () => onPause(),
    },
  });
  try {
    const wide = Array.from({ length: 4096 }, (_, i) => (i === 0 ? 1 : 0));
    const near = Array.from({ length: 4096 }, (_, i) => (i < 2 ? 1 : 0));
    await storage.learnConcept({ id: 'best', content: '', embedding: wide });
    for (let i = 0; i < 200; i++) {
      await storage.learnConcept({ id: `other ${i}`, content: '', embedding: near });
    }
    let pauses = 0;
    onPause = async () => {
      if (++pauses > 1) return;
      await storage.forgetConcept('best');
      await storage.learnConcept({ id: 'in its place', content: 'has no embedding at all' });
    };
    const found = await storage.vectorSearch(wide, { k: 3 });
    expect(pauses).toBeGreaterThan(0);
    expect(found.map(({ id }) => id).join()).not.toContain('in its place');
    expect(found).toHaveLength(3);
  } finally {
    onPause = () => Promise.resolve();
    await storage.close();
  }
});
