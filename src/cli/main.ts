/**
 * From argv to an exit code. oclif parses, runs and explains the command; what surrounds it is here, so that every command ends the
 * same way: one place prints failures, EPIPE on stdout is a quiet exit 0, Ctrl-C is 130. The process then exits by
 * itself rather than waiting for handles that a library forgot.
 */

import { EXIT, SutraError } from '../errors.js';
import { failureOf, reportFailure } from './failure.js';
import { installInterrupt } from './interrupt.js';
import { parseSwitch } from '../storage/settings.js';

/** `root` is the directory of package.json; `commands` the names that exist, from the manifest. */
export async function main(argv: readonly string[], root: string, commands: readonly string[]) {
  guardStreams();
  installInterrupt();
  // oclif asks for the user's shell and home, and a user without a passwd entry (a container) has neither.
  process.env['SHELL'] ??= 'sh';
  process.env['HOME'] ??= '/';

  let command: string | undefined;
  let json = asksFor('--json', argv);
  try {
    json ||= parseSwitch(process.env['SUTRA_JSON'] ?? '', 'SUTRA_JSON');
    const args = helpAsFlag(argv);
    command = knownCommand(args[0], commands);
    if (command === undefined || asksFor('--help', args)) await explain(args, root);
    else await runCommand(command, args.slice(1), root);
    await finish(typeof process.exitCode === 'number' ? process.exitCode : EXIT.OK);
  } catch (error) {
    await finish(reportFailure(failureOf(error, command), json));
  }
}

/** `sutra help path` and `sutra help` mean `sutra path --help` and `sutra --help`. */
function helpAsFlag(argv: readonly string[]): string[] {
  const [first, ...rest] = argv;
  if (first === 'help') return [...rest.slice(0, 1), '--help'];
  return [...argv];
}

/** The command's name; undefined for flags and no arguments, which oclif answers with version and help. */
function knownCommand(name: string | undefined, commands: readonly string[]): string | undefined {
  if (name === undefined || name.startsWith('-')) return undefined;
  if (commands.includes(name)) return name;
  const near = commands.find((known) => isNear(name, known));
  throw new SutraError('INVALID_ARGUMENT', `there is no command ${JSON.stringify(name)}`, {
    hint: near === undefined ? 'See `sutra --help`.' : `Did you mean \`sutra ${near}\`?`,
  });
}

/** A prefix, or one letter more, less or other, or two swapped. */
function isNear(typed: string, known: string): boolean {
  if (typed.length >= 2 && known.startsWith(typed)) return true;
  let start = 0;
  while (start < typed.length && typed[start] === known[start]) start++;
  const a = typed.slice(start);
  const b = known.slice(start);
  return (
    a.slice(1) === b.slice(1) ||
    a === b.slice(1) ||
    a.slice(1) === b ||
    (a.slice(2) === b.slice(2) && a[0] === b[1] && a[1] === b[0])
  );
}

/** Is this flag there, before any `--`? */
function asksFor(flag: string, argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return argv.slice(0, end < 0 ? argv.length : end).includes(flag);
}

/** Help, of all or of one command: oclif loads its whole configuration for that. */
async function explain(args: string[], root: string): Promise<void> {
  const [{ run }, { settings }] = await Promise.all([
    import('@oclif/core/run'),
    import('@oclif/core/settings'),
  ]);
  // Commands are always the built ones: never look for TypeScript sources, whatever NODE_ENV says.
  settings.enableAutoTranspile = false;
  await run(args, { root });
}

/** What a file in src/commands exports: a SutraCommand. */
interface CommandModule {
  readonly default: { start(args: string[], root: string): Promise<void> };
}

/** Loads the one command by its path, as oclif does; its name is known to be one of the manifest's. */
async function runCommand(name: string, args: string[], root: string): Promise<void> {
  const module = (await import(`../commands/${name}.js`)) as CommandModule;
  await module.default.start(args, root);
}

function guardStreams(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // The reader has gone (`sutra ... | head -1`): it has what it wanted.
    if (error.code === 'EPIPE') process.exit(EXIT.OK);
    process.stderr.write(`error: cannot write to stdout: ${error.message}\n`);
    process.exit(EXIT.FAILED);
  });
  // Nobody left to tell.
  process.stderr.on('error', () => undefined);
}

/** Ends the process once both streams have taken everything. */
async function finish(code: number): Promise<never> {
  await Promise.all([drained(process.stdout), drained(process.stderr)]);
  process.exit(code);
}

function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.write('', () => {
      resolve();
    });
  });
}
