/**
 * Files to import and standard input, as bytes: unpacked when they are gzip, whatever they are called, and counted on the way
 * for the progress.
 */

import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { SutraError } from '../errors.js';
import { unpacked } from '../formats/unpack.js';

/** Few, large reads; a block of lines is decoded and parsed at once. */
const READ_BYTES = 256 * 1024;

export interface InputFile {
  /** What messages call it. */
  readonly name: string;
  readonly stream: Readable;
  /** null: a pipe, or something else that does not know how much will come. */
  readonly bytes: number | null;
}

export async function openInput(file: string): Promise<InputFile> {
  if (file === '-') return { name: 'stdin', stream: process.stdin, bytes: null };
  try {
    const handle = await open(file, 'r');
    const { size } = await handle.stat();
    const stream = handle.createReadStream({ highWaterMark: READ_BYTES });
    return { name: file, stream, bytes: size === 0 ? null : size };
  } catch (error) {
    throw unreadable(file, error);
  }
}

/** The bytes of the text. `onRead` is told of every piece as it comes from the disk. */
export async function* contentOf(
  input: InputFile,
  onRead: (bytes: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const chunk of unpacked(metered(input.stream, onRead))) yield chunk;
  } catch (error) {
    throw unreadable(input.name, error);
  }
}

async function* metered(
  stream: AsyncIterable<unknown>,
  onRead: (bytes: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of stream) {
    const bytes = chunk as Uint8Array;
    onRead(bytes.length);
    yield bytes;
  }
}

/** A file that cannot be read is bad input; which file, and why. */
function unreadable(file: string, error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error) || error instanceof SutraError) return error;
  const invalid = (reason: string): SutraError =>
    new SutraError('INVALID_ARGUMENT', `${file}: ${reason}`, {
      hint: 'Name a file that can be read, or - for standard input.',
      cause: error,
    });
  switch (error.code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return invalid('no such file');
    case 'EISDIR':
      return invalid('a directory, expected a file');
    case 'EACCES':
    case 'EPERM':
      return new SutraError('NOT_PERMITTED', `${file}: permission denied`, { cause: error });
    case 'Z_BUF_ERROR':
      return invalid('the gzip data ends early');
    case 'Z_DATA_ERROR':
      return invalid(`the gzip data is damaged: ${error.message}`);
    default:
      return error;
  }
}
