/** storage.dat: what is written is what is read, mapped or not; what a snapshot does while it is open and after. */

import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { Disk, DiskFile, Mapping, OpenMode } from '#sutra/engine/disk';
import { NodeDisk } from '#sutra/engine/node-disk';
import { Snapshot } from '#sutra/engine/snapshot/snapshot';
import { verifySnapshotFile } from '#sutra/engine/snapshot/snapshot-file';
import { ConceptRecord } from '#sutra/engine/snapshot/snapshot-source';
import { writeSnapshot } from '#sutra/engine/snapshot/snapshot-writer';

import {
  ModelSource,
  describeModel,
  describeSnapshot,
  randomState,
  type ModelState,
} from '../support/model-source.js';
import { PlainDisk, PlainFile } from '../support/plain-disk.js';
import { StoredSource } from '../support/stored-source.js';

let directory: string;
let path: string;

beforeEach(() => {
  directory = fs.mkdtempSync(join(tmpdir(), 'sutra-snapshot-'));
  path = join(directory, 'storage.dat');
});

afterEach(() => {
  fs.rmSync(directory, { recursive: true, force: true });
});

const EMPTY: ModelState = { dimension: 0, slots: [], edges: [], freeSlots: [] };

/** The ways a snapshot's columns get into memory. */
const WAYS: readonly { name: string; disk: Disk; mapWholeBelowBytes: number }[] = [
  { name: 'mapped in one piece', disk: new NodeDisk(), mapWholeBelowBytes: 2 ** 30 },
  { name: 'mapped column by column', disk: new NodeDisk(), mapWholeBelowBytes: 0 },
  { name: 'read block by block', disk: new PlainDisk(), mapWholeBelowBytes: 2 ** 30 },
];

function thrown(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('expected it to throw');
}

/** Bytes of a file's pages that are resident through this process's mappings of it (proc_pid_smaps(5)). */
function mappedAndResident(file: string): number {
  const mappings = fs.readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  return mappings
    .filter((mapping) => mapping.split('\n', 1)[0]?.endsWith(` ${file}`))
    .reduce((sum, mapping) => sum + 1024 * Number(/^Rss: +(\d+) kB/m.exec(mapping)?.[1]), 0);
}

describe.each(WAYS)('a snapshot $name', ({ disk, mapWholeBelowBytes }) => {
  const open = (): Snapshot => Snapshot.open(disk, path, { mapWholeBelowBytes });

  function roundTrip(state: ModelState): void {
    const model = new ModelSource(state);
    const header = writeSnapshot(disk, path, model, { createdUs: 1234567 });
    expect(header.fileBytes).toBe(fs.statSync(path).size);
    expect(verifySnapshotFile(disk, path)).toEqual(header);
    const snapshot = open();
    expect(describeSnapshot(snapshot)).toEqual(describeModel(model));
    // Again with every block verified, where accessors skip the checks.
    while (!snapshot.verifyRest(3)) expect(snapshot.isVerified).toBe(false);
    expect(snapshot.isVerified).toBe(true);
    expect(describeSnapshot(snapshot)).toEqual(describeModel(model));
    snapshot.release();
  }

  it('holds an empty state', () => {
    roundTrip(EMPTY);
  });

  it('holds a state with a dimension and no vectors, and one where every slot is free', () => {
    roundTrip({ ...EMPTY, dimension: 768, slots: [null, null, null], freeSlots: [2, 0, 1] });
  });

  it('holds random states of every shape', () => {
    for (let seed = 1; seed <= 25; seed++) {
      fs.rmSync(path, { force: true });
      const dimension = seed % 3 === 0 ? 0 : seed;
      const free = (seed % 4) / 8;
      roundTrip(randomState(seed, { slots: seed * 3, edges: seed * 5, dimension, free }));
    }
  });

  it('holds a large state: 1 MiB of content, a supernode, columns of many blocks', () => {
    const shape = { slots: 6_000, edges: 8_000, dimension: 24, free: 0.1, supernode: 5_000 };
    roundTrip(randomState(99, { ...shape, hasLargeContent: true }));
  });

  it('reports a content and a vector that were damaged after their blocks were verified', () => {
    const state = randomState(5, { slots: 40, edges: 10, dimension: 6 });
    const slot = state.slots.findIndex((concept) => concept !== null && concept.vector !== null);
    const concept = state.slots[slot];
    if (!concept?.vector) throw new Error('no slot has a vector');
    concept.content = Buffer.from('once in the file');
    writeSnapshot(disk, path, new ModelSource(state));
    const snapshot = open();
    while (!snapshot.verifyRest(100));
    const whole = fs.readFileSync(path);
    // Not one that was read: what a window of vectors holds stays good.
    const vector = Float32Array.from(concept.vector);
    for (const payload of [snapshot.readContent(slot), Buffer.from(vector.buffer)]) {
      const at = whole.lastIndexOf(payload);
      const file = fs.openSync(path, 'r+');
      fs.writeSync(file, Buffer.from([(whole[at] ?? 0) ^ 1]), 0, 1, at);
      fs.closeSync(file);
    }
    const damage = { code: 'DAMAGED', message: expect.stringContaining('checksum of') as unknown };
    expect(thrown(() => snapshot.readContent(slot))).toMatchObject(damage);
    expect(thrown(() => snapshot.readText(slot))).toMatchObject(damage);
    expect(thrown(() => snapshot.readVector(slot, vector))).toMatchObject(damage);
    snapshot.release();
  });

  it('does not make vectors resident by reading them', () => {
    const state = randomState(8, { slots: 1_000, edges: 10, dimension: 2_048 });
    writeSnapshot(disk, path, new ModelSource(state));
    const snapshot = open();
    while (!snapshot.verifyRest(100));
    const vector = new Float32Array(2_048);
    let read = 0;
    // Not in the order in which they lie.
    for (let i = 0; i < 1_000; i++) {
      if (snapshot.readVector((i * 37) % 1_000, vector)) read += vector.byteLength;
    }
    expect(read).toBeGreaterThan(2 ** 21);
    expect(mappedAndResident(path)).toBeLessThan(read / 4);
    snapshot.release();
  });

  it('is written again from itself byte for byte', () => {
    const shape = { slots: 3_000, edges: 9_000, dimension: 8, free: 0.2, hasLargeContent: true };
    writeSnapshot(disk, path, new ModelSource(randomState(7, shape)), { createdUs: 5 });
    const snapshot = open();
    const copy = join(directory, 'copy.dat');
    writeSnapshot(disk, copy, new StoredSource(snapshot), { createdUs: 5 });
    snapshot.release();
    expect(fs.readFileSync(copy).equals(fs.readFileSync(path))).toBe(true);
  });

  it('knows which keys it does not hold', () => {
    const model = new ModelSource(randomState(3, { slots: 500, edges: 0 }));
    writeSnapshot(disk, path, model);
    const snapshot = open();
    for (let slot = 0; slot < 500; slot++) {
      const [k0, k1, k2, k3] = model.concept(slot).key;
      expect(snapshot.findKey(k0, k1, k2, k3)).toBe(slot);
      expect(snapshot.findKey(k0, k1, k2, (k3 ^ 0x80000000) >>> 0)).toBe(-1);
      expect(snapshot.findKey((k0 ^ 1) >>> 0, k1, k2, k3)).toBe(-1);
    }
    snapshot.release();
  });

  it('finds no association that is not there', () => {
    const model = new ModelSource(randomState(4, { slots: 60, edges: 300, supernode: 200 }));
    writeSnapshot(disk, path, model);
    const snapshot = open();
    const there = new Set(
      model.state.edges.map(({ source, target, type }) => `${source} ${target} ${type}`),
    );
    for (let source = 0; source < 60; source++) {
      for (let target = 0; target < 60; target++) {
        for (const type of [0, 1, 4, 6, 65535]) {
          const position = snapshot.findEdge(source, target, type);
          expect(position >= 0).toBe(there.has(`${source} ${target} ${type}`));
        }
      }
    }
    snapshot.release();
  });

  it('has confidence and time of an association ready where findEdge found it', () => {
    const model = new ModelSource(randomState(5, { slots: 9_000, edges: 20_000 }));
    writeSnapshot(disk, path, model);
    const snapshot = open();
    const edge = model.state.edges[12_345];
    if (edge === undefined) throw new Error('no such edge');
    const position = snapshot.findEdge(edge.source, edge.target, edge.type);
    expect(snapshot.outConfidences[position]).toBe(edge.confidence);
    expect(snapshot.outCreatedUs[position]).toBe(edge.createdUs);
    snapshot.release();
  });

  it('orders slots by the bytes of their keys', () => {
    const model = new ModelSource(randomState(6, { slots: 300, edges: 0 }));
    writeSnapshot(disk, path, model);
    const snapshot = open();
    const hex = (slot: number): string =>
      model
        .concept(slot)
        .key.map((word) => word.toString(16).padStart(8, '0'))
        .join('');
    for (let slot = 1; slot < 300; slot++) {
      const expected = hex(slot) < hex(slot - 1) ? -1 : 1;
      expect(Math.sign(snapshot.compareKeys(slot, slot - 1))).toBe(expected);
      expect(snapshot.compareKeys(slot, slot)).toBe(0);
    }
    snapshot.release();
  });

  it('throws CLOSED, and does not crash, when it is read after the last release', () => {
    const model = new ModelSource(randomState(8, { slots: 40, edges: 100, dimension: 4 }));
    writeSnapshot(disk, path, model);
    const snapshot = open();
    snapshot.retain();
    snapshot.release();
    expect(describeSnapshot(snapshot)).toEqual(describeModel(model));
    while (!snapshot.verifyRest(100));
    snapshot.release();

    expect(snapshot.isClosed).toBe(true);
    const reads: (() => unknown)[] = [
      () => snapshot.findKey(1, 2, 3, 4),
      () => snapshot.isLive(0),
      () => snapshot.keyWord(0, 0),
      () => snapshot.compareKeys(0, 1),
      () => snapshot.name(1),
      () => snapshot.strength(0),
      () => snapshot.updatedUs(0),
      () => snapshot.readConcept(0, new ConceptRecord()),
      () => snapshot.readContent(0),
      () => snapshot.readText(0),
      () => snapshot.readContentAhead(0),
      () => snapshot.readVector(0, new Float32Array(4)),
      () => snapshot.outStart(0),
      () => snapshot.inEnd(0),
      () => snapshot.findEdge(0, 1, 0),
      () => snapshot.touchOut(0, 10),
      () => snapshot.touchIn(0, 10),
      () => snapshot.verifyRest(1),
      () => snapshot.retain(),
      () => snapshot.release(),
    ];
    for (const read of reads) expect(thrown(read)).toMatchObject({ code: 'CLOSED' });
    expect(snapshot.outTargets.length + snapshot.inSources.length).toBe(0);
    expect(snapshot.outConfidences[0]).toBeUndefined();
    expect(snapshot.freeSlots().length).toBe(0);
  });
});

/** A disk that maps by copying, and tells what is done to it. */
class WatchedDisk extends PlainDisk {
  readonly events: string[] = [];
  beforeUnmap: () => void = () => undefined;

  override open(openPath: string, mode: OpenMode): DiskFile {
    const { events } = this;
    const beforeUnmap = (): void => {
      this.beforeUnmap();
    };
    class WatchedFile extends PlainFile {
      override read(target: Uint8Array, offset: number, length: number, position: number): number {
        events.push(`read ${position}`);
        return super.read(target, offset, length, position);
      }
      override map(offset: number, length: number): Mapping {
        events.push(`map ${offset} ${length}`);
        const bytes = fs.readFileSync(this.path).subarray(offset, offset + length);
        const buffer = new ArrayBuffer(length);
        new Uint8Array(buffer).set(bytes);
        return {
          buffer,
          unmap: () => {
            beforeUnmap();
            events.push('unmap');
            // What is left must not be read: make it show.
            new Uint8Array(buffer).fill(0xee);
          },
        };
      }
      override close(): void {
        events.push('close');
        super.close();
      }
    }
    return new WatchedFile(openPath, mode);
  }
}

describe('opening and closing', () => {
  it('reads the header page and the block table, and maps, whatever the size', () => {
    writeSnapshot(
      new PlainDisk(),
      path,
      new ModelSource(randomState(1, { slots: 5_000, edges: 9_000 })),
    );
    const disk = new WatchedDisk();
    const { sections, fileBytes } = verifySnapshotFile(new PlainDisk(), path);
    const table = sections.at(-1)?.offset ?? 0;
    const snapshot = Snapshot.open(disk, path);
    expect(disk.events).toEqual(['read 0', `read ${table}`, `map 0 ${table}`]);
    expect(snapshot.fileBytes).toBe(fileBytes);
    snapshot.release();
  });

  it('replaces its arrays before it unmaps, and then closes the file', () => {
    writeSnapshot(new PlainDisk(), path, new ModelSource(randomState(1, { slots: 50, edges: 90 })));
    const disk = new WatchedDisk();
    const snapshot = Snapshot.open(disk, path);
    const lengths: number[] = [];
    disk.beforeUnmap = () => {
      lengths.push(snapshot.outTargets.length + snapshot.inTypes.length);
    };
    expect(snapshot.outTargets.length).toBeGreaterThan(0);
    disk.events.length = 0;
    snapshot.release();
    expect(disk.events).toEqual(['unmap', 'close']);
    expect(lengths).toEqual([0]);
  });

  it('verifies a block when it is first touched, and once', () => {
    const shape = { slots: 40_000, edges: 10 };
    writeSnapshot(new PlainDisk(), path, new ModelSource(randomState(1, shape)));
    const disk = new WatchedDisk();
    const snapshot = Snapshot.open(disk, path);
    disk.events.length = 0;
    snapshot.strength(0);
    snapshot.strength(1);
    expect(disk.events.length).toBe(1);
    snapshot.strength(39_999);
    expect(disk.events.length).toBe(2);
    snapshot.strength(0);
    expect(disk.events.length).toBe(2);
    snapshot.release();
  });

  it('leaves nothing open when the file is refused', () => {
    writeSnapshot(new PlainDisk(), path, new ModelSource(EMPTY));
    fs.appendFileSync(path, 'x');
    const disk = new WatchedDisk();
    expect(thrown(() => Snapshot.open(disk, path))).toMatchObject({ code: 'DAMAGED' });
    expect(disk.events.at(-1)).toBe('close');
  });

  it('lets the error of a missing file through', () => {
    expect(thrown(() => Snapshot.open(new NodeDisk(), path))).toMatchObject({ code: 'ENOENT' });
  });

  it('goes on reading the file it opened when another is renamed over it', () => {
    const disk = new NodeDisk();
    const model = new ModelSource(randomState(11, { slots: 200, edges: 300, dimension: 3 }));
    writeSnapshot(disk, path, model);
    const snapshot = Snapshot.open(disk, path);
    const other = join(directory, 'other.dat');
    writeSnapshot(disk, other, new ModelSource(EMPTY));
    fs.renameSync(other, path);
    expect(describeSnapshot(snapshot)).toEqual(describeModel(model));
    expect(snapshot.identity.inode).not.toBe(fs.statSync(path).ino);
    snapshot.release();
  });

  it.each(WAYS)('$name, reads the same when somebody else has verified it', (way) => {
    const model = new ModelSource(randomState(14, { slots: 500, edges: 900, dimension: 5 }));
    writeSnapshot(way.disk, path, model);
    const { mapWholeBelowBytes } = way;
    const snapshot = Snapshot.open(way.disk, path, { mapWholeBelowBytes, isVerified: true });
    // What is not mapped must still be loaded.
    expect(snapshot.isVerified).toBe(way.disk instanceof NodeDisk);
    expect(describeSnapshot(snapshot)).toEqual(describeModel(model));
    snapshot.release();
  });

  it('reads in place what was verified, and nothing else', () => {
    const disk = new NodeDisk();
    writeSnapshot(disk, path, new ModelSource(randomState(13, { slots: 3000, edges: 10 })));
    let reads = 0;
    const open = disk.open.bind(disk);
    disk.open = (...given) => {
      const file = open(...given);
      const read = file.read.bind(file);
      return Object.assign(file, {
        read: (...range: Parameters<DiskFile['read']>) => {
          reads++;
          return read(...range);
        },
      });
    };
    const snapshot = Snapshot.open(disk, path);
    const readAll = (): number => {
      const before = reads;
      for (let slot = 0; slot < 3000; slot += 10) snapshot.readContent(slot);
      return reads - before;
    };
    readAll();
    // The first contents share a block with columns.
    expect(readAll()).toBeGreaterThan(100);
    while (!snapshot.verifyRest(100));
    expect(readAll()).toBe(0);
    snapshot.release();
  });

  it('reports a file cut short under it as damage, not as a signal', () => {
    const disk = new NodeDisk();
    writeSnapshot(disk, path, new ModelSource(randomState(12, { slots: 30_000, edges: 10 })));
    const snapshot = Snapshot.open(disk, path);
    fs.truncateSync(path, 8192);
    expect(thrown(() => snapshot.updatedUs(29_999))).toMatchObject({ code: 'DAMAGED' });
    expect(thrown(() => snapshot.readContent(29_999))).toMatchObject({ code: 'DAMAGED' });
    snapshot.release();
  });
});
