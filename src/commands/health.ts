import { healthDocument } from '../cli/documents.js';
import { healthText } from '../cli/render.js';
import { StoreCommand } from '../cli/store-command.js';
import { EXIT } from '../errors.js';

export default class Health extends StoreCommand {
  static override summary = 'Ask whether a store is well.';

  static override description = 'Ends with 0 when it is healthy, and with 5 when it is not.';

  static override examples = [
    '<%= config.bin %> health',
    '<%= config.bin %> health --server localhost:50051 --timeout 500ms',
  ];

  async run() {
    const { flags } = await this.parse(Health);
    const health = await this.withStorage(flags, { access: 'read' }, (storage, call) =>
      storage.healthCheck(call),
    );
    const document = healthDocument(health);
    this.answer(flags.json, document, () => healthText(this.screen, health));
    if (!health.healthy) process.exitCode = EXIT.UNHEALTHY;
    return document;
  }
}
