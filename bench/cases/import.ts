/**
 * `sutra import` as a user runs it: JSON lines from a file, by the built command in a process of its own, into a directory or to a
 * server. Its memory and CPU time are its own account at its exit, so that nothing is missed between two looks.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, statSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { StorageClient } from '#sutra/storage/remote';
import type { Storage } from '#sutra/storage/storage';
import { verify } from '../measure.js';
import { contentOf, hexId, Random } from '../workload.js';

const RUN = fileURLToPath(new URL('../../../bin/run', import.meta.url));
/** Written at once. */
const BLOCK_LINES = 5000;
const OWN_SAMPLE_MS = 50;

/** Loaded before the command: tells on descriptor 3 what the process took. Own memory has no high-water mark, so it is sampled. */
const ACCOUNT = `
import { readFileSync, writeSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
const field = (name) => {
  try {
    const status = readFileSync('/proc/self/status', 'utf8');
    return Number(new RegExp('^' + name + ':\\\\s+(\\\\d+) kB', 'm').exec(status)[1]) / 1024;
  } catch {
    return 0;
  }
};
let ownMb = 0;
const look = () => { ownMb = Math.max(ownMb, field('RssAnon')); };
// Its workers load this too; the account is of the process.
if (isMainThread) setInterval(look, ${OWN_SAMPLE_MS}).unref();
if (isMainThread) process.on('exit', () => {
  look();
  const { user, system } = process.cpuUsage();
  const peakMb = field('VmHWM') || process.resourceUsage().maxRSS / 1024;
  writeSync(3, JSON.stringify({ peakMb, ownMb, cpuSeconds: (user + system) / 1e6 }));
});`;

interface Account {
  /** Resident at its most: all, and what is not pages of mapped files (0 where the system does not say). MiB. */
  readonly peakMb: number;
  readonly ownMb: number;
  /** Of all its threads. */
  readonly cpuSeconds: number;
}

export interface ImportFigures extends Account {
  readonly perSecond: number;
  readonly seconds: number;
}

/** Concepts, then associations between them. */
export async function importFile(parameters: {
  readonly path: string;
  readonly concepts: number;
  readonly associations: number;
}): Promise<{ readonly bytes: number }> {
  const { path, concepts, associations } = parameters;
  const stream = createWriteStream(path);
  const count = concepts + associations;
  for (let from = 0; from < count; from += BLOCK_LINES) {
    let block = '';
    for (let n = from; n < Math.min(count, from + BLOCK_LINES); n++) {
      const record =
        n < concepts
          ? { kind: 'concept', id: hexId(n), content: contentOf(n) }
          : { kind: 'association', ...associationAt(n - concepts, concepts) };
      block += `${JSON.stringify(record)}\n`;
    }
    if (!stream.write(block)) await once(stream, 'drain');
  }
  stream.end();
  await once(stream, 'close');
  return { bytes: statSync(path).size };
}

/**
 * Association e: sources are scattered by a multiplier that shares no factor with their number, and every round over all of
 * them has an offset of its own; so none occurs twice, and nothing has to be remembered for that.
 */
function associationAt(
  e: number,
  concepts: number,
): { readonly source: string; readonly target: string; readonly confidence: number } {
  const from = (e * 618_033_989) % concepts;
  const round = Math.floor(e / concepts);
  const to = (from * 7919 + 1 + round * 104_729) % concepts;
  return { source: hexId(from), target: hexId(to), confidence: ((e & 1023) + 1) / 1024 };
}

export async function importInto(parameters: {
  readonly path: string;
  readonly concepts: number;
  readonly associations: number;
  /** One of the two. */
  readonly directory?: string;
  readonly port?: number;
}): Promise<ImportFigures> {
  const { path, concepts, associations, directory, port } = parameters;
  const target =
    directory === undefined ? ['--server', `127.0.0.1:${port}`] : ['--storage', directory];
  const hook = `data:text/javascript,${encodeURIComponent(ACCOUNT)}`;
  const args = ['--import', hook, RUN, 'import', path, ...target, '--json'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
  const start = performance.now();
  const [out, err, account, [code]] = await Promise.all([
    text(child.stdout as Readable),
    text(child.stderr as Readable),
    text(child.stdio[3] as Readable),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  const seconds = (performance.now() - start) / 1000;
  verify(code === 0, `import ends with ${code}: ${err}`);
  const said = JSON.parse(out) as { readonly concepts: number; readonly associations: number };
  verify(said.concepts === concepts, `import says ${said.concepts} of ${concepts} concepts`);
  verify(said.associations === associations, `import says ${said.associations} associations`);
  const storage =
    directory === undefined
      ? new StorageClient(`127.0.0.1:${port}`)
      : await ConcurrentStorage.open(directory, { readOnly: true });
  await verifyImport(storage, concepts, associations);
  await storage.close();
  const figures = JSON.parse(account) as Account;
  return { ...figures, seconds, perSecond: (concepts + associations) / seconds };
}

async function verifyImport(
  storage: Storage,
  concepts: number,
  associations: number,
): Promise<void> {
  const stats = await storage.stats();
  verify(stats.concepts === concepts, `${stats.concepts} of ${concepts} concepts are there`);
  verify(stats.edges === associations, `${stats.edges} of ${associations} associations are there`);
  const random = new Random(17);
  for (let n = 0; n < 200; n++) {
    const i = random.below(concepts);
    verify((await storage.queryConcept(hexId(i))).content === contentOf(i), `concept ${i}`);
    const e = random.below(associations);
    const { source, target } = associationAt(e, concepts);
    const { neighbors } = await storage.getNeighbors(source, { direction: 'out' });
    verify(
      neighbors.some(({ id }) => id === target),
      `association ${e}`,
    );
  }
}
