/**
 * The Nth operation on the disk fails (the fault matrix, rows 3, 4, 5 and 9): with EIO, with ENOSPC, or by a short write; once, or
 * from there on for ever; for every N until the run completes, through group commits, rolls, checkpoints, closes and
 * reopenings. Nothing is acknowledged that is not there afterwards, nothing that was refused for want of space is; the
 * store reports what is final, closes, lets go of all its files, opens again, and holds together. It is then opened both
 * as a killed process leaves it and as a power cut does.
 *
 * SUTRA_IO_SEEDS histories (default 1), SUTRA_IO_STRIDE: every so manieth N (default 3).
 */

import { describe, expect, test } from 'vitest';

import { SutraError } from '#sutra/errors';
import { Store } from '#sutra/engine/store';

import { seededRandom, testSeed } from '../support/random.js';
import {
  checkAgainst,
  checkWritesOn,
  DIRECTORY,
  Scenario,
  STORE_OPTIONS,
} from '../support/scenario.js';
import { randomChoice, SimDisk, type Verdict } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';

const SEEDS = Number(process.env['SUTRA_IO_SEEDS'] ?? 1);
const STRIDE = Number(process.env['SUTRA_IO_STRIDE'] ?? 3);
const STEPS = 14;

interface Plan {
  readonly seed: number;
  readonly n: number;
  readonly verdict: Exclude<Verdict, null>;
  readonly forEver: boolean;
  readonly durability: 'always' | 'interval';
}

interface Outcome {
  /** The run came to its end before operation N. */
  readonly isBeyond: boolean;
  readonly ended: 'failed' | 'not opened' | 'complete';
}

/** Throws when the promise is not settled after more turns of the event loop than anything here takes. */
async function bounded<T>(promise: Promise<T>, what: string): Promise<T> {
  let isSettled = false;
  const settled = promise.finally(() => (isSettled = true));
  const hang = async (): Promise<T> => {
    for (let turn = 0; turn < 3000 && !isSettled; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (!isSettled) throw new Error(`${what} hangs`);
    return settled;
  };
  return Promise.race([settled, hang()]);
}

/** Resolves with the code it rejects with, or null. Anything but a SutraError for a disk is thrown on. */
async function failure(promise: Promise<unknown>, what: string): Promise<string | null> {
  try {
    await bounded(promise, what);
    return null;
  } catch (error) {
    if (!(error instanceof SutraError)) throw error;
    // INTERNAL is what an EIO of the lock file is: an error that nobody foresaw, but a final one all the same.
    if (!['DISK_FAILED', 'DISK_FULL', 'INTERNAL'].includes(error.code)) throw error;
    return error.code;
  }
}

async function run(plan: Plan): Promise<Outcome> {
  const { n, verdict, forEver, durability } = plan;
  const random = seededRandom(plan.seed);
  const disk = new SimDisk();
  const scenario = new Scenario(disk, random, { ...STORE_OPTIONS, durability }, 12);
  let isWell = false;
  /** Power cuts between two bursts, with what must be there then: everything, and nothing that was refused. */
  const images: { readonly disk: SimDisk; readonly sequence: number }[] = [];
  disk.onOperation = ({ index }) => {
    if (isWell || index < n || (!forEver && index > n)) return null;
    return verdict;
  };

  let ended: Outcome['ended'] = 'complete';
  let store: Store | null = null;
  const open = (): Store | null => {
    try {
      return scenario.open();
    } catch (error) {
      if (!(error instanceof SutraError)) {
        // What translate() does not know is passed on as the disk threw it.
        if (!(error instanceof Error && /simulated|wrote/.test(error.message))) throw error;
      } else if (!['DISK_FAILED', 'DISK_FULL', 'INTERNAL'].includes(error.code)) throw error;
      return null;
    }
  };
  const close = async (): Promise<void> => {
    if (store !== null) await failure(store.close(), 'close');
    store = null;
    if (disk.openFiles.size > 0) throw new Error('files are open after close');
  };

  store = open();
  if (store === null) {
    ended = 'not opened';
  } else {
    for (let step = 0; step < STEPS; step++) {
      const current: Store = store;
      const draw = random();
      if (!(await bounded(scenario.burst(1 + Math.floor(random() * 4)), 'a burst'))) {
        ended = 'failed';
        const reported = await bounded(current.failed, 'the report of a failure');
        if (current.problem === null) throw new Error(`healthy after ${reported.message}`);
        break;
      }
      if (durability === 'always' && random() < 0.3) {
        const sequence = scenario.acknowledgedSequence;
        images.push({ disk: disk.crash(randomChoice(random)), sequence });
      }
      if (draw < 0.15) {
        await failure(current.flush(), 'flush');
      } else if (draw < 0.35) {
        await close();
        store = open();
        if (store === null) {
          ended = 'not opened';
          break;
        }
      } else {
        await scenario.environment.advance(draw < 0.6 ? 1100 : 11);
      }
    }
  }
  const isBeyond = disk.operations < n;

  const last = store;
  if (last !== null && last.problem?.code === 'DISK_FAILED' && ended === 'complete') {
    // A roll failed with no write behind it, or a checkpoint did, which is tried again.
    if (!(await scenario.burst(1))) ended = 'failed';
  }
  isWell = true;
  if (last !== null && ended === 'complete') {
    // Whatever was not final passes by itself when the disk is well again.
    await scenario.environment.advance(6000);
    await scenario.environment.settle();
    const code = last.problem?.code ?? null;
    if (code !== null && !(await isFinal(last)))
      throw new Error(`still ${code} on a disk that is well`);
    if (code === null) {
      await last.flush();
      if (!(await scenario.burst(2))) throw new Error('fails on a disk that is well');
    }
  }
  const crashed = disk.crash(randomChoice(random));
  await close();

  const least = durability === 'always' ? scenario.acknowledgedSequence : 0;
  // As the process left it; the lock must be free by now.
  await verify(disk, scenario, scenario.acknowledgedSequence);
  await verify(crashed, scenario, least);
  for (const image of images) {
    await verify(image.disk, scenario, image.sequence, image.sequence);
  }
  // What was recovered from a cache that no sync will ever write must have been written anew.
  const later = disk.crash(randomChoice(random));
  const again = Store.open(DIRECTORY, new SimEnvironment(later, 10), STORE_OPTIONS);
  const { sequence } = again.state;
  await again.close();
  if (sequence < scenario.acknowledgedSequence) {
    throw new Error(`lost after recovery: ${scenario.acknowledgedSequence}, found ${sequence}`);
  }
  return { isBeyond, ended };
}

async function isFinal(store: Store): Promise<boolean> {
  return Promise.race([store.failed.then(() => true), Promise.resolve().then(() => false)]);
}

async function verify(
  disk: SimDisk,
  scenario: Scenario,
  least: number,
  most = scenario.madeSequence,
): Promise<void> {
  const store = Store.open(DIRECTORY, new SimEnvironment(disk, 9), STORE_OPTIONS);
  try {
    checkAgainst(scenario, store, least, most);
    await checkWritesOn(disk, store, false);
  } finally {
    await store.close();
  }
}

describe('the Nth operation on the disk fails', () => {
  for (const [verdict, forEver, durability] of [
    ['EIO', false, 'always'],
    ['EIO', true, 'always'],
    ['ENOSPC', false, 'always'],
    ['ENOSPC', true, 'always'],
    ['short', false, 'always'],
    ['short', true, 'always'],
    ['EIO', false, 'interval'],
    ['ENOSPC', false, 'interval'],
  ] as const) {
    test(
      `${verdict}, ${forEver ? 'for ever' : 'once'}, ${durability}`,
      async () => {
        const first = testSeed();
        const counts = { failed: 0, 'not opened': 0, complete: 0 };
        for (let s = 0; s < SEEDS; s++) {
          const seed = (first + s) >>> 0;
          // Which ones a stride leaves out is another matter in each run.
          for (let n = 1 + (seed % STRIDE), isBeyond = false; !isBeyond; n += STRIDE) {
            if (n > 5000) throw new Error('the run does not end');
            try {
              const outcome = await run({ seed, n, verdict, forEver, durability });
              counts[outcome.ended]++;
              isBeyond = outcome.isBeyond;
            } catch (error) {
              const message =
                error instanceof Error ? (error.stack ?? error.message) : String(error);
              throw new Error(`SUTRA_TEST_SEED=${seed} ${verdict} at operation ${n}: ${message}`, {
                cause: error,
              });
            }
          }
        }
        console.log(
          `${verdict}, ${forEver ? 'for ever' : 'once'}, ${durability}: ${JSON.stringify(counts)}`,
        );
        expect(counts.failed + counts['not opened'] + counts.complete).toBeGreaterThan(10);
      },
      600_000 * SEEDS * Math.ceil(3 / STRIDE),
    );
  }
});
