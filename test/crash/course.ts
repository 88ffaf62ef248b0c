/**
 * Long histories for writers in processes of their own (writer.mjs): the calls are made ahead and given to them in a file,
 * and what they leave, or what can be read beside them, is held against the oracle.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { nodeEnvironment } from '#sutra/engine/environment';
import { Store } from '#sutra/engine/store';

import { dumpState, HistoryMaker, HistoryModel, type Call } from '../support/history.js';
import { STORE_OPTIONS } from '../support/scenario.js';
import { checkState } from '../support/whole-store.js';

const WRITER = fileURLToPath(new URL('writer.mjs', import.meta.url));
const NAMES = 120;

/** The calls to come, made ahead, and the state that the store was last found in. */
export class Course {
  readonly found = new HistoryModel();
  readonly calls: Call[] = [];
  private readonly ahead = new HistoryModel();
  private readonly maker: HistoryMaker;
  private timeUs = 1_700_000_000_000_000;

  /** `length`: so many calls are kept ahead. */
  constructor(
    random: () => number,
    private readonly length: number,
  ) {
    this.maker = new HistoryMaker(random, NAMES);
  }

  extend(): void {
    while (this.calls.length < this.length) {
      const call = this.maker.next(this.ahead, (this.timeUs += 1000));
      this.ahead.applyCall(call);
      this.calls.push(call);
    }
  }

  /** Writes the calls to come to a file, for a writer. */
  writeTo(path: string): void {
    this.extend();
    writeFileSync(path, this.calls.map((call) => JSON.stringify(call)).join('\n'));
  }

  /** Takes the calls off that lead to `sequence`. */
  advanceTo(sequence: number): void {
    if (sequence < this.found.sequence) {
      throw new Error(`went back: found ${sequence} after ${this.found.sequence}`);
    }
    while (this.found.sequence < sequence) {
      const call = this.calls.shift();
      if (call === undefined) throw new Error(`never written: found ${sequence}`);
      this.found.applyCall(call);
    }
    if (this.found.sequence !== sequence) throw new Error(`half a batch: found ${sequence}`);
  }

  /**
   * Opens what a process has left, only to read, and holds it against the oracle. Resolves with the sequence that its
   * storage.dat stands for.
   */
  async check(directory: string, acknowledged: number, withTimes = true): Promise<number> {
    const store = Store.open(directory, nodeEnvironment(), { ...STORE_OPTIONS, readOnly: true });
    try {
      const { sequence } = store.state;
      if (sequence < acknowledged) {
        throw new Error(`lost: acknowledged ${acknowledged}, found ${sequence}`);
      }
      this.advanceTo(sequence);
      checkState(store.state);
      const found = dumpState(store.state, withTimes);
      const expected = this.found.dump(withTimes);
      if (found !== expected) throw new Error(`found\n${found}\nexpected\n${expected}`);
      return store.state.levels.base?.sequence ?? 0;
    } finally {
      await store.close();
    }
  }
}

export interface RunningWriter {
  readonly child: ChildProcess;
  /** What it has printed to stderr. */
  stderr: string;
  /** The signal that ended it, or null. */
  readonly ended: Promise<NodeJS.Signals | null>;
}

/** Starts a writer that prints to the file `printed`. It ends when it is killed, or when we end. */
export function startWriter(args: readonly string[], printed: string): RunningWriter {
  const output = openSync(printed, 'w');
  const child = spawn(process.execPath, [WRITER, ...args], { stdio: ['pipe', output, 'pipe'] });
  closeSync(output);
  const writer: RunningWriter = {
    child,
    stderr: '',
    ended: new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (_code, signal) => resolve(signal));
    }),
  };
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (writer.stderr += text));
  return writer;
}

/** The highest sequence that a writer has printed; 0 when none. */
export function acknowledgedIn(printed: string): number {
  return Math.max(0, ...linesOf(printed).slice(-200).map(Number));
}

/** Whole lines only: the last one may be cut off in the middle of a number. */
export function linesOf(path: string): string[] {
  return readFileSync(path, 'utf8').split('\n').slice(0, -1);
}
