/**
 * What clients feel of a checkpoint: acknowledgements and reads go on at a steady pace, first without one, then while one
 * runs at the pace of the background, then at that of a flush.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { nodeEnvironment } from '#sutra/engine/environment';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import {
  slowestOf,
  tookMs,
  type Acknowledgement,
  type SlowestFigures,
} from '../acknowledgements.js';
import { DiskAccount } from '../disk-account.js';
import { DelayWatch, latencies, verify, type Latencies } from '../measure.js';
import { ThreadAccount } from '../thread-account.js';
import { contentOf, hexId, Random } from '../workload.js';

export interface PhaseFigures {
  readonly ms: number;
  readonly acknowledgementMs: Latencies;
  readonly slowest: SlowestFigures;
  readonly readUs: Latencies;
  readonly longestTurnMs: number;
}

export interface CheckpointFigures {
  readonly without: PhaseFigures;
  readonly background: PhaseFigures;
  readonly flush: PhaseFigures;
}

/** The pause of a checkpoint that nobody waits for; see checkpointer.ts. */
const BACKGROUND_PAUSE_MS = 20;

export async function checkpointLatency(parameters: {
  readonly directory: string;
  readonly concepts: number;
  readonly quietMs: number;
}): Promise<CheckpointFigures> {
  const { directory, concepts, quietMs } = parameters;
  let paceMs: number | null = null;
  const environment = nodeEnvironment();
  const disk = new DiskAccount(environment.disk);
  const storage = await ConcurrentStorage.open(directory, {
    environment: {
      ...environment,
      disk,
      startCheckpoint: (request) =>
        environment.startCheckpoint(paceMs === null ? request : { ...request, pauseMs: paceMs }),
    },
  });
  const load = new SteadyLoad(storage, disk, concepts);
  // Warms the compiler and the caches; not counted.
  await load.during(sleep(quietMs / 2));
  const without = await load.during(sleep(quietMs));
  paceMs = BACKGROUND_PAUSE_MS;
  const background = await load.during(storage.flush());
  paceMs = null;
  const flush = await load.during(storage.flush());
  const stats = await storage.stats();
  verify(stats.checkpoints >= 2, `${stats.checkpoints} checkpoints`);
  verify(stats.concepts === concepts + load.written, 'every acknowledged write counts');
  verify((await storage.healthCheck()).healthy, 'the store is healthy');
  await storage.close();
  return { without, background, flush };
}

/**
 * A writer that awaits each acknowledgement and rests a millisecond, and a reader that does the same. The event loop is watched by
 * a timer: a LoopWatch would take the processor that the checkpoint and the log's threads need, and lengthen what is measured.
 */
export class SteadyLoad {
  written = 0;
  private readonly random = new Random(3);

  constructor(
    private readonly storage: ConcurrentStorage,
    /** That of the storage. */
    private readonly disk: DiskAccount,
    private readonly concepts: number,
  ) {}

  async during(work: Promise<unknown>): Promise<PhaseFigures> {
    const { storage, disk, concepts, random } = this;
    const watch = new DelayWatch();
    const thread = ThreadAccount.open();
    const start = performance.now();
    let running = true;
    const acknowledgements: Acknowledgement[] = [];
    const reads: number[] = [];
    const writer = async (): Promise<void> => {
      while (running) {
        const i = concepts + this.written++;
        // Outside of what is timed, so that reading it is no part of an acknowledgement.
        thread?.read();
        const waitedBefore = thread?.waitedMs ?? 0;
        const beganMs = performance.now();
        await storage.learnConcept({ id: hexId(i), content: contentOf(i) });
        const endedMs = performance.now();
        thread?.read();
        const waitedMs = thread === null ? null : thread.waitedMs - waitedBefore;
        acknowledgements.push({ beganMs, endedMs, waitedMs });
        await sleep(1);
      }
    };
    const reader = async (): Promise<void> => {
      while (running) {
        for (let n = 0; n < 10; n++) {
          const i = random.below(concepts);
          const id = hexId(i);
          const before = performance.now();
          const answer = await storage.queryConcept(id);
          reads.push((performance.now() - before) * 1000);
          verify(answer.content === contentOf(i), `content of ${i}`);
        }
        await sleep(1);
      }
    };
    const lanes = [writer(), reader()];
    await work;
    running = false;
    await Promise.all(lanes);
    const ms = performance.now() - start;
    const longestTurnMs = await watch.stop();
    thread?.close();
    return {
      ms,
      acknowledgementMs: latencies(acknowledgements.map(tookMs)),
      slowest: slowestOf(acknowledgements, disk),
      readUs: latencies(reads),
      longestTurnMs,
    };
  }
}
