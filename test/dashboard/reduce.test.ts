/** How the dashboard's state changes, and the figures it is made of. */

import { describe, expect, test } from 'vitest';

import { bar, gauge, sparkline, UNICODE } from '#sutra/dashboard/bars';
import { byteRate, bytes, count, latency, percent, rate, span } from '#sutra/dashboard/figures';
import { initialState, type Action } from '#sutra/dashboard/model';
import { Painter } from '#sutra/dashboard/painter';
import { reduce } from '#sutra/dashboard/reduce';
import { buckets, callRows, perSecond, totals } from '#sutra/dashboard/view';
import { LATENCY_BOUNDS_US } from '#sutra/latency';
import { HEALTHY, polled, run, sample, START_MS, statsAt } from './samples.js';

describe('figures', () => {
  test('three digits, whatever the size', () => {
    expect([0, 7, 999, 1000, 12_400, 999_499, 999_600, 3.21e6].map(count)).toEqual([
      ...['0', '7', '999', '1.00K', '12.4K', '999K', '1.00M', '3.21M'],
    ]);
    expect([0, 640, 1023, 1024, 1_048_575, 1_269_760].map(bytes)).toEqual([
      ...['0 B', '640 B', '1023 B', '1.00 KiB', '1.00 MiB', '1.21 MiB'],
    ]);
    expect([0, 85, 999.4, 999.6, 1210, 2_050_000].map(latency)).toEqual([
      ...['0 us', '85 us', '999 us', '1.00 ms', '1.21 ms', '2.05 s'],
    ]);
    expect([0, 0.00001, 0.0002, 0.073, 0.42, 1].map(percent)).toEqual([
      ...['0%', '<0.01%', '0.02%', '7.3%', '42%', '100%'],
    ]);
    expect([null, 0, 0.04, 0.4, 9, 12_400].map(rate)).toEqual([
      ...['-', '0/s', '0.1/s', '0.4/s', '9.0/s', '12.4K/s'],
    ]);
    expect([0, 59.9, 185, 8040, 800_000].map(span)).toEqual([
      ...['0 s', '59 s', '3 min 05 s', '2 h 14 min', '9 d 6 h'],
    ]);
    expect(byteRate(null)).toBe('-');
    expect(latency(null)).toBe('-');
    expect(percent(null)).toBe('-');
  });

  test('bars: what is above zero shows, and the largest is full', () => {
    expect(sparkline([0, 0.001, 50, 100], 6, UNICODE)).toBe('   ▁▄█');
    expect(sparkline([1, 2, 3, 4], 2, UNICODE)).toBe('▆█');
    expect(sparkline([0, 0], 3, UNICODE)).toBe('   ');
    expect(gauge(0.5, 4, UNICODE)).toBe('██░░');
    expect(gauge(7, 4, UNICODE)).toBe('████');
    expect(bar(0.001, 10, UNICODE)).toBe('█');
    expect(bar(0, 10, UNICODE)).toBe('');
  });
});

describe('state', () => {
  test('rates are the growth of counters over the last seconds', () => {
    const { history } = polled(80, 24);
    const first = statsAt(35).written;
    const last = statsAt(40).written;
    expect(perSecond(history, (stats) => stats.written)).toBeCloseTo((last - first) / 5, 6);
    expect(perSecond(history.slice(-1), (stats) => stats.written)).toBeNull();
    expect(totals(history).inFlight).toBeGreaterThan(0);
  });

  test('a server that was restarted begins a new history, and the dashboard says so for a while', () => {
    const before = polled(80, 24);
    const fresh = statsAt(1);
    const after = reduce(before, {
      type: 'sample',
      atMs: START_MS + 42_000,
      stats: { ...fresh, epoch: 13 },
      health: HEALTHY,
    });
    expect(after.history).toHaveLength(1);
    expect(after.restartedUntilMs).toBeGreaterThan(START_MS + 42_000);
    expect(callRows(after)[0]?.perSecond).toBeNull();
  });

  test('lost: since when, until it answers', () => {
    const lost = (seconds: number): Action => {
      return { type: 'lost', atMs: START_MS + seconds * 1000, message: 'gone' };
    };
    const away = run(polled(80, 24), lost(41), lost(45));
    expect(away.lost).toEqual({
      sinceMs: START_MS + 41_000,
      atMs: START_MS + 45_000,
      message: 'gone',
    });
    expect(run(away, sample(46)).lost).toBeNull();
  });

  test('paused: nothing moves', () => {
    const paused = run(polled(80, 24), { type: 'key', key: 'pause' });
    expect(run(paused, sample(50), { type: 'lost', atMs: 1, message: '' })).toBe(paused);
    expect(run(paused, { type: 'key', key: 'pause' }, sample(50)).history).toHaveLength(41);
  });

  test('the cursor stays on the table, the interval on its steps', () => {
    const key = (name: 'up' | 'down'): Action => ({ type: 'key', key: name });
    const state = polled(80, 24);
    const methods = callRows(state).map(({ method }) => method);
    expect(methods[0]).toBe('LearnConcept');
    expect(methods).not.toContain('Flush');
    expect(run(state, key('up')).selected).toBe(methods[0]);
    const bottom = run(state, ...Array.from({ length: 30 }, () => key('down')));
    expect(bottom.selected).toBe(methods.at(-1));
    const slower: Action = { type: 'interval', step: 1 };
    const faster: Action = { type: 'interval', step: -1 };
    expect(run(state, slower).intervalMs).toBe(2000);
    expect(run(state, ...Array.from({ length: 9 }, () => slower)).intervalMs).toBe(10_000);
    expect(run(state, ...Array.from({ length: 9 }, () => faster)).intervalMs).toBe(500);
    expect(run({ ...state, intervalMs: 3000 }, faster).intervalMs).toBe(2000);
  });

  test('sorted by errors and by p99, the worst are first', () => {
    const sort: Action = { type: 'key', key: 'sort' };
    expect(callRows(run(polled(80, 24), sort))[0]?.method).toBe('FindPath');
    expect(callRows(run(polled(80, 24), sort, sort))[0]?.method).toBe('VectorSearch');
    const names = callRows(run(polled(80, 24), sort, sort, sort)).map(({ method }) => method);
    expect(names).toEqual([...names].sort());
  });

  test('memory is bounded', () => {
    expect(polled(80, 24, 500).history.length).toBeLessThanOrEqual(128);
  });

  test('buckets: merged until they fit, and none is lost', () => {
    const counts = Array.from({ length: 60 }, (_, i) => (i < 5 ? 0 : i));
    const all = counts.reduce((sum, value) => sum + value, 0);
    for (const lines of [1, 7, 20, 55, 100]) {
      const rows = buckets({ counts, sumUs: 1 }, LATENCY_BOUNDS_US, lines);
      expect(rows.length).toBeLessThanOrEqual(lines);
      expect(rows.reduce((sum, row) => sum + row.count, 0)).toBe(all);
    }
    expect(buckets({ counts: [0, 0], sumUs: 0 }, LATENCY_BOUNDS_US, 5)).toEqual([]);
    const above = Array.from({ length: LATENCY_BOUNDS_US.length + 1 }, () => 0).fill(1, -1);
    expect(buckets({ counts: above, sumUs: 1 }, LATENCY_BOUNDS_US, 5)).toEqual([
      { upToUs: null, count: 1 },
    ]);
  });

  test('nothing is known before the first answer', () => {
    const state = initialState({ address: 'a', columns: 80, rows: 24, intervalMs: 1000 });
    expect(callRows(state)).toEqual([]);
    expect(run(state, { type: 'key', key: 'open' }).page).toBe('overview');
  });
});

describe('painter', () => {
  function painted(): { painter: Painter; written: () => string } {
    let text = '';
    const painter = new Painter({ columns: 20, rows: 3, write: (part: string) => (text += part) });
    const written = (): string => {
      const all = text;
      text = '';
      return all;
    };
    return { painter, written };
  }

  test('writes the lines that changed, where they are, and gives the terminal back', () => {
    const { painter, written } = painted();
    painter.write('before it was asked to');
    expect(written()).toBe('');
    painter.enter();
    expect(written()).toContain('\x1b[?1049h');
    painter.write('one\ntwo\nthree\n');
    expect(written()).toContain('\x1b[2;1Htwo');
    painter.write('one\nTWO\nthree\n');
    expect(written()).toBe('\x1b[?2026h\x1b[2;1HTWO\x1b[0m\x1b[K\x1b[?2026l');
    painter.write('one\nTWO\nthree\n');
    expect(written()).toBe('');
    painter.write('one');
    expect(written()).toBe('\x1b[?2026h\x1b[2;1H\x1b[K\x1b[3;1H\x1b[K\x1b[?2026l');
    painter.forget();
    painter.write('one\ntwo\nthree\nfour');
    const whole = written();
    expect(whole).toContain('\x1b[2J');
    expect(whole).not.toContain('four');
    painter.leave();
    expect(written()).toBe('\x1b[?25h\x1b[?1049l');
    painter.leave();
    expect(written()).toBe('');
  });
});
