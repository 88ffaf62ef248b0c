/**
 * Ctrl-C. A command that only asks or writes one thing ends at once with exit code 130: an embedded store survives being
 * killed, and a server does not care. A command that has something to finish first (serve, import) takes the signal over
 * with `interruptSignal`; a second Ctrl-C then still ends the process at once.
 */

import { EXIT } from '../errors.js';

let controller: AbortController | undefined;

export function installInterrupt(): void {
  process.on('SIGINT', () => {
    if (controller === undefined || controller.signal.aborted) process.exit(EXIT.INTERRUPTED);
    controller.abort(new Error('interrupted'));
  });
}

/** From now on, the first Ctrl-C aborts this signal instead of ending the process. */
export function interruptSignal(): AbortSignal {
  controller ??= new AbortController();
  return controller.signal;
}
