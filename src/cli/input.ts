/**
 * Data from files and standard input. Text is strict UTF-8: replacing bad bytes by U+FFFD would store something that
 * nobody wrote. An embedding is a JSON array of numbers, checked as float32.
 */

import { readFile } from 'node:fs/promises';
import { SutraError } from '../errors.js';

/** A MiB of content or 4,096 numbers with any spacing fit; the rest of a wrong file need not be read. */
const MAX_INPUT_BYTES = 4 * 1024 * 1024;
const MAX_DIMENSION = 4_096;

/** All of standard input as UTF-8. */
export async function readStdinText(what: string): Promise<string> {
  return decode(await readStdin(what), what);
}

/** An embedding from a file, or from standard input for `-`. */
export async function readEmbedding(path: string): Promise<number[]> {
  const what = path === '-' ? '--embedding -' : `--embedding ${path}`;
  const bytes = path === '-' ? await readStdin(what) : await readWhole(path, what);
  const refuse = (message: string) =>
    new SutraError('INVALID_ARGUMENT', `${what}: ${message}`, {
      hint: 'Give a JSON array of numbers, such as [0.1, -0.2, 0.3].',
    });
  let parsed: unknown;
  try {
    parsed = JSON.parse(decode(bytes, what));
  } catch (error) {
    if (error instanceof SutraError) throw error;
    throw refuse(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!Array.isArray(parsed)) throw refuse('expected a JSON array of numbers');
  if (parsed.length < 1 || parsed.length > MAX_DIMENSION) {
    throw refuse(`got ${parsed.length} numbers, expected 1 to ${MAX_DIMENSION}`);
  }
  return parsed.map((value: unknown, index) => {
    if (typeof value !== 'number' || !Number.isFinite(Math.fround(value))) {
      throw refuse(`number ${index} is ${JSON.stringify(value)}, expected one that fits a float32`);
    }
    return value;
  });
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
