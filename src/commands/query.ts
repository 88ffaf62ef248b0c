import { conceptDocument } from '../cli/documents.js';
import { requiredArg, switchFlag } from '../cli/flags.js';
import { conceptText } from '../cli/render.js';
import { StoreCommand } from '../cli/store-command.js';
import { EXIT } from '../errors.js';
import { checkQuery } from '../storage/validation.js';

export default class Query extends StoreCommand {
  static override summary = 'Read one concept.';

  static override description = 'Ends with 4 when nothing is known by that id.';

  static override examples = [
    '<%= config.bin %> query rain',
    '<%= config.bin %> query rain --server localhost:50051 --json',
  ];

  static override args = { id: requiredArg('Id of the concept.') };

  static override flags = {
    'with-embedding': switchFlag('with-embedding', 'Also print its embedding (with --json).'),
  };

  async run() {
    const { args, flags } = await this.parse(Query);
    checkQuery(args.id);
    const answer = await this.withStorage(flags, { access: 'read' }, (storage, call) =>
      storage.queryConcept(args.id, { ...call, withEmbedding: flags['with-embedding'] }),
    );
    const document = conceptDocument(answer);
    this.answer(flags.json, document, () => conceptText(this.screen, answer));
    if (!answer.found) process.exitCode = EXIT.NOT_FOUND;
    return document;
  }
}
