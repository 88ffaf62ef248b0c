/** Association types as people give and read them: a name for 0-4, the number for the client's own. */

import { refuse } from '../storage/settings.js';
import { ASSOCIATION_TYPES } from '../storage/storage.js';

const MAX_TYPE = 65_535;

export function parseAssociationType(text: string, source: string): number {
  const named = (ASSOCIATION_TYPES as readonly string[]).indexOf(text.toLowerCase());
  if (named >= 0) return named;
  const type = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(type <= MAX_TYPE)) {
    throw refuse(
      source,
      text,
      `${ASSOCIATION_TYPES.join(', ')}, or a number from 0 to ${MAX_TYPE}`,
    );
  }
  return type;
}

export function associationTypeName(type: number): string {
  return ASSOCIATION_TYPES[type] ?? String(type);
}
