/** Where the server's own lines go; the owner decides how they look. Never called for each request that succeeds. */

/** Figures beside a message, for logs that machines read. */
export type LogFields = Readonly<Record<string, string | number | boolean>>;

export interface ServerLogger {
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  /** cause: what was thrown, with its stack. */
  error(message: string, cause?: unknown): void;
}

export const SILENT: ServerLogger = {
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
