/** A storage.dat of version 2 under the real binary: every kind of command recognises it. */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

import { errorOf, jsonOf } from '../support/command.js';
import { runSutra, startServe, temporaryPath } from '../support/fixture.js';
import { mirrored, oldFile } from '../support/version2-file.js';

const A = '00000000000000aa';
const B = '00000000000000bb';
const BYTES = oldFile({
  concepts: [
    { id: A, content: 'first' },
    { id: B, content: 'second' },
  ],
  edges: mirrored(A, B, 0.5),
});

function oldStore(bytes: Uint8Array = BYTES): string {
  const store = temporaryPath();
  mkdirSync(store);
  writeFileSync(join(store, 'storage.dat'), bytes);
  return store;
}

function filesOf(store: string): string[] {
  return readdirSync(store).sort();
}

describe('a store of version 2', () => {
  test('is read in place by reading commands', async () => {
    const store = oldStore();
    const at = ['--storage', store];
    expect(await jsonOf(['query', A], at)).toMatchObject({ found: true, content: 'first' });
    expect(await jsonOf(['stats'], at)).toMatchObject({ concepts: 2, edges: 1, sequence: 3 });
    expect(await jsonOf(['path', B, A], at)).toMatchObject({ found: true, path: [B, A] });
    const verified = await jsonOf(['verify'], at);
    expect(verified).toMatchObject({ ok: true, concepts: 2, edges: 1 });
    expect(JSON.stringify(verified['notes'])).toContain('version 2, read in place');
    expect(filesOf(store)).toEqual(['storage.dat']);
    expect(readFileSync(join(store, 'storage.dat')).equals(BYTES)).toBe(true);
  });

  test('is brought over by the first writing command, which says so', async () => {
    const store = oldStore();
    const at = ['--storage', store];
    const digest = (await jsonOf(['verify'], at))['digest'];
    const migrated = await jsonOf(['migrate'], at);
    expect(migrated).toMatchObject({ migrated: true, digest, kept_as: 'storage.dat.v2' });
    expect(await jsonOf(['verify'], at)).toMatchObject({ ok: true, digest, notes: [] });
    expect(await jsonOf(['migrate'], at)).toMatchObject({
      migrated: false,
      kept_as: 'storage.dat.v2',
    });

    const cut = oldStore();
    writeFileSync(join(cut, 'storage.dat.tmp'), 'half of it');
    const again = await runSutra(['migrate', '--storage', cut]);
    expect(again).toMatchObject({ code: 0 });
    expect(again.stderr).toBe(
      `note: ${cut}: a migration was interrupted before it took effect; this is as it was\n`,
    );

    const other = oldStore();
    const learned = await runSutra(['learn', 'new', 'x', '--storage', other]);
    expect(learned.code).toBe(0);
    expect(learned.stderr).toContain('migrated storage.dat from version 2: 2 concepts, 1 assoc');
    expect(readFileSync(join(other, 'storage.dat.v2')).equals(BYTES)).toBe(true);
  });

  test('is brought over by a server', async () => {
    const store = oldStore();
    const server = await startServe(['--storage', store]);
    expect(await jsonOf(['query', B], ['--server', server.address])).toMatchObject({
      content: 'second',
    });
    expect(await server.stop()).toBe(0);
    expect(server.stderr).toContain('migrated from version 2');
    expect(filesOf(store)).toContain('storage.dat.v2');
  });

  test('is refused when it is damaged, and salvaged when that is asked for', async () => {
    const store = oldStore(BYTES.subarray(0, BYTES.length - 1));
    const at = ['--storage', store];
    for (const command of [['query', A], ['learn', 'x'], ['migrate'], ['stats']]) {
      const error = await errorOf([...command, ...at], 5);
      expect(error.message).toMatch(/version 2: association 1, at offset 183: the file ends/);
      expect(error.hint).toContain('sutra migrate --salvage');
    }
    expect(await jsonOf(['verify'], at, { code: 5 })).toMatchObject({
      ok: false,
      findings: [{ file: 'storage.dat', offset: 183 }],
    });
    expect((await errorOf(['repair', ...at], 5)).hint).toContain('sutra migrate');
    const salvaged = await jsonOf(['migrate', '--salvage'], at);
    expect(salvaged).toMatchObject({ migrated: true, concepts: 2, edges: 1, left_out: 1 });
    expect(salvaged['left']).toMatchObject([{ kind: 'association', index: 1, offset: 183 }]);
    expect(await jsonOf(['verify'], at)).toMatchObject({ ok: true });
  });
});
