/** The merged view, where a slot that was live is asked about after it died. */

import { expect, test } from 'vitest';

import { Levels } from '#sutra/engine/levels';

test('a concept that is being forgotten still compares with others, whatever was looked at before', () => {
  const levels = new Levels(null, () => {
    throw new Error('has no log');
  });
  const ROWS = 20_000;
  for (let slot = 0; slot < ROWS; slot++) {
    const row = levels.active.addConcept(slot, 1, 2, 3, slot);
    levels.active.setConcept(row, 1, 1, 1, 1, 1, 0, 0, 0);
  }
  levels.freeze();
  // A row that the new active generation is far from having.
  expect(levels.isLive(ROWS - 1)).toBe(true);
  levels.dyingSlot = 7;
  expect(levels.compareKeys(7, ROWS - 1)).toBeLessThan(0);
  expect(levels.compareKeys(ROWS - 1, 7)).toBeGreaterThan(0);
});
