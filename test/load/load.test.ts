/** The parts of `sutra bench`: the mix, the graph whose answers are known, limits, the two paces, and what counts as an error. */

import { describe, expect, test } from 'vitest';
import { SutraError } from '#sutra/errors';
import { LoadGraph, maxAssociations } from '#sutra/load/graph';
import { judge, parseLimit } from '#sutra/load/limits';
import { CallMeter } from '#sutra/load/meter';
import { chooseCall, LOAD_CALLS, parseMix } from '#sutra/load/mix';
import { closedLoop, openLoop } from '#sutra/load/pace';
import { runLoad, type LoadPlan, type LoadReport } from '#sutra/load/run';
import type { Storage } from '#sutra/storage/storage';
import { ModelStorage } from '../support/model-storage.js';
import { stubStorage } from '../support/stub-storage.js';

const GO_ON = { stopped: () => false };

describe('the mix', () => {
  test('calls come up as often as it says', () => {
    const mix = parseMix('learn=20, query=70,link=0,path=10', '--mix');
    expect([...mix]).toEqual([
      ['learn', 20],
      ['query', 70],
      ['path', 10],
    ]);
    const chosen = Array.from({ length: 100 }, (_, i) => chooseCall(mix, i / 100));
    const times = (call: string): number => chosen.filter((one) => one === call).length;
    expect([times('learn'), times('query'), times('path'), times('link')]).toEqual([20, 70, 10, 0]);
  });

  test.each([
    '',
    'query',
    'query=50',
    'query=60,learn=50',
    'query=50,query=50',
    'scan=100',
    'query=1e2',
  ])('%j is refused', (text) => {
    expect(() => parseMix(text, '--mix')).toThrow(/^--mix: got /);
  });
});

describe('the graph', () => {
  test.each([
    [3, 3],
    [4, 4],
    [7, 21],
    [50, 120],
    [100, 4_900],
  ])(
    '%i concepts, %i associations: distinct pairs, and neighbours as they are learned',
    (concepts, associations) => {
      expect(associations).toBeLessThanOrEqual(maxAssociations(concepts));
      const graph = new LoadGraph('p-', { concepts, associations, contentBytes: 10, dimension: 0 });
      const learned = Array.from({ length: concepts }, () => new Set<string>());
      for (let i = 0; i < associations; i++) {
        const { source, target } = graph.association(i);
        const [from, to] = [graph.indexOf(source) ?? -1, graph.indexOf(target) ?? -1];
        expect(from).not.toBe(to);
        expect(learned[from]?.has(target)).toBe(false);
        learned[from]?.add(target);
        learned[to]?.add(source);
      }
      for (let i = 0; i < concepts; i++) {
        const neighbors = graph.neighbors(i).map(({ index }) => graph.id(index));
        expect(new Set(neighbors)).toEqual(learned[i]);
        expect(neighbors).toHaveLength(learned[i]?.size ?? -1);
      }
    },
  );
});

describe('limits', () => {
  function meterOf(latenciesUs: readonly number[], thresholdsUs: readonly number[]): CallMeter {
    const meter = new CallMeter(thresholdsUs);
    for (const us of latenciesUs) meter.record(us);
    return meter;
  }
  const verdict = (text: string, meter: CallMeter): boolean =>
    judge(parseLimit(text, '--limit'), new Map([['query', meter]]), 1e6).pass;

  test('are counted exactly, not read off the histogram', () => {
    // 4,900 and 5,000 are in one bucket.
    const times = [...Array.from({ length: 99 }, () => 4_900), 5_000];
    expect(verdict('query.p99=4.9ms', meterOf(times, [4_900]))).toBe(true);
    expect(verdict('query.max=4.9ms', meterOf(times, [4_900]))).toBe(false);
    expect(verdict('query.max=5ms', meterOf(times, [5_000]))).toBe(true);
    expect(verdict('p99=4.9ms', meterOf([...times, 5_000], [4_900]))).toBe(false);
  });

  test('a failed call is slower than any, and nothing measured is nothing held', () => {
    const meter = meterOf(
      Array.from({ length: 90 }, () => 10),
      [1_000],
    );
    expect(verdict('p90=1ms', meter)).toBe(true);
    meter.fail('UNREACHABLE', 11);
    expect(verdict('p90=1ms', meter)).toBe(false);
    expect(verdict('query.errors=11', meter)).toBe(true);
    expect(verdict('errors=10', meter)).toBe(false);
    expect(verdict('rate=90', meter)).toBe(true);
    expect(verdict('rate=92', meter)).toBe(false);
    expect(verdict('p50=1ms', meterOf([], [1_000]))).toBe(false);
  });

  test.each([
    '',
    'p99',
    'p98=1ms',
    'p99=5',
    'p99=0ms',
    'p99=1h',
    'errors=1.5',
    'errors=-1',
    'scan.p99=1ms',
    'query.rate=x',
  ])('%j is refused', (text) => {
    expect(() => parseLimit(text, '--limit')).toThrow(/^--limit: got /);
  });
});

describe('paces', () => {
  test('closed: so many under way at once, until the time is over', async () => {
    let underWay = 0;
    let most = 0;
    let made = 0;
    await closedLoop(3, { durationMs: 30, ...GO_ON }, async (dueMs) => {
      expect(dueMs).toBeNull();
      most = Math.max(most, ++underWay);
      await new Promise((resolve) => setTimeout(resolve, 2));
      underWay--;
      made++;
    });
    expect(most).toBe(3);
    expect(underWay).toBe(0);
    expect(made).toBeGreaterThanOrEqual(3);
  });

  test('closed: answers that come at once leave room for timers', async () => {
    let stopped = false;
    setTimeout(() => (stopped = true), 20);
    await closedLoop(2, { durationMs: 60_000, stopped: () => stopped }, () => Promise.resolve());
    expect(stopped).toBe(true);
  });

  test('open: due times go on while nobody answers, so that a stall is charged to every call', async () => {
    const due: number[] = [];
    let release: () => void = () => undefined;
    const stall = new Promise<void>((resolve) => (release = resolve));
    setTimeout(release, 120);
    const paced = await openLoop(1_000, { durationMs: 100, ...GO_ON }, async (dueMs) => {
      due.push(dueMs ?? Number.NaN);
      await stall;
    });
    expect(due).toHaveLength(100);
    expect(paced.unsent).toBe(0);
    const gaps = due.slice(1).map((at, i) => at - (due[i] ?? 0));
    for (const gap of gaps) expect(gap).toBeCloseTo(1, 6);
    expect(paced.elapsedMs).toBeGreaterThanOrEqual(100);
  });

  test('open: what never began is counted', async () => {
    let releaseAll: () => void = () => undefined;
    const never = new Promise<void>((resolve) => (releaseAll = resolve));
    // More than may be under way at once; they end only after the loop gave up waiting for a place.
    setTimeout(releaseAll, 1_300);
    const paced = await openLoop(200_000, { durationMs: 100, ...GO_ON }, () => never);
    expect(paced.unsent).toBeGreaterThanOrEqual(10_000);
  });
});

describe('a run', () => {
  const plan: LoadPlan = {
    mix: parseMix('query=100', '--mix'),
    pace: { concurrency: 4 },
    durationMs: 60,
    warmUpMs: 20,
    size: { concepts: 40, associations: 100, contentBytes: 50, dimension: 8 },
    maxNew: 30,
    limits: [],
  };
  const run = (storage: Storage, changed: Partial<LoadPlan> = {}): Promise<LoadReport> =>
    runLoad(
      storage,
      { ...plan, ...changed },
      {},
      {
        signal: new AbortController().signal,
        progress: () => undefined,
        begin: () => undefined,
      },
    );
  const errorsOf = ({ meters }: LoadReport): Record<string, number> => {
    const all: Record<string, number> = {};
    for (const { errors } of meters.values()) {
      for (const [code, count] of errors) all[code] = (all[code] ?? 0) + count;
    }
    return all;
  };

  test.each(LOAD_CALLS)('%s against the model: no error, and nothing stays', async (call) => {
    const storage = new ModelStorage();
    await storage.learnConcept({ id: 'mine', content: 'stays' });
    const report = await run(storage, { mix: parseMix(`${call}=100`, '--mix') });
    expect(errorsOf(report)).toEqual({});
    expect(report.meters.get(call)?.answered).toBeGreaterThan(0);
    expect(report.cleanUp).toMatchObject({ left: 0, failure: null });
    expect(await storage.stats()).toMatchObject({ concepts: 1, edges: 0 });
  });

  test.each<[string, string, (model: ModelStorage) => Partial<Storage>]>([
    [
      'another content',
      'query=100',
      (model) => ({
        queryConcept: async (id) => ({ ...(await model.queryConcept(id)), content: 'no' }),
      }),
    ],
    [
      'a neighbour too few',
      'neighbors=100',
      (model) => ({
        getNeighbors: async (id) => {
          const answer = await model.getNeighbors(id);
          return { ...answer, neighbors: answer.neighbors.slice(1) };
        },
      }),
    ],
    [
      'a neighbour out of order',
      'neighbors=100',
      (model) => ({
        getNeighbors: async (id) => {
          const answer = await model.getNeighbors(id);
          return { ...answer, neighbors: answer.neighbors.toReversed() };
        },
      }),
    ],
    [
      'a path through what is not associated',
      'path=100',
      (model) => ({
        findPath: async (from, to) => {
          const answer = await model.findPath(from, to);
          return { ...answer, path: [from, 'elsewhere', to] };
        },
      }),
    ],
    [
      'another similarity',
      'search=100',
      (model) => ({
        vectorSearch: async (query, options) =>
          (await model.vectorSearch(query, options)).map((match) => ({
            ...match,
            similarity: match.similarity - 0.01,
          })),
      }),
    ],
    ['an acknowledged write that is lost', 'learn=100', () => ({ learnConcept: lostWrite() })],
    [
      'a write without a sequence',
      'learn=100',
      (model) => ({
        learnConcept: async (concept) => ({ ...(await model.learnConcept(concept)), sequence: 0 }),
      }),
    ],
  ])('%s is a wrong answer', async (_, mix, replaced) => {
    const model = new ModelStorage();
    const storage = Object.assign(stubStorage({}), boundTo(model), replaced(model));
    const report = await run(storage, { mix: parseMix(mix, '--mix'), warmUpMs: 0, durationMs: 40 });
    expect(errorsOf(report)).toEqual({ WRONG_ANSWER: expect.any(Number) as number });
    expect(report.examples[0]).toMatch(/^WRONG_ANSWER: /);
  });

  test('a store that answers nothing any more ends it early', async () => {
    const refuse = () => Promise.reject(new SutraError('OVERLOADED', 'busy'));
    const storage = stubStorage({ queryConcept: refuse });
    const report = await run(storage, { durationMs: 600_000, warmUpMs: 0 });
    expect(report.gaveUp).toBe('1000 calls in a row failed');
    expect(errorsOf(report)['OVERLOADED']).toBeGreaterThanOrEqual(1_000);
    expect(report.cleanUp.left).toBe(0);
    expect(await storage.stats()).toMatchObject({ concepts: 0 });
  });

  test('what cannot be forgotten is said', async () => {
    const storage = stubStorage({
      forgetConcept: () => Promise.reject(new SutraError('DISK_FAILED', 'the disk is gone')),
    });
    const report = await run(storage);
    expect(report.cleanUp).toMatchObject({ left: 40, failure: 'the disk is gone' });
  });

  function lostWrite(): Storage['learnConcept'] {
    let sequence = 1e9;
    return async () => ({ sequence: ++sequence });
  }

  /** The model's own methods, so that a stub may replace some. */
  function boundTo(model: ModelStorage): Partial<Storage> {
    return {
      learnConcept: (concept) => model.learnConcept(concept),
      ingest: (items, options) => model.ingest(items, options),
      queryConcept: (id, options) => model.queryConcept(id, options),
      getNeighbors: (id, options) => model.getNeighbors(id, options),
      findPath: (from, to, options) => model.findPath(from, to, options),
      vectorSearch: (query, options) => model.vectorSearch(query, options),
      forgetConcept: (id) => model.forgetConcept(id),
    };
  }
});
