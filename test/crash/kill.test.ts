/**
 * kill -9 (the fault matrix, row 1): a real process on a real disk writes and prints what is acknowledged, and is killed at a
 * random moment: while it opens, between calls, in the middle of a checkpoint. Then everything acknowledged is there, no
 * batch is there by half, and all that is stored agrees with itself and with an oracle, slot by slot. The next process
 * goes on from there. The same with `sutra serve` under a writing client.
 *
 * SUTRA_KILLS kills (default 40; an eighth of them of a server).
 */

import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { describe, expect, test } from 'vitest';

import { nodeEnvironment } from '#sutra/engine/environment';
import { Store } from '#sutra/engine/store';
import { StorageClient } from '#sutra/storage/remote';
import { SutraError } from '#sutra/errors';

import { startServe, temporaryDirectory } from '../support/fixture.js';
import {
  dumpState,
  HistoryMaker,
  HistoryModel,
  type Call,
  type Learn,
} from '../support/history.js';
import { seededRandom, testSeed } from '../support/random.js';
import { STORE_OPTIONS } from '../support/scenario.js';
import { checkState } from '../support/whole-store.js';

const KILLS = Number(process.env['SUTRA_KILLS'] ?? 40);
const SERVER_KILLS = Math.ceil(KILLS / 8);
const WRITER = fileURLToPath(new URL('writer.mjs', import.meta.url));
/** Low, so that a checkpoint is nearly always under way. */
const THRESHOLD = 150;
const NAMES = 120;
/** More than a writer gets through before it is killed. */
const CALLS_AHEAD = 3000;

/** The calls to come, made ahead, and the state that the store was last found in. */
class Course {
  readonly found = new HistoryModel();
  readonly calls: Call[] = [];
  private readonly ahead = new HistoryModel();
  private readonly maker: HistoryMaker;
  private timeUs = 1_700_000_000_000_000;

  constructor(random: () => number) {
    this.maker = new HistoryMaker(random, NAMES);
  }

  extend(): void {
    while (this.calls.length < CALLS_AHEAD) {
      const call = this.maker.next(this.ahead, (this.timeUs += 1000));
      this.ahead.applyCall(call);
      this.calls.push(call);
    }
  }

  /** Takes the calls off that lead to `sequence`. */
  advanceTo(sequence: number): void {
    while (this.found.sequence < sequence) {
      const call = this.calls.shift();
      if (call === undefined) throw new Error(`never written: found ${sequence}`);
      this.found.applyCall(call);
    }
    if (this.found.sequence !== sequence) throw new Error(`half a batch: found ${sequence}`);
  }

  /** Opens what the killed process left, only to read, and holds it against the oracle. */
  async check(directory: string, acknowledged: number, withTimes: boolean): Promise<void> {
    const store = Store.open(directory, nodeEnvironment(), { ...STORE_OPTIONS, readOnly: true });
    try {
      const { sequence } = store.state;
      if (sequence < acknowledged) {
        throw new Error(`lost: acknowledged ${acknowledged}, found ${sequence}`);
      }
      this.advanceTo(sequence);
      checkState(store.state);
      expect(dumpState(store.state, withTimes)).toBe(this.found.dump(withTimes));
    } finally {
      await store.close();
    }
  }
}

interface Killed {
  /** The highest sequence that it printed; 0 when none. */
  readonly acknowledged: number;
  readonly stderr: string;
  readonly signal: NodeJS.Signals | null;
}

/** Runs a writer, and kills it `afterMs` after its start, or when it has acknowledged `afterCalls` calls. */
async function runWriter(
  args: readonly string[],
  printed: string,
  when: { readonly afterMs: number } | { readonly afterCalls: number },
): Promise<Killed> {
  const output = openSync(printed, 'w');
  const child = spawn(process.execPath, [WRITER, ...args], { stdio: ['ignore', output, 'pipe'] });
  closeSync(output);
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const kill = (): void => void child.kill('SIGKILL');
  const timer = setTimeout(kill, 'afterMs' in when ? when.afterMs : 60_000);
  const poll = setInterval(() => {
    if ('afterCalls' in when && linesOf(printed).length >= when.afterCalls) kill();
  }, 2);
  try {
    const signal = await new Promise<NodeJS.Signals | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (_code, by) => resolve(by));
    });
    return { acknowledged: Math.max(0, ...linesOf(printed).map(Number)), stderr, signal };
  } finally {
    clearTimeout(timer);
    clearInterval(poll);
  }
}

/** Whole lines only: the last one may be cut off in the middle of a number. */
function linesOf(path: string): string[] {
  return readFileSync(path, 'utf8').split('\n').slice(0, -1);
}

describe('kill -9', () => {
  test('of a writer loses nothing acknowledged and leaves no half batch', async () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    const root = temporaryDirectory('kill');
    const directory = join(root, 'store');
    const course = new Course(random);
    let checkpointed = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      course.extend();
      const callsPath = join(root, 'calls.jsonl');
      writeFileSync(callsPath, course.calls.map((call) => JSON.stringify(call)).join('\n'));
      // One in six while it starts and recovers; never before there is something to open.
      const when =
        kill > 0 && random() < 1 / 6
          ? { afterMs: 40 + random() * 250 }
          : { afterCalls: 1 + Math.floor(random() ** 2 * 2500) };
      const { acknowledged, stderr, signal } = await runWriter(
        [directory, callsPath, String(THRESHOLD)],
        join(root, 'acknowledged'),
        when,
      );
      const where = `SUTRA_TEST_SEED=${seed}: kill ${kill}, ${JSON.stringify(when)}`;
      if (stderr !== '' || signal !== 'SIGKILL') throw new Error(`${where}: ${signal} ${stderr}`);
      try {
        await course.check(directory, acknowledged, true);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        throw new Error(`${where}: ${message}`, { cause: error });
      }
      const reader = Store.open(directory, nodeEnvironment(), { ...STORE_OPTIONS, readOnly: true });
      checkpointed = Math.max(checkpointed, reader.state.levels.base?.sequence ?? 0);
      await reader.close();
    }
    const { sequence } = course.found;
    console.log(
      `kill -9: ${KILLS} writers, ${sequence} writes, checkpoints up to ${checkpointed}, seed ${seed}`,
    );
    if (KILLS >= 20) expect(checkpointed).toBeGreaterThan(0);
  }, 600_000);

  test('of a server under a writing client loses nothing acknowledged', async () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    const directory = join(temporaryDirectory('kill-server'), 'store');
    const course = new Course(random);
    for (let kill = 0; kill < SERVER_KILLS; kill++) {
      course.extend();
      const serving = await startServe(['--storage', directory, '--threshold', String(THRESHOLD)]);
      const client = new StorageClient(serving.address, { timeoutMs: 30_000 });
      let acknowledged = 0;
      const last = 1 + Math.floor(random() * 600);
      let killed: Promise<void> | null = null;
      try {
        for (const [index, call] of course.calls.entries()) {
          const done = performRemotely(client, call);
          // One call is under way when the signal comes.
          if (index === last) killed = serving.kill9();
          acknowledged = Math.max(acknowledged, await done);
          if (index === last) break;
        }
      } catch (error) {
        const isGone = error instanceof SutraError && killed !== null;
        if (!isGone) throw error;
      }
      await killed;
      await client.close();
      try {
        await course.check(directory, acknowledged, false);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        throw new Error(`SUTRA_TEST_SEED=${seed}: server kill ${kill}: ${message}`, {
          cause: error,
        });
      }
    }
    console.log(`kill -9: ${SERVER_KILLS} servers, ${course.found.sequence} writes, seed ${seed}`);
    expect(course.found.sequence).toBeGreaterThan(0);
  }, 600_000);
});

async function performRemotely(client: StorageClient, call: Call): Promise<number> {
  const [command] = call.commands;
  if (command === undefined) throw new Error('an empty call');
  if (call.isBatch) {
    const concepts = call.commands.flatMap((c) => (c.kind === 'learn' ? [conceptOf(c)] : []));
    const associations = call.commands.flatMap((c) => (c.kind === 'associate' ? [c] : []));
    const { firstSequence, count } = await client.learnBatch({ concepts, associations });
    return firstSequence + count - 1;
  }
  switch (command.kind) {
    case 'learn':
      return (await client.learnConcept(conceptOf(command))).sequence;
    case 'associate':
      return (await client.learnAssociation(command)).sequence;
    case 'forget':
      return (await client.forgetConcept(command.id)).sequence;
    default: {
      const { source, target, type } = command;
      return (await client.forgetAssociation(source, target, type ?? undefined)).sequence;
    }
  }
}

function conceptOf({ id, content, strength, confidence, embedding }: Learn) {
  const concept = { id, content, strength, confidence };
  return embedding === null ? concept : { ...concept, embedding };
}
