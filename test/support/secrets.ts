/** The certificates and the tokens that tests of TLS and tokens use. */

import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from './fixture.js';

export const FULL_TOKEN = 'full-token-0123456789';
export const READ_TOKEN = 'read-token-0123456789';

/** The path of one of those in test/support/certificates. */
export function certificate(name: string): string {
  return fileURLToPath(new URL(`./certificates/${name}`, import.meta.url));
}

export function pem(name: string): string {
  return readFileSync(certificate(name), 'utf8');
}

/** A file with this in it that only its owner may read. */
export function secretFile(text: string, mode = 0o600): string {
  const path = join(temporaryDirectory('secret'), 'token');
  writeFileSync(path, text, { mode: 0o600 });
  chmodSync(path, mode);
  return path;
}
