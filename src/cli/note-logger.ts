/**
 * What a single command says of a store beside its answer, on stderr: the engine's warnings, such as what a process that was killed
 * before left behind. Errors come out as the error that ends the command, so they are not told twice.
 */

import type { Logger } from './logger.js';
import { safeJson, safeLine } from './text.js';

/** With `json` each note is one JSON document a line, as errors are. */
export function noteLogger(json: boolean): Logger {
  return {
    info: () => undefined,
    warn: (message) => {
      const line = json ? safeJson({ note: message }) : `note: ${safeLine(message)}`;
      process.stderr.write(`${line}\n`);
    },
    error: () => undefined,
  };
}
