import { setTimeout as sleep } from 'node:timers/promises';
import { healthDocument } from '../cli/documents.js';
import { setting, switchFlag } from '../cli/flags.js';
import { healthText } from '../cli/render.js';
import { StoreCommand } from '../cli/store-command.js';
import { EXIT, SutraError } from '../errors.js';
import { parseTimeoutMs } from '../storage/settings.js';
import type { HealthAnswer } from '../storage/storage.js';

/** Between two looks of --wait. */
const LOOK_EVERY_MS = 250;

export default class Health extends StoreCommand {
  static override summary = 'Ask whether a store is well.';

  static override description =
    'Ends with 0 when it is healthy, with 5 when it is not, and with 3 when nobody answers. A server that starts or ' +
    'drains answers nobody; one whose disk is full, say, lives and is not healthy. --live asks only for life.';

  static override examples = [
    '<%= config.bin %> health',
    '<%= config.bin %> health --server localhost:50051 --timeout 500ms',
    'Wait until a server that was just started can be used:\n' +
      '<%= config.bin %> health --server localhost:50051 --wait 30',
  ];

  static override flags = {
    wait: setting('wait', parseTimeoutMs, {
      summary: 'Try again for so long until it is healthy: 30, 0.5 (seconds), 2m.',
      helpValue: 'TIME',
      env: false,
      defaultHelp: 'do not wait',
    }),
    live: switchFlag('live', 'End with 0 when it answers at all, healthy or not.'),
  };

  async run() {
    const { flags } = await this.parse(Health);
    const untilMs = performance.now() + (flags.wait ?? 0);
    const isWell = ({ healthy }: HealthAnswer): boolean => healthy || flags.live;
    let last: HealthAnswer | SutraError;
    for (;;) {
      last = await this.look(flags);
      if (!(last instanceof SutraError) && isWell(last)) break;
      // Nothing that time heals: a flag, a certificate, a token.
      if (last instanceof SutraError && last.exitCode !== EXIT.UNREACHABLE) break;
      if (performance.now() + LOOK_EVERY_MS > untilMs) break;
      await sleep(LOOK_EVERY_MS);
    }
    if (last instanceof SutraError) throw last;
    const health = last;
    const document = healthDocument(health);
    this.answer(flags.json, document, () => healthText(this.screen, health));
    if (!isWell(health)) process.exitCode = EXIT.UNHEALTHY;
    return document;
  }

  private async look(
    flags: Parameters<StoreCommand['withStorage']>[0],
  ): Promise<HealthAnswer | SutraError> {
    try {
      return await this.withStorage(flags, { access: 'read' }, (storage, call) =>
        storage.healthCheck(call),
      );
    } catch (error) {
      if (error instanceof SutraError) return error;
      throw error;
    }
  }
}
