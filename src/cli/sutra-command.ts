/**
 * The base of every command. `start` runs one without loading oclif's configuration (plugins, theme, platform, shell,
 * and the manifest once more), which its own way in does twice over: a quarter of the time of a query on a small store.
 * A command needs none of it; help does, and goes oclif's way (main.ts).
 */

import { Command } from '@oclif/core/command';
import { Config } from '@oclif/core/config';
import { VERSION } from '../version.js';

export abstract class SutraCommand extends Command {
  /** Parses args (without the command's name) and runs the command. Rejects with whatever it throws. */
  static async start(
    this: new (args: string[], config: Config) => SutraCommand,
    args: string[],
    root: string,
  ): Promise<void> {
    await new this(args, new BareConfig(root))._run();
  }
}

class BareConfig extends Config {
  constructor(root: string) {
    super({ root });
    this.root = root;
    this.bin = 'sutra';
    this.name = 'sutra';
    this.version = VERSION;
    this.userAgent = `sutra/${VERSION}`;
  }

  /** There are no plugins, so no hooks. */
  override async runHook(): Promise<{ successes: []; failures: [] }> {
    return { successes: [], failures: [] };
  }
}
