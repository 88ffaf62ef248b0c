import { matchesDocument } from '../cli/documents.js';
import { embeddingFlag, integer, setting } from '../cli/flags.js';
import { readEmbedding } from '../cli/input.js';
import { matchesText } from '../cli/render.js';
import { StoreCommand } from '../cli/store-command.js';
import { SutraError } from '../errors.js';
import type { CallOptions, Storage, VectorMatch } from '../storage/storage.js';
import {
  DEFAULT_EF_SEARCH,
  DEFAULT_K,
  MAX_K,
  checkQuery,
  checkSearch,
} from '../storage/validation.js';

export default class Search extends StoreCommand {
  static override summary = 'Find the concepts whose embeddings are most similar.';

  static override description = 'By cosine similarity, best first.';

  static override examples = [
    'Nearest to a concept that has an embedding (which is left out itself):\n<%= config.bin %> search --like rain -k 5',
    '<%= config.bin %> search --embedding query.json',
    'echo "[0.1, 0.7, -0.2]" | <%= config.bin %> search --embedding - --json',
  ];

  static override flags = {
    embedding: embeddingFlag(
      'Search near this: a file with a JSON array of numbers, or - for standard input.',
    ),
    like: setting('like', (id) => id, {
      summary: 'Search near the embedding of this concept.',
      helpValue: 'ID',
      env: false,
    }),
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
  };

  async run() {
    const { flags } = await this.parse(Search);
    if ((flags.embedding === undefined) === (flags.like === undefined)) {
      throw new SutraError('INVALID_ARGUMENT', 'give one of --embedding FILE and --like ID');
    }
    const given = flags.embedding === undefined ? undefined : await readEmbedding(flags.embedding);
    if (given === undefined) checkQuery(flags.like ?? '');
    else checkSearch(given);
    const k = flags.k === undefined || flags.k === 0 ? DEFAULT_K : flags.k;
    const options = { efSearch: flags.ef ?? 0 };
    const found = await this.withStorage(flags, { access: 'read' }, async (storage, call) => {
      const matches =
        given === undefined
          ? await matchesLike(storage, flags.like ?? '', k, { ...options, ...call })
          : await storage.vectorSearch(given, { ...options, ...call, k });
      const concepts = await Promise.all(
        matches.map((match) => storage.queryConcept(match.id, call)),
      );
      return { matches, contents: concepts.map((concept) => concept.content) };
    });
    const document = matchesDocument(found.matches, found.contents);
    const text = flags.json ? '' : await matchesText(this.screen, found.matches, found.contents);
    this.answer(flags.json, document, () => text);
    return document;
  }
}

/** The concept itself is its own nearest match: one more is asked for, and it is left out. */
async function matchesLike(
  storage: Storage,
  id: string,
  k: number,
  options: CallOptions & { readonly efSearch: number },
): Promise<VectorMatch[]> {
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
