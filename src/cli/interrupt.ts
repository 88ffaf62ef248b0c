/**
 * Ctrl-C and SIGTERM. A command that only asks or writes one thing ends at once: an embedded store survives being
 * killed, and a server does not care. A command that has something to finish first takes the signals over
 * (`interruptSignal` for import, `terminationSignal` for serve); a second signal then still ends the process at once.
 */

import { EXIT } from '../errors.js';

const SIGTERM_EXIT = 143;

let interrupt: AbortController | undefined;

export function installInterrupt(): void {
  process.on('SIGINT', () => {
    if (interrupt === undefined || interrupt.signal.aborted) process.exit(EXIT.INTERRUPTED);
    interrupt.abort(new Error('interrupted'));
  });
}

/** From now on, the first Ctrl-C aborts this signal instead of ending the process. */
export function interruptSignal(): AbortSignal {
  interrupt ??= new AbortController();
  return interrupt.signal;
}

/**
 * The same for SIGTERM and SIGHUP too: what a supervisor or a closing terminal sends to a daemon. With `reload`, SIGHUP calls
 * that instead, as daemons with files to read again do.
 */
export function terminationSignal(reload?: () => void): AbortSignal {
  const signal = interruptSignal();
  const terminate = (): void => {
    if (signal.aborted) process.exit(SIGTERM_EXIT);
    interrupt?.abort(new Error('terminated'));
  };
  process.on('SIGTERM', terminate);
  process.on('SIGHUP', reload ?? terminate);
  return signal;
}
