/** Where the engine says what operators should know; comes in by constructor, so the engine knows no console. */
export interface Logger {
  /** fields: the message's figures, for logs that machines read. */
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  /** cause: what was thrown, where it says more than the message. */
  error(message: string, cause?: unknown, fields?: LogFields): void;
}

export type LogFields = Readonly<Record<string, string | number | boolean>>;

export const silentLogger: Logger = {
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
