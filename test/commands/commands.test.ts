/**
 * Every command over a store of its own, embedded and through a server: what `--json` prints, field by field, and the
 * exit codes. The two modes must not differ.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { errorOf, jsonOf, type JsonOptions } from '../support/command.js';
import { startServe, temporaryDirectory, temporaryPath, type Serving } from '../support/fixture.js';

const YEAR_2020_US = 1_577_836_800_000_000;

describe.each([['embedded'], ['server']] as const)('commands: %s', (mode) => {
  let server: Serving | undefined;
  let target: readonly string[];

  beforeAll(async () => {
    if (mode === 'server') server = await startServe();
    target = server === undefined ? ['--storage', temporaryPath()] : ['--server', server.address];
  });
  afterAll(async () => {
    expect(await server?.stop()).toBe(server === undefined ? undefined : 0);
  });

  const json = (args: readonly string[], options?: JsonOptions) => jsonOf(args, target, options);

  test('learn: {sequence, id}, counting from 1; without content the id is the content', async () => {
    expect(
      await json(['learn', 'rain', 'Water falling', '--strength', '2.5', '--confidence', '0.9']),
    ).toEqual({ sequence: 1, id: 'rain' });
    expect(await json(['learn', 'umbrella'])).toEqual({ sequence: 2, id: 'umbrella' });
    expect(await json(['learn', 'flood', 'Too much of it'])).toEqual({ sequence: 3, id: 'flood' });
    expect(await json(['query', 'umbrella'])).toMatchObject({ content: 'umbrella' });
  });

  test('query and learn again: float32 in shortest form, times as integer microseconds', async () => {
    const before = await json(['query', 'rain']);
    const created = before['created_us'];
    expect(created).toSatisfy((us: number) => Number.isSafeInteger(us) && us > YEAR_2020_US);
    expect(before).toEqual({
      found: true,
      id: 'rain',
      content: 'Water falling',
      strength: 2.5,
      confidence: 0.9,
      created_us: created,
      updated_us: created,
      dimension: 0,
    });
    expect(await json(['learn', 'rain', 'Water', '--confidence', '0.25'])).toMatchObject({
      sequence: 4,
    });
    const after = await json(['query', 'rain']);
    expect(after).toMatchObject({ content: 'Water', strength: 1, confidence: 0.25 });
    expect(after['created_us']).toBe(created);
    expect(Number(after['updated_us'])).toBeGreaterThan(Number(created));
  });

  test('link: by name, by number, and by default', async () => {
    expect(
      await json(['link', 'rain', 'flood', '--type', 'causal', '--confidence', '0.7']),
    ).toEqual({
      sequence: 5,
      source: 'rain',
      target: 'flood',
      type: 1,
      type_name: 'causal',
      confidence: 0.7,
    });
    expect(await json(['link', 'umbrella', 'rain', '--type', '1001'])).toMatchObject({
      sequence: 6,
      type: 1001,
      type_name: '1001',
      confidence: 1,
    });
    expect(await json(['link', 'umbrella', 'flood', '--confidence', '0'])).toMatchObject({
      sequence: 7,
      type: 0,
      type_name: 'semantic',
      confidence: 0,
    });
  });

  test('neighbors: strongest first, with type and direction', async () => {
    expect(await json(['neighbors', 'rain'])).toEqual({
      found: true,
      id: 'rain',
      neighbors: [
        { id: 'umbrella', type: 1001, type_name: '1001', confidence: 1, direction: 'in' },
        { id: 'flood', type: 1, type_name: 'causal', confidence: 0.7, direction: 'out' },
      ],
    });
  });

  test('path: ids, hops, and the associations along it', async () => {
    const inward = { type_name: 'causal', direction: 'in' };
    expect(await json(['path', 'flood', 'umbrella', '--type', '1,1001'])).toEqual({
      found: true,
      from: 'flood',
      to: 'umbrella',
      path: ['flood', 'rain', 'umbrella'],
      hops: 2,
      confidence: 0.7,
      steps: [
        { ...inward, from: 'flood', to: 'rain', type: 1, confidence: 0.7 },
        { ...inward, from: 'rain', to: 'umbrella', type: 1001, type_name: '1001', confidence: 1 },
      ],
    });
    // One hop of confidence 0 is the shortest and impassable to the surest.
    expect(await json(['path', 'umbrella', 'flood'])).toMatchObject({ hops: 1, confidence: 0 });
    expect(await json(['path', 'umbrella', 'flood', '--by', 'confidence'])).toMatchObject({
      path: ['umbrella', 'rain', 'flood'],
      hops: 2,
      confidence: 0.7,
    });
    expect(await json(['path', 'rain', 'rain'])).toMatchObject({
      found: true,
      path: ['rain'],
      hops: 0,
      confidence: 1,
      steps: [],
    });
  });

  test('not found is data with exit code 4', async () => {
    const code = 4;
    expect(await json(['query', 'nobody'], { code })).toEqual({ found: false, id: 'nobody' });
    expect(await json(['neighbors', 'nobody'], { code })).toEqual({
      found: false,
      id: 'nobody',
      neighbors: [],
    });
    expect(await json(['path', 'rain', 'nobody'], { code })).toEqual({
      found: false,
      from: 'rain',
      to: 'nobody',
      path: [],
      hops: 0,
      confidence: 0,
      steps: [],
    });
    const outward = ['path', 'flood', 'rain', '--direction', 'out'];
    expect(await json(outward, { code })).toMatchObject({ found: false });
    expect(await json(['forget', 'nobody'], { code })).toEqual({
      found: false,
      id: 'nobody',
      sequence: 0,
      associations: 0,
    });
    expect(await json(['forget', 'rain', 'umbrella'], { code })).toMatchObject({ found: false });
  });

  test('an unknown endpoint is an error that names it, with exit code 4', async () => {
    expect(await errorOf(['link', 'rain', 'nobody', ...target], 4)).toMatchObject({
      code: 'UNKNOWN_CONCEPT',
      status: 'NOT_FOUND',
      message: expect.stringContaining('nobody') as string,
      hint: expect.stringContaining('sutra learn') as string,
    });
  });

  test('embeddings from a file and from stdin; search near a vector and like a concept', async () => {
    const file = join(temporaryDirectory(), 'east.json');
    writeFileSync(file, '[1, 0, 0]\n');
    await json(['learn', 'east', '--embedding', file]);
    await json(['learn', 'north-east', '--embedding', '-'], { input: '[0.9, 0.3, 0]' });
    await json(['learn', 'west', '--embedding', '-'], { input: '[-1, 0, 0]' });
    expect(await json(['search', '--embedding', '-', '-k', '2'], { input: '[2,0,0]' })).toEqual({
      results: [
        { id: 'east', similarity: 1, content: 'east' },
        { id: 'north-east', similarity: 0.9486833, content: 'north-east' },
      ],
    });
    const like = await json(['search', '--like', 'east', '-k', '1', '--ef', '100']);
    expect(like['results']).toMatchObject([{ id: 'north-east' }]);
    expect(await json(['query', 'east', '--with-embedding'])).toMatchObject({
      dimension: 3,
      embedding: [1, 0, 0],
    });
    const bare = await json(['search', '--like', 'east', '--no-content']);
    expect(bare['results']).toEqual([
      { id: 'north-east', similarity: 0.9486833 },
      { id: 'west', similarity: -1 },
    ]);
    const floor = await json(['search', '--like', 'east', '--min-similarity', '0.5']);
    expect(floor['results']).toMatchObject([{ id: 'north-east' }]);
    const raw = join(temporaryDirectory(), 'query.f32');
    writeFileSync(raw, Float32Array.of(-1, 0.5, 0));
    expect(await json(['search', '--embedding', raw, '-k', '1'])).toMatchObject({
      results: [{ id: 'west' }],
    });
    const near = ['search', '--embedding', '-', ...target];
    expect(await errorOf(near, 2, { input: '[1, 2]' })).toMatchObject({
      code: 'DIMENSION_MISMATCH',
      message: expect.stringMatching(/2.*3/) as string,
    });
    expect(await errorOf(['search', '--like', 'nobody', ...target], 4)).toMatchObject({
      code: 'UNKNOWN_CONCEPT',
    });
  });

  test('search within a neighbourhood: --hops associations away, itself too unless it is --like', async () => {
    await json(['link', 'west', 'north-east']);
    await json(['learn', 'south', '--embedding', '-'], { input: '[0, -1, 0]' });
    await json(['link', 'south', 'west', '--type', '9']);
    const ids = async (...args: string[]): Promise<string[]> => {
      const { results } = await json(['search', ...args]);
      return (results as { id: string }[]).map(({ id }) => id);
    };
    expect(await ids('--like', 'east', '--within', 'north-east')).toEqual(['north-east', 'west']);
    expect(await ids('--like', 'north-east', '--within', 'north-east')).toEqual(['west']);
    const two = ['--within', 'north-east', '--hops', '2'];
    expect(await ids('--like', 'east', ...two)).toEqual(['north-east', 'south', 'west']);
    expect(await ids('--like', 'east', ...two, '-k', '2', '--min-similarity', '0.5')).toEqual([
      'north-east',
    ]);
    expect(
      await errorOf(['search', '--like', 'east', '--within', 'nowhere', ...target], 4),
    ).toMatchObject({
      code: 'UNKNOWN_CONCEPT',
      message: expect.stringContaining('nowhere') as string,
    });
    await json(['forget', 'south']);
    await json(['forget', 'west', 'north-east']);
  });

  test('forget: associations of one type, all between two, and a concept with the rest', async () => {
    await json(['link', 'east', 'west', '--type', '2']);
    await json(['link', 'east', 'west', '--type', '3']);
    await json(['link', 'west', 'east']);
    await json(['link', 'east', 'east']);
    const one = await json(['forget', 'east', 'west', '--type', 'temporal']);
    expect(one).toEqual({
      found: true,
      source: 'east',
      target: 'west',
      type: 2,
      type_name: 'temporal',
      sequence: one['sequence'],
      associations: 1,
    });
    expect(await json(['forget', 'east', 'west'])).toMatchObject({ found: true, associations: 1 });
    const gone = await json(['forget', 'east']);
    expect(gone).toEqual({ found: true, id: 'east', sequence: gone['sequence'], associations: 2 });
    expect(gone['sequence']).toBe(Number(one['sequence']) + 2);
  });

  test('flush, stats and health', async () => {
    expect(await json(['flush'])).toEqual({ success: true });
    const stats = await json(['stats']);
    expect(Object.keys(stats)).toEqual([
      'concepts',
      'edges',
      'written',
      'dropped',
      'pending',
      'reconciliations',
      'uptime_seconds',
      'sequence',
      'snapshot_sequence',
      'vectors',
      'dimension',
      'wal_bytes',
      'snapshot_bytes',
      'checkpoints',
      'indexed',
      'vector_precision',
      'index_bytes',
      'index_file_bytes',
      'index_queued',
      'group_commits',
      'committed_bytes',
      'pending_bytes',
      'pending_limit_bytes',
      'memtable_writes',
      'memtable_threshold',
      'wal_threshold_bytes',
      'wal_disk_bytes',
      'epoch',
      'uuid',
      'durability',
      'read_only',
      'disk_full',
      'sync_latency',
      'latency_bounds_us',
      'checkpoint',
      ...('server' in stats ? ['server'] : []),
    ]);
    expect('server' in stats).toBe(mode === 'server');
    for (const value of Object.values(stats)) {
      if (typeof value === 'number') expect(Number.isSafeInteger(value)).toBe(true);
    }
    expect(stats).toMatchObject({ concepts: 5, edges: 3, vectors: 2, dimension: 3, pending: 0 });
    expect(stats['snapshot_sequence']).toBe(stats['sequence']);
    const health = await json(['health']);
    expect(health).toEqual({
      healthy: true,
      status: 'ok',
      uptime_seconds: health['uptime_seconds'],
    });
  });
});
