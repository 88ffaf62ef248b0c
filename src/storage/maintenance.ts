/**
 * The doorway to what is done to a store's files rather than to what it stores: verifying them and repairing them. Only for
 * a directory; a server's files are looked at beside it, with the same calls.
 */

import { join } from 'node:path';

import { checkStore, type Finding, type StoreCheck } from '../engine/check.js';
import type { Disk } from '../engine/disk.js';
import { nodeEnvironment } from '../engine/environment.js';
import { LockFile } from '../engine/lock-file.js';
import { isStoreFile } from '../engine/pinned-files.js';
import { translate } from '../engine/recovery.js';
import { executeRepair, planRepair, type RepairPlan } from '../engine/repair.js';
import { runStepsInSlices, type StepProgress } from '../engine/steps.js';
import { SutraError } from '../errors.js';

export type { FileCheck, Finding, StoreCheck } from '../engine/check.js';
export type { RepairPlan } from '../engine/repair.js';
export type { StepProgress } from '../engine/steps.js';

export type OnProgress = (progress: StepProgress) => void;

/**
 * Checks every file of the store in `directory`, beside whoever writes to it; changes nothing.
 * @throws NO_SUCH_DIRECTORY, NOT_A_STORE, NOT_PERMITTED, UNAVAILABLE (it changes too fast)
 */
export async function verifyStore(directory: string, onProgress: OnProgress): Promise<StoreCheck> {
  const environment = nodeEnvironment();
  const steps = checkStore(environment.disk, directory);
  try {
    return await runStepsInSlices(steps, environment, onProgress);
  } catch (error) {
    throw translate(error, directory);
  }
}

/**
 * What a repair would do; changes nothing.
 * @throws as `verifyStore`; STORE_LOCKED, DAMAGED (nothing can be repaired), UNSUPPORTED_FORMAT
 */
export async function planStoreRepair(
  directory: string,
  onProgress: OnProgress,
): Promise<RepairPlan> {
  const environment = nodeEnvironment();
  const { disk } = environment;
  try {
    requireStore(disk, directory);
    const lock = LockFile.read(disk, directory);
    if (lock !== null && lock.held) {
      const holder = lock.pid === null ? 'another process' : `process ${lock.pid}`;
      const server = lock.address === null ? '' : `, which serves it at ${lock.address}`;
      throw new SutraError('STORE_LOCKED', `${directory} is being written by ${holder}${server}`, {
        hint: 'Repair works on a store that nobody writes to; stop that process first.',
      });
    }
    const steps = planRepair(disk, directory, lock?.durable ?? null);
    return await runStepsInSlices(steps, environment, onProgress);
  } catch (error) {
    throw translate(error, directory);
  }
}

export interface Repaired {
  readonly plan: RepairPlan;
  /** Null: nothing was needed, or it was not confirmed, and nothing was changed. */
  readonly done: {
    /** The directory that keeps the originals. */
    readonly keptIn: string;
    /** What is still wrong. */
    readonly findings: readonly Finding[];
  } | null;
}

/**
 * Repairs the store in `directory` under the writer's lock, once `confirm` has agreed to the plan; then verifies it.
 * @throws as `planStoreRepair`
 */
export async function repairStore(
  directory: string,
  confirm: (plan: RepairPlan) => Promise<boolean>,
  onProgress: OnProgress,
): Promise<Repaired> {
  const environment = nodeEnvironment();
  const { disk } = environment;
  try {
    requireStore(disk, directory);
    const lock = LockFile.acquire(disk, directory);
    try {
      const planning = planRepair(disk, directory, lock.previous);
      const plan = await runStepsInSlices(planning, environment, onProgress);
      if (!plan.needed || !(await confirm(plan))) return { plan, done: null };
      const doing = executeRepair(disk, directory, lock, plan, environment.nowUs());
      const { keptIn, durable } = await runStepsInSlices(doing, environment, onProgress);
      const checking = checkStore(disk, directory, { durable });
      const { findings } = await runStepsInSlices(checking, environment, onProgress);
      return { plan, done: { keptIn: join(directory, keptIn), findings } };
    } finally {
      lock.release();
    }
  } catch (error) {
    throw translate(error, directory);
  }
}

/** Before the lock is taken, which creates its file. */
function requireStore(disk: Disk, directory: string): void {
  const stat = disk.stat(directory);
  if (stat === null) throw new SutraError('NO_SUCH_DIRECTORY', `${directory}: no such directory`);
  if (!stat.isDirectory) throw new SutraError('NOT_A_STORE', `${directory} is not a directory`);
  if (!disk.list(directory).some(isStoreFile)) {
    throw new SutraError('NOT_A_STORE', `${directory} holds no sutra store`);
  }
}
