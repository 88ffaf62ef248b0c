import {
  embeddingFlag,
  confidenceFlag,
  optionalArg,
  requiredArg,
  strengthFlag,
} from '../cli/flags.js';
import { readEmbedding } from '../cli/embedding-file.js';
import { readStdinText } from '../cli/input.js';
import { StoreCommand } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import { SutraError } from '../errors.js';
import type { ConceptInput } from '../storage/storage.js';
import { checkConcept } from '../storage/validation.js';

export default class Learn extends StoreCommand {
  static override summary = 'Learn a concept, or learn a known one again.';

  static override description =
    'Content, strength, confidence and a given embedding replace what was known; associations and the time of ' +
    'creation stay. The directory of an embedded store is created when it is not there.';

  static override examples = [
    '<%= config.bin %> learn rain "Water falling from clouds"',
    'A word that is its own content:\n<%= config.bin %> learn umbrella',
    'Content from a file, byte for byte:\n<%= config.bin %> learn moby-dick - < moby-dick.txt',
    '<%= config.bin %> learn rain "Water falling from clouds" --confidence 0.9 --embedding rain.json',
    'An id that begins with a dash:\n<%= config.bin %> learn -- -273.15 "Absolute zero in degrees Celsius"',
  ];

  static override args = {
    id: requiredArg('Id of the concept: any text of at most 512 bytes.'),
    content: optionalArg('Its content; - reads standard input. Default: the id itself.'),
  };

  static override flags = {
    strength: strengthFlag,
    confidence: confidenceFlag,
    embedding: embeddingFlag(
      'Its embedding: a file with a JSON array, .npy or raw float32, or - for standard input.',
    ),
  };

  async run() {
    const { args, flags } = await this.parse(Learn);
    if (args.content === '-' && flags.embedding === '-') {
      throw new SutraError(
        'INVALID_ARGUMENT',
        'content and --embedding cannot both be standard input',
      );
    }
    const content =
      args.content === '-' ? await readStdinText('content') : (args.content ?? args.id);
    const embedding =
      flags.embedding === undefined ? undefined : await readEmbedding(flags.embedding);
    const concept: ConceptInput = {
      id: args.id,
      content,
      ...(flags.strength === undefined ? {} : { strength: flags.strength }),
      ...(flags.confidence === undefined ? {} : { confidence: flags.confidence }),
      ...(embedding === undefined ? {} : { embedding }),
    };
    // Before the store is opened: a refused concept must not leave a new directory behind.
    checkConcept(concept);
    const { sequence } = await this.withStorage(flags, { access: 'create' }, (storage, call) =>
      storage.learnConcept(concept, call),
    );
    const result = { sequence, id: args.id };
    this.answer(flags.json, result, () => `learned ${safeLine(args.id)} (sequence ${sequence})`);
    return result;
  }
}
