/** Reads that pause between slices while writes go on: what they answer is never another concept's. */

import { expect, test } from 'vitest';

import { nodeEnvironment } from '#sutra/engine/environment';
import { ConcurrentStorage } from '#sutra/storage/embedded';

import { expectError } from '../contract/storage-contract.js';
import { temporaryPath } from '../support/fixture.js';

/** A store where every look at the clock is worth a slice, so that whatever may pause does; `onPause` runs in each pause. */
async function pausing(
  use: (
    storage: ConcurrentStorage,
    during: (onPause: (pauses: number) => Promise<unknown>) => void,
  ) => Promise<void>,
): Promise<void> {
  let ms = 0;
  let pauses = 0;
  let act: (pauses: number) => Promise<unknown> = () => Promise.resolve();
  const environment = nodeEnvironment();
  const { indexHost } = environment;
  const storage = await ConcurrentStorage.open(temporaryPath(), {
    environment: {
      ...environment,
      // Never one: on a slow machine it would be there in time, and answer without a pause.
      ...(indexHost === undefined ? {} : { indexHost: { ...indexHost, fromFloats: Infinity } }),
      nowMs: () => (ms += 10),
      pause: async () => {
        await act(++pauses);
      },
    },
  });
  try {
    await use(storage, (onPause) => {
      pauses = 0;
      act = onPause;
    });
  } finally {
    act = () => Promise.resolve();
    await storage.close();
  }
}

test('a slot that is handed out again while a search pauses brings no concept in that was never found', async () => {
  await pausing(async (storage, during) => {
    const wide = Array.from({ length: 4096 }, (_, i) => (i === 0 ? 1 : 0));
    const near = Array.from({ length: 4096 }, (_, i) => (i < 2 ? 1 : 0));
    await storage.learnConcept({ id: 'best', content: '', embedding: wide });
    for (let i = 0; i < 200; i++) {
      await storage.learnConcept({ id: `other ${i}`, content: '', embedding: near });
    }
    let seen = 0;
    during(async (pauses) => {
      seen = pauses;
      if (pauses > 1) return;
      await storage.forgetConcept('best');
      await storage.learnConcept({ id: 'in its place', content: 'has no embedding at all' });
    });
    const found = await storage.vectorSearch(wide, { k: 3 });
    expect(seen).toBeGreaterThan(0);
    expect(found.map(({ id }) => id).join()).not.toContain('in its place');
    expect(found).toHaveLength(3);
  });
});

test('the best match forgotten while a search pauses makes room for the next one', async () => {
  await pausing(async (storage, during) => {
    const towards = (second: number): number[] =>
      Array.from({ length: 4096 }, (_, i) => (i === 0 ? 1 : i === 1 ? second : 0));
    await storage.learnConcept({ id: 'best', content: '', embedding: towards(0) });
    for (let i = 0; i < 200; i++) {
      await storage.learnConcept({ id: `other ${i}`, content: '', embedding: towards(1 + i) });
    }
    let seen = 0;
    during(async (pauses) => {
      seen = pauses;
      if (pauses === 1) await storage.forgetConcept('best');
    });
    const found = await storage.vectorSearch(towards(0), { k: 1 });
    expect(seen).toBeGreaterThan(0);
    expect(found.map(({ id }) => id)).toEqual(['other 0']);
  });
});

test('a neighbourhood that pauses takes nobody in for having the slot of one who was near', async () => {
  await pausing(async (storage, during) => {
    const NEAR = 20_000;
    const ids = Array.from({ length: NEAR }, (_, i) => `near ${i}`);
    const far = (i: number): number[] => [1, 1, i];
    for (let from = 0; from < NEAR; from += 5000) {
      const part = ids.slice(from, from + 5000);
      const concepts = part.map((id, i) => ({ id, content: '', embedding: far(from + i) }));
      await storage.learnBatch({ concepts });
    }
    await storage.learnConcept({ id: 'center', content: '' });
    for (let from = 0; from < NEAR; from += 5000) {
      const associations = ids
        .slice(from, from + 5000)
        .map((id) => ({ source: 'center', target: id }));
      await storage.learnBatch({ associations });
    }
    // At one pause each, while the neighbours are collected; when there was none, nothing changed.
    const replaced = new Set<string>();
    for (let at = 1; at <= 3; at++) {
      let done = false;
      during(async (pauses) => {
        if (pauses !== at) return;
        done = true;
        const id = `near ${at}`;
        replaced.add(id);
        await storage.forgetConcept(id);
        // Where it was; it would be the nearest of all.
        await storage.learnConcept({ id: `in its place ${at}`, content: '', embedding: [1, 1, 0] });
      });
      const found = await storage.vectorSearch([1, 1, 0], { k: 20, within: { id: 'center' } });
      if (at <= 2) expect(done).toBe(true);
      expect(found).toHaveLength(20);
      for (const { id } of found) expect(id).toMatch(/^near /);
      for (const { id } of found) expect(replaced).not.toContain(id);
    }
  });
});

test('a match that is forgotten while contents are read is left out; the others have theirs', async () => {
  await pausing(async (storage, during) => {
    for (let i = 0; i < 6; i++) {
      await storage.learnConcept({ id: `m${i}`, content: `content ${i}`, embedding: [1, i] });
    }
    during(async (pauses) => {
      if (pauses === 1) await storage.forgetConcept('m3');
    });
    const found = await storage.vectorSearch([1, 0], { k: 5, withContent: true });
    expect(found.map(({ id, content }) => [id, content])).toEqual(
      [0, 1, 2, 4].map((i) => [`m${i}`, `content ${i}`]),
    );
  });
});

test('contents beyond 16 MiB in one answer are refused, and fewer matches are not', async () => {
  const storage = await ConcurrentStorage.open(temporaryPath());
  try {
    const content = 'é'.repeat(512 * 1024);
    for (let i = 0; i < 17; i++) {
      await storage.learnConcept({ id: `m${i}`, content, embedding: [1, i] });
    }
    const all = storage.vectorSearch([1, 0], { k: 17, withContent: true });
    const error = await expectError(all, 'TOO_LARGE');
    expect(error.message).toBe('the contents of 17 matches are more than 16777216 bytes');
    expect(await storage.vectorSearch([1, 0], { k: 17 })).toHaveLength(17);
    const some = await storage.vectorSearch([1, 0], { k: 16, withContent: true });
    expect(some.every((match) => match.content === content)).toBe(true);
  } finally {
    await storage.close();
  }
});
