/** What a storage.dat's stream shows of damage: every bit of it, in pieces of any size. */

import { expect, test } from 'vitest';

import { StreamCheck } from '#sutra/engine/snapshot/stream-check';
import { SutraError } from '#sutra/errors';

import { makeStore, SNAPSHOT } from '../support/damaged-store.js';

const { disk } = await makeStore(1, true);
const whole = Buffer.from(disk.bytesOf(SNAPSHOT));

function check(bytes: Uint8Array, piece: number, said = bytes.length) {
  const stream = new StreamCheck('stream', said);
  for (let at = 0; at < bytes.length; at += piece) stream.add(bytes.subarray(at, at + piece));
  return stream.end();
}

test('a whole one passes, in pieces of any size', () => {
  for (const piece of [1, 7, 4096, 4097, 65_536, whole.length]) {
    expect(check(whole, piece)).toMatchObject({ sequence: 6, fileBytes: whole.length });
  }
});

test('one byte less, one more, or any byte another: refused', () => {
  for (let at = 0; at < whole.length; at++) {
    const bytes = Buffer.from(whole);
    bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
    expect(() => check(bytes, 4096), `byte ${at}`).toThrow(SutraError);
  }
  for (const length of [0, 1, 4095, 4096, whole.length - 1]) {
    const cut = whole.subarray(0, length);
    expect(() => check(cut, 4096), `${length} bytes`).toThrow(SutraError);
    expect(() => check(cut, 4096, whole.length), `${length} bytes`).toThrow(SutraError);
  }
  const longer = Buffer.concat([whole, Buffer.from([0])]);
  expect(() => check(longer, 4096)).toThrow(SutraError);
  expect(() => check(longer, 4096, whole.length)).toThrow(SutraError);
});
