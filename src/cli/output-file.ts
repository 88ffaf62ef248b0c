/**
 * Where an export goes: standard output, or a file that appears whole or not at all. A file is written beside its place,
 * synced, and renamed; what is there already is replaced only when that was asked for. A name that ends in .gz is packed.
 */

import { createWriteStream } from 'node:fs';
import { lstat, open, realpath, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { SutraError } from '../errors.js';

/** Text is handed on in pieces of about so many characters. */
const PIECE_CHARACTERS = 128 * 1024;

export interface Output {
  /** Resolves when there is room for more. */
  write(text: string): Promise<void>;
  /** Ends it; a file is then in its place. Resolves with the bytes written, before packing. */
  commit(): Promise<void>;
  /** Ends it without a trace; after `commit` it does nothing. */
  discard(): Promise<void>;
}

/** Characters that wait, and the stream they wait for. */
class Pieces {
  private waiting: string[] = [];
  private characters = 0;

  constructor(private readonly stream: Writable) {}

  add(text: string): Promise<void> | undefined {
    this.waiting.push(text);
    this.characters += text.length;
    return this.characters >= PIECE_CHARACTERS ? this.flush() : undefined;
  }

  async flush(): Promise<void> {
    const { stream } = this;
    const text = this.waiting.join('');
    this.waiting = [];
    this.characters = 0;
    if (text === '') return;
    await new Promise<void>((resolve, reject) => {
      stream.write(text, (error) => {
        if (error === null || error === undefined) resolve();
        else reject(error);
      });
    });
  }
}

/** Standard output. A reader that goes away ends the process quietly, see cli/main.ts. */
export class StandardOutput implements Output {
  private readonly pieces = new Pieces(process.stdout);

  async write(text: string): Promise<void> {
    await this.pieces.add(text);
  }

  async commit(): Promise<void> {
    await this.pieces.flush();
  }

  async discard(): Promise<void> {
    // What went out cannot be taken back.
  }
}

export class OutputFile implements Output {
  private readonly head: Writable;
  private readonly pieces: Pieces;
  private readonly written: Promise<void>;
  private ended = false;

  private constructor(
    readonly path: string,
    private readonly temporary: string,
    private readonly handle: FileHandle,
  ) {
    const file = createWriteStream('', { fd: handle.fd, autoClose: false });
    if (path.endsWith('.gz')) {
      const gzip = createGzip();
      this.head = gzip;
      this.written = pipeline(gzip, file);
    } else {
      this.head = file;
      this.written = ended(file);
    }
    this.pieces = new Pieces(this.head);
    // An error also comes out of the write it hits; here it is looked at in the end.
    this.written.catch(() => undefined);
  }

  static async open(given: string, force: boolean): Promise<OutputFile> {
    const path = await placeOf(given, force);
    const temporary = `${path}.${process.pid}.part`;
    try {
      return new OutputFile(path, temporary, await open(temporary, 'w'));
    } catch (error) {
      throw cannotWrite(given, error);
    }
  }

  async write(text: string): Promise<void> {
    try {
      await this.pieces.add(text);
    } catch (error) {
      throw cannotWrite(this.path, error);
    }
  }

  async commit(): Promise<void> {
    try {
      await this.pieces.flush();
      this.head.end();
      await this.written;
      await this.handle.sync();
      await this.handle.close();
      await rename(this.temporary, this.path);
      this.ended = true;
      const directory = await open(dirname(this.path), 'r');
      await directory.sync().finally(() => directory.close());
    } catch (error) {
      throw cannotWrite(this.path, error);
    }
  }

  async discard(): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    this.head.destroy();
    await this.written.catch(() => undefined);
    await this.handle.close().catch(() => undefined);
    await rm(this.temporary, { force: true });
  }
}

function ended(file: Writable): Promise<void> {
  return new Promise((resolve, reject) => {
    file.on('finish', resolve);
    file.on('error', reject);
    file.on('close', resolve);
  });
}

/** Where the file will stand: behind a link what it leads to. Refuses what must not be replaced. */
async function placeOf(given: string, force: boolean): Promise<string> {
  let path: string;
  try {
    path = await realpath(given);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return given;
    throw cannotWrite(given, error);
  }
  const found = await lstat(path);
  if (!found.isFile()) {
    throw new SutraError(
      'INVALID_ARGUMENT',
      `${given}: not a regular file; it cannot be replaced`,
      {
        hint: 'Name a file, or - for standard output.',
      },
    );
  }
  if (!force) {
    throw new SutraError('INVALID_ARGUMENT', `${given} exists already`, {
      hint: 'Give another name, or --force to replace it.',
    });
  }
  return path;
}

export function cannotWrite(path: string, error: unknown): SutraError {
  if (error instanceof SutraError) return error;
  const code = codeOf(error);
  const reason = error instanceof Error ? error.message : String(error);
  switch (code) {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new SutraError('NOT_PERMITTED', `${path}: ${reason}`, { cause: error });
    case 'ENOSPC':
    case 'EDQUOT':
      return new SutraError('DISK_FULL', `${path}: ${reason}`, {
        hint: 'Free space where the file goes, or write it elsewhere; nothing is left of it.',
        cause: error,
      });
    case 'ENOENT':
    case 'ENOTDIR':
    case 'EISDIR':
    case 'ENAMETOOLONG':
      return new SutraError('INVALID_ARGUMENT', `${path}: ${reason}`, {
        hint: 'Name a file in a directory that exists, or - for standard output.',
        cause: error,
      });
    default:
      return new SutraError('DISK_FAILED', `${path}: ${reason}`, { cause: error });
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
