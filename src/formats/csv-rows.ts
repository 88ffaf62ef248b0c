/**
 * Text to rows of cells, by RFC 4180: cells between delimiters, rows between line feeds (a carriage return before one is part
 * of the line end), cells in quotes may hold all three, and quotes that are doubled. Empty lines are no rows.
 *
 * A row whose quotes do not fit is bad by itself: reading goes on with the next line, for a quote that is never closed
 * with the line behind the one it opens in, so that one bad row is not the end of all that follow. That, and the line of
 * every row, is why no parser package is used here: the one that was tried (csv-parse) takes everything behind a bad
 * quote into the bad row. Its rows are this one's oracle (test/formats/csv-rows.test.ts).
 *
 * Memory is the longest row, twice: a row that has not ended is cut again only once its text has doubled.
 */

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;
const QUOTE = 34;

export interface Row {
  /** Where it begins, counted from 1. */
  readonly line: number;
  readonly cells: readonly string[];
}

export interface BadRow {
  readonly line: number;
  readonly reason: string;
}

export async function* cutRows(
  texts: AsyncIterable<string>,
  delimiter: string,
  maxRowCharacters: number,
): AsyncGenerator<readonly (Row | BadRow)[], void, undefined> {
  const cutter = new RowCutter(delimiter, maxRowCharacters);
  for await (const text of texts) {
    cutter.add(text);
    const rows = cutter.cut(false);
    if (rows.length > 0) yield rows;
  }
  const rows = cutter.cut(true);
  if (rows.length > 0) yield rows;
}

/** How the cutting of one row ended. */
const ENDED = 0;
const NEEDS_MORE = 1;
const BAD = 2;

class RowCutter {
  private text = '';
  /** What came since the text was last cut. */
  private more: string[] = [];
  private moreCharacters = 0;
  /** Of the row that is cut next. */
  private line = 1;
  /** Inside a row that is too long, whose rest is dropped up to its line end. */
  private dropping = false;
  private first = true;

  /** Of the row just cut: its cells, where the text goes on, line feeds in it, and why it is bad. */
  private cells: string[] = [];
  private end = 0;
  private feeds = 0;
  private reason = '';
  private readonly delimiter: number;

  constructor(
    delimiter: string,
    private readonly maxRowCharacters: number,
  ) {
    this.delimiter = delimiter.charCodeAt(0);
  }

  add(text: string): void {
    const whole = this.first && text.startsWith('\ufeff') ? text.slice(1) : text;
    if (text !== '') this.first = false;
    this.more.push(whole);
    this.moreCharacters += whole.length;
  }

  cut(final: boolean): (Row | BadRow)[] {
    const rows: (Row | BadRow)[] = [];
    if (!final && this.moreCharacters < this.text.length) return rows;
    const text = this.text + this.more.join('');
    this.more = [];
    this.moreCharacters = 0;
    let at = 0;
    if (this.dropping) {
      const feed = text.indexOf('\n');
      if (feed < 0) return rows;
      this.dropping = false;
      this.line++;
      at = feed + 1;
    }
    while (at < text.length) {
      const { line } = this;
      const how = this.cutRow(text, at, final);
      if (how === ENDED) {
        this.line += this.feeds;
        if (this.end - at > this.maxRowCharacters) rows.push({ line, reason: this.tooLong() });
        else if (this.cells.length > 1 || this.cells[0] !== '') {
          rows.push({ line, cells: this.cells });
        }
        at = this.end;
      } else if (how === BAD) {
        rows.push({ line, reason: this.reason });
        at = this.nextLine(text, this.end);
      } else if (text.length - at > this.maxRowCharacters) {
        rows.push({ line, reason: this.tooLong() });
        this.feeds = 0;
        at = this.nextLine(text, at);
      } else break;
    }
    this.text = at < text.length ? text.slice(at) : '';
    return rows;
  }

  private tooLong(): string {
    return `a row longer than ${this.maxRowCharacters} characters`;
  }

  /** Behind the line feed that follows; without one the rest of the line is dropped when it comes. */
  private nextLine(text: string, from: number): number {
    // Line feeds that the bad row has passed already.
    this.line += this.feeds;
    const feed = text.indexOf('\n', from);
    if (feed >= 0) {
      this.line++;
      return feed + 1;
    }
    this.dropping = true;
    return text.length;
  }

  private cutRow(text: string, start: number, final: boolean): number {
    const { delimiter } = this;
    const { length } = text;
    const cells: string[] = [];
    let at = start;
    this.feeds = 0;
    for (;;) {
      let end = at;
      if (at < length && text.charCodeAt(at) === QUOTE) {
        let cell = '';
        let from = at + 1;
        for (;;) {
          end = text.indexOf('"', from);
          if (end < 0) {
            if (!final && length - start <= this.maxRowCharacters) return NEEDS_MORE;
            // Line feeds inside it are taken for line ends again.
            this.feeds = countFeeds(text, start, at);
            return this.bad('a quote that is not closed', at);
          }
          if (end + 1 === length && !final) return NEEDS_MORE;
          if (text.charCodeAt(end + 1) !== QUOTE) break;
          cell += text.slice(from, end + 1);
          from = end + 2;
        }
        cell += text.slice(from, end);
        this.feeds += countFeeds(text, at, end);
        cells.push(cell);
        end++;
        if (end + 1 === length && !final && text.charCodeAt(end) === CARRIAGE_RETURN)
          return NEEDS_MORE;
        if (text.charCodeAt(end) === CARRIAGE_RETURN && isLineEnd(text, end + 1)) end++;
        const next = text.charCodeAt(end);
        if (end < length && next !== delimiter && next !== LINE_FEED) {
          return this.bad('text behind a closing quote; double the quotes in a quoted cell', end);
        }
      } else {
        for (; end < length; end++) {
          const code = text.charCodeAt(end);
          if (code === delimiter || code === LINE_FEED) break;
          if (code === QUOTE) {
            return this.bad(
              'a quote in a cell that is not quoted; quote the cell and double its quotes',
              end,
            );
          }
        }
        const isLast = end === length || text.charCodeAt(end) === LINE_FEED;
        const trimmed = isLast && end > at && text.charCodeAt(end - 1) === CARRIAGE_RETURN;
        cells.push(text.slice(at, trimmed ? end - 1 : end));
      }
      if (end >= length) {
        if (!final) return NEEDS_MORE;
        return this.ended(cells, length);
      }
      if (text.charCodeAt(end) === LINE_FEED) {
        this.feeds++;
        return this.ended(cells, end + 1);
      }
      at = end + 1;
    }
  }

  private ended(cells: string[], end: number): number {
    this.cells = cells;
    this.end = end;
    return ENDED;
  }

  private bad(reason: string, end: number): number {
    this.reason = reason;
    this.end = end;
    return BAD;
  }
}

function isLineEnd(text: string, at: number): boolean {
  return at === text.length || text.charCodeAt(at) === LINE_FEED;
}

function countFeeds(text: string, from: number, to: number): number {
  let feeds = 0;
  for (let at = text.indexOf('\n', from); at >= 0 && at < to; at = text.indexOf('\n', at + 1))
    feeds++;
  return feeds;
}
