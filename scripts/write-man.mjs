// Writes man/sutra.1 from oclif.manifest.json and package.json, so that the page says what the binary takes. Part of the
// build. man(7) macros only: groff and mandoc both read them.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';

/** @typedef {{summary?: string, char?: string, hidden?: boolean, helpValue?: string, env?: string}} Flag */
/** @typedef {{description?: string, required?: boolean}} Arg */
/** @typedef {{summary?: string, description?: string, hidden?: boolean, examples?: string[], args: Record<string, Arg>, flags: Record<string, Flag>}} Command */

const root = new URL('../', import.meta.url);
const read = (/** @type {string} */ name) =>
  /** @type {unknown} */ (JSON.parse(readFileSync(new URL(name, root), 'utf8')));

const facts = /** @type {{version: string, oclif: {description: string}}} */ (read('package.json'));
const manifest = /** @type {{commands: Record<string, Command>}} */ (read('oclif.manifest.json'));

const [title = '', about = '', exits = ''] = facts.oclif.description.split(/\n+/);
const commands = Object.entries(manifest.commands).filter(([, { hidden }]) => hidden !== true);

const page = [
  '.\\" Written by scripts/write-man.mjs from oclif.manifest.json; do not edit.',
  `.TH SUTRA 1 "" "sutra ${facts.version}" "User Commands"`,
  '.SH NAME',
  'sutra \\- storage server for knowledge graphs',
  '.SH SYNOPSIS',
  '.B sutra',
  '.I command',
  '.RI [ argument " ...] [" flag " ...]"',
  '.br',
  '.B sutra \\-\\-version',
  '.br',
  '.B sutra help',
  '.RI [ command ]',
  '.SH DESCRIPTION',
  text(title),
  '.PP',
  text(about),
  '.SH COMMANDS',
  ...commands.flatMap(([name, command]) => section(name, command)),
  '.SH EXIT STATUS',
  text(exits.replace(/^Exit codes: /, '')),
  '.SH ENVIRONMENT',
  '.TP',
  '.B SUTRA_STORAGE_MODE',
  '\\(lqembedded\\(rq (the default) or \\(lqserver\\(rq: which kind of store commands use without \\-\\-server and \\-\\-storage.',
  '.TP',
  '.B SUTRA_STORAGE_PATH',
  'The directory of the embedded store.',
  '.TP',
  '.B SUTRA_STORAGE_SERVER',
  'HOST:PORT of the server.',
  '.TP',
  '.B NO_COLOR',
  'Any value but the empty one turns colour off.',
  '.PP',
  'The variables of single flags stand beside them above. A flag wins over its variable, and an empty variable counts as none.',
  '.SH FILES',
  '.TP',
  '.I ./knowledge',
  'The store that commands use by default.',
  '.SH SEE ALSO',
  'README.md and docs/OPERATIONS.md in the package.',
];

mkdirSync(new URL('man/', root), { recursive: true });
writeFileSync(new URL('man/sutra.1', root), `${page.join('\n')}\n`);
process.stdout.write(`man/sutra.1: ${commands.length} commands\n`);

/**
 * @param {string} name
 * @param {Command} command
 * @returns {string[]}
 */
function section(name, command) {
  const args = Object.entries(command.args).map(([arg, { required }]) =>
    required === true ? arg.toUpperCase() : `[${arg.toUpperCase()}]`,
  );
  const flags = Object.entries(command.flags).filter(([, { hidden }]) => hidden !== true);
  return [
    `.SS "sutra ${[name, ...args].map(escape).join(' ')}"`,
    text(command.summary ?? ''),
    ...(command.description === undefined ? [] : ['.PP', text(command.description)]),
    ...Object.entries(command.args).flatMap(([arg, { description = '' }]) => [
      '.TP',
      `.I ${escape(arg.toUpperCase())}`,
      text(description),
    ]),
    ...flags.flatMap(([flag, { char, helpValue, summary = '', env }]) => {
      const short = char === undefined ? '' : `\\fB\\-${escape(char)}\\fR, `;
      const value = helpValue === undefined ? '' : ` \\fI${escape(helpValue)}\\fR`;
      const variable = env === undefined || summary.includes('[env') ? '' : ` [env: ${env}]`;
      return ['.TP', `${short}\\fB\\-\\-${escape(flag)}\\fR${value}`, text(summary + variable)];
    }),
    ...(command.examples ?? []).flatMap((example) => {
      const [first = '', ...rest] = example.replaceAll('<%= config.bin %>', 'sutra').split('\n');
      const [label, code] = rest.length === 0 ? ['', [first]] : [first, rest];
      return ['.PP', ...(label === '' ? [] : [text(label)]), '.EX', ...code.map(literal), '.EE'];
    }),
  ];
}

/** Running text: a line that begins with a full stop or a quote would be a macro. @param {string} words */
function text(words) {
  return words.split('\n').map(literal).join('\n.br\n');
}

/** @param {string} line */
function literal(line) {
  const escaped = escape(line);
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}

/** @param {string} words */
function escape(words) {
  return words
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('"', '\\(dq')
    .replace(
      /[^\x20-\x7e]/g,
      (/** @type {string} */ c) =>
        `\\[u${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`,
    );
}
