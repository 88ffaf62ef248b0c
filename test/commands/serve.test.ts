/** `sutra serve` as an operator meets it: what it prints and when, how it stops, and what it refuses. */

import { spawn } from 'node:child_process';
import { createConnection, createServer } from 'node:net';
import type { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { errorOf, jsonOf } from '../support/command.js';
import { BIN, runSutra, startServe, temporaryPath } from '../support/fixture.js';

describe('start', () => {
  test('prints the settings, what it loaded, and where it listens once it does', async () => {
    const store = temporaryPath();
    await jsonOf(['learn', 'a'], ['--storage', store]);
    await jsonOf(['learn', 'b'], ['--storage', store]);
    await jsonOf(['link', 'a', 'b'], ['--storage', store]);
    const server = await startServe([
      ...['--storage', store, '--reconcile-ms', '25', '--threshold', '1000'],
      ...['--durability', 'interval', '--vector-dim', '384'],
    ]);
    const [version, ...lines] = server.stdout.trimEnd().split('\n');
    expect(version).toMatch(/^sutra \d+\.\d+\.\d+$/);
    expect(lines).toEqual([
      `  storage       ${store}`,
      '  durability    interval',
      '  reconcile-ms  25',
      '  threshold     1000',
      '  vector-dim    384',
      '  security      none',
      expect.stringMatching(/^loaded 2 concepts, 1 edges in [\d.]+ ms \(3 writes replayed/),
      `listening on ${server.address}`,
    ]);
    expect(server.port).toBeGreaterThan(0);
    expect(await jsonOf(['stats'], ['--server', server.address])).toMatchObject({ concepts: 2 });
    expect(await server.stop()).toBe(0);
  });

  test('--json: one document, whose message is the line to wait for', async () => {
    const server = await startServe(['--json', '--host', 'localhost']);
    expect(server.stdout).toMatch(/^[^\n]+\n$/);
    const document = JSON.parse(server.stdout) as Record<string, unknown>;
    expect(document).toEqual({
      message: `listening on localhost:${server.port}`,
      address: `localhost:${server.port}`,
      host: 'localhost',
      port: server.port,
      pid: server.pid,
      version: expect.stringMatching(/^\d/) as string,
      storage: expect.stringMatching(/^\//) as string,
      durability: 'always',
      reconcile_ms: 10,
      threshold: 50_000,
      vector_dim: 768,
      security: 'none',
      concepts: 0,
      edges: 0,
      vectors: 0,
      sequence: 0,
      replayed: 0,
      open_ms: expect.any(Number) as number,
    });
    expect(await server.stop('SIGINT')).toBe(0);
    for (const line of server.stderr.trimEnd().split('\n')) {
      expect(JSON.parse(line)).toMatchObject({ level: 'info' });
    }
  });

  test('settings come from the environment, and flags win', async () => {
    const SUTRA_STORAGE_PATH = temporaryPath();
    const env = { SUTRA_STORAGE_PATH, SUTRA_THRESHOLD: '77', SUTRA_RECONCILE_MS: '5' };
    const server = await startServe(['--json', '--threshold', '88'], {
      // A server of another place is no reason not to serve here.
      env: { ...env, SUTRA_STORAGE_MODE: 'server', SUTRA_STORAGE_SERVER: 'elsewhere:1' },
    });
    expect(JSON.parse(server.stdout)).toMatchObject({
      storage: SUTRA_STORAGE_PATH,
      threshold: 88,
      reconcile_ms: 5,
    });
    expect(await server.stop()).toBe(0);
    expect(await errorOf(['serve'], 2, { env: { SUTRA_PORT: 'http' } })).toMatchObject({
      message: 'SUTRA_PORT: got "http", expected a whole number from 0 to 65535',
    });
  });

  test('a store opens with its own dimension; another one said explicitly is an error naming both', async () => {
    const store = temporaryPath();
    const args = ['learn', 'a', '--embedding', '-'];
    await jsonOf(args, ['--storage', store], { input: '[1, 2, 3]' });
    const server = await startServe(['--json', '--storage', store]);
    expect(JSON.parse(server.stdout)).toMatchObject({ vector_dim: 3, vectors: 1 });
    expect(await server.stop()).toBe(0);
    const error = await errorOf(['serve', '--storage', store, '--vector-dim', '768'], 2);
    expect(error.message).toMatch(/\b768\b.*\b3\b|\b3\b.*\b768\b/);
  });
});

describe('what keeps it from serving', () => {
  test('a port in use: exit code 1, nothing on stdout, and the store is let go', async () => {
    const taken = createServer();
    const port = await new Promise<number>((resolve) => {
      taken.listen(0, '127.0.0.1', () => {
        const address = taken.address();
        resolve(typeof address === 'object' && address !== null ? address.port : 0);
      });
    });
    const store = temporaryPath();
    const args = ['serve', '--host', '127.0.0.1', '--port', String(port), '--storage', store];
    const error = await errorOf(args, 1);
    expect(error).toMatchObject({ code: 'ADDRESS_IN_USE' });
    expect(error.message).toContain(String(port));
    taken.close();
    await jsonOf(['learn', 'a'], ['--storage', store]);
  });

  test('a host that is none of ours', async () => {
    const args = ['serve', '--host', 'no such host', '--port', '0', '--storage', temporaryPath()];
    expect(await errorOf(args, 2)).toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('another server on the directory: exit code 7, with its address', async () => {
    const store = temporaryPath();
    const server = await startServe(['--storage', store]);
    const error = await errorOf(['serve', '--port', '0', '--storage', store], 7);
    expect(error.hint).toContain(`--server ${server.address}`);
    expect(await server.stop()).toBe(0);
  });
});

describe('stop', () => {
  test('SIGTERM ends with 0, leaves no lock and keeps everything', async () => {
    const store = temporaryPath();
    const server = await startServe(['--storage', store]);
    await jsonOf(['learn', 'kept'], ['--server', server.address]);
    expect(await server.stop()).toBe(0);
    expect(await jsonOf(['learn', 'next'], ['--storage', store])).toEqual({
      sequence: 2,
      id: 'next',
    });
    expect(await runSutra(['query', 'kept', '--server', server.address])).toMatchObject({
      code: 3,
    });
  });

  test('an acknowledged write survives kill -9, and the next server takes the directory', async () => {
    const store = temporaryPath();
    const server = await startServe(['--storage', store]);
    await jsonOf(['learn', 'kept'], ['--server', server.address]);
    await server.kill9();
    const next = await startServe(['--storage', store]);
    expect(await jsonOf(['query', 'kept'], ['--server', next.address])).toMatchObject({
      found: true,
    });
    expect(await next.stop()).toBe(0);
  });

  test('two signals at once, and a connection that never says anything, do no harm', async () => {
    const store = temporaryPath();
    const server = await startServe(['--storage', store]);
    const idle = createConnection(server.port, server.host);
    await new Promise((resolve) => idle.once('connect', resolve));
    idle.on('error', () => undefined);
    await jsonOf(['learn', 'a'], ['--server', server.address]);
    process.kill(server.pid, 'SIGTERM');
    process.kill(server.pid, 'SIGTERM');
    expect([0, 143]).toContain(await server.exited);
    idle.destroy();
    expect(await jsonOf(['query', 'a'], ['--storage', store])).toMatchObject({ found: true });
  });

  test('a disk that refuses the log ends it with 1 and a reason; what was acknowledged stays', async () => {
    const store = temporaryPath();
    await jsonOf(['learn', 'kept'], ['--storage', store]);
    // Files may grow to 64 KiB, then writes fail with EFBIG.
    const child = spawn(
      'bash',
      [
        '-c',
        'ulimit -f 64; exec "$@"',
        'bash',
        process.execPath,
        BIN,
        'serve',
        '--port',
        '0',
      ].concat(['--host', '127.0.0.1', '--storage', store]),
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    let stderr = '';
    child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
    const closed = new Promise((resolve) => child.once('close', resolve));
    const address = await listeningAddress(child.stdout);
    const content = { input: 'x'.repeat(100_000) };
    const write = await runSutra(['learn', 'lost', '-', '--server', address], content);
    expect(write.code).not.toBe(0);
    expect(await closed).toBe(1);
    expect(stderr).toMatch(/^error: .*wal-\d+\.log.*EFBIG/m);
    expect(await jsonOf(['query', 'kept'], ['--storage', store])).toMatchObject({ found: true });
    // The next writer says what it found.
    const again = await runSutra(['learn', 'again', '--storage', store, '--json']);
    expect(again).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('torn tail') as string,
    });
  });

  test('it goes on serving when nobody reads its stdout any more', async () => {
    const args = ['serve', '--host', '127.0.0.1', '--port', '0', '--storage', temporaryPath()];
    const child = spawn(process.execPath, [BIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const address = await listeningAddress(child.stdout);
    child.stdout.destroy();
    child.stderr.destroy();
    const exited = new Promise((resolve) => child.once('exit', resolve));
    expect(await jsonOf(['learn', 'a'], ['--server', address])).toEqual({ sequence: 1, id: 'a' });
    child.kill('SIGTERM');
    expect(await exited).toBe(0);
  });
});

function listeningAddress(stdout: Readable): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const address = /listening on (\S+)\n/.exec(text)?.[1];
      if (address !== undefined) resolve(address);
    });
    stdout.once('end', () => {
      reject(new Error(`ended before it listened: ${text}`));
    });
  });
}
