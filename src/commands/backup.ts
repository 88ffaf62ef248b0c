import { CheckProgress } from '../cli/check-report.js';
import { consentFlag, requiredArg } from '../cli/flags.js';
import { interruptSignal } from '../cli/interrupt.js';
import { noteLogger } from '../cli/note-logger.js';
import { byteSize } from '../cli/progress.js';
import { StoreCommand } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import type { BackupSum, Proof } from '../storage/backups.js';

export default class Backup extends StoreCommand {
  static override summary = 'Save a store as one file, while it is being written to.';

  static override description =
    'Takes the whole state at one sequence, with everything acknowledged before, from a server or from a directory (beside ' +
    'its server too). The file is verified, every checksum, count and the digest, before it gets its name; until then it is ' +
    'FILE.tmp. It is a storage.dat: `sutra restore` puts it back. --prove also restores it into a scratch directory and ' +
    'compares what that store and the source answer.';

  static override examples = [
    '<%= config.bin %> backup /backups/today.dat --server localhost:50051',
    '<%= config.bin %> backup /backups/today.dat --storage ./knowledge --prove',
  ];

  static override args = { file: requiredArg('The file to make.') };

  static override flags = {
    force: consentFlag(
      'Replace the file when it is there; it stays until the new one is verified.',
    ),
    prove: consentFlag('Also restore it into a scratch directory and compare.'),
  };

  async run() {
    const { args, flags } = await this.parse(Backup);
    const signal = interruptSignal();
    const progress = new CheckProgress('backup:');
    const options = { access: 'read', defaultTimeoutMs: 'none' } as const;
    const { saveBackup, proveBackup } = await import('../storage/backups.js');
    const document = await this.withStorage(flags, options, async (storage, call) => {
      const saving = {
        ...call,
        signal,
        force: flags.force,
        onProgress: progress.update,
        logger: noteLogger(flags.json),
      };
      const sum = await saveBackup(storage, args.file, saving);
      const proof = flags.prove ? await proveBackup(args.file, sum, storage, saving) : null;
      return backupDocument(args.file, sum, proof);
    }).finally(() => {
      progress.end();
    });
    this.answer(flags.json, document, () => backupText(document));
    return document;
  }
}

export function backupDocument(file: string, sum: BackupSum, proof: Proof | null) {
  return {
    file,
    bytes: sum.bytes,
    sequence: sum.sequence,
    digest: sum.digest,
    concepts: sum.concepts,
    edges: sum.edges,
    vectors: sum.vectors,
    verified: true,
    ...(proof === null
      ? {}
      : { proved: { samples: proof.samples, changed_since: proof.changedSince } }),
  };
}

function backupText(document: ReturnType<typeof backupDocument>): string {
  const { file, bytes, sequence, digest, concepts, edges, vectors, proved } = document;
  const lines = [
    `${safeLine(file)}: ${byteSize(bytes)}, verified`,
    `  sequence ${sequence}, digest ${digest}`,
    `  ${concepts} concepts, ${edges} edges, ${vectors} vectors`,
  ];
  if (proved !== undefined) {
    const { samples, changed_since: changed } = proved;
    lines.push(
      `  restored into a scratch directory: the same digest, and ${samples - changed} of ${samples} ` +
        'concepts answer alike' +
        (changed === 0 ? '' : `; ${changed} were written to since`),
    );
  }
  return lines.join('\n');
}
