/**
 * Clock jumps (the fault matrix, row 14): the wall clock leaps by years, back and forth, below zero and past what a double
 * holds exactly, or says nothing at all. It is recorded and never used, so the sequences, the digest, recovery and checkpoints
 * are what they are under a steady clock; and what is recorded is an integer in [0, 2^53) whatever the clock said.
 *
 * SUTRA_CRASH_SEEDS histories per durability (default 6).
 */

import { describe, expect, test } from 'vitest';

import { Store } from '#sutra/engine/store';

import { dumpState, HistoryMaker, HistoryModel, perform, type Call } from '../support/history.js';
import { seededRandom, testSeed } from '../support/random.js';
import { DIRECTORY, STORE_OPTIONS } from '../support/scenario.js';
import { SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';
import { checkState } from '../support/whole-store.js';

const SEEDS = Number(process.env['SUTRA_CRASH_SEEDS'] ?? 6);
/** Bounds a hang. */
const LONGEST_MS = 60_000 * SEEDS;
const STEPS = 150;
const YEAR_US = 365.25 * 24 * 3600 * 1e6;

/** Timers and nowMs go on as ever; only the wall clock is somebody else's. */
class JumpingClock extends SimEnvironment {
  wallUs = 1_700_000_000_000_000;

  override nowUs(): number {
    return this.wallUs;
  }
}

const ODD = [
  ...[0, -0, -1, 1.5, 0.1, -0.1, NaN, Infinity, -Infinity, -1e300, 1e300, Number.MIN_VALUE],
  ...[2 ** 32, 2 ** 32 - 1, 2 ** 53 - 1, 2 ** 53, -(2 ** 53), 2 ** 63, 2 ** 64],
];

function jump(nowUs: number, random: () => number): number {
  const draw = random();
  const steady = Number.isSafeInteger(nowUs) && nowUs >= 0 ? nowUs : 1_700_000_000_000_000;
  if (draw < 0.4) return steady + Math.floor(random() * 1e6);
  if (draw < 0.55) return steady - Math.floor(random() * 1e6);
  if (draw < 0.8) return steady + Math.round((random() - 0.5) * 80 * YEAR_US);
  return ODD[Math.floor(random() * ODD.length)] ?? 0;
}

/** What is recorded of what a clock said: nothing that is not an integer in [0, 2^53). */
function recorded(us: number): number {
  if (Number.isNaN(us) || us < 0) return 0;
  return us > Number.MAX_SAFE_INTEGER ? Number.MAX_SAFE_INTEGER : Math.floor(us);
}

interface Counts {
  calls: number;
  jumps: number;
  recoveries: number;
  checkpoints: number;
}

async function run(seed: number, durability: 'always' | 'interval', counts: Counts): Promise<void> {
  const random = seededRandom(seed);
  const options = { ...STORE_OPTIONS, durability };
  const maker = new HistoryMaker(random);
  const model = new HistoryModel();
  let disk = new SimDisk();
  let environment = new JumpingClock(disk);
  let store = Store.open(DIRECTORY, environment, options);
  const compare = (): void => {
    checkState(store.state);
    expect(dumpState(store.state)).toBe(model.dump());
  };
  const reopen = (): void => {
    const { wallUs } = environment;
    environment = new JumpingClock(disk);
    environment.wallUs = wallUs;
    store = Store.open(DIRECTORY, environment, options);
    counts.recoveries++;
    compare();
  };
  for (let step = 0; step < STEPS; step++) {
    if (random() < 0.7) {
      environment.wallUs = jump(environment.wallUs, random);
      counts.jumps++;
    }
    const call: Call = maker.next(model, recorded(environment.wallUs));
    model.applyCall(call);
    expect(await perform(store, call)).toBe(model.sequence);
    counts.calls++;
    const draw = random();
    if (draw < 0.05) await store.flush();
    else if (draw < 0.1) {
      counts.checkpoints += store.checkpointer?.checkpoints ?? 0;
      await store.close();
      reopen();
    } else if (draw < 0.15) {
      // Killed. The digests of what serves and of what is recovered are compared by every checkpoint too.
      counts.checkpoints += store.checkpointer?.checkpoints ?? 0;
      disk = disk.killed();
      reopen();
    } else await environment.advance(draw < 0.5 ? 25 : 1);
    expect(store.problem).toBeNull();
  }
  await store.flush();
  compare();
  counts.checkpoints += store.checkpointer?.checkpoints ?? 0;
  await store.close();
  reopen();
  await store.close();
  for (const { createdUs, updatedUs } of model.concepts.values()) {
    for (const us of [createdUs, updatedUs]) expect(Number.isSafeInteger(us) && us >= 0).toBe(true);
  }
}

describe('a clock that jumps', () => {
  for (const durability of ['always', 'interval'] as const) {
    test(
      `has no effect but on the times recorded: durability ${durability}`,
      async () => {
        const first = testSeed();
        const counts = { calls: 0, jumps: 0, recoveries: 0, checkpoints: 0 };
        for (let n = 0; n < SEEDS; n++) {
          const seed = (first + n) >>> 0;
          try {
            await run(seed, durability, counts);
          } catch (error) {
            const message = error instanceof Error ? error.message : String(error);
            throw new Error(`SUTRA_TEST_SEED=${seed}: ${message}`, { cause: error });
          }
        }
        console.log(
          `row 14, ${durability}: ${counts.calls} calls, ${counts.jumps} clock jumps, ` +
            `${counts.recoveries} recoveries, ${counts.checkpoints} checkpoints, 0 differences, seed ${first}`,
        );
        expect(counts.checkpoints).toBeGreaterThan(SEEDS);
        expect(counts.recoveries).toBeGreaterThan(SEEDS);
      },
      LONGEST_MS,
    );
  }
});
