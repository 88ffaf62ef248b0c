import { associationTypeName } from '../cli/association-type.js';
import { optionalArg, requiredArg, typeFlag } from '../cli/flags.js';
import { StoreCommand } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import { EXIT, SutraError } from '../errors.js';
import { checkForgetAssociation, checkQuery } from '../storage/validation.js';

export default class Forget extends StoreCommand {
  static override summary =
    'Forget a concept with its associations, or associations between two concepts.';

  static override description =
    'With one id, the concept and every association from or to it go. With two, the associations from the first to ' +
    'the second go, or only that of --type. Ends with 4 when there was nothing to forget.';

  static override examples = [
    '<%= config.bin %> forget puddle',
    'Every association from one to the other:\n<%= config.bin %> forget rain puddle',
    'One of them:\n<%= config.bin %> forget rain puddle --type causal',
  ];

  static override args = {
    id: requiredArg('Id of the concept to forget, or of the source of the associations.'),
    target: optionalArg('Id of the target of the associations to forget.'),
  };

  static override flags = {
    type: typeFlag('Only the association of this type'),
  };

  async run() {
    const { args, flags } = await this.parse(Forget);
    const { id, target } = args;
    const { type } = flags;
    if (target === undefined && type !== undefined) {
      throw new SutraError('INVALID_ARGUMENT', '--type: needs a SOURCE and a TARGET');
    }
    if (target === undefined) checkQuery(id);
    else checkForgetAssociation(id, target, type);
    const receipt = await this.withStorage(flags, { access: 'write' }, (storage, call) =>
      target === undefined
        ? storage.forgetConcept(id, call)
        : storage.forgetAssociation(id, target, type, call),
    );
    const { found, sequence, associations } = receipt;
    const document =
      target === undefined
        ? { found, id, sequence, associations }
        : {
            found,
            source: id,
            target,
            ...(type === undefined ? {} : { type, type_name: associationTypeName(type) }),
            sequence,
            associations,
          };
    this.answer(flags.json, document, () => {
      const what = target === undefined ? safeLine(id) : `${safeLine(id)} -> ${safeLine(target)}`;
      if (!found) return `nothing to forget: ${what}`;
      const count = `${associations} ${associations === 1 ? 'association' : 'associations'}`;
      return target === undefined
        ? `forgot ${what} and ${count} (sequence ${sequence})`
        : `forgot ${count}: ${what} (sequence ${sequence})`;
    });
    if (!found) process.exitCode = EXIT.NOT_FOUND;
    return document;
  }
}
