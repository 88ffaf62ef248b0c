/**
 * The log of a daemon, on stderr: one line an event, with the time in UTC; as text for people, or as a JSON document with the
 * message's figures as fields beside it. Messages may quote what clients sent, so they are made safe for a terminal like
 * any other text. Writes are synchronous, so that the last line before an end is there.
 */

import { refuse } from '../storage/settings.js';
import { safeJsonText, safeLine } from './text.js';

const LEVELS = ['info', 'warn', 'error'] as const;
export type LogLevel = (typeof LEVELS)[number];
export type LogFormat = 'pretty' | 'json';
export type LogFields = Readonly<Record<string, string | number | boolean>>;

export interface Logger {
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  /** cause: what was thrown; its stack follows the message. */
  error(message: string, cause?: unknown, fields?: LogFields): void;
}

export interface LoggerOptions {
  readonly format: LogFormat;
  /** The least level that is written. */
  readonly level: LogLevel;
}

export function parseLogLevel(value: string, source: string): LogLevel {
  const level = LEVELS.find((one) => one === value);
  if (level === undefined) throw refuse(source, value, 'info, warn or error');
  return level;
}

export function parseLogFormat(value: string, source: string): LogFormat {
  if (value === 'pretty' || value === 'json') return value;
  throw refuse(source, value, 'pretty or json');
}

type Write = (level: LogLevel, message: string, fields: LogFields, stack?: string) => void;

/** Loads pino for JSON only. */
export async function stderrLogger({ format, level }: LoggerOptions): Promise<Logger> {
  const least = LEVELS.indexOf(level);
  const output = format === 'json' ? await jsonLines() : writeText;
  const write: Write = (at, message, fields, stack) => {
    if (LEVELS.indexOf(at) >= least) output(at, message, fields, stack);
  };
  return {
    info: (message, fields = {}) => {
      write('info', message, fields);
    },
    warn: (message, fields = {}) => {
      write('warn', message, fields);
    },
    error: (message, cause, fields = {}) => {
      write('error', message, fields, cause === undefined ? undefined : describe(cause));
    },
  };
}

/** Without the fields: the message has what people want of them. */
function writeText(level: LogLevel, message: string, _fields: LogFields, stack?: string): void {
  const time = new Date().toISOString();
  const detail = stack === undefined ? '' : `\n${stack.split('\n').map(safeLine).join('\n')}`;
  process.stderr.write(`${time} ${level.padEnd(5)} ${safeLine(message)}${detail}\n`);
}

async function jsonLines(): Promise<Write> {
  const { pino } = await import('pino');
  const lines = pino(
    {
      base: null,
      messageKey: 'message',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => process.stderr.write(`${safeJsonText(line.trimEnd())}\n`) },
  );
  return (level, message, fields, stack) => {
    lines[level](stack === undefined ? fields : { ...fields, stack }, message);
  };
}

function describe(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}
