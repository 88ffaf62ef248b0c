/** What the disk itself takes: an append of a small frame and its fdatasync, one after another. */

import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { latencies, type Latencies } from '../measure.js';

const FRAME_BYTES = 128;

export async function syncCost(parameters: {
  readonly directory: string;
  readonly count: number;
}): Promise<{ readonly syncMs: Latencies }> {
  const path = join(parameters.directory, 'sync');
  const file = openSync(path, 'a');
  const frame = Buffer.alloc(FRAME_BYTES, 1);
  const took: number[] = [];
  for (let n = 0; n < parameters.count; n++) {
    const start = performance.now();
    writeSync(file, frame);
    fdatasyncSync(file);
    took.push(performance.now() - start);
  }
  closeSync(file);
  rmSync(path);
  return Promise.resolve({ syncMs: latencies(took) });
}
