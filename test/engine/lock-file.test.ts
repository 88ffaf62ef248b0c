/** The lock file: one writer, what it tells others, and what is left of it when it dies or its file is damaged. */

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { Disk, DiskFile } from '#sutra/engine/disk';
import { LockFile, type DurableRecord } from '#sutra/engine/lock-file';
import { NodeDisk } from '#sutra/engine/node-disk';
import { SutraError } from '#sutra/errors';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SLOT_A = 64;
const SLOT_B = 128;
const disk = new NodeDisk();

let directory: string;
let path: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = fs.mkdtempSync(join(tmpdir(), 'sutra-lock-'));
  path = join(directory, 'lock');
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  fs.rmSync(directory, { recursive: true, force: true });
});

function record(sequence: number, segmentOrdinal: number, segmentBytes: number): DurableRecord {
  return { sequence, segmentOrdinal, segmentBytes, syncedSequence: sequence };
}

function errorOf(action: () => unknown): SutraError {
  try {
    action();
  } catch (error) {
    if (error instanceof SutraError) return error;
    throw error;
  }
  throw new Error('expected a SutraError, got none');
}

function flipByte(offset: number): void {
  const bytes = fs.readFileSync(path);
  bytes[offset] = (bytes[offset] ?? 0) ^ 0xff;
  fs.writeFileSync(path, bytes);
}

/** Runs a module in its own process; resolves with the process once it has printed its first line. */
async function run(script: string): Promise<{ child: ChildProcess; line: string }> {
  const prelude = `
    import { LockFile } from '#sutra/engine/lock-file';
    import { NodeDisk } from '#sutra/engine/node-disk';
    const disk = new NodeDisk();
    const directory = process.argv[1];
    const stay = () => setInterval(() => {}, 1e6);
    `;
  const args = ['--input-type=module', '-e', prelude + script, directory];
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, line: line.toString().trim() };
}

async function killed(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

describe('acquiring', () => {
  it('makes a private file of 4,096 bytes and keeps it on release', () => {
    const lock = LockFile.acquire(disk, directory);
    expect(lock.previous).toBeNull();
    expect(fs.statSync(path).mode & 0o777).toBe(0o600);
    expect(fs.statSync(path).size).toBe(4096);
    const inode = fs.statSync(path).ino;
    lock.release();
    lock.release();
    const again = LockFile.acquire(disk, directory);
    expect(fs.statSync(path).ino).toBe(inode);
    again.release();
  });

  it('refuses a second holder in this process, and a third process', async () => {
    const lock = LockFile.acquire(disk, directory);
    const error = errorOf(() => LockFile.acquire(disk, directory));
    expect(error.code).toBe('STORE_LOCKED');
    expect(error.exitCode).toBe(7);
    expect(error.message).toContain(directory);
    expect(error.message).toContain(`process ${process.pid}`);
    expect(error.hint).toContain(`process ${process.pid}`);
    const { line } = await run(`
      try { LockFile.acquire(disk, directory); console.log('acquired'); }
      catch (error) { console.log(error.code); }`);
    expect(line).toBe('STORE_LOCKED');
    lock.release();
    LockFile.acquire(disk, directory).release();
  });

  it('names the server that holds the store, and the flag to use', async () => {
    const { child } = await run(`
      const lock = LockFile.acquire(disk, directory);
      lock.announce('localhost:50051');
      lock.announce('127.0.0.1:4711');
      console.log('ready'); stay();`);
    const error = errorOf(() => LockFile.acquire(disk, directory));
    expect(error.code).toBe('STORE_LOCKED');
    expect(error.message).toContain(`process ${child.pid}`);
    expect(error.message).toContain('127.0.0.1:4711');
    expect(error.hint).toBe(
      'The store is held by a server at 127.0.0.1:4711; use --server 127.0.0.1:4711',
    );
    await killed(child);
    // The address is that of the dead server: neither a reader nor the next holder's rival may see it.
    expect(LockFile.read(disk, directory)).toMatchObject({ held: false, pid: null, address: null });
    const lock = LockFile.acquire(disk, directory);
    expect(errorOf(() => LockFile.acquire(disk, directory)).message).not.toContain('4711');
    lock.release();
  });

  it('is refused while the holder is stopped, and granted when it is killed', async () => {
    const { child } = await run(`LockFile.acquire(disk, directory); console.log('ready'); stay();`);
    child.kill('SIGSTOP');
    expect(errorOf(() => LockFile.acquire(disk, directory)).code).toBe('STORE_LOCKED');
    expect(LockFile.read(disk, directory)).toMatchObject({ held: true, pid: child.pid });
    await killed(child);
    LockFile.acquire(disk, directory).release();
  });

  it('goes to exactly one of several processes that race for it', async () => {
    const results = await Promise.all(
      [1, 2, 3, 4].map(() =>
        run(`
          try { LockFile.acquire(disk, directory); console.log('acquired'); }
          catch (error) { console.log(error.code); }
          stay();`),
      ),
    );
    expect(results.map(({ line }) => line).sort()).toEqual([
      'STORE_LOCKED',
      'STORE_LOCKED',
      'STORE_LOCKED',
      'acquired',
    ]);
  });

  it('names what is wrong with the place', () => {
    const missing = join(directory, 'none');
    const error = errorOf(() => LockFile.acquire(disk, missing));
    expect(error.code).toBe('NO_SUCH_DIRECTORY');
    expect(error.message).toContain(missing);
    fs.mkdirSync(path);
    expect(errorOf(() => LockFile.acquire(disk, directory)).code).toBe('NOT_A_STORE');
    expect(errorOf(() => LockFile.read(disk, directory)).code).toBe('NOT_A_STORE');
  });

  it('takes the file that has the name when the one it locked was removed', () => {
    let opened = 0;
    const removing: Disk = Object.create(disk, {
      open: {
        value: (name: string, mode: 'ensure'): DiskFile => {
          const file = disk.open(name, mode);
          if (opened++ === 0) fs.rmSync(name);
          return file;
        },
      },
    }) as Disk;
    const lock = LockFile.acquire(removing, directory);
    expect(opened).toBe(2);
    expect(errorOf(() => LockFile.acquire(disk, directory)).code).toBe('STORE_LOCKED');
    lock.release();
  });

  it('never goes on without a kernel lock', () => {
    const lockless = (failure: Error): Disk =>
      Object.create(disk, {
        open: {
          value: (name: string, mode: 'ensure'): DiskFile => {
            const file = disk.open(name, mode);
            file.tryLock = () => {
              throw failure;
            };
            return file;
          },
        },
      }) as Disk;
    const refused = Object.assign(new Error('ENOLCK: fcntl failed'), { code: 'ENOLCK' });
    const error = errorOf(() => LockFile.acquire(lockless(refused), directory));
    expect(error.code).toBe('INTERNAL');
    expect(error.message).toContain(path);
    expect(error.message).toContain('ENOLCK');
    expect(error.hint).toContain('file system');
    const unavailable = new SutraError('INTERNAL', 'no locks here');
    expect(errorOf(() => LockFile.acquire(lockless(unavailable), directory))).toBe(unavailable);
    LockFile.acquire(disk, directory).release();
  });

  it('turns a refused permission into NOT_PERMITTED with the path, and lets a reader read', () => {
    const lock = LockFile.acquire(disk, directory);
    lock.publishDurable(5, 1, 500);
    fs.chmodSync(directory, 0o755);
    fs.chmodSync(path, 0o444);
    const script = `
      import { LockFile } from '#sutra/engine/lock-file';
      import { NodeDisk } from '#sutra/engine/node-disk';
      const disk = new NodeDisk();
      // Root may write anything: become nobody, with everything loaded that a checkout below /root would hide from it.
      LockFile.read(disk, process.argv[1]);
      if (process.getuid() === 0) { process.setgid(65534); process.setuid(65534); }
      const attempt = (action) => { try { return action(); } catch (error) { return [error.code, error.message]; } };
      console.log(JSON.stringify([
        attempt(() => LockFile.acquire(disk, process.argv[1]) && 'acquired'),
        attempt(() => LockFile.read(disk, process.argv[1])),
        attempt(() => LockFile.acquire(disk, process.argv[2]) && 'acquired'),
      ]));`;
    const closed = join(directory, 'closed');
    fs.mkdirSync(closed, { mode: 0o555 });
    const args = ['--input-type=module', '-e', script, directory, closed];
    const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
    expect(stderr).toBe('');
    const [write, read, create] = JSON.parse(stdout) as [string[], unknown, string[]];
    expect(write[0]).toBe('NOT_PERMITTED');
    expect(write[1]).toContain(path);
    expect(read).toEqual({
      held: true,
      durable: record(5, 1, 500),
      pid: process.pid,
      address: null,
    });
    expect(create[0]).toBe('NOT_PERMITTED');
    expect(create[1]).toContain(join(closed, 'lock'));
    lock.release();
  });
});

describe('the durable record', () => {
  it('is what was published last, and is handed to the next holder', () => {
    const first = LockFile.acquire(disk, directory);
    for (let sequence = 1; sequence <= 7; sequence++) {
      first.publishDurable(sequence, 3, sequence * 100);
      expect(LockFile.read(disk, directory)?.durable).toEqual(record(sequence, 3, sequence * 100));
    }
    first.release();
    expect(LockFile.read(disk, directory)).toEqual({
      held: false,
      durable: record(7, 3, 700),
      pid: null,
      address: null,
    });

    const second = LockFile.acquire(disk, directory);
    expect(second.previous).toEqual(record(7, 3, 700));
    second.publishDurable(8, 4, 64);
    expect(second.previous).toEqual(record(7, 3, 700));
    expect(LockFile.read(disk, directory)?.durable).toEqual(record(8, 4, 64));
    second.release();
  });

  it('bounds no reader while a new holder has not published: it is still recovering', () => {
    const first = LockFile.acquire(disk, directory);
    expect(LockFile.read(disk, directory)).toMatchObject({ held: true, durable: null });
    first.publishDurable(7, 3, 700);
    first.release();
    const second = LockFile.acquire(disk, directory);
    expect(LockFile.read(disk, directory)).toMatchObject({ held: true, durable: null });
    // Nor is the predecessor's record lost when this holder dies before it has published.
    second.release();
    expect(LockFile.read(disk, directory)?.durable).toEqual(record(7, 3, 700));
    const third = LockFile.acquire(disk, directory);
    expect(third.previous).toEqual(record(7, 3, 700));
    third.publishDurable(0, 0, 0);
    expect(LockFile.read(disk, directory)?.durable).toEqual(record(0, 0, 0));
    third.release();
  });

  it('survives SIGKILL', async () => {
    const { child } = await run(`
      const lock = LockFile.acquire(disk, directory);
      lock.publishDurable(41, 2, 4100); lock.publishDurable(42, 2, 4200);
      console.log('ready'); stay();`);
    await killed(child);
    expect(LockFile.read(disk, directory)).toMatchObject({
      held: false,
      durable: record(42, 2, 4200),
    });
    const lock = LockFile.acquire(disk, directory);
    expect(lock.previous).toEqual(record(42, 2, 4200));
    lock.release();
  });

  it('carries 53-bit numbers and its own synced sequence', () => {
    const lock = LockFile.acquire(disk, directory);
    const big = Number.MAX_SAFE_INTEGER;
    lock.publishDurable(big, 0xffff_ffff, big - 1, 2 ** 32 + 1);
    expect(LockFile.read(disk, directory)?.durable).toEqual({
      sequence: big,
      segmentOrdinal: 0xffff_ffff,
      segmentBytes: big - 1,
      syncedSequence: 2 ** 32 + 1,
    });
    lock.release();
  });

  it('falls back to the other slot when one is torn, at every byte', () => {
    const lock = LockFile.acquire(disk, directory);
    lock.publishDurable(1, 1, 100); // slot A
    lock.publishDurable(2, 1, 200); // slot B
    const whole = fs.readFileSync(path);
    for (let byte = 0; byte < 40; byte++) {
      flipByte(SLOT_B + byte);
      expect(LockFile.read(disk, directory)?.durable).toEqual(record(1, 1, 100));
      fs.writeFileSync(path, whole);
      flipByte(SLOT_A + byte);
      expect(LockFile.read(disk, directory)?.durable).toEqual(record(2, 1, 200));
      fs.writeFileSync(path, whole);
    }
    flipByte(SLOT_A);
    flipByte(SLOT_B);
    expect(LockFile.read(disk, directory)).toMatchObject({ held: true, durable: null });
    lock.release();
    const next = LockFile.acquire(disk, directory);
    expect(next.previous).toBeNull();
    next.publishDurable(9, 1, 900);
    expect(LockFile.read(disk, directory)?.durable).toEqual(record(9, 1, 900));
    next.release();
  });

  it('is always found whole, and never goes back, by readers that race its writer', async () => {
    const { child } = await run(`
      const lock = LockFile.acquire(disk, directory);
      lock.publishDurable(1, 1, 3);
      console.log('ready');
      for (let sequence = 2; ; sequence++) lock.publishDurable(sequence, sequence >>> 10, sequence * 3);`);
    let last = 0;
    let distinct = 0;
    // Until the race has taken place: the writer went on while we read.
    for (let i = 0; i < 20_000 || distinct < 100; i++) {
      const state = LockFile.read(disk, directory);
      const durable = state?.durable;
      if (!durable || !state.held) throw new Error(`read ${i}: ${JSON.stringify(state)}`);
      const { sequence, syncedSequence, segmentOrdinal, segmentBytes } = durable;
      const consistent =
        syncedSequence === sequence &&
        segmentBytes === sequence * 3 &&
        (sequence === 1 || segmentOrdinal === sequence >>> 10);
      if (!consistent || sequence < last)
        throw new Error(`after ${last}: ${JSON.stringify(state)}`);
      if (sequence !== last) distinct++;
      last = sequence;
    }
    await killed(child);
    const final = LockFile.read(disk, directory);
    expect(final?.held).toBe(false);
    expect(final?.durable?.sequence).toBeGreaterThanOrEqual(last);
  });

  it('fails loudly when the write fails or is short', () => {
    let take = 40;
    const failing: Disk = Object.create(disk, {
      open: {
        value: (name: string, mode: 'ensure'): DiskFile => {
          const file = disk.open(name, mode);
          const write = file.write.bind(file);
          file.write = (source, offset, length, position) =>
            write(source, offset, Math.min(length, take), position);
          return file;
        },
      },
    }) as Disk;
    const lock = LockFile.acquire(failing, directory);
    lock.publishDurable(1, 1, 100);
    take = 13;
    expect(() => lock.publishDurable(2, 1, 200)).toThrow('short write, 13 of 40 bytes');
    expect(LockFile.read(disk, directory)?.durable).toEqual(record(1, 1, 100));
    take = 40;
    lock.publishDurable(3, 1, 300);
    expect(LockFile.read(disk, directory)?.durable).toEqual(record(3, 1, 300));
    lock.release();
    expect(() => lock.publishDurable(4, 1, 400)).toThrow('EBADF');
  });
});

describe('reading', () => {
  it('gives null where there is no lock file, and creates nothing', () => {
    expect(LockFile.read(disk, directory)).toBeNull();
    expect(LockFile.read(disk, join(directory, 'none'))).toBeNull();
    expect(fs.readdirSync(directory)).toEqual([]);
  });

  it('changes nothing, and takes nothing from one who acquires meanwhile', () => {
    LockFile.acquire(disk, directory).release();
    const before = fs.readFileSync(path);
    const { mtimeMs } = fs.statSync(path);
    LockFile.read(disk, directory);
    expect(fs.readFileSync(path)).toEqual(before);
    expect(fs.statSync(path).mtimeMs).toBe(mtimeMs);

    // A reader that holds its file open and has just asked does not stand in the way.
    const reader = disk.open(path, 'read');
    expect(reader.isLockedElsewhere()).toBe(false);
    const lock = LockFile.acquire(disk, directory);
    expect(reader.isLockedElsewhere()).toBe(true);
    reader.close();
    expect(errorOf(() => LockFile.acquire(disk, directory)).code).toBe('STORE_LOCKED');
    lock.release();
  });

  it('tells pid and address of the holder, and neither of a holder that has gone', () => {
    const lock = LockFile.acquire(disk, directory, { pid: 1234, startMicros: 5 });
    expect(LockFile.read(disk, directory)).toMatchObject({ held: true, pid: 1234, address: null });
    lock.announce('[::1]:50051');
    expect(LockFile.read(disk, directory)).toMatchObject({ pid: 1234, address: '[::1]:50051' });
    lock.announce('bücher.example:1');
    expect(LockFile.read(disk, directory)?.address).toBe('bücher.example:1');
    lock.announce(null);
    expect(LockFile.read(disk, directory)).toMatchObject({ held: true, address: null });
    lock.announce('[::1]:50051');
    lock.release();
    expect(LockFile.read(disk, directory)).toMatchObject({ held: false, pid: null, address: null });
  });

  it('shows no control characters in an address, and refuses one that is too long', () => {
    const lock = LockFile.acquire(disk, directory);
    lock.announce('host\u001b[2J:1');
    expect(LockFile.read(disk, directory)?.address).toBeNull();
    expect(() => lock.announce('x'.repeat(1025))).toThrow(RangeError);
    lock.announce('x'.repeat(1024));
    expect(LockFile.read(disk, directory)?.address).toBe('x'.repeat(1024));
    lock.release();
  });

  it('takes garbage for nothing, and the next holder writes the file anew', () => {
    let seed = 12345;
    const random = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) >>> 24;
    const good = ((): Buffer => {
      const lock = LockFile.acquire(disk, directory);
      lock.publishDurable(7, 3, 700);
      lock.publishDurable(8, 3, 800);
      lock.release();
      return fs.readFileSync(path);
    })();
    const noise = (length: number): Buffer => Buffer.from(Array.from({ length }, random));
    const headless = Buffer.from(good);
    headless[3] = 0;
    const newer = Buffer.from(good);
    newer[8] = 2;
    const blank = Buffer.concat([good.subarray(0, 12), noise(4084)]);
    const zeroed = Buffer.concat([good.subarray(0, 12), Buffer.alloc(4084)]);
    const garbage = [noise(0), noise(5), noise(4096), noise(9000), Buffer.alloc(4096)];
    for (const content of [...garbage, headless, newer, blank, zeroed, good.subarray(0, 80)]) {
      fs.writeFileSync(path, content);
      expect(LockFile.read(disk, directory)).toEqual({
        held: false,
        durable: null,
        pid: null,
        address: null,
      });
      const lock = LockFile.acquire(disk, directory);
      expect(lock.previous).toBeNull();
      lock.publishDurable(1, 1, 100);
      lock.announce('a:1');
      expect(LockFile.read(disk, directory)).toEqual({
        held: true,
        durable: record(1, 1, 100),
        pid: process.pid,
        address: 'a:1',
      });
      lock.release();
    }
    // Cut within the second slot: the first is still good.
    fs.writeFileSync(path, good.subarray(0, SLOT_B + 20));
    expect(LockFile.read(disk, directory)?.durable).toEqual(record(7, 3, 700));
    const lock = LockFile.acquire(disk, directory);
    expect(lock.previous).toEqual(record(7, 3, 700));
    lock.release();
  });
});
