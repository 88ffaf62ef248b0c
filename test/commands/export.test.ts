import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { errorOf } from '../support/command.js';
import { BIN, runSutra, temporaryDirectory, temporaryPath } from '../support/fixture.js';

const directory = temporaryDirectory('export');
const storage = temporaryPath();
const target = ['--storage', storage];

const GRAPH = [
  { kind: 'concept', id: 'dog', content: 'a "domestic" animal', strength: 2, embedding: [0.1, 1] },
  { kind: 'concept', id: 'animal', content: 'line one\nline two', confidence: 0.9 },
  { kind: 'concept', id: 'bell\u0007', content: 'rings: \u0007, <b>&amp;</b>' },
  { kind: 'concept', id: 'lonely', content: '' },
  { kind: 'association', source: 'dog', target: 'animal', type: 'hierarchical', confidence: 0.95 },
  { kind: 'association', source: 'dog', target: 'animal', type: 77 },
  { kind: 'association', source: 'animal', target: 'bell\u0007', type: 9 },
];

async function exported(...args: string[]): Promise<string> {
  const result = await runSutra(['export', ...target, ...args]);
  expect(result).toMatchObject({ code: 0 });
  return result.stdout;
}

const timeless = (text: string): string => text.replace(/\d{16}/g, 'T');

beforeAll(async () => {
  const input = GRAPH.map((record) => `${JSON.stringify(record)}\n`).join('');
  expect(await runSutra(['import', '-', ...target], { input })).toMatchObject({ code: 0 });
});

describe('everything', () => {
  test('as JSON lines, in the order in which it was learned', async () => {
    expect(timeless(await exported())).toBe(
      [
        '{"kind":"concept","id":"dog","content":"a \\"domestic\\" animal","strength":2,"confidence":1,"created_us":T,"updated_us":T,"embedding":[0.1,1]}',
        '{"kind":"concept","id":"animal","content":"line one\\nline two","strength":1,"confidence":0.9,"created_us":T,"updated_us":T}',
        '{"kind":"concept","id":"bell\\u0007","content":"rings: \\u0007, <b>&amp;</b>","strength":1,"confidence":1,"created_us":T,"updated_us":T}',
        '{"kind":"concept","id":"lonely","content":"","strength":1,"confidence":1,"created_us":T,"updated_us":T}',
        '{"kind":"association","source":"dog","target":"animal","type":"hierarchical","confidence":0.95,"created_us":T}',
        '{"kind":"association","source":"dog","target":"animal","type":77,"confidence":1,"created_us":T}',
        '{"kind":"association","source":"animal","target":"bell\\u0007","type":9,"confidence":1,"created_us":T}',
        '',
      ].join('\n'),
    );
  });

  test('as two tables, with names for types from a map', async () => {
    const map = join(directory, 'types.json');
    writeFileSync(map, '{"chases": 77}');
    const file = join(directory, 'graph.csv.gz');
    const result = await runSutra(['export', file, ...target, '--type-map', map, '--json']);
    expect(result).toMatchObject({ code: 0, stderr: '' });
    const files = [join(directory, 'graph.nodes.csv.gz'), join(directory, 'graph.edges.csv.gz')];
    expect(JSON.parse(result.stdout)).toMatchObject({
      format: 'csv',
      files,
      concepts: 4,
      associations: 3,
      sequence: 7,
      digest: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
    });
    const [nodes, edges] = files.map((path) => timeless(gunzipSync(readFileSync(path)).toString()));
    expect(nodes).toBe(
      ':ID,content,strength:float,confidence:float,created_us:long,updated_us:long,embedding:float[]\n' +
        'dog,"a ""domestic"" animal",2,1,T,T,0.1;1\n' +
        'animal,"line one\nline two",1,0.9,T,T,\n' +
        'bell\u0007,"rings: \u0007, <b>&amp;</b>",1,1,T,T,\n' +
        'lonely,"",1,1,T,T,\n',
    );
    expect(edges).toBe(
      ':START_ID,:END_ID,:TYPE,confidence:float,created_us:long\n' +
        'dog,animal,hierarchical,0.95,T\n' +
        'dog,animal,chases,1,T\n' +
        'animal,bell\u0007,9,1,T\n',
    );
    expect(timeless(await exported('--format', 'csv', '--table', 'edges'))).toContain(
      'animal,77,1',
    );
  });

  test('as GraphML, with JSON and the key where XML has no characters', async () => {
    const text = timeless(await exported('--format', 'graphml', '--without-embeddings'));
    expect(text).toContain('<node id="animal"><data key="content">line one&#10;line two</data>');
    expect(text).toContain(
      '<data key="id_json">&quot;bell\\u0007&quot;</data>' +
        '<data key="content_json">&quot;rings: \\u0007, &lt;b&gt;&amp;amp;&lt;/b&gt;&quot;</data>',
    );
    expect(text).toMatch(/<edge source="animal" target="[0-9a-f]{32}">/);
    expect(text).not.toContain('\u0007');
    expect(text).not.toContain('0.1');
  });

  test('of an empty store is empty', async () => {
    const empty = temporaryPath();
    await runSutra(['import', '-', '--storage', empty], { input: '' });
    expect(await runSutra(['export', '--storage', empty])).toMatchObject({ code: 0, stdout: '' });
  });
});

describe('a neighbourhood', () => {
  test('drawn in DOT: no text breaks the syntax, what is lost is said', async () => {
    const result = await runSutra(['export', ...target, '--around', 'animal', '--format', 'dot']);
    expect(result.stderr).toBe(
      'note: dot does not hold embeddings, times, strengths, and content beyond its beginning\n',
    );
    expect(result.stdout).toBe(
      [
        'digraph sutra {',
        '  node [shape=box];',
        '  n0 [label="animal\\nline one line two"];',
        '  n1 [label="dog\\na \\"domestic\\" animal"];',
        '  n2 [label="bell\\nrings: , <b>&amp;amp;</b>"];',
        '  n0 -> n2 [label="9"];',
        '  n1 -> n0 [label="77"];',
        '  n1 -> n0 [label="hierarchical 0.95"];',
        '}',
        '',
      ].join('\n'),
    );
  });

  test('drawn in Mermaid, within its hops and its limit', async () => {
    const result = await runSutra(
      `export --around dog --hops 2 --limit 2 --format mermaid --storage ${storage}`.split(' '),
    );
    expect(result.stdout).toBe(
      [
        'flowchart LR',
        '  n0["dog<br/>a #34;domestic#34; animal"]',
        '  n1["animal<br/>line one line two"]',
        '  n0 -->|"77"| n1',
        '  n0 -->|"hierarchical 0.95"| n1',
        '',
      ].join('\n'),
    );
    expect(result.stderr).toContain('left out: 1 concept within the hops');
  });

  test('as JSON lines, which import reads', async () => {
    const input = await exported('--around', 'dog', '--hops', '1');
    expect(input.split('\n')).toHaveLength(5);
    const copy = temporaryPath();
    const result = await runSutra(['import', '-', '--storage', copy], { input });
    expect(result).toMatchObject({ code: 0 });
  });
});

describe('a file', () => {
  test('is replaced only with --force, and nothing is left beside it', async () => {
    const place = join(directory, 'files');
    mkdirSync(place);
    const file = join(place, 'g.jsonl');
    writeFileSync(file, 'precious');
    const refused = await errorOf(['export', file, ...target], 2);
    expect(refused.message).toContain('exists already');
    expect(readFileSync(file, 'utf8')).toBe('precious');
    const result = await runSutra(['export', file, ...target, '--force']);
    expect(result.stdout).toMatch(/^Exported 4 concepts and 3 associations to .*g\.jsonl in /);
    expect(readFileSync(file, 'utf8')).toBe(await exported());
    expect(readdirSync(place)).toEqual(['g.jsonl']);
  });

  test('does not appear when the export fails', async () => {
    const file = join(directory, 'none.jsonl');
    const error = await errorOf(['export', file, ...target, '--around', 'nobody'], 4);
    expect(error.message).toContain('no concept "nobody"');
    expect(existsSync(file)).toBe(false);
    expect(readdirSync(directory).filter((name) => name.endsWith('.part'))).toEqual([]);
  });

  test.each([
    [['graph.foo'], 'its ending names no format'],
    [['no/such/directory/graph.jsonl'], 'no such file or directory'],
    [['/dev/null', '--format', 'jsonl'], 'not a regular file'],
    [['graph.dot'], '--around is missing'],
    [['--hops', '1'], '--around is missing'],
    [['--format', 'csv'], '--table nodes or --table edges'],
    [['--format', 'yaml'], '--format: got "yaml", expected jsonl, csv'],
    [[], '--json has standard output to itself'],
  ])('%j is refused: %s', async (args, message) => {
    const error = await errorOf(['export', ...args, ...target], 2);
    expect(error.message).toContain(message);
  });
});

test('a reader that goes away is a quiet end', async () => {
  const big = temporaryPath();
  const input = Array.from({ length: 5000 }, (_, i) =>
    JSON.stringify({ kind: 'concept', id: `c${i}`, content: 'x'.repeat(200) }),
  ).join('\n');
  await runSutra(['import', '-', '--storage', big], { input });
  const child = spawn('sh', [
    '-c',
    '"$0" "$1" export --storage "$2" | head -n 1',
    process.execPath,
    BIN,
    big,
  ]);
  let output = '';
  for await (const chunk of child.stdout) output += String(chunk);
  let errors = '';
  for await (const chunk of child.stderr) errors += String(chunk);
  expect(output).toContain('"id":"c0"');
  expect(errors).toBe('');
});
