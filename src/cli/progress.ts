/**
 * Progress of a long piece of work, told on stderr so that stdout stays data. On a terminal it is one bar, redrawn in
 * place at most every 100 ms; anywhere else (a log, a pipe, CI) it is one plain line every few seconds, so that a log
 * stays readable. Rates are over the recent past rather than the whole run, because imports change pace when
 * checkpoints and caches come in; the time left follows from that rate.
 *
 * `update` costs a look at the clock (some 40 ns) between two drawings: call it per line or per batch, not per byte.
 */

export interface ProgressOptions {
  /** What is being done: `importing wordnet.jsonl`. */
  readonly label: string;
  /** How many units there are in all; absent when that is not known (a pipe): no bar and no time left then. */
  readonly total?: number;
  /** What is counted, in the plural: `concepts`. `bytes` prints as KiB, MiB and GiB. */
  readonly unit: string;
  /** Default process.stderr. */
  readonly stream?: ProgressStream;
  /** Draw a bar in place. Default: whether the stream is a terminal that can (TERM is not dumb). */
  readonly interactive?: boolean;
  /** Milliseconds between lines when not interactive. Default 5,000. */
  readonly lineEveryMs?: number;
  /** Milliseconds since some start; for tests. Default performance.now. */
  readonly now?: () => number;
}

export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface Progress {
  /** So many units are done in all (not: since the last call). */
  update(done: number): void;
  /** The total became known, or changed. */
  setTotal(total: number): void;
  /** Prints a line of text without tearing the bar: warnings along the way go through here. */
  note(line: string): void;
  /** Ends the bar and prints one last line: the message, else the total with its mean rate. Later calls do nothing. */
  finish(message?: string): void;
  /** Ends the bar without a last line, for when an error message follows. */
  abandon(): void;
}

const DRAW_EVERY_MS = 100;
const LINE_EVERY_MS = 5_000;
/** The rate is taken over about this much of the recent past. */
const RATE_WINDOW_MS = 5_000;
const BAR_CELLS = 24;
const ERASE_LINE = '\r\x1b[2K';

export function createProgress(options: ProgressOptions): Progress {
  const stream: ProgressStream = options.stream ?? process.stderr;
  const interactive =
    options.interactive ?? (stream.isTTY === true && process.env['TERM'] !== 'dumb');
  const everyMs = interactive ? DRAW_EVERY_MS : (options.lineEveryMs ?? LINE_EVERY_MS);
  const now = options.now ?? (() => performance.now());
  const startedAt = now();
  const rate = new RecentRate(startedAt);
  let total = options.total;
  let done = 0;
  let drawnAt = startedAt;
  let barShown = false;
  let ended = false;

  const status = (): string => {
    const perSecond = rate.perSecond();
    const parts = [`${options.label}:`];
    if (total !== undefined && total > 0) {
      const fraction = Math.min(1, done / total);
      const percent = `${Math.floor(fraction * 100)}%`.padStart(4);
      const counts = `${quantity(done, options.unit)} of ${quantity(total, options.unit, true)}`;
      parts.push(
        interactive ? `${bar(fraction)} ${percent}  ${counts}` : `${percent.trim()}, ${counts}`,
      );
    } else {
      parts.push(quantity(done, options.unit, true));
    }
    let text = parts.join(' ');
    if (perSecond > 0) {
      text += `, ${quantity(perSecond, options.unit)}/s`;
      if (total !== undefined && done < total) {
        text += `, ${duration((total - done) / perSecond)} left`;
      }
    }
    return text;
  };

  const draw = (at: number): void => {
    rate.sample(at, done);
    drawnAt = at;
    if (interactive) {
      // One column short of the edge: a full line would wrap, and the next erase would miss its first half.
      const width = Math.max(20, (stream.columns ?? 80) - 1);
      stream.write(ERASE_LINE + status().slice(0, width));
      barShown = true;
    } else {
      stream.write(`${status()}\n`);
    }
  };

  const erase = (): void => {
    if (barShown) stream.write(ERASE_LINE);
    barShown = false;
  };

  return {
    update(count) {
      done = count;
      if (ended) return;
      const at = now();
      if (at - drawnAt >= everyMs) draw(at);
    },
    setTotal(count) {
      total = count;
    },
    note(line) {
      erase();
      stream.write(`${line}\n`);
      if (interactive && !ended) draw(now());
    },
    finish(message) {
      if (ended) return;
      ended = true;
      erase();
      const seconds = (now() - startedAt) / 1000;
      const mean = seconds > 0 ? `, ${quantity(done / seconds, options.unit)}/s` : '';
      const summary = `${options.label}: ${quantity(done, options.unit, true)} in ${duration(seconds)}${mean}`;
      stream.write(`${message ?? summary}\n`);
    },
    abandon() {
      ended = true;
      erase();
    },
  };
}

/** The pace over the last few seconds, from samples taken at each drawing. */
class RecentRate {
  readonly #times: number[];
  readonly #counts: number[] = [0];

  constructor(startedAt: number) {
    this.#times = [startedAt];
  }

  sample(at: number, done: number): void {
    this.#times.push(at);
    this.#counts.push(done);
    // Two samples always stay, so that a pace slower than the window still has one.
    while (this.#times.length > 2 && at - (this.#times[1] ?? at) >= RATE_WINDOW_MS) {
      this.#times.shift();
      this.#counts.shift();
    }
  }

  perSecond(): number {
    const passed = (this.#times.at(-1) ?? 0) - (this.#times[0] ?? 0);
    const moved = (this.#counts.at(-1) ?? 0) - (this.#counts[0] ?? 0);
    return passed > 0 && moved > 0 ? (moved * 1000) / passed : 0;
  }
}

function bar(fraction: number): string {
  const full = Math.round(fraction * BAR_CELLS);
  return `[${'='.repeat(full)}${' '.repeat(BAR_CELLS - full)}]`;
}

/** `1,234 concepts`, `12.3 MiB`; without the unit's name where the line already says it. */
function quantity(count: number, unit: string, named = false): string {
  if (unit === 'bytes') return byteSize(count);
  const digits = Math.round(count).toLocaleString('en-US');
  return named ? `${digits} ${unit}` : digits;
}

/** Bytes in the largest binary unit that keeps at least one whole digit. */
export function byteSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit] ?? ''}`;
}

/** Seconds as a person says them: `0.8 s`, `42 s`, `3 min 05 s`, `2 h 10 min`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return 'a long time';
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
}

function pad(value: number): string {
  return String(value).padStart(2, '0');
}
