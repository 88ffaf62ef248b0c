/**
 * The base of every command that works on a store: parse, open, call, close, print. The answer is printed only once the
 * store has closed without an error, so a failure always leaves stdout empty. `answer` prints either one JSON document
 * or the text for people, which only then is rendered.
 */

import type { ConcurrentStorage } from '../storage/embedded.js';
import { chooseStore, openStorage, type Access } from '../storage/open.js';
import type { ConnectionSettings } from '../storage/secrets.js';
import type { CallOptions, Storage } from '../storage/storage.js';
import { DEFAULT_TIMEOUT_MS } from '../storage/settings.js';
import { CheckProgress } from './check-report.js';
import { storeFlags } from './flags.js';
import { noteLogger } from './note-logger.js';
import { screenOf, type Screen } from './screen.js';
import { SutraCommand } from './sutra-command.js';
import { safeJson } from './text.js';

export interface StoreSelection {
  readonly server?: string | undefined;
  readonly storage?: string | undefined;
  /** Milliseconds. */
  readonly timeout?: number | undefined;
  readonly json?: boolean | undefined;
  readonly tls?: boolean | undefined;
  readonly 'tls-ca'?: string | undefined;
  readonly 'tls-cert'?: string | undefined;
  readonly 'tls-key'?: string | undefined;
  readonly 'tls-server-name'?: string | undefined;
  readonly 'token-file'?: string | undefined;
}

export interface UseOptions {
  readonly access: Access;
  /** The deadline of remote calls when neither flag nor variable gives one. Default 5,000; `none` for flush and the like. */
  readonly defaultTimeoutMs?: number | 'none';
  /** Settings of a store that may be created. */
  readonly vectorDim?: number | undefined;
}

export abstract class StoreCommand extends SutraCommand {
  static override baseFlags = storeFlags;

  /** What stdout shows. */
  protected readonly screen: Screen = screenOf(process.stdout);

  /** Opens the chosen store, hands it to `work` with the options for its calls, and closes it whatever happens. */
  protected async withStorage<Result>(
    selection: StoreSelection,
    options: UseOptions,
    work: (storage: Storage, call: CallOptions) => Promise<Result>,
  ): Promise<Result> {
    const choice = chooseStore(selection);
    const timeoutMs = callTimeoutMs(choice.mode, selection.timeout, options.defaultTimeoutMs);
    const migrating = new CheckProgress('migrating:');
    const storage = await openStorage(choice, {
      access: options.access,
      onMigration: migrating.update,
      connection: connectionOf(selection),
      ...(options.access === 'read' ? {} : { logger: noteLogger(selection.json ?? false) }),
      ...(options.vectorDim === undefined ? {} : { vectorDim: options.vectorDim }),
    }).finally(() => {
      migrating.end();
    });
    noteMigration(storage);
    let result: Result;
    try {
      result = await work(storage, timeoutMs === undefined ? {} : { timeoutMs });
    } catch (error) {
      // The first failure is the one to tell; closing a store that failed may fail for the same reason.
      await storage.close().catch(() => undefined);
      throw error;
    }
    await storage.close();
    return result;
  }

  /** Prints one answer. */
  protected answer(json: boolean, document: object, text: () => string): void {
    const output = json ? safeJson(document) : text();
    // No rows, no lines: an empty one would count as a neighbour.
    if (output !== '') process.stdout.write(`${output}\n`);
  }
}

/** Opening a store to write may have brought it over from version 2: that is worth a line, once in its life. */
function noteMigration(storage: Storage): void {
  if (!('opened' in storage)) return;
  const { migration } = (storage as ConcurrentStorage).opened;
  if (migration === null) return;
  process.stderr.write(
    `migrated storage.dat from version 2: ${migration.concepts} concepts, ${migration.edges} associations; ` +
      `the old file is kept as ${migration.keptAs}\n`,
  );
}

/** How the flags say a server is spoken to. */
export function connectionOf(selection: StoreSelection): ConnectionSettings {
  return {
    tls: selection.tls,
    tlsCa: selection['tls-ca'],
    tlsCert: selection['tls-cert'],
    tlsKey: selection['tls-key'],
    tlsServerName: selection['tls-server-name'],
    tokenFile: selection['token-file'],
  };
}

function callTimeoutMs(
  mode: 'embedded' | 'server',
  given: number | undefined,
  fallback: number | 'none' = DEFAULT_TIMEOUT_MS,
): number | undefined {
  if (given !== undefined) return given;
  return mode === 'server' && fallback !== 'none' ? fallback : undefined;
}
