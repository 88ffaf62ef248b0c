/**
 * Data from files and standard input. Text is strict UTF-8: replacing bad bytes by U+FFFD would store something that
 * nobody wrote.
 */

import { readFile } from 'node:fs/promises';
import { SutraError } from '../errors.js';

/** A MiB of content or 4,096 numbers with any spacing fit; the rest of a wrong file need not be read. */
const MAX_INPUT_BYTES = 4 * 1024 * 1024;

/** All of standard input as UTF-8. */
export async function readStdinText(what: string): Promise<string> {
  return decode(await readStdin(what), what);
}

/** All of a file, or of standard input for `-`. `what` is what errors call it. */
export async function readInput(path: string, what: string): Promise<Buffer> {
  return path === '-' ? readStdin(what) : readWhole(path, what);
}

async function readStdin(what: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin) {
    const bytes: Buffer = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk), 'utf8');
    size += bytes.length;
    if (size > MAX_INPUT_BYTES) throw tooLarge(what);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

async function readWhole(path: string, what: string): Promise<Buffer> {
  try {
    const bytes = await readFile(path);
    if (bytes.length > MAX_INPUT_BYTES) throw tooLarge(what);
    return bytes;
  } catch (error) {
    if (error instanceof SutraError) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const denied = code === 'EACCES' || code === 'EPERM';
    throw new SutraError(
      denied ? 'NOT_PERMITTED' : 'INVALID_ARGUMENT',
      `${what}: cannot be read (${code === '' ? String(error) : code})`,
      {
        cause: error,
        ...(denied ? {} : { hint: 'Name a file that can be read, or - for standard input.' }),
      },
    );
  }
}

function decode(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new SutraError('INVALID_ARGUMENT', `${what}: not valid UTF-8`, { cause: error });
  }
}

function tooLarge(what: string): SutraError {
  return new SutraError('INVALID_ARGUMENT', `${what}: larger than ${MAX_INPUT_BYTES} bytes`);
}
