/**
 * The one error table. Every failure that leaves sutra carries a stable `code`; the table gives the gRPC status it
 * travels as, the exit code a command ends with, and the next step a person should take. Embedded and remote backends
 * throw the same class with the same code, because the code travels in trailing metadata. Branch on codes, never on
 * messages. This file imports nothing: every layer may use it.
 */

/** gRPC status names used by sutra; numbers as in google.rpc.Code. */
export const STATUS = {
  CANCELLED: 1,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

export type StatusName = keyof typeof STATUS;

/** Exit codes of the `sutra` binary. */
export const EXIT = {
  OK: 0,
  FAILED: 1,
  USAGE: 2,
  UNREACHABLE: 3,
  NOT_FOUND: 4,
  UNHEALTHY: 5,
  NOT_ALLOWED: 6,
  LOCKED: 7,
  INTERRUPTED: 130,
} as const;

interface ErrorRow {
  readonly status: StatusName;
  readonly exit: number;
  readonly hint: string;
}

/** Stable code -> gRPC status, exit code, hint. */
export const ERRORS = {
  INVALID_ARGUMENT: {
    status: 'INVALID_ARGUMENT',
    exit: EXIT.USAGE,
    hint: 'Correct the named field and try again; nothing was changed.',
  },
  DIMENSION_MISMATCH: {
    status: 'INVALID_ARGUMENT',
    exit: EXIT.USAGE,
    hint: 'Use embeddings of the store’s own dimension; `sutra stats` shows it.',
  },
  NAME_COLLISION: {
    status: 'INVALID_ARGUMENT',
    exit: EXIT.USAGE,
    hint: 'Another name has the same 128-bit key; choose a different id.',
  },
  UNKNOWN_CONCEPT: {
    status: 'NOT_FOUND',
    exit: EXIT.NOT_FOUND,
    hint: 'Learn the concept first (`sutra learn ID CONTENT`), then link it.',
  },
  NO_SUCH_DIRECTORY: {
    status: 'NOT_FOUND',
    exit: EXIT.USAGE,
    hint: 'Check --storage or SUTRA_STORAGE_PATH; `sutra serve` and `sutra learn` create a store.',
  },
  NOT_A_STORE: {
    status: 'FAILED_PRECONDITION',
    exit: EXIT.USAGE,
    hint: 'Name a sutra store, or an empty or new directory to create one.',
  },
  ALREADY_THERE: {
    status: 'FAILED_PRECONDITION',
    exit: EXIT.USAGE,
    hint: 'Choose another name, or add --force; nothing was changed.',
  },
  UNSUPPORTED_FORMAT: {
    status: 'FAILED_PRECONDITION',
    exit: EXIT.UNHEALTHY,
    hint: 'Open it with the version of sutra that wrote it; nothing was changed.',
  },
  STORE_LOCKED: {
    status: 'FAILED_PRECONDITION',
    exit: EXIT.LOCKED,
    hint: 'Another process writes this store; stop it, or go through its server.',
  },
  READ_ONLY: {
    status: 'FAILED_PRECONDITION',
    exit: EXIT.FAILED,
    hint: 'This store was opened for reading only.',
  },
  CLOSED: {
    status: 'FAILED_PRECONDITION',
    exit: EXIT.FAILED,
    hint: 'The store has been closed; open it again.',
  },
  SCAN_EXPIRED: {
    status: 'FAILED_PRECONDITION',
    exit: EXIT.FAILED,
    hint: 'Start the scan again from the beginning: it will be of the state there is now.',
  },
  WRONG_MODE: {
    status: 'FAILED_PRECONDITION',
    exit: EXIT.USAGE,
    hint: 'Use `--storage DIR` for an embedded store or `--server HOST:PORT` for a server, not both.',
  },
  OVERLOADED: {
    status: 'RESOURCE_EXHAUSTED',
    exit: EXIT.FAILED,
    hint: 'The store takes writes slower than they come; try again with fewer in flight.',
  },
  TOO_LARGE: {
    status: 'RESOURCE_EXHAUSTED',
    exit: EXIT.FAILED,
    hint: 'Send less at once; limits are in docs/OPERATIONS.md.',
  },
  DISK_FULL: {
    status: 'RESOURCE_EXHAUSTED',
    exit: EXIT.FAILED,
    hint: 'Free space on the store’s disk; reads go on, and writes resume by themselves.',
  },
  DAMAGED: {
    status: 'DATA_LOSS',
    exit: EXIT.UNHEALTHY,
    hint: 'Nothing was changed. `sutra verify` lists what is wrong, `sutra repair` what can be done about it.',
  },
  DISK_FAILED: {
    status: 'DATA_LOSS',
    exit: EXIT.UNHEALTHY,
    hint: 'The disk refused a write or a sync. Look at the kernel log, then start again.',
  },
  NOT_PERMITTED: {
    status: 'PERMISSION_DENIED',
    exit: EXIT.NOT_ALLOWED,
    hint: 'Check the owner and mode of the file or directory named.',
  },
  UNAUTHENTICATED: {
    status: 'UNAUTHENTICATED',
    exit: EXIT.NOT_ALLOWED,
    hint: 'Give a token that the server knows.',
  },
  UNREACHABLE: {
    status: 'UNAVAILABLE',
    exit: EXIT.UNREACHABLE,
    hint: 'Check the address and that `sutra serve` is running there.',
  },
  UNAVAILABLE: {
    status: 'UNAVAILABLE',
    exit: EXIT.UNREACHABLE,
    hint: 'The server is starting or stopping; try again.',
  },
  DEADLINE_EXCEEDED: {
    status: 'DEADLINE_EXCEEDED',
    exit: EXIT.UNREACHABLE,
    hint: 'Give it longer with --timeout, or ask for less.',
  },
  CANCELLED: {
    status: 'CANCELLED',
    exit: EXIT.INTERRUPTED,
    hint: 'The call was cancelled by its caller.',
  },
  UNIMPLEMENTED: {
    status: 'UNIMPLEMENTED',
    exit: EXIT.FAILED,
    hint: 'The server is older than this client; update it.',
  },
  ADDRESS_IN_USE: {
    status: 'FAILED_PRECONDITION',
    exit: EXIT.FAILED,
    hint: 'Choose another --port (0 picks a free one), or stop what listens there.',
  },
  INTERNAL: {
    status: 'INTERNAL',
    exit: EXIT.FAILED,
    hint: 'This is a bug in sutra; please report it with the message.',
  },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

/** One offending field of a request, as in google.rpc.BadRequest.FieldViolation. */
export interface FieldViolation {
  /** The field's wire name, with an index where it repeats: `concept_id`, `concepts[3].confidence`. */
  readonly field: string;
  /** What was got and what was expected. */
  readonly description: string;
}

export interface SutraErrorOptions {
  readonly violations?: readonly FieldViolation[];
  /** Replaces the table's hint where the thrower knows a better next step. */
  readonly hint?: string;
  /** Of damage: where in the file that the message names. */
  readonly offset?: number;
  readonly cause?: unknown;
}

/** The one error class that leaves sutra's library, server and commands. */
export class SutraError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;
  readonly violations: readonly FieldViolation[];
  readonly offset: number | null;

  constructor(code: ErrorCode, message: string, options: SutraErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SutraError';
    this.code = code;
    this.hint = options.hint ?? ERRORS[code].hint;
    this.violations = options.violations ?? [];
    this.offset = options.offset ?? null;
  }

  get status(): StatusName {
    return ERRORS[this.code].status;
  }

  get exitCode(): number {
    return ERRORS[this.code].exit;
  }
}

/** An INVALID_ARGUMENT that names one field. */
export function invalidField(field: string, description: string): SutraError {
  return new SutraError('INVALID_ARGUMENT', `${field}: ${description}`, {
    violations: [{ field, description }],
  });
}

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERRORS, value);
}

/** Any thrown thing as a SutraError; what is not one already is a bug and becomes INTERNAL with its cause. */
export function toSutraError(error: unknown): SutraError {
  if (error instanceof SutraError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new SutraError('INTERNAL', message, { cause: error });
}
