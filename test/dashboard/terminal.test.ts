/**
 * `sutra top` in a real terminal: tmux, 80x24, over a real server under load. Typed at, resized, its server killed and
 * started again, and what the screen shows each time. tmux keeps the screen; .ci/run installs it.
 */

import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, test } from 'vitest';

import { StorageClient } from '#sutra/index';
import { errorOf, jsonOf } from '../support/command.js';
import { BIN, startServe, temporaryDirectory, temporaryPath } from '../support/fixture.js';
import { certificate, READ_TOKEN, secretFile } from '../support/secrets.js';

const SOCKET = `sutra-test-${process.pid}`;
const WAIT_MS = 40_000;
/** The shell's, before which nothing is typed. */
const PROMPT = /^[#$]/m;

function tmux(...args: string[]): string {
  return execFileSync('tmux', ['-L', SOCKET, '-f', '/dev/null', ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

afterAll(() => {
  // The last session's end ends the server too; then there is nothing to kill.
  try {
    tmux('kill-server');
  } catch (error) {
    expect(String(error)).toMatch(/no server running|error connecting/);
  }
});

/** A shell in a terminal of its own; types into it, reads its screen, waits for what should be there. */
class Screen {
  constructor(
    private readonly name: string,
    env: Readonly<Record<string, string>>,
  ) {
    const settings = Object.entries(env).flatMap(([key, value]) => ['-e', `${key}=${value}`]);
    const size = ['-x', '80', '-y', '24'];
    tmux('new-session', '-d', '-s', name, ...size, ...settings, '-c', temporaryDirectory(), 'sh');
  }

  type(...keys: string[]): void {
    tmux('send-keys', '-t', this.name, ...keys);
  }

  resize(columns: number, rows: number): void {
    tmux('resize-window', '-t', this.name, '-x', String(columns), '-y', String(rows));
  }

  /** With colours as escape sequences, when asked. */
  text(...options: string[]): string {
    return tmux('capture-pane', '-p', ...options, '-t', this.name);
  }

  async until(...expected: RegExp[]): Promise<string> {
    const deadline = Date.now() + WAIT_MS;
    for (;;) {
      const text = this.text();
      if (expected.every((pattern) => pattern.test(text))) return text;
      if (Date.now() > deadline) throw new Error(`never saw ${String(expected)} on\n${text}`);
      await sleep(100);
    }
  }
}

/** Writes and reads until it is told to stop; a server that goes away is no reason to. */
function load(address: string): () => Promise<void> {
  const stopping = new AbortController();
  const storage = new StorageClient(address, { timeoutMs: 2000 });
  const work = (async () => {
    for (let n = 0; !stopping.signal.aborted; n++) {
      try {
        await storage.learnConcept({ id: `c${n}`, content: `content ${n}` });
        await storage.queryConcept(`c${n}`);
        await storage.findPath('c0', `c${n}`);
        // An endpoint that nobody knows: an error for the table.
        if (n % 10 === 0) await storage.learnAssociation({ source: `c${n}`, target: 'nobody' });
      } catch {
        await sleep(20);
      }
    }
    await storage.close();
  })();
  return async () => {
    stopping.abort();
    await work;
  };
}

test('a session: watch, choose, histogram, resize, server gone and back, quit', async () => {
  const storage = temporaryPath();
  let server = await startServe(['--storage', storage]);
  const port = String(server.port);
  const stop = load(server.address);
  const screen = new Screen('session', {
    LANG: 'C.UTF-8',
    CI: 'true',
    SUTRA: `${process.execPath} ${BIN}`,
  });
  await screen.until(PROMPT);
  screen.type(`echo before; $SUTRA top --interval 500ms --server ${server.address}`, 'Enter');

  const overview = await screen.until(/● healthy/, /LearnConcept +[\d.]+K?\/s +\S/, /p99/);
  expect(overview).toContain(`sutra top  ${server.address}`);
  expect(overview).not.toContain('before');
  await screen.until(/LearnAssociation .* 100%/);
  expect(overview).toMatch(/concepts +[1-9][\d,]*/);
  expect(overview.trimEnd().split('\n')).toHaveLength(24);
  expect(screen.text('-e')).toContain('\x1b[');

  screen.type('s', 's', 's');
  await screen.until(/call\*/, /sort: name/);
  screen.type('Down', 'Enter');
  await screen.until(/FindPath: latencies of the last 30 s/, /<= .* us|<= .* ms/, /p50/);
  screen.type('t');
  await screen.until(/since the start of the server/);
  screen.type('Escape');
  await screen.until(/CALLS/);

  screen.resize(60, 20);
  await screen.until(/60x20 is too small/);
  screen.resize(120, 40);
  const wide = await screen.until(/CALLS ─{100}/, /WRITES/, /q quit/);
  expect(wide.trimEnd().split('\n')).toHaveLength(40);
  screen.resize(80, 24);
  await screen.until(/CALLS ─{70}/, /checkpoint/);

  await server.kill9();
  await screen.until(/✗ no answer/, /ECONNREFUSED.*tries again by itself/);
  server = await startServe(['--storage', storage, '--port', port]);
  await screen.until(/● healthy, was restarted/, /LearnConcept +[\d.]+K?\/s/);

  screen.type('p');
  await screen.until(/PAUSED/);
  screen.type('q');
  // The shell is back, with what was on the screen before.
  await screen.until(/^before\n[#$]/m);
  screen.type('echo "code $?"', 'Enter');
  const after = await screen.until(/code 0/);
  expect(after).toContain('before');
  expect(after).not.toContain('CALLS');
  await stop();
  expect(await server.stop()).toBe(0);
}, 180_000);

test('the server of a directory, without colour, and Ctrl-C', async () => {
  const storage = temporaryPath();
  const server = await startServe(['--storage', storage]);
  await jsonOf(['learn', 'a'], ['--server', server.address]);
  const screen = new Screen('plain', { NO_COLOR: '1', LC_ALL: 'C' });
  await screen.until(PROMPT);
  const command = `'${process.execPath}' '${BIN}' top --storage '${storage}'`;
  screen.type(`echo before; ${command}`, 'Enter');
  await screen.until(/\* healthy/, /concepts +1\b/);
  expect(screen.text('-e')).not.toContain('\x1b[');
  screen.type('C-c');
  await screen.until(/^before\n[#$]/m);
  screen.type('echo "code $?"', 'Enter');
  await screen.until(/code 130/);
  expect(await server.stop()).toBe(0);

  screen.type('clear', 'Enter', command, 'Enter');
  await screen.until(/error: no server serves/);
}, 120_000);

test('a server with TLS and tokens: by flags, by environment, and without a token', async () => {
  const certificates = ['--tls-cert', certificate('server.pem')];
  const tls = [...certificates, '--tls-key', certificate('server.key')];
  const server = await startServe([...tls, '--read-token-file', secretFile(READ_TOKEN)]);
  const ca = certificate('authority.pem');
  const token = secretFile(READ_TOKEN);
  const screen = new Screen('secure', {
    LANG: 'C.UTF-8',
    SUTRA: `${process.execPath} ${BIN}`,
    // What it says must not wrap.
    WHERE: server.address,
    CA: ca,
    TOKEN: token,
  });
  await screen.until(PROMPT);
  const variables = 'SUTRA_STORAGE_MODE=server SUTRA_STORAGE_SERVER=$WHERE SUTRA_TLS_CA=$CA';
  const ways = [
    ['$SUTRA top --server $WHERE --tls-ca $CA --token-file $TOKEN', /● healthy/],
    [`${variables} SUTRA_TOKEN_FILE=$TOKEN $SUTRA top`, /● healthy/],
    ['$SUTRA top --server $WHERE --tls-ca $CA', /UNAUTHENTICATED|needs a token/],
  ] as const;
  for (const [i, [command, shown]] of ways.entries()) {
    screen.type(`${command}; echo "ended ${i}"`, 'Enter');
    await screen.until(shown);
    screen.type('q');
    // Not the prompt, which is on the screen before the shell reads again.
    await screen.until(new RegExp(`^ended ${i}$`, 'm'));
  }
  expect(await server.stop()).toBe(0);
}, 120_000);

test('where there is no terminal, it says what to use', async () => {
  const error = await errorOf(['top'], 2);
  expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
  expect(error.hint).toContain('stats --watch');
});
