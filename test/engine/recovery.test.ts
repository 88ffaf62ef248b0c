/** How the log's end is judged, and what a writer then does to it: single cases; test/crash goes through all of them. */

import { describe, expect, test } from 'vitest';

import { Store } from '#sutra/engine/store';

import { DIRECTORY, STORE_OPTIONS } from '../support/scenario.js';
import { SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';
import { checkState } from '../support/whole-store.js';

const OPTIONS = { ...STORE_OPTIONS, threshold: 1_000_000 };

function segment(ordinal: number): string {
  return `${DIRECTORY}/wal-${String(ordinal).padStart(10, '0')}.log`;
}

function open(disk: SimDisk, readOnly = false): { store: Store; logged: string[] } {
  const environment = new SimEnvironment(disk);
  const store = Store.open(DIRECTORY, environment, { ...OPTIONS, readOnly });
  return { store, logged: environment.logged };
}

async function learn(store: Store, id: string, content = ''): Promise<number> {
  const learned = { id, content, strength: 1, confidence: 1, embedding: null };
  return (await store.commits.learn(learned)).firstSequence;
}

/** A store of which nobody remembers how far it was synced. */
function withoutLock(disk: SimDisk): SimDisk {
  const copy = disk.killed();
  copy.unlink(`${DIRECTORY}/lock`);
  return copy;
}

describe('a torn tail', () => {
  test('behind a closed marker is cut off, kept aside and reported', async () => {
    const disk = new SimDisk();
    let { store } = open(disk);
    await learn(store, 'a');
    await store.close();
    ({ store } = open(disk));
    const end = disk.bytesOf(segment(1)).length;
    await learn(store, 'b', 'x'.repeat(1000));
    const crashed = withoutLock(disk);
    crashed.put(segment(1), crashed.bytesOf(segment(1)).subarray(0, -8));

    const again = open(crashed);
    expect(again.store.state.sequence).toBe(1);
    expect(crashed.bytesOf(segment(1)).length).toBe(end);
    expect(crashed.bytesOf(`${segment(1)}.torn`).length).toBeGreaterThan(1000);
    expect(again.logged.filter((line) => line.startsWith('warn: '))).toHaveLength(1);
    // A shorter frame over the torn one must leave nothing of it behind the seal.
    await learn(again.store, 'c');
    await again.store.flush();
    await again.store.close();
    const last = open(crashed);
    expect(last.store.state.sequence).toBe(2);
    checkState(last.store.state);
    await last.store.close();
    await store.close();
  });
});
