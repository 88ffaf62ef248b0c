/**
 * One writer and any number of readers (the fault matrix, row 10): a second writer is refused, also while the first one is
 * stopped by a signal; and a reader that opens beside a busy writer, in the middle of its checkpoints, always opens, and
 * sees a state that once was, at least as new as everything acknowledged before.
 *
 * SUTRA_READS openings beside the writer (default 150).
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { ConcurrentStorage } from '#sutra/storage/embedded';

import { temporaryDirectory } from '../support/fixture.js';
import { seededRandom, testSeed } from '../support/random.js';
import { acknowledgedIn, Course, startWriter } from './course.js';

const READS = Number(process.env['SUTRA_READS'] ?? 150);

async function untilAcknowledged(printed: string, sequence: number, stderr: () => string) {
  for (let n = 0; acknowledgedIn(printed) < sequence; n++) {
    if (n > 15_000 || stderr() !== '') throw new Error(`nothing acknowledged: ${stderr()}`);
    await sleep(2);
  }
}

describe('a store with a writer', () => {
  test('refuses a second one, also while the first is stopped; and takes one when it is dead', async () => {
    const root = temporaryDirectory('second-writer');
    const directory = join(root, 'store');
    const callsPath = join(root, 'calls.jsonl');
    const printed = join(root, 'acknowledged');
    const course = new Course(seededRandom(testSeed()), 3000);
    course.writeTo(callsPath);
    const writer = startWriter([directory, callsPath, '150'], printed);
    try {
      await untilAcknowledged(printed, 20, () => writer.stderr);
      const refused = {
        code: 'STORE_LOCKED',
        message: `${directory} is being written by process ${writer.child.pid}`,
      };
      await expect(ConcurrentStorage.open(directory)).rejects.toMatchObject(refused);
      writer.child.kill('SIGSTOP');
      for (let n = 0; n < 5; n++) {
        await expect(ConcurrentStorage.open(directory)).rejects.toMatchObject(refused);
        await sleep(100);
      }
      // Readers do not mind.
      await course.check(directory, acknowledgedIn(printed));
      writer.child.kill('SIGCONT');
      await expect(ConcurrentStorage.open(directory)).rejects.toMatchObject(refused);
    } finally {
      writer.child.kill('SIGKILL');
      expect(await writer.ended).toBe('SIGKILL');
    }
    const next = await ConcurrentStorage.open(directory);
    expect((await next.stats()).sequence).toBeGreaterThanOrEqual(acknowledgedIn(printed));
    // In the same process, too.
    await expect(ConcurrentStorage.open(directory)).rejects.toMatchObject({ code: 'STORE_LOCKED' });
    await next.close();
  }, 120_000);

  test(
    'is read by others at any time, no older than what was acknowledged before',
    async () => {
      const seed = testSeed();
      const root = temporaryDirectory('readers');
      const directory = join(root, 'store');
      const callsPath = join(root, 'calls.jsonl');
      const printed = join(root, 'acknowledged');
      const course = new Course(seededRandom(seed), READS * 200);
      course.writeTo(callsPath);
      const writer = startWriter([directory, callsPath, '100'], printed);
      let reads = 0;
      let moved = 0;
      const snapshots = new Set<number>();
      try {
        await untilAcknowledged(printed, 1, () => writer.stderr);
        let before = 0;
        while (reads < READS) {
          const acknowledged = acknowledgedIn(printed);
          snapshots.add(await course.check(directory, acknowledged));
          reads++;
          if (course.found.sequence > before) moved++;
          before = course.found.sequence;
        }
        expect(writer.stderr).toBe('');
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        throw new Error(`SUTRA_TEST_SEED=${seed}: reader ${reads}: ${message}`, { cause: error });
      } finally {
        writer.child.kill('SIGKILL');
        await writer.ended;
      }
      console.log(
        `readers: ${reads} opened beside a writer, ${moved} saw it move, ${snapshots.size} different storage.dat, seed ${seed}`,
      );
      expect(moved).toBeGreaterThan(0);
    },
    300_000 * Math.ceil(READS / 150),
  );
});
