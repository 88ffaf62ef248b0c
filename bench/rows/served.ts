/** The served store beside a no-op server, and what is felt of a checkpoint. Both write to the store they are given. */

import type { SlowestFigures } from '../acknowledgements.js';
import type { Bench } from '../bench.js';
import type { CaseFigures } from '../case.js';

type Join = (ours: number, theirs: number) => number;

export async function grpcRows(bench: Bench, directory: string): Promise<void> {
  const { concepts, grpcCalls: calls, grpcBatched: batched, grpcRuns } = bench.size;
  const common = { concepts, calls, window: 32 };
  const noop: CaseFigures<'grpcClient'>[] = [];
  const served: CaseFigures<'grpcClient'>[] = [];
  const syncs: CaseFigures<'syncCost'>[] = [];
  for (let run = 0, firstNew = concepts; run < grpcRuns; run++) {
    syncs.push(await bench.runCase('syncCost', { directory: bench.work, count: calls }));
    noop.push(
      await bench.withServer('grpcNoop', {}, (port) =>
        bench.runCase('grpcClient', { ...common, port, firstNew: 0, batched: 0, checked: false }),
      ),
    );
    // A server a run, so that its count of writes is that run's.
    served.push(
      await bench.withServer('grpcServer', { directory }, (port) =>
        bench.runCase('grpcClient', { ...common, port, firstNew, batched, checked: true }),
      ),
    );
    firstNew += calls * 3 + 2 * batched;
  }
  bench.detail['grpc'] = { noop, served, syncs };
  const section = 'served over gRPC, beside a no-op grpc-js server';
  /** By runs, each beside the no-op server of its own time. */
  const beside = (figure: (run: CaseFigures<'grpcClient'>) => number, join: Join): number[] =>
    served.map((run, i) => {
      const other = noop[i];
      if (other === undefined) throw new Error('a run without its no-op server');
      return join(figure(run), figure(other));
    });
  const ratio: Join = (ours, theirs) => ours / theirs;
  const beyond = beside(
    (r) => r.writeMs.p50,
    (ours, theirs) => ours - theirs,
  );
  bench.row(
    section,
    'no-op: unary read, p50',
    'ms',
    noop.map((r) => r.readMs.p50),
  );
  bench.row(
    section,
    'unary read, p50, to no-op',
    'x',
    beside((r) => r.readMs.p50, ratio),
    {
      bar: {
        text: '<= 1.15',
        atMost: 1.15,
      },
      key: 'grpc.read',
    },
  );
  bench.row(
    section,
    'no-op: unary reads, 32 at once',
    '1/s',
    noop.map((r) => r.readsPerSecond),
  );
  bench.row(
    section,
    'unary reads, 32 at once, to no-op',
    'x',
    beside((r) => r.readsPerSecond, ratio),
    { bar: { text: '>= 0.9', atLeast: 0.9 }, key: 'grpc.reads' },
  );
  bench.row(
    section,
    'an append of 128 bytes and its fdatasync, p50',
    'ms',
    syncs.map((r) => r.syncMs.p50),
  );
  bench.row(section, 'durable unary write, p50, beyond no-op', 'ms', beyond);
  bench.row(
    section,
    'durable unary write, p50, beyond no-op',
    'syncs',
    beyond.map((ms, i) => ms / (syncs[i]?.syncMs.p50 ?? NaN)),
    { bar: { text: '<= 1.2', atMost: 1.2 }, key: 'grpc.write' },
  );
  bench.row(
    section,
    'durable unary writes, 32 at once',
    '1/s',
    served.map((r) => r.writesPerSecond),
  );
  bench.row(
    section,
    'batches of 1,000 concepts, 4 at once',
    '1/s',
    served.map((r) => r.batchedPerSecond ?? NaN),
    { bar: { text: '>= 150,000', atLeast: 150_000 }, key: 'grpc.batches' },
  );
  bench.row(
    section,
    'ingest: one stream of concepts',
    '1/s',
    served.map((r) => r.ingestedPerSecond ?? NaN),
    { bar: { text: '>= 150,000', atLeast: 150_000 }, key: 'grpc.ingest' },
  );
}

export async function checkpointRows(bench: Bench, directory: string): Promise<void> {
  const { concepts, quietMs } = bench.size;
  // What the gRPC rows added is part of the store by now.
  const added = bench.chosen.has('grpc')
    ? bench.size.grpcRuns * (bench.size.grpcCalls * 3 + 2 * bench.size.grpcBatched)
    : 0;
  const figures = await bench.runCase('checkpointLatency', {
    directory,
    concepts: concepts + added,
    quietMs,
  });
  bench.detail['checkpoint'] = figures;
  const section = 'checkpoint, under a steady writer and reader';
  const { without, background, flush } = figures;
  for (const [name, phase] of Object.entries({ without, background, flush })) {
    const label = name === 'without' ? 'without one' : `during one (${name} pace)`;
    if (phase !== without) bench.row(section, `${label}: duration`, 'ms', [phase.ms]);
    const isBackground = phase === background;
    const ackP99 = phase.acknowledgementMs.p99;
    const readP99 = phase.readUs.p99;
    bench.row(section, `${label}: acknowledgement p99`, 'ms', [ackP99], {
      bar: isBackground
        ? { text: '<= 2x without', atMost: 2 * without.acknowledgementMs.p99 }
        : undefined,
      note: `max ${phase.acknowledgementMs.max.toFixed(1)}`,
      key: `checkpoint.${name}.acknowledgement`,
    });
    // Of the two phases that the bar compares.
    if (phase !== flush) slowestRows(bench, section, label, name, phase.slowest);
    bench.row(section, `${label}: read p99`, 'us', [readP99], {
      bar: isBackground ? { text: '<= 2x without', atMost: 2 * without.readUs.p99 } : undefined,
      note: `max ${Math.round(phase.readUs.max)}`,
      key: `checkpoint.${name}.read`,
    });
    bench.row(section, `${label}: event loop held, longest`, 'ms', [phase.longestTurnMs], {
      bar: {
        text: '<= 50',
        atMost: 50,
      },
      key: `checkpoint.${name}.turn`,
    });
  }
}

/** Where the acknowledgements beyond the p99 go. */
function slowestRows(
  bench: Bench,
  section: string,
  label: string,
  phase: string,
  { count, ms, syncMs, writeMs, waitedMs }: SlowestFigures,
): void {
  const key = `checkpoint.${phase}.slowest`;
  bench.row(section, `${label}: acknowledgements, the slowest 1 %: mean`, 'ms', [ms], {
    note: `of ${count}; the parts overlap`,
    key,
  });
  bench.row(section, `${label}: of that, the log's sync`, 'ms', [syncMs], { key: `${key}.sync` });
  bench.row(section, `${label}: of that, the log's write`, 'ms', [writeMs], {
    key: `${key}.write`,
  });
  if (waitedMs === null) return;
  bench.row(section, `${label}: of that, main thread waiting for a processor`, 'ms', [waitedMs], {
    key: `${key}.waited`,
  });
}
