import { associationTypeName } from '../cli/association-type.js';
import { confidenceFlag, requiredArg, typeFlag } from '../cli/flags.js';
import { shortFloat32 } from '../formats/float32.js';
import { StoreCommand } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import { checkAssociation } from '../storage/validation.js';

export default class Link extends StoreCommand {
  static override summary = 'Learn an association from one concept to another.';

  static override description =
    'An association is identified by its source, target and type; learning it again updates its confidence. Both ' +
    'concepts must be known.';

  static override examples = [
    '<%= config.bin %> link rain puddle --type causal --confidence 0.9',
    'A type of your own:\n<%= config.bin %> link rain puddle --type 1001',
  ];

  static override args = {
    source: requiredArg('Id of the concept it points from.'),
    target: requiredArg('Id of the concept it points to.'),
  };

  static override flags = {
    type: typeFlag('Type of the association', 'semantic'),
    confidence: confidenceFlag,
  };

  async run() {
    const { args, flags } = await this.parse(Link);
    const { source, target } = args;
    const type = flags.type ?? 0;
    const confidence = flags.confidence ?? 1;
    const association = { source, target, type, confidence };
    checkAssociation(association);
    const { sequence } = await this.withStorage(flags, { access: 'write' }, (storage, call) =>
      storage.learnAssociation(association, call),
    );
    const name = associationTypeName(type);
    const result = {
      sequence,
      source,
      target,
      type,
      type_name: name,
      confidence: shortFloat32(confidence),
    };
    this.answer(
      flags.json,
      result,
      () =>
        `linked ${safeLine(source)} -> ${safeLine(target)}: ${name}, confidence ${result.confidence} ` +
        `(sequence ${sequence})`,
    );
    return result;
  }
}
