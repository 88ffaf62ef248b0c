/** Small stores on a simulated disk, whole and damaged in every way that matters, for the tests of verify and repair. */

import { checkStore, type StoreCheck } from '#sutra/engine/check';
import { LockFile } from '#sutra/engine/lock-file';
import { executeRepair, planRepair, type RepairPlan } from '#sutra/engine/repair';
import { runSteps } from '#sutra/engine/steps';
import { Store } from '#sutra/engine/store';

import { DIRECTORY, STORE_OPTIONS } from './scenario.js';
import { SimDisk } from './sim-disk.js';
import { SimEnvironment } from './sim-environment.js';

export const SNAPSHOT = `${DIRECTORY}/storage.dat`;
export const PREVIOUS = `${DIRECTORY}/storage.dat.prev`;
export const LOCK = `${DIRECTORY}/lock`;

export function segment(ordinal: number): string {
  return `${DIRECTORY}/wal-${String(ordinal).padStart(10, '0')}.log`;
}

export interface MadeStore {
  readonly disk: SimDisk;
  /** Digest of the state at each sequence. */
  readonly digests: ReadonlyMap<number, string>;
}

/** `flushes` checkpoints with six writes before each, and six behind the last; then a clean close, or a killed process. */
export async function makeStore(flushes: number, closes: boolean): Promise<MadeStore> {
  const disk = new SimDisk();
  const environment = new SimEnvironment(disk);
  const store = Store.open(DIRECTORY, environment, { ...STORE_OPTIONS, threshold: 1_000_000 });
  const digests = new Map<number, string>();
  const note = (): void => {
    digests.set(store.state.sequence, store.state.digest.toString());
  };
  note();
  const learn = async (id: string, content: string, embedding: Float32Array | null = null) => {
    environment.clockUs += 1000;
    await store.commits.learn({ id, content, strength: 1, confidence: 1, embedding });
    note();
  };
  const link = async (source: string, target: string) => {
    environment.clockUs += 1000;
    await store.commits.associate({ source, target, type: 1, confidence: 0.5 });
    note();
  };
  for (let round = 0; round <= flushes; round++) {
    await learn('hub', `round ${round}`);
    await learn(`a${round}`, 'x'.repeat(round * 10), Float32Array.of(1, round));
    await learn(`b${round}`, '');
    await link(`a${round}`, 'hub');
    await link('hub', `b${round}`);
    await store.commits.forgetConcept(`b${round}`);
    note();
    if (round < flushes) await store.flush();
  }
  const killed = disk.killed();
  await store.close();
  return { disk: closes ? disk.killed() : killed, digests };
}

export function verify(disk: SimDisk): StoreCheck {
  return runSteps(checkStore(disk, DIRECTORY));
}

export interface Opened {
  readonly sequence: number;
  readonly digest: string;
}

/** Opens as a writer or a reader and closes; what the opening throws comes out. */
export async function openAndClose(disk: SimDisk, readOnly = false): Promise<Opened> {
  const options = { ...STORE_OPTIONS, readOnly };
  const store = Store.open(DIRECTORY, new SimEnvironment(disk), options);
  const { sequence, digest } = store.state;
  const opened = { sequence, digest: digest.toString() };
  await store.close();
  return opened;
}

export function repair(disk: SimDisk): RepairPlan {
  const lock = LockFile.acquire(disk, DIRECTORY);
  try {
    const plan = runSteps(planRepair(disk, DIRECTORY, lock.previous));
    if (plan.needed) runSteps(executeRepair(disk, DIRECTORY, lock, plan, 1_700_000_000_000_000));
    return plan;
  } finally {
    lock.release();
  }
}

export function flip(disk: SimDisk, path: string, offset: number): void {
  const bytes = disk.bytesOf(path);
  bytes[offset] = (bytes[offset] ?? 0) ^ 0x40;
  disk.put(path, bytes);
}

export function cut(disk: SimDisk, path: string, bytes: number): void {
  const all = disk.bytesOf(path);
  disk.put(path, bytes < 0 ? all.subarray(0, bytes) : all.subarray(0, Math.min(bytes, all.length)));
}
