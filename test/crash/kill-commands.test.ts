/**
 * kill -9 of the commands that read or replace whole stores (the fault matrix, row 1): `sutra import`, `backup`, `restore`,
 * `migrate` and `compact` as real processes, killed at random moments and at what the file system shows: when a temporary
 * file appears, when it has grown so far, when it has been renamed, when the log has grown so far. Then the store is whole
 * and what it was or what it should be; what was there beside it (an older backup, the old store's file, the input) is
 * byte for byte what it was; and the same command again says what the killed one left, and comes to its end.
 *
 * SUTRA_COMMAND_KILLS kills of each command (default 4).
 */

import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import { beforeAll, describe, expect, test } from 'vitest';

import { verifyStateFile } from '#sutra/engine/backup';
import { NodeDisk } from '#sutra/engine/node-disk';
import { runSteps } from '#sutra/engine/steps';
import { readJsonl } from '#sutra/formats/jsonl';
import { saveBackup } from '#sutra/storage/backups';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { importRecords } from '#sutra/storage/import-run';
import { verifyStore } from '#sutra/storage/maintenance';

import { BIN, runSutra, temporaryDirectory } from '../support/fixture.js';
import { seededRandom, testSeed } from '../support/random.js';
import { mirrored, oldFile } from '../support/version2-file.js';

const KILLS = Number(process.env['SUTRA_COMMAND_KILLS'] ?? 4);
const TIMEOUT_MS = 600_000 * Math.ceil(KILLS / 8);
const CONCEPTS = 6000;
/** Items of a chunk of an import; small ones share a frame with whole chunks only. */
const CHUNK = 1024;
const EMPTY_DIGEST = '0'.repeat(32);

const seed = testSeed();
const random = seededRandom(seed);
const root = temporaryDirectory('kill-commands');

/** When to kill: so long after the start, or as soon as something can be seen. */
type When = { readonly afterMs: number } | { readonly sees: () => boolean; readonly what: string };

/** As soon as the file is there and has so many bytes. */
function grown(file: string, bytes: number): When {
  return { sees: () => sizeOf(file) >= bytes, what: `when ${file} has ${bytes} bytes` };
}

/** As soon as another file stands by that name; null: any. */
function replaced(file: string, inode: number | null): When {
  const sees = (): boolean => {
    const now = statSync(file, { throwIfNoEntry: false })?.ino;
    return now !== undefined && now !== inode;
  };
  return { sees, what: `when ${file} is another file` };
}

interface Killed {
  readonly wasKilled: boolean;
  readonly stderr: string;
  readonly ms: number;
}

/** Runs `sutra ARGS` until `when`; null: to its end. */
async function runUntil(args: readonly string[], when: When | null): Promise<Killed> {
  const startedAt = performance.now();
  const child = spawn(process.execPath, [BIN, ...args], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const closed = new Promise<NodeJS.Signals | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (_code, signal) => {
      resolve(signal);
    });
  });
  if (when !== null) {
    const isTime = (): boolean => {
      if ('sees' in when) return when.sees();
      return performance.now() - startedAt >= when.afterMs;
    };
    const isOver = (): boolean => child.exitCode !== null || child.signalCode !== null;
    while (!isOver() && !isTime()) await new Promise((resolve) => setTimeout(resolve, 1));
    child.kill('SIGKILL');
  }
  const signal = await closed;
  return { wasKilled: signal === 'SIGKILL', stderr, ms: performance.now() - startedAt };
}

/** -1: there is none. */
function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? -1;
}

interface Counts {
  killed: number;
  before: number;
  after: number;
  told: number;
}

/** One command, killed again and again. */
class Kills {
  readonly counts: Counts = { killed: 0, before: 0, after: 0, told: 0 };
  where = '';

  constructor(
    private readonly name: string,
    /** How long it takes when nobody kills it. */
    private readonly wholeMs: number,
    /** By turns; one more is a random moment. */
    private readonly moments: readonly (() => When)[],
  ) {}

  private when(round: number): When {
    const moment = this.moments[round % (this.moments.length + 1)];
    return moment?.() ?? { afterMs: random() * 1.05 * this.wholeMs };
  }

  /** Kills `args` as round `round` says, and has the outcome looked at. */
  async round(
    round: number,
    args: readonly string[],
    look: (killed: Killed) => Promise<void>,
  ): Promise<void> {
    const when = this.when(round);
    const how = 'what' in when ? when.what : `after ${when.afterMs.toFixed(0)} ms`;
    this.where = `SUTRA_TEST_SEED=${seed}: ${this.name}, kill ${round}, ${how}`;
    const killed = await runUntil(args, when);
    if (killed.wasKilled) this.counts.killed++;
    try {
      await look(killed);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new Error(`${this.where}: ${message}`, { cause: error });
    }
  }

  /** Prints the sum; there must have been something to judge. */
  end(): void {
    const { killed, before, after, told } = this.counts;
    console.log(
      `kill -9: sutra ${this.name}: ${killed} of ${KILLS} killed; ${before} as before, ${after} as after, ` +
        `0 between; ${told} said what was cut short; seed ${seed}`,
    );
    expect(killed).toBeGreaterThan(0);
  }
}

interface Sum {
  readonly digest: string;
  readonly sequence: number;
}

/** As `sutra verify`: whole, or this throws. */
async function verified(directory: string): Promise<Sum> {
  const { findings, state } = await verifyStore(directory, () => undefined);
  expect(findings).toEqual([]);
  if (state === null) throw new Error(`${directory}: no state`);
  return { digest: state.digest, sequence: state.sequence };
}

/** What the binary itself says of it, once for each command: the library and the command agree. */
async function verifiedByCommand(directory: string, digest: string): Promise<void> {
  const { code, stdout, stderr } = await runSutra(['verify', '--json', '--storage', directory]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(JSON.parse(stdout)).toMatchObject({ ok: true, digest });
}

/** The next run: it ends well, and says that something was cut short exactly when there was something. */
async function again(args: readonly string[], left: boolean, message: RegExp): Promise<string> {
  const { code, stdout, stderr } = await runSutra(args);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  if (left) expect(stderr).toMatch(message);
  else expect(stderr).not.toMatch(message);
  return stdout;
}

async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}

const template = join(root, 'template');
const backupFile = join(root, 'other.dat');
let storeSum: Sum;
let backupSum: Sum;

function freshCopy(name: string): string {
  const store = join(root, name);
  rmSync(store, { recursive: true, force: true });
  cpSync(template, store, { recursive: true });
  return store;
}

async function fill(directory: string, concepts: number, forget: number): Promise<Sum> {
  const storage = await ConcurrentStorage.open(directory);
  const ids = Array.from({ length: concepts }, (_, i) => `c${i}`);
  for (let from = 0; from < concepts; from += CHUNK) {
    const part = ids.slice(from, from + CHUNK);
    await storage.learnBatch({
      concepts: part.map((id) => ({ id, content: `what ${id} is: ${'text '.repeat(40)}` })),
      associations: part.map((source, i) => ({ source, target: ids[(i * 7) % from || 0] ?? 'c0' })),
    });
  }
  await storage.flush();
  for (let i = 0; i < forget; i++) await storage.forgetConcept(`c${i * 3}`);
  await storage.learnConcept({ id: 'behind storage.dat', content: 'x' });
  const { digest, sequence } = storage.stateSum();
  await storage.close();
  return { digest, sequence };
}

beforeAll(async () => {
  storeSum = await fill(template, CONCEPTS, 50);
  const other = join(root, 'other');
  await fill(other, CONCEPTS / 2, 3);
  const storage = await ConcurrentStorage.open(other, { readOnly: true });
  backupSum = await saveBackup(storage, backupFile);
  await storage.close();
});

describe('kill -9 of', () => {
  test(
    'import: a whole number of chunks, and importing again gives the rest',
    async () => {
      const lines: object[] = [];
      const times = { created_us: 1_700_000_000_000_000 };
      for (let i = 0; i < 2 * CONCEPTS; i++) {
        const updated = { ...times, updated_us: times.created_us + i };
        lines.push({ kind: 'concept', id: `c${i}`, content: `content ${i}`, ...updated });
      }
      for (let i = 0; i < 3 * CONCEPTS; i++) {
        const target = `c${(i * 7) % CONCEPTS}`;
        lines.push({
          kind: 'association',
          source: `c${i % CONCEPTS}`,
          target,
          type: i % 5,
          ...times,
        });
      }
      const input = join(root, 'input.jsonl');
      const text = lines.map((line) => `${JSON.stringify(line)}\n`);
      writeFileSync(input, text.join(''));

      // By the number of lines that went in: a chunk is one frame, so nothing but whole ones is ever there.
      const prefixes = new Map<number, string>([[0, EMPTY_DIGEST]]);
      const part = await ConcurrentStorage.open(join(root, 'part'));
      for (let from = 0; from < text.length; from += CHUNK) {
        const chunk = Buffer.from(text.slice(from, from + CHUNK).join(''));
        const blocks = readJsonl(chunksOf(chunk));
        await importRecords(part, [{ source: 'part', blocks, learnsEndpoints: false }]);
        const { sequence, digest } = part.stateSum();
        prefixes.set(sequence, digest);
      }
      await part.close();
      const whole = prefixes.get(text.length);
      const wholeRun = join(root, 'whole');
      const { ms } = await runUntil(['import', input, '--storage', wholeRun], null);
      expect((await verified(wholeRun)).digest).toBe(whole);
      const logBytes = readdirSync(wholeRun)
        .filter((name) => name.startsWith('wal-'))
        .reduce((sum, name) => sum + sizeOf(join(wholeRun, name)), 0);

      const store = join(root, 'imported');
      const log = (): string | null => {
        if (!existsSync(store)) return null;
        const name = readdirSync(store).find((each) => /^wal-\d+\.log$/.test(each));
        return name === undefined ? null : join(store, name);
      };
      const kills = new Kills('import', ms, [
        () => {
          const bytes = Math.floor(random() * logBytes);
          const sees = (): boolean => {
            const file = log();
            return file !== null && sizeOf(file) >= bytes;
          };
          return { sees, what: `when the log has ${bytes} bytes` };
        },
      ]);
      const { counts } = kills;
      for (let round = 0; round < KILLS; round++) {
        rmSync(store, { recursive: true, force: true });
        const args = ['import', input, '--storage', store];
        await kills.round(round, args, async () => {
          const isThere = log() !== null;
          const found = isThere ? await verified(store) : { sequence: 0, digest: EMPTY_DIGEST };
          expect([...prefixes.keys()]).toContain(found.sequence);
          expect(found.digest).toBe(prefixes.get(found.sequence));
          if (found.sequence === text.length) counts.after++;
          else counts.before++;
          const holds = found.sequence > 0;
          const stdout = await again(args, holds, /^note: the store holds [\d,]+ concepts? and /m);
          if (holds) counts.told++;
          expect(stdout).toContain('Imported 12,000 concepts and 18,000 associations');
          expect((await verified(store)).digest).toBe(whole);
        });
      }
      await verifiedByCommand(store, whole ?? '');
      kills.end();
    },
    TIMEOUT_MS,
  );

  test(
    'backup: no file, the old one, or a whole one, and the store untouched',
    async () => {
      const store = freshCopy('source');
      const file = join(root, 'made.dat');
      const temporary = `${file}.tmp`;
      const { ms } = await runUntil(['backup', file, '--storage', store], null);
      const finalBytes = sizeOf(file);
      let oldInode: number | null = null;
      const kills = new Kills('backup', ms, [
        () => grown(temporary, 0),
        () => replaced(file, oldInode),
        () => grown(temporary, Math.floor(random() * finalBytes)),
      ]);
      const { counts } = kills;
      const old = readFileSync(backupFile);
      for (let round = 0; round < KILLS; round++) {
        // Over an old one, and where there is none.
        const withOld = round % 2 === 0;
        rmSync(file, { force: true });
        if (withOld) writeFileSync(file, old);
        oldInode = withOld ? statSync(file).ino : null;
        const args = ['backup', file, '--storage', store, ...(withOld ? ['--force'] : [])];
        await kills.round(round, args, async () => {
          const isOld = withOld
            ? existsSync(file) && readFileSync(file).equals(old)
            : !existsSync(file);
          if (!isOld) {
            expect(runSteps(verifyStateFile(new NodeDisk(), file)).digest).toBe(storeSum.digest);
            expect(existsSync(temporary)).toBe(false);
          }
          if (isOld) counts.before++;
          else counts.after++;
          expect(await verified(store)).toEqual(storeSum);
          if (!isOld && !withOld) {
            // Done before it was killed: that is what the next one says.
            const next = await runSutra(args);
            expect(next).toMatchObject({ code: 2 });
            expect(next.stderr).toContain(`${file} is there already`);
            return;
          }
          const left = existsSync(temporary);
          if (left) counts.told++;
          const fate = withOld ? 'is as it was' : 'was not made';
          const message = new RegExp(`^note: .*a backup was interrupted before .* ${fate}$`, 'm');
          const stdout = await again(args, left, message);
          expect(stdout).toContain(`digest ${storeSum.digest}`);
          expect(existsSync(temporary)).toBe(false);
          expect(runSteps(verifyStateFile(new NodeDisk(), file)).digest).toBe(storeSum.digest);
        });
      }
      await verifiedByCommand(store, storeSum.digest);
      kills.end();
    },
    TIMEOUT_MS,
  );

  test(
    'restore: the old store or the new one, and the backup untouched',
    async () => {
      let store = freshCopy('restored');
      const backup = readFileSync(backupFile);
      const { ms } = await runUntil(['restore', backupFile, '--force', '--storage', store], null);
      const incoming = join(store, 'storage.dat.restore');
      let oldInode: number | null = null;
      const kills = new Kills('restore', ms, [
        () => grown(incoming, Math.floor(random() * backup.length)),
        () => replaced(join(store, 'storage.dat'), oldInode),
        () => grown(join(store, 'storage.dat.tmp'), 0),
      ]);
      const { counts } = kills;
      for (let round = 0; round < KILLS; round++) {
        // Over a store, and where there is none.
        const withOld = round % 4 !== 1;
        if (withOld) store = freshCopy('restored');
        else rmSync(store, { recursive: true, force: true });
        oldInode = withOld ? statSync(join(store, 'storage.dat')).ino : null;
        const args = ['restore', backupFile, '--storage', store, ...(withOld ? ['--force'] : [])];
        await kills.round(round, args, async () => {
          expect(readFileSync(backupFile).equals(backup)).toBe(true);
          const left = existsSync(incoming);
          const isThere = withOld || existsSync(join(store, 'storage.dat'));
          const found = isThere ? await verified(store) : null;
          const isDone = found?.digest === backupSum.digest;
          if (isDone) counts.after++;
          else {
            counts.before++;
            expect(found).toEqual(withOld ? storeSum : null);
          }
          if (isDone && !withOld) {
            const next = await runSutra(args);
            expect(next).toMatchObject({ code: 2 });
            expect(next.stderr).toContain(`holds a store already: ${backupFile}, restored`);
            return;
          }
          if (left) counts.told++;
          await again(args, left, /^note: .*: a restore was interrupted before it took effect; /m);
          expect((await verified(store)).digest).toBe(backupSum.digest);
          if (!withOld || isDone) return;
          const kept = readdirSync(store).filter((name) => name.startsWith('before-restore-'));
          // The last run keeps it whole; a run that was killed while it kept it may have left another directory.
          expect((await verified(join(store, kept.sort().at(-1) ?? ''))).digest).toBe(
            storeSum.digest,
          );
        });
      }
      await verifiedByCommand(store, backupSum.digest);
      kills.end();
    },
    TIMEOUT_MS,
  );

  test(
    'migrate: the old file or the new store, and the old file kept',
    async () => {
      const hex = (i: number): string => i.toString(16).padStart(16, '0');
      const ids = Array.from({ length: CONCEPTS }, (_, i) => hex(i + 1));
      const bytes = oldFile({
        concepts: ids.map((id) => ({ id, content: `what ${id} is: ${'text '.repeat(30)}` })),
        edges: ids.flatMap((id, i) => mirrored(id, ids[(i * 7 + 1) % ids.length] ?? id, 0.5)),
      });
      const store = join(root, 'migrated');
      const refill = (): void => {
        rmSync(store, { recursive: true, force: true });
        mkdirSync(store);
        writeFileSync(join(store, 'storage.dat'), bytes);
      };
      refill();
      // Read in place it has the digest that it will have.
      const { digest } = await verified(store);
      const { ms } = await runUntil(['migrate', '--storage', store], null);
      const newBytes = sizeOf(join(store, 'storage.dat'));
      const temporary = join(store, 'storage.dat.tmp');
      const kept = join(store, 'storage.dat.v2');
      let oldInode: number | null = null;
      const kills = new Kills('migrate', ms, [
        () => grown(temporary, Math.floor(random() * newBytes)),
        () => replaced(join(store, 'storage.dat'), oldInode),
        () => grown(kept, 0),
      ]);
      const { counts } = kills;
      for (let round = 0; round < KILLS; round++) {
        refill();
        oldInode = statSync(join(store, 'storage.dat')).ino;
        const args = ['migrate', '--storage', store];
        await kills.round(round, args, async () => {
          const isOld = readFileSync(join(store, 'storage.dat')).equals(bytes);
          if (isOld) counts.before++;
          else counts.after++;
          if (!isOld || existsSync(kept)) expect(readFileSync(kept).equals(bytes)).toBe(true);
          expect((await verified(store)).digest).toBe(digest);
          const left = existsSync(temporary);
          if (left) counts.told++;
          const message = /^note: .*: a migration was interrupted before it took effect; /m;
          const stdout = await again(args, left, message);
          expect(stdout).toContain(
            isOld ? 'migrated from version 2' : 'of today’s version already',
          );
          expect(stdout).toContain('kept as storage.dat.v2');
          expect(readdirSync(store).sort()).toEqual(['lock', 'storage.dat', 'storage.dat.v2']);
          expect(readFileSync(kept).equals(bytes)).toBe(true);
          expect((await verified(store)).digest).toBe(digest);
        });
      }
      await verifiedByCommand(store, digest);
      kills.end();
    },
    TIMEOUT_MS,
  );

  test(
    'compact: the same state, before and after',
    async () => {
      let store = freshCopy('compacted');
      const { ms } = await runUntil(['compact', '--storage', store], null);
      const newBytes = sizeOf(join(store, 'storage.dat'));
      const temporary = join(store, 'storage.dat.tmp');
      let oldInode: number | null = null;
      const kills = new Kills('compact', ms, [
        () => grown(temporary, 0),
        () => replaced(join(store, 'storage.dat'), oldInode),
        () => grown(temporary, Math.floor(random() * newBytes)),
      ]);
      const { counts } = kills;
      for (let round = 0; round < KILLS; round++) {
        store = freshCopy('compacted');
        const old = readFileSync(join(store, 'storage.dat'));
        oldInode = statSync(join(store, 'storage.dat')).ino;
        const args = ['compact', '--storage', store];
        await kills.round(round, args, async () => {
          if (readFileSync(join(store, 'storage.dat')).equals(old)) counts.before++;
          else counts.after++;
          expect(await verified(store)).toEqual(storeSum);
          const left = existsSync(temporary);
          if (left) counts.told++;
          const message = /^note: .*compaction was interrupted before it took effect; /m;
          expect(await again(args, left, message)).toContain(`digest ${storeSum.digest}`);
          expect(await verified(store)).toEqual(storeSum);
        });
      }
      await verifiedByCommand(store, storeSum.digest);
      kills.end();
    },
    TIMEOUT_MS,
  );
});
