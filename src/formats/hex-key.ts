/** The 32 hex digits of an id's key, which name the same concept as the id does. */

import { ParsedId, parseId } from '../engine/format/id.js';

const parsed = new ParsedId();

export function hexKey(id: string): string {
  parseId(id, parsed);
  const words = [parsed.k0, parsed.k1, parsed.k2, parsed.k3];
  return words.map((word) => word.toString(16).padStart(8, '0')).join('');
}
