/**
 * Bytes to text, strictly: for formats whose parsers take text and whose records are not lines. Bad bytes end it with the
 * line they stand in.
 */

import { isUtf8 } from 'node:buffer';
import { unreadableAt } from './record.js';

const LINE_FEED = 10;

/** The text of each chunk, without what of it is the beginning of a character that the next chunk ends. */
export async function* utf8Text(
  chunks: AsyncIterable<Uint8Array>,
  source: string,
): AsyncGenerator<string, void, undefined> {
  let rest: Buffer = Buffer.alloc(0);
  let line = 1;
  for await (const chunk of chunks) {
    const piece = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    const end = bytes.length - unfinished(bytes);
    const whole = bytes.subarray(0, end);
    rest = bytes.subarray(end);
    if (!isUtf8(whole)) throw unreadableAt(source, line + linesBeforeBad(whole), 'not valid UTF-8');
    for (let at = whole.indexOf(LINE_FEED); at >= 0; at = whole.indexOf(LINE_FEED, at + 1)) line++;
    yield whole.toString('utf8');
  }
  if (rest.length > 0)
    throw unreadableAt(source, line, 'not valid UTF-8: the last character is cut');
}

/** How many bytes at the end begin a character and do not end it: 0 to 3. */
function unfinished(bytes: Buffer): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

/** Line feeds in front of the first line that is no UTF-8. */
function linesBeforeBad(bytes: Buffer): number {
  for (let lines = 0, at = 0; ; lines++) {
    const feed = bytes.indexOf(LINE_FEED, at);
    if (feed < 0 || !isUtf8(bytes.subarray(at, feed))) return lines;
    at = feed + 1;
  }
}
