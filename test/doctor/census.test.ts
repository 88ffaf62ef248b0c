/** What the doctor says of data and counters: each finding brought about, and its absence. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { describe, expect, test } from 'vitest';

import { Census } from '#sutra/doctor/census';
import { bySeverity, scoreOf, type Finding } from '#sutra/doctor/finding';
import { checkClock, judgeExposure, judgeTrends, peekCertificate } from '#sutra/doctor/server';
import type { ScanPage, StorageStats } from '#sutra/storage/storage';
import { START_MS, statsAt } from '../dashboard/samples.js';
import { temporaryDirectory } from '../support/fixture.js';

const NOW_MS = Date.UTC(2026, 5, 1);

interface Made {
  readonly id: string;
  readonly content?: string;
  readonly embedding?: Float32Array;
  readonly updatedUs?: number;
}

function page(concepts: readonly Made[], pairs: readonly (readonly [string, string])[]): ScanPage {
  return {
    sequence: 1,
    digest: '',
    conceptCount: concepts.length,
    associationCount: pairs.length,
    concepts: concepts.map(({ id, content = '', updatedUs = 0, embedding }) => ({
      ...{ id, content, updatedUs, createdUs: 0, strength: 1, confidence: 1 },
      ...(embedding === undefined ? {} : { embedding }),
    })),
    associations: pairs.map(([source, target]) => ({
      ...{ source, target, type: 0, confidence: 1, createdUs: 0 },
    })),
    resume: null,
  };
}

function findingsOf(census: Census): Map<string, Finding> {
  return new Map(census.findings(NOW_MS).map((finding) => [finding.check, finding]));
}

function taken(
  concepts: readonly Made[],
  pairs: readonly (readonly [string, string])[] = [],
  complete = true,
): Map<string, Finding> {
  const census = new Census();
  expect(census.add(page(concepts, pairs))).toBe(true);
  census.complete = complete;
  return findingsOf(census);
}

const many = (count: number): Made[] => Array.from({ length: count }, (_, i) => ({ id: `c${i}` }));

describe('data', () => {
  test('contents that say the same, whatever their case, spaces and punctuation', () => {
    const found = taken([
      { id: 'a', content: 'A dog, barking.' },
      { id: 'b', content: 'a dog  barking' },
      { id: 'c', content: 'A cat' },
      { id: 'd', content: '' },
      { id: 'e', content: '' },
    ]).get('duplicates');
    expect(found).toMatchObject({ severity: 'warning' });
    expect(found?.what).toContain('1 concept says what another one says: "a" 2 times');
    expect(found?.remedy).toBeTruthy();
    expect(taken([{ id: 'a', content: 'x' }]).get('duplicates')?.severity).toBe('good');
  });

  test('supernodes', () => {
    const concepts = many(10_002);
    const star = concepts.slice(1).map(({ id }) => ['c0', id] as const);
    const found = taken(concepts, star).get('supernodes');
    expect(found).toMatchObject({ severity: 'warning' });
    expect(found?.what).toContain('"c0" has 10,001');
    expect(taken(concepts, star.slice(0, 50)).get('supernodes')?.severity).toBe('good');
  });

  test('islands, and concepts without any association', () => {
    const found = taken(many(5), [
      ['c0', 'c1'],
      ['c1', 'c0'],
      ['c2', 'c3'],
    ]).get('islands');
    expect(found).toMatchObject({ severity: 'note' });
    expect(found?.what).toMatch(/^3 parts .* 40% .* 1 concept has no association/);
    const whole = taken(many(3), [
      ['c0', 'c1'],
      ['c2', 'c1'],
    ]);
    expect(whole.get('islands')?.severity).toBe('good');
  });

  test('an association to nothing is wrong now', () => {
    const found = taken(many(2), [['c0', 'gone']]).get('dangling');
    expect(found).toMatchObject({ severity: 'critical' });
    expect(found?.what).toContain('c0 -> gone');
  });

  test('of a part, neither islands nor dangling data are judged', () => {
    const found = taken(many(2), [['c0', 'gone']], false);
    expect(found.has('islands')).toBe(false);
    expect(found.has('dangling')).toBe(false);
  });

  test('associations whose concepts were not reached show their hubs', () => {
    const concepts = many(10_002);
    const star = concepts.slice(1).map(({ id }) => ['c0', id] as const);
    const census = new Census();
    census.add(page(concepts.slice(0, 5), []));
    expect(findingsOf(census).has('supernodes')).toBe(false);
    expect(census.addBeyond(page([], star))).toBe(true);
    expect(findingsOf(census).get('supernodes')?.what).toContain('"c0" has 10,001');
    expect(findingsOf(census).has('dangling')).toBe(false);
  });

  test('embeddings without spread', () => {
    const of = (make: (i: number) => number[]): Made[] =>
      Array.from({ length: 50 }, (_, i) => ({
        id: `v${i}`,
        embedding: Float32Array.from(make(i)),
      }));
    const same = taken(of((i) => [5 + i, 5 + i, 5 + i])).get('vectors');
    expect(same).toMatchObject({ severity: 'warning' });
    expect(same?.what).toContain('nearly the same');
    const flat = taken(of((i) => [Math.sin(i), Math.cos(i), 0, 0])).get('vectors');
    expect(flat?.what).toContain('2 numbers of 4 never change');
    const turning = of((i) => [Math.sin(i), Math.cos(i), Math.sin(2 * i)]);
    expect(taken(turning).get('vectors')?.severity).toBe('good');
    expect(taken(many(3)).has('vectors')).toBe(false);
  });

  test('concepts from the future', () => {
    const ahead = (ms: number): Made[] => [{ id: 'a', updatedUs: (NOW_MS + ms) * 1000 }];
    expect(taken(ahead(3_600_000)).get('times')).toMatchObject({ severity: 'warning' });
    expect(taken(ahead(-1000)).get('times')?.severity).toBe('good');
  });
});

describe('counters', () => {
  const at = (seconds: number, change: Partial<StorageStats> = {}): StorageStats => {
    return statsAt(seconds, { memtableWrites: 100, ...change });
  };
  const judged = (last: StorageStats, first = at(10)): Map<string, Finding> =>
    new Map(judgeTrends(first, last).map((finding) => [finding.check, finding]));

  test('a busy server that is well', () => {
    const severities = [...judged(at(12)).values()].map(({ severity }) => severity);
    expect(severities.length).toBeGreaterThan(4);
    expect(new Set(severities)).toEqual(new Set(['good']));
  });

  test.each([
    ['writes refused', 'pending', 'critical', { dropped: 5 }],
    ['a long queue', 'pending', 'warning', { pendingBytes: 200_000_000 }],
    ['checkpoints behind', 'checkpoint', 'warning', { memtableWrites: 900_000 }],
    ['log of no room', 'disk space', 'critical', { walBytes: 20_000_000_000 }],
    ['little room', 'disk space', 'warning', { walBytes: 6_000_000_000 }],
  ] as const)('%s', (_name, check, severity, change) => {
    const finding = judged(at(12, change)).get(check);
    expect(finding).toMatchObject({ severity });
    expect(finding?.remedy).toBeTruthy();
  });

  test('a checkpoint that failed', () => {
    const checkpoint = { ...at(12).checkpoint, lastError: 'digests differ' };
    expect(judged(at(12, { checkpoint })).get('checkpoint')).toMatchObject({
      severity: 'critical',
      what: expect.stringContaining('digests differ') as string,
    });
  });

  test('a clock that is off', () => {
    const stats = { ...at(10), uptimeSeconds: 10 };
    expect(checkClock(stats, START_MS + 10_500).severity).toBe('good');
    expect(checkClock(stats, START_MS + 200_000)).toMatchObject({ severity: 'warning' });
  });
});

describe('exposure', () => {
  const address = { host: 'db1.example', port: 50051 };
  const certificate = (validTo: string) => ({ validTo, subject: 'db1.example' });
  const judged = (exposure: Parameters<typeof judgeExposure>[0]): string[] =>
    judgeExposure(exposure, address, NOW_MS).map(({ check, severity }) => `${check} ${severity}`);

  test('who may reach it, and for how long the certificate lasts', () => {
    const open = { certificate: null, anybody: true, reachable: true };
    expect(judged(open)).toEqual(['open bind warning']);
    expect(judged({ ...open, reachable: false })).toEqual(['open bind good']);
    expect(judged({ ...open, anybody: false })).toEqual(['open bind warning']);
    const closed = { anybody: false, reachable: true };
    expect(judged({ ...closed, certificate: certificate('Jun  5 00:00:00 2027 GMT') })).toEqual([
      ...['open bind good', 'certificate good'],
    ]);
    expect(judged({ ...closed, certificate: certificate('Jun  5 00:00:00 2026 GMT') })).toEqual([
      ...['open bind good', 'certificate warning'],
    ]);
    expect(judged({ ...closed, certificate: certificate('May 31 00:00:00 2026 GMT') })).toEqual([
      ...['open bind good', 'certificate critical'],
    ]);
  });

  test('the certificate is read off the socket, whoever signed it', async () => {
    const directory = temporaryDirectory('certificate');
    const key = join(directory, 'key.pem');
    const cert = join(directory, 'cert.pem');
    const subject = ['-subj', '/CN=doctor.example', '-days', '3', '-nodes'];
    const make = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    execFileSync('openssl', [...make, '-keyout', key, '-out', cert, ...subject], { stdio: 'pipe' });
    const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) });
    const port = await new Promise<number>((resolve) => {
      server.listen(0, '127.0.0.1', () => {
        const bound = server.address();
        resolve(typeof bound === 'object' && bound !== null ? bound.port : 0);
      });
    });
    const seen = await peekCertificate({ host: '127.0.0.1', port });
    expect(seen?.subject).toBe('doctor.example');
    const days = (Date.parse(seen?.validTo ?? '') - Date.now()) / 86_400_000;
    expect(days).toBeGreaterThan(2);
    expect(days).toBeLessThan(4);
    server.close();
    expect(await peekCertificate({ host: '127.0.0.1', port: 1 })).toBeNull();
  });
});

test('the score: the worse, the lower, and the worst comes first', () => {
  const of = (severity: Finding['severity'], check: string): Finding => ({
    ...{ severity, check, what: '' },
  });
  const findings = [of('good', 'a'), of('warning', 'b'), of('critical', 'c'), of('note', 'd')];
  expect(scoreOf(findings)).toBe(50);
  expect(scoreOf([of('good', 'a'), of('note', 'b')])).toBe(100);
  expect(scoreOf(Array.from({ length: 9 }, () => of('critical', 'x')))).toBe(0);
  expect(bySeverity(findings).map(({ check }) => check)).toEqual(['c', 'b', 'd', 'a']);
});
