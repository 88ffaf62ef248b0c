/**
 * Shell completion for bash, zsh and fish, written from oclif.manifest.json: commands, their flags, and the values of
 * flags that have a closed set. The scripts are static, so that a Tab starts no process; after an upgrade the shell
 * runs `sutra completion` again with its next start. What a flag takes is read off its help: `always|interval` is a
 * closed set, DIR a directory, FILE a file.
 */

import { ASSOCIATION_TYPES } from '../storage/storage.js';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** As much of oclif.manifest.json as completion needs. */
export interface Manifest {
  readonly commands: Readonly<Record<string, ManifestCommand>>;
}

interface ManifestCommand {
  readonly summary?: string;
  readonly hidden?: boolean;
  readonly args: Readonly<Record<string, { readonly options?: readonly string[] }>>;
  readonly flags: Readonly<Record<string, ManifestFlag>>;
}

interface ManifestFlag {
  readonly summary?: string;
  readonly char?: string;
  readonly hidden?: boolean;
  readonly type: 'boolean' | 'option';
  readonly helpValue?: string;
}

type Value = 'none' | 'any' | 'directory' | 'file' | readonly string[];

interface Flag {
  readonly name: string;
  readonly char: string | undefined;
  readonly about: string;
  readonly value: Value;
}

interface Subcommand {
  readonly name: string;
  readonly about: string;
  readonly flags: readonly Flag[];
  /** What its arguments can be; `any` completes nothing, since ids live in the store. */
  readonly argument: Value;
}

export function completionScript(shell: Shell, manifest: Manifest): string {
  const commands = Object.entries(manifest.commands)
    .filter(([, command]) => command.hidden !== true)
    .map(([name, command]) => subcommand(name, command));
  switch (shell) {
    case 'bash':
      return bash(commands);
    case 'zsh':
      return zsh(commands);
    case 'fish':
      return fish(commands);
  }
}

function subcommand(name: string, command: ManifestCommand): Subcommand {
  const flags = Object.entries(command.flags)
    .filter(([, flag]) => flag.hidden !== true)
    .map(([flagName, flag]) => ({
      name: flagName,
      char: flag.char,
      about: firstSentence(flag.summary),
      value: valueOf(flag),
    }));
  flags.push({ name: 'help', char: undefined, about: 'Explain this command', value: 'none' });
  const [first] = Object.entries(command.args);
  return {
    name,
    about: firstSentence(command.summary),
    flags,
    argument: first?.[1].options ?? (first?.[0] === 'file' ? 'file' : 'any'),
  };
}

function valueOf({ type, helpValue = '' }: ManifestFlag): Value {
  if (type === 'boolean') return 'none';
  if (helpValue === 'TYPE') return ASSOCIATION_TYPES;
  const words = helpValue.split('|');
  if (words.every((word) => /^[a-z][a-z0-9-]*$/.test(word))) return words;
  if (words.includes('DIR')) return 'directory';
  return words.includes('FILE') ? 'file' : 'any';
}

/** Without the bracketed notes on defaults and variables, which would fill the line. */
function firstSentence(summary = ''): string {
  const bare = summary.replace(/\s*\[[^\]]*\]/g, '');
  return (/^.*?[.:](?=\s|$)/.exec(bare)?.[0] ?? bare).replace(/[.:]$/, '');
}

function bash(commands: readonly Subcommand[]): string {
  const names = commands.map(({ name }) => name);
  const branches = commands.map(({ name, flags, argument }) => {
    const options = flags.flatMap((flag) => [
      `--${flag.name}`,
      ...(flag.char === undefined ? [] : [`-${flag.char}`]),
    ]);
    const values = flags
      .filter((flag) => flag.value !== 'none')
      .map((flag) => {
        const forms = flag.char === undefined ? `--${flag.name}` : `--${flag.name}|-${flag.char}`;
        return `        ${forms}) ${bashReply(flag.value)}; return ;;`;
      });
    return [
      `    ${name})`,
      '      case "$previous" in',
      ...values,
      '      esac',
      `      if [[ $current == -* ]]; then COMPREPLY=($(compgen -W ${quote(options.join(' '))} -- "$current"))`,
      `      else ${bashReply(argument)}; fi ;;`,
    ].join('\n');
  });
  return `# bash completion for sutra: eval "$(sutra completion bash)"
_sutra() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  COMPREPLY=()
  # readline breaks \`--flag=value\` at the equals sign.
  if [[ $current == = ]]; then current=''; elif [[ $previous == = ]]; then previous=\${COMP_WORDS[COMP_CWORD-2]}; fi
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W ${quote([...names, 'help', '--help', '--version'].join(' '))} -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${branches.join('\n')}
    help) ((COMP_CWORD == 2)) && COMPREPLY=($(compgen -W ${quote(names.join(' '))} -- "$current")) ;;
  esac
}
complete -F _sutra sutra`;
}

function bashReply(value: Value): string {
  if (value === 'directory') return bashFiles('-d');
  if (value === 'file') return bashFiles('-f');
  if (typeof value === 'string') return ':';
  return `COMPREPLY=($(compgen -W ${quote(value.join(' '))} -- "$current"))`;
}

/** Names may hold spaces, so only a newline parts them. */
function bashFiles(kind: '-d' | '-f'): string {
  const ifs = "local IFS=$'\\n'";
  return `${ifs}; compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen ${kind} -- "$current"))`;
}

function zsh(commands: readonly Subcommand[]): string {
  const list = commands.map(({ name, about }) => `    ${quote(`${escapeColon(name)}:${about}`)}`);
  const branches = commands.map(({ name, flags, argument }) => {
    const specs = flags.flatMap((flag) => {
      const about = `[${flag.about.replace(/[[\]\\]/g, '\\$&')}]`;
      const action = flag.value === 'none' ? '' : `:${flag.name}:${zshAction(flag.value)}`;
      const forms = [`--${flag.name}${flag.value === 'none' ? '' : '='}${about}${action}`];
      if (flag.char !== undefined) forms.push(`-${flag.char}${about}${action}`);
      return forms;
    });
    specs.push(`*:argument:${zshAction(argument)}`);
    return `        ${name}) _arguments -S ${specs.map(quote).join(' \\\n          ')} ;;`;
  });
  return `#compdef sutra
# zsh completion for sutra: eval "$(sutra completion zsh)" after compinit
_sutra() {
  local -a commands
  commands=(
${list.join('\n')}
    'help:Explain a command'
  )
  if ((CURRENT == 2)); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
${branches.join('\n')}
        help) ((CURRENT == 2)) && _describe command commands ;;
  esac
}
compdef _sutra sutra`;
}

function zshAction(value: Value): string {
  if (value === 'directory') return '_files -/';
  if (value === 'file') return '_files';
  return typeof value === 'string' ? ' ' : `(${value.join(' ')})`;
}

function fish(commands: readonly Subcommand[]): string {
  const lines = [
    '# fish completion for sutra: sutra completion fish | source',
    'complete -c sutra -f',
    "complete -c sutra -n __fish_use_subcommand -l version -d 'Print the version'",
    "complete -c sutra -n __fish_use_subcommand -l help -d 'Explain sutra'",
    "complete -c sutra -n __fish_use_subcommand -a help -d 'Explain a command'",
  ];
  for (const { name, about } of commands) {
    lines.push(`complete -c sutra -n __fish_use_subcommand -a ${name} -d ${fishQuote(about)}`);
    lines.push(`complete -c sutra -n '__fish_seen_subcommand_from help' -a ${name}`);
  }
  for (const { name, flags, argument } of commands) {
    // Only as the first word: `sutra query stats` asks for a concept of that name.
    const condition = `-n ${fishQuote(`set -l w (commandline -opc); test "$w[2]" = ${name}`)}`;
    for (const { name: flag, char, about, value } of flags) {
      const short = char === undefined ? '' : ` -s ${char}`;
      const takes = value === 'none' ? '' : ` ${fishValue(value)}`;
      lines.push(
        `complete -c sutra ${condition} -l ${flag}${short}${takes} -d ${fishQuote(about)}`,
      );
    }
    if (argument === 'file') lines.push(`complete -c sutra ${condition} -F`);
    else if (typeof argument !== 'string') {
      lines.push(`complete -c sutra ${condition} -a ${fishQuote(argument.join(' '))}`);
    }
  }
  return lines.join('\n');
}

function fishValue(value: Value): string {
  if (value === 'directory') return "-x -a '(__fish_complete_directories)'";
  if (value === 'file') return '-r -F';
  return typeof value === 'string' ? '-x' : `-x -a ${fishQuote(value.join(' '))}`;
}

/** For bash and zsh. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function fishQuote(text: string): string {
  return `'${text.replace(/['\\]/g, '\\$&')}'`;
}

function escapeColon(text: string): string {
  return text.replaceAll(':', '\\:');
}
