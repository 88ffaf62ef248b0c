/**
 * The examination behind `sutra doctor`: of a directory, beside whoever writes to it, and of the server that holds it when there is
 * one; or of a server alone, from afar. It never changes anything in the store. Of the data it looks at as much as the time
 * allows; a server's data only through its directory, since a scan through the server begins with a flush.
 */

import { isIP } from 'node:net';
import { stat } from 'node:fs/promises';
import { toSutraError } from '../errors.js';
import { parseAddress, type Address } from '../storage/address.js';
import { readHolder, type StoreHolder } from '../storage/maintenance.js';
import { openStorage } from '../storage/open.js';
import type { Storage } from '../storage/storage.js';
import { Census } from './census.js';
import { checkLeftovers, checkPermissions, checkSpace, checkSync } from './directory.js';
import { counted, critical, good, note, type Finding } from './finding.js';
import { checkRecall } from './recall.js';
import {
  checkClock,
  checkHealth,
  checkTrends,
  judgeExposure,
  listensBeyondLoopback,
  peekCertificate,
} from './server.js';

const TRENDS_APART_MS = 2_000;

export interface ExamineOptions {
  /** For looking at the data. */
  readonly budgetMs: number;
  /** For one call. */
  readonly timeoutMs: number;
  /** Opens a connection as the caller would, with its token and certificates. */
  readonly connect: (address: Address) => Promise<Storage>;
  /** Opens one as somebody would who trusts the server and has neither a token nor a certificate. */
  readonly connectAsStranger: (address: Address) => Promise<Storage>;
}

export interface Examination {
  readonly findings: readonly Finding[];
  /** Null: no data were looked at. */
  readonly examined: {
    readonly concepts: number;
    readonly associations: number;
    readonly vectors: number;
    readonly complete: boolean;
  } | null;
}

export async function examineServer(address: Address, options: ExamineOptions): Promise<Finding[]> {
  const { connect, connectAsStranger, timeoutMs } = options;
  const storage = await connect(address);
  try {
    const health = await storage.healthCheck({ timeoutMs });
    const stats = await storage.stats({ timeoutMs });
    const findings = [checkHealth(health), checkClock(stats, Date.now())];
    findings.push(...(await checkTrends(() => storage.stats({ timeoutMs }), TRENDS_APART_MS)));
    const stranger = await connectAsStranger(address);
    return findings.concat(await exposureOf(address, stranger, timeoutMs));
  } finally {
    await storage.close();
  }
}

async function exposureOf(
  address: Address,
  stranger: Storage,
  timeoutMs: number,
): Promise<Finding[]> {
  const certificate = await peekCertificate(address);
  const here = isLoopbackHost(address.host);
  const reachable = here ? ((await listensBeyondLoopback(address.port)) ?? false) : true;
  const anybody = await answersAnybody(stranger, timeoutMs);
  return judgeExposure({ certificate, anybody, reachable }, address, Date.now());
}

/** Does the server tell its figures to somebody it cannot know? Closes the connection. */
async function answersAnybody(stranger: Storage, timeoutMs: number): Promise<boolean> {
  try {
    await stranger.stats({ timeoutMs });
    return true;
  } catch {
    // However it was refused: it does not answer anybody.
    return false;
  } finally {
    await stranger.close();
  }
}

function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** @throws NO_SUCH_DIRECTORY, NOT_A_STORE, NOT_PERMITTED: there is nothing to examine */
export async function examineDirectory(
  directory: string,
  options: ExamineOptions,
): Promise<Examination> {
  const holder = readHolder(directory);
  const findings: Finding[] = [lockFinding(holder)];
  const served = holder?.address ?? null;
  const address = served === null ? null : parseAddress(served, 'lock');

  let reader: Storage | null = null;
  let examined: Examination['examined'] = null;
  try {
    reader = await openStorage({ mode: 'embedded', path: directory }, { access: 'read' });
  } catch (error) {
    const { code, message, hint } = toSutraError(error);
    if (code !== 'DAMAGED' && code !== 'UNSUPPORTED_FORMAT') throw error;
    findings.push(critical('data', message, hint));
  }
  try {
    findings.push(...(await directoryFindings(directory, reader, holder !== null)));
    if (address !== null) findings.push(...(await serverBeside(address, options)));
    if (reader !== null) {
      const census = await takeCensus(reader, options.budgetMs);
      const { concepts, associations, vectors, complete } = census;
      examined = { concepts, associations, vectors, complete };
      findings.push(...census.findings(Date.now()));
      const recall = await checkRecall(reader, census, options.timeoutMs);
      if (recall !== null) findings.push(recall);
      if (!complete) findings.push(partial(census, options.budgetMs));
    }
  } catch (error) {
    const { code, message, hint } = toSutraError(error);
    if (code !== 'DAMAGED') throw error;
    findings.push(critical('data', message, hint));
  } finally {
    await reader?.close();
  }
  return { findings, examined };
}

function lockFinding(holder: StoreHolder | null): Finding {
  if (holder === null) return good('lock', 'nobody writes to it');
  const who = holder.pid === null ? 'another process' : `process ${holder.pid}`;
  if (holder.address === null) {
    return note('lock', `${who} writes to it, and does not serve it`);
  }
  return good('lock', `${who} serves it at ${holder.address}`);
}

async function directoryFindings(
  directory: string,
  reader: Storage | null,
  held: boolean,
): Promise<Finding[]> {
  const sizes = await sizesOf(directory, reader);
  return [
    await checkSpace(directory, sizes),
    await checkPermissions(directory),
    await checkLeftovers(directory, held),
    await checkSync(directory),
  ];
}

async function sizesOf(directory: string, reader: Storage | null) {
  if (reader === null) {
    const snapshot = await stat(`${directory}/storage.dat`).catch(() => null);
    return { snapshotBytes: snapshot?.size ?? 0, logBytes: 0 };
  }
  const { snapshotBytes, walBytes } = await reader.stats();
  return { snapshotBytes, logBytes: walBytes };
}

/** The directory's own checks have said what is true of its disk; and it may just be stopping. */
async function serverBeside(address: Address, options: ExamineOptions): Promise<Finding[]> {
  try {
    const findings = await examineServer(address, options);
    return findings.filter(({ check }) => check !== 'disk space');
  } catch (error) {
    const { message, hint } = toSutraError(error);
    return [critical('server', message, hint)];
  }
}

/** Half the time for concepts and what follows them; where that is not enough, the other half for associations. */
async function takeCensus(reader: Storage, budgetMs: number): Promise<Census> {
  const census = new Census();
  const startMs = performance.now();
  const past = (share: number): boolean => performance.now() > startMs + budgetMs * share;
  for await (const page of reader.scan()) {
    const room = census.add(page);
    if (room && page.resume === null) census.complete = true;
    // Once it is among the associations it may take all the time there is.
    if (!room || past(census.associations > 0 ? 1 : 0.5)) break;
  }
  if (census.complete || census.associations > 0) return census;
  for await (const page of reader.scan({ kinds: 'associations' })) {
    if (!census.addBeyond(page) || past(1)) break;
  }
  return census;
}

function partial(census: Census, budgetMs: number): Finding {
  const seen = `${counted(census.concepts, 'concept')} and ${counted(census.associations, 'association')}`;
  return note(
    'data',
    `only ${seen} were looked at, in ${budgetMs / 1000} s: what is said of data is said of these`,
    'Give it longer with --budget; islands and dangling associations need all of the data.',
  );
}
