/**
 * Associations that wait on disk until the concepts they name have been learned, in the order of the input. The file is
 * unlinked as soon as it is open, so nothing is left behind however the process ends; the system gives the space back.
 */

import { createReadStream, mkdtempSync, openSync, rmSync, closeSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SutraError } from '../errors.js';
import type { AssociationRecord, RecordSource } from '../formats/record.js';
import { readLines } from '../formats/lines.js';
import type { AssociationInput } from './storage.js';

const WRITE_CHARACTERS = 256 * 1024;

export interface SpilledAssociation {
  readonly from: RecordSource;
  readonly record: AssociationRecord;
}

/** source, line, association's source and target, type, confidence, created. */
type Entry = readonly [number, number, string, string, number | null, number | null, number | null];

export class AssociationSpill {
  private fd = -1;
  private waiting: string[] = [];
  private waitingCharacters = 0;
  private readonly sources: RecordSource[] = [];
  count = 0;
  /** Where the first of them stands. */
  first: SpilledAssociation | null = null;

  add(from: RecordSource, record: AssociationRecord): void {
    this.first ??= { from, record };
    if (this.sources.at(-1) !== from) this.sources.push(from);
    const { source, target, type, confidence, createdUs } = record.association;
    const entry: Entry = [
      this.sources.length - 1,
      record.line,
      source,
      target,
      type ?? null,
      confidence ?? null,
      createdUs ?? null,
    ];
    const text = `${JSON.stringify(entry)}\n`;
    this.waiting.push(text);
    this.waitingCharacters += text.length;
    this.count++;
    if (this.waitingCharacters >= WRITE_CHARACTERS) this.write();
  }

  async *read(): AsyncGenerator<readonly SpilledAssociation[], void, undefined> {
    this.write();
    if (this.fd < 0) return;
    const chunks = createReadStream('', { fd: this.fd, start: 0, autoClose: false });
    for await (const block of readLines(chunks)) {
      const records: SpilledAssociation[] = [];
      for (const text of block.lines) {
        if (typeof text === 'string' && text !== '') records.push(this.decode(text));
      }
      yield records;
    }
  }

  close(): void {
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
  }

  private decode(text: string): SpilledAssociation {
    const [from, line, source, target, type, confidence, createdUs] = JSON.parse(text) as Entry;
    const owner = this.sources[from];
    if (owner === undefined) throw new SutraError('INTERNAL', `no source ${from} was spilled`);
    const association: AssociationInput = {
      source,
      target,
      ...(type === null ? {} : { type }),
      ...(confidence === null ? {} : { confidence }),
      ...(createdUs === null ? {} : { createdUs }),
    };
    return { from: owner, record: { kind: 'association', line, association } };
  }

  private write(): void {
    if (this.waiting.length === 0) return;
    try {
      if (this.fd < 0) this.fd = openUnlinked();
      const bytes = Buffer.from(this.waiting.join(''), 'utf8');
      for (let at = 0; at < bytes.length;) at += writeSync(this.fd, bytes, at);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new SutraError('INVALID_ARGUMENT', `associations wait in ${tmpdir()}: ${reason}`, {
        hint: 'Put concepts before the associations that name them, or set TMPDIR to a directory with more space.',
        cause: error,
      });
    }
    this.waiting = [];
    this.waitingCharacters = 0;
  }
}

function openUnlinked(): number {
  const directory = mkdtempSync(join(tmpdir(), 'sutra-import-'));
  try {
    return openSync(join(directory, 'associations'), 'wx+', 0o600);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
