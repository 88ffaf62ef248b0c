/** What changed since a search began, and what is kept of it. */

import { describe, expect, test } from 'vitest';

import { SearchJournal } from '#sutra/engine/vector/search-journal';

const none = new Uint32Array(0);

describe('SearchJournal', () => {
  test('tells each search what changed since it began', () => {
    const journal = new SearchJournal();
    journal.push(1);
    const first = journal.begin();
    expect(journal.hasChanged(first)).toBe(false);
    journal.push(2);
    const second = journal.begin();
    journal.push(3);
    expect(journal.hasChangedAmong(Uint32Array.of(2), first)).toBe(true);
    expect(journal.hasChangedAmong(Uint32Array.of(2), second)).toBe(false);
    expect(journal.hasChangedAmong(Uint32Array.of(1, 3), second)).toBe(true);
    expect(journal.hasChangedAmong(none, first)).toBe(false);
    journal.end(first);
    expect(journal.hasChanged(second)).toBe(true);
    expect(journal.hasChangedAmong(Uint32Array.of(3), second)).toBe(true);
    journal.end(second);
    expect(journal.length).toBe(0);
    const third = journal.begin();
    expect(journal.hasChanged(third)).toBe(false);
    journal.end(third);
  });

  test('lets go of what no search asks about, though there is never a moment without one', () => {
    const journal = new SearchJournal();
    let begin = journal.begin();
    let longest = 0;
    for (let i = 0; i < 10_000; i++) {
      for (let slot = 0; slot < 10; slot++) journal.push(slot);
      const next = journal.begin();
      journal.push(1000 + i);
      journal.end(begin);
      begin = next;
      longest = Math.max(longest, journal.length);
      expect(journal.hasChangedAmong(Uint32Array.of(1000 + i), begin)).toBe(true);
      expect(journal.hasChangedAmong(Uint32Array.of(5), begin)).toBe(false);
    }
    expect(longest).toBeLessThan(2100);
    journal.end(begin);
    expect(journal.length).toBe(0);
  });
});
