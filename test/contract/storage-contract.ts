/**
 * What every Storage does, whatever is behind it: one suite over the model, the embedded backend and each of them behind a
 * server. It reads as interface.md does, and ends with random operations compared with the model.
 */

import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { SutraError, type ErrorCode } from '#sutra/errors';
import type {
  AssociationInput,
  ConceptInput,
  IngestAck,
  IngestItem,
  IngestOptions,
  IngestSource,
  PathOptions,
  ScanOptions,
  ScanPage,
  Storage,
} from '#sutra/storage/storage';
import { ModelStorage } from '../support/model-storage.js';

export interface OpenedStorage {
  readonly storage: Storage;
  /** Closes the storage and whatever is behind it. */
  readonly close: () => Promise<void>;
}

/** Opens a fresh, empty store without an explicit dimension. */
export type StorageFactory = () => Promise<OpenedStorage>;

const COLLIDING = [
  'TEXTCOLLBYfGiJUETHQ4hAcKSMd5zYpgqf1YRDhkmxHkhPWptrkoyz28wnI9V0aHeAuaKnak',
  'TEXTCOLLBYfGiJUETHQ4hEcKSMd5zYpgqf1YRDhkmxHkhPWptrkoyz28wnI9V0aHeAuaKnak',
] as const;

export function md5(name: string): string {
  return createHash('md5').update(name).digest('hex');
}

export function storageContract(name: string, open: StorageFactory): void {
  describe(`${name} keeps the contract`, () => {
    let opened: OpenedStorage | null = null;

    async function store(): Promise<Storage> {
      opened = await open();
      return opened.storage;
    }

    /** Learns by id, each with its id as content. */
    async function learn(storage: Storage, ...ids: string[]): Promise<void> {
      await storage.learnBatch({ concepts: ids.map((id) => ({ id, content: id })) });
    }

    async function link(
      storage: Storage,
      source: string,
      target: string,
      more: Partial<AssociationInput> = {},
    ): Promise<void> {
      await storage.learnAssociation({ source, target, ...more });
    }

    afterEach(async () => {
      await opened?.close();
      opened = null;
    });

    describe('concepts', () => {
      test('a learned concept reads back as it was learned, with defaults of 1', async () => {
        const storage = await store();
        const before = Date.now() * 1000 - 1000;
        await expect(storage.learnConcept({ id: 'cat', content: 'meows' })).resolves.toEqual({
          sequence: 1,
        });
        const answer = await storage.queryConcept('cat');
        expect(answer).toMatchObject({
          found: true,
          id: 'cat',
          content: 'meows',
          strength: 1,
          confidence: 1,
          dimension: 0,
        });
        expect(answer.embedding).toBeUndefined();
        expect(answer.createdUs).toBeGreaterThan(before);
        expect(answer.updatedUs).toBe(answer.createdUs);
        expect(await storage.contains('cat')).toBe(true);
      });

      test('an explicit zero is kept, and numbers are rounded to float32', async () => {
        const storage = await store();
        await storage.learnConcept({ id: 'z', content: '', strength: 0, confidence: 0 });
        expect(await storage.queryConcept('z')).toMatchObject({ strength: 0, confidence: 0 });
        await storage.learnConcept({ id: 'z', content: '', strength: 0.1, confidence: 0.9 });
        expect(await storage.queryConcept('z')).toMatchObject({
          strength: Math.fround(0.1),
          confidence: Math.fround(0.9),
        });
        // Rounds to 1 exactly, so it is in range.
        await storage.learnConcept({ id: 'z', content: '', confidence: 1.00000001 });
        expect((await storage.queryConcept('z')).confidence).toBe(1);
      });

      test('times may be given for what is restored; what is known keeps its creation', async () => {
        const storage = await store();
        await storage.learnConcept({ id: 'a', content: '', createdUs: 0, updatedUs: 2 ** 53 - 1 });
        await storage.learnConcept({ id: 'b', content: '', createdUs: 1_600_000_000_000_000 });
        await storage.learnConcept({ id: 'c', content: '', updatedUs: 7, embedding: [1, 2] });
        await storage.learnConcept({ id: 'c', content: 'x', createdUs: 9, updatedUs: 5 });
        await link(storage, 'a', 'b', { createdUs: 3 });
        await link(storage, 'a', 'b', { createdUs: 4, confidence: 0.5 });
        expect(await storage.queryConcept('a')).toMatchObject({
          createdUs: 0,
          updatedUs: 2 ** 53 - 1,
        });
        const b = await storage.queryConcept('b');
        expect(b.createdUs).toBe(1_600_000_000_000_000);
        expect(b.updatedUs).toBeGreaterThan(1_700_000_000_000_000);
        expect(await storage.queryConcept('c', { withEmbedding: true })).toMatchObject({
          content: 'x',
          createdUs: 7,
          updatedUs: 5,
          embedding: Float32Array.of(1, 2),
        });
        for await (const page of storage.scan({ kinds: 'associations' })) {
          expect(page.associations).toMatchObject([{ createdUs: 3, confidence: 0.5 }]);
        }
        for (const time of [-1, 1.5, Number.NaN, 2 ** 53]) {
          const concept = { id: 'd', content: '', createdUs: time, updatedUs: time };
          await expect(storage.learnConcept(concept)).rejects.toMatchObject({
            code: 'INVALID_ARGUMENT',
            violations: [{ field: 'created_us' }, { field: 'updated_us' }],
          });
          await expect(link(storage, 'a', 'b', { createdUs: time })).rejects.toMatchObject({
            violations: [{ field: 'created_us' }],
          });
        }
      });

      test('an unknown id is an answer, not an error', async () => {
        const storage = await store();
        expect(await storage.queryConcept('nobody')).toEqual({
          found: false,
          id: 'nobody',
          content: '',
          strength: 0,
          confidence: 0,
          createdUs: 0,
          updatedUs: 0,
          dimension: 0,
        });
        expect(await storage.contains('nobody')).toBe(false);
      });

      test('learning again updates, and keeps creation time, associations and embedding', async () => {
        const storage = await store();
        await storage.learnConcept({ id: 'a', content: 'one', embedding: [1, 2], strength: 5 });
        await learn(storage, 'b');
        await link(storage, 'a', 'b');
        const first = await storage.queryConcept('a');
        await storage.learnConcept({ id: 'a', content: 'two', confidence: 0.5 });
        const second = await storage.queryConcept('a', { withEmbedding: true });
        expect(second).toMatchObject({ content: 'two', strength: 1, confidence: 0.5 });
        expect(second.createdUs).toBe(first.createdUs);
        expect(second.updatedUs).toBeGreaterThanOrEqual(first.updatedUs);
        expect(second.embedding).toEqual(Float32Array.of(1, 2));
        expect((await storage.getNeighbors('a')).neighbors).toHaveLength(1);
        await storage.learnConcept({ id: 'a', content: 'two', embedding: [3, 4] });
        const third = await storage.queryConcept('a', { withEmbedding: true });
        expect(third.embedding).toEqual(Float32Array.of(3, 4));
        expect(await storage.stats()).toMatchObject({ concepts: 2, edges: 1, vectors: 1 });
      });

      test('content of exactly 1 MiB, empty content and any unicode are kept', async () => {
        const storage = await store();
        const texts = [
          '',
          'x'.repeat(1024 * 1024),
          '🐈'.repeat(262_144),
          'a\0b',
          '\u{FFFD}',
          '日本',
        ];
        for (const [i, content] of texts.entries()) {
          await storage.learnConcept({ id: `t${i}`, content });
          expect((await storage.queryConcept(`t${i}`)).content).toBe(content);
        }
      });
    });

    describe('ingest', () => {
      const concept = (id: string): IngestItem => ({ concept: { id, content: id } });
      const edge = (source: string, target: string): IngestItem => ({
        association: { source, target },
      });

      async function acks(
        storage: Storage,
        items: IngestSource,
        options: IngestOptions = {},
      ): Promise<IngestAck[]> {
        const all: IngestAck[] = [];
        for await (const ack of storage.ingest(items, options)) all.push(ack);
        return all;
      }

      test('learns items in order, in chunks that are acknowledged one by one', async () => {
        const storage = await store();
        const items = Array.from({ length: 25 }, (_, i) => concept(`c${i}`));
        items.push(edge('c0', 'c24'), edge('c24', 'c0'));
        const all = await acks(storage, items, { chunkItems: 10 });
        expect(all).toEqual([
          {
            firstIndex: 0,
            received: 10,
            accepted: 10,
            firstSequence: 1,
            lastSequence: 10,
            errors: [],
          },
          {
            firstIndex: 10,
            received: 10,
            accepted: 10,
            firstSequence: 11,
            lastSequence: 20,
            errors: [],
          },
          {
            firstIndex: 20,
            received: 7,
            accepted: 7,
            firstSequence: 21,
            lastSequence: 27,
            errors: [],
          },
        ]);
        expect(await storage.stats()).toMatchObject({ concepts: 25, edges: 2, sequence: 27 });
        expect(await acks(storage, [])).toEqual([]);
      });

      test('names items that are refused by their index, and takes the others', async () => {
        const storage = await store();
        await storage.learnConcept({ id: 'v', content: '', embedding: [1, 2] });
        const chunks = [
          [concept('a'), concept(''), edge('a', 'nobody'), edge('a', 'v')],
          [edge('nobody', 'a')],
          [],
          [
            { concept: { id: 'w', content: '', embedding: [1, 2, 3] } },
            { association: { source: 'a', target: 'v', confidence: 2 } },
            concept('b'),
            {} as IngestItem,
          ],
        ];
        const all = await acks(storage, chunks);
        expect(all.map(({ errors: _, ...ack }) => ack)).toEqual([
          { firstIndex: 0, received: 4, accepted: 2, firstSequence: 2, lastSequence: 3 },
          { firstIndex: 4, received: 1, accepted: 0, firstSequence: 0, lastSequence: 0 },
          { firstIndex: 5, received: 0, accepted: 0, firstSequence: 0, lastSequence: 0 },
          { firstIndex: 5, received: 4, accepted: 1, firstSequence: 4, lastSequence: 4 },
        ]);
        const errors = all.flatMap((ack) => ack.errors.map(({ index, code }) => [index, code]));
        expect(errors).toEqual([
          [1, 'INVALID_ARGUMENT'],
          [2, 'UNKNOWN_CONCEPT'],
          [4, 'UNKNOWN_CONCEPT'],
          [5, 'DIMENSION_MISMATCH'],
          [6, 'INVALID_ARGUMENT'],
          [8, 'INVALID_ARGUMENT'],
        ]);
        expect(all[0]?.errors[0]?.violations).toMatchObject([{ field: 'concept_id' }]);
        expect(all[0]?.errors[1]?.message).toContain('nobody');
        expect(await storage.stats()).toMatchObject({ concepts: 3, edges: 1, sequence: 4 });
      });

      test('acknowledges what a slow source gave before it gives more', async () => {
        const storage = await store();
        let taken: (() => void) | null = null;
        async function* slow(): AsyncGenerator<IngestItem> {
          for (let i = 0; i < 3; i++) {
            yield concept(`s${i}`);
            await new Promise<void>((resolve) => {
              taken = resolve;
            });
          }
        }
        let next = 0;
        for await (const ack of storage.ingest(slow())) {
          expect(ack).toMatchObject({ firstIndex: next, received: 1, accepted: 1 });
          expect(await storage.contains(`s${next++}`)).toBe(true);
          (taken as (() => void) | null)?.();
        }
        expect(next).toBe(3);
      });

      test('that its source breaks off acknowledges what came before, then throws that', async () => {
        const storage = await store();
        function* broken(): Generator<readonly IngestItem[]> {
          yield [concept('a')];
          yield [concept('b')];
          throw new RangeError('the source broke');
        }
        const seen: IngestAck[] = [];
        const reading = (async () => {
          for await (const ack of storage.ingest(broken())) seen.push(ack);
        })();
        await expect(reading).rejects.toThrow('the source broke');
        expect(seen).toHaveLength(2);
        expect(await storage.contains('b')).toBe(true);
      });

      test('ends when it is aborted or left, and leaves its source', async () => {
        const storage = await store();
        let left = 0;
        function* endless(): Generator<IngestItem> {
          try {
            for (let i = 0; ; i++) yield concept(`e${i}`);
          } finally {
            left++;
          }
        }
        for await (const ack of storage.ingest(endless(), { chunkItems: 5 })) {
          expect(ack.accepted).toBe(5);
          break;
        }
        expect(left).toBe(1);
        const controller = new AbortController();
        const reading = (async () => {
          const options = { chunkItems: 5, signal: controller.signal };
          for await (const ack of storage.ingest(endless(), options)) {
            expect(ack.accepted).toBe(5);
            controller.abort();
          }
        })();
        await expect(reading).rejects.toMatchObject({ code: 'CANCELLED' });
        expect(left).toBe(2);
        await expect(acks(storage, [], { chunkItems: 16_385 })).rejects.toMatchObject({
          code: 'INVALID_ARGUMENT',
        });
      });
    });

    describe('scan', () => {
      async function pages(storage: Storage, options: ScanOptions = {}): Promise<ScanPage[]> {
        const all: ScanPage[] = [];
        for await (const page of storage.scan(options)) all.push(page);
        return all;
      }

      test('of an empty store is one empty page', async () => {
        const storage = await store();
        const [page, ...more] = await pages(storage);
        expect(more).toEqual([]);
        expect(page).toMatchObject({
          sequence: 0,
          conceptCount: 0,
          associationCount: 0,
          concepts: [],
          associations: [],
          resume: null,
        });
      });

      test('gives concepts as they were learned, then associations by their ends and type', async () => {
        const storage = await store();
        await storage.learnConcept({ id: 'b', content: 'bee', strength: 2, embedding: [3, 4] });
        await learn(storage, 'a', '00112233445566778899AABBCCDDEEFF');
        await link(storage, 'a', 'b', { type: 7, confidence: 0.25 });
        await link(storage, 'a', 'b');
        await link(storage, 'b', 'b', { type: 3 });
        const [page] = await pages(storage);
        const asked = await storage.queryConcept('b', { withEmbedding: true });
        expect(asked).toEqual({ ...page?.concepts[0], found: true, dimension: 2 });
        expect(page?.concepts.map(({ id }) => id)).toEqual([
          'b',
          'a',
          '00112233445566778899aabbccddeeff',
        ]);
        expect(page?.concepts[1]).not.toHaveProperty('embedding');
        expect(page?.associations).toMatchObject([
          { source: 'b', target: 'b', type: 3, confidence: 1 },
          { source: 'a', target: 'b', type: 0, confidence: 1 },
          { source: 'a', target: 'b', type: 7, confidence: 0.25 },
        ]);
        expect(page).toMatchObject({ sequence: 6, conceptCount: 3, associationCount: 3 });
        expect(page?.digest).toMatch(/^[0-9a-f]{32}$/);
        const [bare] = await pages(storage, { withEmbeddings: false });
        expect(bare?.concepts[0]).not.toHaveProperty('embedding');
      });

      test('comes in pages of the kinds asked for, which stay at their sequence', async () => {
        const storage = await store();
        await learn(storage, ...Array.from({ length: 25 }, (_, i) => `c${i}`));
        for (let i = 0; i < 5; i++) await link(storage, 'c0', `c${i}`);
        // The last page may have nothing left to give.
        const isFull = ({ concepts, associations }: ScanPage): boolean =>
          concepts.length + associations.length > 0;
        const whole = (await pages(storage, { pageItems: 10 })).filter(isFull);
        expect(whole.map((page) => [page.concepts.length, page.associations.length])).toEqual([
          [10, 0],
          [10, 0],
          [5, 5],
        ]);
        expect(await pages(storage, { kinds: 'concepts' })).toMatchObject([
          { concepts: { length: 25 }, associations: [], resume: null },
        ]);
        expect(await pages(storage, { kinds: 'associations' })).toMatchObject([
          { concepts: [], associations: { length: 5 }, resume: null },
        ]);
        const seen: ScanPage[] = [];
        for await (const page of storage.scan({ pageItems: 10 })) {
          if (isFull(page)) seen.push(page);
          await storage.forgetConcept(`c${20 + seen.length}`);
          await learn(storage, `new${seen.length}`);
        }
        expect(seen.map((page) => page.concepts)).toEqual(whole.map((page) => page.concepts));
        expect(seen.map((page) => page.associations)).toEqual(
          whole.map((page) => page.associations),
        );
        expect(new Set(seen.map((page) => page.sequence))).toEqual(new Set([30]));
      });

      test('that was left can be resumed behind any of its pages', async () => {
        const storage = await store();
        await learn(storage, ...Array.from({ length: 25 }, (_, i) => `c${i}`));
        for (let i = 0; i < 5; i++) await link(storage, 'c0', `c${i}`);
        const ids = (all: readonly ScanPage[]): string[] =>
          all.flatMap((page) => [
            ...page.concepts.map(({ id }) => id),
            ...page.associations.map(({ target }) => `c0>${target}`),
          ]);
        const whole = ids(await pages(storage));
        for (const stopAt of [1, 3, 4]) {
          const first: ScanPage[] = [];
          for await (const page of storage.scan({ pageItems: 7 })) {
            first.push(page);
            if (first.length === stopAt) break;
          }
          await learn(storage, 'late');
          const resume = first.at(-1)?.resume ?? '';
          const rest = await pages(storage, { resume, pageItems: 3 });
          expect(ids([...first, ...rest])).toEqual(whole);
          await storage.forgetConcept('late');
        }
      });

      test('refuses what it cannot resume or does not know', async () => {
        const storage = await store();
        for (const options of [
          { resume: 'no token' },
          { resume: '' },
          { pageItems: 10_001 },
          { pageItems: -1 },
          { kinds: 'edges' as 'all' },
        ]) {
          await expect(pages(storage, options)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
        }
        await expect(pages(storage, { signal: AbortSignal.abort() })).rejects.toMatchObject({
          code: 'CANCELLED',
        });
      });

      test('ends when its signal is aborted', async () => {
        const storage = await store();
        await learn(storage, 'a', 'b', 'c');
        const controller = new AbortController();
        const scan = storage.scan({ pageItems: 1, signal: controller.signal });
        const seen: ScanPage[] = [];
        const reading = (async () => {
          for await (const page of scan) {
            seen.push(page);
            controller.abort();
          }
        })();
        await expect(reading).rejects.toMatchObject({ code: 'CANCELLED' });
        expect(seen).toHaveLength(1);
      });
    });

    describe('ids', () => {
      const key = '00112233445566778899aabbccddeeff';
      const half = '0011223344556677';

      test('names, 32 and 16 hex digits come back as they were learned, hex in lower case', async () => {
        const storage = await store();
        await learn(storage, 'Ünïcode 🐈', key.toUpperCase(), half.toUpperCase());
        expect((await storage.queryConcept('Ünïcode 🐈')).id).toBe('Ünïcode 🐈');
        expect((await storage.queryConcept(key)).id).toBe(key);
        expect((await storage.queryConcept(key.toUpperCase())).id).toBe(key);
        expect((await storage.queryConcept(half)).id).toBe(half);
      });

      test('16 hex digits are the first half of a key whose second half is zero', async () => {
        const storage = await store();
        await learn(storage, `${half}0000000000000000`);
        expect((await storage.queryConcept(half)).id).toBe(half);
        expect((await storage.stats()).concepts).toBe(1);
      });

      test('ids of nearly that form are names', async () => {
        const storage = await store();
        const names = [key.slice(1), `${key}0`, half.slice(1), `${half}0`, `${half.slice(1)}g`];
        await learn(storage, ...names);
        for (const id of names) expect((await storage.queryConcept(id)).id).toBe(id);
        expect((await storage.stats()).concepts).toBe(names.length);
      });

      test('a name is found by its key, too', async () => {
        const storage = await store();
        await learn(storage, 'cat');
        expect(await storage.queryConcept(md5('cat'))).toMatchObject({ found: true, id: 'cat' });
      });

      test('a name equal to another’s key is told apart, until it is learned and adopted', async () => {
        const storage = await store();
        await storage.learnConcept({ id: md5('cat'), content: 'by key' });
        expect((await storage.queryConcept('cat')).found).toBe(false);
        expect(await storage.contains('cat')).toBe(false);
        await expectError(link(storage, 'cat', 'cat'), 'UNKNOWN_CONCEPT');
        await storage.learnConcept({ id: 'cat', content: 'by name' });
        expect(await storage.queryConcept(md5('cat'))).toMatchObject({
          id: 'cat',
          content: 'by name',
        });
        expect((await storage.stats()).concepts).toBe(1);
        // Learned by its key once more, it keeps its name.
        await storage.learnConcept({ id: md5('cat'), content: 'again' });
        expect(await storage.queryConcept('cat')).toMatchObject({ id: 'cat', content: 'again' });
      });

      test('a different name with the same MD5 is refused', async () => {
        const storage = await store();
        const [first, second] = COLLIDING;
        await learn(storage, first);
        const error = await expectError(learn(storage, second), 'NAME_COLLISION');
        expect(error.status).toBe('INVALID_ARGUMENT');
        expect(error.violations[0]?.field).toBe('concepts[0].concept_id');
        const single = storage.learnConcept({ id: second, content: '' });
        expect((await expectError(single, 'NAME_COLLISION')).violations[0]?.field).toBe(
          'concept_id',
        );
        expect((await storage.queryConcept(second)).found).toBe(false);
        expect(await storage.stats()).toMatchObject({ concepts: 1, sequence: 1 });
      });

      test('512 bytes are fine, 513 are not, whatever the script', async () => {
        const storage = await store();
        for (const id of ['i'.repeat(512), 'é'.repeat(256), '🐈'.repeat(128)]) {
          await learn(storage, id);
          expect((await storage.queryConcept(id)).id).toBe(id);
          await expectInvalid(storage.contains(`${id}i`), 'concept_id');
        }
      });
    });

    describe('refusals name every offending field and change nothing', () => {
      test('each field of each request', async () => {
        const storage = await store();
        await learn(storage, 'a');
        const concept = { id: 'a', content: '' };
        const edge = { source: 'a', target: 'a' };
        const before = await storage.stats();
        const bad: [string, Promise<unknown>][] = [
          ['concept_id', storage.learnConcept({ ...concept, id: '' })],
          ['concept_id', storage.learnConcept({ ...concept, id: '\uD800' })],
          ['content', storage.learnConcept({ ...concept, content: 'x'.repeat(1024 * 1024 + 1) })],
          ['content', storage.learnConcept({ ...concept, content: 'a\uDC00' })],
          ['strength', storage.learnConcept({ ...concept, strength: NaN })],
          ['strength', storage.learnConcept({ ...concept, strength: -0.5 })],
          ['strength', storage.learnConcept({ ...concept, strength: 1e39 })],
          ['confidence', storage.learnConcept({ ...concept, confidence: 1.1 })],
          ['confidence', storage.learnConcept({ ...concept, confidence: -0.1 })],
          ['confidence', storage.learnConcept({ ...concept, confidence: Infinity })],
          ['embedding', storage.learnConcept({ ...concept, embedding: [1, NaN] })],
          ['embedding', storage.learnConcept({ ...concept, embedding: [1, -Infinity] })],
          ['embedding', storage.learnConcept({ ...concept, embedding: [1e39] })],
          ['embedding', storage.learnConcept({ ...concept, embedding: [0, 0] })],
          ['embedding', storage.learnConcept({ ...concept, embedding: [1e-50] })],
          ['embedding', storage.learnConcept({ ...concept, embedding: [] })],
          ['embedding', storage.learnConcept({ ...concept, embedding: new Float32Array(4097) })],
          ['source_id', storage.learnAssociation({ ...edge, source: '' })],
          ['target_id', storage.learnAssociation({ ...edge, target: 'x'.repeat(513) })],
          ['assoc_type', storage.learnAssociation({ ...edge, type: 65_536 })],
          ['assoc_type', storage.learnAssociation({ ...edge, type: -1 })],
          ['assoc_type', storage.learnAssociation({ ...edge, type: 1.5 })],
          ['confidence', storage.learnAssociation({ ...edge, confidence: NaN })],
          ['concept_id', storage.forgetConcept('')],
          ['source_id', storage.forgetAssociation('', 'a')],
          ['assoc_type', storage.forgetAssociation('a', 'a', 70_000)],
          ['concept_id', storage.queryConcept('')],
          ['concept_id', storage.contains('')],
          ['concept_id', storage.getNeighbors('')],
          ['types[1]', storage.getNeighbors('a', { types: [0, 65_536] })],
          ['limit', storage.getNeighbors('a', { limit: -1 })],
          ['start_id', storage.findPath('', 'a')],
          ['end_id', storage.findPath('a', '')],
          ['max_depth', storage.findPath('a', 'a', { maxDepth: 65 })],
          ['max_depth', storage.findPath('a', 'a', { maxDepth: 0.5 })],
          ['query_vector', storage.vectorSearch([])],
          ['query_vector', storage.vectorSearch([0])],
          ['query_vector', storage.vectorSearch([NaN])],
          ['k', storage.vectorSearch([1], { k: 10_001 })],
          ['k', storage.vectorSearch([1], { k: 1.5 })],
          ['k', storage.vectorSearch([1], { k: -1 })],
          ['ef_search', storage.vectorSearch([1], { efSearch: -1 })],
          ['ef_search', storage.vectorSearch([1], { efSearch: 2 ** 32 })],
          ['query_vector', storage.vectorSearch([1, Infinity])],
          ['query_vector', storage.vectorSearch([1e-50])],
          ['query_vector', storage.vectorSearch(new Float32Array(4097).fill(1))],
          ['min_similarity', storage.vectorSearch([1], { minSimilarity: 1.001 })],
          ['min_similarity', storage.vectorSearch([1], { minSimilarity: -2 })],
          ['min_similarity', storage.vectorSearch([1], { minSimilarity: NaN })],
          ['within_id', storage.vectorSearch([1], { within: { id: '', hops: 2 } })],
          ['within_id', storage.vectorSearch([1], { within: { id: 'x'.repeat(513) } })],
          ['within_hops', storage.vectorSearch([1], { within: { id: 'a', hops: 65 } })],
          ['within_hops', storage.vectorSearch([1], { within: { id: 'a', hops: -1 } })],
        ];
        for (const [field, call] of bad) await expectInvalid(call, field);
        const after = await storage.stats();
        // Not what goes on meanwhile, such as a checkpoint.
        const { concepts, edges, written, dropped, pending, sequence, vectors } = before;
        const holds = { concepts, edges, written, dropped, pending, sequence, vectors };
        expect(after).toMatchObject({ ...holds, dimension: before.dimension });
        expect((await storage.queryConcept('a')).content).toBe('a');
      });

      test('all of them at once, in a batch with their place', async () => {
        const storage = await store();
        await expectInvalid(
          storage.learnConcept({ id: '', content: '', strength: -1, confidence: 2 }),
          'concept_id',
          'strength',
          'confidence',
        );
        await expectInvalid(
          storage.learnBatch({
            concepts: [
              { id: 'fine', content: '' },
              { id: 'a', content: '', confidence: 7 },
            ],
            associations: [{ source: 'fine', target: '', type: 99_999 }],
          }),
          'concepts[1].confidence',
          'associations[0].target_id',
          'associations[0].assoc_type',
        );
        expect((await storage.stats()).sequence).toBe(0);
      });
    });

    describe('sequences', () => {
      test('grow by one for each accepted write, and refused ones take none', async () => {
        const storage = await store();
        const sequences: number[] = [];
        const taken = async (write: Promise<{ sequence: number }>): Promise<void> => {
          sequences.push((await write).sequence);
        };
        await taken(storage.learnConcept({ id: 'a', content: '' }));
        await taken(storage.learnConcept({ id: 'b', content: '' }));
        await expectError(link(storage, 'a', 'nobody'), 'UNKNOWN_CONCEPT');
        await expectInvalid(storage.learnConcept({ id: '', content: '' }), 'concept_id');
        await taken(storage.learnAssociation({ source: 'a', target: 'b' }));
        await taken(storage.learnAssociation({ source: 'a', target: 'b' }));
        const batch = await storage.learnBatch({
          concepts: [
            { id: 'c', content: '' },
            { id: 'd', content: '' },
          ],
          associations: [{ source: 'c', target: 'd' }],
        });
        expect(batch).toEqual({ firstSequence: 5, count: 3 });
        await taken(storage.forgetAssociation('a', 'b'));
        await taken(storage.forgetConcept('a'));
        expect(sequences).toEqual([1, 2, 3, 4, 8, 9]);
        expect(await storage.forgetConcept('a')).toMatchObject({ found: false, sequence: 0 });
        expect(await storage.stats()).toMatchObject({ sequence: 9, written: 9, dropped: 0 });
      });

      test('writes under way together are each given their own', async () => {
        const storage = await store();
        const receipts = await Promise.all(
          Array.from({ length: 50 }, (_, i) =>
            storage.learnConcept({ id: `c${i}`, content: `${i}` }),
          ),
        );
        const sequences = receipts.map(({ sequence }) => sequence).sort((a, b) => a - b);
        expect(sequences).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
        expect((await storage.stats()).concepts).toBe(50);
      });
    });

    describe('batches', () => {
      test('are all or nothing', async () => {
        const storage = await store();
        await learn(storage, 'old');
        const error = await expectError(
          storage.learnBatch({
            concepts: [
              { id: 'old', content: 'changed' },
              { id: 'new', content: '' },
            ],
            associations: [
              { source: 'old', target: 'new' },
              { source: 'new', target: 'nobody' },
            ],
          }),
          'UNKNOWN_CONCEPT',
        );
        expect(error.message).toContain('nobody');
        expect(await storage.contains('new')).toBe(false);
        expect((await storage.queryConcept('old')).content).toBe('old');
        expect(await storage.stats()).toMatchObject({ concepts: 1, edges: 0, sequence: 1 });
      });

      test('an empty one takes no sequence', async () => {
        const storage = await store();
        expect(await storage.learnBatch({})).toEqual({ firstSequence: 0, count: 0 });
        expect(await storage.learnBatch({ concepts: [], associations: [] })).toMatchObject({
          count: 0,
        });
        expect((await storage.stats()).sequence).toBe(0);
      });

      test('the later of two of the same id counts, and each takes a sequence', async () => {
        const storage = await store();
        const concepts = [
          { id: 'x', content: 'first' },
          { id: 'x', content: 'second' },
        ];
        expect(await storage.learnBatch({ concepts })).toEqual({ firstSequence: 1, count: 2 });
        expect((await storage.queryConcept('x')).content).toBe('second');
        expect((await storage.stats()).concepts).toBe(1);
      });

      test('two dimensions in one batch are refused as a whole', async () => {
        const storage = await store();
        const error = await expectError(
          storage.learnBatch({
            concepts: [
              { id: 'a', content: '', embedding: [1, 2] },
              { id: 'b', content: '', embedding: [1, 2, 3] },
            ],
          }),
          'DIMENSION_MISMATCH',
        );
        expect(error.violations[0]?.field).toBe('concepts[1].embedding');
        expect(await storage.stats()).toMatchObject({ concepts: 0, dimension: 0, sequence: 0 });
      });

      test('more than 16 MiB is TOO_LARGE, and changes nothing', async () => {
        const storage = await store();
        const content = 'x'.repeat(1024 * 1024);
        const concepts = Array.from({ length: 16 }, (_, i) => ({ id: `big${i}`, content }));
        await expectError(storage.learnBatch({ concepts }), 'TOO_LARGE');
        expect((await storage.stats()).sequence).toBe(0);
        // Just below: the last content gives up what the fields around the others take.
        const last = { id: 'big15', content: content.slice(0, -400) };
        const fitting = [...concepts.slice(0, 15), last];
        expect((await storage.learnBatch({ concepts: fitting })).count).toBe(16);
      });
    });

    describe('associations', () => {
      test('an unknown endpoint is NOT_FOUND and names the id', async () => {
        const storage = await store();
        await learn(storage, 'a');
        const target = await expectError(link(storage, 'a', 'ghost 👻'), 'UNKNOWN_CONCEPT');
        expect(target.message).toContain('ghost 👻');
        expect(target.status).toBe('NOT_FOUND');
        const source = await expectError(link(storage, 'phantom', 'a'), 'UNKNOWN_CONCEPT');
        expect(source.message).toContain('phantom');
        expect((await storage.stats()).edges).toBe(0);
      });

      test('are identified by source, target and type', async () => {
        const storage = await store();
        await learn(storage, 'a', 'b');
        await link(storage, 'a', 'b');
        await link(storage, 'a', 'b', { confidence: 0.25 });
        expect((await storage.stats()).edges).toBe(1);
        expect((await storage.getNeighbors('a')).neighbors[0]?.confidence).toBe(0.25);
        await link(storage, 'a', 'b', { type: 65_535 });
        await link(storage, 'b', 'a');
        expect((await storage.stats()).edges).toBe(3);
        expect((await storage.getNeighbors('a', { types: [65_535] })).neighbors).toEqual([
          { id: 'b', type: 65_535, confidence: 1, direction: 'out' },
        ]);
      });

      test('a self-loop is allowed, counts once and lists the concept itself once', async () => {
        const storage = await store();
        await learn(storage, 'a');
        await link(storage, 'a', 'a', { confidence: 0.5 });
        expect((await storage.stats()).edges).toBe(1);
        expect((await storage.getNeighbors('a')).neighbors).toEqual([
          { id: 'a', type: 0, confidence: 0.5, direction: 'out' },
        ]);
        expect((await storage.getNeighbors('a', { direction: 'in' })).neighbors).toHaveLength(1);
        expect(await storage.findPath('a', 'a')).toMatchObject({ path: ['a'], steps: [] });
        expect((await storage.forgetConcept('a')).associations).toBe(1);
      });
    });

    describe('neighbours', () => {
      test('are distinct, both ways, strongest first, ties by key', async () => {
        const storage = await store();
        const hex = ['01', '02', '03', '04'].map((byte) => `${byte}${'0'.repeat(14)}`);
        const [one = '', two = '', three = '', four = ''] = hex;
        await learn(storage, 'hub', ...hex);
        await link(storage, 'hub', three, { confidence: 0.5 });
        await link(storage, two, 'hub', { confidence: 0.5 });
        await link(storage, 'hub', four, { confidence: 0.1 });
        await link(storage, four, 'hub', { confidence: 0.9, type: 3 });
        await link(storage, 'hub', one, { confidence: 0 });
        const { known, id, neighbors } = await storage.getNeighbors('hub');
        expect({ known, id }).toEqual({ known: true, id: 'hub' });
        expect(neighbors).toEqual([
          { id: four, type: 3, confidence: Math.fround(0.9), direction: 'in' },
          { id: two, type: 0, confidence: 0.5, direction: 'in' },
          { id: three, type: 0, confidence: 0.5, direction: 'out' },
          { id: one, type: 0, confidence: 0, direction: 'out' },
        ]);
        const ids = async (options: object): Promise<string[]> =>
          (await storage.getNeighbors('hub', options)).neighbors.map((neighbor) => neighbor.id);
        expect(await ids({ direction: 'out' })).toEqual([three, four, one]);
        expect(await ids({ direction: 'in' })).toEqual([four, two]);
        expect(await ids({ types: [3] })).toEqual([four]);
        expect(await ids({ types: [1, 2] })).toEqual([]);
        expect(await ids({ limit: 2 })).toEqual([four, two]);
      });

      test('of equal associations the lower type is told, then out before in', async () => {
        const storage = await store();
        await learn(storage, 'a', 'b');
        await link(storage, 'a', 'b', { type: 4 });
        await link(storage, 'b', 'a', { type: 2 });
        await link(storage, 'a', 'b', { type: 2 });
        expect((await storage.getNeighbors('a')).neighbors).toEqual([
          { id: 'b', type: 2, confidence: 1, direction: 'out' },
        ]);
      });

      test('come once for each association when parallel ones are asked for', async () => {
        const storage = await store();
        await learn(storage, 'a', 'b');
        await link(storage, 'a', 'b', { type: 4 });
        await link(storage, 'b', 'a', { type: 2 });
        await link(storage, 'a', 'b', { type: 2 });
        await link(storage, 'a', 'b', { type: 9, confidence: 0.5 });
        await link(storage, 'a', 'a', { confidence: 0.25 });
        const { neighbors } = await storage.getNeighbors('a', { parallel: true });
        expect(neighbors).toEqual([
          { id: 'b', type: 2, confidence: 1, direction: 'out' },
          { id: 'b', type: 2, confidence: 1, direction: 'in' },
          { id: 'b', type: 4, confidence: 1, direction: 'out' },
          { id: 'b', type: 9, confidence: 0.5, direction: 'out' },
          { id: 'a', type: 0, confidence: 0.25, direction: 'out' },
        ]);
        const out = { parallel: true, direction: 'out', limit: 2 } as const;
        expect((await storage.getNeighbors('a', out)).neighbors.map(({ type }) => type)).toEqual([
          2, 4,
        ]);
      });

      test('an unknown id has none, and says so', async () => {
        const storage = await store();
        await learn(storage, 'lonely');
        const none = { neighbors: [] };
        expect(await storage.getNeighbors('nobody')).toEqual({
          known: false,
          id: 'nobody',
          ...none,
        });
        expect(await storage.getNeighbors('lonely')).toEqual({
          known: true,
          id: 'lonely',
          ...none,
        });
      });
    });

    describe('paths', () => {
      async function chain(storage: Storage, length: number): Promise<string[]> {
        const ids = Array.from({ length }, (_, i) => `n${i}`);
        await storage.learnBatch({
          concepts: ids.map((id) => ({ id, content: '' })),
          associations: ids.slice(1).map((target, i) => ({ source: `n${i}`, target })),
        });
        return ids;
      }

      test('go both ways along an association, with the steps taken', async () => {
        const storage = await store();
        await learn(storage, 'a', 'b', 'c');
        await link(storage, 'a', 'b', { confidence: 0.5 });
        await link(storage, 'c', 'b', { confidence: 0.5, type: 1 });
        expect(await storage.findPath('a', 'c')).toEqual({
          found: true,
          path: ['a', 'b', 'c'],
          steps: [
            { from: 'a', to: 'b', type: 0, confidence: 0.5, direction: 'out' },
            { from: 'b', to: 'c', type: 1, confidence: 0.5, direction: 'in' },
          ],
          confidence: 0.25,
        });
        const none = { found: false, path: [], steps: [], confidence: 0 };
        expect(await storage.findPath('a', 'c', { direction: 'out' })).toEqual(none);
        expect((await storage.findPath('b', 'c', { direction: 'in' })).found).toBe(true);
        expect(await storage.findPath('a', 'c', { types: [0] })).toEqual(none);
        expect((await storage.findPath('a', 'c', { types: [0, 1] })).found).toBe(true);
      });

      test('are the shortest, within 6 hops unless told otherwise, and at most 64', async () => {
        const storage = await store();
        const ids = await chain(storage, 66);
        expect((await storage.findPath('n0', 'n6')).path).toEqual(ids.slice(0, 7));
        expect((await storage.findPath('n0', 'n7')).found).toBe(false);
        expect((await storage.findPath('n0', 'n7', { maxDepth: 7 })).path).toHaveLength(8);
        expect((await storage.findPath('n0', 'n64', { maxDepth: 64 })).path).toHaveLength(65);
        expect((await storage.findPath('n0', 'n65', { maxDepth: 64 })).found).toBe(false);
        expect((await storage.findPath('n1', 'n0', { maxDepth: 1 })).found).toBe(true);
        await link(storage, 'n1', 'n40');
        expect((await storage.findPath('n0', 'n42', { maxDepth: 64 })).path).toEqual([
          'n0',
          'n1',
          'n40',
          'n41',
          'n42',
        ]);
      });

      test('from a concept to itself is a path of one; unknown ids have none', async () => {
        const storage = await store();
        await learn(storage, 'a');
        const one = { found: true, path: ['a'], steps: [], confidence: 1 };
        expect(await storage.findPath('a', 'a')).toEqual(one);
        expect(await storage.findPath('a', 'a', { by: 'confidence' })).toEqual(one);
        const none = { found: false, path: [], steps: [], confidence: 0 };
        expect(await storage.findPath('a', 'x')).toEqual(none);
        expect(await storage.findPath('x', 'a')).toEqual(none);
        expect(await storage.findPath('x', 'x')).toEqual(none);
      });

      test('by confidence the highest product wins, zero is impassable, ties take fewer hops', async () => {
        const storage = await store();
        await learn(storage, 'a', 'b', 'c', 'd', 'e');
        await link(storage, 'a', 'b', { confidence: 0.25 });
        await link(storage, 'a', 'c', { confidence: 0.75 });
        await link(storage, 'c', 'b', { confidence: 0.75 });
        const strong = await storage.findPath('a', 'b', { by: 'confidence' });
        expect(strong.path).toEqual(['a', 'c', 'b']);
        expect(strong.confidence).toBeCloseTo(0.5625, 12);
        expect((await storage.findPath('a', 'b')).path).toEqual(['a', 'b']);
        const near = await storage.findPath('a', 'b', { by: 'confidence', maxDepth: 1 });
        expect(near.path).toEqual(['a', 'b']);
        // A tie: 0.5625 directly.
        await link(storage, 'a', 'b', { confidence: 0.5625, type: 9 });
        expect((await storage.findPath('a', 'b', { by: 'confidence' })).path).toEqual(['a', 'b']);
        await link(storage, 'd', 'e', { confidence: 0 });
        expect((await storage.findPath('d', 'e', { by: 'confidence' })).found).toBe(false);
        expect((await storage.findPath('d', 'e')).confidence).toBe(0);
        expect((await storage.findPath('d', 'e')).found).toBe(true);
      });
    });

    describe('vectors', () => {
      test('search answers by cosine similarity, best first, ties by key', async () => {
        const storage = await store();
        const [low, high] = [`01${'0'.repeat(14)}`, `02${'0'.repeat(14)}`];
        await storage.learnBatch({
          concepts: [
            { id: high, content: '', embedding: [2, 0] },
            { id: low, content: '', embedding: [1, 0] },
            { id: 'slant', content: '', embedding: [1, 1] },
            { id: 'back', content: '', embedding: [-3, 0] },
            { id: 'plain', content: '' },
          ],
        });
        const matches = await storage.vectorSearch([1e-3, 0]);
        expect(matches.map(({ id }) => id)).toEqual([low, high, 'slant', 'back']);
        const similarities = matches.map(({ similarity }) => similarity);
        for (const [i, expected] of [1, 1, Math.SQRT1_2, -1].entries()) {
          expect(similarities[i]).toBeCloseTo(expected, 5);
        }
        expect(await storage.vectorSearch(Float32Array.of(1, 0), { k: 1 })).toHaveLength(1);
        expect(await storage.vectorSearch([1, 0], { k: 10_000, efSearch: 100 })).toHaveLength(4);
      });

      test('k of 0 or none means 10', async () => {
        const storage = await store();
        await storage.learnBatch({
          concepts: Array.from({ length: 15 }, (_, i) => ({
            id: `v${i}`,
            content: '',
            embedding: [1, i],
          })),
        });
        expect(await storage.vectorSearch([1, 1])).toHaveLength(10);
        expect(await storage.vectorSearch([1, 1], { k: 0 })).toHaveLength(10);
        expect(await storage.vectorSearch([1, 1], { k: 15 })).toHaveLength(15);
      });

      test('min_similarity is a floor, itself included', async () => {
        const storage = await store();
        await storage.learnBatch({
          concepts: [
            { id: 'same', content: '', embedding: [2, 0] },
            { id: 'near', content: '', embedding: [3, 4] },
            { id: 'square', content: '', embedding: [0, 1] },
            { id: 'back', content: '', embedding: [-1, 0] },
          ],
        });
        const ids = async (minSimilarity: number): Promise<string[]> =>
          (await storage.vectorSearch([1, 0], { minSimilarity })).map(({ id }) => id);
        expect(await ids(-1)).toEqual(['same', 'near', 'square', 'back']);
        expect(await ids(0)).toEqual(['same', 'near', 'square']);
        // 0.6 in float64 is not the float32 that the similarity is; it is rounded before they are compared.
        expect(await ids(0.6)).toEqual(['same', 'near']);
        expect(await ids(0.601)).toEqual(['same']);
        expect(await ids(1)).toEqual(['same']);
        expect(await storage.vectorSearch([0, -1], { minSimilarity: 0.5, k: 1 })).toEqual([]);
      });

      test('within a neighbourhood: itself and what is so many hops away, either way', async () => {
        const storage = await store();
        await storage.learnBatch({
          concepts: ['a', 'b', 'c', 'd', 'far'].map((id, i) => ({
            id,
            content: '',
            // Whoever is further in the graph is nearer in space.
            embedding: [i, 1],
          })),
          associations: [
            { source: 'b', target: 'a', type: 7 },
            { source: 'b', target: 'c', confidence: 0 },
            { source: 'd', target: 'c' },
            { source: 'b', target: 'b' },
          ],
        });
        await learn(storage, 'plain');
        await link(storage, 'a', 'plain');
        const ids = async (id: string, hops?: number, k?: number): Promise<string[]> => {
          const within = hops === undefined ? { id } : { id, hops };
          const matches = await storage.vectorSearch([1, 0], { within, ...(k && { k }) });
          return matches.map((match) => match.id);
        };
        expect(await ids('a')).toEqual(['b', 'a']);
        expect(await ids('a', 0)).toEqual(['b', 'a']);
        expect(await ids('a', 2)).toEqual(['c', 'b', 'a']);
        expect(await ids('a', 64)).toEqual(['d', 'c', 'b', 'a']);
        expect(await ids('a', 64, 2)).toEqual(['d', 'c']);
        expect(await ids('far', 64)).toEqual(['far']);
        expect(await ids('plain')).toEqual(['a']);
        await storage.forgetAssociation('b', 'c');
        expect(await ids('a', 64)).toEqual(['b', 'a']);
        const both = { within: { id: 'a' }, minSimilarity: 0.5 };
        expect((await storage.vectorSearch([1, 0], both)).map(({ id }) => id)).toEqual(['b']);
      });

      test('within what is not known is an error that names it', async () => {
        const storage = await store();
        const none = { within: { id: 'nobody' } };
        for (const embedding of [undefined, [1, 0]]) {
          await storage.learnConcept({ id: 'a', content: '', ...(embedding && { embedding }) });
          const error = await expectError(storage.vectorSearch([1, 0], none), 'UNKNOWN_CONCEPT');
          expect(error.status).toBe('NOT_FOUND');
          expect(error.message).toContain('nobody');
        }
        await storage.learnConcept({ id: 'nobody', content: '' });
        expect(await storage.vectorSearch([1, 0], none)).toEqual([]);
        await storage.forgetConcept('nobody');
        await expectError(storage.vectorSearch([1, 0], none), 'UNKNOWN_CONCEPT');
      });

      test('content comes with the matches when asked for, the empty one too', async () => {
        const storage = await store();
        await storage.learnConcept({ id: 'a', content: 'α and ω', embedding: [1, 0] });
        await storage.learnConcept({ id: 'b', content: '', embedding: [1, 1] });
        const matches = await storage.vectorSearch([1, 0], { withContent: true });
        expect(matches).toMatchObject([
          { id: 'a', content: 'α and ω' },
          { id: 'b', content: '' },
        ]);
        for (const match of await storage.vectorSearch([1, 0])) {
          expect(Object.keys(match).sort()).toEqual(['id', 'similarity']);
        }
      });

      test('the first vector’s length is the dimension; another is refused', async () => {
        const storage = await store();
        expect(await storage.vectorSearch([1, 2, 3])).toEqual([]);
        expect((await storage.stats()).dimension).toBe(0);
        await storage.learnConcept({ id: 'a', content: '', embedding: [1, 2] });
        expect(await storage.stats()).toMatchObject({ dimension: 2, vectors: 1 });
        expect((await storage.queryConcept('a')).dimension).toBe(2);
        const learned = storage.learnConcept({ id: 'b', content: '', embedding: [1, 2, 3] });
        const error = await expectError(learned, 'DIMENSION_MISMATCH');
        expect(error.status).toBe('INVALID_ARGUMENT');
        expect(error.violations.map(({ field }) => field)).toEqual(['embedding']);
        expect(error.message).toMatch(/3.*2/);
        const searched = await expectError(storage.vectorSearch([1]), 'DIMENSION_MISMATCH');
        expect(searched.violations.map(({ field }) => field)).toEqual(['query_vector']);
        expect(await storage.contains('b')).toBe(false);
      });

      test('extreme values of float32 are kept and compared', async () => {
        const storage = await store();
        const huge = Float32Array.of(3e38, 3e38);
        const tiny = Float32Array.of(1e-45, 0);
        await storage.learnConcept({ id: 'huge', content: '', embedding: huge });
        await storage.learnConcept({ id: 'tiny', content: '', embedding: tiny });
        expect((await storage.queryConcept('huge', { withEmbedding: true })).embedding).toEqual(
          huge,
        );
        const matches = await storage.vectorSearch(tiny);
        expect(matches.map(({ id }) => id)).toEqual(['tiny', 'huge']);
        expect(matches[0]?.similarity).toBeCloseTo(1, 5);
        expect(matches[1]?.similarity).toBeCloseTo(Math.SQRT1_2, 5);
      });

      test('4,096 dimensions are the most', async () => {
        const storage = await store();
        const embedding = Float32Array.from({ length: 4096 }, (_, i) => Math.fround(i / 7) - 99);
        await storage.learnConcept({ id: 'wide', content: '', embedding });
        const answer = await storage.queryConcept('wide', { withEmbedding: true });
        expect(answer.embedding).toEqual(embedding);
      });
    });

    describe('forgetting', () => {
      test('a concept takes its associations with it and leaves nothing behind', async () => {
        const storage = await store();
        await storage.learnConcept({ id: 'a', content: 'old', embedding: [1, 0] });
        await learn(storage, 'b', 'c');
        await link(storage, 'a', 'b');
        await link(storage, 'c', 'a', { type: 2 });
        await link(storage, 'b', 'c');
        await link(storage, 'a', 'a');
        const receipt = await storage.forgetConcept('a');
        expect(receipt).toMatchObject({ found: true, associations: 3 });
        expect((await storage.queryConcept('a')).found).toBe(false);
        expect(await storage.stats()).toMatchObject({ concepts: 2, edges: 1, vectors: 0 });
        expect((await storage.getNeighbors('c')).neighbors.map(({ id }) => id)).toEqual(['b']);
        expect((await storage.findPath('a', 'b')).found).toBe(false);
        expect(await storage.vectorSearch([1, 0])).toEqual([]);
        await expectError(link(storage, 'a', 'b'), 'UNKNOWN_CONCEPT');
        await storage.learnConcept({ id: 'a', content: 'new' });
        expect((await storage.getNeighbors('a')).neighbors).toEqual([]);
        expect(await storage.queryConcept('a')).toMatchObject({ content: 'new', dimension: 0 });
      });

      test('an association goes by type, or all from source to target', async () => {
        const storage = await store();
        await learn(storage, 'a', 'b');
        for (const type of [0, 1, 2]) await link(storage, 'a', 'b', { type });
        await link(storage, 'b', 'a');
        expect(await storage.forgetAssociation('a', 'b', 0)).toMatchObject({
          found: true,
          associations: 1,
        });
        expect((await storage.stats()).edges).toBe(3);
        expect((await storage.forgetAssociation('a', 'b', 0)).found).toBe(false);
        expect(await storage.forgetAssociation('a', 'b')).toMatchObject({
          found: true,
          associations: 2,
        });
        expect((await storage.getNeighbors('a')).neighbors).toEqual([
          { id: 'b', type: 0, confidence: 1, direction: 'in' },
        ]);
        const nothing = { found: false, sequence: 0, associations: 0 };
        expect(await storage.forgetAssociation('a', 'nobody')).toEqual(nothing);
        expect(await storage.forgetConcept('nobody')).toEqual(nothing);
      });
    });

    describe('the store', () => {
      test('flush brings storage.dat up to the last write, and again is a no-op', async () => {
        const storage = await store();
        await learn(storage, 'a', 'b');
        await storage.flush();
        const flushed = await storage.stats();
        expect(flushed).toMatchObject({ sequence: 2, snapshotSequence: 2 });
        await Promise.all([storage.flush(), storage.flush()]);
        expect((await storage.stats()).checkpoints).toBe(flushed.checkpoints);
        await learn(storage, 'c');
        await storage.flush();
        expect((await storage.stats()).snapshotSequence).toBe(3);
        expect((await storage.queryConcept('a')).found).toBe(true);
      });

      test('answers the same before and after a flush', async () => {
        const storage = await store();
        await storage.learnConcept({ id: 'a', content: 'text', strength: 0, embedding: [1, 2] });
        await learn(storage, 'b', 'c');
        await link(storage, 'a', 'b', { confidence: 0.5 });
        await link(storage, 'b', 'c', { type: 7 });
        await storage.forgetConcept('c');
        const look = async (): Promise<unknown> => [
          await storage.queryConcept('a', { withEmbedding: true }),
          await storage.queryConcept('c'),
          await storage.getNeighbors('b'),
          await storage.findPath('a', 'b'),
          await storage.vectorSearch([1, 2]),
        ];
        const before = await look();
        await storage.flush();
        expect(await look()).toEqual(before);
        await learn(storage, 'c');
        expect((await storage.getNeighbors('c')).neighbors).toEqual([]);
      });

      test('says that it is well', async () => {
        const storage = await store();
        const { healthy, status, uptimeSeconds } = await storage.healthCheck();
        expect({ healthy, status }).toEqual({ healthy: true, status: 'ok' });
        expect(Number.isInteger(uptimeSeconds)).toBe(true);
      });

      test('an aborted signal is CANCELLED, a timed-out one DEADLINE_EXCEEDED', async () => {
        const storage = await store();
        await learn(storage, 'a');
        const aborted = { signal: AbortSignal.abort() };
        await expectError(storage.findPath('a', 'a', aborted), 'CANCELLED');
        await expectError(storage.getNeighbors('a', aborted), 'CANCELLED');
        await expectError(storage.learnConcept({ id: 'b', content: '' }, aborted), 'CANCELLED');
        const timedOut = { signal: AbortSignal.abort(new DOMException('late', 'TimeoutError')) };
        await expectError(storage.findPath('a', 'a', timedOut), 'DEADLINE_EXCEEDED');
        expect(await storage.contains('b')).toBe(false);
        await expectInvalid(storage.stats({ timeoutMs: 0 }), 'timeout_ms');
        await expectInvalid(storage.stats({ timeoutMs: NaN }), 'timeout_ms');
        expect((await storage.stats({ timeoutMs: 60_000 })).concepts).toBe(1);
      });

      test('after close every call is CLOSED, and closing again is fine', async () => {
        const storage = await store();
        await storage.close();
        await storage.close();
        await expectError(storage.stats(), 'CLOSED');
        await expectError(storage.queryConcept('a'), 'CLOSED');
        await expectError(storage.learnConcept({ id: 'a', content: '' }), 'CLOSED');
        await expectError(storage.flush(), 'CLOSED');
      });
    });

    test('answers as the model does, whatever is done to it', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(operation, { minLength: 1, maxLength: 60 }),
          async (operations) => {
            const { storage, close } = await open();
            const model = new ModelStorage();
            try {
              for (const run of operations) {
                expect(await outcome(run, storage)).toEqual(await outcome(run, model));
              }
              await compareAll(storage, model);
              await storage.flush();
              await compareAll(storage, model);
            } finally {
              await close();
            }
          },
        ),
        { numRuns: 12 },
      );
    });
  });
}

export async function expectError(call: Promise<unknown>, code: ErrorCode): Promise<SutraError> {
  let caught: unknown = null;
  try {
    await call;
  } catch (error) {
    caught = error;
  }
  expect(caught, `expected ${code}`).toBeInstanceOf(SutraError);
  if (!(caught instanceof SutraError)) throw new Error('unreachable');
  expect({ code: caught.code, message: caught.message }).toMatchObject({ code });
  return caught;
}

/** INVALID_ARGUMENT that names exactly these fields, in the message as well. */
async function expectInvalid(call: Promise<unknown>, ...fields: string[]): Promise<void> {
  const error = await expectError(call, 'INVALID_ARGUMENT');
  expect(error.violations.map(({ field }) => field)).toEqual(fields);
  for (const { field, description } of error.violations) {
    expect(error.message).toContain(field);
    expect(description).toMatch(/expected/);
  }
}

/** Names, their keys and other keys, so that operations meet. */
export const IDS = [
  'a',
  'b',
  'c',
  'd',
  md5('a'),
  md5('b').toUpperCase(),
  '00000000000000aa',
  ...COLLIDING,
];
const anId = fc.constantFrom(...IDS);
const aConfidence = fc.constantFrom(0, 0.25, 0.5, 0.5, 1);
const aType = fc.constantFrom(0, 1, 9);
const aConcept: fc.Arbitrary<ConceptInput> = fc.record(
  {
    id: anId,
    content: fc.string({ unit: 'grapheme', maxLength: 8 }),
    strength: fc.constantFrom(0, 0.1, 7),
    confidence: aConfidence,
    embedding: fc.array(fc.constantFrom(-1, 0.5, 2), { minLength: 3, maxLength: 3 }),
  },
  { requiredKeys: ['id', 'content'] },
);
const anAssociation: fc.Arbitrary<AssociationInput> = fc.record(
  { source: anId, target: anId, type: aType, confidence: aConfidence },
  { requiredKeys: ['source', 'target'] },
);

export type Operation = (storage: Storage) => Promise<unknown>;

export const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: aConcept.map((c) => named(`learn ${JSON.stringify(c)}`, (s) => s.learnConcept(c))),
  },
  {
    weight: 5,
    arbitrary: anAssociation.map((a) =>
      named(`link ${JSON.stringify(a)}`, (s) => s.learnAssociation(a)),
    ),
  },
  {
    weight: 2,
    arbitrary: fc
      .record({
        concepts: fc.array(aConcept, { maxLength: 4 }),
        associations: fc.array(anAssociation, { maxLength: 4 }),
      })
      .map((batch) => named(`batch ${JSON.stringify(batch)}`, (s) => s.learnBatch(batch))),
  },
  { weight: 1, arbitrary: anId.map((id) => named(`forget ${id}`, (s) => s.forgetConcept(id))) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(anId, anId, fc.option(aType, { nil: undefined }))
      .map(([source, target, type]) =>
        named(`forget ${source} ${target} ${type ?? ''}`, (s) =>
          s.forgetAssociation(source, target, type),
        ),
      ),
  },
  { weight: 1, arbitrary: fc.constant(named('flush', (s) => s.flush())) },
);

/** Gives an operation the text that fast-check prints for it. */
function named(text: string, run: Operation): Operation {
  return Object.assign(run, { [fc.toStringMethod]: () => text });
}

/** What came of it: an answer, or an error's code and fields. */
export async function outcome(run: Operation, storage: Storage): Promise<unknown> {
  try {
    return { answer: await run(storage) };
  } catch (error) {
    if (!(error instanceof SutraError)) throw error;
    return { code: error.code, fields: error.violations.map(({ field }) => field) };
  }
}

export async function compareAll(storage: Storage, model: Storage): Promise<void> {
  const counts = async (s: Storage): Promise<unknown> => {
    const { concepts, edges, sequence, vectors } = await s.stats();
    return { concepts, edges, sequence, vectors };
  };
  expect(await counts(storage)).toEqual(await counts(model));
  // Over all pairs the ways to ask for a path take turns; every one comes to many pairs.
  let turn = 0;
  for (const id of IDS) {
    const timeless = { createdUs: 0, updatedUs: 0 };
    const got = await storage.queryConcept(id, { withEmbedding: true });
    const expected = await model.queryConcept(id, { withEmbedding: true });
    expect({ ...got, ...timeless }).toEqual({ ...expected, ...timeless });
    for (const options of [
      {},
      { direction: 'out' as const },
      { direction: 'in' as const, types: [0, 9] },
      { limit: 2 },
      { parallel: true },
    ]) {
      expect(await storage.getNeighbors(id, options)).toEqual(
        await model.getNeighbors(id, options),
      );
    }
    for (const end of IDS) await comparePaths(storage, model, id, end, turn++);
  }
  if ((await model.stats()).dimension !== 3) return;
  const got = await storage.vectorSearch([1, 0.5, -1], { k: 100 });
  const expected = await model.vectorSearch([1, 0.5, -1], { k: 100 });
  expect(got).toHaveLength(expected.length);
  const similarityOf = new Map(expected.map(({ id, similarity }) => [id, similarity]));
  got.forEach(({ id, similarity }, i) => {
    // Ranks may differ among equals by the last bit; similarities may not.
    expect(similarity).toBeCloseTo(expected[i]?.similarity ?? NaN, 5);
    expect(similarity).toBeCloseTo(similarityOf.get(id) ?? NaN, 5);
  });
  // Two of them, others in another state: each search is a round trip where a server stands between.
  const { sequence } = await model.stats();
  for (const offset of [0, 1]) {
    const id = IDS[(sequence + offset) % IDS.length] ?? '';
    const options = { k: 100, minSimilarity: 0.1, within: { id, hops: 1 + (sequence % 3) } };
    const near = await outcome((s) => s.vectorSearch([1, 0.5, -1], options), storage);
    const expectedNear = await outcome((s) => s.vectorSearch([1, 0.5, -1], options), model);
    expect(idsOf(near)).toEqual(idsOf(expectedNear));
  }
}

/** The ids of a search's answer in no order; anything else as it is. */
function idsOf(outcome: unknown): unknown {
  const { answer } = outcome as { answer?: { readonly id: string }[] };
  return answer === undefined ? outcome : answer.map(({ id }) => id).sort();
}

const PATH_OPTIONS: readonly PathOptions[] = [
  {},
  { maxDepth: 1 },
  { direction: 'out', types: [0, 1] },
  { by: 'confidence' },
  { by: 'confidence', direction: 'in', maxDepth: 2 },
];

/** There may be several best paths: compares what they must have in common, and walks the one that came. */
async function comparePaths(
  storage: Storage,
  model: Storage,
  start: string,
  end: string,
  turn: number,
): Promise<void> {
  const options = PATH_OPTIONS[turn % PATH_OPTIONS.length] ?? {};
  const got = await storage.findPath(start, end, options);
  const expected = await model.findPath(start, end, options);
  expect(got.found).toBe(expected.found);
  expect(got.path).toHaveLength(expected.path.length);
  expect(got.path[0]).toBe(expected.path[0]);
  expect(got.path.at(-1)).toBe(expected.path.at(-1));
  expect(got.steps).toHaveLength(Math.max(0, got.path.length - 1));
  let product = got.found ? 1 : 0;
  for (const [i, step] of got.steps.entries()) {
    expect([step.from, step.to]).toEqual([got.path[i], got.path[i + 1]]);
    const { direction, type } = step;
    const along = await model.getNeighbors(step.from, { direction, types: [type] });
    const there = along.neighbors.find(({ id }) => id === step.to);
    expect(there).toMatchObject({ type, confidence: step.confidence });
    product *= step.confidence;
  }
  expect(got.confidence).toBeCloseTo(product, 12);
  if (options.by === 'confidence') expect(got.confidence).toBeCloseTo(expected.confidence, 12);
}
