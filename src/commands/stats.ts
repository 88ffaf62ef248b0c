import { setTimeout as sleep } from 'node:timers/promises';
import { statsDocument } from '../cli/documents.js';
import { setting, switchFlag } from '../cli/flags.js';
import { statsText } from '../cli/render.js';
import { StoreCommand } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import { EXIT, SutraError } from '../errors.js';
import { parseTimeoutMs } from '../storage/settings.js';
import type { StorageStats } from '../storage/storage.js';

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
    /** Lines of the last table, and whether nobody answered the last time. */
    let height = 0;
    let away = false;
    for (;;) {
      let stats: StorageStats;
      try {
        // Opened afresh each time: a read-only view of a directory stays at the moment it was opened.
        stats = await this.withStorage(flags, { access: 'read' }, (storage, call) =>
          storage.stats(call),
        );
      } catch (error) {
        // The first time it may be a wrong address; later it is a restart.
        const restarts =
          height > 0 && error instanceof SutraError && error.exitCode === EXIT.UNREACHABLE;
        if (!flags.watch || !restarts) throw error;
        if (!away) process.stderr.write(`${safeLine(error.message)}; trying again\n`);
        away = true;
        await sleep(intervalMs);
        continue;
      }
      const document = statsDocument(stats);
      const text = flags.json ? '' : await statsText(this.screen, stats);
      const redraw = height > 0 && !away && this.screen.drawing && !flags.json;
      if (away) process.stderr.write('it answers again\n');
      away = false;
      // Up over the last table.
      if (redraw) process.stdout.write(`\x1b[${height}A\x1b[J`);
      height = text.split('\n').length;
      this.answer(flags.json, document, () => text);
      if (!flags.watch) return document;
      await sleep(intervalMs);
    }
  }
}
