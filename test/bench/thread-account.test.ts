/** The account of the main thread: what is read is what the system says, and where it says nothing there is no account. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { LoopWatch } from '../../bench/measure.js';
import { ThreadAccount } from '../../bench/thread-account.js';
import { temporaryDirectory } from '../support/fixture.js';

/** Until all threads of the process had `ms` of CPU, of which this one, that asks, had nearly all. */
function spin(ms: number): void {
  const before = process.cpuUsage();
  for (;;) {
    const { user, system } = process.cpuUsage(before);
    if (user + system >= ms * 1000) return;
  }
}

describe('the account', () => {
  const accountOf = (text: string): ThreadAccount | null => {
    const path = join(temporaryDirectory('schedstat'), 'schedstat');
    writeFileSync(path, text);
    return ThreadAccount.open(path);
  };

  test('is the first two numbers, in milliseconds', () => {
    const account = accountOf('12345678901234 250000 42\n');
    expect([account?.cpuMs, account?.waitedMs]).toEqual([12_345_678.901234, 0.25]);
    account?.close();
  });

  test('takes the greatest numbers that a line can hold', () => {
    const greatest = '18446744073709551615';
    const account = accountOf(`${greatest} ${greatest} ${greatest}\n`);
    for (const ms of [account?.cpuMs, account?.waitedMs]) expect(ms).toBeCloseTo(2 ** 64 / 1e6, 1);
    account?.close();
  });

  test('is none where there is no file, or one of a system that keeps no account', () => {
    expect(ThreadAccount.open(join(temporaryDirectory('schedstat'), 'absent'))).toBeNull();
    expect(accountOf('0 0 0\n')).toBeNull();
    expect(accountOf('')).toBeNull();
  });

  test('of this thread grows while it spins', () => {
    const account = ThreadAccount.open();
    const { cpuMs = NaN, waitedMs = NaN } = account ?? {};
    spin(100);
    account?.read();
    expect(account?.cpuMs).toBeGreaterThan(cpuMs);
    expect(account?.waitedMs).toBeGreaterThanOrEqual(waitedMs);
    account?.close();
  });
});

describe('the longest turn', () => {
  // One turn is all that a watch sees which is stopped in the turn that it began in.
  test('that computes has CPU of the thread, and parts no longer than itself', async () => {
    const watch = new LoopWatch();
    spin(100);
    const { ms, cpuMs, waitedMs } = await watch.stop();
    expect(cpuMs).toBeGreaterThan(0);
    expect(waitedMs).toBeGreaterThanOrEqual(0);
    expect((cpuMs ?? NaN) + (waitedMs ?? NaN)).toBeLessThanOrEqual(ms);
  });

  test('that sleeps is neither CPU nor waiting', async () => {
    const watch = new LoopWatch();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
    const { ms, cpuMs, waitedMs } = await watch.stop();
    // Of the 100 ms, a tick may be of the turn before.
    expect(ms - (cpuMs ?? NaN) - (waitedMs ?? NaN)).toBeGreaterThan(50);
  });

  test('has no parts where the system keeps no account', async () => {
    expect(await new LoopWatch(null).stop()).toMatchObject({ cpuMs: null, waitedMs: null });
  });
});
