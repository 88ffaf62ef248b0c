/** Durable embedded writes, and the store that most other sections share. */

import { rmSync } from 'node:fs';
import { grouped, repeated, type Bench } from '../bench.js';
import { median } from '../measure.js';

export async function writeRows(bench: Bench): Promise<void> {
  const { writeConcepts, names, concurrent, awaited, writeRuns } = bench.size;
  const variants = [
    ['concepts, batches of 1,000, hex ids', 'hex', 'batch', writeConcepts, 'write.hex'],
    ['concepts, batches of 1,000, names', 'names', 'batch', names, 'write.names'],
    ['concepts, 1,000 single calls at once', 'hex', 'concurrent', concurrent, 'write.concurrent'],
    ['concepts, single awaited calls', 'hex', 'awaited', awaited, 'write.awaited'],
  ] as const;
  for (const [work, ids, mode, of, key] of variants) {
    const results = await repeated(writeRuns, async () => {
      const directory = bench.freshDirectory();
      const result = await bench.runCase('writes', { directory, count: of, ids, mode });
      rmSync(directory, { recursive: true });
      return result;
    });
    bench.detail[work] = results;
    const bar =
      ids === 'hex' && mode === 'batch'
        ? { text: '>= 500,000 (newest Node)', ...(onNewest() ? { atLeast: 500_000 } : {}) }
        : undefined;
    const perSecond = results.map((result) => result.perSecond);
    const p50 = median(results.map((result) => result.latencyUs?.p50 ?? NaN));
    const cpuUs = median(results.map((result) => result.cpuUs)).toFixed(1);
    const note = `${cpuUs} us of CPU each${mode === 'awaited' ? `, p50 ${Math.round(p50)} us a call` : ''}`;
    bench.row('durable writes, embedded', work, '1/s', perSecond, { bar, note, key });
  }
}

export async function loadRows(bench: Bench, directory: string): Promise<void> {
  const { concepts, associations } = bench.size;
  const result = await bench.runCase('load', { directory, concepts, associations });
  bench.detail['load'] = result;
  const section = `one store of ${grouped(concepts)} concepts and ${grouped(associations)} associations`;
  bench.row(
    section,
    'its concepts, with background checkpoints',
    '1/s',
    [result.conceptsPerSecond],
    { note: `${result.conceptCpuUs.toFixed(1)} us of CPU each` },
  );
  bench.row(
    section,
    'its associations, random, batches of 1,000',
    '1/s',
    [result.associationsPerSecond],
    {
      bar: { text: '>= 400,000', atLeast: 400_000 },
      note: `${result.associationCpuUs.toFixed(1)} us of CPU each, ${result.checkpoints} checkpoints in all`,
      key: 'write.associations',
    },
  );
  const { ms, cpuMs, waitedMs } = result.longestTurn;
  bench.row(section, 'event loop held while loading, longest', 'ms', [ms], {
    bar: {
      text: '<= 50',
      atMost: 50,
    },
    key: 'write.turn',
  });
  if (cpuMs !== null && waitedMs !== null) {
    bench.row(section, 'of that, CPU of the thread', 'ms', [cpuMs], { key: 'write.turn.cpu' });
    bench.row(section, 'of that, waiting for a processor', 'ms', [waitedMs], {
      key: 'write.turn.waited',
    });
  }
  bench.row(section, 'flush at the end', 'ms', [result.flushMs], {
    note: `${Math.round(result.snapshotBytes / 2 ** 20)} MiB storage.dat`,
    key: 'write.flush',
  });
}

/** The bar is stated for the newest Node. */
function onNewest(): boolean {
  return Number(process.versions.node.split('.')[0]) >= 26;
}
