/**
 * Tokens and certificates on their way in: from files and the environment, never from argv, where every user of the machine can
 * read them. A file of tokens must be its owner's alone (0600); errors name the file and where its name came from,
 * and never quote what is in it.
 */

import { open } from 'node:fs/promises';
import { SutraError } from '../errors.js';
import type { ClientTls, StorageClientOptions } from './remote.js';
import { parseSwitch, type Environment } from './settings.js';

/** Shorter ones can be guessed. */
const MIN_TOKEN_LENGTH = 16;
/** Certificate chains and bundles of authorities: a system's bundle is some 200 KiB. */
const MAX_FILE_BYTES = 1024 * 1024;

/** How a server is spoken to; files by their names. */
export interface ConnectionSettings {
  /** Speak TLS; naming any of the TLS files means it, too. */
  readonly tls?: boolean | undefined;
  readonly tlsCa?: string | undefined;
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
  readonly tlsServerName?: string | undefined;
  readonly tokenFile?: string | undefined;
}

/** What the client takes; settings given win over SUTRA_TLS, SUTRA_TLS_*, SUTRA_TOKEN_FILE and SUTRA_TOKEN, in that order. */
export async function connectionOptions(
  given: ConnectionSettings,
  env: Environment,
): Promise<Pick<StorageClientOptions, 'tls' | 'token'>> {
  const value = (name: string): string | undefined => {
    const text = env[name];
    return text === undefined || text === '' ? undefined : text;
  };
  const caFile = given.tlsCa ?? value('SUTRA_TLS_CA');
  const certFile = given.tlsCert ?? value('SUTRA_TLS_CERT');
  const keyFile = given.tlsKey ?? value('SUTRA_TLS_KEY');
  const serverName = given.tlsServerName ?? value('SUTRA_TLS_SERVER_NAME');
  const [ca, cert, key, token] = await Promise.all([
    caFile === undefined ? undefined : readPem(caFile, 'tls-ca'),
    certFile === undefined ? undefined : readPem(certFile, 'tls-cert'),
    keyFile === undefined ? undefined : readPem(keyFile, 'tls-key'),
    clientToken(given.tokenFile ?? value('SUTRA_TOKEN_FILE'), value('SUTRA_TOKEN')),
  ]);
  const details: ClientTls = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(serverName === undefined ? {} : { serverName }),
  };
  const asked = given.tls ?? parseSwitch(env['SUTRA_TLS'] ?? '', 'SUTRA_TLS');
  return {
    ...(asked || Object.keys(details).length > 0 ? { tls: details } : {}),
    ...(token === undefined ? {} : { token }),
  };
}

/** The tokens that a server knows: the file's, one a line, or else the variable's one. */
export async function serverTokens(
  file: string | undefined,
  text: string | undefined,
  source: string,
): Promise<string[]> {
  if (file !== undefined) return readTokens(file, source);
  if (text === undefined || text === '') return [];
  return [checkedToken(text.trim(), environmentName(source))];
}

/** The first of a file: where a server and its clients share one, it holds several while one replaces another. */
async function clientToken(
  file: string | undefined,
  text: string | undefined,
): Promise<string | undefined> {
  const [token] = await serverTokens(file, text, 'token-file');
  return token;
}

/** Empty lines and lines that begin with # do not count. */
async function readTokens(path: string, source: string): Promise<string[]> {
  const { text, mode } = await readSmall(path, source);
  if ((mode & 0o077) !== 0) {
    throw new SutraError(
      'NOT_PERMITTED',
      `${source}: ${path} has mode 0${(mode & 0o777).toString(8)}, expected 0600: others can read it`,
      { hint: `Run \`chmod 600 ${path}\`, and replace the token if others could read it.` },
    );
  }
  const lines = text.split('\n').map((line) => line.trim());
  const tokens = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (tokens.length === 0) {
    throw new SutraError('INVALID_ARGUMENT', `${source}: there is no token in ${path}`, {
      hint: `Make one: \`(umask 077; openssl rand -hex 32 > ${path})\``,
    });
  }
  return tokens.map((token) => checkedToken(token, `${source}: ${path}`));
}

function checkedToken(token: string, where: string): string {
  if (token.length >= MIN_TOKEN_LENGTH && /^[\x21-\x7e]+$/.test(token)) return token;
  throw new SutraError(
    'INVALID_ARGUMENT',
    `${where}: got a token of ${token.length} characters, expected ${MIN_TOKEN_LENGTH} or more ` +
      'of printable ASCII without spaces',
    { hint: 'Make one with `openssl rand -hex 32`.' },
  );
}

/** @throws INVALID_ARGUMENT when it is not there or not PEM */
export async function readPem(path: string, source: string): Promise<string> {
  const { text } = await readSmall(path, source);
  if (text.includes('-----BEGIN ')) return text;
  throw new SutraError('INVALID_ARGUMENT', `${source}: ${path} is not PEM`, {
    hint: 'It begins with -----BEGIN; `openssl x509 -inform der` converts a DER certificate.',
  });
}

async function readSmall(path: string, source: string): Promise<{ text: string; mode: number }> {
  try {
    const file = await open(path, 'r');
    try {
      const { mode, size } = await file.stat();
      if (size > MAX_FILE_BYTES) {
        throw new SutraError(
          'INVALID_ARGUMENT',
          `${source}: ${path} has ${size} bytes, expected at most ${MAX_FILE_BYTES}`,
        );
      }
      return { text: await file.readFile('utf8'), mode };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof SutraError) throw error;
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'EACCES' || code === 'EPERM') {
      throw new SutraError('NOT_PERMITTED', `${source}: cannot read ${path}: permission denied`, {
        cause: error,
      });
    }
    const why = code === 'ENOENT' ? 'there is no such file' : String(code ?? error);
    throw new SutraError('INVALID_ARGUMENT', `${source}: cannot read ${path}: ${why}`, {
      hint: 'Check the path.',
      cause: error,
    });
  }
}

/** token-file -> SUTRA_TOKEN: the variable that holds the token itself. */
function environmentName(source: string): string {
  return `SUTRA_${source
    .replace(/-file$/, '')
    .toUpperCase()
    .replaceAll('-', '_')}`;
}
