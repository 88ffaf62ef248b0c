/**
 * A reader that opens at any moment of a writer's life: between any two of its disk operations, in the middle of group
 * commits, rolls, checkpoints, closes, and of the recovery after a power cut. It always opens, changes nothing, and sees a
 * whole number of calls, no fewer than were acknowledged.
 */

import { expect, test } from 'vitest';

import { SutraError } from '#sutra/errors';
import { Store } from '#sutra/engine/store';

import { seededRandom, testSeed } from '../support/random.js';
import { checkAgainst, DIRECTORY, Scenario, STORE_OPTIONS } from '../support/scenario.js';
import { randomChoice, SimDisk, type Operation } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';

/** Opens a reader on the disk as it is, and judges it. */
function read(disk: SimDisk, scenario: Scenario, least: number, at: Operation): void {
  const { operations } = disk;
  const files = disk.openFiles.size;
  const where = `before operation ${at.index}, ${at.kind} ${at.path}`;
  let reader: Store;
  try {
    reader = Store.open(DIRECTORY, new SimEnvironment(disk, 4), {
      ...STORE_OPTIONS,
      readOnly: true,
    });
  } catch (error) {
    // Before there is a store.
    const code = error instanceof SutraError ? error.code : '';
    if (least === 0 && (code === 'NO_SUCH_DIRECTORY' || code === 'NOT_A_STORE')) return;
    throw new Error(`reader ${where}: ${String(error)}`, { cause: error });
  }
  try {
    checkAgainst(scenario, reader, least, scenario.madeSequence);
  } catch (error) {
    throw new Error(`reader ${where}: ${String(error)}`, { cause: error });
  }
  // Done when it returns: a reader has nothing to wait for.
  void reader.close();
  if (disk.operations !== operations) throw new Error(`reader ${where}: it wrote`);
  if (disk.openFiles.size !== files) throw new Error(`reader ${where}: it left files open`);
}

for (const durability of ['always', 'interval'] as const) {
  test(`a reader opens between any two operations of its writer: ${durability}`, async () => {
    const first = testSeed();
    let reads = 0;
    for (let n = 0; n < 3; n++) {
      const seed = (first + n) >>> 0;
      try {
        reads += await run(seed, durability);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        throw new Error(`SUTRA_TEST_SEED=${seed}: ${message}`, { cause: error });
      }
    }
    console.log(`readers, ${durability}: ${reads} opened, seed ${first}`);
    expect(reads).toBeGreaterThan(300);
  }, 300_000);
}

async function run(seed: number, durability: 'always' | 'interval'): Promise<number> {
  const random = seededRandom(seed);
  const disk = new SimDisk();
  const scenario = new Scenario(disk, random, { ...STORE_OPTIONS, durability });
  let reads = 0;
  let problem: unknown = null;
  const crashed: SimDisk[] = [];
  const readBefore = (on: SimDisk, least: (index: number) => number) => (operation: Operation) => {
    try {
      if (problem === null) read(on, scenario, least(operation.index), operation);
      reads++;
    } catch (error) {
      // Not thrown into the writer, which would take it for a failing disk.
      problem = error;
    }
    return null;
  };
  const readLive = readBefore(disk, () => scenario.acknowledgedSequence);
  disk.onOperation = (operation) => {
    if (random() < 0.05) crashed.push(disk.crash(randomChoice(random)));
    return readLive(operation);
  };
  let store = scenario.open();
  for (let step = 0; step < 25; step++) {
    expect(await scenario.burst(1 + Math.floor(random() * 5))).toBe(true);
    const draw = random();
    if (draw < 0.15) {
      await store.flush();
    } else if (draw < 0.35) {
      await store.close();
      store = scenario.open();
    } else {
      await scenario.environment.advance(12);
    }
  }
  await store.close();
  for (const disk of crashed) {
    const { sequence } = peek(disk);
    // The lock file a power cut left may hold an old record. Between taking the lock and writing its name, the new holder seems
    // to be the one that published it, and its readers stop there: for some microseconds, and never inside a call.
    disk.onOperation = readBefore(disk, (index) => (index <= 2 ? 0 : sequence));
    const next = Store.open(DIRECTORY, new SimEnvironment(disk, 5), STORE_OPTIONS);
    await next.close();
  }
  if (problem !== null) throw problem as Error;
  return reads;
}

/** What a reader of a crashed disk sees before anybody recovers it. */
function peek(disk: SimDisk): { sequence: number } {
  if (disk.stat(DIRECTORY) === null || disk.list(DIRECTORY).length === 0) return { sequence: 0 };
  const reader = Store.open(DIRECTORY, new SimEnvironment(disk, 6), {
    ...STORE_OPTIONS,
    readOnly: true,
  });
  const { sequence } = reader.state;
  void reader.close();
  return { sequence };
}
