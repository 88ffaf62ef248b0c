import { describe, expect, it } from 'vitest';
import { byteSize, createProgress, duration } from '#sutra/cli/progress';

class Screen {
  text = '';
  readonly columns: number;
  constructor(columns = 100) {
    this.columns = columns;
  }
  write(text: string): void {
    this.text += text;
  }
  /** What a person sees: the last state of each line. */
  get lines(): string[] {
    return this.text.split('\n').map((line) => line.split('\r\x1b[2K').at(-1) ?? '');
  }
}

function setup(options: { interactive: boolean; total?: number; columns?: number; unit?: string }) {
  const screen = new Screen(options.columns);
  let clock = 0;
  const progress = createProgress({
    label: 'importing x.jsonl',
    unit: options.unit ?? 'lines',
    ...(options.total === undefined ? {} : { total: options.total }),
    stream: screen,
    interactive: options.interactive,
    now: () => clock,
  });
  return { screen, progress, tick: (ms: number) => (clock += ms) };
}

describe('progress', () => {
  it('prints plain lines every few seconds when nobody watches', () => {
    const { screen, progress, tick } = setup({ interactive: false, total: 1000 });
    for (let done = 1; done <= 1000; done++) {
      tick(20); // 50 a second, 20 seconds in all
      progress.update(done);
    }
    progress.finish();
    expect(screen.text).not.toContain('\x1b');
    expect(screen.text).not.toContain('\r');
    expect(screen.lines[0]).toBe('importing x.jsonl: 25%, 250 of 1,000 lines, 50/s, 15 s left');
    expect(screen.lines.at(-2)).toBe('importing x.jsonl: 1,000 lines in 20 s, 50/s');
    expect(screen.lines.length).toBe(6); // 5 s, 10 s, 15 s, 20 s, the summary, and the end
  });

  it('draws one bar in place on a terminal and clears it at the end', () => {
    const { screen, progress, tick } = setup({ interactive: true, total: 200 });
    tick(1000);
    progress.update(100);
    expect(screen.lines.at(-1)).toBe(
      'importing x.jsonl: [============            ]  50%  100 of 200 lines, 100/s, 1.0 s left',
    );
    progress.finish('imported 200 lines');
    expect(screen.lines).toEqual(['imported 200 lines', '']);
  });

  it('never fills the terminal’s last column', () => {
    const { screen, progress, tick } = setup({ interactive: true, total: 200, columns: 40 });
    tick(1000);
    progress.update(100);
    expect(screen.lines.at(-1)?.length).toBe(39);
  });

  it('counts without a total, and takes the total when it becomes known', () => {
    const { screen, progress, tick } = setup({ interactive: false });
    tick(5000);
    progress.update(10_000);
    expect(screen.lines[0]).toBe('importing x.jsonl: 10,000 lines, 2,000/s');
    progress.setTotal(20_000);
    tick(5000);
    progress.update(15_000_000);
    expect(screen.lines[1]).toContain('100%');
  });

  it('prints notes above the bar', () => {
    const { screen, progress, tick } = setup({ interactive: true, total: 10 });
    tick(200);
    progress.update(5);
    progress.note('line 5: no id');
    progress.abandon();
    expect(screen.lines).toEqual(['line 5: no id', '']);
  });

  it('says nothing after the end', () => {
    const { screen, progress, tick } = setup({ interactive: true, total: 10 });
    progress.finish('done');
    const length = screen.text.length;
    tick(10_000);
    progress.update(10);
    progress.finish();
    expect(screen.text.length).toBe(length);
  });

  it('draws at most ten times a second however often it is called', () => {
    const { screen, progress, tick } = setup({ interactive: true, total: 100_000 });
    for (let done = 1; done <= 100_000; done++) {
      tick(0.01); // one second in all
      progress.update(done);
    }
    expect(screen.text.split('\r').length - 1).toBeLessThanOrEqual(10);
    expect(screen.text.split('\r').length - 1).toBeGreaterThanOrEqual(9);
  });

  it('writes sizes and times as a person says them', () => {
    expect([0, 1023, 1024, 1536 * 1024].map(byteSize)).toEqual([
      '0 B',
      '1023 B',
      '1.0 KiB',
      '1.5 MiB',
    ]);
    expect([0.84, 42.2, 185, 7800, Infinity].map(duration)).toEqual([
      '0.8 s',
      '42 s',
      '3 min 05 s',
      '2 h 10 min',
      'a long time',
    ]);
  });
});
