/**
 * Files that are not what was written (the fault matrix, rows 6 and 7): a log cut off at every byte, and every byte of log and
 * snapshot flipped. What opens all the same, opens to a state that once was: the whole frames before the cut or the flip,
 * with a line in the log, or all of it. Everything else is refused as DAMAGED or UNSUPPORTED_FORMAT, at the latest when
 * the damaged byte is read.
 *
 * SUTRA_FLIP_STRIDE: every so manieth byte (default 16; 1 is every byte), from a random first one; SUTRA_FLIP_BITS: a random bit in each
 * (default 1), or every bit (8), of a shorter history.
 */

import { beforeAll, describe, expect, test } from 'vitest';

import { SutraError } from '#sutra/errors';
import { decodeFrameHeader, headerSeed, FrameKind } from '#sutra/engine/format/frame';
import { Store } from '#sutra/engine/store';

import { dumpState } from '../support/history.js';
import { seededRandom, testSeed } from '../support/random.js';
import { DIRECTORY, Scenario, STORE_OPTIONS } from '../support/scenario.js';
import { SimDisk } from '../support/sim-disk.js';
import { SimEnvironment } from '../support/sim-environment.js';
import { checkState } from '../support/whole-store.js';

const STRIDE = Number(process.env['SUTRA_FLIP_STRIDE'] ?? 16);
const EVERY_BIT = process.env['SUTRA_FLIP_BITS'] === '8';
const FLIP_TIMEOUT_MS = 600_000 * Math.ceil(16 / STRIDE) * (EVERY_BIT ? 8 : 1);
const OPTIONS = { ...STORE_OPTIONS, threshold: 1_000_000 };
const LOCK = `${DIRECTORY}/lock`;
const SNAPSHOT = `${DIRECTORY}/storage.dat`;
const PREVIOUS = `${DIRECTORY}/storage.dat.prev`;

function segment(ordinal: number): string {
  return `${DIRECTORY}/wal-${String(ordinal).padStart(10, '0')}.log`;
}

const seed = testSeed();

/** A store that was killed, and what it was at each sequence. */
interface Fixture {
  readonly disk: SimDisk;
  readonly scenario: Scenario;
  readonly sequence: number;
}

async function make(bursts: number, flushes: readonly number[], close: boolean): Promise<Fixture> {
  const disk = new SimDisk();
  // Short contents, so that every byte of the log is soon tried.
  const scenario = new Scenario(disk, seededRandom(seed), OPTIONS, 10, 60);
  const store = scenario.open();
  for (let n = 0; n < bursts; n++) {
    if (flushes.includes(n)) await store.flush();
    await scenario.burst(1);
  }
  const killed = disk.killed();
  await store.close();
  return { disk: close ? disk.killed() : killed, scenario, sequence: scenario.madeSequence };
}

/** Offsets at which a frame of the segment ends, with the sequence that it ends with and its kind. */
function framesOf(bytes: Uint8Array): { end: number; sequence: number; kind: number }[] {
  const seedOfStore = headerSeed(bytes.subarray(16, 32));
  const frames: { end: number; sequence: number; kind: number }[] = [];
  for (let at = 64; at < bytes.length;) {
    const header = decodeFrameHeader(bytes, at, seedOfStore);
    if (header === null) throw new Error(`no frame at ${at}`);
    at += 48 + header.payloadBytes;
    const sequence = header.firstSequence + header.count - 1;
    frames.push({ end: at, sequence, kind: header.kind });
  }
  return frames;
}

/** Of a history whose bytes are flipped: with every bit of them it would take hours at its whole length. */
function length(bursts: number): number {
  return EVERY_BIT ? Math.ceil(bursts / 3) : bursts;
}

interface Opened {
  /** null: it opened, and all of it was read. */
  readonly code: string | null;
  readonly sequence: number;
  readonly text: string;
  readonly isLoud: boolean;
}

/** Opens, and reads everything; closes a writer again. */
async function openAndRead(disk: SimDisk, readOnly: boolean): Promise<Opened> {
  const environment = new SimEnvironment(disk, 3);
  let store: Store | null = null;
  let opened: Opened;
  try {
    store = Store.open(DIRECTORY, environment, { ...OPTIONS, readOnly });
    checkState(store.state);
    const text = dumpState(store.state);
    // Blocks that no answer needs are for the background verification to find.
    const { base } = store.state.levels;
    while (base !== null && !base.verifyRest(64));
    const isLoud = environment.logged.some((line) => !line.startsWith('info'));
    opened = { code: null, sequence: store.state.sequence, text, isLoud };
  } catch (error) {
    if (!(error instanceof SutraError)) throw error;
    opened = { code: error.code, sequence: -1, text: '', isLoud: true };
  }
  await store?.close();
  if (disk.openFiles.size > 0) throw new Error('files are open after close');
  return opened;
}

describe('a log that is cut off', () => {
  let fixture: Fixture;
  let bytes: Uint8Array;
  let frames: ReturnType<typeof framesOf>;

  beforeAll(async () => {
    fixture = await make(56, [], false);
    bytes = fixture.disk.bytesOf(segment(1));
    frames = framesOf(bytes);
  });

  function cutAt(offset: number, keepLock: boolean): SimDisk {
    const copy = fixture.disk.killed();
    copy.put(segment(1), bytes.subarray(0, offset));
    if (!keepLock) copy.unlink(LOCK);
    return copy;
  }

  test('at every byte gives exactly the whole frames before it, and goes on from there', async () => {
    expect(frames.length).toBeGreaterThanOrEqual(50);
    for (let offset = 0; offset <= bytes.length; offset++) {
      const expected = frames.filter(({ end }) => end <= offset).at(-1)?.sequence ?? 0;
      const disk = cutAt(offset, false);
      const opened = await openAndRead(disk, false);
      const where = `cut at ${offset}: ${JSON.stringify({ ...opened, text: '' })}`;
      expect(opened.code, where).toBeNull();
      expect(opened.sequence, where).toBe(expected);
      expect(opened.text, where).toBe(fixture.scenario.expected(expected));
      const isWhole = offset === 64 || frames.some(({ end }) => end === offset);
      expect(opened.isLoud, where).toBe(!isWhole);
      if (offset % 7 === 0) {
        const again = await openAndRead(disk, true);
        expect(again.sequence, where).toBe(expected);
        expect(again.isLoud, where).toBe(false);
      }
    }
    console.log(`truncation: ${bytes.length + 1} offsets of ${frames.length} frames, seed ${seed}`);
  }, 300_000);

  test('is DAMAGED at every byte when the lock file says that more was synced', async () => {
    const last = frames.at(-2)?.end ?? 0;
    for (let offset = 0; offset < bytes.length; offset += offset < last ? 3 : 1) {
      for (const readOnly of [false, true]) {
        const opened = await openAndRead(cutAt(offset, true), readOnly);
        expect(opened.code, `cut at ${offset}, readOnly ${readOnly}`).toBe('DAMAGED');
      }
    }
  }, 300_000);

  test('is DAMAGED at every byte when it is sealed', async () => {
    const sealed = await make(20, [19], false);
    const whole = sealed.disk.bytesOf(segment(1));
    const through = framesOf(whole)
      .filter(({ kind }) => kind === FrameKind.Commands)
      .at(-1);
    for (let offset = 0; offset < whole.length; offset++) {
      const copy = sealed.disk.killed();
      copy.put(segment(1), whole.subarray(0, offset));
      copy.unlink(LOCK);
      // Only the log tells, from its beginning.
      copy.unlink(SNAPSHOT);
      const opened = await openAndRead(copy, false);
      // Of the seal itself nothing depends: the segment behind it says as much.
      if (offset >= (through?.end ?? 0)) {
        expect(opened.text, `cut at ${offset}`).toBe(sealed.scenario.expected(sealed.sequence));
      } else {
        expect(opened.code, `cut at ${offset}`).toBe('DAMAGED');
      }
    }
  }, 300_000);
});

describe('a flipped bit', () => {
  /** Flips a random bit in every STRIDE-th byte of a file, and asks `judge` about what opens. */
  async function flipAll(
    fixture: Fixture,
    path: string,
    judge: (opened: Opened, offset: number) => void,
    change: (disk: SimDisk) => void = () => undefined,
  ): Promise<number> {
    const random = seededRandom(seed);
    const bytes = fixture.disk.bytesOf(path);
    let flips = 0;
    for (let at = seed % STRIDE; at < bytes.length; at += STRIDE) {
      const bits = EVERY_BIT ? [0, 1, 2, 3, 4, 5, 6, 7] : [Math.floor(random() * 8)];
      for (const bit of bits) {
        const flipped = bytes.slice();
        flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
        for (const readOnly of [true, false]) {
          const copy = fixture.disk.killed();
          copy.put(path, flipped);
          change(copy);
          judge(await openAndRead(copy, readOnly), at);
          flips++;
        }
      }
    }
    expect(flips).toBeGreaterThan(0);
    return flips;
  }

  /** Refused, or a state that once was, with a loud line unless it is the last one. */
  function judge(fixture: Fixture, least: number) {
    return (opened: Opened, offset: number): void => {
      const where = `flipped at ${offset}: ${JSON.stringify({ ...opened, text: '' })}, seed ${seed}`;
      if (opened.code !== null) {
        expect(['DAMAGED', 'UNSUPPORTED_FORMAT'], where).toContain(opened.code);
        return;
      }
      expect(opened.sequence, where).toBeGreaterThanOrEqual(least);
      expect(opened.text, where).toBe(fixture.scenario.expected(opened.sequence));
    };
  }

  const forget = (disk: SimDisk): void => {
    disk.unlink(LOCK);
  };

  test(
    'in an unsealed log costs at most the last frame, and only when nobody remembers it',
    async () => {
      const fixture = await make(length(40), [], false);
      const frames = framesOf(fixture.disk.bytesOf(segment(1)));
      const beforeLast = frames.at(-2)?.sequence ?? 0;
      const lastStart = frames.at(-2)?.end ?? 0;
      const plain = judge(fixture, beforeLast);
      const flips = await flipAll(
        fixture,
        segment(1),
        (opened, offset) => {
          plain(opened, offset);
          const where = `flipped at ${offset}: ${JSON.stringify({ ...opened, text: '' })}`;
          if (offset < lastStart) expect(opened.code, where).toBe('DAMAGED');
          else expect(opened.sequence, where).toBe(beforeLast);
        },
        forget,
      );
      const strict = await flipAll(fixture, segment(1), (opened, offset) => {
        expect(opened.code, `flipped at ${offset}`).toBe('DAMAGED');
      });
      console.log(`flips: unsealed log: ${flips + strict}, seed ${seed}`);
    },
    FLIP_TIMEOUT_MS,
  );

  test(
    'in a log that was closed costs nothing or is refused',
    async () => {
      const fixture = await make(length(12), [], true);
      const frames = framesOf(fixture.disk.bytesOf(segment(1)));
      expect(frames.at(-1)?.kind).toBe(FrameKind.Closed);
      const flips = await flipAll(fixture, segment(1), judge(fixture, fixture.sequence), forget);
      console.log(`flips: closed log: ${flips}, seed ${seed}`);
    },
    FLIP_TIMEOUT_MS,
  );

  test(
    'in a sealed log, or the one behind it, costs nothing or is refused',
    async () => {
      const fixture = await make(length(24), [length(12)], false);
      const withoutSnapshot = (disk: SimDisk): void => {
        disk.unlink(SNAPSHOT);
        disk.unlink(LOCK);
      };
      const least = framesOf(fixture.disk.bytesOf(segment(2))).at(-2)?.sequence ?? 0;
      let flips = await flipAll(
        fixture,
        segment(1),
        judge(fixture, fixture.sequence),
        withoutSnapshot,
      );
      flips += await flipAll(fixture, segment(2), judge(fixture, least), withoutSnapshot);
      // The snapshot stands for all of the first one, which is not even looked at.
      flips += await flipAll(fixture, segment(1), (opened) => {
        expect(opened.text).toBe(fixture.scenario.expected(fixture.sequence));
      });
      console.log(`flips: sealed log: ${flips}, seed ${seed}`);
    },
    FLIP_TIMEOUT_MS,
  );

  test(
    'in storage.dat is refused, or storage.dat.prev and the log take its place, loudly',
    async () => {
      const fixture = await make(length(30), [length(10), length(20), length(25)], false);
      for (const withPrevious of [false, true]) {
        const flips = await flipAll(
          fixture,
          SNAPSHOT,
          (opened, offset) => {
            judge(fixture, fixture.sequence)(opened, offset);
            const where = `flipped at ${offset}: ${JSON.stringify({ ...opened, text: '' })}`;
            // Every byte belongs to something that has a checksum, so none can be flipped in silence.
            expect(opened.code !== null || (withPrevious && opened.isLoud), where).toBe(true);
          },
          withPrevious ? () => undefined : (disk) => disk.unlink(PREVIOUS),
        );
        console.log(`flips: storage.dat, prev ${withPrevious}: ${flips}, seed ${seed}`);
      }
    },
    FLIP_TIMEOUT_MS,
  );

  test(
    'in the lock file never loses anything',
    async () => {
      const fixture = await make(length(20), [length(10)], false);
      await flipAll(fixture, LOCK, (opened) => {
        expect(opened.text).toBe(fixture.scenario.expected(fixture.sequence));
      });
    },
    FLIP_TIMEOUT_MS,
  );
});
