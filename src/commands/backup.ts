import { CheckProgress } from '../cli/check-report.js';
import { consentFlag, requiredArg } from '../cli/flags.js';
import { interruptSignal } from '../cli/interrupt.js';
import { noteLogger } from '../cli/note-logger.js';
import { cannotWrite } from '../cli/output-file.js';
import { byteSize } from '../cli/progress.js';
import { StoreCommand, type StoreSelection } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import { SutraError } from '../errors.js';
import type { BackupSum, Proof } from '../storage/backups.js';

export default class Backup extends StoreCommand {
  static override summary = 'Save a store as one file, while it is being written to.';

  static override description =
    'Takes the whole state at one sequence, with everything acknowledged before, from a server or from a directory (beside ' +
    'its server too). The file is verified, every checksum, count and the digest, before it gets its name; until then it is ' +
    'FILE.tmp. It is a storage.dat: `sutra restore` puts it back. --prove also restores it into a scratch directory and ' +
    'compares what that store and the source answer. With - for FILE it goes to standard output, all else to stderr; then ' +
    'every byte is verified by its checksum and the counts and the digest are those announced, but whether the contents ' +
    'give that digest only `restore` can tell, and does. Whoever keeps the stream must look at the exit code: what ' +
    'was sent is a backup only when it is 0.';

  static override examples = [
    '<%= config.bin %> backup /backups/today.dat --server localhost:50051',
    '<%= config.bin %> backup /backups/today.dat --storage ./knowledge --prove',
    '<%= config.bin %> backup - --server localhost:50051 | gzip > today.dat.gz',
  ];

  static override args = { file: requiredArg('The file to make; - is standard output.') };

  static override flags = {
    force: consentFlag(
      'Replace the file when it is there; it stays until the new one is verified.',
    ),
    prove: consentFlag('Also restore it into a scratch directory and compare.'),
  };

  async run() {
    const { args, flags } = await this.parse(Backup);
    if (args.file === '-') return this.stream(flags);
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

  private async stream(flags: StreamFlags): Promise<BackupSum> {
    refuse(flags.json, '--json has standard output to itself: name a file for the backup');
    refuse(flags.force, '--force replaces a file, and standard output is none');
    refuse(flags.prove, '--prove restores from a file: name one for the backup');
    refuse(process.stdout.isTTY, 'a backup is bytes, and standard output is a terminal');
    const signal = interruptSignal();
    const progress = new CheckProgress('backup:');
    // For others a reader who goes away has had enough. Here it has half a backup.
    process.stdout.removeAllListeners('error').on('error', () => undefined);
    const { streamBackup } = await import('../storage/backups.js');
    const options = { access: 'read', defaultTimeoutMs: 'none' } as const;
    const sum = await this.withStorage(flags, options, async (storage, call) =>
      streamBackup(storage, writeToStdout, { ...call, signal, onProgress: progress.update }),
    ).finally(() => {
      progress.end();
    });
    const { bytes, sequence, digest, concepts, edges, vectors } = sum;
    process.stderr.write(
      `sent ${byteSize(bytes)}: sequence ${sequence}, digest ${digest}\n` +
        `  ${concepts} concepts, ${edges} edges, ${vectors} vectors\n` +
        '  every byte verified by its checksum; whether the contents give the digest, `restore` will verify\n',
    );
    return sum;
  }
}

type StreamFlags = StoreSelection & { readonly force: boolean; readonly prove: boolean };

function refuse(given: boolean | undefined, message: string): void {
  if (given === true) {
    throw new SutraError('INVALID_ARGUMENT', message, { hint: 'See `sutra backup --help`.' });
  }
}

/** Resolves when there is room for more. */
function writeToStdout(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => {
      if (error === null || error === undefined) resolve();
      else reject(unsent(error));
    });
  });
}

function unsent(error: Error): SutraError {
  if (!('code' in error) || error.code !== 'EPIPE') return cannotWrite('standard output', error);
  return new SutraError('CANCELLED', 'whoever reads standard output has gone away', {
    hint: 'What was sent is not a whole backup: do not keep it.',
    cause: error,
  });
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
