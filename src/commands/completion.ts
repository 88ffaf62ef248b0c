import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as Args from '@oclif/core/args';
import { completionScript, SHELLS, type Manifest, type Shell } from '../cli/completion.js';
import { jsonFlag } from '../cli/flags.js';
import { SutraCommand } from '../cli/sutra-command.js';
import { safeJson } from '../cli/text.js';
import { refuse } from '../storage/settings.js';

export default class Completion extends SutraCommand {
  static override summary = 'Print the completion script of a shell.';

  static override description =
    'Completes commands, flags and the values of flags. The script is complete in itself: nothing runs while you type.';

  static override examples = [
    'For bash, in ~/.bashrc:\neval "$(<%= config.bin %> completion bash)"',
    'For zsh, in ~/.zshrc after compinit:\neval "$(<%= config.bin %> completion zsh)"',
    'For fish:\n<%= config.bin %> completion fish > ~/.config/fish/completions/sutra.fish',
  ];

  static override args = {
    shell: Args.string({
      description: `The shell: ${SHELLS.join(', ')}.`,
      required: true,
      ignoreStdin: true,
      options: [...SHELLS],
      parse: async (text) => {
        if (SHELLS.some((shell) => shell === text)) return text;
        throw refuse('SHELL', text, SHELLS.join(', '));
      },
    }),
  };

  static override flags = { ...jsonFlag };

  async run() {
    const { args, flags } = await this.parse(Completion);
    const shell = args.shell as Shell;
    const path = join(this.config.root, 'oclif.manifest.json');
    const manifest = JSON.parse(await readFile(path, 'utf8')) as Manifest;
    const script = completionScript(shell, manifest);
    process.stdout.write(`${flags.json ? safeJson({ shell, script }) : script}\n`);
    return { shell, script };
  }
}
