/** Seeded randomness for tests that print their seed: the same seed gives the same test. */

/** SUTRA_TEST_SEED, or a fresh one. */
export function testSeed(): number {
  const given = process.env['SUTRA_TEST_SEED'];
  return given === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(given);
}

/** Numbers in [0, 1): mulberry32 (https://github.com/bryc/code/blob/master/jshash/PRNGs.md). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
