import { StoreCommand } from '../cli/store-command.js';

export default class Flush extends StoreCommand {
  static override summary = 'Write everything acknowledged so far into storage.dat.';

  static override description =
    'When it returns, a copy of that one file is a complete backup. Waits as long as it takes unless --timeout says ' +
    'otherwise.';

  static override examples = [
    '<%= config.bin %> flush && cp knowledge/storage.dat backup.dat',
    '<%= config.bin %> flush --server localhost:50051',
  ];

  async run() {
    const { flags } = await this.parse(Flush);
    await this.withStorage(flags, { access: 'write', defaultTimeoutMs: 'none' }, (storage, call) =>
      storage.flush(call),
    );
    const result = { success: true };
    this.answer(flags.json, result, () => 'flushed');
    return result;
  }
}
