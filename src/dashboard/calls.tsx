/** The table of calls: how often, how that moved, how many failed, how long they took. */

import { sparkline } from './bars.js';
import { latency, percent, rate } from './figures.js';
import { errorTone } from './header.js';
import type { DashboardState } from './model.js';
import { Line, Title, Toned, useLook } from './theme.js';
import { callRows, type CallRow } from './view.js';

const NAME = 18;
const RATE = 9;
const ERRORS = 8;
const TIME = 9;

/** Title, head and rows: exactly `lines` of them, with the cursor's row always among them. */
export function Calls({
  state,
  width,
  lines,
}: {
  state: DashboardState;
  width: number;
  lines: number;
}) {
  const rows = callRows(state);
  const room = lines - 2;
  const at = Math.max(
    0,
    rows.findIndex(({ method }) => method === state.selected),
  );
  const first = Math.max(0, Math.min(at - room + 1, rows.length - room));
  const shown = rows.slice(first, first + room);
  const hidden = rows.length - shown.length;
  const trend = width - 1 - NAME - RATE - 2 - ERRORS - 3 * TIME;
  const title = hidden > 0 ? `CALLS (${shown.length} of ${rows.length})` : 'CALLS';
  return (
    <>
      <Title text={title} width={width} />
      <Line>
        <Toned tone="dim">{head(trend, state)}</Toned>
      </Line>
      {Array.from({ length: room }, (_, i) => {
        const row = shown[i];
        if (row === undefined) return <Line key={i} />;
        return <Row key={i} row={row} trend={trend} chosen={row.method === state.selected} />;
      })}
    </>
  );
}

function head(trend: number, { sort }: DashboardState): string {
  const mark = (name: string, of: string): string => (of === sort ? `${name}*` : name);
  return [
    ` ${mark('call', 'name').padEnd(NAME)}`,
    mark('rate', 'rate').padStart(RATE),
    `  ${'trend'.padEnd(trend)}`,
    mark('errors', 'errors').padStart(ERRORS),
    'p50'.padStart(TIME),
    'p95'.padStart(TIME),
    mark('p99', 'p99').padStart(TIME),
  ].join('');
}

function Row({ row, trend, chosen }: { row: CallRow; trend: number; chosen: boolean }) {
  const { glyphs } = useLook();
  const idle = (row.perSecond ?? 0) === 0;
  return (
    <Line>
      {chosen ? glyphs.cursor : ' '}
      <Toned tone={chosen ? 'cursor' : idle ? 'dim' : 'plain'}>{row.method.padEnd(NAME)}</Toned>
      <Toned tone={idle ? 'dim' : 'strong'}>{rate(row.perSecond).padStart(RATE)}</Toned>
      {'  '}
      <Toned tone="trend">{sparkline(row.series, trend, glyphs)}</Toned>
      <Toned tone={errorTone(row.errorShare)}>{percent(row.errorShare).padStart(ERRORS)}</Toned>
      {latency(row.p50).padStart(TIME)}
      {latency(row.p95).padStart(TIME)}
      {latency(row.p99).padStart(TIME)}
    </Line>
  );
}
