/** A checkpoint puts nothing in place that it has not read back, and nothing that is not what was served. */

import { describe, expect, test } from 'vitest';

import { runCheckpoint } from '#sutra/engine/checkpoint';
import type { DiskFile, OpenMode } from '#sutra/engine/disk';
import { silentLogger } from '#sutra/engine/logger';
import { Store } from '#sutra/engine/store';

import { DIRECTORY, STORE_OPTIONS } from '../support/scenario.js';
import { SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';

/** A disk that changes one byte of what is written to storage.dat.tmp, and says nothing. */
class LyingDisk extends SimDisk {
  lies = 0;

  override open(path: string, mode: OpenMode): DiskFile {
    const file = super.open(path, mode);
    if (mode !== 'create' || !path.endsWith('storage.dat.tmp')) return file;
    const write = file.write.bind(file);
    file.write = (source, offset, length, position) => {
      // The first block of the body; the header is written last and would be noticed by its own checksum.
      if (this.lies === 0 && position >= 4096 && length > 10) {
        this.lies++;
        const bent = source.slice(offset, offset + length);
        bent[5] = (bent[5] ?? 0) ^ 1;
        return write(bent, 0, length, position);
      }
      return write(source, offset, length, position);
    };
    return file;
  }
}

async function filledStore(disk: SimDisk): Promise<Store> {
  const store = Store.open(DIRECTORY, new SimEnvironment(disk), {
    ...STORE_OPTIONS,
    threshold: 1_000_000,
  });
  const concepts = ['a', 'b', 'c'].map((id) => ({
    id,
    content: id.repeat(50),
    strength: 1,
    confidence: 1,
    embedding: null,
  }));
  await store.commits.batch(concepts, [{ source: 'a', target: 'b', type: 1, confidence: 0.5 }]);
  return store;
}

describe('a checkpoint', () => {
  test('does not put in place what does not read back as it was written', async () => {
    const disk = new LyingDisk();
    const store = await filledStore(disk);
    await expect(store.flush()).rejects.toMatchObject({ code: 'DAMAGED' });
    expect(disk.lies).toBe(1);
    expect(disk.list(DIRECTORY)).not.toContain('storage.dat');
    expect(disk.list(DIRECTORY)).not.toContain('storage.dat.tmp');
    expect(store.problem?.code).toBe('DAMAGED');
    expect(store.findSlot('a')).toBeGreaterThanOrEqual(0);
    await store.close();
  });

  test('is refused when recovery gives another digest than the one served', async () => {
    const disk = new SimDisk();
    const store = await filledStore(disk);
    await store.close();
    const before = disk.list(DIRECTORY);
    const request = {
      directory: DIRECTORY,
      baseSequence: 0,
      throughOrdinal: 1,
      sequence: 4,
      digest: '0'.repeat(32),
      nowUs: 0,
      pauseMs: 0,
    };
    expect(() => runCheckpoint(disk, request, silentLogger)).toThrow(/digest/);
    expect(disk.list(DIRECTORY)).toEqual(before);
    const right = { ...request, digest: store.state.digest.toString() };
    expect(runCheckpoint(disk, right, silentLogger)).toMatchObject({ sequence: 4 });
    expect(disk.list(DIRECTORY)).toContain('storage.dat');
  });

  test('that a flush waited for is there after a power cut, without the log', async () => {
    const disk = new SimDisk();
    const store = await filledStore(disk);
    await store.flush();
    // Of what was not synced, nothing survives.
    const after = disk.crash(() => 0);
    const bare = new SimDisk();
    bare.makeDirectory(DIRECTORY);
    bare.put(`${DIRECTORY}/storage.dat`, after.bytesOf(`${DIRECTORY}/storage.dat`));
    const restored = Store.open(DIRECTORY, new SimEnvironment(bare), STORE_OPTIONS);
    expect(restored.state.sequence).toBe(4);
    await restored.close();
    await store.close();
  });

  test('keeps the one before as .prev', async () => {
    const disk = new SimDisk();
    const store = await filledStore(disk);
    await store.flush();
    const first = Buffer.from(disk.bytesOf(`${DIRECTORY}/storage.dat`));
    await store.commits.forgetConcept('c');
    await store.flush();
    expect(Buffer.from(disk.bytesOf(`${DIRECTORY}/storage.dat.prev`)).equals(first)).toBe(true);
    await store.close();
  });
});

describe('a write', () => {
  test('is not visible, and not acknowledged, before it is durable', async () => {
    const disk = new SimDisk();
    const store = await filledStore(disk);
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    disk.holdAsync = (kind) => (kind === 'sync' ? held : null);
    let acknowledged = false;
    const write = store.commits
      .learn({ id: 'd', content: 'd', strength: 1, confidence: 1, embedding: null })
      .then(() => {
        acknowledged = true;
      });
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(acknowledged).toBe(false);
    expect(store.findSlot('d')).toBe(-1);
    expect(store.state.conceptCount).toBe(3);
    release();
    await write;
    expect(store.findSlot('d')).toBeGreaterThanOrEqual(0);
    await store.close();
  });
});

describe('a sync that failed', () => {
  test('is not tried again, though the next one would succeed', async () => {
    const disk = new SimDisk();
    const store = await filledStore(disk);
    let syncs = 0;
    disk.onOperation = ({ kind }) => (kind === 'sync' && ++syncs === 1 ? 'EIO' : null);
    const concept = { content: '', strength: 1, confidence: 1, embedding: null };
    await expect(store.commits.learn({ ...concept, id: 'd' })).rejects.toMatchObject({
      code: 'DISK_FAILED',
    });
    expect((await store.failed).code).toBe('DISK_FAILED');
    expect(() => store.commits.learn({ ...concept, id: 'e' })).toThrow(/sync failed/);
    expect(syncs).toBe(1);
    await store.close();
  });
});

describe('a content', () => {
  test('that no longer is what was written is DAMAGED when it is read, and only that one', async () => {
    const disk = new SimDisk();
    const store = await filledStore(disk);
    const path = `${DIRECTORY}/wal-0000000001.log`;
    const bytes = Buffer.from(disk.bytesOf(path));
    const at = bytes.indexOf('b'.repeat(50));
    const file = disk.open(path, 'update');
    file.write(Uint8Array.of(0x63), 0, 1, at + 10);
    file.close();
    expect(() => store.readContent(store.findSlot('b'))).toThrow(/checksum/);
    expect(store.readContent(store.findSlot('a'))).toBe('a'.repeat(50));
    await store.close();
  });
});
