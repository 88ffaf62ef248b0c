/**
 * Puts frames on a terminal: on its alternate screen, line by line where a line changed, by absolute position, in one write
 * within a synchronized update (DEC mode 2026; terminals without it ignore that). So nothing flickers, a frame over SSH costs
 * the bytes that changed, and after a resize everything is painted again.
 *
 * ink renders into it: it is the stream that ink writes to, and with `debug` set ink writes whole frames and no escape
 * sequences of its own but colours.
 */

import { EventEmitter } from 'node:events';

export interface Terminal {
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
}

const ENTER = '\x1b[?1049h\x1b[?25l\x1b[2J\x1b[H';
const LEAVE = '\x1b[?25h\x1b[?1049l';
const BEGIN = '\x1b[?2026h';
const END = '\x1b[?2026l';

const FALLBACK_COLUMNS = 80;
const FALLBACK_ROWS = 24;

export class Painter extends EventEmitter {
  /** ink asks. */
  readonly isTTY = true;
  private painted: readonly string[] = [];
  private entered = false;

  constructor(private readonly terminal: Terminal) {
    super();
  }

  get columns(): number {
    const { columns = 0 } = this.terminal;
    return columns > 0 ? columns : FALLBACK_COLUMNS;
  }

  get rows(): number {
    const { rows = 0 } = this.terminal;
    return rows > 0 ? rows : FALLBACK_ROWS;
  }

  enter(): void {
    this.entered = true;
    this.terminal.write(ENTER);
  }

  /** Gives the terminal back as it was. Twice is once. */
  leave(): void {
    if (!this.entered) return;
    this.entered = false;
    this.terminal.write(LEAVE);
  }

  /** The next frame is painted whole. */
  forget(): void {
    this.painted = [];
  }

  /** One whole frame. */
  write(frame: string): boolean {
    if (!this.entered) return true;
    const lines = frame.replace(/\n$/, '').split('\n').slice(0, this.rows);
    const parts: string[] = [];
    if (this.painted.length === 0) parts.push('\x1b[2J');
    lines.forEach((line, i) => {
      if (line !== this.painted[i]) parts.push(`\x1b[${i + 1};1H${line}\x1b[0m\x1b[K`);
    });
    for (let i = lines.length; i < this.painted.length; i++) parts.push(`\x1b[${i + 1};1H\x1b[K`);
    this.painted = lines;
    if (parts.length > 0) this.terminal.write(BEGIN + parts.join('') + END);
    return true;
  }
}
