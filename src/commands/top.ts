import { chooseServer } from '../cli/choose-server.js';
import { setting } from '../cli/flags.js';
import { terminationSignal } from '../cli/interrupt.js';
import { connectionOf, StoreCommand } from '../cli/store-command.js';
import { EXIT, SutraError } from '../errors.js';
import { formatAddress } from '../storage/address.js';
import { openStorage } from '../storage/open.js';
import { DEFAULT_TIMEOUT_MS, parseTimeoutMs } from '../storage/settings.js';

const DEFAULT_INTERVAL_MS = 1_000;

export default class Top extends StoreCommand {
  static override summary = 'Watch a server live: calls, latencies, writes, checkpoints, memory.';

  static override description =
    'Needs a terminal of at least 80x24; `sutra stats --watch` is for logs and pipes. With --storage it watches the server ' +
    'that holds that directory; without flags that of ./knowledge, or else localhost:50051. Press ? for the keys and what ' +
    'the figures mean. When the server goes away it says so, and comes back with it.';

  static override examples = [
    '<%= config.bin %> top',
    '<%= config.bin %> top --server localhost:50051 --interval 2s',
  ];

  static override flags = {
    interval: setting('interval', parseTimeoutMs, {
      summary: 'How often to ask the server.',
      helpValue: 'TIME',
      defaultHelp: '1s',
    }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(Top);
    const { stdin, stdout } = process;
    if (flags.json || !stdin.isTTY || !stdout.isTTY || process.env['TERM'] === 'dumb') {
      throw new SutraError('INVALID_ARGUMENT', 'top draws on a terminal, and here is none', {
        hint: 'Use `sutra stats --watch`, with --json for one JSON document a line.',
      });
    }
    const address = await chooseServer(flags);
    const signal = terminationSignal();
    // Before react and ink load: they look at these. Whether there is colour has been decided (cli/screen.ts), and the
    // library that makes it would decide by rules of its own; the names of sixteen colours are all that is used.
    process.env['NODE_ENV'] = 'production';
    process.env['FORCE_COLOR'] = this.screen.colour ? '1' : '0';
    const [{ runDashboard }, { ASCII, UNICODE }] = await Promise.all([
      import('../dashboard/dashboard.js'),
      import('../dashboard/bars.js'),
    ]);
    const ended = await runDashboard({
      address: formatAddress(address.host, address.port),
      connect: () => openStorage({ mode: 'server', address }, { connection: connectionOf(flags) }),
      intervalMs: flags.interval ?? DEFAULT_INTERVAL_MS,
      timeoutMs: flags.timeout ?? DEFAULT_TIMEOUT_MS,
      look: { colour: this.screen.colour, glyphs: speaksUtf8() ? UNICODE : ASCII },
      stdin,
      stdout,
      signal,
    });
    if (ended === 'interrupt') process.exitCode = EXIT.INTERRUPTED;
  }
}

/** By the rules of POSIX locales: the first of these that is set decides. */
function speaksUtf8(): boolean {
  const names = ['LC_ALL', 'LC_CTYPE', 'LANG'];
  const locale = names.map((name) => process.env[name] ?? '').find((value) => value !== '');
  return /utf-?8/i.test(locale ?? '');
}
