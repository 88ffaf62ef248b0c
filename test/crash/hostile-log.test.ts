/**
 * Logs that somebody made (the fault matrix, row 8): words of headers and of commands replaced, frames left out, doubled,
 * swapped and rewritten, and all checksums and the chain mended, so that nothing but the meaning is wrong. Such a log is refused
 * with a SutraError, or it opens to a state that agrees with itself; it never ends the process, hangs it, or makes it
 * allocate out of proportion to the file. Checksums are mended here by plain means, from the page (docs/FILE_FORMAT.md), not
 * with the code under test.
 *
 * SUTRA_HOSTILE_STRIDE: every so manieth word of commands (default 3; 1 is every one).
 */

import { crc32 } from 'node:zlib';

import { beforeAll, describe, expect, test } from 'vitest';

import { SutraError } from '#sutra/errors';
import { checkState } from '#sutra/engine/check-state';
import type { State } from '#sutra/engine/state';
import { runSteps } from '#sutra/engine/steps';
import { Store } from '#sutra/engine/store';

import { dumpState } from '../support/history.js';
import { seededRandom, testSeed } from '../support/random.js';
import { DIRECTORY, Scenario, STORE_OPTIONS } from '../support/scenario.js';
import { SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';

const STRIDE = Number(process.env['SUTRA_HOSTILE_STRIDE'] ?? 3);
const OPTIONS = { ...STORE_OPTIONS, threshold: 1_000_000 };
const LOG = `${DIRECTORY}/wal-0000000001.log`;
const SEGMENT_HEADER = 64;
const FRAME_HEADER = 48;
const PAYLOAD_BYTES_AT = 32;
const PAYLOAD_CRC_AT = 36;
const CHAIN_AT = 40;
const HEADER_CRC_AT = 44;
const VALUES = [0, 1, 2, 16, 0x200, 0x1fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
/** Rows of the memtable come in pages; those that a few commands more can ask for are not out of proportion. */
const PAGES = 4 * 1024 * 1024;

const seed = testSeed();

/** One frame: header and payload. */
type Frame = Buffer;

interface Log {
  readonly header: Buffer;
  readonly frames: readonly Frame[];
}

function parse(bytes: Buffer): Log {
  const frames: Frame[] = [];
  for (let at = SEGMENT_HEADER; at < bytes.length;) {
    const end = at + FRAME_HEADER + bytes.readUInt32LE(at + PAYLOAD_BYTES_AT);
    frames.push(bytes.subarray(at, end));
    at = end;
  }
  return { header: bytes.subarray(0, SEGMENT_HEADER), frames };
}

/** The log as one file with every checksum and the chain as they should be; lengths stay what the frames say they are. */
function mend(log: Log): Buffer {
  const header = Buffer.from(log.header);
  header.writeUInt32LE(crc32(header.subarray(0, 60)), 60);
  const uuidCrc = crc32(header.subarray(16, 32));
  let chain = header.readUInt32LE(44);
  const parts = [header];
  for (const original of log.frames) {
    const frame = Buffer.from(original);
    frame.writeUInt32LE(crc32(frame.subarray(FRAME_HEADER)), PAYLOAD_CRC_AT);
    frame.writeUInt32LE(chain, CHAIN_AT);
    chain = crc32(frame.subarray(0, HEADER_CRC_AT), uuidCrc);
    frame.writeUInt32LE(chain, HEADER_CRC_AT);
    parts.push(frame);
  }
  return Buffer.concat(parts);
}

function withWord(buffer: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(buffer);
  copy.writeUInt32LE(value, at);
  return copy;
}

function withFrame(log: Log, index: number, frame: Frame): Log {
  return { header: log.header, frames: log.frames.map((old, i) => (i === index ? frame : old)) };
}

/** Holds a state against itself. A content or an embedding with the checksum of another is refused as it is read. */
function holdAgainstItself(state: State): void {
  const refused: SutraError[] = [];
  runSteps(
    checkState(state, 'slots', (what, error) => {
      if (error !== null) refused.push(error);
      else if (refused.length === 0) throw new Error(what);
      return true;
    }),
  );
  if (refused[0] !== undefined) throw refused[0];
}

describe('a hostile log', () => {
  let disk: SimDisk;
  let log: Log;
  let right: string;
  /** What opening the log as it was written allocates. */
  let usualBytes = 0;

  beforeAll(async () => {
    disk = new SimDisk();
    const scenario = new Scenario(disk, seededRandom(seed), OPTIONS, 12, 60);
    const store = scenario.open();
    for (let n = 0; n < 30; n++) await scenario.burst(1);
    right = dumpState(store.state);
    const killed = disk.killed();
    await store.close();
    disk = killed;
    // It says what was synced, and is not under attack here.
    disk.unlink(`${DIRECTORY}/lock`);
    log = parse(Buffer.from(disk.bytesOf(LOG)));
    await outcome(mend(log), true);
    usualBytes = allocated;
  });

  let allocated = 0;

  /** The code of the SutraError, or the text of a state that agrees with itself. Anything else thrown fails the test. */
  async function outcome(bytes: Buffer, readOnly: boolean): Promise<string> {
    const copy = disk.killed();
    copy.put(LOG, bytes);
    const before = process.memoryUsage().arrayBuffers;
    let store: Store | null = null;
    try {
      store = Store.open(DIRECTORY, new SimEnvironment(copy, 3), { ...OPTIONS, readOnly });
      holdAgainstItself(store.state);
      return dumpState(store.state);
    } catch (error) {
      if (error instanceof SutraError) return error.code;
      throw error;
    } finally {
      allocated = process.memoryUsage().arrayBuffers - before;
      await store?.close();
    }
  }

  const tally = { opened: 0, refused: 0 };

  async function attack(hostile: Log, what: string): Promise<void> {
    const bytes = mend(hostile);
    for (const readOnly of [true, false]) {
      let found: string;
      try {
        found = await outcome(bytes, readOnly);
      } catch (error) {
        throw new Error(`${what}, readOnly ${readOnly}, seed ${seed}`, { cause: error });
      }
      expect(allocated, what).toBeLessThan(usualBytes + PAGES + 2 * bytes.length);
      if (/^[A-Z_]+$/.test(found)) {
        expect(['DAMAGED', 'UNSUPPORTED_FORMAT'], what).toContain(found);
        tally.refused++;
      } else tally.opened++;
    }
  }

  test('is made by means that give a right log back as it was', async () => {
    expect(log.frames.length).toBeGreaterThanOrEqual(30);
    expect(mend(log).equals(disk.bytesOf(LOG))).toBe(true);
    expect(await outcome(mend(log), true)).toBe(right);
  });

  test('with any word of a header replaced', async () => {
    for (let at = 0; at < SEGMENT_HEADER - 4; at += 4) {
      for (const value of VALUES) {
        await attack({ ...log, header: withWord(log.header, at, value) }, `header word at ${at}`);
      }
    }
    const { length } = log.frames;
    for (const index of [0, 1, length >> 1, length - 1]) {
      const frame = log.frames[index];
      if (frame === undefined) throw new Error('no frame');
      for (let at = 0; at < PAYLOAD_CRC_AT; at += 4) {
        for (const value of [...VALUES, frame.readUInt32LE(at) + 1, frame.readUInt32LE(at) + 8]) {
          const what = `frame ${index}, header word at ${at} = ${value}`;
          await attack(withFrame(log, index, withWord(frame, at, value)), what);
        }
      }
    }
  }, 300_000);

  test(
    'with any word of a command replaced',
    async () => {
      let word = seed % STRIDE;
      for (const [index, frame] of log.frames.entries()) {
        for (let at = FRAME_HEADER; at < frame.length; at += 4) {
          if (word++ % STRIDE !== 0) continue;
          const was = frame.readUInt32LE(at);
          const values = [...VALUES, (was + 1) >>> 0, (was - 1) >>> 0, (was ^ 0x100) >>> 0];
          for (const value of STRIDE === 1 ? values : [values[((word / STRIDE) % 12) | 0] ?? 0]) {
            const what = `frame ${index}, word at ${at} = ${value}`;
            await attack(withFrame(log, index, withWord(frame, at, value)), what);
          }
        }
      }
    },
    STRIDE === 1 ? 3_600_000 : 300_000,
  );

  test('with frames left out, doubled, swapped, mixed and filled with noise', async () => {
    const random = seededRandom(seed);
    const { frames } = log;
    const pick = (): number => Math.floor(random() * frames.length);
    for (let n = 0; n < 150; n++) {
      const a = pick();
      const b = pick();
      const one = frames[a] ?? Buffer.alloc(0);
      const other = frames[b] ?? Buffer.alloc(0);
      await attack({ ...log, frames: frames.filter((_, i) => i !== a) }, `without frame ${a}`);
      await attack({ ...log, frames: frames.toSpliced(b, 0, one) }, `frame ${a} at ${b} again`);
      await attack({ ...log, frames: frames.with(a, other).with(b, one) }, `${a} for ${b}`);
      // The payload of one behind the header of another, with a length that is right.
      const mixed = Buffer.concat([
        withWord(one, PAYLOAD_BYTES_AT, other.length - FRAME_HEADER).subarray(0, FRAME_HEADER),
        other.subarray(FRAME_HEADER),
      ]);
      await attack(withFrame(log, a, mixed), `payload of ${b} in ${a}`);
      const noise = Buffer.from(one);
      for (let at = FRAME_HEADER; at < noise.length; at++) {
        if (random() < 0.2) noise[at] = Math.floor(random() * 256);
      }
      await attack(withFrame(log, a, noise), `noise in ${a}`);
    }
    console.log(
      `hostile logs: ${tally.refused} refused, ${tally.opened} opened to a whole state, seed ${seed}`,
    );
    expect(tally.refused).toBeGreaterThan(0);
    expect(tally.opened).toBeGreaterThan(0);
  }, 300_000);
});
