import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cutRows, type BadRow, type Row } from '#sutra/formats/csv-rows';

async function* piecesOf(text: string, size: number): AsyncGenerator<string> {
  for (let at = 0; at < text.length; at += size) yield text.slice(at, at + size);
}

async function rowsOf(text: string, size = 1000, delimiter = ',', most = 1000) {
  const rows: (Row | BadRow)[] = [];
  for await (const some of cutRows(piecesOf(text, size), delimiter, most)) rows.push(...some);
  return rows;
}

describe('rows', () => {
  test('are those of another parser, however the text is cut', async () => {
    const cell = fc.oneof(
      fc.constantFrom('', 'a', 'x y', '"', '""', '\n', '\r\n', 'a,b', 'say "hi"\nto', ';', '\t'),
      fc.string({ unit: 'binary', maxLength: 6 }),
    );
    const quote = (text: string, must: boolean): string =>
      must || /["\n\r,]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    const table = fc.array(fc.array(fc.tuple(cell, fc.boolean()), { minLength: 2, maxLength: 4 }), {
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(
        table,
        fc.constantFrom('\n', '\r\n'),
        fc.boolean(),
        fc.integer({ min: 1, max: 9 }),
        async (cells, lineEnd, ended, size) => {
          const lines = cells.map((row) => row.map(([text, must]) => quote(text, must)).join(','));
          const text = lines.join(lineEnd) + (ended && lines.length > 0 ? lineEnd : '');
          // A carriage return in front of a line feed belongs to the line end for the other parser only where it saw one first.
          const expected = parse(text, {
            relax_column_count: true,
            record_delimiter: ['\r\n', '\n'],
            bom: true,
          });
          const rows = await rowsOf(text, size);
          expect(rows.map((row) => ('cells' in row ? row.cells : row))).toEqual(expected);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('know their lines, over cells that have several', async () => {
    const text = 'a,b\n"1\n2\n3",x\r\n\n\nc,d\n"e","f"';
    for (const size of [1, 2, 3, 100]) {
      expect(await rowsOf(text, size)).toEqual([
        { line: 1, cells: ['a', 'b'] },
        { line: 2, cells: ['1\n2\n3', 'x'] },
        { line: 7, cells: ['c', 'd'] },
        { line: 8, cells: ['e', 'f'] },
      ]);
    }
  });
});

describe('a bad row is bad alone', () => {
  test.each([
    ['text behind a quote', 'a,"b"c\nd,e\n', 'text behind a closing quote'],
    ['a quote inside', 'a,b"c\nd,e\n', 'a quote in a cell that is not quoted'],
    ['an open quote', 'a,"bc\nd,e\n', 'a quote that is not closed'],
    ['a long row', `a,${'x'.repeat(50)}\nd,e\n`, 'a row longer than 40 characters'],
    ['a long quoted row', `a,"${'x'.repeat(50)}"\nd,e\n`, 'a row longer than 40 characters'],
  ])('%s', async (_, text, reason) => {
    for (const size of [1, 4, 1000]) {
      expect(await rowsOf(`0,0\n${text}`, size, ',', 40)).toEqual([
        { line: 1, cells: ['0', '0'] },
        { line: 2, reason: expect.stringContaining(reason) as string },
        { line: 3, cells: ['d', 'e'] },
      ]);
    }
  });

  test('also one that opens a quote in front of more text than a row may have', async () => {
    const text = `a,"b\n${'c,d\n'.repeat(30)}`;
    const rows = await rowsOf(text, 10, ',', 40);
    expect(rows[0]).toEqual({ line: 1, reason: 'a quote that is not closed' });
    expect(rows).toHaveLength(31);
    expect(rows.at(-1)).toEqual({ line: 31, cells: ['c', 'd'] });
  });
});
