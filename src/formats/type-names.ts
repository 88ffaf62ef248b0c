/**
 * Names of association types and their numbers. Five have names of their own (0-4). Any other name gets one of the client's
 * numbers, 5-65535: the one a type map says, else 5 + h mod 65531, where h is the first four bytes, most significant
 * first, of the MD5 of the name's UTF-8. So a name has the same number in every file, store and run without anything being
 * kept. Two names may share a number by chance: without a map that is refused; with one, the later takes the next number
 * that is free, and the map remembers it.
 */

import { createHash } from 'node:crypto';
import { SutraError } from '../errors.js';
import { ASSOCIATION_TYPES } from '../storage/storage.js';
import { BadField, show } from './bad-field.js';

const MAX_TYPE = 65_535;
const FIRST_OWN = ASSOCIATION_TYPES.length;
const OWN_TYPES = MAX_TYPE + 1 - FIRST_OWN;

export class TypeNames {
  private readonly numbers = new Map<string, number>();
  private readonly names = new Map<number, string>();
  /** Names used so far, apart from the five: what a summary prints. */
  readonly used = new Map<string, number>();
  /** Whether the map has names that it was not made with. */
  changed = false;

  /** `map`: the numbers that are settled; null when there is no map, so that numbers cannot be remembered. */
  constructor(private readonly map: ReadonlyMap<string, number> | null = null) {
    for (const [name, number] of map ?? []) this.settle(name, number);
  }

  /** Throws BadField for a number out of range, and where two names meet without a map. */
  numberOf(text: string): number {
    const known = this.used.get(text);
    if (known !== undefined) return known;
    const standard = STANDARD.get(text) ?? STANDARD.get(text.toLowerCase());
    if (standard !== undefined) return standard;
    if (/^\d+$/.test(text)) {
      const number = Number(text);
      if (number <= MAX_TYPE) return number;
      throw new BadField(
        `type: got ${show(text)}, expected a name or a number from 0 to ${MAX_TYPE}`,
      );
    }
    if (text.trim() === '') throw new BadField('type: got nothing, expected a name or a number');
    const number = this.numbers.get(text) ?? this.allot(text);
    this.used.set(text, number);
    return number;
  }

  /** The name of a number, or its digits. */
  nameOf(number: number): string {
    return ASSOCIATION_TYPES[number] ?? this.names.get(number) ?? String(number);
  }

  /** The map with all that was added to it, as its file holds it. */
  toJson(): string {
    const entries = [...this.numbers].sort(([, a], [, b]) => a - b);
    return `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`;
  }

  private allot(name: string): number {
    let number =
      FIRST_OWN + (createHash('md5').update(name, 'utf8').digest().readUInt32BE(0) % OWN_TYPES);
    const other = this.names.get(number);
    if (other !== undefined) {
      if (this.map === null) {
        throw new BadField(
          `type: ${show(name)} has the same number as ${show(other)}, ${number}; give --type-map FILE to tell them apart`,
        );
      }
      if (this.names.size >= OWN_TYPES) {
        throw new BadField(
          `type: ${show(name)} finds no free number; there are ${OWN_TYPES} names`,
        );
      }
      while (this.names.has(number)) number = number === MAX_TYPE ? FIRST_OWN : number + 1;
    }
    this.settle(name, number);
    this.changed = true;
    return number;
  }

  private settle(name: string, number: number): void {
    this.numbers.set(name, number);
    this.names.set(number, name);
  }
}

const STANDARD: ReadonlyMap<string, number> = new Map(
  ASSOCIATION_TYPES.map((name, number) => [name, number]),
);

/** The numbers in a type map, `{"knows": 31045}`; refuses what would not be one number for one name. */
export function parseTypeMap(text: string, source: string): Map<string, number> {
  const refuse = (reason: string, cause?: unknown): SutraError =>
    new SutraError('INVALID_ARGUMENT', `${source}: ${reason}`, {
      hint: 'A type map is a JSON object of names and numbers from 5 to 65535: {"knows": 5, "likes": 6}.',
      ...(cause === undefined ? {} : { cause }),
    });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw refuse(`not JSON: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw refuse(`got ${show(value)}, expected a JSON object`);
  }
  const map = new Map<string, number>();
  const names = new Map<number, string>();
  for (const [name, number] of Object.entries(value) as [string, unknown][]) {
    if (
      typeof number !== 'number' ||
      !Number.isInteger(number) ||
      number < FIRST_OWN ||
      number > MAX_TYPE
    ) {
      throw refuse(
        `${show(name)}: got ${show(number)}, expected a number from ${FIRST_OWN} to ${MAX_TYPE}`,
      );
    }
    if (STANDARD.has(name.toLowerCase()) || /^\d*$/.test(name)) {
      throw refuse(`${show(name)} cannot be the name of a type: it is a type of its own`);
    }
    const other = names.get(number);
    if (other !== undefined) throw refuse(`${show(name)} and ${show(other)} are both ${number}`);
    names.set(number, name);
    map.set(name, number);
  }
  return map;
}
