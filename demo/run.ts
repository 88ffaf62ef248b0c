/**
 * `npm run demo`: WordNet becomes a file of JSON lines, the file a store, the store a server, and the server answers a
 * few questions. Everything after the conversion is the `sutra` binary itself, shown with the command line that ran, so
 * that each step can be repeated by hand. Lives in ./demo-knowledge; run again, it imports again.
 */

import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { relative } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { byteSize, createProgress } from '#sutra/cli/progress';
import { wordnetRecords } from './wordnet.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DIRECTORY = 'demo-knowledge';
const FILE = `${DIRECTORY}/wordnet.jsonl`;
const STORE = `${DIRECTORY}/store`;

/** Known beforehand, for the bar; docs/WORDNET.md has the counts and a test keeps them true. */
const RECORDS = 304_220;
const CHUNK_CHARACTERS = 256 * 1024;
/** Replaying a whole unflushed import takes a second; this is for a machine under load. */
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 20_000;

/** What is asked, and why it is worth asking. SERVER stands for the address. */
const QUESTIONS: readonly (readonly [why: string, ...args: string[]])[] = [
  ['What is a dog?', 'query', 'dog.n.01'],
  ['What is it related to, closest first?', 'neighbors', 'dog.n.01'],
  ['How does one get from a dog to a cat?', 'path', 'dog.n.01', 'cat.n.01'],
  ['From Shakespeare to the computer:', 'path', 'shakespeare.n.01', 'computer.n.01'],
  [
    'From coffee to sleep, which is further than the usual six hops:',
    ...['path', 'coffee.n.01', 'sleep.n.01', '--max-depth', '12'],
  ],
  [
    'From the computer to the dream, the surest way instead of the shortest:',
    ...['path', 'computer.n.01', 'dream.n.01', '--max-depth', '12', '--by', 'confidence'],
  ],
  [
    'Why is a whale an animal? Upwards along "is a", and nothing else:',
    ...['path', 'whale.n.02', 'animal.n.01', '--max-depth', '10'],
    ...['--type', 'hierarchical', '--direction', 'out'],
  ],
  ['What does the server hold?', 'stats'],
];

function say(line = ''): void {
  process.stdout.write(`${line}\n`);
}

function heading(text: string): void {
  say(`\n${text}\n${'-'.repeat(text.length)}`);
}

/** As a person would type it from here. */
function commandLine(args: readonly string[]): string {
  return ['bin/run', ...args].join(' ');
}

function sutra(args: readonly string[], stdio: StdioOptions): ChildProcess {
  return spawn(process.execPath, ['bin/run', ...args], { cwd: ROOT, stdio });
}

class CommandFailed extends Error {
  readonly code: number;

  constructor(args: readonly string[], code: number) {
    super(`\`${commandLine(args)}\` ended with exit code ${code}`);
    this.code = code;
  }
}

/** Exit code; 1 when a signal ended it. */
async function ended(child: ChildProcess): Promise<number> {
  if (child.exitCode !== null) return child.exitCode;
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  });
}

async function runShown(args: readonly string[]): Promise<void> {
  say(`\n$ ${commandLine(args)}`);
  const code = await ended(sutra(args, 'inherit'));
  if (code !== 0) throw new CommandFailed(args, code);
}

async function convert(): Promise<void> {
  const progress = createProgress({
    label: 'converting WordNet 3.1',
    unit: 'records',
    total: RECORDS,
  });
  let concepts = 0;
  let associations = 0;
  async function* text(): AsyncGenerator<string> {
    let chunk = '';
    for await (const record of wordnetRecords()) {
      chunk += `${JSON.stringify(record)}\n`;
      if (record.kind === 'concept') concepts++;
      else associations++;
      if (chunk.length < CHUNK_CHARACTERS) continue;
      progress.update(concepts + associations);
      yield chunk;
      chunk = '';
    }
    yield chunk;
  }
  await pipeline(Readable.from(text()), createWriteStream(`${ROOT}/${FILE}`));
  progress.abandon();
  const { size } = await stat(`${ROOT}/${FILE}`);
  const counts = [concepts, associations].map((count) => count.toLocaleString('en-US'));
  say(`${FILE}: ${counts[0]} concepts, ${counts[1]} associations, ${byteSize(size)}`);
}

interface Server {
  readonly address: string;
  stop(): Promise<void>;
}

/** Starts `sutra serve` and resolves when it accepts calls. */
async function serve(): Promise<Server> {
  const args = ['serve', '--storage', STORE, '--host', '127.0.0.1', '--port', '0'];
  say(`\n$ ${commandLine(args)}`);
  const child = sutra(args, ['ignore', 'pipe', 'inherit']);
  const killed = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', killed);
  const address = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`the server did not listen within ${START_TIMEOUT_MS / 1000} s`));
    }, START_TIMEOUT_MS);
    let output = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      process.stdout.write(text);
      output += text;
      const found = /listening on (\S+:\d+)\b.*\n/.exec(output)?.[1];
      if (found === undefined) return;
      clearTimeout(timer);
      resolve(found);
    });
    ended(child).then((code) => {
      clearTimeout(timer);
      reject(new CommandFailed(args, code));
    }, reject);
  });
  return {
    address,
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(killed, STOP_TIMEOUT_MS);
      const code = await ended(child);
      clearTimeout(timer);
      process.off('exit', killed);
      if (code !== 0) throw new CommandFailed(args, code);
    },
  };
}

async function demo(): Promise<void> {
  const startedAt = performance.now();
  say('WordNet is a dictionary of English in which every meaning is tied to others: a dog is a');
  say('canine, a forest has trees, to teach makes someone learn. As a graph that is one concept');
  say('per meaning and one association per tie (docs/WORDNET.md).');

  heading('1. From the dictionary to JSON lines');
  await mkdir(`${ROOT}/${DIRECTORY}`, { recursive: true });
  await convert();

  heading('2. Into a store');
  await runShown(['import', FILE, '--storage', STORE]);

  heading('3. A server on it');
  const server = await serve();
  try {
    heading('4. Questions');
    for (const [why, ...args] of QUESTIONS) {
      say(`\n${why}`);
      await runShown([...args, '--server', server.address]);
    }
  } finally {
    await server.stop();
  }
  say('\nThe server has drained and stopped.');

  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  heading(`Done in ${seconds} s. To go on by yourself`);
  say(`The store is in ${relative(process.cwd(), ROOT + STORE)}. It answers without a server:\n`);
  say(`  ${commandLine(['path', 'war.n.01', 'peace.n.01', '--storage', STORE])}`);
  say(`  ${commandLine(['neighbors', 'music.n.01', '--storage', STORE])}`);
  say('\nor through one, from any number of terminals:\n');
  say(`  ${commandLine(['serve', '--storage', STORE])}`);
  say(
    `  ${commandLine(['path', 'love.n.01', 'war.n.01', '--max-depth', '10', '--server', 'localhost:50051'])}`,
  );
  say('\nThe ids of a word (here: dream) are in the file:\n');
  say(`  grep '"id":"dream\\.' ${FILE}`);
}

try {
  await demo();
} catch (error) {
  process.stderr.write(`\ndemo: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = error instanceof CommandFailed ? error.code : 1;
}
