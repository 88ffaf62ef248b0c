/**
 * A store's directory as the file system shows it: space, permissions, leftovers, and how fast the disk syncs. Reads, except
 * for one temporary file *beside* the directory, on the same file system, which is written, synced and removed.
 */

import { constants, open, rm, stat, statfs, access, readdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { critical, good, note, size, warning, type Finding } from './finding.js';

const SYNCS = 20;
const SYNC_BYTES = 4096;
/** Disks of servers sync in well under this; group commits wait for it. */
const SLOW_SYNC_MS = 20;
const BAD_SYNC_MS = 200;
const FEW_INODES = 1000;

interface Sizes {
  readonly snapshotBytes: number;
  readonly logBytes: number;
}

/** The next checkpoint writes storage.dat anew beside the old one. */
export async function checkSpace(directory: string, sizes: Sizes): Promise<Finding> {
  const { bavail, bsize, files, ffree } = await statfs(directory);
  const free = bavail * bsize;
  const needed = sizes.snapshotBytes + sizes.logBytes;
  const has = `${size(free)} free, the next checkpoint takes up to ${size(needed)}`;
  const remedy = 'Free space on that disk, or move the store to a larger one.';
  if (free < needed) return critical('disk space', has, remedy);
  if (files > 0 && ffree < FEW_INODES) {
    return warning('disk space', `only ${ffree} files more can be made there`, remedy);
  }
  if (free < 3 * needed) return warning('disk space', has, remedy);
  return good('disk space', has);
}

/** Whoever serves it must be able to write; nobody else should be able to read. */
export async function checkPermissions(directory: string): Promise<Finding> {
  const check = 'permissions';
  const open: string[] = [];
  const foreign: string[] = [];
  const { uid, mode } = await stat(directory);
  if ((mode & 0o077) !== 0) open.push('.');
  for (const name of await readdir(directory)) {
    const found = await stat(join(directory, name)).catch(() => null);
    // Gone since it was listed: a segment that a checkpoint removed.
    if (found === null) continue;
    if ((found.mode & 0o077) !== 0 && (mode & 0o077) !== 0) open.push(name);
    if (found.uid !== uid) foreign.push(name);
  }
  const place = resolve(directory);
  if (foreign.length > 0) {
    const remedy = `Give all of it to one owner: chown -R --reference='${place}' '${place}'`;
    return warning(check, `${sample(foreign)} belong to another user than the directory`, remedy);
  }
  if (open.length > 0) {
    const remedy = `Close it: chmod -R go-rwx '${place}'`;
    return warning(check, 'other users of this machine can read the store', remedy);
  }
  try {
    await access(directory, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch {
    return note(check, 'you may not write to it; whoever serves it must');
  }
  return good(check, 'only its owner can read and write it');
}

function sample(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(', ');
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}

/** What crashes, repairs and copies leave behind. */
export async function checkLeftovers(directory: string, held: boolean): Promise<Finding> {
  const names = await readdir(directory);
  const torn = names.filter((name) => name.endsWith('.torn') || name.startsWith('repair-'));
  const temporary = held ? [] : names.filter((name) => /\.(tmp|restore)$/.test(name));
  const check = 'leftovers';
  if (torn.length > 0) {
    return note(
      check,
      `${sample(torn)}: kept aside by a recovery or a repair`,
      'Look at what the log said of it, then delete it.',
    );
  }
  if (temporary.length > 0) {
    return note(
      check,
      `${sample(temporary)}: of something that was interrupted`,
      'The next start removes it.',
    );
  }
  return good(check, 'none');
}

/** Writes and syncs a small file beside the store, as a group commit would. */
export async function checkSync(directory: string): Promise<Finding> {
  const check = 'sync latency';
  const beside = dirname(resolve(directory));
  if ((await stat(beside)).dev !== (await stat(directory)).dev) {
    return note(check, `not measured: ${beside} is on another file system than the store`);
  }
  const path = join(beside, `.sutra-doctor-${process.pid}.tmp`);
  const bytes = new Uint8Array(SYNC_BYTES);
  const times: number[] = [];
  let file;
  try {
    file = await open(path, 'wx', 0o600);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return note(check, `not measured: ${why}`, 'Run it as a user who may write there.');
  }
  try {
    for (let n = 0; n < SYNCS; n++) {
      const start = performance.now();
      await file.write(bytes, 0, bytes.length, n * SYNC_BYTES);
      await file.datasync();
      times.push(performance.now() - start);
    }
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
  times.sort((a, b) => a - b);
  const middle = times[times.length >> 1] ?? 0;
  const worst = times.at(-1) ?? 0;
  const what = `a sync takes ${ms(middle)}, at worst ${ms(worst)}: ${SYNCS} of a temporary file in ${beside}`;
  const remedy =
    'Every durable write waits for that. Batch writes or send many at once, look for what else uses the disk, or use a ' +
    'faster one; --durability interval if a power cut may cost the interval.';
  if (middle > BAD_SYNC_MS) return critical(check, what, remedy);
  return middle > SLOW_SYNC_MS ? warning(check, what, remedy) : good(check, what);
}

function ms(value: number): string {
  return `${value < 10 ? value.toFixed(2) : Math.round(value)} ms`;
}
