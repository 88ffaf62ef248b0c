/**
 * How an error travels. Its gRPC status and message go the ordinary way; three trailers carry the rest, so that the remote
 * backend throws what the embedded one would have: `sutra-code` (the stable code), `sutra-hint-bin` (UTF-8) and
 * `grpc-status-details-bin` (a google.rpc.Status holding a google.rpc.BadRequest, see proto/google/rpc).
 *
 * Clients refuse long headers (grpc's C core at 8 KiB over all of them), and an error that cannot be received is worth
 * nothing: message and violations are cut to fit. At worst 3 * 768 bytes of percent-encoded message, 4/3 * 3,072 bytes of
 * base64 details and a hint of some 300 bytes stay below 7 KiB.
 */

import { STATUS, type FieldViolation, type SutraError } from '../errors.js';
import { WireError, WireReader } from './reader.js';
import { WireWriter } from './writer.js';

export const CODE_TRAILER = 'sutra-code';
export const HINT_TRAILER = 'sutra-hint-bin';
export const DETAILS_TRAILER = 'grpc-status-details-bin';

const BAD_REQUEST_URL = 'type.googleapis.com/google.rpc.BadRequest';
const MAX_MESSAGE_BYTES = 768;
const MAX_HINT_BYTES = 300;
const MAX_DETAILS_BYTES = 3072;

export interface ErrorTrailers {
  /** A google.rpc.Code. */
  readonly status: (typeof STATUS)[keyof typeof STATUS];
  readonly message: string;
  readonly code: string;
  readonly hint: Buffer;
  /** null when there is nothing to say beyond the message. */
  readonly details: Buffer | null;
}

export function encodeError(error: SutraError): ErrorTrailers {
  const status = STATUS[error.status];
  const message = clip(error.message, MAX_MESSAGE_BYTES);
  return {
    status,
    message,
    code: error.code,
    hint: Buffer.from(clip(error.hint, MAX_HINT_BYTES), 'utf8'),
    details:
      error.violations.length === 0 ? null : encodeDetails(status, message, error.violations),
  };
}

function encodeDetails(
  status: number,
  message: string,
  violations: readonly FieldViolation[],
): Buffer {
  const badRequest = new WireWriter();
  let room = MAX_DETAILS_BYTES - Buffer.byteLength(message) - 100;
  for (const { field, description } of violations) {
    const name = clip(field, 200);
    const text = clip(description, 400);
    // Tags and lengths of the three nested fields take at most 12 bytes.
    room -= Buffer.byteLength(name) + Buffer.byteLength(text) + 12;
    if (room < 0) break;
    badRequest.open(1);
    badRequest.string(1, name);
    badRequest.string(2, text);
    badRequest.close();
  }
  const w = new WireWriter();
  w.uint32(1, status);
  w.string(2, message);
  w.open(3);
  w.string(1, BAD_REQUEST_URL);
  w.bytes(2, badRequest.finish());
  w.close();
  return w.finish();
}

/** The field violations in a grpc-status-details-bin trailer; none when it is not one that can be read. */
export function decodeDetails(bytes: Buffer): FieldViolation[] {
  const violations: FieldViolation[] = [];
  try {
    const r = new WireReader(bytes);
    for (let field = r.next(); field !== 0; field = r.next()) {
      if (field !== 3) {
        r.skip();
        continue;
      }
      const outer = r.open('details');
      let url = '';
      let value: Buffer | null = null;
      for (let inner = r.next(); inner !== 0; inner = r.next()) {
        if (inner === 1) url = r.string('type_url');
        else if (inner === 2) value = r.bytes('value');
        else r.skip();
      }
      r.close(outer);
      if (url === BAD_REQUEST_URL && value !== null) readBadRequest(value, violations);
    }
  } catch (error) {
    // Details only add to an error that has arrived; from a server that sends others, do without.
    if (!(error instanceof WireError)) throw error;
  }
  return violations;
}

function readBadRequest(bytes: Buffer, violations: FieldViolation[]): void {
  const r = new WireReader(bytes);
  for (let tag = r.next(); tag !== 0; tag = r.next()) {
    if (tag !== 1) {
      r.skip();
      continue;
    }
    const outer = r.open('field_violations');
    let field = '';
    let description = '';
    for (let inner = r.next(); inner !== 0; inner = r.next()) {
      if (inner === 1) field = r.string('field');
      else if (inner === 2) description = r.string('description');
      else r.skip();
    }
    r.close(outer);
    violations.push({ field, description });
  }
}

/** At most maxBytes of UTF-8, well-formed (a trailer cannot carry a lone surrogate), an ellipsis where it was cut. */
function clip(text: string, maxBytes: number): string {
  const whole = text.toWellFormed();
  if (Buffer.byteLength(whole) <= maxBytes) return whole;
  let kept = Buffer.from(whole, 'utf8').toString('utf8', 0, maxBytes - 3);
  // A character cut in two decodes as U+FFFD, at most three of them.
  kept = kept.replace(/\uFFFD{1,3}$/u, '');
  return `${kept}…`;
}
