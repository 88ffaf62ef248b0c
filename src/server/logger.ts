/** Where the server's own lines go; the owner decides how they look. Never called for each request that succeeds. */

export interface ServerLogger {
  info(message: string): void;
  warn(message: string): void;
  /** cause: what was thrown, with its stack. */
  error(message: string, cause?: unknown): void;
}

export const SILENT: ServerLogger = {
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
