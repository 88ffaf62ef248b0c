/**
 * A running server as its clients see it: health, clock, what its counters do over a few seconds, who may reach it, and how long
 * its certificate lasts. Asks only; the counters are its own.
 */

import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { latencyQuantileUs, latenciesSince } from '../latency.js';
import { formatAddress, type Address } from '../storage/address.js';
import type { HealthAnswer, StorageStats } from '../storage/storage.js';
import { counted, critical, good, note, size, warning, type Finding } from './finding.js';

const CLOCK_SKEW_S = 5;
const CERTIFICATE_WARN_DAYS = 21;
const TLS_TIMEOUT_MS = 3_000;
const DAY_MS = 86_400_000;

export function checkHealth(health: HealthAnswer): Finding {
  if (health.healthy) return good('health', 'the store says that it is well');
  return critical('health', health.status, 'See docs/OPERATIONS.md, "When something is wrong".');
}

/** The server's clock against ours, as far as a call's time lets us say. */
export function checkClock(stats: StorageStats, nowMs: number): Finding {
  const { server } = stats;
  if (server === undefined) return note('clock', 'the server does not tell when it started');
  // Uptime is in whole seconds, and of the store, which opened just before the server began.
  const skew = server.startUs / 1e6 + stats.uptimeSeconds - nowMs / 1000;
  const rounded = Math.round(skew);
  if (Math.abs(skew) <= CLOCK_SKEW_S) return good('clock', 'agrees with this machine’s');
  const what = `the server’s clock and this machine’s differ by about ${counted(Math.abs(rounded), 'second')}`;
  return warning('clock', what, 'Set both by NTP; times of concepts come from the server’s.');
}

/** Takes two looks, `apartMs` apart, and judges what moved between them. */
export async function checkTrends(
  look: () => Promise<StorageStats>,
  apartMs: number,
): Promise<Finding[]> {
  const first = await look();
  await sleep(apartMs);
  return judgeTrends(first, await look());
}

export function judgeTrends(first: StorageStats, last: StorageStats): Finding[] {
  const findings: Finding[] = [];
  const dropped = last.dropped - first.dropped;
  const queue = last.pendingLimitBytes > 0 ? last.pendingBytes / last.pendingLimitBytes : 0;
  const pending = `${counted(last.pending, 'write')} (${size(last.pendingBytes)}) on the way to the disk`;
  const slower = 'Send fewer at once or in batches; look at the sync latency.';
  if (dropped > 0) {
    findings.push(
      critical('pending', `${counted(dropped, 'write')} refused just now: ${pending}`, slower),
    );
  } else if (queue > 0.5 || (queue > 0.1 && last.pendingBytes > 1.5 * first.pendingBytes)) {
    findings.push(warning('pending', `${pending}, and growing`, slower));
  } else {
    findings.push(good('pending', pending));
  }

  const { checkpoint, memtableWrites, memtableThreshold } = last;
  const filled = memtableThreshold > 0 ? memtableWrites / memtableThreshold : 0;
  const memtable = `${memtableWrites.toLocaleString('en-US')} of ${counted(memtableThreshold, 'write')} until the next`;
  if (checkpoint.lastError !== '') {
    findings.push(
      critical(
        'checkpoint',
        `the last one failed: ${checkpoint.lastError}`,
        'The log is kept and grows until one succeeds: remove the cause that is named, then `sutra flush`.',
      ),
    );
  } else if (filled > 2 && last.snapshotSequence === first.snapshotSequence) {
    const remedy = 'Writes come faster than checkpoints: raise --threshold, or use a faster disk.';
    findings.push(warning('checkpoint', `behind: ${memtable}`, remedy));
  } else {
    const running = checkpoint.running ? ', one is running' : '';
    findings.push(good('checkpoint', memtable + running));
  }
  if (last.server !== undefined && first.server !== undefined) {
    findings.push(...judgeProcess(first, last, first.server, last.server));
  }
  return findings;
}

type Process = NonNullable<StorageStats['server']>;

function judgeProcess(
  first: StorageStats,
  last: StorageStats,
  before: Process,
  now: Process,
): Finding[] {
  const findings: Finding[] = [];
  const active = now.loopActiveUs - before.loopActiveUs;
  const idle = now.loopIdleUs - before.loopIdleUs;
  const busy = active + idle > 0 ? active / (active + idle) : 0;
  const delays = latenciesSince(now.loopDelay, before.loopDelay);
  const delayMs = (latencyQuantileUs(delays, 0.99, last.latencyBoundsUs) ?? 0) / 1000;
  const load = `${Math.round(busy * 100)}% of its time busy, p99 of its event loop’s delay ${Math.round(delayMs)} ms`;
  if (busy > 0.95 || delayMs > 500) {
    const remedy = '`sutra top` shows which calls take it; use batches, lower limits, fewer hops.';
    findings.push(warning('load', load, remedy));
  } else {
    findings.push(good('load', load));
  }
  const needed = last.snapshotBytes + last.walBytes;
  if (now.diskTotalBytes > 0) {
    const has = `${size(now.diskFreeBytes)} free, the next checkpoint takes up to ${size(needed)}`;
    const remedy = 'Free space on that disk, or move the store to a larger one.';
    if (now.diskFreeBytes < needed) findings.push(critical('disk space', has, remedy));
    else if (now.diskFreeBytes < 3 * needed) findings.push(warning('disk space', has, remedy));
    else findings.push(good('disk space', has));
  }
  const syncMs = (latencyQuantileUs(last.syncLatency, 0.99, first.latencyBoundsUs) ?? 0) / 1000;
  if (syncMs > 0) {
    const what = `p99 of the server’s syncs since its start: ${syncMs < 10 ? syncMs.toFixed(2) : Math.round(syncMs)} ms`;
    findings.push(
      syncMs > 200
        ? warning('syncs', what, 'Look for what else uses the disk, or use a faster one.')
        : good('syncs', what),
    );
  }
  if (now.connectionsRefused > before.connectionsRefused) {
    findings.push(
      warning(
        'connections',
        `refused just now: ${counted(now.connections, 'connection')} open already`,
        'Let clients share connections: one carries 100 calls at once.',
      ),
    );
  }
  return findings;
}

export interface Exposure {
  /** Null: it speaks plaintext. */
  readonly certificate: { readonly validTo: string; readonly subject: string } | null;
  /** A caller without a token and a certificate is answered. */
  readonly anybody: boolean;
  /** Others than this machine can reach it. */
  readonly reachable: boolean;
}

/** Looks at the socket: does it speak TLS, and with which certificate? */
export function peekCertificate({ host, port }: Address): Promise<Exposure['certificate']> {
  return new Promise((resolve) => {
    const socket = connectTls({
      host,
      port,
      ALPNProtocols: ['h2'],
      // Only looked at: nothing is sent, whoever it is.
      rejectUnauthorized: false,
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
    const end = (certificate: Exposure['certificate']): void => {
      socket.destroy();
      resolve(certificate);
    };
    socket.setTimeout(TLS_TIMEOUT_MS, () => end(null));
    socket.once('error', () => end(null));
    socket.once('secureConnect', () => {
      const { valid_to: validTo, subject } = socket.getPeerCertificate();
      const name: unknown = subject.CN;
      end({ validTo, subject: typeof name === 'string' ? name : '' });
    });
  });
}

export function judgeExposure(exposure: Exposure, address: Address, nowMs: number): Finding[] {
  const { certificate, anybody, reachable } = exposure;
  const findings: Finding[] = [];
  const where = formatAddress(address.host, address.port);
  const remedy = 'Serve with --tls-cert and --tls-key and with tokens, or with --host 127.0.0.1.';
  if (reachable && anybody) {
    const how = certificate === null ? 'without TLS or a token' : 'without a token';
    findings.push(
      warning('open bind', `${where}: whoever reaches it reads and writes, ${how}`, remedy),
    );
  } else if (reachable && certificate === null) {
    findings.push(warning('open bind', `${where}: all that is said can be overheard`, remedy));
  } else {
    const why = reachable ? 'it asks who calls' : 'only this machine reaches it';
    findings.push(good('open bind', why));
  }
  if (certificate !== null) {
    const days = Math.floor((Date.parse(certificate.validTo) - nowMs) / DAY_MS);
    const renew = 'Renew it and let the server read it again.';
    const until = `of ${JSON.stringify(certificate.subject)}, until ${certificate.validTo}`;
    if (!(days >= 0)) findings.push(critical('certificate', `has expired: ${until}`, renew));
    else if (days < CERTIFICATE_WARN_DAYS) {
      findings.push(warning('certificate', `expires in ${counted(days, 'day')}: ${until}`, renew));
    } else findings.push(good('certificate', `${counted(days, 'day')} to go: ${until}`));
  }
  return findings;
}

/** Whether something else than loopback listens on a port of this machine; null: this system does not say. */
export async function listensBeyondLoopback(port: number): Promise<boolean | null> {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  let found: boolean | null = null;
  for (const table of ['tcp', 'tcp6']) {
    const text = await readFile(`/proc/net/${table}`, 'utf8').catch(() => '');
    for (const line of text.split('\n').slice(1)) {
      const [, local = '', , state = ''] = line.trim().split(/\s+/);
      const [ip = '', hex = ''] = local.split(':');
      // 0A is LISTEN.
      if (state !== '0A' || hex !== wanted) continue;
      found = (found ?? false) || !isLoopback(ip);
    }
  }
  return found;
}

/** Addresses as the kernel prints them: 32-bit words in the machine's order, little-endian on ours. */
function isLoopback(hex: string): boolean {
  if (hex.length === 8) return hex.endsWith('7F');
  return hex === '00000000000000000000000001000000' || /^0{16}FFFF0000[0-9A-F]{6}7F$/.test(hex);
}
