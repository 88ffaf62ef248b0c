/**
 * Power cuts and kills inside the forget of a hub (the fault matrix, rows 1 and 2): its associations go in slices, with reads, and
 * here a checkpoint, in between. Before every operation on the disk and between any two slices the states that a cut could leave
 * are rebuilt and opened: the hub is there with all its associations, or gone with all of them, and once the forget was
 * acknowledged it is gone. The store takes writes again.
 *
 * SUTRA_CRASH_STATES states a power cut could leave, per moment (default 1); each moment is a kill too.
 */

import { describe, expect, test } from 'vitest';

import { Store } from '#sutra/engine/store';
import { ConcurrentStorage } from '#sutra/storage/embedded';

import { seededRandom, testSeed } from '../support/random.js';
import { checkWritesOn, DIRECTORY, STORE_OPTIONS } from '../support/scenario.js';
import { randomChoice, SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';
import { checkState } from '../support/whole-store.js';

const STATES = Number(process.env['SUTRA_CRASH_STATES'] ?? 1);
const LEAVES = 3000;
/** One image in so many also takes writes and is opened again. */
const WRITES_ON = 8;
const leaf = (i: number): string => `leaf ${i}`;

/** Its clock moves whenever it is looked at, so that every slice ends after one step; and it says when one has ended. */
class SlicingEnvironment extends SimEnvironment {
  onPause: () => void = () => undefined;

  override nowMs(): number {
    this.clockUs += 5000;
    return super.nowMs();
  }

  override pause(): Promise<void> {
    this.onPause();
    return super.pause();
  }
}

/** A hub with associations both ways, in storage.dat and in the log. Returns how many. */
async function makeHub(storage: ConcurrentStorage): Promise<number> {
  const leaves = Array.from({ length: LEAVES }, (_, i) => leaf(i));
  await storage.learnBatch({
    concepts: ['hub', ...leaves].map((id) => ({ id, content: '' })),
    associations: leaves.map((target) => ({ source: 'hub', target })),
  });
  await storage.flush();
  await storage.learnBatch({
    associations: [
      ...leaves.map((source) => ({ source, target: 'hub', type: 1 })),
      ...leaves.slice(0, 100).map((source, i) => ({ source, target: leaf(i + 1) })),
    ],
  });
  return 2 * LEAVES;
}

interface Image {
  readonly at: string;
  readonly disk: SimDisk;
  /** The forget was acknowledged, durably. */
  readonly acknowledged: boolean;
}

interface Expected {
  /** Digests with the hub and without it. */
  readonly there: string;
  readonly gone: string;
  readonly edges: number;
  readonly removed: number;
}

/** Throws unless the hub is there whole or gone whole. Returns whether it is there. */
async function check(image: Image, expected: Expected, writesOn: boolean): Promise<boolean> {
  const { disk, at, acknowledged } = image;
  const store = Store.open(DIRECTORY, new SimEnvironment(disk, 9), STORE_OPTIONS);
  try {
    const { state } = store;
    const isThere = state.digest.toString() === expected.there;
    if (!isThere && state.digest.toString() !== expected.gone) {
      throw new Error(`${at}: ${state.edgeCount} associations of ${expected.edges}`);
    }
    if (isThere && acknowledged) throw new Error(`${at}: the forget was acknowledged and is lost`);
    checkState(state);
    expect(state.edgeCount).toBe(expected.edges - (isThere ? 0 : expected.removed));
    if (writesOn) await checkWritesOn(disk, store, false);
    return isThere;
  } finally {
    await store.close();
  }
}

async function run(seed: number, durability: 'always' | 'interval', withCheckpoint: boolean) {
  const random = seededRandom(seed);
  const disk = new SimDisk();
  const environment = new SlicingEnvironment(disk, 7);
  const storage = await ConcurrentStorage.open(DIRECTORY, { environment, durability });
  const removed = await makeHub(storage);
  await environment.advance(20);
  const { edges } = await storage.stats();
  const there = storage.stateSum().digest;

  // A checkpoint that began before the forget, and does its work between two slices of it.
  let release = (): void => undefined;
  let flushing: Promise<unknown> = Promise.resolve();
  if (withCheckpoint) {
    environment.holdCheckpoint = new Promise((resolve) => {
      release = () => {
        environment.holdCheckpoint = null;
        resolve();
      };
    });
    flushing = storage.flush();
    await environment.settle();
  }

  const images: Image[] = [];
  let acknowledged = false;
  let slices = 0;
  const take = (at: string): void => {
    const isDurable = acknowledged && durability === 'always';
    for (let n = 0; n < STATES; n++) {
      const cut = disk.crash(randomChoice(random));
      images.push({ at: `power cut ${at}`, disk: cut, acknowledged: isDurable });
    }
    images.push({ at: `killed ${at}`, disk: disk.killed(), acknowledged });
  };
  disk.onOperation = ({ index, kind, path }) => {
    take(`before operation ${index}, ${kind} ${path}`);
    return null;
  };
  environment.onPause = () => {
    take(`behind slice ${slices++}`);
    release();
  };
  const forgetting = storage.forgetConcept('hub');
  expect(await forgetting).toMatchObject({ found: true, associations: removed });
  acknowledged = true;
  const gone = storage.stateSum().digest;
  take('behind the acknowledgement');
  await flushing;
  expect(environment.checkpointsBegun).toBe(withCheckpoint ? 2 : 1);
  disk.onOperation = () => null;
  environment.onPause = () => undefined;
  await storage.close();

  let found = 0;
  for (const [n, image] of images.entries()) {
    if (await check(image, { there, gone, edges, removed }, n % WRITES_ON === 0)) found++;
  }
  return { states: images.length, slices, found };
}

describe('a power cut or a kill inside the forget of a hub', () => {
  for (const durability of ['always', 'interval'] as const) {
    for (const withCheckpoint of [false, true]) {
      const how = withCheckpoint ? ', under a checkpoint' : '';
      test(`leaves it whole or gone: durability ${durability}${how}`, async () => {
        const seed = testSeed();
        try {
          const { states, slices, found } = await run(seed, durability, withCheckpoint);
          console.log(
            `forget, ${durability}${how}: ${states} states, ${slices} slices, ` +
              `the hub there in ${found}, seed ${seed}`,
          );
          expect(slices).toBeGreaterThan(1);
          expect(found).toBeGreaterThan(0);
          expect(found).toBeLessThan(states);
        } catch (error) {
          const message = error instanceof Error ? error.message : String(error);
          throw new Error(`SUTRA_TEST_SEED=${seed}: ${message}`, { cause: error });
        }
      }, 600_000);
    }
  }
});
