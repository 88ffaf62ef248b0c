/**
 * A page of the documentation as its reader has it: its blocks of commands in order, the commands within its sentences, and a
 * place to type them in. What a fence says behind its language is how its commands are run:
 *
 *   sh             one after the other, each must succeed
 *   sh server      the same, beside a server of the page's store
 *   sh serve       a server, which runs until a block that does not ask for one
 *   sh client      beside that server
 *   sh terminal    in a terminal, until `q`
 *   sh old-store   with an old storage.dat in the directory it names
 *   sh trouble X   each by itself, with the trouble X (troubles.test.ts)
 *   js             a program
 *   console        on another machine than this; see ELSEWHERE in examples.test.ts
 */

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll } from 'vitest';
import { BIN, PROJECT_ROOT, temporaryDirectory } from '../support/fixture.js';

const run = promisify(execFile);
const running = new Set<ChildProcess>();

// What a test that failed has left.
afterAll(() => {
  for (const child of running) child.kill('SIGKILL');
});

const TIMEOUT_MS = 120_000;

export interface Block {
  /** `sh`, `js`, `console` or another language. */
  readonly language: string;
  /** What stands behind the language. */
  readonly how: string;
  readonly code: string;
  /** The text from this block to the next heading. */
  readonly after: string;
}

export function pageText(page: string): string {
  return readFileSync(join(PROJECT_ROOT, page), 'utf8');
}

export function blocksOf(page: string): Block[] {
  const text = pageText(page);
  return [...text.matchAll(/^```(\w+)(?: ([^\n]+))?\n([\s\S]*?)^```$/gm)].map((match) => {
    const rest = text.slice(match.index + match[0].length);
    const end = rest.search(/^#{1,6} /m);
    return {
      language: match[1] ?? '',
      how: match[2] ?? '',
      code: match[3] ?? '',
      after: end < 0 ? rest : rest.slice(0, end),
    };
  });
}

/** The command lines of a block, with continued ones joined. */
export function linesOf({ code }: Block): string[] {
  return code
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .map((line) => line.replace(/^[$#] /, '').trim())
    .filter((line) => line !== '');
}

/** What stands as code within sentences. */
export function spansOf(page: string): string[] {
  const prose = pageText(page).replace(/^```[\s\S]*?^```$/gm, '');
  return [...new Set([...prose.matchAll(/`([^`]+)`/g)].map(([, span = '']) => span))];
}

export interface Printed {
  readonly code: number;
  /** Both streams, as a terminal shows them. */
  readonly text: string;
}

/** A fresh directory with `sutra` on the path, and nothing of the caller's settings. */
export class Desk {
  readonly directory = temporaryDirectory('docs');
  private readonly env: NodeJS.ProcessEnv;
  private files = 0;

  constructor() {
    const bin = join(this.directory, 'bin');
    mkdirSync(bin);
    mkdirSync(join(this.directory, 'node_modules'));
    symlinkSync(PROJECT_ROOT, join(this.directory, 'node_modules', 'sutra'));
    const shim = join(bin, 'sutra');
    writeFileSync(shim, `#!/bin/sh\nexec '${process.execPath}' '${BIN}' "$@"\n`);
    chmodSync(shim, 0o755);
    const path = `${bin}:${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;
    this.env = { ...process.env, PATH: path, NO_COLOR: '1', LC_ALL: 'C.UTF-8' };
    for (const name of Object.keys(this.env)) {
      if (name.startsWith('SUTRA_')) Reflect.deleteProperty(this.env, name);
    }
  }

  /** Runs shell lines until one fails; what went to stdout. Throws when one did. */
  async shell(code: string): Promise<string> {
    return (await run('/bin/sh', ['-euc', code], this.options())).stdout;
  }

  /** Runs one command to its end, however that is. */
  async type(command: string): Promise<Printed> {
    try {
      const { stdout, stderr } = await run('/bin/sh', ['-c', command], this.options());
      return { code: 0, text: stdout + stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code?: unknown; stdout: string; stderr: string };
      if (typeof code !== 'number') throw error;
      return { code, text: stdout + stderr };
    }
  }

  async program(code: string): Promise<string> {
    const file = join(this.directory, `example${this.files++}.mjs`);
    writeFileSync(file, code);
    return (await run(process.execPath, [file], this.options())).stdout;
  }

  /** Runs one command in a terminal of 100x30, and presses `q` once it shows `until`. */
  async terminal(command: string, until: RegExp): Promise<string> {
    const inside = `stty rows 30 cols 100; exec ${command}`;
    const child = spawn('script', ['-qec', inside, '/dev/null'], {
      ...this.options(),
      env: { ...this.env, TERM: 'xterm' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let text = '';
    let asked = false;
    child.stdout.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      if (asked || !until.test(text)) return;
      asked = true;
      child.stdin.write('q');
    });
    const [code] = (await once(child, 'close')) as [number | null];
    if (code !== 0) throw new Error(`${command} ended with ${code}: ${text}`);
    return text;
  }

  /** Starts a command that goes on running, and resolves once it prints `until`. */
  async start(command: string, until: RegExp): Promise<Background> {
    const child = spawn('/bin/sh', ['-c', `exec ${command}`], {
      cwd: this.directory,
      env: this.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const background = new Background(child);
    await background.shows(until);
    return background;
  }

  private options() {
    return { cwd: this.directory, env: this.env, timeout: TIMEOUT_MS };
  }
}

export class Background {
  text = '';
  private readonly closed: Promise<number | null>;
  private look: () => void = () => undefined;

  constructor(private readonly child: ChildProcess) {
    running.add(child);
    this.closed = new Promise((resolve) => {
      child.once('close', (code) => {
        running.delete(child);
        resolve(code);
        this.look();
      });
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (part: string) => {
        this.text += part;
        this.look();
      });
    }
  }

  /** Its first group in what `pattern` finds, once it does. */
  async shows(pattern: RegExp): Promise<string> {
    return new Promise((resolve, reject) => {
      this.look = () => {
        const match = pattern.exec(this.text);
        if (match !== null) resolve(match[1] ?? match[0]);
        else if (this.child.exitCode !== null) reject(new Error(`it ended: ${this.text}`));
      };
      this.look();
    });
  }

  /** SIGTERM; its exit code. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.child.kill(signal);
    return this.closed;
  }
}
