/**
 * `sutra import --dry-run`: reads and checks everything an import would, and changes nothing. Whether an association's ends
 * are known is looked up when all has been read, in the keys of the concepts that the input learns (17 bytes a place in
 * memory) and then in the store. Two names with one key are the one thing that only the store itself would find.
 */

import { SutraError } from '../errors.js';
import type { RecordSource } from '../formats/record.js';
import { AssociationSpill } from './association-spill.js';
import {
  problemOf,
  unknownEnd,
  type GoodRecord,
  type ImportOptions,
  type ImportTotals,
} from './import-run.js';
import { KeySet } from './key-set.js';
import type { Storage } from './storage.js';

/** Answers of the store that are remembered. */
const MAX_ASKED = 100_000;

/** `storage`: what the import would go to; null: a store that is yet to be created. */
export async function checkRecords(
  storage: Storage | null,
  sources: Iterable<RecordSource> | AsyncIterable<RecordSource>,
  options: ImportOptions = {},
): Promise<ImportTotals> {
  const check = new ImportCheck(storage, options);
  try {
    return await check.run(sources);
  } finally {
    check.close();
  }
}

class ImportCheck {
  private readonly learned = new KeySet();
  private readonly spill = new AssociationSpill();
  private asked = new Map<string, boolean>();
  private dimension = 0;
  private concepts = 0;
  private associations = 0;
  private bad = 0;

  constructor(
    private readonly storage: Storage | null,
    private readonly options: ImportOptions,
  ) {}

  close(): void {
    this.spill.close();
  }

  async run(sources: Iterable<RecordSource> | AsyncIterable<RecordSource>): Promise<ImportTotals> {
    const { signal, fromLine = 1 } = this.options;
    if (this.storage !== null) this.dimension = (await this.storage.stats()).dimension;
    let first: RecordSource | null = null;
    for await (const source of sources) {
      first ??= source;
      for await (const block of source.blocks) {
        for (const record of block) {
          if (source === first && record.line < fromLine) continue;
          const reason =
            record.kind === 'bad' ? record.reason : (problemOf(record) ?? this.otherLength(record));
          if (reason !== null) this.refuse(source, record.line, reason);
          else if (record.kind === 'concept') {
            this.learned.add(record.concept.id);
            this.concepts++;
          } else if (record.kind === 'association') this.spill.add(source, record);
        }
        if (signal?.aborted === true) throw interrupted();
        this.options.onProgress?.(this.totals());
      }
    }
    await this.checkEnds();
    return this.totals();
  }

  private totals(): ImportTotals {
    const { concepts, associations, bad } = this;
    return { concepts, associations, skipped: bad, lastSequence: 0, waited: 0 };
  }

  private async checkEnds(): Promise<void> {
    for await (const block of this.spill.read()) {
      for (const { from, record } of block) {
        const { source, target } = record.association;
        if (from.learnsEndpoints) {
          this.associations++;
          continue;
        }
        const missing = !(await this.isKnown(source))
          ? unknownEnd('source', source)
          : !(await this.isKnown(target))
            ? unknownEnd('target', target)
            : null;
        if (missing === null) this.associations++;
        else this.refuse(from, record.line, missing);
      }
      if (this.options.signal?.aborted === true) throw interrupted();
    }
  }

  private async isKnown(id: string): Promise<boolean> {
    if (this.learned.has(id)) return true;
    if (this.storage === null) return false;
    const before = this.asked.get(id);
    if (before !== undefined) return before;
    if (this.asked.size >= MAX_ASKED) this.asked = new Map();
    const known = await this.storage.contains(id);
    this.asked.set(id, known);
    return known;
  }

  /** An embedding that is not as long as the others, here and in the store. */
  private otherLength(record: GoodRecord): string | null {
    const length = record.kind === 'concept' ? (record.concept.embedding?.length ?? 0) : 0;
    if (length === 0) return null;
    if (this.dimension === 0) this.dimension = length;
    return length === this.dimension
      ? null
      : `embedding: got ${length} numbers, expected ${this.dimension}`;
  }

  private refuse(source: RecordSource, line: number, reason: string): void {
    this.options.onBad?.(source.source, line, reason);
    if (this.bad >= (this.options.skipBad ?? 0)) {
      throw new SutraError(
        'INVALID_ARGUMENT',
        `${source.source}:${line}: ${reason}. Nothing was changed.`,
        {
          hint: 'Correct the input, or give --skip-bad with a number to see more of what is wrong.',
        },
      );
    }
    this.bad++;
  }
}

function interrupted(): SutraError {
  return new SutraError('CANCELLED', 'interrupted. Nothing was changed.');
}
