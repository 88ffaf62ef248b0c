/**
 * An error as an answer on a bare HTTP/2 stream, for what is refused before or beside grpc-js: the same status and trailers
 * that a handler's error gets (service.ts), and then the stream is closed, so that its sender stops sending.
 */

import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { SutraError } from '../errors.js';
import { CODE_TRAILER, DETAILS_TRAILER, HINT_TRAILER, encodeError } from '../wire/status.js';

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR } = constants;

/** Streams that were answered here and are about to be closed. */
const answered = new WeakSet<ServerHttp2Stream>();

/** Ends the stream with this error. Once it is closed grpc-js leaves it alone, even where it had begun to work on it. */
export function refuse(stream: ServerHttp2Stream, error: SutraError): void {
  if (stream.destroyed || stream.closed || answered.has(stream)) return;
  if (stream.headersSent) {
    // An answer is under way, and its trailers are grpc-js's.
    stream.close(NGHTTP2_CANCEL);
    return;
  }
  const trailers = encodeError(error);
  const headers: OutgoingHttpHeaders = {
    ':status': 200,
    'content-type': 'application/grpc+proto',
    'grpc-status': trailers.status,
    'grpc-message': encodeURI(trailers.message),
    [CODE_TRAILER]: trailers.code,
    [HINT_TRAILER]: trailers.hint.toString('base64'),
  };
  if (trailers.details !== null) headers[DETAILS_TRAILER] = trailers.details.toString('base64');
  answered.add(stream);
  stream.respond(headers, { endStream: true });
  // Until then grpc-js, which does not know, may still answer: its own deadline, or the end of the request. A second answer throws.
  stream.respond = () => undefined;
  // Trailers first, then RST_STREAM with NO_ERROR: "answered, send no more" (RFC 9113, 8.1). Not in the same turn: the newest
  // Node (26.10) then sends the RST_STREAM alone.
  setImmediate(() => {
    if (!stream.destroyed && !stream.closed) stream.close(NGHTTP2_NO_ERROR);
  });
}
