/**
 * The log of a daemon, on stderr: one line an event, with the time in UTC. With `--json` each line is a JSON document.
 * Messages may quote what clients sent, so they are made safe for a terminal like any other text.
 */

import { safeJson, safeLine } from './text.js';

export interface Logger {
  info(message: string): void;
  warn(message: string): void;
  /** cause: what was thrown; its stack follows the message. */
  error(message: string, cause?: unknown): void;
}

export function stderrLogger(json: boolean): Logger {
  const write = (level: string, message: string, cause?: unknown): void => {
    const time = new Date().toISOString();
    const stack = cause === undefined ? undefined : describe(cause);
    if (json) {
      process.stderr.write(`${safeJson({ time, level, message, ...(stack && { stack }) })}\n`);
      return;
    }
    const detail = stack === undefined ? '' : `\n${stack.split('\n').map(safeLine).join('\n')}`;
    process.stderr.write(`${time} ${level.padEnd(5)} ${safeLine(message)}${detail}\n`);
  };
  return {
    info: (message) => {
      write('info', message);
    },
    warn: (message) => {
      write('warn', message);
    },
    error: (message, cause) => {
      write('error', message, cause);
    },
  };
}

function describe(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}
