/**
 * What a stream can show. Colour and drawing are for a terminal; a pipe or a file gets plain lines that other programs
 * read. NO_COLOR (any value but empty, https://no-color.org) turns colour off and leaves the drawing; a terminal that
 * calls itself dumb gets neither.
 */

export interface Screen {
  /** A terminal that draws: boxes, arrows, bars. */
  readonly drawing: boolean;
  readonly colour: boolean;
  /** Cells per line. */
  readonly width: number;
}

export interface ScreenStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

const DEFAULT_WIDTH = 80;
/** Narrower than this, tables wrap anyhow. */
const MIN_WIDTH = 40;
/** Longer lines are hard to read; wide terminals do not stretch tables beyond. */
const MAX_WIDTH = 140;

export function screenOf(
  stream: ScreenStream,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Screen {
  const drawing = stream.isTTY === true && env['TERM'] !== 'dumb';
  const columns = stream.columns ?? 0;
  return {
    drawing,
    colour: drawing && (env['NO_COLOR'] ?? '') === '',
    width: columns > 0 ? Math.min(MAX_WIDTH, Math.max(MIN_WIDTH, columns)) : DEFAULT_WIDTH,
  };
}

const SGR = {
  bold: ['\x1b[1m', '\x1b[22m'],
  dim: ['\x1b[2m', '\x1b[22m'],
  red: ['\x1b[31m', '\x1b[39m'],
  green: ['\x1b[32m', '\x1b[39m'],
  yellow: ['\x1b[33m', '\x1b[39m'],
  cyan: ['\x1b[36m', '\x1b[39m'],
} as const;

export type Style = keyof typeof SGR;

/** The text in a style, where the screen shows colour. */
export function styled(screen: Screen, style: Style, text: string): string {
  if (!screen.colour || text === '') return text;
  const [on, off] = SGR[style];
  return on + text + off;
}
