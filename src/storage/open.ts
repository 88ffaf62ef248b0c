/**
 * Which store, and opening it. Flags win over the environment, and the environment over the defaults: `--server` is
 * that server, `--storage` that directory, both are a usage error; with neither, SUTRA_STORAGE_MODE chooses between the
 * embedded store at SUTRA_STORAGE_PATH (./knowledge) and the server at SUTRA_STORAGE_SERVER (localhost:50051).
 *
 * Backends load lazily: a query over an embedded store never loads gRPC, nor a remote one the engine.
 */

import { stat } from 'node:fs/promises';
import type { Logger } from '../engine/logger.js';
import type { OnProgress } from '../engine/steps.js';
import { SutraError } from '../errors.js';
import { DEFAULT_PORT, formatAddress, parseAddress, type Address } from './address.js';
import { settingsFrom, type Environment, type StoreSettings } from './settings.js';
import type { ConnectionSettings } from './secrets.js';
import type { Storage } from './storage.js';

export const DEFAULT_STORAGE_PATH = './knowledge';
export const DEFAULT_SERVER = `localhost:${DEFAULT_PORT}`;

/** What a caller is going to do with an embedded store. */
export type Access =
  /** Read: beside any writer, without a lock; nothing is created or changed. */
  | 'read'
  /** Write to a store that is there: forget, link, flush. */
  | 'write'
  /** Write, and create the directory and the store when they are not there: learn, import. */
  | 'create';

export type StoreChoice =
  | { readonly mode: 'embedded'; readonly path: string }
  | { readonly mode: 'server'; readonly address: Address };

export interface ChoiceFlags {
  /** --server HOST:PORT */
  readonly server?: string | undefined;
  /** --storage DIR */
  readonly storage?: string | undefined;
}

export interface OpenOptions extends StoreSettings {
  /** Default create. */
  readonly access?: Access;
  /** How a server is spoken to; what is absent comes from the environment. */
  readonly connection?: ConnectionSettings;
  /** Where the engine's messages go. Default: nowhere. */
  readonly logger?: Logger;
  /** Told how far it is while a storage.dat of version 2 in a directory is brought over, or read. */
  readonly onMigration?: OnProgress;
  /** Default process.env. */
  readonly env?: Environment;
}

/** Names the store without touching it. */
export function chooseStore(flags: ChoiceFlags, env: Environment = process.env): StoreChoice {
  if (flags.server !== undefined && flags.storage !== undefined) {
    throw new SutraError(
      'WRONG_MODE',
      '--server and --storage name two different stores; give one',
    );
  }
  if (flags.server !== undefined) {
    return { mode: 'server', address: parseAddress(flags.server, '--server') };
  }
  if (flags.storage !== undefined) {
    return { mode: 'embedded', path: requirePath(flags.storage, '--storage') };
  }
  const mode = setting(env, 'SUTRA_STORAGE_MODE') ?? 'embedded';
  if (mode === 'embedded') {
    return { mode, path: setting(env, 'SUTRA_STORAGE_PATH') ?? DEFAULT_STORAGE_PATH };
  }
  if (mode === 'server') {
    const server = setting(env, 'SUTRA_STORAGE_SERVER') ?? DEFAULT_SERVER;
    return { mode, address: parseAddress(server, 'SUTRA_STORAGE_SERVER') };
  }
  throw new SutraError(
    'INVALID_ARGUMENT',
    `SUTRA_STORAGE_MODE: got ${JSON.stringify(mode)}, expected embedded or server`,
    {
      hint: 'Set SUTRA_STORAGE_MODE to embedded (a directory) or server (an address), or unset it.',
    },
  );
}

/** Opens what was chosen. Settings given here win over the environment's. */
export async function openStorage(
  choice: StoreChoice,
  options: OpenOptions = {},
): Promise<Storage> {
  const { access = 'create', env = process.env, connection = {}, ...given } = options;
  const { timeoutMs, ...engine } = { ...settingsFrom(env), ...given };
  if (choice.mode === 'server') {
    const [{ StorageClient }, { connectionOptions }] = await Promise.all([
      import('./remote.js'),
      import('./secrets.js'),
    ]);
    return new StorageClient(formatAddress(choice.address.host, choice.address.port), {
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(await connectionOptions(connection, env)),
    });
  }
  if (access !== 'create') await requireDirectory(choice.path);
  const { ConcurrentStorage } = await import('./embedded.js');
  return ConcurrentStorage.open(choice.path, { ...engine, readOnly: access === 'read' });
}

/**
 * For library users: the store that the environment names. `path` takes the place of SUTRA_STORAGE_PATH; it has no say
 * in server mode, so that a program moves to a server by its environment alone.
 */
export async function getStorageBackend(
  path?: string,
  options: OpenOptions = {},
): Promise<Storage> {
  const env = options.env ?? process.env;
  const choice = chooseStore({}, env);
  const named =
    choice.mode === 'embedded' && path !== undefined
      ? { ...choice, path: requirePath(path, 'path') }
      : choice;
  return openStorage(named, options);
}

function setting(env: Environment, name: string): string | undefined {
  const value = env[name];
  return value === undefined || value === '' ? undefined : value;
}

function requirePath(path: string, source: string): string {
  if (path === '' || path.includes('\0')) {
    throw new SutraError('INVALID_ARGUMENT', `${source}: expected the path of a directory`);
  }
  return path;
}

/** Readers never create, and there is nothing to forget, link or flush where nothing is. */
async function requireDirectory(path: string): Promise<void> {
  let isDirectory: boolean;
  try {
    isDirectory = (await stat(path)).isDirectory();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new SutraError('NO_SUCH_DIRECTORY', `no such directory: ${path}`, { cause: error });
    }
    if (code === 'EACCES' || code === 'EPERM') {
      throw new SutraError('NOT_PERMITTED', `cannot look into ${path}: permission denied`, {
        cause: error,
      });
    }
    throw error;
  }
  if (!isDirectory) throw new SutraError('NOT_A_STORE', `not a directory: ${path}`);
}
