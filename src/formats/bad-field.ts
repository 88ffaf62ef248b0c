/** What readers of fields throw, and how a value stands in a message. */

/** Why a record is refused, before it is known where it stands. */
export class BadField extends Error {}

/** A value as a message shows it: JSON, cut short. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value);
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
