import { join } from 'node:path';

import { CheckProgress, chooseDirectory } from '../cli/check-report.js';
import { consentFlag, requiredArg } from '../cli/flags.js';
import { noteLogger } from '../cli/note-logger.js';
import { StoreCommand } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import { SutraError } from '../errors.js';
import type { Restoration } from '../storage/backups.js';

export default class Restore extends StoreCommand {
  static override summary = 'Make a store of a backup.';

  static override description =
    'The backup is verified before anything is changed, and its copy again before it takes its place. The restored store has ' +
    'the backup’s state and sequence, and an identity of its own. A store that is there is never overwritten: --force ' +
    'restores in its place and keeps it, in a directory before-restore-TIME beside the new files. Ended at any moment, the ' +
    'store is what it was or what was restored; the next command that writes to it says so when it is what it was. ' +
    'A storage.dat of version 2 is restored too, as today’s. With - for FILE the backup comes from standard input, and is ' +
    'kept beside the directory, as DIR.incoming.tmp, until it is restored.';

  static override examples = [
    '<%= config.bin %> restore /backups/today.dat --storage ./restored',
    '<%= config.bin %> restore /backups/today.dat --storage ./knowledge --force',
    'gunzip < today.dat.gz | <%= config.bin %> restore - --storage ./restored',
  ];

  static override args = { file: requiredArg('A file that `backup` made; - is standard input.') };

  static override flags = {
    force: consentFlag('Also where a store is; it is kept beside the new one.'),
  };

  async run() {
    const { args, flags } = await this.parse(Restore);
    const directory = chooseDirectory(flags, 'restore');
    const progress = new CheckProgress('restore:');
    const { restoreBackup, restoreStream } = await import('../storage/backups.js');
    const options = {
      force: flags.force,
      onProgress: progress.update,
      logger: noteLogger(flags.json),
    };
    if (args.file === '-' && process.stdin.isTTY) {
      throw new SutraError('INVALID_ARGUMENT', 'FILE: got -, and standard input is a terminal', {
        hint: 'Pipe a backup into it, or name its file.',
      });
    }
    const restoring =
      args.file === '-'
        ? restoreStream(process.stdin as AsyncIterable<Uint8Array>, directory, options)
        : restoreBackup(args.file, directory, options);
    const restored = await restoring.finally(() => {
      progress.end();
    });
    const document = restoreDocument(directory, restored);
    this.answer(flags.json, document, () => restoreText(document));
    return document;
  }
}

export function restoreDocument(directory: string, restored: Restoration) {
  const { keptIn } = restored;
  return {
    storage: directory,
    sequence: restored.sequence,
    digest: restored.digest,
    concepts: restored.concepts,
    edges: restored.edges,
    vectors: restored.vectors,
    bytes: restored.bytes,
    kept_in: keptIn === null ? null : join(directory, keptIn),
    old_was_damaged: restored.oldWasDamaged,
  };
}

function restoreText(document: ReturnType<typeof restoreDocument>): string {
  const { storage, sequence, digest, concepts, edges, vectors, kept_in: keptIn } = document;
  const lines = [
    `${safeLine(storage)} restored: sequence ${sequence}, digest ${digest}`,
    `  ${concepts} concepts, ${edges} edges, ${vectors} vectors`,
  ];
  if (keptIn !== null) {
    const how = document.old_was_damaged ? ', damaged as it was,' : '';
    lines.push(`  the store that was there${how} is kept in ${safeLine(keptIn)}`);
  }
  return lines.join('\n');
}
