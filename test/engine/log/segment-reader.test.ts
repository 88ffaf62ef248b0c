/** What a segment's reader takes for a good frame, and what it says of the first that is not one. */

import { describe, expect, test } from 'vitest';

import { crc32Range } from '#sutra/engine/format/crc32';
import {
  encodeFrameHeader,
  encodeSegmentHeader,
  FRAME_HEADER_BYTES,
  headerSeed,
  SEGMENT_HEADER_BYTES,
  type FrameHeader,
} from '#sutra/engine/format/frame';
import { ParsedId, parseId } from '#sutra/engine/format/id';
import { CommandBuffer } from '#sutra/engine/log/command-buffer';
import { readSegment, type SegmentEnd } from '#sutra/engine/log/segment-reader';

import { SimDisk } from '../../support/sim-disk.js';

const uuid = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
const seed = headerSeed(uuid);
const segment = { ordinal: 1, uuid, firstSequence: 1, epoch: 1, chain: 0, createdUs: 0 };

/** Builds a segment image frame by frame. */
class Image {
  private readonly parts: Uint8Array[] = [encodeSegmentHeader(segment)];
  chain = 0;
  next = 1;
  synced = 0;

  /** One frame that learns `ids`; `change` may bend its header before it is written. */
  frame(ids: readonly string[], change: (header: FrameHeader) => void = () => undefined): this {
    const buffer = new CommandBuffer();
    const id = new ParsedId();
    for (const text of ids) {
      parseId(text, id);
      buffer.learn(id, crc32Range(id.nameBytes, 0, id.nameLength), text, 1, 1, null, 1000);
    }
    const end = buffer.position;
    const header: FrameHeader = {
      kind: ids.length === 0 ? 1 : 0,
      epoch: 1,
      count: ids.length,
      firstSequence: this.next,
      syncedThrough: this.synced,
      payloadBytes: end - FRAME_HEADER_BYTES,
      payloadCrc: crc32Range(buffer.bytes, FRAME_HEADER_BYTES, end),
      chain: this.chain,
      headerCrc: 0,
    };
    change(header);
    encodeFrameHeader(buffer.bytes, header, seed);
    this.parts.push(buffer.bytes.subarray(0, end));
    this.chain = header.headerCrc;
    this.next = header.firstSequence + header.count;
    this.synced = this.next - 1;
    return this;
  }

  read(): { end: SegmentEnd; sequences: number[] } {
    const disk = new SimDisk();
    disk.put('/wal', Buffer.concat(this.parts));
    const sequences: number[] = [];
    const file = disk.open('/wal', 'read');
    const end = readSegment(file, segment, Number.MAX_SAFE_INTEGER, (header) => {
      sequences.push(header.firstSequence);
      return true;
    });
    file.close();
    return { end, sequences };
  }
}

describe('a frame', () => {
  test('counts when both checksums, the chain and the sequence fit', () => {
    const { end, sequences } = new Image().frame(['a', 'b']).frame(['c']).frame([]).read();
    expect(sequences).toEqual([1, 3]);
    expect(end).toMatchObject({ nextSequence: 4, closed: true, sealed: false, bad: null });
  });

  test('that does not chain to the one before is refused, though whole by itself', () => {
    const { end, sequences } = new Image()
      .frame(['a'])
      .frame(['b'], (header) => {
        header.chain ^= 1;
      })
      .read();
    expect(sequences).toEqual([1]);
    expect(end.bad?.reason).toContain('chain');
  });

  test('that leaves a gap in the sequences is refused', () => {
    const { end } = new Image()
      .frame(['a'])
      .frame(['b'], (header) => {
        header.firstSequence = 3;
      })
      .read();
    expect(end.bad?.reason).toContain('expected 2');
  });

  test('with a wrong payload checksum is refused, and what a later frame says was synced is told', () => {
    const { end } = new Image()
      .frame(['a'])
      .frame(['b'], (header) => {
        header.payloadCrc ^= 1;
      })
      .frame(['c'])
      .read();
    expect(end.bad).toMatchObject({ laterSynced: 2 });
    expect(end.nextSequence).toBe(2);
  });

  test('longer than the file is refused before anything is allocated for it', () => {
    const { end } = new Image()
      .frame(['a'], (header) => {
        header.payloadBytes = 200 * 1024 * 1024;
      })
      .read();
    expect(end.bad?.reason).toContain('left in the file');
    expect(end.offset).toBe(SEGMENT_HEADER_BYTES);
  });
});
