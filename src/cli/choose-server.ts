/** Which server, for commands that look at a server: the one that was named, or the one that holds the directory. */

import { SutraError } from '../errors.js';
import { DEFAULT_PORT, parseAddress, type Address } from '../storage/address.js';
import { chooseStore, type ChoiceFlags } from '../storage/open.js';

/** @throws WRONG_MODE when nobody serves the directory that was asked for */
export async function chooseServer(flags: ChoiceFlags): Promise<Address> {
  const choice = chooseStore(flags);
  if (choice.mode === 'server') return choice.address;
  const { readHolder } = await import('../storage/maintenance.js');
  const address = readHolder(choice.path)?.address ?? null;
  if (address !== null) return parseAddress(address, `${choice.path}/lock`);
  if (flags.storage === undefined && (process.env['SUTRA_STORAGE_PATH'] ?? '') === '') {
    return { host: 'localhost', port: DEFAULT_PORT };
  }
  throw new SutraError('WRONG_MODE', `no server serves ${choice.path}`, {
    hint: 'Start one with `sutra serve`, or name another with --server HOST:PORT.',
  });
}
