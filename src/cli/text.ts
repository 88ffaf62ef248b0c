/**
 * Text from the store, made safe and fitting for a screen. What a client stored must never drive the terminal of the
 * person who reads it: escape sequences, control characters and the marks that reorder text (Trojan Source,
 * CVE-2021-42574) are shown as visible escapes. Widths are terminal cells: two for East Asian wide characters and
 * emoji, none for combining marks.
 */

/** C0 and C1 controls, DEL, line and paragraph separators, bidirectional controls, and lone surrogates. */
const UNSAFE =
  // eslint-disable-next-line no-control-regex -- control characters are what this finds
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|\p{Surrogate}/gu;

const NAMED: Readonly<Record<string, string>> = { '\t': '\\t', '\n': '\\n', '\r': '\\r' };

/** One line: every unsafe character as an escape a person can read (`\x1b`, `\u202e`). */
export function safeLine(text: string): string {
  return text.replace(UNSAFE, escape);
}

/** Several lines: line feeds and tabs stay. */
export function safeText(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .replace(UNSAFE, (c) => (c === '\n' || c === '\t' ? c : escape(c)));
}

function escape(character: string): string {
  const named = NAMED[character];
  if (named !== undefined) return named;
  const code = character.charCodeAt(0);
  const hex = code.toString(16);
  return code < 0x100 ? `\\x${hex.padStart(2, '0')}` : `\\u${hex.padStart(4, '0')}`;
}

/** JSON on one line whose characters cannot drive a terminal either: JSON.stringify leaves DEL, C1 and the like as is. */
export function safeJson(value: unknown): string {
  return safeJsonText(JSON.stringify(value));
}

/** The same for what is JSON already, on one line. */
export function safeJsonText(json: string): string {
  return json.replace(UNSAFE, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** The text's first words on one line, white space collapsed, cut to so many cells. */
export function excerpt(text: string, cells: number): string {
  // Content can be a MiB; no screen needs more than this of it.
  const head = text.slice(0, cells * 8 + 64);
  return truncate(safeLine(head.replace(/\s+/g, ' ').trim()), cells, head.length < text.length);
}

/** Cut to at most so many cells; an ellipsis marks the cut. */
export function truncate(text: string, cells: number, moreFollows = false): string {
  if (cells < 1) return '';
  if (!moreFollows && displayWidth(text) <= cells) return text;
  let used = 0;
  let kept = '';
  for (const character of text) {
    const width = characterWidth(character);
    if (used + width > cells - 1) break;
    used += width;
    kept += character;
  }
  return `${kept.trimEnd()}…`;
}

export function padEnd(text: string, cells: number): string {
  return text + ' '.repeat(Math.max(0, cells - displayWidth(text)));
}

/** Terminal cells of a safe line. */
export function displayWidth(text: string): number {
  let cells = 0;
  for (const character of text) cells += characterWidth(character);
  return cells;
}

const ZERO_WIDTH = /^[\p{Mn}\p{Me}\p{Cf}]$/u;
const EMOJI = /^\p{Emoji_Presentation}$/u;

/** East Asian Width W and F (Unicode 16, UAX #11), by block; emoji come from their own property. */
function characterWidth(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x300) return 1;
  if (ZERO_WIDTH.test(character)) return 0;
  const wide =
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0x303e) ||
    (code >= 0x3041 && code <= 0xa4cf) ||
    (code >= 0xa960 && code <= 0xa97c) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff01 && code <= 0xff60) ||
    (code >= 0xffe0 && code <= 0xffe6) ||
    (code >= 0x17000 && code <= 0x1b2ff) ||
    (code >= 0x20000 && code <= 0x3fffd) ||
    EMOJI.test(character);
  return wide ? 2 : 1;
}
