/**
 * kill -9 (the fault matrix, row 1): a real process on a real disk writes and prints what is acknowledged, and is killed at a
 * random moment: while it opens, between calls, in the middle of a checkpoint. Then everything acknowledged is there, no
 * batch is there by half, and all that is stored agrees with itself and with an oracle, slot by slot. The next process
 * goes on from there. The same with `sutra serve` under a writing client.
 *
 * SUTRA_KILLS kills (default 40; an eighth of them of a server).
 */

import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { StorageClient } from '#sutra/storage/remote';
import { SutraError } from '#sutra/errors';

import { startServe, temporaryDirectory } from '../support/fixture.js';
import type { Call, Learn } from '../support/history.js';
import { seededRandom, testSeed } from '../support/random.js';
import { acknowledgedIn, Course, linesOf, startWriter } from './course.js';

const KILLS = Number(process.env['SUTRA_KILLS'] ?? 40);
const SERVER_KILLS = Math.ceil(KILLS / 8);
/** Low, so that a checkpoint is nearly always under way. */
const THRESHOLD = 150;
/** In the long form. */
const TOLD_EVERY = 500;
/** More than a writer gets through before it is killed. */
const CALLS_AHEAD = 3000;

interface Killed {
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
  const writer = startWriter(args, printed);
  const kill = (): void => void writer.child.kill('SIGKILL');
  const timer = setTimeout(kill, 'afterMs' in when ? when.afterMs : 60_000);
  const poll = setInterval(() => {
    if ('afterCalls' in when && linesOf(printed).length >= when.afterCalls) kill();
  }, 2);
  const signal = await writer.ended;
  clearTimeout(timer);
  clearInterval(poll);
  return { acknowledged: acknowledgedIn(printed), stderr: writer.stderr, signal };
}

describe('kill -9', () => {
  test(
    'of a writer loses nothing acknowledged and leaves no half batch',
    async () => {
      const seed = testSeed();
      const random = seededRandom(seed);
      const root = temporaryDirectory('kill');
      const directory = join(root, 'store');
      const callsPath = join(root, 'calls.jsonl');
      const course = new Course(random, CALLS_AHEAD);
      let checkpointed = 0;
      for (let kill = 0; kill < KILLS; kill++) {
        course.writeTo(callsPath);
        // One in six while it starts and recovers; never before there is something to open.
        const when =
          kill > 0 && random() < 1 / 6
            ? { afterMs: 40 + random() * 250 }
            : { afterCalls: 1 + Math.floor(random() ** 4 * 2500) };
        const { acknowledged, stderr, signal } = await runWriter(
          [directory, callsPath, String(THRESHOLD)],
          join(root, 'acknowledged'),
          when,
        );
        const where = `SUTRA_TEST_SEED=${seed}: kill ${kill}, ${JSON.stringify(when)}`;
        if (stderr !== '' || signal !== 'SIGKILL') throw new Error(`${where}: ${signal} ${stderr}`);
        try {
          checkpointed = await course.check(directory, acknowledged);
        } catch (error) {
          const message = error instanceof Error ? error.message : String(error);
          throw new Error(`${where}: ${message}`, { cause: error });
        }
        if ((kill + 1) % TOLD_EVERY === 0) {
          console.log(`kill -9: ${kill + 1} writers so far, nothing lost, seed ${seed}`);
        }
      }
      const { sequence } = course.found;
      console.log(
        `kill -9: ${KILLS} writers, ${sequence} writes, checkpoints up to ${checkpointed}, seed ${seed}`,
      );
      if (KILLS >= 20) expect(checkpointed).toBeGreaterThan(0);
    },
    600_000 * Math.ceil(KILLS / 40),
  );

  test(
    'of a server under a writing client loses nothing acknowledged',
    async () => {
      const seed = testSeed();
      const random = seededRandom(seed);
      const directory = join(temporaryDirectory('kill-server'), 'store');
      const course = new Course(random, CALLS_AHEAD);
      for (let kill = 0; kill < SERVER_KILLS; kill++) {
        course.extend();
        const serving = await startServe([
          '--storage',
          directory,
          '--threshold',
          String(THRESHOLD),
        ]);
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
      console.log(
        `kill -9: ${SERVER_KILLS} servers, ${course.found.sequence} writes, seed ${seed}`,
      );
      expect(course.found.sequence).toBeGreaterThan(0);
    },
    600_000 * Math.ceil(KILLS / 40),
  );
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
