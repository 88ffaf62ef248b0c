/**
 * The flags that commands share. Each takes its value from the flag, else from SUTRA_<FLAG> in the environment, else
 * from its default; flag and variable go through one parser, so a bad value is refused in the same words, and the
 * error names the flag or the variable it came from. What names data rather than a setting (--embedding, --like) and
 * which store (--server, --storage, see storage/open.ts) have no SUTRA_<FLAG> of their own.
 */

import type { Arg, BooleanFlag, OptionFlag } from '@oclif/core/interfaces';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { parseInteger, parseTimeoutMs, refuse } from '../storage/settings.js';
import { ASSOCIATION_TYPES, type Direction, type Weighting } from '../storage/storage.js';
import { parseAssociationType } from './association-type.js';

/** Parses text from a flag or a variable; `source` is what errors call it. */
export type Parse<T> = (text: string, source: string) => T;

export interface SettingOptions {
  readonly summary: string;
  /** What stands for the value in help: `MS`, `HOST:PORT`. */
  readonly helpValue: string;
  readonly char?: 'k';
  /** False: no variable. Absent: SUTRA_<NAME>. */
  readonly env?: string | false;
  /** Shown in help beside the summary; the command applies it. */
  readonly defaultHelp?: string;
}

export function environmentName(flag: string): string {
  return `SUTRA_${flag.toUpperCase().replaceAll('-', '_')}`;
}

/** A flag with a value; undefined when neither flag nor variable gives one. An empty variable counts as none. */
export function setting<T>(
  name: string,
  parse: Parse<T>,
  options: SettingOptions,
): OptionFlag<T | undefined> {
  const env = options.env === false ? undefined : (options.env ?? environmentName(name));
  const fallback = options.defaultHelp === undefined ? '' : ` [default: ${options.defaultHelp}]`;
  // oclif passes a token for what stood on the command line, and none for what came from the environment.
  const read = async (text: string, context: { readonly token?: unknown }): Promise<T> =>
    parse(text, context.token === undefined && env !== undefined ? env : `--${name}`);
  return {
    name,
    type: 'option',
    multiple: false,
    input: [],
    summary: options.summary + fallback,
    helpValue: options.helpValue,
    ...(options.char === undefined ? {} : { char: options.char }),
    ...(env === undefined ? {} : { env }),
    // The library's type asks for the element of T when T is an array; for one value that is T itself.
    parse: read as OptionFlag<T | undefined>['parse'],
  };
}

/** A flag that may be repeated, with commas for several at once; its variable takes commas too. `.flat()` the result. */
export function repeatedSetting<T>(
  name: string,
  parse: Parse<T>,
  options: SettingOptions,
): OptionFlag<T[][] | undefined> {
  const one = setting(
    name,
    (text, source) => text.split(',').map((part) => parse(part.trim(), source)),
    options,
  );
  return {
    ...one,
    multiple: true,
    // Else `--type causal A B` would take A and B for types.
    multipleNonGreedy: true,
  } as unknown as OptionFlag<T[][] | undefined>;
}

export function text(what: string): Parse<string> {
  return (value, source) => {
    if (value === '' || value.includes('\0')) throw refuse(source, value, what);
    return value;
  };
}

/** Decimal notation as in JSON, with an optional leading point or plus: not '', 'abc', 'NaN', '0x10' or '1,5'. */
export function parseNumber(value: string, source: string): number {
  const parsed = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(value)
    ? Number(value)
    : Number.NaN;
  const rounded = Math.fround(parsed);
  if (!Number.isFinite(rounded)) throw refuse(source, value, 'a number that fits a float32');
  return rounded;
}

function parseStrength(value: string, source: string): number {
  const strength = parseNumber(value, source);
  if (strength < 0) throw refuse(source, value, 'a number of at least 0');
  return strength;
}

function parseConfidence(value: string, source: string): number {
  const confidence = parseNumber(value, source);
  if (confidence < 0 || confidence > 1) throw refuse(source, value, 'a number from 0 to 1');
  return confidence;
}

function parseDirection(value: string, source: string): Direction {
  if (value === 'both' || value === 'out' || value === 'in') return value;
  throw refuse(source, value, 'both, out or in');
}

function parseWeighting(value: string, source: string): Weighting {
  if (value === 'hops' || value === 'confidence') return value;
  throw refuse(source, value, 'hops or confidence');
}

export function integer(min: number, max: number): Parse<number> {
  return (value, source) => parseInteger(value, source, min, max);
}

/** The name of a file. */
export function fileSetting(
  name: string,
  summary: string,
  options: Pick<SettingOptions, 'defaultHelp' | 'env'> = {},
): OptionFlag<string | undefined> {
  return setting(name, text('the path of a file'), { summary, helpValue: 'FILE', ...options });
}

/** A flag without a value. */
export function switchFlag(name: string, summary: string): BooleanFlag<boolean> {
  return Flags.boolean({ summary, env: environmentName(name) });
}

/** One that is on unless `--no-NAME` or its variable says otherwise. */
export function negatableFlag(name: string, summary: string): BooleanFlag<boolean> {
  return Flags.boolean({ summary, env: environmentName(name), default: true, allowNo: true });
}

/** One that must be typed: consent is not left behind in an environment. */
export function consentFlag(summary: string): BooleanFlag<boolean> {
  return Flags.boolean({ summary });
}

/** A required positional. Standard input never stands in for a missing one. */
export function requiredArg(description: string): Arg<string> {
  return Args.string({ description, required: true, ignoreStdin: true });
}

export function optionalArg(description: string): Arg<string | undefined> {
  return Args.string({ description, ignoreStdin: true });
}

export const jsonFlag = {
  json: switchFlag('json', 'Print one JSON document instead of text for people.'),
};

/** The directory that `serve` serves: no server to choose here, so the variable counts whatever the mode. */
export const storagePathFlag = setting('storage', text('the path of a directory'), {
  summary: 'Serve the store in this directory, created when it is not there.',
  helpValue: 'DIR',
  env: 'SUTRA_STORAGE_PATH',
  defaultHelp: './knowledge',
});

/** How the server is spoken to; they do nothing for a store in a directory. */
const connectionFlags = {
  tls: switchFlag('tls', 'Speak TLS with the server. Any --tls-... means it, too.'),
  'tls-ca': fileSetting('tls-ca', 'Trust certificates of this authority.', {
    defaultHelp: 'Node’s own list',
  }),
  'tls-cert': fileSetting('tls-cert', 'Show this certificate to a server that asks for one.'),
  'tls-key': fileSetting('tls-key', 'The key of --tls-cert.'),
  'tls-server-name': setting('tls-server-name', text('a host name'), {
    summary: 'The name in the server’s certificate, where it is not the host.',
    helpValue: 'NAME',
  }),
  'token-file': fileSetting(
    'token-file',
    'Give the server the token in this file, which only its owner may read; SUTRA_TOKEN holds the token itself.',
  ),
};

/** Which store; for every command that reads or writes one. */
export const storeFlags = {
  ...jsonFlag,
  server: setting('server', text('HOST:PORT'), {
    summary: 'Use the server there. [env: SUTRA_STORAGE_MODE=server, SUTRA_STORAGE_SERVER]',
    helpValue: 'HOST:PORT',
    env: false,
  }),
  storage: setting('storage', text('the path of a directory'), {
    summary: 'Use the store in this directory. [default: ./knowledge] [env: SUTRA_STORAGE_PATH]',
    helpValue: 'DIR',
    env: false,
  }),
  timeout: setting('timeout', parseTimeoutMs, {
    summary: 'Give up on a call after so long: 5, 0.5 (seconds), 500ms, 2m.',
    helpValue: 'TIME',
    defaultHelp: '5s from a server',
  }),
  ...connectionFlags,
};

export const strengthFlag = setting('strength', parseStrength, {
  summary: 'How strong the concept is, 0 or more.',
  helpValue: 'NUMBER',
  defaultHelp: '1',
});

export const confidenceFlag = setting('confidence', parseConfidence, {
  summary: 'How sure it is, from 0 to 1.',
  helpValue: 'NUMBER',
  defaultHelp: '1',
});

const TYPE_NAMES = `${ASSOCIATION_TYPES.join(', ')}, or a number from 0 to 65535`;

/** One type, for writing. */
export function typeFlag(summary: string, defaultHelp?: string): OptionFlag<number | undefined> {
  return setting('type', parseAssociationType, {
    summary: `${summary}: ${TYPE_NAMES}.`,
    helpValue: 'TYPE',
    ...(defaultHelp === undefined ? {} : { defaultHelp }),
  });
}

/** Any number of types, for traversal. */
export const typesFlag = repeatedSetting('type', parseAssociationType, {
  summary: `Only along associations of this type: ${TYPE_NAMES}. May be repeated.`,
  helpValue: 'TYPE',
  defaultHelp: 'all',
});

export const directionFlag = setting('direction', parseDirection, {
  summary: 'Which way along associations: out, in, or both.',
  helpValue: 'both|out|in',
  defaultHelp: 'both',
});

export const byFlag = setting('by', parseWeighting, {
  summary: 'Find the path with the fewest hops, or with the highest product of confidences.',
  helpValue: 'hops|confidence',
  defaultHelp: 'hops',
});

export function embeddingFlag(summary: string): OptionFlag<string | undefined> {
  return setting('embedding', text('the path of a file, or -'), {
    summary,
    helpValue: 'FILE|-',
    env: false,
  });
}
