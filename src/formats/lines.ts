/**
 * Bytes to lines of valid UTF-8. It streams: memory is one block of lines, whatever the input's size. A line that is no
 * UTF-8 or too long is a `BadLine` in its place; the lines behind it are read all the same.
 */

import { isUtf8 } from 'node:buffer';
import { MAX_RECORD_BYTES } from './record.js';

const BLOCK_BYTES = 1024 * 1024;
const LINE_FEED = 10;

/** In the place of a line: why it is none. */
export class BadLine {
  constructor(readonly reason: string) {}
}

export interface LineBlock {
  /** Number of lines[0], counted from 1. */
  readonly firstLine: number;
  /** Without their line feeds. */
  readonly lines: readonly (string | BadLine)[];
}

export async function* readLines(
  chunks: AsyncIterable<Uint8Array>,
  maxLineBytes = MAX_RECORD_BYTES,
): AsyncGenerator<LineBlock, void, undefined> {
  let firstLine = 1;
  /** The pieces of a line whose end has not come yet. */
  let pieces: Buffer[] = [];
  let pieceBytes = 0;
  /** Inside a line that is too long: its bytes are dropped up to its end. */
  let overlong = false;

  for await (const slice of slices(chunks, Math.min(BLOCK_BYTES, maxLineBytes))) {
    let bytes = slice;
    const firstEnd = bytes.indexOf(LINE_FEED);
    // Later lines of these bytes lie within one slice, so only the first can be too long.
    if (overlong || pieceBytes + (firstEnd < 0 ? bytes.length : firstEnd) > maxLineBytes) {
      // Told at once: the line may never end.
      if (!overlong) yield { firstLine: firstLine++, lines: [tooLong(maxLineBytes)] };
      overlong = firstEnd < 0;
      pieces = [];
      pieceBytes = 0;
      if (overlong) continue;
      bytes = bytes.subarray(firstEnd + 1);
    }
    const end = bytes.lastIndexOf(LINE_FEED);
    if (end < 0) {
      if (bytes.length > 0) pieces.push(bytes);
      pieceBytes += bytes.length;
      continue;
    }
    pieces.push(bytes.subarray(0, end));
    const lines = decodeLines(Buffer.concat(pieces), firstLine);
    yield { firstLine, lines };
    firstLine += lines.length;
    pieces = end + 1 === bytes.length ? [] : [bytes.subarray(end + 1)];
    pieceBytes = bytes.length - end - 1;
  }
  if (pieceBytes > 0) yield { firstLine, lines: decodeLines(Buffer.concat(pieces), firstLine) };
}

function tooLong(maxLineBytes: number): BadLine {
  return new BadLine(`longer than ${maxLineBytes} bytes`);
}

/** The bytes as they come, in pieces that bound how much is decoded at once. */
async function* slices(
  chunks: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.byteLength; at += size) {
      const length = Math.min(size, chunk.byteLength - at);
      yield Buffer.from(chunk.buffer, chunk.byteOffset + at, length);
    }
  }
}

function decodeLines(bytes: Buffer, firstLine: number): (string | BadLine)[] {
  let lines: (string | BadLine)[];
  if (isUtf8(bytes)) lines = bytes.toString('utf8').split('\n');
  else {
    // A byte of 10 is a line feed wherever it stands in UTF-8, so lines can be cut before they are known to be valid.
    lines = [];
    for (let at = 0, feed = 0; feed >= 0; at = feed + 1) {
      feed = bytes.indexOf(LINE_FEED, at);
      const line = bytes.subarray(at, feed < 0 ? bytes.length : feed);
      lines.push(isUtf8(line) ? line.toString('utf8') : new BadLine('not valid UTF-8'));
    }
  }
  // A byte order mark is what some editors put in front of a file; it is no part of the first record.
  const [first] = lines;
  if (firstLine === 1 && typeof first === 'string' && first.startsWith('\ufeff')) {
    lines[0] = first.slice(1);
  }
  return lines;
}
