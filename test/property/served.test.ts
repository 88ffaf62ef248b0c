/**
 * Random histories over a served store whose server is ended again and again, by SIGTERM and by kill -9, between calls and
 * under them: after each restart it answers as the model does. A call that the end of the server cut off may have gone in
 * or not; the sequence that the restarted server stands at says which, and it is one of the two in whole.
 *
 * SUTRA_SERVED_RUNS histories per durability (default 1).
 */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { StorageClient } from '#sutra/storage/remote';

import { compareAll, operation, outcome, type Operation } from '../contract/storage-contract.js';
import { startServe, temporaryPath, type Serving } from '../support/fixture.js';
import { ModelStorage } from '../support/model-storage.js';
import { testSeed } from '../support/random.js';
import { checkDirectory } from '../support/whole-store.js';

const RUNS = Number(process.env['SUTRA_SERVED_RUNS'] ?? 1);
/** Bounds a hang. */
const LONGEST_MS = 120_000 * RUNS;
/** Ends of the server in each. */
const ENDS = 4;

type Step =
  | { readonly kind: 'operation'; readonly run: Operation }
  | { readonly kind: 'SIGTERM' | 'kill -9' }
  /** The server is ended while it does this, `turns` turns of the event loop after the call. */
  | { readonly kind: 'cut off'; readonly run: Operation; readonly turns: number };

const anOperation = operation.map((run): Step => ({ kind: 'operation', run }));
const anEnd: fc.Arbitrary<Step> = fc.oneof(
  fc.constant<Step>({ kind: 'SIGTERM' }),
  fc.constant<Step>({ kind: 'kill -9' }),
  fc
    .record({ run: operation, turns: fc.nat(400) })
    .map(({ run, turns }): Step => ({ kind: 'cut off', run, turns })),
);
/** Some operations, an end of the server, some operations, ... */
const aHistory = fc
  .array(fc.tuple(fc.array(anOperation, { minLength: 5, maxLength: 25 }), anEnd), {
    minLength: ENDS,
    maxLength: ENDS,
  })
  .map((parts) => parts.flatMap(([operations, end]) => [...operations, end]));

class ServedStore {
  private constructor(
    private readonly args: readonly string[],
    private server: Serving,
    public client: StorageClient,
  ) {}

  static async start(args: readonly string[]): Promise<ServedStore> {
    const server = await startServe(args);
    return new ServedStore(args, server, clientOf(server));
  }

  async end(how: 'SIGTERM' | 'kill -9'): Promise<void> {
    if (how === 'SIGTERM') expect(await this.server.stop()).toBe(0);
    else await this.server.kill9();
  }

  async restart(): Promise<void> {
    await this.client.close();
    this.server = await startServe(this.args);
    this.client = clientOf(this.server);
  }

  async close(): Promise<void> {
    await this.client.close();
    await this.server.stop();
  }
}

function clientOf({ address }: Serving): StorageClient {
  return new StorageClient(address, { timeoutMs: 30_000 });
}

interface Counts {
  operations: number;
  restarts: number;
  cutOff: number;
  wentIn: number;
}

/** Ends the server under a call. Returns the model as it is afterwards. */
async function cutOff(
  store: ServedStore,
  model: ModelStorage,
  { run, turns }: Extract<Step, { kind: 'cut off' }>,
  counts: Counts,
): Promise<ModelStorage> {
  const answer = outcome(run, store.client);
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
  await store.end('kill -9');
  const got = await answer;
  await store.restart();
  counts.cutOff++;
  const after = model.fork();
  const expected = await outcome(run, after);
  const isAnswered = !isLost(got);
  if (isAnswered) expect(got).toEqual(expected);
  const { sequence } = await store.client.stats();
  const before = (await model.stats()).sequence;
  expect([before, (await after.stats()).sequence]).toContain(sequence);
  // What was answered is there; what was not may be.
  if (isAnswered) expect(sequence).toBe((await after.stats()).sequence);
  if (sequence === before && !isAnswered) return model;
  counts.wentIn++;
  return after;
}

/** Whether an outcome is that of a call whose server went away. */
function isLost(got: unknown): boolean {
  const lost: readonly string[] = ['UNREACHABLE', 'UNAVAILABLE', 'CANCELLED'];
  return (
    typeof got === 'object' && got !== null && 'code' in got && lost.includes(String(got.code))
  );
}

async function runHistory(
  steps: readonly Step[],
  args: readonly string[],
  counts: Counts,
): Promise<void> {
  const path = temporaryPath();
  const store = await ServedStore.start([...args, '--storage', path]);
  let model = new ModelStorage();
  try {
    for (const step of steps) {
      if (step.kind === 'operation') {
        counts.operations++;
        expect(await outcome(step.run, store.client)).toEqual(await outcome(step.run, model));
        continue;
      }
      counts.restarts++;
      if (step.kind === 'cut off') {
        model = await cutOff(store, model, step, counts);
      } else {
        await store.end(step.kind);
        await store.restart();
      }
      await compareAll(store.client, model);
    }
  } finally {
    await store.close();
  }
  await checkDirectory(path);
}

describe('a served store whose server is ended', () => {
  for (const durability of ['always', 'interval'] as const) {
    test(
      `answers as the model does after each restart: ${durability}`,
      async () => {
        const seed = testSeed();
        const counts: Counts = { operations: 0, restarts: 0, cutOff: 0, wentIn: 0 };
        const args = ['--durability', durability, '--threshold', '20'];
        // Without shrinking: each try starts servers, and the seed brings the history back.
        await fc.assert(
          fc.asyncProperty(aHistory, (steps) => runHistory(steps, args, counts)),
          { numRuns: RUNS, seed: seed | 0, endOnFailure: true },
        );
        console.log(
          `served histories, ${durability}: ${RUNS} histories, ${counts.operations} operations, ` +
            `${counts.restarts} restarts, ${counts.cutOff} calls cut off (${counts.wentIn} of them went in), ` +
            `0 differences, seed ${seed}`,
        );
        expect(counts.restarts).toBe(ENDS * RUNS);
      },
      LONGEST_MS,
    );
  }
});
