import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { ImportFormat } from '#sutra/formats/format';
import { parseTypeMap, TypeNames } from '#sutra/formats/type-names';
import { unpacked } from '#sutra/formats/unpack';
import { chunksOf, readAll } from '../support/format-input.js';

const SIZES = [1, 7, 1 << 16];

describe('triples', () => {
  test('by tabs or by spaces, with comments, types by name and number', async () => {
    const text =
      '# facts\n#\ndog\tis a\tfour legs\ncat CAUSAL mouse\r\n\n#tag\t7\tx\na  b  c\n日本 3 naïve';
    for (const size of SIZES) {
      const { records, bad, learnsEndpoints } = await readAll('triples', text, { size });
      expect(bad).toEqual([]);
      expect(learnsEndpoints).toBe(true);
      expect(records).toEqual([
        [3, { source: 'dog', target: 'four legs', type: 23_420 }],
        [4, { source: 'cat', target: 'mouse', type: 1 }],
        [6, { source: '#tag', target: 'x', type: 7 }],
        [7, { source: 'a', target: 'c', type: new TypeNames().numberOf('b') }],
        [8, { source: '日本', target: 'naïve', type: 3 }],
      ]);
    }
  });

  test.each([
    ['a b', '1: 2 fields, expected subject, predicate and object'],
    ['a b c d', '1: 4 fields, expected subject, predicate and object; with tabs'],
    ['a\tb\tc\td', '1: 4 fields'],
    ['a 65536 b', '1: type: got "65536", expected a name or a number from 0 to 65535'],
  ])('%j is bad', async (text, reason) => {
    const { bad, records } = await readAll('triples', `${text}\nx 1 y`);
    expect(bad).toEqual([expect.stringContaining(reason)]);
    expect(records).toEqual([[2, { source: 'x', target: 'y', type: 1 }]]);
  });
});

describe('N-Triples', () => {
  test('resources, blank nodes, labels, escapes; other literals are left out', async () => {
    const text = [
      '# comment',
      '<http://x/a> <http://x/knows> <http://x/b> . # why',
      '_:n1.2 <http://x/knows> _:m .',
      '<http://x/a> <http://www.w3.org/2000/01/rdf-schema#label> "A \\"q\\" \\u00e9\\U0001F415\\n"@en-GB .',
      '<http://x/a><http://x/age>"4"^^<http://www.w3.org/2001/XMLSchema#int>.',
      '<http://x/\\u00e9> <http://x/knows> <http://x/a> .',
    ].join('\n');
    const knows = new TypeNames().numberOf('http://x/knows');
    for (const size of SIZES) {
      const { records, bad, leftOut } = await readAll('ntriples', text, { size });
      expect(bad).toEqual([]);
      expect(records).toEqual([
        [2, { source: 'http://x/a', target: 'http://x/b', type: knows }],
        [3, { source: '_:n1.2', target: '_:m', type: knows }],
        [4, { id: 'http://x/a', content: 'A "q" é🐕\n' }],
        [6, { source: 'http://x/é', target: 'http://x/a', type: knows }],
      ]);
      expect(leftOut).toEqual([['literal of "http://x/age"', 1]]);
    }
  });

  test.each([
    ['a <http://p> <http://o> .', 'expected a subject'],
    ['<http://s> p <http://o> .', 'expected a predicate'],
    ['<http://s> <http://p> o .', 'expected an object'],
    ['<http://s> <http://p> <http://o>', 'expected a full stop'],
    ['<http://s> <http://p> "open .', 'expected an object'],
    ['<http://s> <http://p> <> .', 'got <>, expected an IRI'],
    ['<http://s p> <http://p> <http://o> .', 'expected a subject'],
    ['<http://s> <http://www.w3.org/2000/01/rdf-schema#label> "\\x" .', 'the escape \\x'],
    ['<http://s> <http://www.w3.org/2000/01/rdf-schema#label> "\\ud800" .', 'is no character'],
  ])('%s is bad: %s', async (text, reason) => {
    const { bad, records } = await readAll('ntriples', `${text}\n`);
    expect(bad).toEqual([expect.stringContaining(reason)]);
    expect(records).toEqual([]);
  });

  test('a literal of many megabytes is no trouble', async () => {
    const text = `<http://s> <http://p> "${'ab\\n'.repeat(4 << 20)}" .\n`;
    expect(await readAll('ntriples', text)).toMatchObject({ bad: [], records: [] });
  });
});

describe('tables', () => {
  test('nodes: columns by name, an id space, another content, labels left out', async () => {
    const text =
      'movieId:ID(Movie),title,strength:float,Confidence,embedding:float[],created_us:long,:LABEL,year:int,x:IGNORE\n' +
      'tt1,"The, ""Matrix""",2,,0.5;-1e-3,12,Movie,1999,z\n' +
      'tt2,,,0.25,,,,,\n';
    for (const size of SIZES) {
      const { records, bad, leftOut } = await readAll('csv', text, { size, content: 'title' });
      expect(bad).toEqual([]);
      expect(records).toEqual([
        [
          2,
          {
            id: 'Movie/tt1',
            content: 'The, "Matrix"',
            strength: 2,
            embedding: Float32Array.of(0.5, -1e-3),
            createdUs: 12,
          },
        ],
        [3, { id: 'Movie/tt2', content: '', confidence: 0.25 }],
      ]);
      expect(leftOut).toEqual([
        ['column ":LABEL"', 1],
        ['column "year:int"', 1],
      ]);
    }
  });

  test('without a content column the id is the content', async () => {
    expect((await readAll('tsv', ':ID\tname\na b\tx\n')).records).toEqual([
      [2, { id: 'a b', content: 'a b' }],
    ]);
  });

  test('relationships', async () => {
    const text =
      ':START_ID,:END_ID,:TYPE,confidence:double\na,b,KNOWS,0.5\na,c,hierarchical,\nb,c,,\n';
    expect((await readAll('csv', text)).records).toEqual([
      [2, { source: 'a', target: 'b', type: 64_134, confidence: 0.5 }],
      [3, { source: 'a', target: 'c', type: 3 }],
      [4, { source: 'b', target: 'c' }],
    ]);
  });

  test.each([
    ['a', '2: 1 columns, expected 3 as in the header'],
    ['a,b,1,d', '2: 4 columns, expected 3'],
    [',b,1', '2: :ID: got nothing, expected an id'],
    ['a,b,NaN', '2: strength: got "NaN", expected a number'],
    ['a,b,Infinity', '2: strength: got "Infinity"'],
    ['a,b,1.5.2', '2: strength: got "1.5.2"'],
    ['a,"b,1', '2: a quote that is not closed'],
  ])('the row %j is bad', async (row, reason) => {
    const { bad, records } = await readAll('csv', `:ID,content,strength:float\n${row}\nz,z,3\n`);
    expect(bad).toEqual([expect.stringContaining(reason)]);
    expect(records).toEqual([[3, { id: 'z', content: 'z', strength: 3 }]]);
  });

  test.each([
    ['', 'f:1: no header'],
    ['a,b\n', 'f:1: the header "a,b" is neither of nodes'],
    [':ID,:START_ID\n', 'f:1: the header'],
    [':ID,content,content\n', 'f:1: two columns for content'],
    [':ID,embedding\n', 'f:1: column "embedding": expected embedding:float[]'],
    [':ID,strength:string\n', 'f:1: column "strength:string"'],
    [Buffer.from([0x3a, 0x49, 0x44, 10, 0x61, 10, 0xff, 10]), 'f:3: not valid UTF-8'],
    [Buffer.from([0x3a, 0x49, 0x44, 10, 0x61, 10, 0xe2, 0x82]), 'f:3: not valid UTF-8'],
  ])('%j cannot be read: %s', async (text, message) => {
    for (const size of SIZES) {
      expect((await readAll('csv', text, { size })).failure).toContain(message);
    }
  });
});

const GRAPHML = `<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="d0" for="node" attr.name="content" attr.type="string"><default>unsaid</default></key>
  <key id="d1" for="all" attr.name="confidence" attr.type="double"/>
  <key id="d2" for="edge" attr.name="label" attr.type="string"/>
  <key id="d3" for="node" attr.name="colour" attr.type="string"/>
  <graph edgedefault="directed">
    <edge source="a" target="b"><data key="d2">KNOWS</data><data key="d1">0.5</data></edge>
    <node id="a"><data key="d0">x &lt; y &amp; &#x1F415;<![CDATA[<b>]]></data><data key="d3">red</data></node>
    <node id="b"><graph><node id="c"/></graph></node>
    <edge source="b" target="c" directed="false"/>
  </graph>
</graphml>
`;

describe('GraphML', () => {
  test('nodes, edges, defaults, nested graphs; what has no place is left out', async () => {
    for (const size of SIZES) {
      const read = await readAll('graphml', GRAPHML, { size });
      expect(read).toMatchObject({ bad: [], failure: null, learnsEndpoints: false });
      expect(read.records).toEqual([
        [8, { source: 'a', target: 'b', type: 64_134, confidence: 0.5 }],
        [9, { id: 'a', content: 'x < y & 🐕<b>' }],
        [10, { id: 'c', content: 'unsaid' }],
        [10, { id: 'b', content: 'unsaid' }],
        [11, { source: 'b', target: 'c' }],
      ]);
      expect(read.leftOut).toEqual([
        ['node data "colour"', 1],
        ['edge that is undirected, which became one from source to target', 1],
      ]);
    }
  });

  test('without a node, edges learn their ends', async () => {
    const text = '<graphml><graph><edge source="a" target="b"/></graph></graphml>';
    expect((await readAll('graphml', text)).learnsEndpoints).toBe(true);
  });

  test.each([
    ['<node/>', '1: a node without an id'],
    ['<edge source="a"/>', '1: an edge without source and target'],
    ['<node id="a"><data key="no">1</data></node>', '1: data of a key that is not declared, "no"'],
    ['<node id="a"><data key="s">x</data></node>', '1: strength: got "x", expected a number'],
    ['<node id="a"><data key="s">NaN</data></node>', '1: strength: got "NaN"'],
    ['<hyperedge/>', '1: a hyperedge'],
    ['<node id="a"><data key="s">1</data><data key="s">2</data></node>', '1: two values'],
  ])('%s is bad', async (element, reason) => {
    const key = '<key id="s" for="node" attr.name="strength"/>';
    const text = `<graphml>${key}<graph>${element}<node id="z"/></graph></graphml>`;
    const { bad, records, failure } = await readAll('graphml', text);
    expect(failure).toBeNull();
    expect(bad).toEqual([expect.stringContaining(reason)]);
    expect(records).toEqual([[1, { id: 'z', content: 'z' }]]);
  });

  const LAUGHS = '<!DOCTYPE g [<!ENTITY a "&b;"><!ENTITY b "&a;">]>';
  test.each([
    ['', 'f:1: '],
    ['<html/>', 'f:1: the document is <html>, expected <graphml>'],
    ['<graphml>\n<graph>\n<node id="a">\n</graph>', 'f:4: '],
    ['<graphml>\n<graph>', 'f:2: '],
    [`${LAUGHS}<graphml>\n<graph><node id="&a;"/></graph></graphml>`, 'f:2: undefined entity'],
    ['<?xml version="1.0" encoding="latin1"?><graphml/>', 'f:1: encoding "latin1", expected UTF-8'],
    [`<graphml><graph><node id="${'x'.repeat(300_000)}`, 'f:1: an element longer than 1000'],
    [Buffer.from('<graphml>\n\xff</graphml>', 'latin1'), 'f:2: not valid UTF-8'],
  ])('%j cannot be read: %s', async (text, message) => {
    const { failure } = await readAll('graphml', text, { maxRecordBytes: 1000 });
    expect(failure).toContain(message);
  });
});

describe('gzip', () => {
  test('is known by its first bytes, however they come', async () => {
    const text = 'a 1 b\n'.repeat(1000);
    for (const size of [1, 1000]) {
      for (const bytes of [gzipSync(text), Buffer.from(text), Buffer.alloc(0)]) {
        const got: Uint8Array[] = [];
        for await (const chunk of unpacked(chunksOf(bytes, size))) got.push(chunk);
        expect(Buffer.concat(got).toString()).toBe(bytes.length === 0 ? '' : text);
      }
    }
    const half = gzipSync(text).subarray(0, 30);
    const reading = async (): Promise<void> => {
      for await (const chunk of unpacked(chunksOf(half))) expect(chunk).toBeDefined();
    };
    await expect(reading()).rejects.toMatchObject({ code: 'Z_BUF_ERROR' });
  });
});

describe('names of types', () => {
  test('have the same number whatever came before, and a map decides', () => {
    const names = new TypeNames();
    expect(names.numberOf('KNOWS')).toBe(64_134);
    expect(new TypeNames().numberOf('KNOWS')).toBe(64_134);
    expect(names.nameOf(64_134)).toBe('KNOWS');
    const mapped = new TypeNames(parseTypeMap('{"KNOWS": 7}', 'map'));
    expect(mapped.numberOf('KNOWS')).toBe(7);
    expect(mapped.changed).toBe(false);
    mapped.numberOf('LIKES');
    expect(mapped.changed).toBe(true);
    expect(JSON.parse(mapped.toJson())).toEqual({ KNOWS: 7, LIKES: names.numberOf('LIKES') });
  });

  test('two that share a number are told apart by a map only', () => {
    const taken = new Map<number, string>();
    let pair: readonly [string, string] | undefined;
    for (let i = 0; pair === undefined; i++) {
      const number = new TypeNames().numberOf(`name ${i}`);
      const other = taken.get(number);
      if (other !== undefined) pair = [other, `name ${i}`];
      taken.set(number, `name ${i}`);
    }
    const [first, second] = pair;
    const bare = new TypeNames();
    bare.numberOf(first);
    expect(() => bare.numberOf(second)).toThrow('--type-map');
    const mapped = new TypeNames(new Map());
    const number = mapped.numberOf(first);
    expect(mapped.numberOf(second)).toBe(number === 65_535 ? 5 : number + 1);
  });

  test.each([
    ['[]', 'expected a JSON object'],
    ['{', 'not JSON'],
    ['{"a": 4}', '"a": got 4, expected a number from 5 to 65535'],
    ['{"a": 5, "b": 5}', '"b" and "a" are both 5'],
    ['{"Causal": 5}', '"Causal" cannot be the name'],
    ['{"12": 5}', '"12" cannot be the name'],
  ])('the map %s is refused: %s', (text, message) => {
    expect(() => parseTypeMap(text, 'map')).toThrow(`map: `);
    expect(() => parseTypeMap(text, 'map')).toThrow(message);
  });
});

test.each<[ImportFormat]>([['jsonl'], ['triples'], ['ntriples']])(
  'a line of %s that is no UTF-8 is bad alone',
  async (format) => {
    const good = {
      jsonl: '{"kind":"association","source":"a","target":"b","type":1}',
      triples: 'a 1 b',
      ntriples: '<a> <1> <b> .',
    }[format as 'jsonl'];
    const bytes = Buffer.concat([
      Buffer.from(`${good}\n`),
      Buffer.from([0xff, 10]),
      Buffer.from(good),
    ]);
    const { bad, records } = await readAll(format, bytes);
    expect(bad).toEqual(['2: not valid UTF-8']);
    expect(records.map(([line]) => line)).toEqual([1, 3]);
  },
);
