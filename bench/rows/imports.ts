/** `sutra import` of JSON lines. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { grouped, type Bench } from '../bench.js';
import type { CaseFigures } from '../case.js';

/** Of each target a small file and one five times that: memory that is the same for both is the same for any. */
export async function importRows(bench: Bench): Promise<void> {
  const files: {
    readonly path: string;
    readonly concepts: number;
    readonly associations: number;
  }[] = [];
  for (const share of [25, 5, 1]) {
    const file = {
      path: join(bench.work, `import-${share}.jsonl`),
      concepts: bench.size.importConcepts / share,
      associations: bench.size.importAssociations / share,
    };
    await bench.runCase('importFile', file);
    files.push(file);
  }
  const section = 'sutra import of JSON lines, the command itself';
  const counts = ({ concepts, associations }: { concepts: number; associations: number }): string =>
    `${grouped(concepts)} + ${grouped(associations)}`;
  const server: CaseFigures<'importInto'>[] = [];
  const embedded: CaseFigures<'importInto'>[] = [];
  let unary: CaseFigures<'grpcClient'> | null = null;
  for (const [i, file] of files.entries()) {
    const { concepts } = file;
    if (i > 0) {
      const directory = bench.freshDirectory();
      embedded.push(await bench.runCase('importInto', { ...file, directory }));
      rmSync(directory, { recursive: true });
    }
    if (i === 2) break;
    const directory = bench.freshDirectory();
    server.push(
      await bench.withServer('grpcServer', { directory }, (port) =>
        bench.runCase('importInto', { ...file, port }),
      ),
    );
    if (i === 1) {
      const common = { concepts, calls: bench.size.grpcCalls, window: 32, firstNew: concepts };
      unary = await bench.withServer('grpcServer', { directory }, (port) =>
        bench.runCase('grpcClient', { ...common, port, batched: 0, checked: true }),
      );
    }
    rmSync(directory, { recursive: true });
  }
  bench.detail['import'] = { server, embedded, unary };
  for (const [target, results, of] of [
    ['into a directory', embedded, files.slice(1)],
    ['to a server', server, files],
  ] as const) {
    for (const [i, { perSecond, seconds, cpuSeconds, peakMb, ownMb }] of results.entries()) {
      const file = of[i];
      if (file === undefined) throw new Error('more results than files');
      const what = `${target}, ${counts(file)}`;
      const count = file.concepts + file.associations;
      const cpuUs = ((cpuSeconds * 1e6) / count).toFixed(1);
      bench.row(section, what, '1/s', [perSecond], {
        note: `${seconds.toFixed(1)} s, ${cpuUs} us of CPU each`,
      });
      bench.row(section, `${what}: resident, peak`, 'MiB', [peakMb], {
        note: `${Math.round(ownMb)} own, the rest pages of files`,
      });
    }
    const [small, large] = results;
    if (small !== undefined && large !== undefined) {
      bench.row(section, `${target}: own memory, five times the input`, 'x', [
        large.ownMb / small.ownMb,
      ]);
    }
  }
  if (unary !== null) {
    bench.row(section, 'unary writes of concepts, 32 at once, to that server', '1/s', [
      unary.writesPerSecond,
    ]);
    bench.row(
      section,
      'import to a server, to unary writes',
      'x',
      server.slice(1).map((figures) => figures.perSecond / unary.writesPerSecond),
    );
  }
}
