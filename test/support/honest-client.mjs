/**
 * A client in a process of its own: `node honest-client.mjs ADDRESS ID AT_ONCE` asks for one concept over and over. After every line
 * on its standard input it prints what it measured since the last one, as JSON; it ends when its standard input does.
 */

import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { StorageClient } from '#sutra/storage/remote';

const [, , address = '', id = '', atOnce = '1'] = process.argv;
const client = new StorageClient(address, { timeoutMs: 20_000 });
/** @type {number[]} */
let latencies = [];
/** @type {string[]} */
let failures = [];
let going = true;

const ask = async () => {
  while (going) {
    const began = performance.now();
    try {
      const { found } = await client.queryConcept(id);
      if (!found) failures.push(`${id} was not found`);
      latencies.push(performance.now() - began);
    } catch (error) {
      failures.push(String(error));
    }
    await pause(2);
  }
};
const asking = Array.from({ length: Number(atOnce) }, () => ask());

const lines = createInterface({ input: process.stdin });
lines.on('line', () => {
  const sorted = latencies.sort((a, b) => a - b);
  /** @param {number} share */
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  const told = { calls: sorted.length, failures, p50: at(0.5), p99: at(0.99) };
  process.stdout.write(`${JSON.stringify(told)}\n`);
  latencies = [];
  failures = [];
});
await once(lines, 'close');
going = false;
await Promise.all(asking);
await client.close();
