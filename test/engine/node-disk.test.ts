/** The real disk: modes, POSIX codes, short writes, mappings and kernel locks, on a real directory and with real processes. */

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { NodeDisk } from '#sutra/engine/node-disk';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const disk = new NodeDisk();

let directory: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = fs.mkdtempSync(join(tmpdir(), 'sutra-disk-'));
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  fs.rmSync(directory, { recursive: true, force: true });
});

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
  return undefined;
}

/** A file of n bytes in which byte i is i / 4096 modulo 251, so that every page tells where it comes from. */
function pattern(name: string, length: number): string {
  const path = join(directory, name);
  const content = Buffer.alloc(length);
  for (let i = 0; i < length; i++) content[i] = Math.floor(i / 4096) % 251;
  fs.writeFileSync(path, content);
  return path;
}

describe('files', () => {
  it('ends with ENOENT where no directory can be made, as below /proc', () => {
    const path = join('/proc', 'no-directory-here');
    expect(() => {
      disk.makeDirectory(path);
    }).toThrow(/ENOENT/);
  });

  it('makes files 0600 and directories 0700, parents included', () => {
    const nested = join(directory, 'a', 'b');
    disk.makeDirectory(nested);
    disk.makeDirectory(nested);
    const path = join(nested, 'f');
    disk.open(path, 'create').close();
    expect(fs.statSync(path).mode & 0o777).toBe(0o600);
    expect(fs.statSync(nested).mode & 0o777).toBe(0o700);
    expect(fs.statSync(join(directory, 'a')).mode & 0o777).toBe(0o700);
  });

  it('opens as each mode promises', () => {
    const path = join(directory, 'f');
    expect(codeOf(() => disk.open(path, 'read'))).toBe('ENOENT');
    expect(codeOf(() => disk.open(path, 'update'))).toBe('ENOENT');
    expect(fs.existsSync(path)).toBe(false);

    const created = disk.open(path, 'ensure');
    expect(created.write(bytes('hello'), 0, 5, 0)).toBe(5);
    created.close();
    expect(codeOf(() => disk.open(path, 'create'))).toBe('EEXIST');

    const kept = disk.open(path, 'ensure');
    expect(kept.identity().size).toBe(5);
    kept.close();

    const reader = disk.open(path, 'read');
    expect(codeOf(() => reader.write(bytes('x'), 0, 1, 0))).toBe('EBADF');
    reader.close();
  });

  it('refuses a directory and a named pipe instead of waiting on it', () => {
    const pipe = join(directory, 'pipe');
    expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
    expect(codeOf(() => disk.open(pipe, 'read'))).toBe('EINVAL');
    expect(codeOf(() => disk.open(pipe, 'ensure'))).toBe('EINVAL');
    expect(codeOf(() => disk.open(directory, 'read'))).toBe('EISDIR');
  });

  it('reads and writes at positions, and returns 0 at the end', async () => {
    const file = disk.open(join(directory, 'f'), 'create');
    expect(file.write(bytes('xxabcxx'), 2, 3, 0)).toBe(3);
    expect(await file.writeAsync(bytes('zzdef'), 2, 3, 3)).toBe(3);
    await file.datasyncAsync();
    file.datasync();
    file.sync();
    const target = new Uint8Array(10);
    expect(file.read(target, 1, 9, 1)).toBe(5);
    expect(new TextDecoder().decode(target.subarray(1, 6))).toBe('bcdef');
    expect(file.read(target, 0, 10, 6)).toBe(0);
    file.truncate(2);
    expect(file.identity().size).toBe(2);
    file.close();
  });

  it('writes and reads behind 4 GiB', () => {
    const file = disk.open(join(directory, 'sparse'), 'create');
    const position = 2 ** 33 + 7;
    expect(file.write(bytes('far'), 0, 3, position)).toBe(3);
    const target = new Uint8Array(3);
    expect(file.read(target, 0, 3, position)).toBe(3);
    expect(new TextDecoder().decode(target)).toBe('far');
    expect(file.identity().size).toBe(position + 3);
    file.close();
  });

  it('returns a short write as it is, and the error of the next one', () => {
    // ulimit -f counts blocks of 512 bytes in dash and of 1,024 in bash; both make the second write short.
    const script = `
      import { NodeDisk } from '#sutra/engine/node-disk';
      const file = new NodeDisk().open(process.argv[1], 'create');
      const source = new Uint8Array(1500);
      const sync = file.write(source, 0, 1500, 0);
      const rest = await file.writeAsync(source, 0, 1500, sync);
      const codes = [];
      try { file.write(source, 0, 1, sync + rest); } catch (error) { codes.push(error.code); }
      await file.writeAsync(source, 0, 1, sync + rest).catch((error) => codes.push(error.code));
      console.log(JSON.stringify({ sync, rest, size: file.identity().size, codes }));`;
    const run = spawnSync(
      'bash',
      [
        '-c',
        'ulimit -f 2; exec "$0" --input-type=module -e "$1" "$2"',
        process.execPath,
        script,
        join(directory, 'f'),
      ],
      { cwd: ROOT, encoding: 'utf8' },
    );
    expect(run.stderr).toBe('');
    expect(JSON.parse(run.stdout)).toEqual({
      sync: 1500,
      rest: 548,
      size: 2048,
      codes: ['EFBIG', 'EFBIG'],
    });
  });

  it('does not close under a running write, and says EBADF afterwards', async () => {
    const file = disk.open(join(directory, 'f'), 'create');
    const writing = file.writeAsync(new Uint8Array(100), 0, 100, 0);
    expect(codeOf(() => file.close())).toBe('EBUSY');
    expect(await writing).toBe(100);
    const syncing = file.datasyncAsync();
    expect(codeOf(() => file.close())).toBe('EBUSY');
    await syncing;
    file.close();
    file.close();
    expect(codeOf(() => file.identity())).toBe('EBADF');
    expect(codeOf(() => file.read(new Uint8Array(1), 0, 1, 0))).toBe('EBADF');
    await expect(file.datasyncAsync()).rejects.toMatchObject({ code: 'EBADF' });
    await expect(file.writeAsync(new Uint8Array(1), 0, 1, 0)).rejects.toMatchObject({
      code: 'EBADF',
    });
  });
});

describe('names', () => {
  it('lists sorted, stats, links, renames and unlinks', async () => {
    const at = (name: string): string => join(directory, name);
    for (const name of ['c', 'a', 'b']) disk.open(at(name), 'create').close();
    expect(disk.list(directory)).toEqual(['a', 'b', 'c']);
    expect(disk.stat(at('nothing'))).toBeNull();
    expect(disk.stat(at('a/below-a-file'))).toBeNull();
    expect(codeOf(() => disk.open(at('a/below-a-file'), 'read'))).toBe('ENOTDIR');
    expect(disk.stat(directory)?.isDirectory).toBe(true);
    const before = disk.stat(at('a'));
    expect(before?.isDirectory).toBe(false);

    disk.link(at('a'), at('a.prev'));
    expect(disk.stat(at('a.prev'))?.inode).toBe(before?.inode);
    expect(codeOf(() => disk.link(at('a'), at('a.prev')))).toBe('EEXIST');
    disk.rename(at('b'), at('a'));
    expect(disk.stat(at('a'))?.inode).not.toBe(before?.inode);
    disk.unlink(at('c'));
    await disk.unlinkAsync(at('a.prev'));
    expect(disk.list(directory)).toEqual(['a']);
    expect(codeOf(() => disk.unlink(at('c')))).toBe('ENOENT');
    await expect(disk.unlinkAsync(at('c'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('syncs directories and refuses what is not one', async () => {
    disk.syncDirectory(directory);
    await disk.syncDirectoryAsync(directory);
    const file = join(directory, 'f');
    disk.open(file, 'create').close();
    expect(codeOf(() => disk.syncDirectory(file))).toBe('ENOTDIR');
    await expect(disk.syncDirectoryAsync(file)).rejects.toMatchObject({ code: 'ENOTDIR' });
    await expect(disk.syncDirectoryAsync(join(directory, 'none'))).rejects.toMatchObject({
      code: 'ENOENT',
    });
  });
});

describe('mappings', () => {
  it('shows the bytes of the file at the offset asked for, even after close', () => {
    const file = disk.open(pattern('f', 300_000), 'read');
    const mapping = file.map(131_072, 300_000 - 131_072);
    file.close();
    expect(mapping).not.toBeNull();
    const view = new Uint8Array(mapping?.buffer ?? new ArrayBuffer(0));
    expect(view.length).toBe(168_928);
    for (let i = 0; i < view.length; i++) {
      if (view[i] !== Math.floor((131_072 + i) / 4096) % 251) expect(i).toBe('a wrong byte');
    }
    mapping?.unmap();
    mapping?.unmap();
  });

  it('sees what is written to the file behind it', () => {
    const path = pattern('f', 65_536);
    const writer = disk.open(path, 'update');
    const mapping = disk.open(path, 'read').map(0, 65_536);
    expect(writer.write(bytes('new'), 0, 3, 100)).toBe(3);
    const view = Buffer.from(mapping?.buffer ?? new ArrayBuffer(0), 100, 3);
    expect(view.toString()).toBe('new');
    mapping?.unmap();
    writer.close();
  });

  it('refuses a range that is not aligned, not within the file, empty or too long', () => {
    const file = disk.open(pattern('f', 200_000), 'read');
    const ranges = [
      [4096, 100],
      [-65_536, 100],
      [0, 0],
      [0, -1],
      [0, 1.5],
      [NaN, 100],
      [0, 200_001],
      [196_608, 3_393],
      [262_144, 1],
    ] as const;
    for (const [offset, length] of ranges) {
      expect(() => file.map(offset, length)).toThrow(RangeError);
    }
    file.close();

    const sparse = disk.open(join(directory, 'sparse'), 'create');
    sparse.truncate(2 ** 32);
    expect(() => sparse.map(0, 2 ** 31)).toThrow(RangeError);
    const window = sparse.map(2 ** 32 - 65_536, 65_536);
    expect(window?.buffer.byteLength).toBe(65_536);
    window?.unmap();
    sparse.close();
  });

  it('gives an empty buffer for an empty file', () => {
    const file = disk.open(join(directory, 'empty'), 'create');
    const mapping = file.map(0, 0);
    expect(mapping?.buffer.byteLength).toBe(0);
    mapping?.unmap();
    expect(() => file.map(0, 1)).toThrow(RangeError);
    file.close();
  });

  it('gives memory back: 2,000 cycles of 8 MiB', () => {
    const length = 8 * 1024 * 1024;
    const path = pattern('f', length);
    const file = disk.open(path, 'read');
    const cycle = (): number => {
      const mapping = file.map(0, length);
      const view = new Uint8Array(mapping?.buffer ?? new ArrayBuffer(0));
      let sum = 0;
      for (let i = 0; i < length; i += 65_536) sum += view[i] ?? NaN;
      mapping?.unmap();
      return sum;
    };
    const expected = cycle();
    for (let i = 0; i < 100; i++) cycle();
    const before = process.memoryUsage.rss();
    for (let i = 0; i < 2_000; i++) {
      if (cycle() !== expected) expect(i).toBe('a wrong sum');
    }
    // 2,000 leaked mappings would count 128 touched pages each, with fault-around far more: at least 1,000 MiB.
    expect(process.memoryUsage.rss() - before).toBeLessThan(128 * 1024 * 1024);
    if (process.platform === 'linux') {
      expect(fs.readFileSync('/proc/self/maps', 'utf8')).not.toContain(path);
    }
    file.close();
  });

  it('works in worker threads while this thread maps too', async () => {
    const path = pattern('f', 131_072);
    const source = `
      const { parentPort, workerData } = require('node:worker_threads');
      import(workerData.module).then(({ NodeDisk }) => {
        const file = new NodeDisk().open(workerData.path, 'read');
        let sum = 0;
        for (let i = 0; i < 200; i++) {
          const mapping = file.map(65536, 65536);
          sum += new Uint8Array(mapping.buffer)[4096];
          mapping.unmap();
        }
        parentPort.postMessage({ sum, locked: file.isLockedElsewhere() });
      });`;
    const module = new URL('../../dist/engine/node-disk.js', import.meta.url).href;
    const holder = disk.open(path, 'update');
    expect(holder.tryLock()).toBe(true);
    const mapping = holder.map(0, 65_536);
    const answers = await Promise.all(
      [1, 2].map(async () => {
        const worker = new Worker(source, { eval: true, workerData: { module, path } });
        // Asked for before the message: an ending worker's last message and its exit may come in one turn.
        const exited = once(worker, 'exit');
        const [answer] = (await once(worker, 'message')) as [unknown];
        await exited;
        return answer;
      }),
    );
    expect(answers).toEqual([
      { sum: 200 * 17, locked: true },
      { sum: 200 * 17, locked: true },
    ]);
    expect(new Uint8Array(mapping?.buffer ?? new ArrayBuffer(0))[8192]).toBe(2);
    mapping?.unmap();
    holder.close();
  });

  it('does not load the foreign function library until something maps or locks', () => {
    const script = `
      import { NodeDisk } from '#sutra/engine/node-disk';
      import { createRequire } from 'node:module';
      const cache = () => Object.keys(createRequire(import.meta.url).cache).some((name) => name.includes('koffi'));
      const file = new NodeDisk().open(process.argv[1], 'read');
      file.read(new Uint8Array(1), 0, 1, 0);
      const before = cache();
      file.map(0, 65536).unmap();
      console.log(JSON.stringify([before, cache()]));`;
    const run = spawnSync(
      process.execPath,
      ['--input-type=module', '-e', script, pattern('f', 65_536)],
      { cwd: ROOT, encoding: 'utf8' },
    );
    expect(run.stderr).toBe('');
    expect(JSON.parse(run.stdout)).toEqual([false, true]);
  });
});

describe('kernel locks', () => {
  /** A process that tries the lock, prints whether it got it, and stays until it is killed. */
  async function locker(path: string): Promise<{ child: ChildProcess; got: boolean }> {
    const script = `
      import { NodeDisk } from '#sutra/engine/node-disk';
      const file = new NodeDisk().open(process.argv[1], 'update');
      console.log(file.tryLock());
      setInterval(() => file, 1e6);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, path], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    return { child, got: line.toString().trim() === 'true' };
  }

  it('conflicts between two opens of one process, and ends with close', () => {
    const path = pattern('lock', 10);
    const one = disk.open(path, 'update');
    const two = disk.open(path, 'update');
    expect(one.tryLock()).toBe(true);
    expect(one.tryLock()).toBe(true);
    expect(two.tryLock()).toBe(false);
    expect(two.isLockedElsewhere()).toBe(true);
    expect(one.isLockedElsewhere()).toBe(false);
    // A third descriptor that is opened and closed must not take the lock along, as POSIX record locks would.
    disk.open(path, 'update').close();
    expect(two.tryLock()).toBe(false);
    one.close();
    expect(two.isLockedElsewhere()).toBe(false);
    expect(two.tryLock()).toBe(true);
    two.close();
  });

  it('is asked about through a read-only open, which takes nothing', () => {
    const path = pattern('lock', 10);
    const reader = disk.open(path, 'read');
    const writer = disk.open(path, 'update');
    expect(reader.isLockedElsewhere()).toBe(false);
    expect(writer.tryLock()).toBe(true);
    expect(reader.isLockedElsewhere()).toBe(true);
    expect(codeOf(() => reader.tryLock())).toBe('EBADF');
    reader.close();
    writer.close();
  });

  it('is refused to a second process, and dies with SIGKILL', async () => {
    const path = pattern('lock', 10);
    const first = await locker(path);
    expect(first.got).toBe(true);
    const second = await locker(path);
    expect(second.got).toBe(false);
    const here = disk.open(path, 'update');
    expect(here.isLockedElsewhere()).toBe(true);
    expect(here.tryLock()).toBe(false);
    first.child.kill('SIGKILL');
    await once(first.child, 'exit');
    expect(here.isLockedElsewhere()).toBe(false);
    expect(here.tryLock()).toBe(true);
    here.close();
  });

  it('is held by a stopped process', async () => {
    const path = pattern('lock', 10);
    const { child, got } = await locker(path);
    expect(got).toBe(true);
    child.kill('SIGSTOP');
    const here = disk.open(path, 'update');
    expect(here.isLockedElsewhere()).toBe(true);
    expect(here.tryLock()).toBe(false);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(here.tryLock()).toBe(true);
    here.close();
  });
});
