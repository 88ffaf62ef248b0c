import { setTimeout as sleep } from 'node:timers/promises';
import { statsDocument } from '../cli/documents.js';
import { setting, switchFlag } from '../cli/flags.js';
import { statsText } from '../cli/render.js';
import { StoreCommand } from '../cli/store-command.js';
import { parseTimeoutMs } from '../storage/settings.js';

const DEFAULT_INTERVAL_MS = 2_000;

export default class Stats extends StoreCommand {
  static override summary = 'Show how much a store holds and does.';

  static override examples = [
    '<%= config.bin %> stats',
    'Follow a server, one JSON document a line:\n<%= config.bin %> stats --server localhost:50051 --watch --json',
  ];

  static override flags = {
    watch: switchFlag('watch', 'Print again and again until interrupted.'),
    interval: setting('interval', parseTimeoutMs, {
      summary: 'How long to wait between two prints of --watch.',
      helpValue: 'TIME',
      defaultHelp: '2s',
    }),
  };

  async run() {
    const { flags } = await this.parse(Stats);
    const intervalMs = flags.interval ?? DEFAULT_INTERVAL_MS;
    for (let round = 0; ; round++) {
      // Opened afresh each time: a read-only view of a directory stays at the moment it was opened.
      const stats = await this.withStorage(flags, { access: 'read' }, (storage, call) =>
        storage.stats(call),
      );
      const document = statsDocument(stats);
      const text = flags.json ? '' : await statsText(this.screen, stats);
      const redraw = round > 0 && this.screen.drawing && !flags.json;
      // Up over the last table, which is as high as this one.
      if (redraw) process.stdout.write(`\x1b[${text.split('\n').length}A\x1b[J`);
      this.answer(flags.json, document, () => text);
      if (!flags.watch) return document;
      await sleep(intervalMs);
    }
  }
}
