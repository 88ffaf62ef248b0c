/**
 * What tests of the whole binary stand on: temporary directories, one run of `sutra`, and a served store. Everything made
 * here is removed when the test file ends, and every wait is bounded: a hang becomes an error that shows what the
 * process printed. Children run under the Node that runs the tests (process.execPath), with no SUTRA_* variable of the
 * caller's, and in a directory of their own, so that the default ./knowledge never lands in the checkout.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';

export const PROJECT_ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const BIN = join(PROJECT_ROOT, 'bin', 'run');

const RUN_TIMEOUT_MS = 30_000;
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 20_000;

const directories = new Set<string>();
const children = new Set<ChildProcess>();

function removeDirectory(directory: string): void {
  rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
  directories.delete(directory);
}

/** For the ways out that run no hook: a test run that is interrupted, or a worker that is told to go. */
function cleanUpNow(): void {
  for (const child of children) child.kill('SIGKILL');
  for (const directory of directories) removeDirectory(directory);
}

process.once('exit', cleanUpNow);

afterAll(async () => {
  await Promise.all([...children].map((child) => killAndWait(child)));
  for (const directory of directories) removeDirectory(directory);
});

/** A fresh directory on a real disk (os.tmpdir()), removed when the test file ends. */
export function temporaryDirectory(label = 'test'): string {
  const directory = mkdtempSync(join(tmpdir(), `sutra-${label}-`));
  directories.add(directory);
  return directory;
}

/** A path inside a fresh temporary directory at which nothing exists yet. */
export function temporaryPath(name = 'store'): string {
  return join(temporaryDirectory(), name);
}

let workingDirectory: string | undefined;

/** Where children run unless told otherwise. */
function defaultWorkingDirectory(): string {
  workingDirectory ??= temporaryDirectory('cwd');
  return workingDirectory;
}

export interface ProcessOptions {
  /** Added to the caller's environment, of which SUTRA_* is removed; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly timeoutMs?: number;
}

export interface RunOptions extends ProcessOptions {
  /** Written to stdin, which then ends; without it stdin is empty. */
  readonly input?: string | Uint8Array;
}

export interface RunResult {
  /** The exit code; 128 + the signal's number when a signal ended it, as a shell says it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function childEnvironment(extra: ProcessOptions['env'] = {}): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(process.env)) {
    // vitest marks its workers in NODE_ENV and colours its output; neither is the child's business.
    if (name.startsWith('SUTRA_') || name.startsWith('VITEST') || name === 'NODE_ENV') continue;
    if (name === 'FORCE_COLOR' || name === 'NODE_OPTIONS') continue;
    env[name] = value;
  }
  for (const [name, value] of Object.entries(extra)) {
    if (value === undefined) Reflect.deleteProperty(env, name);
    else env[name] = value;
  }
  return env;
}

/** A child with its output collected; `exited` resolves once the streams have ended too, and never rejects. */
class Running {
  readonly child: ChildProcess;
  readonly exited: Promise<number>;
  stdout = '';
  stderr = '';
  /** Set when the process could not be started at all. */
  startError: Error | undefined;
  onOutput: () => void = () => undefined;

  constructor(args: readonly string[], options: ProcessOptions, stdin: 'pipe' | 'ignore') {
    const child = spawn(process.execPath, [BIN, ...args], {
      cwd: options.cwd ?? defaultWorkingDirectory(),
      env: childEnvironment(options.env),
      stdio: [stdin, 'pipe', 'pipe'],
    });
    this.child = child;
    children.add(child);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
      this.onOutput();
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
      this.onOutput();
    });
    this.exited = new Promise((resolve) => {
      child.once('error', (error) => {
        this.startError = error;
        children.delete(child);
        resolve(127);
      });
      child.once('close', (code, signal) => {
        children.delete(child);
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
      });
    });
  }

  /** The command line and all it printed, for error messages. */
  report(args: readonly string[]): string {
    const lines = [`sutra ${args.join(' ')}`];
    if (this.startError !== undefined) lines.push(`could not start: ${this.startError.message}`);
    lines.push('--- stdout', this.stdout, '--- stderr', this.stderr);
    return lines.join('\n');
  }
}

/** Resolves to undefined when the promise takes longer. The timer holds nothing open. */
async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, undefined);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function killAndWait(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  child.kill('SIGKILL');
  await within(closed, STOP_TIMEOUT_MS);
}

/** Runs `sutra ARGS` to its end. Rejects only when it cannot start or outlives its time; then it is killed first. */
export async function runSutra(
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const timeoutMs = options.timeoutMs ?? RUN_TIMEOUT_MS;
  const running = new Running(args, options, options.input === undefined ? 'ignore' : 'pipe');
  const { stdin } = running.child;
  if (stdin !== null && options.input !== undefined) {
    // A command may end without reading its input: EPIPE is its right.
    stdin.on('error', () => undefined);
    stdin.end(options.input);
  }
  const code = await within(running.exited, timeoutMs);
  if (code === undefined) {
    await killAndWait(running.child);
    throw new Error(`killed: still running after ${timeoutMs} ms: ${running.report(args)}`);
  }
  if (running.startError !== undefined) throw new Error(running.report(args));
  return { code, stdout: running.stdout, stderr: running.stderr };
}

export interface Serving {
  /** HOST:PORT to connect to, as `--server` takes it. */
  readonly address: string;
  readonly host: string;
  readonly port: number;
  readonly pid: number;
  /** What it has printed so far. */
  readonly stdout: string;
  readonly stderr: string;
  /** Resolves with the exit code once the process is gone, however that came about. */
  readonly exited: Promise<number>;
  /** SIGTERM, and wait for the drain; resolves with the exit code. Rejects, after a kill, when it takes too long. */
  stop(signal?: NodeJS.Signals): Promise<number>;
  /** SIGKILL, and wait until it is gone. */
  kill9(): Promise<void>;
}

const LISTENING = /listening on (\[[^\]]+\]|[^\s:]+):(\d+)[^\n]*\n/;

/**
 * Starts `sutra serve ARGS` and resolves once it prints that it accepts calls. Unless ARGS say otherwise it listens on
 * 127.0.0.1 on a port the system picks, over a store in a fresh temporary directory.
 */
export async function startServe(
  args: readonly string[] = [],
  options: ProcessOptions = {},
): Promise<Serving> {
  const timeoutMs = options.timeoutMs ?? START_TIMEOUT_MS;
  const given = (flag: string): boolean =>
    args.some((arg) => arg === flag || arg.startsWith(`${flag}=`));
  const full = ['serve', ...args];
  if (!given('--host')) full.push('--host', '127.0.0.1');
  if (!given('--port')) full.push('--port', '0');
  if (!given('--storage') && options.env?.['SUTRA_STORAGE_PATH'] === undefined) {
    full.push('--storage', temporaryPath());
  }

  const running = new Running(full, options, 'ignore');
  const listening = new Promise<RegExpExecArray>((resolve) => {
    running.onOutput = () => {
      const match = LISTENING.exec(running.stdout) ?? LISTENING.exec(running.stderr);
      if (match !== null) resolve(match);
    };
  });
  const outcome = await within(Promise.race([listening, running.exited]), timeoutMs);
  if (outcome === undefined) {
    await killAndWait(running.child);
    throw new Error(`killed: not listening after ${timeoutMs} ms: ${running.report(full)}`);
  }
  if (typeof outcome === 'number') {
    throw new Error(`ended with code ${outcome} before it listened: ${running.report(full)}`);
  }

  const host = outcome[1] ?? '';
  const port = Number(outcome[2]);
  // Listening everywhere is reached here by loopback.
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '[::]' ? '[::1]' : host;
  return {
    address: `${reachable}:${port}`,
    host: reachable,
    port,
    pid: running.child.pid ?? 0,
    exited: running.exited,
    get stdout() {
      return running.stdout;
    },
    get stderr() {
      return running.stderr;
    },
    async stop(signal: NodeJS.Signals = 'SIGTERM') {
      running.child.kill(signal);
      const code = await within(running.exited, STOP_TIMEOUT_MS);
      if (code !== undefined) return code;
      await killAndWait(running.child);
      throw new Error(
        `killed: still there ${STOP_TIMEOUT_MS} ms after ${signal}: ${running.report(full)}`,
      );
    },
    async kill9() {
      await killAndWait(running.child);
      await running.exited;
    },
  };
}
