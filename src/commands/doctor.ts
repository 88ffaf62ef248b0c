import { setting } from '../cli/flags.js';
import { styled, type Screen, type Style } from '../cli/screen.js';
import { connectionOf, StoreCommand } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import { examineDirectory, examineServer, type Examination } from '../doctor/doctor.js';
import { bySeverity, scoreOf, type Finding, type Severity } from '../doctor/finding.js';
import { EXIT } from '../errors.js';
import { chooseStore, openStorage, type OpenOptions } from '../storage/open.js';
import type { ConnectionSettings } from '../storage/secrets.js';
import { DEFAULT_TIMEOUT_MS, parseTimeoutMs } from '../storage/settings.js';

const DEFAULT_BUDGET_MS = 10_000;

export default class Doctor extends StoreCommand {
  static override summary =
    'Examine a store or a server: what is wrong, what will be, and what to do.';

  static override description =
    'Changes nothing in the store. Of a directory it looks at the lock, space for the next checkpoint, permissions, how ' +
    'fast the disk syncs (by a temporary file beside the directory), the data for as long as --budget allows (contents that ' +
    'say the same, supernodes, islands, dangling associations, embeddings without spread, recall of the index), and at the ' +
    'server that holds it. Of a server: health, clock, pending writes, memtable, checkpoint, load, space, open bind, ' +
    'certificate. Ends with 5 when something is wrong now.';

  static override examples = [
    '<%= config.bin %> doctor',
    '<%= config.bin %> doctor --server localhost:50051',
    'Look at all of a large store:\n<%= config.bin %> doctor --storage /var/lib/sutra/knowledge --budget 10m',
  ];

  static override flags = {
    budget: setting('budget', parseTimeoutMs, {
      summary: 'How long to look at the data.',
      helpValue: 'TIME',
      defaultHelp: '10s',
    }),
  };

  async run() {
    const { flags } = await this.parse(Doctor);
    const choice = chooseStore(flags);
    const options = {
      budgetMs: flags.budget ?? DEFAULT_BUDGET_MS,
      timeoutMs: flags.timeout ?? DEFAULT_TIMEOUT_MS,
      connect: (address: Parameters<typeof examineServer>[0]) =>
        openStorage({ mode: 'server', address }, { connection: connectionOf(flags) }),
      connectAsStranger: (address: Parameters<typeof examineServer>[0]) =>
        openStorage({ mode: 'server', address }, strangerOf(connectionOf(flags))),
    };
    const examination: Examination =
      choice.mode === 'server'
        ? { findings: await examineServer(choice.address, options), examined: null }
        : await examineDirectory(choice.path, options);
    const document = doctorDocument(examination);
    this.answer(flags.json, document, () => doctorText(this.screen, document));
    if (!document.healthy) process.exitCode = EXIT.UNHEALTHY;
    return document;
  }
}

/** Trusts what the caller trusts, and says nothing of who calls. */
function strangerOf({ tls, tlsCa, tlsServerName }: ConnectionSettings): OpenOptions {
  const { SUTRA_TLS, SUTRA_TLS_CA, SUTRA_TLS_SERVER_NAME } = process.env;
  return {
    connection: { tls, tlsCa, tlsServerName },
    env: { SUTRA_TLS, SUTRA_TLS_CA, SUTRA_TLS_SERVER_NAME },
  };
}

function doctorDocument({ findings, examined }: Examination) {
  return {
    healthy: !findings.some(({ severity }) => severity === 'critical'),
    score: scoreOf(findings),
    findings: bySeverity(findings),
    examined,
  };
}

const MARKS: Record<
  Severity,
  { readonly mark: string; readonly plain: string; readonly style: Style }
> = {
  critical: { mark: '✗', plain: 'CRITICAL', style: 'red' },
  warning: { mark: '!', plain: 'WARNING', style: 'yellow' },
  note: { mark: '·', plain: 'note', style: 'cyan' },
  good: { mark: '✓', plain: 'good', style: 'green' },
};

function doctorText(screen: Screen, document: ReturnType<typeof doctorDocument>): string {
  const lines = document.findings.flatMap((finding) => findingLines(screen, finding));
  const { findings, score } = document;
  const count = (severity: Severity): number =>
    findings.filter((finding) => finding.severity === severity).length;
  const style = document.healthy ? (count('warning') > 0 ? 'yellow' : 'green') : 'red';
  const sums = (['critical', 'warning', 'note', 'good'] as const)
    .filter((severity) => count(severity) > 0)
    .map((severity) => `${count(severity)} ${severity}`);
  lines.push(`${styled(screen, style, `score ${score} of 100`)}: ${sums.join(', ')}`);
  return lines.join('\n');
}

function findingLines(screen: Screen, { check, severity, what, remedy }: Finding): string[] {
  const { mark, plain, style } = MARKS[severity];
  const head = styled(screen, style, screen.drawing ? mark : plain.padEnd(8));
  const lines = [`${head} ${styled(screen, 'bold', check.padEnd(12))} ${safeLine(what)}`];
  const indent = ' '.repeat(screen.drawing ? 15 : 22);
  if (remedy !== undefined) lines.push(styled(screen, 'dim', `${indent}${safeLine(remedy)}`));
  return lines;
}
