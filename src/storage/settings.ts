/**
 * The settings of a store and of calls to it, as text from a flag or the environment. Flags and environment variables
 * go through the same functions, so both accept and refuse the same; `source` is the name that the error shows
 * (`--timeout`, `SUTRA_TIMEOUT`). Every refusal says what was got and what was expected, and is INVALID_ARGUMENT.
 */

import { SutraError } from '../errors.js';

export type Durability = 'always' | 'interval';
export type VectorPrecision = 'f32' | 'f16' | 'i8';
export type Environment = Readonly<Record<string, string | undefined>>;

export const DEFAULT_RECONCILE_MS = 10;
export const DEFAULT_THRESHOLD = 50_000;
export const DEFAULT_TIMEOUT_MS = 5_000;
/** What `serve` announces for a store that has no vectors yet when nothing says otherwise. */
export const DEFAULT_VECTOR_DIM = 768;

const MAX_VECTOR_DIM = 4_096;
/** Of a graph with one neighbour a node nothing is found; beyond, memory goes up and nothing else. */
const MIN_CONNECTIVITY = 2;
const MAX_CONNECTIVITY = 256;
const MAX_EF_CONSTRUCTION = 4_096;
/** An hour; longer is a mistake in the unit. */
const MAX_RECONCILE_MS = 3_600_000;
/** setTimeout takes a signed 32-bit count of milliseconds: 24.8 days. */
const MAX_TIMEOUT_MS = 0x7fff_ffff;

/** What the environment says about how a store is opened and called; absent where it says nothing. */
export interface StoreSettings {
  readonly reconcileMs?: number;
  readonly threshold?: number;
  readonly vectorDim?: number;
  readonly vectorPrecision?: VectorPrecision;
  readonly vectorConnectivity?: number;
  readonly vectorEfConstruction?: number;
  readonly durability?: Durability;
  readonly timeoutMs?: number;
}

export function refuse(source: string, got: string, expected: string): SutraError {
  return new SutraError(
    'INVALID_ARGUMENT',
    `${source}: got ${JSON.stringify(got)}, expected ${expected}`,
    {
      violations: [
        { field: source, description: `got ${JSON.stringify(got)}, expected ${expected}` },
      ],
    },
  );
}

/** Decimal digits only: no sign, point, exponent or separator. */
export function parseInteger(text: string, source: string, min: number, max: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) {
    throw refuse(source, text, `a whole number from ${min} to ${max}`);
  }
  return value;
}

/** What counts as yes and no in SUTRA_JSON and other variables of flags without a value. */
export function parseSwitch(value: string, source: string): boolean {
  const lower = value.toLowerCase();
  if (['1', 'true', 'yes', 'y'].includes(lower)) return true;
  if (['0', 'false', 'no', 'n', ''].includes(lower)) return false;
  throw refuse(source, value, '1, true, yes, 0, false or no');
}

export function parseReconcileMs(text: string, source: string): number {
  return parseInteger(text, source, 1, MAX_RECONCILE_MS);
}

export function parseThreshold(text: string, source: string): number {
  return parseInteger(text, source, 1, 0xffff_ffff);
}

export function parseVectorDim(text: string, source: string): number {
  return parseInteger(text, source, 1, MAX_VECTOR_DIM);
}

export function parseVectorPrecision(text: string, source: string): VectorPrecision {
  if (text === 'f32' || text === 'f16' || text === 'i8') return text;
  throw refuse(source, text, 'f32, f16 or i8');
}

export function parseVectorConnectivity(text: string, source: string): number {
  return parseInteger(text, source, MIN_CONNECTIVITY, MAX_CONNECTIVITY);
}

export function parseVectorEfConstruction(text: string, source: string): number {
  return parseInteger(text, source, 1, MAX_EF_CONSTRUCTION);
}

export function parseDurability(text: string, source: string): Durability {
  if (text === 'always' || text === 'interval') return text;
  throw refuse(source, text, 'always or interval');
}

/** `5` and `0.5` are seconds; `500ms`, `5s` and `2m` say their unit. Milliseconds come back, at least 1. */
export function parseTimeoutMs(text: string, source: string): number {
  const match = /^(\d{1,12}(?:\.\d{1,6})?)(ms|s|m)?$/.exec(text.trim());
  const factor = { ms: 1, s: 1000, m: 60_000 }[match?.[2] ?? 's'] ?? 1000;
  const value = match === null ? Number.NaN : Number(match[1]) * factor;
  if (!(value > 0 && value <= MAX_TIMEOUT_MS)) {
    throw refuse(source, text, 'a time above zero: seconds (5, 0.5), or 500ms, 5s, 2m');
  }
  return Math.max(1, Math.round(value));
}

/** The settings in the environment. A variable that is set but empty counts as not set. */
export function settingsFrom(env: Environment): StoreSettings {
  const reconcileMs = read(env, 'SUTRA_RECONCILE_MS', parseReconcileMs);
  const threshold = read(env, 'SUTRA_THRESHOLD', parseThreshold);
  const vectorDim = read(env, 'SUTRA_VECTOR_DIM', parseVectorDim);
  const vectorPrecision = read(env, 'SUTRA_VECTOR_PRECISION', parseVectorPrecision);
  const vectorConnectivity = read(env, 'SUTRA_VECTOR_CONNECTIVITY', parseVectorConnectivity);
  const vectorEfConstruction = read(env, 'SUTRA_VECTOR_EF_CONSTRUCTION', parseVectorEfConstruction);
  const durability = read(env, 'SUTRA_DURABILITY', parseDurability);
  const timeoutMs = read(env, 'SUTRA_TIMEOUT', parseTimeoutMs);
  return {
    ...(reconcileMs === undefined ? {} : { reconcileMs }),
    ...(threshold === undefined ? {} : { threshold }),
    ...(vectorDim === undefined ? {} : { vectorDim }),
    ...(vectorPrecision === undefined ? {} : { vectorPrecision }),
    ...(vectorConnectivity === undefined ? {} : { vectorConnectivity }),
    ...(vectorEfConstruction === undefined ? {} : { vectorEfConstruction }),
    ...(durability === undefined ? {} : { durability }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
}

function read<T>(
  env: Environment,
  name: string,
  parse: (text: string, source: string) => T,
): T | undefined {
  const text = env[name];
  return text === undefined || text === '' ? undefined : parse(text, name);
}
