/** Packages that sutra is compared with: where they are installed, and what is said when one cannot be had here. */

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PEERS = fileURLToPath(new URL('../peers', import.meta.url));
const PACKAGES = ['lmdb', 'better-sqlite3', 'graphology', 'graphology-shortest-path'];

/** What stands in the way of a comparison, in a few words. */
export interface Unavailable {
  readonly unavailable: string;
}

/** From the package registry only: no install scripts, which would fetch or compile binaries from elsewhere. */
export function installPeers(say: (text: string) => void): boolean {
  if (PACKAGES.every((name) => existsSync(join(PEERS, 'node_modules', name)))) return true;
  say(`installing ${PACKAGES.join(', ')} into bench/peers`);
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'];
  const { status } = spawnSync('npm', args, { cwd: PEERS, stdio: ['ignore', 'ignore', 'pipe'] });
  return status === 0;
}

export function requirePeer(name: string): unknown {
  return createRequire(join(PEERS, 'package.json'))(name);
}

/** What `load` gives, or why it does not. */
export async function tried<T>(load: () => T | Promise<T>): Promise<T | Unavailable> {
  try {
    return await load();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { unavailable: message.split(/[.]?\s*(?:Tried:)?\n/, 1)[0] ?? '' };
  }
}

export function isUnavailable(answer: object): answer is Unavailable {
  return 'unavailable' in answer;
}

/** Of all files in a directory. */
export function bytesIn(directory: string): number {
  return readdirSync(directory)
    .map((name) => statSync(join(directory, name)).size)
    .reduce((sum, bytes) => sum + bytes, 0);
}

export interface PeerWrites {
  readonly name: string;
  readonly conceptsPerSecond: number;
  readonly associationsPerSecond: number;
}

export interface PeerGraph {
  readonly seconds: number;
  readonly bytes: number;
}
