/**
 * Long work over a whole store, cut into steps: a generator that yields how far it is, and returns the result. Whoever runs
 * it decides what happens between steps: nothing (tests, worker threads), or a turn of the event loop, so that a
 * signal is heard and a progress bar drawn.
 */

export interface StepProgress {
  /** What is being done: `storage.dat`. */
  readonly phase: string;
  /** `bytes` or `concepts`. */
  readonly unit: string;
  readonly done: number;
  readonly total: number;
}

export type Steps<Result> = Generator<StepProgress, Result, undefined>;

const SLICE_MS = 20;

export type OnProgress = (progress: StepProgress) => void;

/** Runs the steps in one turn, and tells of each. */
export function runSteps<Result>(steps: Steps<Result>, onProgress?: OnProgress): Result {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    onProgress?.(step.value);
  }
}

export interface Pacing {
  nowMs(): number;
  pause(): Promise<void>;
}

/** Runs the steps with a pause now and then, and tells of each. */
export async function runStepsInSlices<Result>(
  steps: Steps<Result>,
  pacing: Pacing,
  onProgress: OnProgress,
): Promise<Result> {
  let pausedAt = pacing.nowMs();
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    onProgress(step.value);
    if (pacing.nowMs() - pausedAt < SLICE_MS) continue;
    await pacing.pause();
    pausedAt = pacing.nowMs();
  }
}
