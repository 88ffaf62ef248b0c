/** What `sutra doctor` found, how bad it is, and the score of all of it together. */

export type Severity =
  /** Wrong now: exit code 5. */
  | 'critical'
  /** Will be wrong, or hurts. */
  | 'warning'
  /** Worth knowing; costs nothing. */
  | 'note'
  | 'good';

export interface Finding {
  /** Which check: `disk space`. */
  readonly check: string;
  readonly severity: Severity;
  readonly what: string;
  /** What to do about it; absent where there is nothing to do. */
  readonly remedy?: string;
}

const COST: Record<Severity, number> = { critical: 40, warning: 10, note: 0, good: 0 };
const ORDER: readonly Severity[] = ['critical', 'warning', 'note', 'good'];

/** 100 is the best; at 60 and below something is wrong now, or a lot will be. */
export function scoreOf(findings: readonly Finding[]): number {
  return Math.max(0, 100 - findings.reduce((sum, { severity }) => sum + COST[severity], 0));
}

/** The worst first; what is alike stays in the order of the checks. */
export function bySeverity(findings: readonly Finding[]): Finding[] {
  return [...findings].sort((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity));
}

export function good(check: string, what: string): Finding {
  return { check, severity: 'good', what };
}

export function note(check: string, what: string, remedy?: string): Finding {
  return { check, severity: 'note', what, ...(remedy === undefined ? {} : { remedy }) };
}

export function warning(check: string, what: string, remedy: string): Finding {
  return { check, severity: 'warning', what, remedy };
}

export function critical(check: string, what: string, remedy: string): Finding {
  return { check, severity: 'critical', what, remedy };
}

/** `1 concept`, `1,204 concepts`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString('en-US')} ${count === 1 ? one : many}`;
}

export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = bytes;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? ''}`;
}
