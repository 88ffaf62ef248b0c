/**
 * The whole-store check for tests: what the engine's own check finds is thrown. `checkDirectory` is what `sutra verify` does;
 * `checkState` holds an open state against itself.
 */

import { checkState as stepsOfState, type StateSum } from '#sutra/engine/check-state';
import { checkStore } from '#sutra/engine/check';
import type { Disk } from '#sutra/engine/disk';
import { NodeDisk } from '#sutra/engine/node-disk';
import type { State } from '#sutra/engine/state';
import { runSteps } from '#sutra/engine/steps';

export type WholeStore = StateSum;

/** Throws an Error that says what does not fit. */
export async function checkDirectory(
  directory: string,
  disk: Disk = new NodeDisk(),
): Promise<WholeStore> {
  const { findings, state } = runSteps(checkStore(disk, directory));
  if (findings.length > 0 || state === null) {
    throw new Error(`${directory}: ${findings.map((f) => `${f.file}: ${f.what}`).join('; ')}`);
  }
  return state;
}

export function checkState(state: State): WholeStore {
  const sum = runSteps(
    stepsOfState(state, 'slots', (what) => {
      throw new Error(what);
    }),
  );
  if (sum === null) throw new Error('the scan ended early');
  return sum;
}
