/**
 * Numbers as a dashboard shows them: short, of one width whatever their size, so that columns stand still while they change.
 * Three significant digits; a dash for what is not known.
 */

export const UNKNOWN = '-';

const COUNT_UNITS = ['', 'K', 'M', 'G', 'T'];
const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** `0`, `7`, `12.4K`, `3.21M`. Whole below a thousand. */
export function count(value: number): string {
  return scaled(value, 1000, COUNT_UNITS, '');
}

/** `0/s`, `0.4/s`, `12.4K/s`. */
export function rate(perSecond: number | null): string {
  if (perSecond === null) return UNKNOWN;
  const small = perSecond > 0 && perSecond < 9.95;
  return `${small ? Math.max(0.1, perSecond).toFixed(1) : count(perSecond)}/s`;
}

/** `0 B`, `640 B`, `1.21 MiB`. */
export function bytes(value: number): string {
  return scaled(value, 1024, BYTE_UNITS, ' ');
}

export function byteRate(perSecond: number | null): string {
  return perSecond === null ? UNKNOWN : `${bytes(perSecond)}/s`;
}

/** Microseconds as `85 us`, `1.21 ms`, `2.05 s`. */
export function latency(us: number | null): string {
  if (us === null) return UNKNOWN;
  if (us < 999.5) return `${Math.round(us)} us`;
  const ms = us / 1000;
  if (ms < 999.5) return `${digits(ms)} ms`;
  return `${digits(ms / 1000)} s`;
}

/** A share of 0 to 1: `0%`, `0.02%`, `7.3%`, `100%`. */
export function percent(share: number | null): string {
  if (share === null) return UNKNOWN;
  const value = share * 100;
  if (value === 0) return '0%';
  if (value < 0.01) return '<0.01%';
  if (value < 0.995) return `${value.toFixed(2)}%`;
  return value < 9.95 ? `${value.toFixed(1)}%` : `${Math.round(value)}%`;
}

/** A number in full: `1,204,113`. */
export function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** Seconds as `12 s`, `3 min 05 s`, `2 h 14 min`, `9 d 4 h`. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

function scaled(value: number, base: number, units: readonly string[], gap: string): string {
  let scale = value;
  let unit = 0;
  // 999.5 would round to four digits.
  while (scale >= (unit === 0 ? base : 999.5) && unit < units.length - 1) {
    scale /= base;
    unit++;
  }
  const shown = unit === 0 ? String(Math.round(scale)) : digits(scale);
  return `${shown}${gap}${units[unit] ?? ''}`;
}

/** Three significant digits of 0.1 to 999. */
function digits(value: number): string {
  if (value < 9.995) return value.toFixed(2);
  return value < 99.95 ? value.toFixed(1) : String(Math.round(value));
}
