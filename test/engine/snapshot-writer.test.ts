/** The snapshot writer: it trusts neither its source nor its disk, and lets others have the disk too. */

import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { DiskFile, OpenMode } from '#sutra/engine/disk';
import type { EdgeRow } from '#sutra/engine/snapshot/snapshot-source';
import { Snapshot } from '#sutra/engine/snapshot/snapshot';
import { verifySnapshotFile } from '#sutra/engine/snapshot/snapshot-file';
import { writeSnapshot } from '#sutra/engine/snapshot/snapshot-writer';

import {
  ModelSource,
  describeModel,
  describeSnapshot,
  randomState,
} from '../support/model-source.js';
import { PlainDisk, PlainFile } from '../support/plain-disk.js';

let directory: string;
let path: string;

beforeEach(() => {
  directory = fs.mkdtempSync(join(tmpdir(), 'sutra-writer-'));
  path = join(directory, 'storage.dat');
});

afterEach(() => {
  fs.rmSync(directory, { recursive: true, force: true });
});

/** A disk that takes `take(length)` bytes of a write, and that counts the rest. */
class WriteDisk extends PlainDisk {
  datasyncs = 0;
  syncs = 0;
  reads = 0;
  largestWrite = 0;
  readonly positions: number[] = [];

  constructor(readonly take: (length: number) => number = (length) => length) {
    super();
  }

  override open(openPath: string, mode: OpenMode): DiskFile {
    return new CountedFile(openPath, mode, this);
  }
}

class CountedFile extends PlainFile {
  constructor(
    openPath: string,
    mode: OpenMode,
    private readonly disk: WriteDisk,
  ) {
    super(openPath, mode);
  }

  override read(target: Uint8Array, offset: number, length: number, position: number): number {
    this.disk.reads++;
    return super.read(target, offset, length, position);
  }

  override write(source: Uint8Array, offset: number, length: number, position: number): number {
    const { disk } = this;
    disk.largestWrite = Math.max(disk.largestWrite, length);
    disk.positions.push(position);
    const taken = disk.take(length);
    return taken === 0 ? 0 : super.write(source, offset, taken, position);
  }

  override datasync(): void {
    this.disk.datasyncs++;
    super.datasync();
  }

  override sync(): void {
    this.disk.syncs++;
    super.sync();
  }
}

function thrown(action: () => unknown): Error & { code?: string } {
  try {
    action();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error('expected it to throw an Error');
}

const model = (): ModelSource =>
  new ModelSource(randomState(21, { slots: 400, edges: 900, dimension: 6, free: 0.2 }));

describe('a source that disagrees with itself is refused', () => {
  const lies: Record<string, (source: ModelSource) => void> = {
    'state digest': (source) => {
      source.digest.lanes[2] = (source.digest.lanes[2] ?? 0) ^ 1;
    },
    concepts: (source) => {
      source.conceptCount++;
    },
    'concepts: got 2': (source) => {
      source.conceptCount = 1;
    },
    'outgoing associations': (source) => {
      source.edgeCount++;
    },
    'outgoing associations: got': (source) => {
      source.edgeCount--;
    },
    vectors: (source) => {
      source.vectorCount++;
    },
    'vectors: got': (source) => {
      source.vectorCount--;
    },
    'free slot': (source) => {
      source.freeSlots[1] = source.freeSlots[0] ?? 0;
    },
    'a free one below': (source) => {
      source.freeSlots[1] = source.state.slots.findIndex((concept) => concept !== null);
    },
    'content checksum': (source) => {
      source.readContent = (slot) => {
        const bytes = Buffer.from(source.concept(slot).content);
        if (bytes.length > 0) bytes[0] = (bytes[0] ?? 0) ^ 1;
        return bytes;
      };
    },
    'content length': (source) => {
      source.readContent = (slot) => source.concept(slot).content.subarray(1);
    },
    'vector checksum': (source) => {
      source.readVector = () => new Uint8Array(24);
    },
    'vector length': (source) => {
      source.readVector = () => new Uint8Array(20);
    },
    'order of outgoing': (source) => {
      swapFirstTwo(source, 'outEdges');
    },
    'order of incoming': (source) => {
      swapFirstTwo(source, 'inEdges');
    },
    'a live slot': (source) => {
      const free = source.freeSlots[0] ?? 0;
      const edges = source.outEdges.bind(source);
      source.outEdges = (slot, row) => {
        edges(slot, row);
        if (row.length === 1) row.slots[0] = free;
      };
    },
    'incoming associations’ checksum': (source) => {
      const edges = source.inEdges.bind(source);
      source.inEdges = (slot, row) => {
        edges(slot, row);
        if (row.length > 0) row.confidences[0] = 0.123;
      };
    },
    'incoming associations: got': (source) => {
      const edges = source.inEdges.bind(source);
      source.inEdges = (slot, row) => {
        edges(slot, row);
        row.length = Math.min(row.length, 1);
      };
    },
    'names on the second reading': (source) => {
      const read = source.readConcept.bind(source);
      let reads = 0;
      source.readConcept = (slot, out) => {
        const isLive = read(slot, out);
        // The first pass reads the last slot last, so this is the second one.
        if (slot === source.slotCount - 1) reads++;
        if (isLive && reads > 0 && slot < 200 && out.name !== null) out.name = Buffer.from('other');
        return isLive;
      };
    },
  };

  function swapFirstTwo(source: ModelSource, method: 'outEdges' | 'inEdges'): void {
    const edges = source[method].bind(source);
    source[method] = (slot: number, row: EdgeRow) => {
      edges(slot, row);
      if (row.length < 2) return;
      for (const values of [row.slots, row.types, row.confidences, row.createdUs]) {
        [values[0], values[1]] = [values[1] ?? 0, values[0] ?? 0];
      }
    };
  }

  it.each(Object.entries(lies))('%s', (what, lie) => {
    const source = model();
    lie(source);
    const error = thrown(() => writeSnapshot(new PlainDisk(), path, source));
    expect(error).toMatchObject({ code: 'DAMAGED' });
    expect(error.message).toContain(what);
    // What was written so far is no storage.dat.
    const opening = thrown(() => Snapshot.open(new PlainDisk(), path));
    expect(opening).toMatchObject({ code: 'DAMAGED' });
  });

  it('names both digests', () => {
    const source = model();
    const right = source.digest.toString();
    source.digest.lanes[0] = (source.digest.lanes[0] ?? 0) ^ 1;
    const { message } = thrown(() => writeSnapshot(new PlainDisk(), path, source));
    expect(message).toContain(right);
    expect(message).toContain(source.digest.toString());
  });
});

describe('limits', () => {
  const limits: [string, Partial<ModelSource>][] = [
    ['section keys', { slotCount: 2 ** 27 }],
    ['section key index', { conceptCount: 2 ** 28, slotCount: 100 }],
    ['section out creation times', { edgeCount: 2 ** 28 }],
    ['dimension 70000', { dimension: 70_000 }],
    ['sequence', { sequence: 2 ** 53 }],
  ];

  it.each(limits)('%s', (what, change) => {
    const source = Object.assign(model(), change);
    const error = thrown(() => writeSnapshot(new PlainDisk(), path, source));
    expect(error).toMatchObject({ code: 'TOO_LARGE' });
    expect(error.message).toContain(what);
    expect(fs.existsSync(path)).toBe(false);
  });
});

describe('the disk', () => {
  it('is given no existing file', () => {
    fs.writeFileSync(path, 'precious');
    expect(thrown(() => writeSnapshot(new PlainDisk(), path, model()))).toMatchObject({
      code: 'EEXIST',
    });
    expect(fs.readFileSync(path, 'utf8')).toBe('precious');
  });

  it('may write short', () => {
    const disk = new WriteDisk((length) => Math.min(length, 777));
    const source = model();
    writeSnapshot(disk, path, source);
    verifySnapshotFile(new PlainDisk(), path);
    const snapshot = Snapshot.open(new PlainDisk(), path);
    expect(describeSnapshot(snapshot)).toEqual(describeModel(source));
    snapshot.release();
  });

  it('fails when it takes nothing', () => {
    const error = thrown(() => writeSnapshot(new WriteDisk(() => 0), path, model()));
    expect(error).toMatchObject({ code: 'DISK_FAILED' });
  });

  it('leaves no file that opens when any one write fails', () => {
    const source = model();
    const count = countWrites(source);
    expect(count).toBeGreaterThan(3);
    for (let failing = 0; failing < count; failing++) {
      fs.rmSync(path);
      let writes = 0;
      const disk = new WriteDisk((length) => {
        if (writes++ === failing) throw Object.assign(new Error('disk full'), { code: 'ENOSPC' });
        return length;
      });
      expect(thrown(() => writeSnapshot(disk, path, source))).toMatchObject({ code: 'ENOSPC' });
      expect(thrown(() => Snapshot.open(new PlainDisk(), path))).toMatchObject({ code: 'DAMAGED' });
    }
  });

  function countWrites(source: ModelSource): number {
    const disk = new WriteDisk();
    writeSnapshot(disk, path, source);
    return disk.positions.length;
  }

  it('is written block by block, header last, and never read', () => {
    const disk = new WriteDisk();
    const shape = { slots: 20_000, edges: 30_000, hasLargeContent: true };
    writeSnapshot(disk, path, new ModelSource(randomState(22, shape)), {
      syncEveryBytes: Infinity,
    });
    expect(disk.reads).toBe(0);
    expect(disk.largestWrite).toBe(65536);
    expect(disk.positions.at(-1)).toBe(0);
    expect(new Set(disk.positions).size).toBe(disk.positions.length);
    expect(disk.syncs).toBe(1);
    // One sync before the header, so that a good header means a whole file.
    expect(disk.datasyncs).toBe(1);
  });

  it('gets zeros between the sections', () => {
    const shape = { slots: 9_001, edges: 20_001, dimension: 3 };
    const { sections } = writeSnapshot(
      new PlainDisk(),
      path,
      new ModelSource(randomState(23, shape)),
    );
    const bytes = fs.readFileSync(path);
    let paddingBytes = 0;
    sections.forEach(({ offset, byteLength }, i) => {
      const next = sections[i + 1]?.offset ?? bytes.length;
      const padding = bytes.subarray(offset + byteLength, next);
      paddingBytes += padding.length;
      expect(padding.every((byte) => byte === 0)).toBe(true);
    });
    expect(paddingBytes).toBeGreaterThan(200);
  });

  it('is synced as it goes, and progress is told', () => {
    const disk = new WriteDisk();
    const shape = { slots: 20_000, edges: 30_000, hasLargeContent: true };
    const seen: [number, number][] = [];
    const { fileBytes } = writeSnapshot(disk, path, new ModelSource(randomState(22, shape)), {
      syncEveryBytes: 1024 * 1024,
      pauseMs: 1,
      onProgress: (done, total) => seen.push([done, total]),
    });
    const megabytes = Math.floor(fileBytes / 1024 ** 2);
    expect(megabytes).toBeGreaterThan(2);
    // Whole blocks are counted, and the last stretch is synced with the header.
    expect(disk.datasyncs).toBeGreaterThanOrEqual(megabytes);
    expect(seen.length).toBe(disk.datasyncs);
    let before = 0;
    for (const [done, total] of seen) {
      expect(done).toBeGreaterThan(before);
      expect(done).toBeLessThanOrEqual(total);
      before = done;
    }
    expect(seen.at(-1)).toEqual([fileBytes, fileBytes]);
  });
});
