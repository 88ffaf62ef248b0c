/** The three panels below the calls: what happens to writes, what the store holds, what the server's process uses. */

import type { ServerStats, StorageStats } from '../storage/storage.js';
import { gauge, sparkline } from './bars.js';
import { byteRate, bytes, count, latency, percent, rate, span, whole } from './figures.js';
import type { DashboardState } from './model.js';
import { Line, Toned, useLook, type Look, type Tone } from './theme.js';
import { percentiles, perSecond, recent, series } from './view.js';

interface Fact {
  readonly label: string;
  readonly value: string;
  readonly tone?: Tone;
  /** Drawn between label and value where there is room. */
  readonly trend?: readonly number[];
  /** A share of 0 to 1, drawn as a bar. */
  readonly share?: number;
}

type Facts = readonly Fact[];

/** Rows of a panel, its title not counted. */
export const PANEL_LINES = 9;
const GAP = 3;

export function Panels({ state, width }: { state: DashboardState; width: number }) {
  const { glyphs } = useLook();
  const cell = Math.floor((width - 2 * GAP) / 3);
  const widths = [cell, cell, width - 2 * GAP - 2 * cell];
  const titles = ['WRITES', 'STORE', 'SERVER'];
  const panels: Facts[] =
    state.history.length === 0 ? [[], [], []] : [writes(state), store(state), server(state)];
  const gap = ' '.repeat(GAP);
  return (
    <>
      <Line>
        {titles.map((title, i) => (
          <Toned key={title} tone="title">
            {i === 0 ? '' : gap}
            {title}{' '}
            <Toned tone="dim">{glyphs.rule.repeat((widths[i] ?? 0) - title.length - 1)}</Toned>
          </Toned>
        ))}
      </Line>
      {Array.from({ length: PANEL_LINES }, (_, line) => (
        <Line key={line}>
          {panels.map((facts, i) => (
            <Cell key={i} fact={facts[line]} width={widths[i] ?? 0} before={i === 0 ? '' : gap} />
          ))}
        </Line>
      ))}
    </>
  );
}

function Cell({ fact, width, before }: { fact: Fact | undefined; width: number; before: string }) {
  const look = useLook();
  if (fact === undefined) return <>{before + ' '.repeat(width)}</>;
  const { label, value, tone = 'plain' } = fact;
  const room = width - label.length - value.length;
  return (
    <>
      {before}
      <Toned tone="dim">{label}</Toned>
      <Toned tone="trend">{drawing(fact, room, look)}</Toned>
      <Toned tone={tone}>{value}</Toned>
    </>
  );
}

/** Exactly `room` cells. A drawing of fewer than five says nothing. */
function drawing({ trend, share, label }: Fact, room: number, { glyphs }: Look): string {
  // Drawings of one panel begin below each other.
  const indent = Math.max(1, 12 - label.length);
  const cells = room - indent - 8;
  const right = Math.max(1, room - indent - Math.max(0, cells));
  if (share !== undefined) {
    const short = Math.max(4, cells);
    if (room < short + 2) return ' '.repeat(room);
    return gauge(share, short, glyphs)
      .padStart(room - 1)
      .concat(' ');
  }
  if (trend === undefined || cells < 5) return ' '.repeat(room);
  return ' '.repeat(indent) + sparkline(trend, cells, glyphs) + ' '.repeat(right);
}

function writes({ history }: DashboardState): Facts {
  const stats = history.at(-1)?.stats;
  if (stats === undefined) return [];
  const sync = percentiles(
    recent(history, (s) => s.syncLatency),
    stats.latencyBoundsUs,
  );
  const written = perSecond(history, (s) => s.written);
  const commits = perSecond(history, (s) => s.groupCommits);
  const refused = perSecond(history, (s) => s.dropped);
  const filled = share(stats.memtableWrites, stats.memtableThreshold);
  const log = share(stats.walBytes, stats.walThresholdBytes);
  const memtable = Math.max(filled, log);
  const queue = share(stats.pendingBytes, stats.pendingLimitBytes);
  return [
    { label: 'writes', value: rate(written), trend: series(history, (s) => s.written) },
    { label: 'commits', value: rate(commits), trend: series(history, (s) => s.groupCommits) },
    {
      label: 'per commit',
      value: written === null || commits === null || commits === 0 ? '-' : count(written / commits),
    },
    { label: 'sync p50', value: latency(sync.p50) },
    { label: 'sync p99', value: latency(sync.p99) },
    {
      label: 'pending',
      value: stats.pending === 0 ? '0' : `${count(stats.pending)}, ${bytes(stats.pendingBytes)}`,
      tone: queue > 0.9 ? 'bad' : queue > 0.5 ? 'warn' : 'plain',
    },
    { label: 'refused', value: rate(refused), tone: (refused ?? 0) > 0 ? 'bad' : 'plain' },
    { label: 'memtable', value: percent(memtable), share: memtable },
    checkpoint(stats),
  ];
}

function checkpoint(stats: StorageStats): Fact {
  const { running, writtenBytes, expectedBytes, runningUs, lastEndUs, lastDurationUs, lastError } =
    stats.checkpoint;
  if (running) {
    // The estimate is of a file that is being written: never say that it is done before it is.
    const done = Math.min(0.99, share(writtenBytes, expectedBytes));
    return expectedBytes > 0
      ? { label: 'checkpoint', value: percent(done), share: done }
      : { label: 'checkpoint', value: `for ${span(runningUs / 1e6)}` };
  }
  if (lastError !== '') return { label: 'checkpoint', value: 'failed', tone: 'bad' };
  if (lastEndUs === 0) return { label: 'checkpoint', value: 'none yet', tone: 'dim' };
  return { label: 'checkpoint', value: `took ${latency(lastDurationUs)}` };
}

function store({ history }: DashboardState): Facts {
  const stats = history.at(-1)?.stats;
  if (stats === undefined) return [];
  const free = stats.server?.diskFreeBytes ?? 0;
  const total = stats.server?.diskTotalBytes ?? 0;
  // The next checkpoint writes storage.dat anew beside the old one.
  const tight = total > 0 && free < stats.snapshotBytes + stats.walBytes;
  return [
    { label: 'concepts', value: whole(stats.concepts) },
    { label: 'associations', value: whole(stats.edges) },
    { label: 'vectors', value: whole(stats.vectors) },
    {
      label: 'indexed',
      value: stats.vectors === 0 ? '-' : percent(share(stats.indexed, stats.vectors)),
    },
    { label: 'sequence', value: whole(stats.sequence) },
    { label: 'storage.dat', value: bytes(stats.snapshotBytes) },
    { label: 'log', value: bytes(stats.walDiskBytes) },
    { label: 'disk free', value: total > 0 ? bytes(free) : '-', tone: tight ? 'bad' : 'plain' },
    stats.diskFull
      ? { label: 'durability', value: 'disk full', tone: 'bad' }
      : { label: 'durability', value: stats.durability },
  ];
}

function server({ history }: DashboardState): Facts {
  const stats = history.at(-1)?.stats;
  const process = stats?.server;
  if (stats === undefined || process === undefined) return [];
  const of = (pick: (s: ServerStats) => number) => (s: StorageStats) =>
    s.server === undefined ? 0 : pick(s.server);
  const cpuUs = of((s) => s.cpuUserUs + s.cpuSystemUs);
  const cpu = perSecond(history, cpuUs);
  const active = perSecond(
    history,
    of((s) => s.loopActiveUs),
  );
  const idle = perSecond(
    history,
    of((s) => s.loopIdleUs),
  );
  const busy =
    active === null || idle === null || active + idle === 0 ? null : active / (active + idle);
  const delay = percentiles(
    recent(history, (s) => s.server?.loopDelay),
    stats.latencyBoundsUs,
  );
  const flow = (label: string, pick: (s: ServerStats) => number): Fact => ({
    label,
    value: byteRate(perSecond(history, of(pick))),
    trend: series(history, of(pick)),
  });
  return [
    { label: 'connections', value: whole(process.connections) },
    {
      label: 'cpu',
      value: percent(cpu === null ? null : cpu / 1e6),
      trend: series(history, cpuUs),
    },
    { label: 'loop busy', value: percent(busy), tone: (busy ?? 0) > 0.9 ? 'warn' : 'plain' },
    { label: 'loop delay p99', value: latency(delay.p99) },
    { label: 'memory', value: bytes(process.residentBytes) },
    flow('disk read', (s) => s.diskReadBytes),
    flow('disk write', (s) => s.diskWrittenBytes),
    flow('net in', (s) => s.networkReceivedBytes),
    flow('net out', (s) => s.networkSentBytes),
  ];
}

function share(part: number, all: number): number {
  return all > 0 ? Math.min(1, part / all) : 0;
}
