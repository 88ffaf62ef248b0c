/** Storage.backup over every backend: a writer, a reader beside it, a server; while writes go on; left, aborted and garbled. */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

import { SutraError } from '#sutra/errors';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { StorageClient } from '#sutra/storage/remote';
import type { BackupInfo, Storage } from '#sutra/storage/storage';
import { METHODS } from '#sutra/wire/methods';

import { startServe, temporaryDirectory, temporaryPath } from '../support/fixture.js';
import { checkDirectory } from '../support/whole-store.js';

interface Whole {
  readonly info: BackupInfo;
  readonly bytes: Buffer;
}

async function take(storage: Storage): Promise<Whole> {
  const chunks: Uint8Array[] = [];
  let info: BackupInfo | null = null;
  let end = 0;
  for await (const chunk of storage.backup()) {
    expect(chunk.offset).toBe(end);
    if (info !== null) expect(chunk.info).toEqual(info);
    ({ info } = chunk);
    end += chunk.bytes.length;
    chunks.push(chunk.bytes.slice());
  }
  if (info === null) throw new Error('no chunk came');
  expect(info.bytes).toBe(end);
  return { info, bytes: Buffer.concat(chunks) };
}

/** The bytes are a store by themselves, and it is the one announced. */
async function expectWhole({ info, bytes }: Whole): Promise<void> {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'storage.dat'), bytes);
  const { sequence, digest, concepts, edges, vectors } = await checkDirectory(directory);
  expect({ sequence, digest, concepts, edges, vectors, bytes: bytes.length }).toEqual(info);
}

async function fill(storage: Storage, from: number, count: number): Promise<void> {
  const ids = Array.from({ length: count }, (_, i) => `c${from + i}`);
  await storage.learnBatch({
    concepts: ids.map((id) => ({ id, content: id.repeat(50), embedding: [1, from, 3] })),
    associations: ids.map((source) => ({ source, target: ids[0] ?? source })),
  });
}

function scratchFiles(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('sutra-backup-'));
}

describe('a backup', () => {
  test('of a writer holds what was acknowledged, and nothing half, while writes go on', async () => {
    const storage = await ConcurrentStorage.open(temporaryPath());
    await fill(storage, 0, 5000);
    const writing = new AbortController();
    let written = 0;
    const writer = (async () => {
      for (let n = 10_000; !writing.signal.aborted; n += 10, written++) {
        await fill(storage, n, 10);
      }
    })();
    for (let round = 0; round < 3; round++) {
      const { sequence } = await storage.stats();
      const whole = await take(storage);
      expect(whole.info.sequence).toBeGreaterThanOrEqual(sequence);
      expect(whole.info.sequence % 20).toBe(0);
      await expectWhole(whole);
    }
    writing.abort();
    await writer;
    expect(written).toBeGreaterThan(0);
    await storage.close();
  });

  test('of a reader is of what it sees, also where storage.dat does not hold it, and leaves nothing behind', async () => {
    const path = temporaryPath();
    const writer = await ConcurrentStorage.open(path);
    await fill(writer, 0, 20);
    await writer.flush();
    await fill(writer, 100, 20);
    const before = scratchFiles();
    const reader = await ConcurrentStorage.open(path, { readOnly: true });
    await fill(writer, 200, 20);
    const whole = await take(reader);
    expect(whole.info).toMatchObject({ sequence: 80, concepts: 40 });
    await expectWhole(whole);
    expect(scratchFiles().filter((name) => !before.includes(name))).toEqual([]);
    await reader.close();
    await writer.close();
  });

  test('from a server is the same, may be left and may be aborted', async () => {
    const server = await startServe();
    const client = new StorageClient(server.address);
    await fill(client, 0, 3000);
    const whole = await take(client);
    expect(whole.info).toMatchObject({
      sequence: 6000,
      concepts: 3000,
      edges: 3000,
      vectors: 3000,
    });
    await expectWhole(whole);
    expect(whole.bytes.length).toBeGreaterThan(600_000);
    for await (const { offset } of client.backup()) {
      if (offset > 0) break;
    }
    const controller = new AbortController();
    const aborted = (async () => {
      for await (const { offset } of client.backup({ signal: controller.signal })) {
        if (offset === 0) controller.abort();
      }
    })();
    await expect(aborted).rejects.toMatchObject({ code: 'CANCELLED' });
    await expectWhole(await take(client));
    await client.close();
    expect(await server.stop()).toBe(0);
  });

  test('of an empty store is one too', async () => {
    const storage = await ConcurrentStorage.open(temporaryPath());
    const whole = await take(storage);
    expect(whole.info).toMatchObject({ sequence: 0, concepts: 0 });
    await expectWhole(whole);
    await storage.close();
    const empty = temporaryPath();
    mkdirSync(empty);
    await expect(ConcurrentStorage.open(empty, { readOnly: true })).rejects.toThrow(SutraError);
  });

  test('of a closed store is refused', async () => {
    const storage = await ConcurrentStorage.open(temporaryPath());
    await storage.close();
    await expect(take(storage)).rejects.toMatchObject({ code: 'CLOSED' });
  });
});

test('a chunk goes through the wire as it is', () => {
  const info = { sequence: 2 ** 40, digest: 'ab', concepts: 1, edges: 2, vectors: 3, bytes: 9 };
  const chunk = { info, offset: 2 ** 33, bytes: Buffer.from('abc'), crc: 0xffffffff };
  expect(METHODS.backup.decodeResponse(METHODS.backup.encodeResponse(chunk))).toEqual(chunk);
  expect(() => METHODS.backup.decodeResponse(Buffer.from([0x42, 0xff]))).toThrow(SutraError);
  expect(readFileSync(new URL('../../proto/sutra/storage.proto', import.meta.url), 'utf8')).toMatch(
    /rpc Backup\(BackupRequest\) returns \(stream BackupChunk\);/,
  );
});
