/** Runs of `sutra` whose answer is one JSON document, for the tests of commands. */

import { expect } from 'vitest';
import { runSutra, type RunOptions } from './fixture.js';

export interface JsonOptions extends RunOptions {
  /** The exit code to expect; default 0. */
  readonly code?: number;
}

/** Inserts flags behind the command's own, before `--`. */
export function withFlags(args: readonly string[], flags: readonly string[]): string[] {
  const dashes = args.indexOf('--');
  const at = dashes < 0 ? args.length : dashes;
  return [...args.slice(0, at), ...flags, ...args.slice(at)];
}

/** The document on stdout, which must be the only thing there, on one line, with nothing on stderr. */
export async function jsonOf(
  args: readonly string[],
  target: readonly string[],
  options: JsonOptions = {},
): Promise<Record<string, unknown>> {
  const result = await runSutra(withFlags(args, [...target, '--json']), options);
  expect(result).toMatchObject({ code: options.code ?? 0, stderr: '' });
  expect(result.stdout).toMatch(/^[^\n]+\n$/);
  return JSON.parse(result.stdout) as Record<string, unknown>;
}

/** The error on stderr, which must be the only thing printed. */
export async function errorOf(
  args: readonly string[],
  code: number,
  options: RunOptions = {},
): Promise<{ code: string; status: string; message: string; hint: string }> {
  const result = await runSutra(withFlags(args, ['--json']), options);
  expect(result).toMatchObject({ code, stdout: '' });
  expect(result.stderr).toMatch(/^[^\n]+\n$/);
  const document = JSON.parse(result.stderr) as {
    error: { code: string; status: string; message: string; hint: string };
  };
  expect(Object.keys(document)).toEqual(['error']);
  expect(document.error).toMatchObject({
    code: expect.stringMatching(/^[A-Z_]+$/) as string,
    status: expect.stringMatching(/^[A-Z_]+$/) as string,
    message: expect.stringMatching(/./) as string,
    hint: expect.stringMatching(/./) as string,
  });
  return document.error;
}
