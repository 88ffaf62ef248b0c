import {
  CheckProgress,
  chooseDirectory,
  findingDocument,
  findingLines,
  noteLines,
  range,
} from '../cli/check-report.js';
import { byteSize } from '../cli/progress.js';
import type { Screen } from '../cli/screen.js';
import { StoreCommand } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import { EXIT } from '../errors.js';
import { verifyStore, type StoreCheck } from '../storage/maintenance.js';

export default class Verify extends StoreCommand {
  static override summary = 'Check every byte of a store: checksums, log, indexes, state.';

  static override description =
    'Reads only, takes no lock, and works beside a running server. It checks the checksums of storage.dat, ' +
    'storage.dat.prev and the write log, holds indexes and associations against a full scan, and the state that ' +
    'storage.dat.prev and the log give against storage.dat. Says what is wrong, where, and which sequences are at stake, ' +
    'and ends with 5 when something is damaged. What a crash leaves behind the end of the log is a note, not damage.';

  static override examples = [
    '<%= config.bin %> verify',
    '<%= config.bin %> verify --storage /var/lib/sutra/knowledge --json',
  ];

  async run() {
    const { flags } = await this.parse(Verify);
    const directory = chooseDirectory(flags, 'verify');
    const progress = new CheckProgress('verifying');
    const check = await verifyStore(directory, progress.update).finally(() => {
      progress.end();
    });
    const document = verifyDocument(check);
    this.answer(flags.json, document, () => verifyText(this.screen, directory, check));
    if (!document.ok) process.exitCode = EXIT.UNHEALTHY;
    return document;
  }
}

export function verifyDocument(check: StoreCheck) {
  const { state, findings, notes, files, lost, held } = check;
  return {
    ok: findings.length === 0,
    sequence: state?.sequence ?? null,
    digest: state?.digest ?? null,
    concepts: state?.concepts ?? null,
    edges: state?.edges ?? null,
    vectors: state?.vectors ?? null,
    lost,
    in_use: held,
    files,
    findings: findings.map(findingDocument),
    notes: notes.map(findingDocument),
  };
}

function verifyText(screen: Screen, directory: string, check: StoreCheck): string {
  const { state, findings, notes, files, lost } = check;
  const place = safeLine(directory);
  const lines: string[] = [];
  const whole = state === null ? '' : `sequence ${state.sequence}, digest ${state.digest}`;
  if (findings.length === 0) {
    lines.push(`${place} is whole: ${whole}`);
  } else {
    const count = findings.length === 1 ? '1 finding' : `${findings.length} findings`;
    lines.push(`${place} is damaged: ${count}`, ...findingLines(screen, findings));
    if (state === null) lines.push('nothing of the state can be had from these files');
    else if (lost === null) lines.push(`nothing is lost: all can be had, ${whole}`);
    else lines.push(`what can be had: ${whole}; ${range(lost)} cannot`);
  }
  if (state !== null) {
    lines.push(`  ${state.concepts} concepts, ${state.edges} edges, ${state.vectors} vectors`);
  }
  for (const { file, bytes, ok, sequences } of files) {
    const what = sequences === null ? 'unknown' : covers(sequences);
    lines.push(`  ${file}: ${byteSize(bytes)}, ${what}, ${ok ? 'whole' : 'damaged'}`);
  }
  lines.push(...noteLines(notes));
  return lines.join('\n');
}

function covers(sequences: readonly [number, number]): string {
  const [from, to] = sequences;
  if (to < from) return 'no sequences';
  return from === 0 ? `up to sequence ${to}` : range(sequences);
}
