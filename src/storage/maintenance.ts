/**
 * The doorway to what is done to a store's files rather than to what it stores: verifying them, repairing them, bringing an old
 * one over. Only for a directory; a server's files are looked at beside it, with the same calls.
 */

import { join } from 'node:path';

import { checkStore, type Finding, type StoreCheck } from '../engine/check.js';
import type { Disk } from '../engine/disk.js';
import { nodeEnvironment, recordedUs } from '../engine/environment.js';
import { removeLeftovers } from '../engine/leftovers.js';
import { LockFile } from '../engine/lock-file.js';
import type { Logger } from '../engine/logger.js';
import {
  inPlace,
  isOldStore,
  keptOldFile,
  migrate,
  type Migration,
} from '../engine/migration/migrate.js';
import type { BadItem } from '../engine/migration/version2-reader.js';
import { isStoreFile } from '../engine/pinned-files.js';
import { SNAPSHOT_NAME, translate } from '../engine/recovery.js';
import { executeRepair, planRepair, type RepairPlan } from '../engine/repair.js';
import { runStepsInSlices, type OnProgress } from '../engine/steps.js';
import { SutraError } from '../errors.js';

export type { FileCheck, Finding, StoreCheck } from '../engine/check.js';
export type { Migration } from '../engine/migration/migrate.js';
export type { BadItem } from '../engine/migration/version2-reader.js';
export type { RepairPlan } from '../engine/repair.js';
export type { OnProgress, StepProgress } from '../engine/steps.js';

/**
 * Checks every file of the store in `directory`, beside whoever writes to it; changes nothing.
 * @throws NO_SUCH_DIRECTORY, NOT_A_STORE, NOT_PERMITTED, UNAVAILABLE (it changes too fast)
 */
export async function verifyStore(directory: string, onProgress: OnProgress): Promise<StoreCheck> {
  const environment = nodeEnvironment();
  const { disk } = environment;
  try {
    let view = disk;
    if (isOldStore(disk, directory)) {
      try {
        view = inPlace(disk, directory, onProgress);
      } catch (error) {
        if (!(error instanceof SutraError) || error.code !== 'DAMAGED') throw error;
        return damagedOldStore(disk, directory, error);
      }
    }
    const check = await runStepsInSlices(checkStore(view, directory), environment, onProgress);
    return view === disk ? check : { ...check, notes: [...check.notes, OLD_VERSION_NOTE] };
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
    refuseOld(disk, directory);
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

export interface StoreHolder {
  readonly pid: number | null;
  /** Where it serves; null: it does not. */
  readonly address: string | null;
}

/** Who holds the writer's lock of `directory`; null: nobody, or there is no store. Takes nothing. */
export function readHolder(directory: string): StoreHolder | null {
  const { disk } = nodeEnvironment();
  try {
    const lock = LockFile.read(disk, directory);
    return lock !== null && lock.held ? { pid: lock.pid, address: lock.address } : null;
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
    refuseOld(disk, directory);
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

const OLD_VERSION_NOTE: Finding = {
  file: SNAPSHOT_NAME,
  offset: 8,
  what: 'version 2, read in place; `sutra migrate`, `serve` and every writing command bring it over',
};

export interface Migrated {
  /** Null: it was of today's version already, and nothing was changed. */
  readonly migration: Migration | null;
  /** Where the file of version 2 is kept, now or from an earlier migration; null: there is none. */
  readonly keptAs: string | null;
  /** What was not whole and was left out, the first of them; only when salvaging. */
  readonly left: readonly BadItem[];
  /** How many in all. */
  readonly leftCount: number;
}

/** So many of what a salvage left out are listed. */
export const MAX_LISTED = 10_000;

/**
 * Brings a storage.dat of version 2 over, under the writer's lock. `salvage`: also when it is damaged, leaving out what is not
 * whole. The old file is kept.
 * @throws NO_SUCH_DIRECTORY, NOT_A_STORE, STORE_LOCKED, DAMAGED, DISK_FULL
 */
export async function migrateStore(
  directory: string,
  salvage: boolean,
  onProgress: OnProgress,
  logger?: Logger,
): Promise<Migrated> {
  const environment = nodeEnvironment(logger);
  const { disk } = environment;
  try {
    requireStore(disk, directory);
    if (!isOldStore(disk, directory)) {
      const keptAs = keptOldFile(disk, directory);
      return { migration: null, keptAs, left: [], leftCount: 0 };
    }
    const lock = LockFile.acquire(disk, directory);
    try {
      removeLeftovers(directory, environment);
      const left: BadItem[] = [];
      let leftCount = 0;
      const note = (item: BadItem): void => {
        leftCount++;
        if (left.length < MAX_LISTED) left.push(item);
      };
      const steps = migrate(
        disk,
        directory,
        environment.randomBytes(16),
        recordedUs(environment),
        salvage ? note : undefined,
      );
      const migration = await runStepsInSlices(steps, environment, onProgress);
      return { migration, keptAs: migration?.keptAs ?? null, left, leftCount };
    } finally {
      lock.release();
    }
  } catch (error) {
    throw translate(error, directory);
  }
}

/** What can be said of a version 2 file that is not whole: which byte gives it away. */
function damagedOldStore(disk: Disk, directory: string, error: SutraError): StoreCheck {
  const bytes = disk.stat(join(directory, SNAPSHOT_NAME))?.size ?? 0;
  const { offset, message, hint } = error;
  const what = `${message}. ${hint}`;
  const nothing = { exists: false, header: null, isWhole: false };
  return {
    files: [{ file: SNAPSHOT_NAME, bytes, ok: false, sequences: null }],
    findings: [{ file: SNAPSHOT_NAME, ...(offset === null ? {} : { offset }), what }],
    notes: [],
    state: null,
    way: null,
    lost: null,
    held: LockFile.read(disk, directory)?.held ?? false,
    current: { ...nothing, exists: true },
    previous: nothing,
    previousAgrees: null,
    previousReaches: false,
    isNewer: false,
    uuid: null,
    log: { segments: [], names: [], durable: null, marks: new Map() },
  };
}

/** Repair knows the files of today's version only. */
function refuseOld(disk: Disk, directory: string): void {
  if (!isOldStore(disk, directory)) return;
  throw new SutraError('UNSUPPORTED_FORMAT', `${directory}: storage.dat is of version 2`, {
    hint: 'Bring it over with `sutra migrate`, or with `sutra migrate --salvage` when it is damaged.',
  });
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
