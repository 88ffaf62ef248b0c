import { describe, expect, test } from 'vitest';
import { readJsonl } from '#sutra/formats/jsonl';
import type { AssociationRecord, ConceptRecord } from '#sutra/formats/record';

/** The bytes, cut into chunks of `size`. */
async function* chunksOf(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

interface Read {
  readonly records: readonly (ConceptRecord | AssociationRecord)[];
  readonly bad: readonly string[];
}

async function read(
  input: string | Uint8Array,
  size = 1 << 20,
  maxRecordBytes?: number,
): Promise<Read> {
  const bytes = typeof input === 'string' ? Buffer.from(input) : input;
  const records: (ConceptRecord | AssociationRecord)[] = [];
  const bad: string[] = [];
  const options = maxRecordBytes === undefined ? {} : { maxRecordBytes };
  for await (const block of readJsonl(chunksOf(bytes, size), options)) {
    for (const record of block) {
      if (record.kind === 'bad') bad.push(`${record.line}: ${record.reason}`);
      else records.push(record);
    }
  }
  return { records, bad };
}

const concept = (id: string): string => JSON.stringify({ kind: 'concept', id, content: id });

describe('records', () => {
  test('a concept and an association, with every field', async () => {
    const { records, bad } = await read(
      [
        '{"kind":"concept","id":"dog","content":"a pet","strength":2,"confidence":0.5,"embedding":[1,-0.5]}',
        '{"kind":"concept","id":"pet","content":"","created_us":1,"updated_us":2}',
        '{"kind":"association","source":"dog","target":"pet","type":"hierarchical","confidence":0.9}',
        '{"kind":"association","source":"dog","target":"pet","type":700}',
      ].join('\n'),
    );
    expect(bad).toEqual([]);
    expect(records).toEqual([
      {
        kind: 'concept',
        line: 1,
        concept: {
          id: 'dog',
          content: 'a pet',
          strength: 2,
          confidence: 0.5,
          embedding: Float32Array.of(1, -0.5),
        },
      },
      { kind: 'concept', line: 2, concept: { id: 'pet', content: '', createdUs: 1, updatedUs: 2 } },
      {
        kind: 'association',
        line: 3,
        association: { source: 'dog', target: 'pet', type: 3, confidence: 0.9 },
      },
      {
        kind: 'association',
        line: 4,
        association: { source: 'dog', target: 'pet', type: 700 },
      },
    ]);
  });

  test('each named type is its number', async () => {
    const names = ['semantic', 'causal', 'temporal', 'hierarchical', 'compositional'];
    const lines = names.map((type) =>
      JSON.stringify({ kind: 'association', source: 'a', target: 'b', type }),
    );
    const { records } = await read(lines.join('\n'));
    const types = records.map((record) =>
      record.kind === 'association' ? record.association.type : undefined,
    );
    expect(types).toEqual([0, 1, 2, 3, 4]);
  });
});

describe('lines', () => {
  test('the same records whatever the chunks are, with blank lines, CRLF, a byte order mark, no last line feed', async () => {
    const text = `\ufeff${concept('dog')}\r\n\n   \n${concept('naïve')}\n${concept('日本語')}\r\n\n${concept('🐕')}`;
    for (const size of [1, 2, 3, 7, 64, 1000]) {
      const { records, bad } = await read(text, size);
      expect(bad).toEqual([]);
      expect(
        records.map((record) => [record.line, record.kind === 'concept' && record.concept.id]),
      ).toEqual([
        [1, 'dog'],
        [4, 'naïve'],
        [5, '日本語'],
        [7, '🐕'],
      ]);
    }
  });

  test('an empty file has no records', async () => {
    expect(await read('')).toEqual({ records: [], bad: [] });
    expect(await read('\n\n')).toEqual({ records: [], bad: [] });
  });

  test('a line of the greatest length is read, one byte more is refused, wherever it stands', async () => {
    const line = concept('x');
    for (const size of [1, 5, 1000]) {
      const fits = await read(`${line}\n${line}\n${line}`, size, line.length);
      expect(fits.bad).toEqual([]);
      expect(fits.records).toHaveLength(3);
      for (const ending of ['\n', '', `\n${line}`]) {
        const { records, bad } = await read(`${line}\n${line} ${ending}`, size, line.length);
        expect(bad).toEqual([`2: longer than ${line.length} bytes`]);
        expect(records.map((record) => record.line)).toEqual(ending.length > 1 ? [1, 3] : [1]);
      }
    }
  });

  test('a line that never ends is refused without being kept', async () => {
    let sent = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      const chunk = Buffer.alloc(1 << 20, 'x');
      for (;;) {
        sent += chunk.length;
        yield chunk;
      }
    }
    const blocks = readJsonl(endless());
    expect((await blocks.next()).value).toEqual([
      { kind: 'bad', line: 1, reason: 'longer than 25165824 bytes' },
    ]);
    await blocks.return();
    expect(sent).toBeLessThanOrEqual(26 << 20);
  });
});

describe('what is refused', () => {
  const BAD: readonly (readonly [what: string, line: string | Uint8Array, reason: string])[] = [
    ['text', 'dog', 'not JSON'],
    ['half an object', '{"kind":"concept"', 'not JSON'],
    ['two objects', `${concept('a')}${concept('b')}`, 'not JSON'],
    ['NaN', '{"kind":"concept","id":"a","content":"","strength":NaN}', 'not JSON'],
    ['an array', '[1]', 'got [1], expected a JSON object'],
    ['null', 'null', 'got null, expected a JSON object'],
    ['no kind', '{"id":"a"}', 'kind: got nothing'],
    ['another kind', '{"kind":"node"}', 'kind: got "node"'],
    ['no id', '{"kind":"concept","content":""}', 'id: got nothing, expected a string'],
    ['a number as id', '{"kind":"concept","id":7,"content":""}', 'id: got 7'],
    ['no content', '{"kind":"concept","id":"a"}', 'content: got nothing'],
    [
      'a misspelt field',
      '{"kind":"concept","id":"a","content":"","confidance":0}',
      'unknown field "confidance"',
    ],
    [
      'a field of the other kind',
      '{"kind":"association","source":"a","target":"b","content":""}',
      'unknown field "content"',
    ],
    [
      '__proto__',
      '{"kind":"concept","id":"a","content":"","__proto__":{}}',
      'unknown field "__proto__"',
    ],
    [
      'a text as number',
      '{"kind":"concept","id":"a","content":"","strength":"1"}',
      'strength: got "1", expected a number',
    ],
    [
      'a null',
      '{"kind":"concept","id":"a","content":"","confidence":null}',
      'confidence: got null',
    ],
    [
      'an embedding that is none',
      '{"kind":"concept","id":"a","content":"","embedding":"x"}',
      'embedding: got "x", expected an array of numbers',
    ],
    [
      'an embedding with a hole',
      '{"kind":"concept","id":"a","content":"","embedding":[1,null]}',
      'embedding[1]: got null',
    ],
    [
      'an unknown type',
      '{"kind":"association","source":"a","target":"b","type":"is-a"}',
      'type: got "is-a", expected semantic,',
    ],
    [
      'a time with a fraction',
      '{"kind":"concept","id":"a","content":"","created_us":1.5}',
      'created_us: got 1.5',
    ],
    ['bytes that are not UTF-8', Buffer.from([0x22, 0xc3, 0x28]), 'not valid UTF-8'],
    ['a cut UTF-8 sequence', Buffer.from([0x22, 0xe2, 0x82]), 'not valid UTF-8'],
  ];

  test.each(BAD)('%s: with its line, and nothing around it lost', async (_, line, reason) => {
    const before = Buffer.from(`${concept('one')}\n\n${concept('two')}\n`);
    const after = Buffer.from(`\n${concept('three')}\n`);
    const bytes = Buffer.concat([before, Buffer.from(line), after]);
    for (const size of [1, 11, 1 << 20]) {
      const { records, bad } = await read(bytes, size);
      expect(bad).toEqual([expect.stringContaining(`4: ${reason}`)]);
      expect(records.map((record) => record.line)).toEqual([1, 3, 5]);
    }
  });
});
