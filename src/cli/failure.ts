/**
 * How a failure leaves the binary: nothing on stdout, the reason and the next step on stderr, and an exit code from the
 * error table. People get two lines; `--json` gets {error: {code, status, message, hint}}. What the argument parser
 * refuses is INVALID_ARGUMENT like any other bad input.
 */

import { SutraError, toSutraError } from '../errors.js';
import { screenOf, styled } from './screen.js';
import { safeJson, safeLine } from './text.js';

/** The error as the table knows it. `command` is the command's name once it is known, for the hint. */
export function failureOf(error: unknown, command: string | undefined): SutraError {
  if (error instanceof SutraError) return unwrapped(error);
  if (isUsageError(error)) {
    const help = command === undefined ? 'sutra --help' : `sutra ${command} --help`;
    const dashed = 'flags' in error && Array.isArray(error.flags);
    return new SutraError('INVALID_ARGUMENT', usageMessage(error), {
      hint: dashed
        ? `See \`${help}\`; put -- before ids that begin with a dash.`
        : `See \`${help}\`.`,
      cause: error,
    });
  }
  return toSutraError(error);
}

/** Prints the failure and returns the exit code. */
export function reportFailure(failure: SutraError, json: boolean): number {
  if (json) {
    const { code, status, message, hint, violations } = failure;
    process.stderr.write(
      `${safeJson({
        error: { code, status, message, hint, ...(violations.length === 0 ? {} : { violations }) },
      })}\n`,
    );
    return failure.exitCode;
  }
  const screen = screenOf(process.stderr);
  const lines = [
    `${styled(screen, 'red', 'error:')} ${safeLine(failure.message)}`,
    `${styled(screen, 'dim', 'hint:')} ${safeLine(failure.hint)}`,
  ];
  if (failure.code === 'INTERNAL' && (process.env['SUTRA_TRACE'] ?? '') !== '') {
    const cause = failure.cause instanceof Error ? failure.cause : failure;
    lines.push(cause.stack ?? '');
  }
  process.stderr.write(`${lines.join('\n')}\n`);
  return failure.exitCode;
}

interface UsageError extends Error {
  readonly oclif: { readonly exit?: number };
}

/** oclif's CLIError and its kin carry what they want to exit with; only its usage errors reach us. */
function isUsageError(error: unknown): error is UsageError {
  return error instanceof Error && 'oclif' in error && typeof error.oclif === 'object';
}

function usageMessage(error: UsageError): string {
  if ('args' in error && Array.isArray(error.args) && error.message.startsWith('Missing')) {
    const names = error.args.map((arg: { readonly name?: string }) =>
      (arg.name ?? '?').toUpperCase(),
    );
    return `missing ${names.join(' and ')}`;
  }
  const [first = ''] = error.message.split('\n');
  return first.charAt(0).toLowerCase() + first.slice(1);
}

/** The parser wraps what a flag's own check threw in two lines of its own; the check has already said everything. */
function unwrapped(error: SutraError): SutraError {
  const inner = /^Parsing --\S+ \n\t([\s\S]*)\nSee more help with --help$/.exec(error.message)?.[1];
  if (inner === undefined) return error;
  return new SutraError(error.code, inner, {
    violations: error.violations,
    hint: error.hint,
    cause: error,
  });
}
