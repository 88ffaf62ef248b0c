/**
 * Power loss (the fault matrix, rows 2 and 9): before every operation on the disk, the states that a power cut could leave
 * there are rebuilt and opened: all of them where they are few, else a seeded sample. What was acknowledged is there,
 * nothing that was never written is, no batch is there by half, and the store takes writes again. Recovery is cut off by
 * further power cuts, up to three deep.
 *
 * SUTRA_CRASH_SEEDS histories (default 1), SUTRA_CRASH_STATES states per operation (default 3, twice that before syncs).
 */

import { describe, expect, test } from 'vitest';

import { Store } from '#sutra/engine/store';

import { seededRandom, testSeed } from '../support/random.js';
import {
  checkAgainst,
  checkWritesOn,
  DIRECTORY,
  Scenario,
  STORE_OPTIONS,
} from '../support/scenario.js';
import { everyChoice, randomChoice, SimDisk, type Choose } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';

const SEEDS = Number(process.env['SUTRA_CRASH_SEEDS'] ?? 1);
const STATES = Number(process.env['SUTRA_CRASH_STATES'] ?? 3);
/** Enumerate all states when there are at most so many. */
const FEW = 24;
const DEPTH = 3;

interface Image {
  readonly disk: SimDisk;
  readonly at: string;
  /** Sequences that the state must lie between. */
  readonly least: number;
  readonly most: number;
  /** What storage.dat by itself must hold: a flush that was done. */
  readonly flushed: number;
}

/** States of `disk` now: all when few, else `count` random ones. */
function crashStates(disk: SimDisk, random: () => number, count: number): SimDisk[] {
  const images: SimDisk[] = [];
  // The lock file is never synced, so every record that was ever in it may be there: always by chance.
  const take = (choose: Choose): void => {
    const forLock = randomChoice(random);
    images.push(disk.crash(choose, (name) => (name === 'lock' ? forLock : choose)));
  };
  if (disk.crashStates('lock') <= FEW) everyChoice(FEW, take);
  else for (let n = 0; n < count; n++) take(randomChoice(random));
  return images;
}

async function verify(
  image: Image,
  scenario: Scenario,
  random: () => number,
  depth: number,
): Promise<number> {
  const { disk, least, most, at, flushed } = image;
  let states = 1;
  const nested: Image[] = [];
  if (depth < DEPTH && random() < 0.04) {
    disk.onOperation = ({ kind, path }) => {
      for (const state of crashStates(disk, random, 1).slice(0, 2)) {
        nested.push({ ...image, disk: state, at: `${at}, then recovery: ${kind} ${path}` });
      }
      return null;
    };
  }
  try {
    const store = Store.open(DIRECTORY, new SimEnvironment(disk, 9), STORE_OPTIONS);
    disk.onOperation = () => null;
    try {
      checkAgainst(scenario, store, least, most);
      const { base } = store.state.levels;
      const stored = base?.path === `${DIRECTORY}/storage.dat` ? base.sequence : 0;
      if (stored < flushed) throw new Error(`flushed ${flushed}, storage.dat holds ${stored}`);
      await checkWritesOn(disk, store, random() < 0.1);
    } finally {
      await store.close();
    }
  } catch (error) {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`power cut before ${at}: ${message}`, { cause: error });
  }
  for (const inner of nested) states += await verify(inner, scenario, random, depth + 1);
  return states;
}

async function run(seed: number, durability: 'always' | 'interval'): Promise<number> {
  const random = seededRandom(seed);
  const disk = new SimDisk();
  const scenario = new Scenario(disk, random, { ...STORE_OPTIONS, durability });
  const images: Image[] = [];
  /** Under interval: what a finished sync is known to cover. */
  let floor = 0;
  let flushed = 0;
  disk.onOperation = ({ index, kind, path }) => {
    const least = durability === 'always' ? scenario.acknowledgedSequence : floor;
    const at = `operation ${index}, ${kind} ${path}`;
    const count = kind === 'sync' || kind === 'syncDirectory' ? STATES * 2 : STATES;
    for (const state of crashStates(disk, random, count)) {
      images.push({ disk: state, at, least, most: scenario.madeSequence, flushed });
    }
    return null;
  };
  let store = scenario.open();
  for (let step = 0; step < 30; step++) {
    expect(await scenario.burst(1 + Math.floor(random() * 5))).toBe(true);
    const draw = random();
    if (draw < 0.1) {
      await store.flush();
      floor = flushed = scenario.acknowledgedSequence;
    } else if (draw < 0.25) {
      await store.close();
      floor = scenario.acknowledgedSequence;
      store = scenario.open();
    } else {
      await scenario.environment.advance(draw < 0.6 ? 25 : 1);
    }
  }
  await store.close();
  let states = 0;
  const verifyRandom = seededRandom(seed + 1);
  for (const image of images) states += await verify(image, scenario, verifyRandom, 1);
  return states;
}

describe('a power cut', () => {
  for (const durability of ['always', 'interval'] as const) {
    test(
      `loses nothing acknowledged and leaves no half batch: durability ${durability}`,
      async () => {
        const first = testSeed();
        let states = 0;
        for (let n = 0; n < SEEDS; n++) {
          const seed = (first + n) >>> 0;
          try {
            states += await run(seed, durability);
          } catch (error) {
            const message = error instanceof Error ? error.message : String(error);
            throw new Error(`SUTRA_TEST_SEED=${seed}: ${message}`, { cause: error });
          }
        }
        console.log(`power loss, ${durability}: ${states} crash states opened, seed ${first}`);
        expect(states).toBeGreaterThan(100 * SEEDS);
      },
      600_000 * SEEDS * Math.ceil(STATES / 4),
    );
  }
});
