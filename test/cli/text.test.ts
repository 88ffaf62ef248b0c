import { describe, expect, it } from 'vitest';
import { screenOf, styled } from '#sutra/cli/screen';
import {
  displayWidth,
  excerpt,
  padEnd,
  safeJson,
  safeLine,
  safeText,
  truncate,
} from '#sutra/cli/text';

describe('text made safe for a terminal', () => {
  it('shows control characters, escapes and reordering marks', () => {
    expect(safeLine('a\x1b[31mb\x07\x9bc\x7f')).toBe('a\\x1b[31mb\\x07\\x9bc\\x7f');
    expect(safeLine('one\ntwo\tthree\r')).toBe('one\\ntwo\\tthree\\r');
    expect(safeLine('user\u202etxt.exe\u2066')).toBe('user\\u202etxt.exe\\u2066');
    expect(safeLine('\ud800 lone, 😀 paired')).toBe('\\ud800 lone, 😀 paired');
    expect(safeLine('plain – ünïcödé 雨')).toBe('plain – ünïcödé 雨');
  });

  it('keeps line feeds and tabs of a text', () => {
    expect(safeText('one\r\n\ttwo\x1b')).toBe('one\n\ttwo\\x1b');
  });

  it('leaves every character up to U+10FFFF either harmless or escaped', () => {
    for (let code = 0; code <= 0x10ffff; code++) {
      const shown = safeLine(String.fromCodePoint(code));
      if (/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]|\p{Bidi_Control}/u.test(shown)) {
        throw new Error(`U+${code.toString(16)} comes through`);
      }
    }
  });

  it('JSON means the same and drives no terminal', () => {
    const value = { id: 'a\x9b31m\x7f\u202e\u2028\x1b', list: [1, 'ß'] };
    const json = safeJson(value);
    expect(JSON.parse(json)).toEqual(value);
    expect(json).toMatch(/^[\x20-\x7e\xa0-\xff]+$/);
  });
});

describe('width', () => {
  it('counts terminal cells', () => {
    expect(['abc', '雨', 'é', 'e\u0301', '🌧️', '한국', 'ｱ', 'Ａ'].map(displayWidth)).toEqual([
      3, 2, 1, 1, 1, 4, 1, 2,
    ]);
    expect(displayWidth('🎉')).toBe(2);
  });

  it('pads and cuts by cells', () => {
    expect(padEnd('雨', 4)).toBe('雨  ');
    expect(truncate('umbrella', 8)).toBe('umbrella');
    expect(truncate('umbrella', 5)).toBe('umbr…');
    expect(truncate('雨雨雨', 4)).toBe('雨…');
    expect(truncate('x', 0)).toBe('');
  });

  it('excerpts the first words on one line', () => {
    expect(excerpt('  a\n\n  domestic\tanimal ', 40)).toBe('a domestic animal');
    expect(excerpt('a domestic animal', 11)).toBe('a domestic…');
    const long = 'word '.repeat(100_000);
    expect(displayWidth(excerpt(long, 60))).toBeLessThanOrEqual(60);
    expect(excerpt(long, 60).endsWith('…')).toBe(true);
  });
});

describe('screen', () => {
  it('draws and colours on a terminal only', () => {
    expect(screenOf({ isTTY: true, columns: 100 }, {})).toEqual({
      drawing: true,
      colour: true,
      width: 100,
    });
    expect(screenOf({}, {})).toEqual({ drawing: false, colour: false, width: 80 });
    expect(screenOf({ isTTY: true }, { NO_COLOR: '1' })).toMatchObject({ colour: false });
    expect(screenOf({ isTTY: true }, { NO_COLOR: '' })).toMatchObject({ colour: true });
    expect(screenOf({ isTTY: true }, { TERM: 'dumb' })).toMatchObject({ drawing: false });
    expect(screenOf({ isTTY: true, columns: 10 }, {}).width).toBe(40);
  });

  it('styles where there is colour', () => {
    const colour = { drawing: true, colour: true, width: 80 };
    expect(styled(colour, 'bold', 'x')).toBe('\x1b[1mx\x1b[22m');
    expect(styled({ ...colour, colour: false }, 'bold', 'x')).toBe('x');
  });
});
