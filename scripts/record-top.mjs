/**
 * Records `sutra top` under load into docs/top.txt: what the screen of a terminal of 80x24 showed at some moments of a session,
 * as text. Starts a server over a temporary directory, loads it, types at top in tmux, ends the server and starts it again;
 * and measures from /proc what top and its polls cost.
 *
 *     npm run build && node scripts/record-top.mjs
 */

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { StorageClient } from '../dist/index.js';

const BIN = fileURLToPath(new URL('../bin/run', import.meta.url));
const MEASURE_SECONDS = 30;
/** Of /proc/PID/stat, as on all Linux systems. */
const TICKS_PER_SECOND = 100;

const directory = mkdtempSync(join(tmpdir(), 'sutra-top-'));
const socket = `sutra-record-${process.pid}`;
const tmux = (/** @type {string[]} */ ...args) =>
  execFileSync('tmux', ['-L', socket, '-f', '/dev/null', ...args], { encoding: 'utf8' });

const startMs = Date.now();
/** @type {string[]} */
const frames = [];

/** @param {string} what */
function record(what) {
  const seconds = ((Date.now() - startMs) / 1000).toFixed(1);
  frames.push(`[${seconds} s] ${what}`, '', tmux('capture-pane', '-p', '-t', 'top').trimEnd(), '');
}

/** @param {number} port */
async function serve(port) {
  const args = ['serve', '--host', '127.0.0.1', '--port', String(port), '--threshold', '20000'];
  const child = spawn(process.execPath, [BIN, ...args, '--storage', join(directory, 'store')], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let said = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    said += String(chunk);
    const match = /listening on [^\n]*:(\d+)\n/.exec(said);
    if (match !== null) {
      child.stdout.resume();
      return { child, port: Number(match[1]), pid: child.pid ?? 0 };
    }
  }
  throw new Error(`the server ended: ${said}`);
}

/** @param {number} port */
function load(port) {
  let stopped = false;
  let next = 0;
  const storage = new StorageClient(`127.0.0.1:${port}`);
  const any = () => `c${Math.floor(Math.random() * next)}`;
  const forever = async (/** @type {() => Promise<unknown>} */ work) => {
    while (!stopped) {
      try {
        await work();
      } catch {
        // A server that is gone for a while, or an association to nobody, which is meant.
        await sleep(10);
      }
    }
  };
  const embedding = () => Array.from({ length: 32 }, () => Math.random() - 0.5);
  const writer = async () => {
    const n = next++;
    const id = `c${n}`;
    const content = `content of concept number ${n}`;
    await storage.learnConcept(
      n % 20 === 0 ? { id, content, embedding: embedding() } : { id, content },
    );
    if (n > 10) await storage.learnAssociation({ source: any(), target: id, type: n % 5 });
  };
  const reader = async () => {
    await storage.queryConcept(any());
    await storage.getNeighbors(any());
    if (Math.random() < 0.2) await storage.findPath(any(), any());
    if (Math.random() < 0.05) await storage.vectorSearch(embedding(), { k: 5 });
    if (Math.random() < 0.01) await storage.learnAssociation({ source: any(), target: 'nobody' });
    await sleep(2);
  };
  const workers = [writer, writer, writer, writer, writer, writer, reader, reader, reader];
  const done = Promise.all(workers.map(forever));
  return async () => {
    stopped = true;
    await done;
    await storage.close();
  };
}

/** Seconds of CPU that a process has used. @param {number} pid */
function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** @param {number[]} pids @returns {Promise<number[]>} */
async function measure(pids) {
  const before = pids.map(cpuSeconds);
  await sleep(MEASURE_SECONDS * 1000);
  return pids.map((pid, i) => (cpuSeconds(pid) - (before[i] ?? 0)) / MEASURE_SECONDS);
}

const percent = (/** @type {number | undefined} */ share) => `${((share ?? 0) * 100).toFixed(2)} %`;

let server = await serve(0);
try {
  await sleep(3000);
  const [alone] = await measure([server.pid]);

  const command = `exec '${process.execPath}' '${BIN}' top --server 127.0.0.1:${server.port}`;
  const session = ['new-session', '-d', '-s', 'top', '-x', '80', '-y', '24', '-e', 'LANG=C.UTF-8'];
  tmux(...session, command);
  const topPid = Number(tmux('list-panes', '-t', 'top', '-F', '#{pane_pid}'));
  await sleep(5000);
  const [watched, topIdle] = await measure([server.pid, topPid]);

  const stop = load(server.port);
  await sleep(20_000);
  record('under load');
  const [, topLoaded] = await measure([server.pid, topPid]);
  record('half a minute later');
  tmux('send-keys', '-t', 'top', 'Down', 'Enter');
  await sleep(1500);
  record('Down, Enter: the latencies of one call');
  tmux('send-keys', '-t', 'top', 'Escape');
  server.child.kill('SIGKILL');
  await sleep(6000);
  record('the server was killed');
  server = await serve(server.port);
  await sleep(8000);
  record('the server was started again');
  await stop();

  const figures = [
    `CPU of one core over ${MEASURE_SECONDS} s each, from /proc, polling every second:`,
    `top ${percent(topIdle)} at an idle server, ${percent(topLoaded)} at the loaded one;`,
    `the server ${percent(alone)} idle without top, ${percent(watched)} idle with it.`,
  ];
  const head = 'sutra top, recorded by scripts/record-top.mjs in a terminal of 80x24.';
  const page = [head, '', ...figures, '', ...frames].map((line) => `${line}\n`).join('');
  writeFileSync(new URL('../docs/top.txt', import.meta.url), page);
  console.log(figures.join('\n'));
} finally {
  server.child.kill('SIGKILL');
  try {
    tmux('kill-server');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
