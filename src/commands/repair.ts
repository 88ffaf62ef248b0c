import {
  CheckProgress,
  chooseDirectory,
  findingDocument,
  findingLines,
  range,
} from '../cli/check-report.js';
import { canAsk, confirmed } from '../cli/confirm.js';
import { consentFlag } from '../cli/flags.js';
import type { Screen } from '../cli/screen.js';
import { StoreCommand } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import { EXIT, SutraError } from '../errors.js';
import {
  planStoreRepair,
  repairStore,
  type RepairPlan,
  type Repaired,
} from '../storage/maintenance.js';

export default class Repair extends StoreCommand {
  static override summary = 'Bring a damaged store back to the longest history that is whole.';

  static override description =
    'Without --accept-loss it says what it would do and changes nothing. With it, it keeps the originals of all files that it ' +
    'changes in DIR/repair-TIME, rebuilds storage.dat from storage.dat.prev and the log where that is what is damaged (nothing ' +
    'is lost then), and cuts the log before the first bad bytes otherwise. It names the sequences that go, and asks; ' +
    '--yes answers. Nobody may write to the store meanwhile. Ends with 5 while damage remains.';

  static override examples = [
    'What is there to do?\n<%= config.bin %> repair --storage ./knowledge',
    '<%= config.bin %> repair --storage ./knowledge --accept-loss',
    '<%= config.bin %> repair --storage ./knowledge --accept-loss --yes --json',
  ];

  static override flags = {
    'accept-loss': consentFlag('Repair, even if writes are lost by it.'),
    yes: consentFlag('Do not ask.'),
  };

  async run() {
    const { flags } = await this.parse(Repair);
    const directory = chooseDirectory(flags, 'repair');
    const progress = new CheckProgress('repair:');
    const accept = flags['accept-loss'];
    const agree = async (plan: RepairPlan): Promise<boolean> => {
      progress.end();
      if (flags.yes) return true;
      if (!canAsk()) {
        throw new SutraError('INVALID_ARGUMENT', `${lossText(plan)}; nobody is there to agree`, {
          hint: 'Add --yes to agree to that; nothing was changed.',
        });
      }
      const lines = planLines(this.screen, directory, plan);
      process.stderr.write(`${lines.join('\n')}\n`);
      return confirmed(`${lossText(plan)}.`);
    };
    const work: Promise<Repaired> = accept
      ? repairStore(directory, agree, progress.update)
      : planStoreRepair(directory, progress.update).then((plan) => ({ plan, done: null }));
    const repaired = await work.finally(() => {
      progress.end();
    });
    const document = repairDocument(repaired);
    this.answer(flags.json, document, () =>
      repairText(this.screen, directory, repaired, accept).join('\n'),
    );
    if (!document.ok) process.exitCode = EXIT.UNHEALTHY;
    return document;
  }
}

function repairDocument({ plan, done }: Repaired) {
  const { needed, sequence, lost, setAside, actions, check } = plan;
  const findings = done === null ? check.findings : done.findings;
  return {
    ok: findings.length === 0,
    needed,
    repaired: done !== null,
    sequence,
    lost,
    lost_count: lost === null ? 0 : lost[1] - lost[0] + 1,
    actions,
    set_aside: setAside,
    kept_in: done?.keptIn ?? null,
    findings: findings.map(findingDocument),
  };
}

function lossText({ lost, sequence }: RepairPlan): string {
  if (lost === null) return 'nothing is lost';
  const count = lost[1] - lost[0] + 1;
  const writes = count === 1 ? '1 write' : `${count} writes`;
  return `${writes} would be lost, ${range(lost)}; the store would end with sequence ${sequence}`;
}

function planLines(screen: Screen, directory: string, plan: RepairPlan): string[] {
  return [
    `${safeLine(directory)} is damaged:`,
    ...findingLines(screen, plan.check.findings),
    'to do:',
    ...plan.actions.map((action) => `  ${action}`),
    `originals to keep: ${plan.setAside.length === 0 ? 'none' : plan.setAside.join(', ')}`,
  ];
}

function repairText(
  screen: Screen,
  directory: string,
  { plan, done }: Repaired,
  accepted: boolean,
): string[] {
  const place = safeLine(directory);
  if (!plan.needed) return [`${place} is whole at sequence ${plan.sequence}: nothing to repair`];
  if (done === null) {
    return [
      ...planLines(screen, directory, plan),
      lossText(plan),
      accepted
        ? 'not confirmed: nothing was changed'
        : 'nothing was changed; add --accept-loss to repair it so',
    ];
  }
  const { lost, sequence } = plan;
  const lines = [
    ...plan.actions.map((action) => `done: ${action}`),
    `originals kept in ${safeLine(done.keptIn)}`,
    lost === null ? 'nothing is lost' : `lost: ${range(lost)}, ${lost[1] - lost[0] + 1} in all`,
  ];
  if (done.findings.length === 0) lines.push(`${place} is whole at sequence ${sequence}`);
  else lines.push(`${place} is still damaged:`, ...findingLines(screen, done.findings));
  return lines;
}
