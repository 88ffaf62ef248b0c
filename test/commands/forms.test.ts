/** The forms that arguments and answers take, over one embedded store: ids, content, filters, and text for people. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { errorOf, jsonOf, withFlags } from '../support/command.js';
import { runSutra, temporaryDirectory, temporaryPath } from '../support/fixture.js';

const target = ['--storage', temporaryPath()];
const json = (args: readonly string[]) => jsonOf(args, target);
const text = async (args: readonly string[]) => {
  const result = await runSutra(withFlags(args, target));
  expect(result.stderr).toBe('');
  return result;
};

/** Ids that a shell, a flag parser or a naive lookup could take for something else. */
const ODD_IDS = ['-dash', '--json', '42', '-1.5', 'with space', '雨🌧', 'a=b', 'x:y', 'help', '--'];

const RECORDS = [
  { kind: 'concept', id: 'rain', content: 'Water falling' },
  { kind: 'concept', id: 'umbrella', content: 'umbrella' },
  { kind: 'concept', id: 'flood', content: 'Far too much' },
  { kind: 'concept', id: 'lonely', content: 'lonely' },
  { kind: 'association', source: 'rain', target: 'flood', type: 'causal', confidence: 0.7 },
  { kind: 'association', source: 'umbrella', target: 'rain', type: 1001, confidence: 0.5 },
  ...ODD_IDS.map((id) => ({ kind: 'concept', id, content: `about ${id}` })),
];

beforeAll(async () => {
  const file = join(temporaryDirectory(), 'records.jsonl');
  writeFileSync(file, RECORDS.map((record) => `${JSON.stringify(record)}\n`).join(''));
  expect(await runSutra(['import', file, ...target])).toMatchObject({ code: 0 });
});

test.each(ODD_IDS)('an id of any form: %s', async (id) => {
  expect(await json(['query', '--', id])).toMatchObject({
    found: true,
    id,
    content: `about ${id}`,
  });
});

test('a hex id is a key: half a key stands for its full form', async () => {
  await json(['learn', '00112233AABBCCDD', 'half']);
  expect(await json(['query', '00112233aabbccdd0000000000000000'])).toMatchObject({
    found: true,
    id: '00112233aabbccdd',
    content: 'half',
  });
});

test('content from stdin, byte for byte, and only as UTF-8', async () => {
  const content = 'line one\n\tline two – “quoted” 雨\n';
  await runSutra(['learn', 'text', '-', ...target], { input: content });
  expect(await json(['query', 'text'])).toMatchObject({ content });
  const garbage = { input: Uint8Array.of(0x61, 0xff, 0x62) };
  expect(await errorOf(['learn', 'text', '-', ...target], 2, garbage)).toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: 'content: not valid UTF-8',
  });
  expect(await json(['query', 'text'])).toMatchObject({ content });
});

test('a missing argument is not taken from stdin', async () => {
  const input = 'rain\n';
  expect(await errorOf(['query', ...target], 2, { input })).toMatchObject({
    message: 'missing ID',
  });
  expect(await jsonOf(['learn', 'alone'], target, { input })).toMatchObject({ id: 'alone' });
  expect(await json(['query', 'alone'])).toMatchObject({ content: 'alone' });
});

describe('filters of neighbors', () => {
  test.each([
    [['--direction', 'out'], ['flood']],
    [['--direction', 'in'], ['umbrella']],
    [
      ['--type', 'causal', '--type', '1001'],
      ['flood', 'umbrella'],
    ],
    [['--type', '1001,causal', '--limit', '1'], ['flood']],
    [['--type', '4'], []],
  ])('%j', async (flags, expected) => {
    const { neighbors } = await json(['neighbors', 'rain', ...flags]);
    expect((neighbors as { id: string }[]).map(({ id }) => id)).toEqual(expected);
  });
});

describe('text for people, when nobody watches, is plain', () => {
  test('neighbors: one a line, tabs between', async () => {
    expect((await text(['neighbors', 'rain'])).stdout).toBe(
      'flood\tcausal\t0.7\tout\numbrella\t1001\t0.5\tin\n',
    );
    expect(await text(['neighbors', 'lonely'])).toMatchObject({ code: 0, stdout: '' });
    expect(await text(['neighbors', 'nobody'])).toMatchObject({
      code: 4,
      stdout: 'not found: nobody\n',
    });
  });

  test('path: drawn downwards, each arrow pointing the way its association does', async () => {
    expect((await text(['path', 'flood', 'umbrella'])).stdout).toBe(
      [
        '* flood     Far too much',
        '^',
        '| causal 0.7',
        '* rain      Water falling',
        '^',
        '| type 1001 0.5',
        '* umbrella',
        '2 hops, confidence 0.35',
        '',
      ].join('\n'),
    );
    expect(await text(['path', 'rain', 'lonely', '--max-depth', '3'])).toMatchObject({
      code: 4,
      stdout: 'no path from rain to lonely within 3 hops\n',
    });
  });

  test('query, learn, link, forget, stats, health and flush', async () => {
    const time = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`;
    expect((await text(['query', 'rain'])).stdout).toMatch(
      new RegExp(`^rain\nWater falling\nstrength 1, confidence 1, learned ${time}\n$`),
    );
    expect((await text(['learn', 'plain', 'text'])).stdout).toMatch(
      /^learned plain \(sequence \d+\)\n$/,
    );
    expect((await text(['link', 'plain', 'rain', '--confidence', '0.1'])).stdout).toMatch(
      /^linked plain -> rain: semantic, confidence 0\.1 \(sequence \d+\)\n$/,
    );
    expect((await text(['forget', 'plain', 'rain'])).stdout).toMatch(
      /^forgot 1 association: plain -> rain \(sequence \d+\)\n$/,
    );
    expect((await text(['forget', 'plain'])).stdout).toMatch(
      /^forgot plain and 0 associations \(sequence \d+\)\n$/,
    );
    expect(await text(['forget', 'plain'])).toMatchObject({
      code: 4,
      stdout: 'nothing to forget: plain\n',
    });
    expect((await text(['stats'])).stdout).toMatch(/^concepts\t\d+\nassociations\t2\n/);
    expect((await text(['health'])).stdout).toBe('healthy\n');
    expect((await text(['flush'])).stdout).toBe('flushed\n');
  });
});
