/** What `verify` and `repair` share: the choice of a directory, the progress of long checks, and how findings read. */

import { SutraError } from '../errors.js';
import type { Finding, StepProgress } from '../storage/maintenance.js';
import { chooseStore } from '../storage/open.js';
import { createProgress, type Progress } from './progress.js';
import { styled, type Screen } from './screen.js';
import { safeLine } from './text.js';

/** The directory that is meant; files are looked at where they are, so never a server. */
export function chooseDirectory(
  flags: { readonly server?: string | undefined; readonly storage?: string | undefined },
  command: string,
): string {
  const choice = chooseStore(flags);
  if (choice.mode === 'embedded') return choice.path;
  throw new SutraError(
    'WRONG_MODE',
    `${command} looks at the files of a store: got a server, expected a directory`,
    { hint: `Run \`sutra ${command} --storage DIR\` on the machine that holds the files.` },
  );
}

/** Shows steps as one bar after another, one for each phase. */
export class CheckProgress {
  private phase = '';
  private bar: Progress | null = null;

  constructor(private readonly label: string) {}

  readonly update = (step: StepProgress): void => {
    if (step.phase !== this.phase || this.bar === null) {
      this.bar?.abandon();
      this.phase = step.phase;
      this.bar = createProgress({
        label: `${this.label} ${step.phase}`,
        unit: step.unit,
        total: step.total,
      });
    }
    this.bar.update(step.done);
  };

  end(): void {
    this.bar?.abandon();
    this.bar = null;
  }
}

export function findingLines(screen: Screen, findings: readonly Finding[]): string[] {
  return findings.map(({ file, offset, what, sequences }) => {
    const at = offset === undefined ? '' : `, offset ${offset}`;
    const stake = sequences === undefined ? '' : `; ${range(sequences)} at stake`;
    return `  ${styled(screen, 'red', file + at)}: ${safeLine(what)}${stake}`;
  });
}

export function noteLines(notes: readonly Finding[]): string[] {
  return notes.map(
    ({ file, offset, what }) => `  note: ${file}, offset ${offset ?? 0}: ${safeLine(what)}`,
  );
}

/** `sequence 7`, `sequences 7..9`. */
export function range([from, to]: readonly [number, number]): string {
  return from === to ? `sequence ${from}` : `sequences ${from}..${to}`;
}

export function findingDocument({ file, offset, what, sequences }: Finding) {
  return {
    file,
    ...(offset === undefined ? {} : { offset }),
    what,
    ...(sequences === undefined ? {} : { sequences }),
  };
}
