import { matchesDocument } from '../cli/documents.js';
import { readEmbedding } from '../cli/embedding-file.js';
import { embeddingFlag, integer, negatableFlag, parseNumber, setting } from '../cli/flags.js';
import { matchesText } from '../cli/render.js';
import { StoreCommand } from '../cli/store-command.js';
import { SutraError } from '../errors.js';
import { refuse } from '../storage/settings.js';
import type { SearchOptions, Storage, VectorMatch } from '../storage/storage.js';
import {
  DEFAULT_EF_SEARCH,
  DEFAULT_HOPS,
  DEFAULT_K,
  MAX_DEPTH,
  MAX_K,
  checkQuery,
  checkSearch,
} from '../storage/validation.js';

export default class Search extends StoreCommand {
  static override summary = 'Find the concepts whose embeddings are most similar.';

  static override description =
    'By cosine similarity, best first. An embedding is a JSON array of numbers, a .npy file of one vector (f2, f4 or f8), or ' +
    'raw little-endian float32; which of them shows in its bytes.';

  static override examples = [
    'Nearest to a concept that has an embedding (which is left out itself):\n<%= config.bin %> search --like rain -k 5',
    '<%= config.bin %> search --embedding query.npy --min-similarity 0.8',
    'Only among what is at most two associations away from weather:\n' +
      '<%= config.bin %> search --like rain --within weather --hops 2',
    'echo "[0.1, 0.7, -0.2]" | <%= config.bin %> search --embedding - --json',
  ];

  static override flags = {
    embedding: embeddingFlag(
      'Search near this: a file with a JSON array, .npy or raw float32, or - for standard input.',
    ),
    like: conceptFlag('like', 'Search near the embedding of this concept.'),
    k: setting('k', integer(0, MAX_K), {
      char: 'k',
      summary: `Find so many, at most ${MAX_K}.`,
      helpValue: 'N',
      defaultHelp: String(DEFAULT_K),
    }),
    ef: setting('ef', integer(0, 0xffff_ffff), {
      summary: 'Search an approximate index so widely.',
      helpValue: 'N',
      defaultHelp: String(DEFAULT_EF_SEARCH),
    }),
    'min-similarity': setting('min-similarity', parseSimilarity, {
      summary: 'Find only what is at least so similar, from -1 to 1.',
      helpValue: 'NUMBER',
    }),
    within: conceptFlag('within', 'Search only this concept and what is near it in the graph.'),
    hops: setting('hops', integer(1, MAX_DEPTH), {
      summary: 'How many associations away from --within, either way.',
      helpValue: 'N',
      defaultHelp: String(DEFAULT_HOPS),
    }),
    content: negatableFlag(
      'content',
      'Answer with the content of each concept; --no-content leaves it out.',
    ),
  };

  async run() {
    const { flags, raw } = await this.parse(Search);
    const { embedding, like, within, content } = flags;
    if ((embedding === undefined) === (like === undefined)) {
      throw new SutraError('INVALID_ARGUMENT', 'give one of --embedding FILE and --like ID');
    }
    // SUTRA_HOPS is for the searches that it concerns; typed without --within it is a mistake.
    const typed = raw.some((token) => token.type === 'flag' && token.flag === 'hops');
    if (typed && within === undefined) {
      throw new SutraError('INVALID_ARGUMENT', '--hops: needs --within ID');
    }
    const given = embedding === undefined ? undefined : await readEmbedding(embedding);
    const minSimilarity = flags['min-similarity'];
    const options: SearchOptions = {
      k: flags.k === undefined || flags.k === 0 ? DEFAULT_K : flags.k,
      efSearch: flags.ef ?? 0,
      withContent: content,
      ...(minSimilarity === undefined ? {} : { minSimilarity }),
      ...(within === undefined ? {} : { within: { id: within, hops: flags.hops ?? DEFAULT_HOPS } }),
    };
    // Before a store is opened; a stand-in for the vector that --like will bring.
    checkSearch(given ?? [1], options);
    if (like !== undefined) checkQuery(like);
    const matches = await this.withStorage(flags, { access: 'read' }, (storage, call) =>
      like === undefined
        ? storage.vectorSearch(given ?? [], { ...options, ...call })
        : matchesLike(storage, like, { ...options, ...call }),
    );
    const document = matchesDocument(matches);
    const text = flags.json ? '' : await matchesText(this.screen, matches);
    this.answer(flags.json, document, () => text);
    return document;
  }
}

function conceptFlag(name: string, summary: string) {
  return setting(name, (id) => id, { summary, helpValue: 'ID', env: false });
}

function parseSimilarity(value: string, source: string): number {
  const similarity = parseNumber(value, source);
  if (Math.abs(similarity) > 1) throw refuse(source, value, 'a number from -1 to 1');
  return similarity;
}

/** The concept itself is its own nearest match: one more is asked for, and it is left out. */
async function matchesLike(
  storage: Storage,
  id: string,
  options: SearchOptions,
): Promise<VectorMatch[]> {
  const { k = DEFAULT_K } = options;
  const concept = await storage.queryConcept(id, { ...options, withEmbedding: true });
  if (!concept.found) {
    throw new SutraError('UNKNOWN_CONCEPT', `--like: ${JSON.stringify(id)} is not known`);
  }
  if (concept.embedding === undefined) {
    throw new SutraError('INVALID_ARGUMENT', `--like: ${JSON.stringify(id)} has no embedding`, {
      hint: 'Learn it again with --embedding, or search with --embedding FILE.',
    });
  }
  const matches = await storage.vectorSearch(concept.embedding, {
    ...options,
    k: Math.min(k + 1, MAX_K),
  });
  return matches.filter((match) => match.id !== concept.id).slice(0, k);
}
