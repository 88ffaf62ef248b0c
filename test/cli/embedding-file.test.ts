import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { parseEmbedding, readEmbedding } from '#sutra/cli/embedding-file';
import { SutraError } from '#sutra/errors';

const directory = mkdtempSync(join(tmpdir(), 'sutra-embedding-'));
afterAll(() => rmSync(directory, { recursive: true }));

const parse = (bytes: Buffer): Float32Array =>
  parseEmbedding(bytes, (message) => new SutraError('INVALID_ARGUMENT', message));

/** A .npy file as NumPy writes it: the header padded with spaces to a multiple of 64, a line feed last. */
function npy(header: string, data: Buffer, version = 1): Buffer {
  const prefix = version === 1 ? 10 : 12;
  const padded = header.padEnd(64 * Math.ceil((prefix + header.length + 1) / 64) - prefix - 1);
  const start = Buffer.alloc(prefix);
  start.write('\x93NUMPY', 'latin1');
  start[6] = version;
  if (version === 1) start.writeUInt16LE(padded.length + 1, 8);
  else start.writeUInt32LE(padded.length + 1, 8);
  return Buffer.concat([start, Buffer.from(`${padded}\n`, 'latin1'), data]);
}

function dictionary(descr: string, shape: string): string {
  return `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`;
}

const f4 = (...values: number[]): Buffer => Buffer.from(Float32Array.from(values).buffer);
const f8 = (...values: number[]): Buffer => Buffer.from(Float64Array.from(values).buffer);
const f2 = (...bits: number[]): Buffer => Buffer.from(Uint16Array.from(bits).buffer);

describe('what is read', () => {
  const expected = Float32Array.of(0.5, -1.25, 3);

  test.each([
    ['JSON', Buffer.from('[0.5, -1.25, 3]')],
    ['JSON over lines', Buffer.from('\r\n\t[0.5,\n-1.25e0,\n3]\n')],
    ['raw float32', f4(0.5, -1.25, 3)],
    ['.npy of f4', npy(dictionary('<f4', '(3,)'), f4(0.5, -1.25, 3))],
    ['.npy of one row', npy(dictionary('<f4', '(1, 3)'), f4(0.5, -1.25, 3))],
    ['.npy of f8', npy(dictionary('<f8', '(3,)'), f8(0.5, -1.25, 3))],
    ['.npy of f2', npy(dictionary('<f2', '(3,)'), f2(0x3800, 0xbd00, 0x4200))],
    ['.npy version 2', npy(dictionary('<f4', '(3,)'), f4(0.5, -1.25, 3), 2)],
    ['.npy version 3', npy(dictionary('<f4', '(3,)'), f4(0.5, -1.25, 3), 3)],
    [
      '.npy with its header in another order, as Python 2 wrote it',
      npy(`{"shape": (3L,), "fortran_order": True, "descr": "<f4"}`, f4(0.5, -1.25, 3)),
    ],
  ])('%s', async (_name, bytes) => {
    expect(parse(bytes)).toEqual(expected);
    const path = join(directory, 'file');
    writeFileSync(path, bytes);
    expect(await readEmbedding(path)).toEqual(expected);
  });

  test('every half, against the number it stands for', () => {
    // 2^-24 to 65504, subnormal and normal, either sign.
    const halves: [number, number][] = [
      [0x0001, 2 ** -24],
      [0x03ff, 1023 * 2 ** -24],
      [0x0400, 2 ** -14],
      [0x3555, 0.333251953125],
      [0x7bff, 65504],
      [0x8001, -(2 ** -24)],
      [0xc000, -2],
      [0x8000, -0],
    ];
    const bytes = npy(dictionary('<f2', `(${halves.length},)`), f2(...halves.map(([b]) => b)));
    expect(parse(bytes)).toEqual(Float32Array.from(halves, ([, value]) => value));
  });

  test('1 and 4,096 numbers; raw float32 of one number is not taken for text', () => {
    expect(parse(f4(1))).toEqual(Float32Array.of(1));
    const widest = Float32Array.from({ length: 4096 }, (_, i) => i - 7.5);
    expect(parse(Buffer.from(widest.buffer))).toEqual(widest);
  });
});

describe('what is refused, with what was got and expected', () => {
  test.each<[string, Buffer, RegExp]>([
    ['nothing', Buffer.alloc(0), /got nothing, expected an embedding/],
    ['text that is no JSON', Buffer.from('0.1 0.2'), /not JSON/],
    ['an object', Buffer.from('{}'), /expected a JSON array of numbers/],
    ['an empty array', Buffer.from('[]'), /got 0 numbers, expected 1 to 4096/],
    ['a string in it', Buffer.from('[1, "2"]'), /number 1 is "2"/],
    ['too many', Buffer.from(JSON.stringify(Array(4097).fill(1))), /got 4097 numbers/],
    ['no direction', Buffer.from('[0, -0]'), /got a vector of zero norm/],
    [
      'half a number',
      f4(0.5, 1).subarray(0, 7),
      /got 7 bytes .* expected float32: a multiple of 4/,
    ],
    ['too many floats', Buffer.alloc(4 * 4097, 1), /got 4097 numbers, expected 1 to 4096/],
    ['NaN', f4(1, NaN), /number 1 is NaN, expected one that fits a float32/],
    ['infinity', f4(-Infinity, 1), /number 0 is -Infinity/],
    ['a double beyond float32', npy(dictionary('<f8', '(1,)'), f8(1e39)), /number 0 is Infinity/],
    ['a half of infinity', npy(dictionary('<f2', '(1,)'), f2(0x7c00)), /number 0 is Infinity/],
    ['a half that is no number', npy(dictionary('<f2', '(1,)'), f2(0x7e00)), /number 0 is NaN/],
    [
      'big-endian',
      npy(dictionary('>f4', '(1,)'), f4(1)),
      /got .npy numbers of type >f4, expected <f4/,
    ],
    ['integers', npy(dictionary('<i8', '(1,)'), f8(1)), /type <i8/],
    ['a record', npy(`{'descr': [('a', '<f4')], 'shape': (1,)}`, f4(1)), /type \(a record\)/],
    [
      'a matrix',
      npy(dictionary('<f4', '(2, 2)'), f4(1, 2, 3, 4)),
      /shape \(2, 2\), expected \(n,\)/,
    ],
    ['a column', npy(dictionary('<f4', '(2, 1)'), f4(1, 2)), /shape \(2, 1\)/],
    ['three sides', npy(dictionary('<f4', '(1, 1, 2)'), f4(1, 2)), /shape \(1, 1, 2\)/],
    ['a scalar', npy(dictionary('<f4', '()'), f4(1)), /shape \(\), expected/],
    ['no shape', npy(`{'descr': '<f4'}`, f4(1)), /shape \(\?\), expected/],
    ['no numbers', npy(dictionary('<f4', '(0,)'), f4()), /got 0 numbers/],
    [
      'an endless shape',
      npy(dictionary('<f4', '(99999999999,)'), f4(1)),
      /got 99999999999 numbers/,
    ],
    ['missing numbers', npy(dictionary('<f4', '(3,)'), f4(1, 2)), /got 8 bytes .* expected 12/],
    ['numbers to spare', npy(dictionary('<f4', '(1,)'), f4(1, 2)), /got 8 bytes .* expected 4/],
    ['another version', npy(dictionary('<f4', '(1,)'), f4(1), 4), /version 4, expected 1, 2 or 3/],
    ['magic alone', Buffer.from('\x93NUMPY', 'latin1'), /version 0/],
    ['an end within the header', npy('', f4(1), 2).subarray(0, 9), /ends within its header/],
    [
      'a header beyond the file',
      Buffer.from('\x93NUMPY\x01\x00\xff\xff{}', 'latin1'),
      /header of 65535 bytes in a file of 12/,
    ],
    [
      'a header of 4 GiB',
      Buffer.from('\x93NUMPY\x02\x00\xff\xff\xff\xff{}', 'latin1'),
      /header of 4294967295 bytes/,
    ],
  ])('%s', (_name, bytes, message) => {
    expect(() => parse(bytes)).toThrow(message);
  });

  test('the file is named', async () => {
    const path = join(directory, 'cut.npy');
    writeFileSync(path, npy(dictionary('<f4', '(3,)'), f4(1)));
    const refused = readEmbedding(path);
    await expect(refused).rejects.toThrow(`--embedding ${path}: got 4 bytes`);
    await expect(refused).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    const missing = join(directory, 'missing');
    await expect(readEmbedding(missing)).rejects.toThrow(`--embedding ${missing}: cannot be read`);
  });

  test('a .npy file cut or changed anywhere is read or refused, never anything else', () => {
    const whole = npy(dictionary('<f4', '(3,)'), f4(0.5, -1.25, 3));
    // Shorter than its magic it is no .npy file any more, and 4 bytes are a float32.
    for (let length = 6; length < whole.length; length++) {
      expect(() => parse(whole.subarray(0, length))).toThrow(SutraError);
    }
    for (let at = 0; at < whole.length; at++) {
      for (const bit of [1, 0x20, 0x80]) {
        const changed = Buffer.from(whole);
        changed[at] = (changed[at] ?? 0) ^ bit;
        try {
          expect(parse(changed).length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(SutraError);
        }
      }
    }
  });
});
