import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { SutraError } from '#sutra/errors';
import type { ImportRecord, RecordSource } from '#sutra/formats/record';
import { ingest, type IngestAck as ChunkAck } from '#sutra/storage/chunk-ingest';
import { checkRecords } from '#sutra/storage/import-check';
import { importRecords, type ImportOptions, type ImportTotals } from '#sutra/storage/import-run';
import type { IngestAck, IngestItem, IngestOptions, IngestSource } from '#sutra/storage/storage';
import { sourceOf } from '../support/format-input.js';
import { ModelStorage } from '../support/model-storage.js';

/** The model, which can fail instead of its nth acknowledgement and remembers the chunks. */
class FailingStorage extends ModelStorage {
  readonly chunks: IngestItem[][] = [];
  streams = 0;
  ended = 0;

  constructor(private readonly failures: Readonly<Record<number, SutraError>> = {}) {
    super();
  }

  override async *ingest(
    items: IngestSource,
    options?: IngestOptions,
  ): AsyncGenerator<IngestAck, void, undefined> {
    const { chunks } = this;
    const remembered = async function* (): AsyncGenerator<IngestItem[]> {
      for await (const chunk of items) yield chunks[chunks.push([chunk].flat()) - 1] ?? [];
    };
    this.streams++;
    let count = 0;
    for await (const ack of super.ingest(remembered(), options)) {
      const failure = this.failures[++count];
      if (failure !== undefined) throw failure;
      yield ack;
    }
    this.ended++;
  }
}

const concept = (line: number, id = `c${line}`, content = id): ImportRecord => ({
  kind: 'concept',
  line,
  concept: { id, content },
});
const association = (
  line: number,
  source: string,
  target: string,
  confidence = 1,
): ImportRecord => ({
  kind: 'association',
  line,
  association: { source, target, confidence },
});
const bad = (line: number): ImportRecord => ({ kind: 'bad', line, reason: 'not JSON' });
const concepts = (count: number): ImportRecord[] =>
  Array.from({ length: count }, (_, i) => concept(i + 1));

const OPTIONS: ImportOptions = { chunkItems: 10 };

async function failureOf(promise: Promise<ImportTotals>): Promise<SutraError> {
  const outcome = await promise.catch((error: unknown) => error);
  if (!(outcome instanceof SutraError)) {
    throw new Error('expected a SutraError', { cause: outcome });
  }
  return outcome;
}

describe('an import that goes well', () => {
  test('brings in every record, in chunks, in order', async () => {
    const storage = new FailingStorage();
    const records = [...concepts(95), association(96, 'c1', 'c95'), concept(97, 'c1', 'again')];
    const seen: number[] = [];
    const totals = await importRecords(storage, [sourceOf(records)], {
      ...OPTIONS,
      onProgress: (so) => seen.push(so.concepts + so.associations),
    });
    expect(totals).toEqual({
      concepts: 96,
      associations: 1,
      skipped: 0,
      lastSequence: 97,
      waited: 0,
    });
    expect(await storage.stats()).toMatchObject({ concepts: 95, edges: 1 });
    expect((await storage.queryConcept('c1')).content).toBe('again');
    expect(storage.chunks).toHaveLength(10);
    expect(seen).toEqual([10, 20, 30, 40, 50, 60, 70, 80, 90, 97]);
  });

  test('cuts chunks by size as well as by number', async () => {
    const storage = new FailingStorage();
    const records = [1, 2, 3, 4].map((line) => concept(line, `c${line}`, 'x'.repeat(700_000)));
    await importRecords(storage, [sourceOf(records)], OPTIONS);
    expect(storage.chunks.map((chunk) => chunk.length)).toEqual([1, 1, 1, 1]);
  });

  test('of nothing is nothing', async () => {
    const totals = await importRecords(new ModelStorage(), [sourceOf([])], OPTIONS);
    expect(totals).toMatchObject({ concepts: 0, associations: 0, lastSequence: 0 });
  });

  test('associations may come before their concepts, in other files too, and the last word counts', async () => {
    const storage = new ModelStorage();
    const edges: ImportRecord[] = [];
    for (let line = 1; line <= 60; line++) edges.push(association(line, `c${line}`, 'late', 0.5));
    edges.splice(30, 0, concept(30, 'early'));
    edges.push(association(70, 'early', 'early', 0.1));
    edges.push(association(71, 'c1', 'late', 0.75));
    const nodes = [...concepts(60), concept(61, 'late')];
    const totals = await importRecords(
      storage,
      [sourceOf(edges, { source: 'edges' }), sourceOf(nodes, { source: 'nodes' })],
      OPTIONS,
    );
    expect(totals).toMatchObject({ concepts: 62, associations: 62, waited: 62 });
    expect(await storage.stats()).toMatchObject({ concepts: 62, edges: 61 });
    expect((await storage.getNeighbors('c1')).neighbors).toMatchObject([{ confidence: 0.75 }]);
  });

  test('an input that learns its ends leaves what is known as it is', async () => {
    const storage = new ModelStorage();
    await storage.learnConcept({ id: 'dog', content: 'a pet' });
    const triples = [
      association(1, 'dog', 'animal'),
      association(2, 'cat', 'animal'),
      association(3, 'cat', 'cat'),
    ];
    const totals = await importRecords(
      storage,
      [sourceOf(triples, { learnsEndpoints: true })],
      OPTIONS,
    );
    expect(totals).toMatchObject({ concepts: 2, associations: 3 });
    expect((await storage.queryConcept('dog')).content).toBe('a pet');
    expect((await storage.queryConcept('cat')).content).toBe('cat');
  });

  test('a chunk learns its concepts first, an end under way is not learned in its place', async () => {
    const storage = new FailingStorage();
    const nodes = [concept(1, 'dog', 'a pet'), concept(2, '0A'.repeat(16), 'ten')];
    const edges = [
      association(3, '0a'.repeat(16), 'cat'),
      concept(4, 'cat', 'another pet'),
      association(5, 'cat', 'dog'),
      association(6, 'bird', 'cat'),
    ];
    const sources = [
      sourceOf(nodes, { source: 'nodes' }),
      sourceOf(edges, { source: 'edges', learnsEndpoints: true }),
    ];
    const totals = await importRecords(storage, sources, OPTIONS);
    expect(totals).toMatchObject({ concepts: 4, associations: 3, waited: 0 });
    expect((await storage.queryConcept('0A'.repeat(16))).content).toBe('ten');
    expect((await storage.queryConcept('cat')).content).toBe('another pet');
    expect((await storage.queryConcept('dog')).content).toBe('a pet');
    expect((await storage.queryConcept('bird')).content).toBe('bird');
    expect(storage.chunks.at(-1)?.map((item) => 'concept' in item)).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
  });

  test('an input that pauses is learned by several streams', async () => {
    const storage = new FailingStorage();
    async function* chunks(): AsyncGenerator<{ concept: { id: string; content: string } }[]> {
      yield [{ concept: { id: 'a', content: '' } }];
      // Goes on only once the stream has ended.
      while (storage.ended < 1) await sleep(1);
      yield [{ concept: { id: 'b', content: '' } }, { concept: { id: '', content: '' } }];
    }
    const acks: ChunkAck[] = [];
    for await (const ack of ingest(storage, chunks(), { pauseMs: 5 })) acks.push(ack);
    expect(storage.streams).toBe(2);
    expect(acks).toMatchObject([
      { received: 1, errors: [], lastSequence: 1 },
      { received: 2, errors: [{ index: 1, code: 'INVALID_ARGUMENT' }], lastSequence: 2 },
    ]);
  });

  test('one that says only in the end that it learns them', async () => {
    const storage = new ModelStorage();
    let ended = false;
    async function* blocks(): AsyncGenerator<readonly ImportRecord[]> {
      yield [association(1, 'a', 'b')];
      ended = true;
    }
    const source: RecordSource = {
      source: 'g',
      blocks: blocks(),
      get learnsEndpoints() {
        return ended;
      },
    };
    expect(await importRecords(storage, [source], OPTIONS)).toMatchObject({ associations: 1 });
    expect(await storage.stats()).toMatchObject({ concepts: 2, edges: 1 });
  });
});

describe('bad records', () => {
  test('the first ends it, with all before it in, and says from where to go on', async () => {
    const storage = new ModelStorage();
    const records = [...concepts(23), bad(24), ...concepts(3)];
    const error = await failureOf(importRecords(storage, [sourceOf(records)], OPTIONS));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toBe(
      'f.jsonl:24: not JSON. In the store: lines 1 to 23 of f.jsonl (23 concepts, 0 associations).',
    );
    expect(error.hint).toContain('--from-line 24');
    expect((await storage.stats()).concepts).toBe(23);
  });

  test('at the first line: nothing is in', async () => {
    const error = await failureOf(importRecords(new ModelStorage(), [sourceOf([bad(1)])], OPTIONS));
    expect(error.message).toBe('f.jsonl:1: not JSON. Nothing was imported.');
    expect(error.hint).not.toContain('--from-line');
  });

  test('are skipped, told and counted up to a number, whoever refuses them', async () => {
    const storage = new ModelStorage();
    await storage.learnConcept({ id: 'v', content: '', embedding: [1, 2] });
    const records: ImportRecord[] = [
      concept(1),
      bad(2),
      { kind: 'concept', line: 3, concept: { id: 'c3', content: '', confidence: 2 } },
      { kind: 'concept', line: 4, concept: { id: 'c4', content: '', embedding: [1, 2, 3] } },
      association(5, 'c1', 'nobody'),
      { kind: 'concept', line: 6, concept: { id: 'c6', content: '', strength: NaN } },
      association(7, 'c1', 'v'),
    ];
    const told: string[] = [];
    const totals = await importRecords(storage, [sourceOf(records)], {
      skipBad: 5,
      onBad: (source, line, reason) => told.push(`${source}:${line}: ${reason}`),
    });
    expect(totals).toMatchObject({ concepts: 1, associations: 1, skipped: 5 });
    expect(told.sort()).toEqual([
      'f.jsonl:2: not JSON',
      'f.jsonl:3: confidence: got 2, expected 0 to 1',
      expect.stringMatching(/^f\.jsonl:4: embedding: /),
      expect.stringMatching(/^f\.jsonl:5: .*nobody/),
      'f.jsonl:6: strength: got NaN, expected a finite number of at least 0',
    ]);
    const error = await failureOf(importRecords(storage, [sourceOf(records)], { skipBad: 4 }));
    expect(error.message).toMatch(/^f\.jsonl:5: .*nobody/);
  });

  test('a refused one is named alone; the rest of its chunk goes in', async () => {
    const storage = new ModelStorage();
    await storage.learnConcept({ id: 'v', content: '', embedding: [1] });
    const records = concepts(30);
    records[14] = {
      kind: 'concept',
      line: 15,
      concept: { id: 'x', content: '', embedding: [1, 2] },
    };
    const error = await failureOf(importRecords(storage, [sourceOf(records)], OPTIONS));
    expect(error.message).toMatch(/^f\.jsonl:15: embedding: /);
    expect(error.message).toMatch(/lines 1 to \d+ but 15 of f\.jsonl/);
    expect(error.hint).toContain('--from-line 15');
    records[17] = { ...records[14], line: 18 };
    const two = await failureOf(importRecords(storage, [sourceOf(records)], OPTIONS));
    expect(two.message).toMatch(/lines 1 to \d+ but 15 and 1 more of f\.jsonl/);
    expect(two.hint).toContain('--from-line 15');
    expect(await storage.contains('c14')).toBe(true);
    expect(await storage.contains('x')).toBe(false);
  });

  test('what the reader throws is told in the same way', async () => {
    const failure = new SutraError('INVALID_ARGUMENT', 'f.csv:9: not valid UTF-8');
    const source = sourceOf(concepts(8), { source: 'f.csv', failure });
    const error = await failureOf(importRecords(new ModelStorage(), [source], { skipBad: 99 }));
    expect(error.message).toBe(
      'f.csv:9: not valid UTF-8. In the store: lines 1 to 8 of f.csv (8 concepts, 0 associations).',
    );
  });
});

describe('an import that is broken off', () => {
  test('by a server that is gone: says what is not known, and keeps the reason', async () => {
    const gone = new SutraError('UNREACHABLE', 'localhost:1: connection refused');
    const error = await failureOf(
      importRecords(new FailingStorage({ 2: gone }), [sourceOf(concepts(40))], OPTIONS),
    );
    expect(error.exitCode).toBe(3);
    expect(error.hint).toContain(gone.hint);
    expect(error.hint).toContain('--from-line 11');
    expect(error.message).toMatch(/Whether lines up to \d+ of f\.jsonl went in is not known\./);
    expect(error.message).toContain('lines 1 to 10 of f.jsonl (10 concepts, 0 associations)');
  });

  test('by Ctrl-C: what was sent is in, nothing more is read; --from-line goes on', async () => {
    const storage = new ModelStorage();
    const controller = new AbortController();
    let read = 0;
    async function* endless(): AsyncGenerator<readonly ImportRecord[]> {
      for (;;) {
        yield [concept(++read)];
        if (read === 35) controller.abort();
      }
    }
    const source = { source: 'f.jsonl', blocks: endless(), learnsEndpoints: false };
    const options = { ...OPTIONS, signal: controller.signal };
    const error = await failureOf(importRecords(storage, [source], options));
    expect(error.exitCode).toBe(130);
    const { concepts: stored } = await storage.stats();
    expect(error.message).toBe(
      `interrupted. In the store: lines 1 to ${stored} of f.jsonl (${stored} concepts, 0 associations).`,
    );
    expect(error.hint).toContain(`--from-line ${stored + 1}`);
    expect(read).toBeLessThanOrEqual(36);

    const rest = { ...OPTIONS, fromLine: stored + 1 };
    const totals = await importRecords(storage, [sourceOf(concepts(50))], rest);
    expect(totals.concepts).toBe(50 - stored);
    expect((await storage.stats()).concepts).toBe(50);
  });

  test('with associations that waited: goes on from the first of them', async () => {
    const controller = new AbortController();
    async function* blocks(): AsyncGenerator<readonly ImportRecord[]> {
      yield concepts(10);
      yield [association(11, 'c1', 'late')];
      for (let line = 12; ; line++) {
        yield [concept(line)];
        if (line === 60) controller.abort();
      }
    }
    const source = { source: 'f.jsonl', blocks: blocks(), learnsEndpoints: false };
    const options = { ...OPTIONS, signal: controller.signal };
    const error = await failureOf(importRecords(new ModelStorage(), [source], options));
    expect(error.hint).toContain('--from-line 11');
    expect(error.message).toContain('1 association waited for concepts and may not be');
  });
});

describe('a dry run', () => {
  const records = [
    association(1, 'c3', 'c4'),
    concept(3),
    concept(4),
    association(5, 'c3', 'stored'),
    association(6, 'c3', 'nobody'),
    { kind: 'concept', line: 7, concept: { id: 'v', content: '', embedding: [1, 2] } } as const,
    { kind: 'concept', line: 8, concept: { id: 'w', content: '', embedding: [1] } } as const,
    { kind: 'concept', line: 9, concept: { id: '', content: '' } } as const,
  ];

  test('finds what the import would refuse, and changes nothing', async () => {
    const storage = new ModelStorage();
    await storage.learnConcept({ id: 'stored', content: '' });
    const told: string[] = [];
    const options: ImportOptions = {
      skipBad: 9,
      onBad: (_source, line, reason) => told.push(`${line}: ${reason}`),
    };
    const totals = await checkRecords(storage, [sourceOf(records)], options);
    expect(totals).toMatchObject({ concepts: 3, associations: 2, skipped: 3 });
    expect(told.sort()).toEqual([
      '6: target: no concept "nobody"',
      '8: embedding: got 1 numbers, expected 2',
      '9: id: got an empty id, expected 1 to 512 bytes of UTF-8',
    ]);
    expect(await storage.stats()).toMatchObject({ concepts: 1, sequence: 1 });
    const real = await importRecords(storage, [sourceOf(records)], { skipBad: 9 });
    expect(real).toMatchObject({ concepts: 3, associations: 2, skipped: 3 });
  });

  test('without a store knows only the input', async () => {
    const error = await failureOf(checkRecords(null, [sourceOf(records.slice(0, 4))]));
    expect(error.message).toBe('f.jsonl:5: target: no concept "stored". Nothing was changed.');
  });
});
