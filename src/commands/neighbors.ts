import { neighborsDocument } from '../cli/documents.js';
import { directionFlag, integer, requiredArg, setting, typesFlag } from '../cli/flags.js';
import { neighborsText } from '../cli/render.js';
import { StoreCommand } from '../cli/store-command.js';
import { EXIT } from '../errors.js';
import { checkNeighbors } from '../storage/validation.js';

export default class Neighbors extends StoreCommand {
  static override summary = 'List the concepts that one is associated with, strongest first.';

  static override description =
    'Each neighbour is listed once, with its strongest association. Ends with 4 when nothing is known by that id.';

  static override examples = [
    '<%= config.bin %> neighbors rain',
    'What it causes:\n<%= config.bin %> neighbors rain --type causal --direction out',
    'The ids alone:\n<%= config.bin %> neighbors rain --limit 5 | cut -f1',
  ];

  static override args = { id: requiredArg('Id of the concept.') };

  static override flags = {
    direction: directionFlag,
    type: typesFlag,
    limit: setting('limit', integer(0, 0xffff_ffff), {
      summary: 'List at most so many; 0: all.',
      helpValue: 'N',
      defaultHelp: '0',
    }),
  };

  async run() {
    const { args, flags } = await this.parse(Neighbors);
    const options = {
      direction: flags.direction ?? 'both',
      types: flags.type?.flat() ?? [],
      limit: flags.limit ?? 0,
    };
    checkNeighbors(args.id, options);
    const answer = await this.withStorage(flags, { access: 'read' }, (storage, call) =>
      storage.getNeighbors(args.id, { ...call, ...options }),
    );
    const document = neighborsDocument(answer);
    const text = flags.json ? '' : await neighborsText(this.screen, answer);
    this.answer(flags.json, document, () => text);
    if (!answer.known) process.exitCode = EXIT.NOT_FOUND;
    return document;
  }
}
