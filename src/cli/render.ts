/**
 * Answers as text for people: tables and drawings on a terminal, plain tab-separated lines anywhere else, so that
 * `sutra neighbors X | cut -f1` does what it looks like. Everything that came from the store passes through safeLine,
 * safeText or excerpt.
 */

import { latencyQuantileUs, type LatencyHistogram } from '../latency.js';
import type {
  CheckpointStats,
  ConceptAnswer,
  HealthAnswer,
  NeighborsAnswer,
  PathAnswer,
  PathStep,
  StorageStats,
  VectorMatch,
} from '../storage/storage.js';
import { associationTypeName } from './association-type.js';
import { shortProduct } from './documents.js';
import { shortFloat32 } from '../formats/float32.js';
import { byteSize, duration } from './progress.js';
import { styled, type Screen } from './screen.js';
import { displayWidth, excerpt, padEnd, safeLine, safeText, truncate } from './text.js';

export interface Column {
  readonly head: string;
  readonly align?: 'left' | 'right';
}

/** Rows of safe text: boxed by cli-table3 on a terminal, else one row a line with tabs between and no head. */
export async function table(
  screen: Screen,
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): Promise<string> {
  if (!screen.drawing) return rows.map((row) => row.join('\t')).join('\n');
  const { default: Table } = await import('cli-table3');
  const drawn = new Table({
    head: columns.map((column) => styled(screen, 'bold', column.head)),
    colAligns: columns.map((column) => column.align ?? 'left'),
    // Colours are ours: the table's own would ignore NO_COLOR.
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) drawn.push([...row]);
  return drawn.toString();
}

export function conceptText(screen: Screen, answer: ConceptAnswer): string {
  if (!answer.found) return notFound(screen, answer.id);
  const facts = [
    `strength ${shortFloat32(answer.strength)}`,
    `confidence ${shortFloat32(answer.confidence)}`,
    `learned ${time(answer.createdUs)}`,
  ];
  if (answer.updatedUs !== answer.createdUs) facts.push(`updated ${time(answer.updatedUs)}`);
  if (answer.dimension > 0) facts.push(`embedding of ${answer.dimension}`);
  return [
    styled(screen, 'bold', safeLine(answer.id)),
    safeText(answer.content),
    styled(screen, 'dim', facts.join(', ')),
  ].join('\n');
}

export async function neighborsText(screen: Screen, answer: NeighborsAnswer): Promise<string> {
  if (!answer.known) return notFound(screen, answer.id);
  if (answer.neighbors.length === 0) return screen.drawing ? 'no neighbours' : '';
  const idWidth = Math.max(20, screen.width - 44);
  return table(
    screen,
    [{ head: 'neighbour' }, { head: 'type' }, { head: 'confidence', align: 'right' }, { head: '' }],
    answer.neighbors.map((neighbor) => {
      const id = safeLine(neighbor.id);
      const out = neighbor.direction === 'out';
      return [
        screen.drawing ? truncate(id, idWidth) : id,
        associationTypeName(neighbor.type),
        String(shortFloat32(neighbor.confidence)),
        screen.drawing ? (out ? '→ out' : '← in') : neighbor.direction,
      ];
    }),
  );
}

export async function matchesText(
  screen: Screen,
  matches: readonly VectorMatch[],
): Promise<string> {
  if (matches.length === 0) return screen.drawing ? 'nothing similar' : '';
  const idWidth = Math.max(16, Math.floor((screen.width - 24) / 2));
  const contentWidth = screen.drawing ? Math.max(16, screen.width - 24 - idWidth) : 120;
  const columns: Column[] = [{ head: 'concept' }, { head: 'similarity', align: 'right' }];
  const withContent = matches[0]?.content !== undefined;
  if (withContent) columns.push({ head: 'content' });
  return table(
    screen,
    columns,
    matches.map((match) => {
      const id = safeLine(match.id);
      const content = match.content ?? '';
      const cells = [
        screen.drawing ? truncate(id, idWidth) : id,
        screen.drawing ? match.similarity.toFixed(4) : String(shortFloat32(match.similarity)),
      ];
      if (withContent) cells.push(content === match.id ? '' : excerpt(content, contentWidth));
      return cells;
    }),
  );
}

/**
 * The path from top to bottom, one concept a line with the beginning of its content, and between two of them the
 * association with its arrow head at the end it points to:
 *
 *     ● dog.n.01      a member of the genus Canis
 *     │ hierarchical 0.9
 *     ▼
 *     ● canine.n.02   any of various fissiped mammals
 *     ▲
 *     │ causal 1
 *     ● fox.n.01      alert carnivorous mammal
 *     2 hops, confidence 0.9
 */
export function pathText(
  screen: Screen,
  answer: PathAnswer,
  contents: ReadonlyMap<string, string>,
): string {
  const marks = screen.drawing
    ? { node: '●', line: '│', down: '▼', up: '▲' }
    : { node: '*', line: '|', down: 'v', up: '^' };
  const widest = Math.max(...answer.path.map((id) => displayWidth(safeLine(id))));
  const idWidth = Math.min(widest, Math.floor(screen.width / 2));
  const lines: string[] = [];
  answer.path.forEach((id, index) => {
    const step = answer.steps[index - 1];
    if (step !== undefined) lines.push(...arrow(screen, step, marks));
    const content = contents.get(id) ?? '';
    const shown = content === id ? '' : excerpt(content, screen.width - idWidth - 5);
    const name = padEnd(truncate(safeLine(id), idWidth), idWidth);
    const bold = styled(screen, 'bold', name);
    lines.push(
      `${styled(screen, 'cyan', marks.node)} ${bold}  ${styled(screen, 'dim', shown)}`.trimEnd(),
    );
  });
  const hops = answer.steps.length;
  lines.push(
    `${hops} ${hops === 1 ? 'hop' : 'hops'}, confidence ${shortProduct(answer.confidence)}`,
  );
  return lines.join('\n');
}

function arrow(
  screen: Screen,
  step: PathStep,
  marks: { readonly line: string; readonly down: string; readonly up: string },
): string[] {
  const name = associationTypeName(step.type);
  const label = `${name === String(step.type) ? `type ${name}` : name} ${shortFloat32(step.confidence)}`;
  const shaft = `${styled(screen, 'cyan', marks.line)} ${label}`;
  return step.direction === 'out'
    ? [shaft, styled(screen, 'cyan', marks.down)]
    : [styled(screen, 'cyan', marks.up), shaft];
}

export function noPathText(from: string, to: string, maxDepth: number): string {
  return `no path from ${safeLine(from)} to ${safeLine(to)} within ${maxDepth} hops`;
}

export async function statsText(screen: Screen, stats: StorageStats): Promise<string> {
  const count = (value: number): string =>
    screen.drawing ? value.toLocaleString('en-US') : String(value);
  const bytes = (value: number): string => (screen.drawing ? byteSize(value) : String(value));
  const time = (us: number | null): string =>
    us === null ? '-' : screen.drawing ? shortTime(us) : String(Math.round(us));
  const facts = (head: string, rows: readonly (readonly string[])[]): Promise<string> =>
    table(screen, [{ head }, { head: '', align: 'right' }], rows);
  const { server, checkpoint, latencyBoundsUs } = stats;
  const quantile = (histogram: LatencyHistogram, q: number): string =>
    time(latencyQuantileUs(histogram, q, latencyBoundsUs));
  const parts = [
    await facts('store', [
      ['concepts', count(stats.concepts)],
      ['associations', count(stats.edges)],
      ['vectors', count(stats.vectors)],
      ['indexed', count(stats.indexed)],
      ['to be indexed', count(stats.indexQueued)],
      ['dimension', stats.dimension === 0 && screen.drawing ? 'none yet' : String(stats.dimension)],
      ['index precision', stats.vectorPrecision],
      ['index memory', bytes(stats.indexBytes)],
      ['index file', bytes(stats.indexFileBytes)],
      ['sequence', count(stats.sequence)],
      ['in storage.dat', count(stats.snapshotSequence)],
      ['storage.dat size', bytes(stats.snapshotBytes)],
      ['write log size', bytes(stats.walBytes)],
      ['written', count(stats.written)],
      ['dropped', count(stats.dropped)],
      ['pending', count(stats.pending)],
      ['reconciliations', count(stats.reconciliations)],
      ['checkpoints', count(stats.checkpoints)],
      ['uptime', screen.drawing ? duration(stats.uptimeSeconds) : String(stats.uptimeSeconds)],
    ]),
    await facts('writing', [
      ['durability', safeLine(stats.durability)],
      ['writes in memory', count(stats.memtableWrites)],
      ['checkpoint at writes', count(stats.memtableThreshold)],
      ['checkpoint at log size', bytes(stats.walThresholdBytes)],
      ['log size on disk', bytes(stats.walDiskBytes)],
      ['group commits', count(stats.groupCommits)],
      ['pending size', bytes(stats.pendingBytes)],
      ['sync p50', quantile(stats.syncLatency, 0.5)],
      ['sync p99', quantile(stats.syncLatency, 0.99)],
      ['checkpoint', checkpointText(checkpoint)],
      ['disk full', stats.diskFull ? 'yes' : 'no'],
    ]),
  ];
  if (server !== undefined) {
    parts.push(
      await facts('server', [
        ['version', safeLine(server.version)],
        ['connections', count(server.connections)],
        ['calls waiting', count(server.callsWaiting)],
        ['cpu', time(server.cpuUserUs + server.cpuSystemUs)],
        ['resident memory', bytes(server.residentBytes)],
        ['heap', bytes(server.heapUsedBytes)],
        ['event loop late p99', quantile(server.loopDelay, 0.99)],
        ['read from disk', bytes(server.diskReadBytes)],
        ['written to disk', bytes(server.diskWrittenBytes)],
        ['free on disk', bytes(server.diskFreeBytes)],
        ['received', bytes(server.networkReceivedBytes)],
        ['sent', bytes(server.networkSentBytes)],
      ]),
      await table(
        screen,
        [
          { head: 'call' },
          ...['calls', 'errors', 'in flight', 'p50', 'p95', 'p99'].map(
            (head) => ({ head, align: 'right' }) as const,
          ),
        ],
        server.calls
          .filter(({ started }) => started > 0)
          .map((call) => [
            safeLine(call.method),
            count(call.started),
            count(call.handled.reduce((sum, one) => sum + (one.code === 0 ? 0 : one.count), 0)),
            count(call.inFlight),
            ...[0.5, 0.95, 0.99].map((q) => quantile(call.latency, q)),
          ]),
      ),
    );
  }
  return parts.join('\n');
}

function checkpointText(checkpoint: CheckpointStats): string {
  if (checkpoint.running) {
    const { writtenBytes, expectedBytes } = checkpoint;
    const share = expectedBytes === 0 ? 0 : Math.floor((100 * writtenBytes) / expectedBytes);
    return `running, ${share} %`;
  }
  if (checkpoint.lastError !== '') return `failed: ${safeLine(checkpoint.lastError)}`;
  if (checkpoint.lastEndUs === 0) return 'none yet';
  return `took ${shortTime(checkpoint.lastDurationUs)}`;
}

/** Three digits and a unit. */
export function shortTime(us: number): string {
  if (us < 1_000) return `${Math.round(us)} us`;
  if (us < 1_000_000) return `${(us / 1_000).toPrecision(3)} ms`;
  return us < 60_000_000 ? `${(us / 1_000_000).toPrecision(3)} s` : duration(us / 1_000_000);
}

export function healthText(screen: Screen, health: HealthAnswer): string {
  const word = health.healthy ? 'healthy' : 'unhealthy';
  const detail = health.status === 'ok' ? '' : `: ${safeLine(health.status)}`;
  return styled(screen, health.healthy ? 'green' : 'red', word) + detail;
}

export function notFound(screen: Screen, id: string): string {
  return `${styled(screen, 'yellow', 'not found:')} ${safeLine(id)}`;
}

/** Microseconds since 1970 as UTC, to the second. */
function time(us: number): string {
  return new Date(us / 1000)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/, ' UTC');
}
