/** `sutra backup`, `restore` and `compact` on the real binary, beside a server and while it is written to. */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

import { ConcurrentStorage } from '#sutra/storage/embedded';

import { errorOf, jsonOf } from '../support/command.js';
import {
  BIN,
  runSutra,
  startServe,
  temporaryDirectory,
  temporaryPath,
} from '../support/fixture.js';

async function makeStore(concepts = 300): Promise<string> {
  const store = temporaryPath();
  const storage = await ConcurrentStorage.open(store);
  const ids = Array.from({ length: concepts }, (_, i) => `c${i}`);
  await storage.learnBatch({
    concepts: ids.map((id, i) => ({ id, content: `content of ${id}`, embedding: [1, i, 2] })),
    associations: ids.map((source, i) => ({ source, target: ids[(i * 7) % concepts] ?? 'c0' })),
  });
  await storage.flush();
  await storage.learnConcept({ id: 'behind storage.dat', content: 'x' });
  await storage.close();
  return store;
}

describe('a backup of a directory', () => {
  test('beside its server holds what the server has acknowledged, and restores to the same digest', async () => {
    const store = await makeStore();
    const file = join(temporaryDirectory(), 'b.dat');
    const server = await startServe(['--storage', store]);
    await jsonOf(['learn', 'last', 'y'], ['--server', server.address]);
    const made = await jsonOf(['backup', file, '--prove'], ['--storage', store]);
    expect(made).toMatchObject({
      verified: true,
      concepts: 302,
      edges: 300,
      vectors: 300,
      sequence: 602,
      bytes: statSync(file).size,
    });
    expect(made['proved']).toEqual({ samples: 100, changed_since: 0 });
    expect(await server.stop()).toBe(0);

    const restored = temporaryPath();
    const done = await jsonOf(['restore', file], ['--storage', restored]);
    expect(done).toMatchObject({ digest: made['digest'], sequence: 602, kept_in: null });
    expect(await jsonOf(['verify'], ['--storage', restored])).toMatchObject({
      ok: true,
      digest: made['digest'],
    });
    expect(await jsonOf(['query', 'last'], ['--storage', restored])).toMatchObject({ found: true });
    expect(readdirSync(join(file, '..'))).toEqual(['b.dat']);
  });

  test('from a server comes over the wire, and proves itself', async () => {
    const store = await makeStore();
    const file = join(temporaryDirectory(), 'b.dat');
    const server = await startServe(['--storage', store]);
    const made = await jsonOf(['backup', file, '--prove'], ['--server', server.address]);
    expect(made).toMatchObject({ concepts: 301, proved: { samples: 100, changed_since: 0 } });
    expect(await server.stop()).toBe(0);
    const gone = ['backup', `${file}2`, '--server', server.address];
    expect((await errorOf(gone, 3)).code).toBe('UNREACHABLE');
    expect(readdirSync(join(file, '..'))).toEqual(['b.dat']);
  });

  test('never replaces a file unless told to, and keeps it when it fails', async () => {
    const store = await makeStore(3);
    const file = join(temporaryDirectory(), 'b.dat');
    writeFileSync(file, 'mine');
    writeFileSync(`${file}.tmp`, 'left by one that was killed');
    const at = ['--storage', store];
    expect((await errorOf(['backup', file, ...at], 2)).code).toBe('ALREADY_THERE');
    expect(readFileSync(file, 'utf8')).toBe('mine');
    const made = await runSutra(['backup', file, '--force', '--json', ...at]);
    expect(made.code).toBe(0);
    expect((JSON.parse(made.stderr) as { note: string }).note).toBe(
      `${file}.tmp: a backup was interrupted before it was whole; this is removed, and ${file} is as it was`,
    );
    expect(statSync(file).size).toBeGreaterThan(4096);
    expect(existsSync(`${file}.tmp`)).toBe(false);
    const nowhere = join(temporaryDirectory(), 'no', 'b.dat');
    expect((await errorOf(['backup', nowhere, ...at], 2)).code).toBe('NO_SUCH_DIRECTORY');
    expect((await errorOf(['backup', join(file, '..'), ...at], 2)).code).toBe('INVALID_ARGUMENT');
    const none = ['backup', `${file}2`, '--storage', temporaryPath('none')];
    expect((await errorOf(none, 2)).code).toBe('NO_SUCH_DIRECTORY');
  });
});

describe('restoring', () => {
  test('never overwrites a store; with --force it keeps the old one', async () => {
    const store = await makeStore(3);
    const at = ['--storage', store];
    const file = join(temporaryDirectory(), 'b.dat');
    const { digest } = await jsonOf(['backup', file], at);
    await jsonOf(['learn', 'later', 'z'], at);
    const refused = await errorOf(['restore', file, ...at], 2);
    expect(refused.code).toBe('ALREADY_THERE');
    expect(await jsonOf(['query', 'later'], at)).toMatchObject({ found: true });
    const done = await jsonOf(['restore', file, '--force'], at);
    expect(done).toMatchObject({ digest, old_was_damaged: false });
    expect(await jsonOf(['query', 'later'], at, { code: 4 })).toMatchObject({ found: false });
    const old = String(done['kept_in']);
    expect(await jsonOf(['query', 'later'], ['--storage', old])).toMatchObject({ found: true });
    expect(await jsonOf(['verify'], at)).toMatchObject({ ok: true, digest });
  });

  test('refuses what is no whole backup, and a store that is served', async () => {
    const store = await makeStore(3);
    const at = ['--storage', store];
    const file = join(temporaryDirectory(), 'b.dat');
    await jsonOf(['backup', file], at);
    const bytes = readFileSync(file);
    bytes.writeUInt8(bytes.readUInt8(4500) ^ 1, 4500);
    const bad = `${file}.bad`;
    writeFileSync(bad, bytes);
    const target = temporaryPath();
    expect((await errorOf(['restore', bad, '--storage', target], 5)).code).toBe('DAMAGED');
    expect(existsSync(target)).toBe(false);
    writeFileSync(bad, 'nothing of the kind');
    expect((await errorOf(['restore', bad, '--storage', target], 5)).code).toBe('DAMAGED');
    await errorOf(['restore', `${file}.none`, '--storage', target], 2);
    const foreign = temporaryDirectory();
    writeFileSync(join(foreign, 'letter.txt'), 'dear');
    await errorOf(['restore', file, '--storage', foreign], 2);
    const server = await startServe(at);
    await errorOf(['restore', file, '--force', ...at], 7);
    await errorOf(['compact', ...at], 7);
    expect(await server.stop()).toBe(0);
  });

  test('that was killed says so at the next opening', async () => {
    const store = await makeStore(3);
    writeFileSync(join(store, 'storage.dat.restore'), 'half of it');
    const server = await startServe(['--storage', store]);
    expect(server.stderr).toContain('a restore was interrupted before it took effect');
    expect(await server.stop()).toBe(0);
    expect(existsSync(join(store, 'storage.dat.restore'))).toBe(false);
    writeFileSync(join(store, 'storage.dat.restore'), 'half of it');
    const learned = await runSutra(['learn', 'x', 'y', '--storage', store]);
    expect(learned.stderr).toBe(
      `note: ${store}: a restore was interrupted before it took effect; this is as it was\n`,
    );
    writeFileSync(join(store, 'storage.dat.tmp'), 'half of it');
    const compacted = await runSutra(['compact', '--storage', store]);
    expect(compacted.stderr).toBe(
      `note: ${store}: a checkpoint or compaction was interrupted before it took effect; this is as it was\n`,
    );
  });

  test('again over what it made says that this is the backup', async () => {
    const store = await makeStore(3);
    const file = join(temporaryDirectory(), 'b.dat');
    await jsonOf(['backup', file], ['--storage', store]);
    const restored = temporaryPath();
    await jsonOf(['restore', file], ['--storage', restored]);
    const refused = await errorOf(['restore', file, '--storage', restored], 2);
    expect(refused.message).toContain(
      `holds a store already: ${file}, restored, and nothing newer`,
    );
    // The source has the same state, and is no restored backup; nor is one that was written to since.
    await jsonOf(['compact'], ['--storage', store]);
    const source = await errorOf(['restore', file, '--storage', store], 2);
    expect(source.message).toBe(`${store} holds a store already`);
    await jsonOf(['learn', 'newer', 'z'], ['--storage', restored]);
    const newer = await errorOf(['restore', file, '--storage', restored], 2);
    expect(newer.message).toBe(`${restored} holds a store already`);
  });
});

describe('compacting', () => {
  test('gives back what was forgotten, and prints how much', async () => {
    const store = await makeStore();
    const storage = await ConcurrentStorage.open(store);
    for (let i = 0; i < 250; i++) await storage.forgetConcept(`c${i}`);
    await storage.close();
    const at = ['--storage', store];
    const { digest } = await jsonOf(['verify'], at);
    const done = await jsonOf(['compact'], at);
    expect(done).toMatchObject({ digest, concepts: 51, freed_slots: 250 });
    const [before, after] = [Number(done['before_bytes']), Number(done['after_bytes'])];
    expect(after).toBeLessThan(before / 3);
    expect(await jsonOf(['verify'], at)).toMatchObject({ ok: true, digest });
    const again = await runSutra(['compact', ...at]);
    expect(again).toMatchObject({ code: 0 });
    expect(again.stdout).toMatch(/compacted: .* before, .* now; 0 free slots went/);
    await errorOf(['compact', '--storage', temporaryPath('none')], 2);
    const empty = temporaryPath('empty');
    mkdirSync(empty);
    await errorOf(['compact', '--storage', empty], 2);
  });
});

/** Runs a shell line; $SUTRA is the binary. What went to stdout, as bytes. */
function pipeline(line: string): { code: number; out: Buffer; err: string } {
  const env = { ...process.env, SUTRA: `${process.execPath} ${BIN}` };
  const { status, stdout, stderr } = spawnSync('bash', ['-c', line], {
    env,
    maxBuffer: 64 * 1024 * 1024,
  });
  return { code: status ?? -1, out: stdout, err: stderr.toString() };
}

describe('a backup as a stream', () => {
  test('is the file, from a directory and from a server, and comes back by standard input', async () => {
    const store = await makeStore();
    const file = join(temporaryDirectory(), 'b.dat');
    const made = await jsonOf(['backup', file], ['--storage', store]);
    const sent = pipeline(`$SUTRA backup - --storage '${store}'`);
    expect(sent.code).toBe(0);
    expect(sent.err).toMatch(/^sent .*: sequence 601, digest [0-9a-f]{32}$/m);
    expect(sent.err).toContain(`digest ${String(made['digest'])}`);
    expect(sent.err).toContain('301 concepts, 300 edges, 300 vectors');
    // All but when it was made, and what follows from that in the header.
    const body = (bytes: Buffer): Buffer => bytes.subarray(4096);
    expect(body(sent.out).equals(body(readFileSync(file)))).toBe(true);

    const server = await startServe(['--storage', store]);
    const restored = temporaryPath();
    const moved = pipeline(
      `set -o pipefail; $SUTRA backup - --server ${server.address} | gzip | gunzip | ` +
        `$SUTRA restore - --storage '${restored}' --json`,
    );
    expect(moved.code, moved.err).toBe(0);
    expect(JSON.parse(moved.out.toString())).toMatchObject({
      digest: made['digest'],
      concepts: 301,
      kept_in: null,
    });
    expect(await server.stop()).toBe(0);
    expect(await jsonOf(['verify'], ['--storage', restored])).toMatchObject({ ok: true });
    expect(readdirSync(join(restored, '..'))).toEqual(['store']);
  });

  test('has standard output to itself, and not a terminal', async () => {
    const store = await makeStore(3);
    for (const flag of ['--json', '--force', '--prove']) {
      const refused = await runSutra(['backup', '-', flag, '--storage', store]);
      expect(refused).toMatchObject({ code: 2, stdout: '' });
      expect(refused.stderr).toContain(flag);
    }
    const terminal = pipeline(`script -qec "$SUTRA backup - --storage '${store}'" /dev/null`);
    expect(terminal.code).toBe(2);
    expect(terminal.out.toString()).toContain('is a terminal');
    const typed = pipeline(`script -qec "$SUTRA restore - --storage '${store}2'" /dev/null`);
    expect(typed.code).toBe(2);
    expect(typed.out.toString()).toContain('is a terminal');
  });

  test('that its reader leaves, or that cannot be written, is no backup', async () => {
    const store = await makeStore(3_000);
    const left = pipeline(
      `$SUTRA backup - --storage '${store}' | head -c 5000; echo "\${PIPESTATUS[0]}"`,
    );
    expect(left.out.subarray(5000).toString()).toBe('130\n');
    expect(left.err).toContain('not a whole backup');
    const full = pipeline(`$SUTRA backup - --storage '${store}' > /dev/full`);
    expect(full.code).toBe(1);
    expect(full.err).toContain('ENOSPC');
  });

  test('that is not whole is not restored, and nothing of it stays', async () => {
    const store = await makeStore(3_000);
    const { out } = pipeline(`$SUTRA backup - --storage '${store}'`);
    const target = temporaryPath();
    for (const [what, bytes] of [
      ['cut', out.subarray(0, out.length - 1)],
      ['flipped', flipped(out, out.length - 70_000)],
      ['nothing', out.subarray(0, 0)],
    ] as const) {
      const refused = await runSutra(['restore', '-', '--storage', target], { input: bytes });
      expect(refused.code, what).toBe(5);
      expect(readdirSync(join(target, '..')), what).toEqual([]);
    }
    writeFileSync(`${target}.incoming.tmp`, 'left by one that was killed');
    const done = await runSutra(['restore', '-', '--storage', target], { input: out });
    expect(done).toMatchObject({ code: 0 });
    expect(done.stderr).toContain('a restore was interrupted before all of its backup had come');
    const again = await runSutra(['restore', '-', '--storage', target], { input: out });
    expect(again).toMatchObject({ code: 2 });
    expect(readdirSync(join(target, '..'))).toEqual(['store']);
  });
});

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
  return copy;
}
