/** Inputs of readers of formats, for their tests. */

import { SutraError } from '#sutra/errors';
import { openSource } from '#sutra/formats/open-source';
import type { ImportFormat } from '#sutra/formats/format';
import { LeftOut, type ImportRecord, type RecordSource } from '#sutra/formats/record';
import { TypeNames } from '#sutra/formats/type-names';

/** The bytes, cut into chunks of `size`. */
export async function* chunksOf(
  input: string | Uint8Array,
  size = 1 << 16,
): AsyncGenerator<Uint8Array> {
  const bytes = typeof input === 'string' ? Buffer.from(input) : input;
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export interface ReadInput {
  /** Of good records: the concept or the association. */
  readonly records: readonly (readonly [line: number, value: object])[];
  /** LINE: reason. */
  readonly bad: readonly string[];
  /** The message of what ended the reading. */
  readonly failure: string | null;
  readonly leftOut: readonly (readonly [string, number])[];
  readonly learnsEndpoints: boolean;
}

export async function readAll(
  format: ImportFormat,
  input: string | Uint8Array,
  options: { size?: number; maxRecordBytes?: number; content?: string; types?: TypeNames } = {},
): Promise<ReadInput> {
  const { size, types = new TypeNames(), ...more } = options;
  const leftOut = new LeftOut();
  const source = await openSource(format, chunksOf(input, size), {
    source: 'f',
    types,
    leftOut,
    ...more,
  });
  const records: (readonly [number, object])[] = [];
  const bad: string[] = [];
  let failure: string | null = null;
  try {
    for await (const block of source.blocks) {
      for (const record of block) {
        if (record.kind === 'bad') bad.push(`${record.line}: ${record.reason}`);
        else {
          records.push([
            record.line,
            record.kind === 'concept' ? record.concept : record.association,
          ]);
        }
      }
    }
  } catch (error) {
    if (!(error instanceof SutraError)) throw error;
    failure = error.message;
  }
  const { learnsEndpoints } = source;
  return { records, bad, failure, leftOut: leftOut.entries(), learnsEndpoints };
}

export function sourceOf(
  records: readonly ImportRecord[],
  more: { source?: string; learnsEndpoints?: boolean; failure?: Error } = {},
): RecordSource {
  const { source = 'f.jsonl', learnsEndpoints = false, failure } = more;
  async function* blocks(): AsyncGenerator<readonly ImportRecord[]> {
    for (let at = 0; at < records.length; at += 7) yield records.slice(at, at + 7);
    if (failure !== undefined) throw failure;
  }
  return { source, blocks: blocks(), learnsEndpoints };
}
