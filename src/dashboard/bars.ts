/** Bars of text: sparklines over time, gauges of a share, bars of a histogram. Unicode's block elements, or plain ASCII. */

export interface Glyphs {
  /** From the lowest to the highest; the first is zero. */
  readonly levels: readonly string[];
  readonly full: string;
  readonly empty: string;
  readonly rule: string;
  readonly dot: string;
  readonly cross: string;
  readonly cursor: string;
  readonly ellipsis: string;
  readonly arrows: string;
}

export const UNICODE: Glyphs = {
  levels: [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
  full: '█',
  empty: '░',
  rule: '─',
  dot: '●',
  cross: '✗',
  cursor: '›',
  ellipsis: '…',
  arrows: '↑↓',
};

/** For terminals whose locale is not UTF-8. */
export const ASCII: Glyphs = {
  levels: [' ', '.', ':', '-', '=', '+', '*', '%', '#'],
  full: '#',
  empty: '.',
  rule: '-',
  dot: '*',
  cross: 'x',
  cursor: '>',
  ellipsis: '~',
  arrows: 'jk',
};

/** The last `width` values, newest at the right, each as high as its share of the largest among them. */
export function sparkline(values: readonly number[], width: number, glyphs: Glyphs): string {
  const shown = values.slice(-width);
  const top = Math.max(0, ...shown);
  const highest = glyphs.levels.length - 1;
  const marks = shown.map((value) => {
    if (value <= 0 || top === 0) return glyphs.levels[0];
    // Anything above zero shows.
    return glyphs.levels[Math.max(1, Math.round((value / top) * highest))];
  });
  return marks.join('').padStart(width);
}

/** A share of 0 to 1 as a bar of `width` cells. */
export function gauge(share: number, width: number, glyphs: Glyphs): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width);
  return glyphs.full.repeat(full) + glyphs.empty.repeat(width - full);
}

/** A bar without a background; what is above zero has at least one cell. */
export function bar(share: number, width: number, glyphs: Glyphs): string {
  const cells = share > 0 ? Math.max(1, Math.round(share * width)) : 0;
  return glyphs.full.repeat(Math.min(width, cells));
}
