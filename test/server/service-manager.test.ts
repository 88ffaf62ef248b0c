/**
 * What `sutra serve` tells a service manager, heard on the other end of NOTIFY_SOCKET (a unix datagram socket, which Node
 * does not have: Debian's Python listens), and the unit file, held against systemd's own parser.
 */

import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, describe, expect, test } from 'vitest';

import { BIN, PROJECT_ROOT, runSutra, startServe, temporaryDirectory } from '../support/fixture.js';

const LISTENER = `
import socket, sys
name = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind('\\0' + name[1:] if name.startswith('@') else name)
print('bound', flush=True)
while True:
    print(s.recv(4096).decode().replace('\\n', ' '), flush=True)
`;

const listeners: ChildProcess[] = [];

afterAll(() => {
  for (const listener of listeners) listener.kill('SIGKILL');
});

/** Resolves with a reader of what arrives at the socket, once it is bound. */
async function listen(socket: string): Promise<() => Promise<string>> {
  const child = spawn('/usr/bin/python3', ['-c', LISTENER, socket], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  listeners.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const line = await lines.next();
    if (line.done === true) throw new Error('the listener ended');
    return line.value;
  };
  expect(await next()).toBe('bound');
  return next;
}

describe('sd_notify', () => {
  test.each([
    ['a path', () => join(temporaryDirectory('notify'), 'socket')],
    ['an abstract name', () => `@sutra-test-${process.pid}`],
  ])(
    '%s: ready once it listens, alive while it turns, stopping when it drains',
    async (_n, make) => {
      const socket = make();
      const next = await listen(socket);
      const server = await startServe([], {
        env: { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '100000', WATCHDOG_PID: undefined },
      });
      expect(await next()).toBe(`READY=1 STATUS=listening on ${server.address}`);
      for (let beat = 0; beat < 3; beat++) expect(await next()).toBe('WATCHDOG=1');
      expect(await server.stop()).toBe(0);
      let message = await next();
      while (message === 'WATCHDOG=1') message = await next();
      expect(message).toBe('STOPPING=1 STATUS=draining');
      expect(server.stderr).not.toContain('service manager');
    },
  );

  test('a reload without anything to read again leaves it serving', async () => {
    const socket = join(temporaryDirectory('notify'), 'socket');
    const next = await listen(socket);
    const server = await startServe([], { env: { NOTIFY_SOCKET: socket } });
    expect(await next()).toContain('READY=1');
    process.kill(server.pid, 'SIGHUP');
    await expect.poll(() => server.stderr, { timeout: 20_000 }).toContain('nothing to read again');
    expect(await runSutra(['health', '--server', server.address])).toMatchObject({ code: 0 });
    expect(await server.stop()).toBe(0);
  });

  test('a watchdog that is meant for another process is not answered', async () => {
    const socket = join(temporaryDirectory('notify'), 'socket');
    const next = await listen(socket);
    const server = await startServe([], {
      env: { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '20000', WATCHDOG_PID: '1' },
    });
    expect(await next()).toContain('READY=1');
    expect(await server.stop()).toBe(0);
    expect(await next()).toContain('STOPPING=1');
  });

  test.each(['/nowhere/socket', 'vsock:2:1234', `/${'x'.repeat(200)}`])(
    'a manager that cannot be told (%s) is one warning, and the server serves',
    async (socket) => {
      const server = await startServe([], {
        env: { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '20000' },
      });
      expect(await server.stop()).toBe(0);
      expect(server.stderr.match(/cannot notify the service manager/g)).toHaveLength(1);
    },
  );
});

describe('deploy/systemd', () => {
  const read = (name: string): string =>
    readFileSync(join(PROJECT_ROOT, 'deploy', 'systemd', name), 'utf8');
  const unit = read('sutra.service');

  test('the unit is whole to systemd-analyze, and sandboxed', () => {
    const directory = temporaryDirectory('unit');
    const path = join(directory, 'sutra.service');
    // The binary is where npm put it; here that is the checkout.
    writeFileSync(path, unit.replace('ExecStart=sutra ', `ExecStart=${BIN} `));
    const run = (...args: string[]): string =>
      execFileSync('systemd-analyze', args, { encoding: 'utf8', stdio: 'pipe' });
    // Prints what it does not understand, and exits with 1 for what is wrong.
    expect(run('verify', '--man=no', path)).toBe('');
    const security = run('security', '--offline=true', '--threshold=20', path);
    expect(security).toContain('Overall exposure level');
  });

  test('its settings are variables that `serve` knows, and its restarts follow the exit codes', () => {
    const { commands } = JSON.parse(
      readFileSync(join(PROJECT_ROOT, 'oclif.manifest.json'), 'utf8'),
    ) as { commands: Record<string, { flags: Record<string, { env?: string }> }> };
    const known = Object.values(commands['serve']?.flags ?? {}).map(({ env }) => env);
    const settings = read('sutra.env');
    const names = [...`${unit}\n${settings}`.matchAll(/\b(SUTRA_[A-Z_]+)=/g)];
    expect(names.length).toBeGreaterThan(4);
    for (const [, name] of names) expect(known).toContain(name);
    // All that says who may come in is there to be filled in.
    for (const flag of ['tls-cert', 'tls-key', 'tls-client-ca', 'token-file', 'read-token-file']) {
      expect(settings).toContain(`\n#${commands['serve']?.flags[flag]?.env ?? flag}=`);
    }
    expect(unit).toMatch(/^ExecReload=\/bin\/kill -HUP \$MAINPID$/m);
    expect(unit).toMatch(/^Type=notify$/m);
    expect(unit).toMatch(/^Restart=on-failure$/m);
    // A write that the disk refused (1) and a lock that is held (7) may be better the next time.
    expect(unit).toMatch(/^RestartPreventExitStatus=2 5 6$/m);
    expect(read('sutra.sysusers')).toMatch(/^u sutra - /m);
  });
});
