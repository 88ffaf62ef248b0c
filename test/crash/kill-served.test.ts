/**
 * kill -9 over the wire (the fault matrix, row 1): of the client and of the server, while `sutra import --server` or
 * `sutra backup --server` is at work between them. The store then holds a whole number of the import's chunks, at least those
 * that the client says are in it; the backup is the old file, none, or a whole one. The client that lost its server says so
 * and ends, and the same command again comes to its end.
 *
 * SUTRA_COMMAND_KILLS kills of each (default 2).
 */

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { beforeAll, describe, expect, test } from 'vitest';

import { verifyStateFile } from '#sutra/engine/backup';
import { NodeDisk } from '#sutra/engine/node-disk';
import { runSteps } from '#sutra/engine/steps';
import { readJsonl } from '#sutra/formats/jsonl';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { importRecords } from '#sutra/storage/import-run';
import { verifyStore } from '#sutra/storage/maintenance';

import { BIN, runSutra, startServe, temporaryDirectory } from '../support/fixture.js';
import { seededRandom, testSeed } from '../support/random.js';

const KILLS = Number(process.env['SUTRA_COMMAND_KILLS'] ?? 2);
const TIMEOUT_MS = 600_000 * Math.ceil(KILLS / 8);
const CONCEPTS = 8_000;
const ASSOCIATIONS = 12_000;
/** Items of a chunk of an import; a chunk is one frame, or shares one with whole chunks. */
const CHUNK = 1024;
const CHUNKS = Math.ceil((CONCEPTS + ASSOCIATIONS) / CHUNK);
const EMPTY_DIGEST = '0'.repeat(32);

const seed = testSeed();
const random = seededRandom(seed);
const root = temporaryDirectory('kill-served');
const input = join(root, 'input.jsonl');
const whole = join(root, 'whole');
/** By how many lines of the input are in a store: its digest. */
const prefixes = new Map<number, string>([[0, EMPTY_DIGEST]]);
let wholeDigest = '';
let logBytes = 0;

async function* bytesOf(text: string): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(Buffer.from(text));
}

/** Of the log segments of a store, those that are there. */
function logSize(directory: string): number {
  if (!existsSync(directory)) return 0;
  return readdirSync(directory)
    .filter((name) => /^wal-\d+\.log$/.test(name))
    .reduce((sum, name) => sum + sizeOf(join(directory, name)), 0);
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

async function verified(directory: string): Promise<{ digest: string; sequence: number }> {
  const { findings, state } = await verifyStore(directory, () => undefined);
  expect(findings).toEqual([]);
  if (state === null) throw new Error(`${directory}: no state`);
  return { digest: state.digest, sequence: state.sequence };
}

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

/** A command that runs; `kill` is to be called while it does. */
function begin(args: readonly string[]) {
  const child = spawn(process.execPath, [BIN, ...args], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  let over = false;
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      over = true;
      resolve({ code, signal, stderr });
    });
  });
  return { ended, isOver: () => over, kill: () => child.kill('SIGKILL') };
}

/** Waits until something can be seen, or the command is over. */
async function until(sees: () => boolean, isOver: () => boolean): Promise<void> {
  while (!isOver() && !sees()) await new Promise((resolve) => setTimeout(resolve, 1));
}

async function during<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`SUTRA_TEST_SEED=${seed}: ${what}: ${message}`, { cause: error });
  }
}

beforeAll(async () => {
  const times = { created_us: 1_700_000_000_000_000 };
  const lines: string[] = [];
  const line = (record: object): number => lines.push(`${JSON.stringify(record)}\n`);
  for (let i = 0; i < CONCEPTS; i++) {
    const updated = { ...times, updated_us: times.created_us + i };
    line({
      kind: 'concept',
      id: `c${i}`,
      content: `what ${i} is: ${'text '.repeat(20)}`,
      ...updated,
    });
  }
  for (let i = 0; i < ASSOCIATIONS; i++) {
    const source = `c${i % CONCEPTS}`;
    line({ kind: 'association', source, target: `c${(i * 7) % CONCEPTS}`, type: i % 5, ...times });
  }
  writeFileSync(input, lines.join(''));
  const storage = await ConcurrentStorage.open(whole);
  for (let from = 0; from < lines.length; from += CHUNK) {
    const blocks = readJsonl(bytesOf(lines.slice(from, from + CHUNK).join('')));
    await importRecords(storage, [{ source: 'part', blocks, learnsEndpoints: false }]);
    const { sequence, digest } = storage.stateSum();
    prefixes.set(sequence, digest);
    wholeDigest = digest;
  }
  logBytes = logSize(whole);
  await storage.close();
  expect(prefixes.size).toBe(CHUNKS + 1);
});

/** A whole number of chunks; returns how many lines. */
async function wholeChunks(store: string): Promise<number> {
  const { sequence, digest } = await verified(store);
  expect([...prefixes.keys()]).toContain(sequence);
  expect(digest).toBe(prefixes.get(sequence));
  return sequence;
}

/** The same import again: says what was there, and ends with everything. */
async function importAgain(store: string, held: number): Promise<void> {
  const serving = await startServe(['--storage', store]);
  const { code, stderr } = await runSutra(['import', input, '--server', serving.address]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const told = /^note: the store holds [\d,]+ concepts? and /m;
  if (held > 0) expect(stderr).toMatch(told);
  else expect(stderr).not.toMatch(told);
  expect(await serving.stop()).toBe(0);
  expect((await verified(store)).digest).toBe(wholeDigest);
}

describe('kill -9 of', () => {
  for (const victim of ['client', 'server'] as const) {
    test(
      `the ${victim} of an import: a whole number of chunks, and importing again gives the rest`,
      async () => {
        let killed = 0;
        let between = 0;
        for (let round = 0; round < KILLS; round++) {
          const store = join(root, `import-${victim}`);
          rmSync(store, { recursive: true, force: true });
          const bytes = Math.floor(random() * logBytes);
          await during(`import, ${victim}, kill ${round}, log of ${bytes} bytes`, async () => {
            const serving = await startServe(['--storage', store]);
            const client = begin(['import', input, '--server', serving.address]);
            await until(() => logSize(store) >= bytes, client.isOver);
            if (victim === 'client') client.kill();
            else await serving.kill9();
            const { code, signal, stderr } = await client.ended;
            if (victim === 'client') expect(await serving.stop()).toBe(0);
            const held = await wholeChunks(store);
            if (signal === 'SIGKILL' || code !== 0) killed++;
            else expect(held).toBe(CONCEPTS + ASSOCIATIONS);
            if (held > 0 && held < CONCEPTS + ASSOCIATIONS) between++;
            if (victim === 'server' && code !== 0) {
              // What it says is in the store is there; what it does not know of may be.
              expect(code).toBe(3);
              const lines = /lines 1 to (\d+) of /.exec(stderr)?.[1];
              if (lines === undefined) expect(stderr).toContain('Nothing was imported.');
              else expect(stderr).toContain(`--from-line ${Number(lines) + 1}`);
              const acknowledged = Number(lines ?? 0);
              expect(held).toBeGreaterThanOrEqual(acknowledged);
              const unknown = /Whether lines up to (\d+) of .* went in is not known/.exec(stderr);
              expect(held).toBeLessThanOrEqual(Number(unknown?.[1] ?? acknowledged));
            }
            await importAgain(store, held);
          });
        }
        console.log(
          `kill -9: import --server, ${victim}: ${killed} of ${KILLS} killed, ${between} amid the import, ` +
            `0 between chunks; seed ${seed}`,
        );
        expect(killed).toBeGreaterThan(0);
      },
      TIMEOUT_MS,
    );

    test(
      `the ${victim} of a backup: the old file, none or a whole one, and the store untouched`,
      async () => {
        const file = join(root, `${victim}.dat`);
        const temporary = `${file}.tmp`;
        const isWhole = (): boolean =>
          runSteps(verifyStateFile(new NodeDisk(), file)).digest === wholeDigest;
        let killed = 0;
        let before = 0;
        let told = 0;
        const first = await startServe(['--storage', whole]);
        expect(await runSutra(['backup', file, '--server', first.address])).toMatchObject({
          code: 0,
        });
        expect(await first.stop()).toBe(0);
        const bytes = sizeOf(file);
        const old = Buffer.from('an older file');
        for (let round = 0; round < KILLS; round++) {
          const withOld = round % 2 === 0;
          rmSync(file, { force: true });
          rmSync(temporary, { force: true });
          if (withOld) writeFileSync(file, old);
          const most = Math.floor(random() * bytes);
          await during(`backup, ${victim}, kill ${round}, at ${most} bytes`, async () => {
            const serving = await startServe(['--storage', whole]);
            const force = withOld ? ['--force'] : [];
            const client = begin(['backup', file, '--server', serving.address, ...force]);
            await until(() => existsSync(temporary) && sizeOf(temporary) >= most, client.isOver);
            if (victim === 'client') client.kill();
            else await serving.kill9();
            const { code, signal } = await client.ended;
            if (victim === 'client') expect(await serving.stop()).toBe(0);
            if (signal === 'SIGKILL' || code !== 0) killed++;
            expect((await verified(whole)).digest).toBe(wholeDigest);

            const isAsBefore = withOld
              ? existsSync(file) && readFileSync(file).equals(old)
              : !existsSync(file);
            if (isAsBefore) before++;
            else expect(isWhole()).toBe(true);
            if (code === 0) expect(isAsBefore).toBe(false);
            const left = existsSync(temporary);
            if (left) told++;
            const again = await startServe(['--storage', whole]);
            const next = await runSutra(['backup', file, '--force', '--server', again.address]);
            expect(next).toMatchObject({ code: 0 });
            if (left) expect(next.stderr).toMatch(/^note: .*a backup was interrupted before /m);
            expect(await again.stop()).toBe(0);
            expect(existsSync(temporary)).toBe(false);
            expect(isWhole()).toBe(true);
          });
        }
        console.log(
          `kill -9: backup --server, ${victim}: ${killed} of ${KILLS} killed, ${before} as before, ` +
            `0 between; ${told} said what was cut short; seed ${seed}`,
        );
        expect(killed).toBeGreaterThan(0);
      },
      TIMEOUT_MS,
    );
  }
});
