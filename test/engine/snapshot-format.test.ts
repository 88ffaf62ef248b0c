/** The bytes of storage.dat are those of its page, docs/FILE_FORMAT.md; and CRC-32 is CRC-32. */

import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32 as zlibCrc32 } from 'node:zlib';

import { afterAll, describe, expect, it } from 'vitest';

import { crc32, crc32Range } from '#sutra/engine/format/crc32';
import { ParsedId, parseId } from '#sutra/engine/format/id';
import { SECTION_SHAPES, keyIndexCapacity } from '#sutra/engine/format/snapshot-format';
import { writeSnapshot } from '#sutra/engine/snapshot/snapshot-writer';

import { ModelSource, seededRandom, type Key, type ModelConcept } from '../support/model-source.js';
import { PlainDisk } from '../support/plain-disk.js';

const PAGE = fileURLToPath(new URL('../../docs/FILE_FORMAT.md', import.meta.url));
const directory = fs.mkdtempSync(join(tmpdir(), 'sutra-format-'));

afterAll(() => {
  fs.rmSync(directory, { recursive: true, force: true });
});

function keyOf(id: string): Key {
  const parsed = new ParsedId();
  parseId(id, parsed);
  return [parsed.k0, parsed.k1, parsed.k2, parsed.k3];
}

/** The store of the page's example: cat -> 00000000000000a1, with one free slot between them. */
function exampleFile(): Buffer {
  const concept = (id: string, name: string | null, content: string): ModelConcept => ({
    key: keyOf(id),
    name,
    content: Buffer.from(content),
    strength: 1,
    confidence: 0.5,
    createdUs: 1_700_000_000_000_000,
    updatedUs: 1_700_000_000_000_001,
    vector: name === null ? null : Float32Array.of(1, -2),
  });
  const source = new ModelSource({
    dimension: 2,
    slots: [concept('cat', 'cat', 'purrs'), null, concept('00000000000000a1', null, 'an animal')],
    edges: [{ source: 0, target: 2, type: 3, confidence: 0.75, createdUs: 1_700_000_000_000_002 }],
    freeSlots: [1],
  });
  source.sequence = 5;
  source.epoch = 1;
  const path = join(directory, 'example.dat');
  writeSnapshot(new PlainDisk(), path, source, { createdUs: 1_700_000_000_000_003 });
  return fs.readFileSync(path);
}

describe('the page', () => {
  // The chapter on storage.dat, up to the next one.
  const page = /^## storage\.dat,.*?(?=^## )/ms.exec(fs.readFileSync(PAGE, 'utf8'))?.[0] ?? '';

  it('shows the example file as it is', () => {
    const bytes = exampleFile();
    const lines = [
      ...page.matchAll(/^ {4}([0-9a-f]{8}) {2}((?:[0-9a-f]{2} )*[0-9a-f]{2})(?: {2}|$)/gm),
    ];
    expect(lines.length).toBeGreaterThan(60);
    let shownBytes = 0;
    for (const [, offset = '', hex = ''] of lines) {
      const at = Number.parseInt(offset, 16);
      const length = hex.split(' ').length;
      shownBytes += length;
      const actual = bytes
        .subarray(at, at + length)
        .toString('hex')
        .replaceAll(/(..)(?=.)/g, '$1 ');
      expect(`${offset}  ${actual}`).toBe(`${offset}  ${hex}`);
      bytes.fill(0, at, at + length);
    }
    expect(shownBytes).toBeGreaterThan(500);
    // And what it does not show is zeros.
    expect(bytes.every((byte) => byte === 0)).toBe(true);
  });

  it('lists the sections as they are', () => {
    const rows = [...page.matchAll(/^\| (\d+) \| ([a-z ]+) \| (?:u8|u16|u32|f32|f64) x?.*\|$/gm)];
    const listed = rows.map(([, kind, name]) => `${kind} ${name}`);
    expect(listed).toEqual(SECTION_SHAPES.map(({ kind, name }) => `${kind} ${name}`));
  });
});

describe('the key index', () => {
  it('is a power of two, at least 16, and at most half full', () => {
    expect([0, 1, 8, 9, 16, 17, 1_000_000].map(keyIndexCapacity)).toEqual([
      16, 16, 16, 32, 32, 64, 2_097_152,
    ]);
  });
});

describe('CRC-32', () => {
  const random = seededRandom(1);
  const bytes = Buffer.from(Array.from({ length: 3000 }, () => Math.floor(random() * 256)));

  it('has the check value of its catalogue', () => {
    expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926);
  });

  it('is that of zlib at every length, on both sides of the switch to native code', () => {
    for (let length = 0; length < 300; length++) {
      const part = bytes.subarray(7, 7 + length);
      expect(crc32(part)).toBe(zlibCrc32(part));
      expect(crc32Range(bytes, 7, 7 + length)).toBe(zlibCrc32(part));
    }
  });

  it('goes on from where it was', () => {
    for (let cut = 0; cut <= bytes.length; cut += 11) {
      expect(crc32(bytes.subarray(cut), crc32(bytes.subarray(0, cut)))).toBe(zlibCrc32(bytes));
      expect(crc32Range(bytes, cut, bytes.length, crc32Range(bytes, 0, cut))).toBe(
        zlibCrc32(bytes),
      );
    }
  });
});
