/** The two lines at the top: which server and how it is; then all calls together, or why there is no answer. */

import { displayWidth, safeLine, truncate } from '../cli/text.js';
import { sparkline, type Glyphs } from './bars.js';
import { latency, percent, rate, span } from './figures.js';
import type { DashboardState } from './model.js';
import { Line, Toned, useLook, type Tone } from './theme.js';
import { totals } from './view.js';

export function Header({ state, width }: { state: DashboardState; width: number }) {
  const { glyphs } = useLook();
  const { tone, mark, word } = condition(state);
  const last = state.history.at(-1);
  const server = last?.stats.server;
  const right =
    last === undefined
      ? ''
      : [
          ...(server === undefined ? [] : [`sutra ${server.version}`]),
          `up ${span(last.stats.uptimeSeconds)}`,
        ].join(', ');
  const name = 'sutra top';
  const said = `${glyphs[mark]} ${word}`;
  const room = width - name.length - said.length - right.length - 5;
  const address = cut(safeLine(state.address), room, glyphs);
  const used = name.length + 2 + displayWidth(address) + 2;
  const gap = Math.max(1, width - used - said.length - right.length);
  return (
    <Line>
      <Toned tone="title">{name}</Toned>
      {`  ${address}  `}
      <Toned tone={tone}>{said}</Toned>
      {' '.repeat(gap)}
      <Toned tone="dim">{right}</Toned>
    </Line>
  );
}

interface Condition {
  readonly tone: Tone;
  readonly mark: 'dot' | 'cross';
  readonly word: string;
}

function condition(state: DashboardState): Condition {
  const { lost, health, history, paused, restartedUntilMs } = state;
  if (paused) return { tone: 'warn', mark: 'dot', word: 'PAUSED' };
  if (lost !== null) return { tone: 'bad', mark: 'cross', word: 'no answer' };
  if (health === null) return { tone: 'dim', mark: 'dot', word: 'connecting' };
  if (!health.healthy) return { tone: 'bad', mark: 'cross', word: 'unhealthy' };
  const last = history.at(-1);
  if (last?.stats.server?.draining === true) return { tone: 'warn', mark: 'dot', word: 'draining' };
  const restarted = last !== undefined && last.atMs < restartedUntilMs;
  return { tone: 'good', mark: 'dot', word: restarted ? 'healthy, was restarted' : 'healthy' };
}

export function Summary({ state, width }: { state: DashboardState; width: number }) {
  const { glyphs } = useLook();
  const { lost, history, health, paused } = state;
  if (lost !== null) {
    const since = span((lost.atMs - lost.sinceMs) / 1000);
    const again = `for ${since}; tries again by itself`;
    const why = cut(reason(lost.message), width - again.length - 2, glyphs);
    return (
      <Line>
        <Toned tone="bad">{why}</Toned>
        {'  '}
        <Toned tone="dim">{again}</Toned>
      </Line>
    );
  }
  if (health !== null && !health.healthy && !paused) {
    return (
      <Line>
        <Toned tone="bad">{cut(safeLine(health.status), width, glyphs)}</Toned>
      </Line>
    );
  }
  const { perSecond, errorShare, p99, inFlight, series } = totals(history);
  const trend = Math.min(60, width - 62);
  return (
    <Line>
      {'requests '}
      <Toned tone="strong">{rate(perSecond).padStart(8)}</Toned>{' '}
      <Toned tone="trend">{sparkline(series, trend, glyphs)}</Toned>
      {'  errors '}
      <Toned tone={errorTone(errorShare)}>{percent(errorShare).padStart(6)}</Toned>
      {'  p99 '}
      {latency(p99).padStart(7)}
      {'  in flight '}
      {String(inFlight).padStart(4)}
    </Line>
  );
}

function cut(text: string, cells: number, { ellipsis }: Glyphs): string {
  return truncate(text, Math.max(12, cells)).replace('…', ellipsis);
}

/** The end of what the transport says; the server's name, with which it begins, is in the line above. */
function reason(message: string): string {
  const line = safeLine(message);
  const at = line.lastIndexOf('Error: ');
  return at < 0 ? line : line.slice(at + 'Error: '.length).replace(/\.$/, '');
}

export function errorTone(share: number | null): Tone {
  if (share === null || share === 0) return 'plain';
  return share < 0.01 ? 'warn' : 'bad';
}
