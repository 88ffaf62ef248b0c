import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { SutraError } from '#sutra/errors';
import { importRecords, type ImportOptions, type ImportTotals } from '#sutra/storage/batch-import';
import type { JsonlRecord } from '#sutra/storage/jsonl';
import type { BatchInput, BatchReceipt } from '#sutra/storage/storage';
import { ModelStorage } from '../support/model-storage.js';

/** The model, which can be slow, refuse a batch, and remembers how many batches overlapped. */
class SlowStorage extends ModelStorage {
  readonly batches: BatchInput[] = [];
  overlap = 0;
  private underWay = 0;
  private readonly refusals: ReadonlyMap<number, SutraError>;

  constructor(refusals: Readonly<Record<number, SutraError>> = {}) {
    super();
    this.refusals = new Map(Object.entries(refusals).map(([at, error]) => [Number(at), error]));
  }

  override async learnBatch(batch: BatchInput): Promise<BatchReceipt> {
    const number = this.batches.push(batch);
    this.overlap = Math.max(this.overlap, ++this.underWay);
    const refusal = this.refusals.get(number);
    // Applied in the order of the calls, answered later: the first batches last.
    const receipt = refusal === undefined ? await super.learnBatch(batch) : undefined;
    await sleep(number % 4 === 0 ? 1 : 8);
    this.underWay--;
    if (receipt === undefined) throw refusal ?? new Error('no answer');
    return receipt;
  }
}

function concept(line: number, id = `c${line}`): JsonlRecord {
  return { kind: 'concept', line, timed: false, concept: { id, content: id } };
}

function association(line: number, source: string, target: string): JsonlRecord {
  return { kind: 'association', line, timed: false, association: { source, target } };
}

async function* blocksOf(
  records: readonly JsonlRecord[],
  failure?: Error,
): AsyncGenerator<readonly JsonlRecord[]> {
  for (let at = 0; at < records.length; at += 7) yield records.slice(at, at + 7);
  if (failure !== undefined) throw failure;
}

const concepts = (count: number): JsonlRecord[] =>
  Array.from({ length: count }, (_, i) => concept(i + 1));

async function failureOf(promise: Promise<ImportTotals>): Promise<SutraError> {
  const outcome = await promise.catch((error: unknown) => error);
  if (!(outcome instanceof SutraError))
    throw new Error('expected a SutraError', { cause: outcome });
  return outcome;
}

const options = (more: Partial<ImportOptions> = {}): ImportOptions => ({
  source: 'f.jsonl',
  batchItems: 10,
  ...more,
});

describe('an import that goes well', () => {
  test('brings in every record, in batches that overlap and keep the order', async () => {
    const storage = new SlowStorage();
    const records = [
      ...concepts(95),
      association(96, 'c1', 'c95'),
      concept(97, 'late'),
      association(98, 'late', 'c1'),
    ];
    const seen: number[] = [];
    const totals = await importRecords(
      storage,
      blocksOf(records),
      options({ onProgress: (so) => seen.push(so.concepts + so.associations) }),
    );
    expect(totals).toEqual({ concepts: 96, associations: 2, lastSequence: 98, timed: 0 });
    expect(await storage.stats()).toMatchObject({ concepts: 96, edges: 2 });
    expect(storage.batches).toHaveLength(10);
    expect(storage.overlap).toBeGreaterThan(1);
    expect(storage.overlap).toBeLessThanOrEqual(4);
    expect(seen).toEqual([10, 20, 30, 40, 50, 60, 70, 80, 90, 98]);
  });

  test('sends one batch at a time when told to', async () => {
    const storage = new SlowStorage();
    await importRecords(storage, blocksOf(concepts(50)), options({ inFlight: 1 }));
    expect(storage.overlap).toBe(1);
    expect((await storage.stats()).concepts).toBe(50);
  });

  test('cuts batches by size as well as by number', async () => {
    const storage = new SlowStorage();
    const big = 'x'.repeat(700_000);
    const records = [1, 2, 3, 4].map((line): JsonlRecord => ({
      kind: 'concept',
      line,
      timed: false,
      concept: { id: `c${line}`, content: big },
    }));
    await importRecords(storage, blocksOf(records), options());
    expect(storage.batches.map((batch) => batch.concepts?.length)).toEqual([2, 2]);
  });

  test('of nothing is nothing', async () => {
    const storage = new SlowStorage();
    const totals = await importRecords(storage, blocksOf([]), options());
    expect(totals).toEqual({ concepts: 0, associations: 0, lastSequence: 0, timed: 0 });
    expect(storage.batches).toEqual([]);
  });
});

describe('an import that fails', () => {
  test('at a bad line: all before it is in', async () => {
    const storage = new SlowStorage();
    const bad = new SutraError('INVALID_ARGUMENT', 'f.jsonl:24: not JSON');
    const error = await failureOf(importRecords(storage, blocksOf(concepts(23), bad), options()));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toBe(
      'f.jsonl:24: not JSON. Lines 1 to 23 are in the store (23 concepts, 0 associations).',
    );
    expect((await storage.stats()).concepts).toBe(23);
  });

  test('at the first line: nothing is in', async () => {
    const bad = new SutraError('INVALID_ARGUMENT', 'f.jsonl:1: not JSON');
    const error = await failureOf(importRecords(new SlowStorage(), blocksOf([], bad), options()));
    expect(error.message).toBe('f.jsonl:1: not JSON. Nothing was imported.');
  });

  test('on a record that the store refuses: names its line, and the batch that went with it', async () => {
    const storage = new SlowStorage();
    const records = concepts(30);
    records[14] = {
      kind: 'concept',
      line: 15,
      timed: false,
      concept: { id: 'c15', content: '', confidence: 2 },
    };
    const error = await failureOf(
      importRecords(storage, blocksOf(records), options({ inFlight: 1 })),
    );
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toBe(
      'f.jsonl:15: confidence: got 2, expected 0 to 1. None of lines 11 to 20, one batch, went in. ' +
        'Lines 1 to 10 are in the store (10 concepts, 0 associations).',
    );
    expect((await storage.stats()).concepts).toBe(10);
  });

  test('on an unknown endpoint: bad input, not an answer of "not found"', async () => {
    const storage = new SlowStorage();
    await storage.learnConcept({ id: 'before', content: '' });
    const records = [
      concept(1),
      association(2, 'c1', 'before'),
      association(3, 'c1', 'c1'),
      association(5, 'c1', 'x'),
      association(6, 'y', 'c1'),
    ];
    const error = await failureOf(importRecords(storage, blocksOf(records), options()));
    expect(error.exitCode).toBe(2);
    expect(error.message).toBe(
      'f.jsonl:5: target: no concept "x". None of lines 1 to 6, one batch, went in. Nothing was imported.',
    );
  });

  test('with batches under way behind the refused one: says that they are in', async () => {
    const refusal = new SutraError('TOO_LARGE', 'no');
    const storage = new SlowStorage({ 2: refusal });
    const error = await failureOf(importRecords(storage, blocksOf(concepts(100)), options()));
    expect(error.code).toBe('TOO_LARGE');
    const imported = storage.batches.length - 1;
    expect(imported).toBeGreaterThan(1);
    expect(imported).toBeLessThan(9);
    expect((await storage.stats()).concepts).toBe(10 * imported);
    expect(error.message).toContain(
      'f.jsonl:11-20: no. None of lines 11 to 20, one batch, went in.',
    );
    expect(error.message).toContain(`Lines 1 to 10 and 21 to ${10 * (imported + 1)} are`);
    expect(error.message).toContain(`(${10 * imported} concepts, 0 associations)`);
  });

  test('when the server is gone: says what is not known, and keeps the reason', async () => {
    const refusal = new SutraError('UNREACHABLE', 'localhost:1: connection refused');
    const error = await failureOf(
      importRecords(
        new SlowStorage({ 2: refusal }),
        blocksOf(concepts(20)),
        options({ inFlight: 1 }),
      ),
    );
    expect(error.exitCode).toBe(3);
    expect(error.hint).toBe(refusal.hint);
    expect(error.message).toContain('Whether lines 11 to 20, one batch, went in is not known.');
  });

  test('when interrupted: what was sent is in, nothing more is read', async () => {
    const storage = new SlowStorage();
    const controller = new AbortController();
    let read = 0;
    async function* endless(): AsyncGenerator<readonly JsonlRecord[]> {
      for (;;) {
        yield [concept(++read)];
        if (read === 35) controller.abort();
      }
    }
    const error = await failureOf(
      importRecords(storage, endless(), options({ signal: controller.signal })),
    );
    expect(error.exitCode).toBe(130);
    const { concepts: stored } = await storage.stats();
    expect(error.message).toBe(
      `interrupted. Lines 1 to ${stored} are in the store (${stored} concepts, 0 associations).`,
    );
    expect(read).toBeLessThanOrEqual(36);
  });
});
