/** TLS and tokens as an operator sets them up: files, environment, exit codes, and replacing them while serving. */

import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { errorOf, jsonOf } from '../support/command.js';
import { runSutra, startServe, temporaryDirectory } from '../support/fixture.js';
import {
  certificate,
  FULL_TOKEN as FULL,
  READ_TOKEN as READ,
  secretFile,
} from '../support/secrets.js';

test('TLS and tokens by flags and by environment; SIGHUP reads both again', async () => {
  const directory = temporaryDirectory('tls');
  const cert = join(directory, 'cert.pem');
  const key = join(directory, 'key.pem');
  copyFileSync(certificate('server.pem'), cert);
  copyFileSync(certificate('server.key'), key);
  const tokens = secretFile(`# the first\n${FULL}\n`);
  const server = await startServe([
    ...['--tls-cert', cert, '--tls-key', key],
    ...['--token-file', tokens, '--read-token-file', secretFile(READ)],
  ]);
  expect(server.stdout).toContain('security      TLS, token');
  expect(server.stderr).not.toContain('warn');
  const ca = certificate('authority.pem');
  const remote = ['--server', server.address, '--tls-ca', ca];

  const learned = await runSutra(['learn', 'a', ...remote, '--token-file', secretFile(FULL)]);
  expect(learned).toMatchObject({ code: 0, stderr: '' });
  const env = {
    SUTRA_STORAGE_MODE: 'server',
    SUTRA_STORAGE_SERVER: server.address,
    SUTRA_TLS_CA: ca,
    SUTRA_TOKEN: READ,
  };
  expect(await runSutra(['query', 'a', '--json'], { env })).toMatchObject({ code: 0 });
  expect(await errorOf(['learn', 'b'], 6, { env })).toMatchObject({ code: 'NOT_PERMITTED' });
  expect(await errorOf(['query', 'a', ...remote], 6)).toMatchObject({ code: 'UNAUTHENTICATED' });
  expect(await jsonOf(['health'], remote)).toMatchObject({ healthy: true });

  writeFileSync(tokens, 'another-token-0123456789\n');
  copyFileSync(certificate('renewed.pem'), cert);
  process.kill(server.pid, 'SIGHUP');
  // Half of a renewal: the certificate has another key. Nothing changes.
  await expect.poll(() => server.stderr, { timeout: 20_000 }).toContain('stay as they were');
  const full = { env: { ...env, SUTRA_TOKEN: FULL } };
  expect(await runSutra(['learn', 'b'], full)).toMatchObject({ code: 0 });
  copyFileSync(certificate('renewed.key'), key);
  process.kill(server.pid, 'SIGHUP');
  await expect.poll(() => server.stderr, { timeout: 20_000 }).toContain('were read again');
  expect(await errorOf(['query', 'a'], 3, full)).toMatchObject({ code: 'UNREACHABLE' });
  const renewed = {
    env: { ...env, SUTRA_TOKEN: 'another-token-0123456789', SUTRA_TLS_SERVER_NAME: 'sutra.test' },
  };
  expect(await runSutra(['learn', 'c'], renewed)).toMatchObject({ code: 0 });
  expect(await server.stop()).toBe(0);
  expect(server.stdout + server.stderr).not.toMatch(/token-0123456789/);
});

test('one environment for a server and its clients: to each its own certificate', async () => {
  const env = {
    SUTRA_SERVE_TLS_CERT: certificate('server.pem'),
    SUTRA_SERVE_TLS_KEY: certificate('server.key'),
    SUTRA_TLS_CLIENT_CA: certificate('authority.pem'),
    SUTRA_TLS_CA: certificate('authority.pem'),
    SUTRA_TLS_CERT: certificate('client.pem'),
    SUTRA_TLS_KEY: certificate('client.key'),
    // While one replaces another: the server knows both, its clients give the first.
    SUTRA_TOKEN_FILE: secretFile(`${FULL}\nold-token-0123456789\n`),
  };
  const server = await startServe([], { env });
  expect(server.stdout).toContain('security      mTLS, token');
  expect(server.stderr).not.toContain('warn');
  const remote = ['--server', server.address];
  expect(await runSutra(['learn', 'a', ...remote], { env })).toMatchObject({ code: 0 });
  const old = { env: { ...env, SUTRA_TOKEN_FILE: '', SUTRA_TOKEN: 'old-token-0123456789' } };
  expect(await runSutra(['learn', 'b', ...remote], old)).toMatchObject({ code: 0 });
  const stranger = { env: { ...env, SUTRA_TLS_CERT: '', SUTRA_TLS_KEY: '' } };
  expect(await errorOf(['query', 'a', ...remote], 3, stranger)).toMatchObject({
    code: 'UNREACHABLE',
  });
  expect(await server.stop()).toBe(0);
});

test('the certificate of clients does not make a server speak TLS, and it says so', async () => {
  const env = {
    SUTRA_TLS_CERT: certificate('client.pem'),
    SUTRA_TLS_KEY: certificate('client.key'),
  };
  const server = await startServe([], { env });
  expect(server.stdout).toContain('security      none');
  await expect.poll(() => server.stderr, { timeout: 20_000 }).toContain('SUTRA_SERVE_TLS_CERT');
  expect(await server.stop()).toBe(0);
});

test('an open bind without a token is warned of, once', async () => {
  const open = await startServe(['--host', '0.0.0.0']);
  await expect
    .poll(() => open.stderr, { timeout: 20_000 })
    .toContain('anybody may read and change');
  expect(open.stderr.match(/warn/g)).toHaveLength(1);
  await open.stop();
});

test('bad secrets end the command before anything else, and are not quoted', async () => {
  const readable = secretFile(FULL, 0o644);
  const refused = await errorOf(['serve', '--port', '0', '--token-file', readable], 6);
  expect(refused).toMatchObject({ code: 'NOT_PERMITTED' });
  expect(JSON.stringify(refused)).toContain('0644');
  const short = await errorOf(['serve', '--port', '0', '--token-file', secretFile('hunter2')], 2);
  expect(JSON.stringify(short)).not.toContain('hunter2');
  await errorOf(['serve', '--port', '0', '--token-file', secretFile('# none\n')], 2);
  await errorOf(['serve', '--port', '0', '--tls-cert', certificate('server.pem')], 2);
  const mixed = ['--tls-cert', certificate('server.pem'), '--tls-key', certificate('client.key')];
  await errorOf(['serve', '--port', '0', ...mixed], 2);
  await errorOf(['serve', '--port', '0', '--tls-cert', readable, '--tls-key', readable], 2);
  const away = ['query', 'a', '--server', 'sutra.example'];
  const clear = await errorOf([...away, '--token-file', secretFile(FULL)], 2);
  expect(JSON.stringify(clear)).toContain('in the clear');
  await errorOf([...away, '--tls-ca', '/no/such/file'], 2);
});

test('writes are refused while memory is above --max-memory, and counted', async () => {
  const server = await startServe(['--max-memory', '1']);
  const remote = ['--server', server.address];
  expect(await errorOf(['learn', 'a', ...remote], 1)).toMatchObject({ code: 'OVERLOADED' });
  expect(await jsonOf(['stats'], remote)).toMatchObject({ dropped: 1, written: 0 });
  expect(await runSutra(['query', 'a', ...remote])).toMatchObject({ code: 4 });
  expect(server.stderr).toContain('writes are refused');
  expect(await server.stop()).toBe(0);
});
