/** Which store the environment names, and the settings that come with it. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SutraError } from '#sutra/errors';
import { formatAddress, parseAddress, reachableAddress } from '#sutra/storage/address';
import { chooseStore, getStorageBackend, openStorage } from '#sutra/storage/open';
import { parseTimeoutMs, settingsFrom } from '#sutra/storage/settings';
import { temporaryDirectory, temporaryPath } from '../support/fixture.js';

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof SutraError) return error.code;
    throw error;
  }
  return 'no error';
}

describe('addresses', () => {
  it.each([
    ['localhost:50051', 'localhost', 50051],
    ['10.0.0.7:1', '10.0.0.7', 1],
    ['example.org', 'example.org', 50051],
    ['[::1]:65535', '::1', 65535],
    ['[fe80::1%eth0]:7', 'fe80::1%eth0', 7],
  ])('%s', (text, host, port) => {
    expect(parseAddress(text, '--server')).toEqual({ host, port });
    expect(parseAddress(formatAddress(host, port), '--server')).toEqual({ host, port });
  });

  it.each(['', ':1', 'a:0', 'a:65536', 'a:b', '::1:50051', 'http://a:1', 'a b:1', '[::1', 'a:1:2'])(
    'refuses %j',
    (text) => {
      expect(codeOf(() => parseAddress(text, '--server'))).toBe('INVALID_ARGUMENT');
    },
  );

  it('turns a wildcard into something to dial', () => {
    expect(reachableAddress('0.0.0.0', 7)).toBe('localhost:7');
    expect(reachableAddress('::', 7)).toBe('localhost:7');
    expect(reachableAddress('::1', 7)).toBe('[::1]:7');
  });
});

describe('times', () => {
  it.each([
    ['5', 5000],
    ['0.5', 500],
    ['500ms', 500],
    ['5s', 5000],
    ['2m', 120_000],
    ['0.0001', 1],
  ])('%s is %i ms', (text, ms) => {
    expect(parseTimeoutMs(text, '--timeout')).toBe(ms);
  });

  it.each(['', '0', '-1', '5 s', '1h', 'NaN', 'Infinity', '1e3', '99999999999', '0ms'])(
    'refuses %j',
    (text) => {
      expect(codeOf(() => parseTimeoutMs(text, '--timeout'))).toBe('INVALID_ARGUMENT');
    },
  );
});

describe('the choice', () => {
  it('flag over environment over default', () => {
    expect(chooseStore({}, {})).toEqual({ mode: 'embedded', path: './knowledge' });
    expect(chooseStore({}, { SUTRA_STORAGE_PATH: '/data' })).toMatchObject({ path: '/data' });
    expect(chooseStore({}, { SUTRA_STORAGE_MODE: 'server' })).toEqual({
      mode: 'server',
      address: { host: 'localhost', port: 50051 },
    });
    const env = { SUTRA_STORAGE_MODE: 'server', SUTRA_STORAGE_SERVER: 'a:1' };
    expect(chooseStore({}, env)).toMatchObject({ address: { host: 'a', port: 1 } });
    expect(chooseStore({ server: 'b:2' }, env)).toMatchObject({ address: { host: 'b', port: 2 } });
    expect(chooseStore({ storage: 'dir' }, env)).toEqual({ mode: 'embedded', path: 'dir' });
    expect(codeOf(() => chooseStore({ storage: 'a', server: 'b' }, {}))).toBe('WRONG_MODE');
    expect(codeOf(() => chooseStore({}, { SUTRA_STORAGE_MODE: 'x' }))).toBe('INVALID_ARGUMENT');
    expect(codeOf(() => chooseStore({ storage: '' }, {}))).toBe('INVALID_ARGUMENT');
  });

  it('reads the settings of the engine and of calls', () => {
    expect(settingsFrom({})).toEqual({});
    expect(
      settingsFrom({
        SUTRA_RECONCILE_MS: '20',
        SUTRA_THRESHOLD: '5',
        SUTRA_VECTOR_DIM: '3',
        SUTRA_VECTOR_PRECISION: 'i8',
        SUTRA_VECTOR_CONNECTIVITY: '24',
        SUTRA_VECTOR_EF_CONSTRUCTION: '200',
        SUTRA_DURABILITY: 'interval',
        SUTRA_TIMEOUT: '250ms',
      }),
    ).toEqual({
      reconcileMs: 20,
      threshold: 5,
      vectorDim: 3,
      vectorPrecision: 'i8',
      vectorConnectivity: 24,
      vectorEfConstruction: 200,
      durability: 'interval',
      timeoutMs: 250,
    });
    expect(codeOf(() => settingsFrom({ SUTRA_VECTOR_DIM: '0' }))).toBe('INVALID_ARGUMENT');
  });
});

describe('getStorageBackend', () => {
  it('opens the embedded store at the path, creating it', async () => {
    const path = temporaryPath();
    const storage = await getStorageBackend(path, { env: {} });
    expect(storage.mode).toBe('embedded');
    await storage.learnConcept({ id: 'a', content: 'A' });
    await storage.close();
    const reader = await getStorageBackend(undefined, {
      env: { SUTRA_STORAGE_PATH: path },
      access: 'read',
    });
    expect(await reader.contains('a')).toBe(true);
    await expect(reader.learnConcept({ id: 'b', content: 'B' })).rejects.toMatchObject({
      code: 'READ_ONLY',
    });
    await reader.close();
  });

  it('takes the dimension from the environment', async () => {
    const env = { SUTRA_VECTOR_DIM: '3' };
    const storage = await getStorageBackend(temporaryPath(), { env });
    await expect(
      storage.learnConcept({ id: 'a', content: 'A', embedding: [1, 2] }),
    ).rejects.toMatchObject({ code: 'DIMENSION_MISMATCH' });
    await storage.close();
  });

  it('is a client in server mode, whatever the path', async () => {
    const path = temporaryPath();
    const env = { SUTRA_STORAGE_MODE: 'server', SUTRA_STORAGE_SERVER: '127.0.0.1:1' };
    const storage = await getStorageBackend(path, { env });
    expect(storage.mode).toBe('server');
    await expect(storage.contains('a')).rejects.toMatchObject({ code: 'UNREACHABLE' });
    await storage.close();
    expect(existsSync(path)).toBe(false);
  });

  it('does not create what is only to be read or written to', async () => {
    const path = join(temporaryDirectory(), 'missing');
    for (const access of ['read', 'write'] as const) {
      await expect(
        openStorage({ mode: 'embedded', path }, { access, env: {} }),
      ).rejects.toMatchObject({ code: 'NO_SUCH_DIRECTORY' });
    }
    expect(existsSync(path)).toBe(false);
  });
});
