/**
 * The failing disk for real processes: compiles test/crash/fail-sync.c with the system's C compiler, gives the environment
 * that puts it under a `sutra`, and reads the log it keeps of what it did.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { PROJECT_ROOT, temporaryDirectory } from './fixture.js';

export interface Fault {
  /** So many syncs succeed; all later ones fail with EIO. */
  readonly syncAfter?: number;
  /** So many writes succeed; all later ones fail with EIO. */
  readonly writeAfter?: number;
  /** A longer write takes only so many bytes. */
  readonly shortAbove?: number;
}

export interface FaultEvent {
  readonly kind: 'synced' | 'failed' | 'short';
  /** synced: the size of the file that is durable for sure; failed: when, in milliseconds since 1970. */
  readonly value: number;
  readonly path: string;
}

let library: string | undefined;

/** Path of the compiled shim. @throws with what the compiler said, or that there is none: nothing is skipped for that */
function shimLibrary(): string {
  if (library !== undefined) return library;
  const source = join(PROJECT_ROOT, 'test', 'crash', 'fail-sync.c');
  const target = join(temporaryDirectory('shim'), 'fail-sync.so');
  const args = ['-shared', '-fPIC', '-O1', '-Wall', '-Wextra', '-Werror'];
  const { error, status, stderr } = spawnSync('cc', [...args, '-o', target, source, '-ldl'], {
    encoding: 'utf8',
  });
  if (error !== undefined) {
    throw new Error(
      `this test needs a C compiler (apt-get install gcc libc6-dev): cc: ${error.message}`,
    );
  }
  if (status !== 0) throw new Error(`cc ${source} ended with ${status}: ${stderr}`);
  library = target;
  return target;
}

/** A fault under one store directory. */
export class FaultShim {
  readonly env: Readonly<Record<string, string>>;
  private readonly log: string;

  constructor(directory: string, fault: Fault) {
    this.log = join(temporaryDirectory('shim-log'), 'events');
    const { syncAfter, writeAfter, shortAbove } = fault;
    this.env = {
      LD_PRELOAD: shimLibrary(),
      FAULT_UNDER: directory,
      FAULT_LOG: this.log,
      ...(syncAfter === undefined ? {} : { FAULT_SYNC_AFTER: String(syncAfter) }),
      ...(writeAfter === undefined ? {} : { FAULT_WRITE_AFTER: String(writeAfter) }),
      ...(shortAbove === undefined ? {} : { FAULT_SHORT_ABOVE: String(shortAbove) }),
    };
  }

  events(): FaultEvent[] {
    if (!existsSync(this.log)) return [];
    const lines = readFileSync(this.log, 'utf8').trimEnd().split('\n');
    return lines.map((line) => {
      const match = /^(synced|failed|short) (\d+) (.*)$/.exec(line);
      if (match === null) throw new Error(`the shim wrote ${JSON.stringify(line)}`);
      const kind = match[1];
      if (kind !== 'synced' && kind !== 'failed' && kind !== 'short') throw new Error(line);
      return { kind, value: Number(match[2]), path: match[3] ?? '' };
    });
  }
}
