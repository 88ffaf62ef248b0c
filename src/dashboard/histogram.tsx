/** One call's latencies as a histogram, with the codes that its calls ended with. */

import { STATUS } from '../errors.js';
import { latencyCount } from '../latency.js';
import type { StorageStats } from '../storage/storage.js';
import { bar } from './bars.js';
import { count, latency, percent, whole } from './figures.js';
import type { DashboardState } from './model.js';
import { Line, Title, Toned, useLook } from './theme.js';
import { buckets, callOf, percentiles, recent, type Percentiles } from './view.js';

const BOUND = 12;
const COUNT = 9;
const SHARE = 8;
const NOTE = 14;

export function Histogram({
  state,
  width,
  lines,
}: {
  state: DashboardState;
  width: number;
  lines: number;
}) {
  const { glyphs } = useLook();
  const stats = state.history.at(-1)?.stats;
  const method = state.selected ?? '';
  const call = stats === undefined ? undefined : callOf(stats, method);
  if (stats === undefined || call === undefined) return <Line>{`${method}: no calls`}</Line>;

  const histogram =
    state.scope === 'all' ? call.latency : recent(state.history, (s) => callOf(s, method)?.latency);
  const all = latencyCount(histogram);
  const marks = percentiles(histogram, stats.latencyBoundsUs);
  const room = lines - 5;
  const rows = buckets(histogram, stats.latencyBoundsUs, room);
  const most = Math.max(1, ...rows.map((row) => row.count));
  const cells = width - BOUND - COUNT - SHARE - NOTE - 1;
  const over = state.scope === 'all' ? 'since the start of the server' : 'of the last 30 s';
  const mean = all === 0 ? null : histogram.sumUs / all;
  return (
    <>
      <Title text={`${method}: latencies ${over}`} width={width} />
      <Line>
        {`${whole(all)} calls, mean ${latency(mean)}, p50 ${latency(marks.p50)}, `}
        {`p95 ${latency(marks.p95)}, p99 ${latency(marks.p99)}`}
      </Line>
      <Line />
      {Array.from({ length: room }, (_, i) => {
        const row = rows[i];
        if (row === undefined) return <Line key={i} />;
        const below = rows[i - 1]?.upToUs ?? 0;
        const bound = row.upToUs === null ? 'above' : `<= ${latency(row.upToUs)}`;
        return (
          <Line key={i}>
            <Toned tone="dim">{bound.padStart(BOUND)}</Toned>{' '}
            <Toned tone="trend">{bar(row.count / most, cells, glyphs).padEnd(cells)}</Toned>
            {count(row.count).padStart(COUNT)}
            <Toned tone="dim">{percent(all === 0 ? null : row.count / all).padStart(SHARE)}</Toned>
            <Toned tone="strong">{`  ${notes(marks, below, row.upToUs)}`.padEnd(NOTE)}</Toned>
          </Line>
        );
      })}
      <Line />
      <Line>
        <Toned tone="dim">{'ended with '}</Toned>
        {codes(stats, method)}
      </Line>
    </>
  );
}

/** Which percentiles fall into the bucket. */
function notes(marks: Percentiles, belowUs: number, upToUs: number | null): string {
  const names = (['p50', 'p95', 'p99'] as const).filter((name) => {
    const us = marks[name];
    return us !== null && us > belowUs && (upToUs === null || us <= upToUs);
  });
  return names.join(' ');
}

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(STATUS).map(([name, code]) => [code, name]),
);

function codes(stats: StorageStats, method: string): string {
  const handled = callOf(stats, method)?.handled ?? [];
  if (handled.length === 0) return 'nothing yet';
  return handled
    .map(
      ({ code, count: n }) =>
        `${code === 0 ? 'OK' : (NAMES.get(code) ?? `code ${code}`)} ${whole(n)}`,
    )
    .join(', ');
}
