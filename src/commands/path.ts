import { pathDocument } from '../cli/documents.js';
import { byFlag, directionFlag, integer, requiredArg, setting, typesFlag } from '../cli/flags.js';
import { noPathText, pathText } from '../cli/render.js';
import { StoreCommand } from '../cli/store-command.js';
import { EXIT } from '../errors.js';
import { DEFAULT_MAX_DEPTH, MAX_DEPTH, checkPath } from '../storage/validation.js';

export default class Path extends StoreCommand {
  static override summary = 'Find a shortest path between two concepts.';

  static override description =
    'Associations are walked both ways unless --direction says otherwise. With --by confidence the path is the one ' +
    'with the highest product of confidences. Ends with 4 when there is no path or one of the two is not known.';

  static override examples = [
    '<%= config.bin %> path rain umbrella',
    '<%= config.bin %> path rain flood --type causal --direction out --max-depth 12',
    'The way one can be surest of:\n<%= config.bin %> path rain flood --by confidence',
  ];

  static override args = {
    from: requiredArg('Id of the concept to start from.'),
    to: requiredArg('Id of the concept to reach.'),
  };

  static override flags = {
    'max-depth': setting('max-depth', integer(0, MAX_DEPTH), {
      summary: `Take at most so many hops, up to ${MAX_DEPTH}.`,
      helpValue: 'N',
      defaultHelp: String(DEFAULT_MAX_DEPTH),
    }),
    type: typesFlag,
    direction: directionFlag,
    by: byFlag,
  };

  async run() {
    const { args, flags } = await this.parse(Path);
    const options = {
      maxDepth: flags['max-depth'] ?? 0,
      types: flags.type?.flat() ?? [],
      direction: flags.direction ?? 'both',
      by: flags.by ?? 'hops',
    };
    checkPath(args.from, args.to, options);
    const contents = new Map<string, string>();
    const answer = await this.withStorage(flags, { access: 'read' }, async (storage, call) => {
      const path = await storage.findPath(args.from, args.to, { ...call, ...options });
      if (!flags.json) {
        const concepts = await Promise.all(path.path.map((id) => storage.queryConcept(id, call)));
        concepts.forEach((concept, index) => contents.set(path.path[index] ?? '', concept.content));
      }
      return path;
    });
    const document = pathDocument(args.from, args.to, answer);
    this.answer(flags.json, document, () =>
      answer.found
        ? pathText(this.screen, answer, contents)
        : noPathText(
            args.from,
            args.to,
            options.maxDepth === 0 ? DEFAULT_MAX_DEPTH : options.maxDepth,
          ),
    );
    if (!answer.found) process.exitCode = EXIT.NOT_FOUND;
    return document;
  }
}
