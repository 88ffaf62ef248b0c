import { expect, test } from 'vitest';
import { ReadAhead } from '#sutra/engine/snapshot/read-ahead';
import { MemoryBytes, MemoryFile } from '#sutra/engine/migration/memory-file';

const SIZE = 8 * 1024 * 1024;
const VECTOR = 3_072;
const PAGE = 4_096;
const MOST = 1024 * 1024;

/** A file whose bytes say where they lie, and what was read of it. */
class CountedFile extends MemoryFile {
  readonly reads: { readonly position: number; readonly length: number }[] = [];

  override read(target: Uint8Array, offset: number, length: number, position: number): number {
    this.reads.push({ position, length });
    return super.read(target, offset, length, position);
  }

  get bytesRead(): number {
    return this.reads.reduce((sum, { length }) => sum + length, 0);
  }
}

function fileOf(size: number): { file: CountedFile; content: Buffer } {
  const content = Buffer.alloc(size);
  for (let at = 0; at + 4 <= size; at += 4) content.writeUInt32LE(at, at);
  const bytes = new MemoryBytes();
  bytes.write(content, 0, size, 0);
  const file = new CountedFile('a file', bytes, { device: 1, inode: 1, size });
  return { file, content };
}

test('of pieces that lie apart it reads a page each', () => {
  const { file, content } = fileOf(SIZE);
  const ahead = new ReadAhead(file, SIZE);
  for (let i = 0; i < 100; i++) {
    const at = ((i * 37) % 100) * 20 * PAGE;
    expect(Buffer.compare(ahead.read(at, VECTOR), content.subarray(at, at + VECTOR))).toBe(0);
  }
  expect(file.reads.length).toBe(100);
  expect(file.bytesRead).toBe(100 * PAGE);
});

test('of pieces in order it reads more and more at once, also where some are left out', () => {
  const { file, content } = fileOf(SIZE);
  const ahead = new ReadAhead(file, SIZE);
  for (let i = 0; (i + 1) * VECTOR <= SIZE; i++) {
    if (i % 5 === 3) continue;
    const at = i * VECTOR;
    expect(Buffer.compare(ahead.read(at, VECTOR), content.subarray(at, at + VECTOR))).toBe(0);
  }
  expect(file.reads.length).toBeLessThan(8 + SIZE / MOST + 4);
  expect(Math.max(...file.reads.map(({ length }) => length))).toBe(MOST);
  expect(file.reads.every(({ position, length }) => position + length <= SIZE)).toBe(true);
});

test('a piece longer than any window is read whole, and nothing behind the end', () => {
  const { file, content } = fileOf(2 * MOST);
  const end = 2 * MOST - 100;
  const ahead = new ReadAhead(file, end);
  expect(Buffer.compare(ahead.read(0, end), content.subarray(0, end))).toBe(0);
  expect(ahead.read(end - 10, 10).length).toBe(10);
  expect(file.reads).toEqual([{ position: 0, length: end }]);
  const other = new ReadAhead(file, end);
  expect(Buffer.compare(other.read(end - 10, 10), content.subarray(end - 10, end))).toBe(0);
  expect(file.reads.at(-1)).toEqual({ position: end - 10, length: 10 });
});
