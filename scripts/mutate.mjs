/**
 * Tests the tests: brings deliberate bugs into a copy of the source, one at a time, and shows that a test fails for each.
 * `npm run test:mutants` runs them all; `npm run test:mutants -- NAME ...` those whose name holds one of the words.
 * Exits with 1 when a bug goes unnoticed, or when one does not fit the source any more.
 */

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

const ENGINE = ['checkpoint', 'checkpointer', 'group-commit', 'recovery', 'store', 'log/'].map(
  (name) => `test/engine/${name}`,
);
const CRASH = [
  ...ENGINE,
  ...['power-loss', 'sync-failure', 'damaged-files'].map((name) => `test/crash/${name}`),
];
const CONTRACT = [...ENGINE, 'test/contract/embedded.test.ts'];

const FORGET = ['test/engine/forget.test.ts'];

/** @type {{name: string, file: string, from: string, to: string, tests: string[]}[]} */
const MUTANTS = [
  {
    name: 'no directory sync for a new segment',
    file: 'src/engine/log/write-log.ts',
    from: 'await file.datasyncAsync();\n      await this.disk.syncDirectoryAsync(this.directory);',
    to: 'await file.datasyncAsync();',
    tests: CRASH,
  },
  {
    name: 'no directory sync for a new storage.dat',
    file: 'src/engine/checkpoint.ts',
    from: 'disk.rename(temporary, current);\n  disk.syncDirectory(directory);',
    to: 'disk.rename(temporary, current);',
    tests: CRASH,
  },
  {
    name: 'acknowledge before sync',
    file: 'src/engine/group-commit.ts',
    from: "const sync = this.durability === 'always';",
    to: "const sync = this.durability !== 'always' && this.closing;",
    tests: CRASH,
  },
  {
    name: 'ignore a short write',
    file: 'src/engine/log/write-log.ts',
    from: 'done += took;\n      }\n    } catch (error) {\n      throw this.writeFailed(error, at);',
    to: 'done = took > 0 ? end : done;\n      }\n    } catch (error) {\n      throw this.writeFailed(error, at);',
    tests: CRASH,
  },
  {
    name: 'accept a broken chain',
    file: 'src/engine/log/segment-reader.ts',
    from: 'if (header.chain !== chain) {',
    to: 'if (header.chain !== chain && header.chain === -1) {',
    tests: ENGINE,
  },
  {
    name: 'swap before verify',
    file: 'src/engine/checkpoint.ts',
    from: 'verifySnapshotFile(disk, temporary);\n    publish(disk, directory, temporary, recovered.usedPrevious);',
    to: 'publish(disk, directory, temporary, recovered.usedPrevious);\n    verifySnapshotFile(disk, join(directory, SNAPSHOT_NAME));',
    tests: ENGINE,
  },
  {
    name: 'retry a failed sync',
    file: 'src/engine/log/write-log.ts',
    from: 'await this.file.datasyncAsync();\n    } catch (error) {\n      throw this.fail(',
    to: 'await this.file.datasyncAsync().catch(() => this.file.datasyncAsync());\n    } catch (error) {\n      throw this.fail(',
    tests: CRASH,
  },
  {
    name: 'drop the last frame at recovery',
    file: 'src/engine/log/segment-reader.ts',
    from: 'if (!visit(header, bytes, at, offset + FRAME_HEADER_BYTES)) return end(null);',
    to: 'if (offset + size >= fileBytes) return end(null);\n      if (!visit(header, bytes, at, offset + FRAME_HEADER_BYTES)) return end(null);',
    tests: CRASH,
  },
  {
    name: 'reuse a sequence',
    file: 'src/engine/group-commit.ts',
    from: 'this.nextSequence += count;',
    to: 'this.nextSequence += Math.max(1, count - 1);',
    tests: CONTRACT,
  },
  {
    name: 'forget an index update',
    file: 'src/engine/memtable/generation.ts',
    from: 'this.edgeIndex.insert(',
    to: 'if (source !== target) this.edgeIndex.insert(',
    tests: CONTRACT,
  },
  {
    name: 'apply before durable',
    file: 'src/engine/group-commit.ts',
    from: 'appending = this.log.append(group.buffer, sync);\n      }',
    to:
      'this.state.apply(group.buffer.bytes, FRAME_HEADER_BYTES, group.buffer.payloadBytes,' +
      ' group.firstSequence, this.log.ordinal, this.log.offset + FRAME_HEADER_BYTES);\n' +
      'appending = this.log.append(group.buffer, sync);\n      }',
    tests: CRASH,
  },
  {
    name: 'take damage for a torn tail',
    file: 'src/engine/recovery.ts',
    from: 'if (laterSynced >= nextSequence) {',
    to: 'if (laterSynced >= nextSequence && laterSynced < 0) {',
    tests: CRASH,
  },
  {
    name: 'ignore the digest of recovery',
    file: 'src/engine/checkpoint.ts',
    from: 'if (state.sequence !== request.sequence || digest !== request.digest) {',
    to: 'if (state.sequence !== request.sequence) {',
    tests: ENGINE,
  },
  {
    name: 'serve a crashed tail without rewriting it',
    file: 'src/engine/recovery.ts',
    from: 'copyRange(disk, path, 0, next.offset, temporary);\n    disk.rename(temporary, path);',
    to: '',
    tests: CRASH,
  },
  {
    name: 'forgotten concepts keep what lower levels know',
    file: 'src/engine/state.ts',
    from: 'active.hide(slot);',
    to: '',
    tests: CRASH,
  },
  {
    name: 'do not check contents on reading',
    file: 'src/engine/levels.ts',
    from: 'const found = bytes.length === length ? crc32(bytes) : -1;',
    to: 'const found = bytes.length === length ? crc : -1;',
    tests: ENGINE,
  },
  {
    name: 'hand out the slot of a hub as soon as it is forgotten',
    file: 'src/engine/state.ts',
    from: 'if (removed > FORGET_STEP) this.held.push(slot);\n    else this.freed.push(slot);',
    to: 'this.freed.push(slot);',
    tests: FORGET,
  },
  {
    name: 'a replay from storage.dat.prev knows no freeze',
    file: 'src/engine/recovery.ts',
    from: 'if (through === options.frozenAt) state.releaseHeld();',
    to: '',
    tests: FORGET,
  },
];

const words = process.argv.slice(2);
const chosen = MUTANTS.filter(
  ({ name }) => words.length === 0 || words.some((w) => name.includes(w)),
);

const copy = mkdtempSync(join(tmpdir(), 'sutra-mutants-'));
/** Bounds a hang, on a busy machine too. */
const LONGEST_MS = 1_800_000;
const run = (/** @type {string[]} */ args) =>
  spawnSync(process.execPath, args, { cwd: copy, encoding: 'utf8', timeout: LONGEST_MS });
let failures = 0;
try {
  for (const name of ['src', 'test', 'proto', 'scripts', 'bin', 'dist']) {
    cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  for (const name of ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'vitest.config.ts']) {
    cpSync(join(root, name), join(copy, name));
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  const healthy = run(['node_modules/vitest/vitest.mjs', 'run', ...CRASH]);
  if (healthy.status !== 0) throw new Error(`the tests fail as they are:\n${healthy.stdout}`);
  for (const { name, file, from, to, tests } of chosen) {
    const path = join(copy, file);
    const original = readFileSync(path, 'utf8');
    const label = name.padEnd(50);
    if (original.split(from).length !== 2) {
      failures++;
      console.log(`${label} DOES NOT FIT ${file}`);
      continue;
    }
    // A function as replacement, because `$` in a string would mean something.
    writeFileSync(
      path,
      original.replace(from, () => to),
    );
    run(['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json']);
    const result = run(['node_modules/vitest/vitest.mjs', 'run', '--bail=1', ...tests]);
    // vitest names the failed test in a line that begins with FAIL, in colour even where nobody sees it.
    const text = stripVTControlCharacters(result.stdout + result.stderr);
    const failed = /FAIL\s+(.*)/.exec(text)?.[1];
    if (result.status === 0 || failed === undefined) {
      failures++;
      console.log(`${label} SURVIVED (exit ${String(result.status)})`);
    } else {
      console.log(`${label} caught by ${failed.trim().slice(0, 140)}`);
    }
    writeFileSync(path, original);
  }
} finally {
  rmSync(copy, { recursive: true, force: true });
}
console.log(`${chosen.length - failures} of ${chosen.length} deliberate bugs caught`);
process.exitCode = failures === 0 ? 0 : 1;
