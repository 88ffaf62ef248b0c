/**
 * Acknowledgements of one writer that waits for each before the next write, and where the slowest of them go. As no two are under
 * way at once, what the log's disk did between the begin and the end of one belongs to it.
 */

import type { DiskAccount } from './disk-account.js';

export interface Acknowledgement {
  /** On the clock of the disk's account. */
  readonly beganMs: number;
  readonly endedMs: number;
  /** Of that, the main thread could have run and had no processor; null: the system keeps no account of it. */
  readonly waitedMs: number | null;
}

/**
 * Means of the slowest 1 %, milliseconds of an acknowledgement. The parts are not to be added up: while a write or a sync is
 * under way, the main thread may be waiting for a processor, and that is in both.
 */
export interface SlowestFigures {
  /** How many they are; at least 1. */
  readonly count: number;
  readonly ms: number;
  readonly writeMs: number;
  readonly syncMs: number;
  readonly waitedMs: number | null;
}

/** The slowest 1 % are those from the p99 on. @throws RangeError there are none */
export function slowestOf(
  acknowledgements: readonly Acknowledgement[],
  log: Pick<DiskAccount, 'writes' | 'syncs'>,
): SlowestFigures {
  if (acknowledgements.length === 0) throw new RangeError('expected an acknowledgement, got none');
  const count = Math.ceil(acknowledgements.length / 100);
  const slowest = [...acknowledgements].sort((a, b) => tookMs(b) - tookMs(a)).slice(0, count);
  const mean = (figure: (of: Acknowledgement) => number): number =>
    slowest.reduce((sum, of) => sum + figure(of), 0) / count;
  const isKept = slowest.every(({ waitedMs }) => waitedMs !== null);
  return {
    count,
    ms: mean(tookMs),
    writeMs: mean(({ beganMs, endedMs }) => log.writes.within(beganMs, endedMs)),
    syncMs: mean(({ beganMs, endedMs }) => log.syncs.within(beganMs, endedMs)),
    // The account is read a moment before the begin and a moment behind the end, and can tell of more than lies between.
    waitedMs: isKept ? mean((of) => Math.min(of.waitedMs ?? 0, tookMs(of))) : null,
  };
}

export function tookMs({ beganMs, endedMs }: Acknowledgement): number {
  return endedMs - beganMs;
}
