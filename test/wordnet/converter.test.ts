import { beforeAll, describe, expect, test } from 'vitest';
import {
  RELATIONS,
  wordnetRecords,
  type AssociationRecord,
  type ConceptRecord,
} from '../../demo/wordnet.js';
import { readRawWordnet, undirectedPairs, type RawWordnet } from './raw-wordnet.js';

let raw: RawWordnet;
const concepts: ConceptRecord[] = [];
const associations: AssociationRecord[] = [];
let lateConcepts = 0;

beforeAll(async () => {
  raw = readRawWordnet();
  for await (const record of wordnetRecords()) {
    if (record.kind === 'association') associations.push(record);
    else concepts.push(record);
    if (record.kind === 'concept' && associations.length > 0) lateConcepts++;
  }
});

describe('concepts', () => {
  test('as many as WordNet 3.1 has synsets', () => {
    expect(raw.synsetsPerFile).toEqual({ noun: 82_192, verb: 13_789, adj: 18_185, adv: 3_625 });
    expect(concepts).toHaveLength(117_791);
  });

  test('all come before the first association', () => {
    expect(lateConcepts).toBe(0);
  });

  test('ids are word, part of speech and sense number, as index.sense has them, each once', () => {
    expect(concepts.map(({ id }) => id)).toEqual(raw.ids);
    expect(new Set(raw.ids).size).toBe(raw.ids.length);
  });

  test('content is the words and the gloss', () => {
    const contentOf = new Map(concepts.map(({ id, content }) => [id, content]));
    expect(contentOf.get('dog.n.01')).toMatch(
      /^dog, domestic dog, Canis familiaris: a member of the genus Canis .*"the dog barked all night"$/,
    );
    // A marker of position is no part of the word.
    expect(contentOf.get('handy.s.01')).toMatch(/^handy, ready to hand: /);
    expect(concepts.filter(({ content }) => !/^[^_]+?: \S.*\S$/.test(content))).toEqual([]);
  });
});

describe('associations', () => {
  test('as many of each type as docs/WORDNET.md says', () => {
    const counts: Record<string, number> = {};
    for (const { type } of associations) counts[type] = (counts[type] ?? 0) + 1;
    expect(counts).toEqual({
      hierarchical: 97_761,
      semantic: 65_843,
      compositional: 22_196,
      causal: 629,
    });
  });

  test('each once, between two different concepts', () => {
    const known = new Set(raw.ids);
    const keys = new Set<string>();
    for (const { source, target, type } of associations) keys.add(`${source} ${target} ${type}`);
    const bad = associations.filter(
      ({ source, target }) => !known.has(source) || !known.has(target) || source === target,
    );
    expect(bad).toEqual([]);
    expect(keys.size).toBe(associations.length);
  });

  test('relate exactly the synsets that pointers relate', () => {
    const numbers = new Map(raw.ids.map((id, number) => [id, number]));
    const converted = associations.map(({ source, target }) => ({
      symbol: '',
      from: numbers.get(source) ?? -1,
      to: numbers.get(target) ?? -1,
    }));
    expect(undirectedPairs(converted)).toEqual(undirectedPairs(raw.pointers));
  });

  test('every pointer that is left out as a mirror has its counterpart', () => {
    const key = (symbol: string, from: number, to: number): string => `${symbol} ${from} ${to}`;
    const all = new Set(raw.pointers.map(({ symbol, from, to }) => key(symbol, from, to)));
    const mirrors = raw.pointers.filter(
      ({ symbol }) => RELATIONS.get(symbol)?.storing === 'mirror',
    );
    const opposite = (symbol: string): string =>
      symbol.replace('~', '@').replace('#', '%').replace('-', ';');
    const alone = mirrors.filter(
      ({ symbol, from, to }) => !all.has(key(opposite(symbol), to, from)),
    );
    expect(mirrors.length).toBeGreaterThan(100_000);
    expect(alone).toEqual([]);
  });

  test('directions and types of well-known examples', () => {
    const find = (source: string, target: string): readonly string[] =>
      associations
        .filter((each) => each.source === source && each.target === target)
        .map(({ type, confidence }) => `${type} ${confidence}`);
    expect(find('dog.n.01', 'canine.n.02')).toEqual(['hierarchical 0.9']);
    expect(find('canine.n.02', 'dog.n.01')).toEqual([]);
    expect(find('einstein.n.01', 'physicist.n.01')).toEqual(['hierarchical 0.9']);
    expect(find('car.n.01', 'accelerator.n.01')).toEqual(['compositional 0.85']);
    expect(find('pack.n.06', 'dog.n.01')).toEqual(['compositional 0.85']);
    expect(find('bread.n.01', 'flour.n.01')).toEqual(['compositional 0.85']);
    expect(find('teach.v.01', 'learn.v.01')).toEqual(['causal 0.9']);
    expect(find('snore.v.01', 'sleep.v.01')).toEqual(['causal 0.9']);
    expect(find('good.a.01', 'superb.s.02')).toEqual(['semantic 0.8']);
    expect(find('car.n.01', 'motorist.n.01')).toEqual(['semantic 0.8']);
    expect(find('dental.a.01', 'tooth.n.01')).toEqual(['semantic 0.8']);
    expect(find('weight.n.01', 'heavy.a.01')).toEqual(['semantic 0.7']);
    expect(find('hot.a.01', 'warm.a.01')).toEqual(['semantic 0.6']);
    expect(find('hot.a.01', 'cold.a.01')).toEqual(['semantic 0.5']);
    expect(find('serve.n.01', 'tennis.n.01')).toEqual(['semantic 0.4']);
  });
});
