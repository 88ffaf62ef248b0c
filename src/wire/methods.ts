/**
 * The methods of sutra.storage.StorageService: name, path and codec of each, for the server and for the remote backend.
 * `decodeRequest` never throws: bytes that are not the message become a DecodeFailure, which the handler answers as
 * INVALID_ARGUMENT. (A throw there would reach the client as INTERNAL.)
 */

import { SutraError, toSutraError, type FieldViolation } from '../errors.js';
import * as backup from './backup.js';
import * as bulk from './bulk.js';
import { WireError, WireReader } from './reader.js';
import * as requests from './requests.js';
import * as responses from './responses.js';
import { decodeStats, encodeStats } from './stats.js';

export const SERVICE_NAME = 'sutra.storage.StorageService';

/** What a request became that could not be decoded. */
export class DecodeFailure {
  readonly error: SutraError;

  constructor(error: SutraError) {
    this.error = error;
  }
}

/** unary; answers: one request, a stream of answers; both: a stream each way. */
export type MethodForm = 'unary' | 'answers' | 'both';

export interface Method<Request, Response> {
  readonly name: string;
  readonly form: MethodForm;
  /** /package.Service/Method */
  readonly path: string;
  readonly encodeRequest: (request: Request) => Buffer;
  readonly decodeRequest: (bytes: Buffer) => Request | DecodeFailure;
  readonly encodeResponse: (response: Response) => Buffer;
  /** Throws on bytes that are not a response. */
  readonly decodeResponse: (bytes: Buffer) => Response;
}

function method<Request, Response>(
  name: string,
  encodeRequest: (request: Request) => Buffer,
  readRequest: (reader: WireReader) => Request,
  encodeResponse: (response: Response) => Buffer,
  readResponse: (reader: WireReader) => Response,
  form: MethodForm = 'unary',
): Method<Request, Response> {
  return {
    name,
    form,
    path: `/${SERVICE_NAME}/${name}`,
    encodeRequest,
    decodeRequest: (bytes) => decode(bytes, readRequest),
    encodeResponse,
    decodeResponse(bytes) {
      const decoded = decode(bytes, readResponse);
      if (decoded instanceof DecodeFailure) throw decoded.error;
      return decoded;
    },
  };
}

function decode<T>(bytes: Buffer, read: (reader: WireReader) => T): T | DecodeFailure {
  const reader = new WireReader(bytes);
  try {
    const value = read(reader);
    if (reader.violations.length === 0) return value;
    return failure(reader.violations);
  } catch (error) {
    // Anything but a WireError is a bug of this room: still answered by the handler, which logs it.
    if (!(error instanceof WireError)) return new DecodeFailure(toSutraError(error));
    const { field, message: description } = error;
    return failure([...reader.violations, { field, description }]);
  }
}

function failure(violations: readonly FieldViolation[]): DecodeFailure {
  const first = violations[0];
  const message =
    first === undefined ? 'the request is not protobuf' : `${first.field}: ${first.description}`;
  const more = violations.length > 1 ? ` (and ${violations.length - 1} more)` : '';
  return new DecodeFailure(new SutraError('INVALID_ARGUMENT', message + more, { violations }));
}

export const METHODS = {
  learnConcept: method(
    'LearnConcept',
    requests.encodeLearnConcept,
    requests.decodeLearnConcept,
    responses.encodeWriteReceipt,
    responses.decodeWriteReceipt,
  ),
  queryConcept: method(
    'QueryConcept',
    requests.encodeQueryConcept,
    requests.decodeQueryConcept,
    responses.encodeConceptAnswer,
    responses.decodeConceptAnswer,
  ),
  learnAssociation: method(
    'LearnAssociation',
    requests.encodeLearnAssociation,
    requests.decodeLearnAssociation,
    responses.encodeWriteReceipt,
    responses.decodeWriteReceipt,
  ),
  getNeighbors: method(
    'GetNeighbors',
    requests.encodeGetNeighbors,
    requests.decodeGetNeighbors,
    responses.encodeNeighborsAnswer,
    responses.decodeNeighborsAnswer,
  ),
  findPath: method(
    'FindPath',
    requests.encodeFindPath,
    requests.decodeFindPath,
    responses.encodePathAnswer,
    responses.decodePathAnswer,
  ),
  vectorSearch: method(
    'VectorSearch',
    requests.encodeVectorSearch,
    requests.decodeVectorSearch,
    responses.encodeSearchAnswer,
    responses.decodeSearchAnswer,
  ),
  getStats: method(
    'GetStats',
    requests.encodeEmpty,
    requests.decodeEmpty,
    encodeStats,
    decodeStats,
  ),
  flush: method(
    'Flush',
    requests.encodeEmpty,
    requests.decodeEmpty,
    responses.encodeFlushAnswer,
    responses.decodeFlushAnswer,
  ),
  healthCheck: method(
    'HealthCheck',
    requests.encodeEmpty,
    requests.decodeEmpty,
    responses.encodeHealthAnswer,
    responses.decodeHealthAnswer,
  ),
  learnBatch: method(
    'LearnBatch',
    requests.encodeLearnBatch,
    requests.decodeLearnBatch,
    responses.encodeLearnBatchAnswer,
    responses.decodeLearnBatchAnswer,
  ),
  forgetConcept: method(
    'ForgetConcept',
    requests.encodeForgetConcept,
    requests.decodeForgetConcept,
    responses.encodeForgetReceipt,
    responses.decodeForgetReceipt,
  ),
  forgetAssociation: method(
    'ForgetAssociation',
    requests.encodeForgetAssociation,
    requests.decodeForgetAssociation,
    responses.encodeForgetReceipt,
    responses.decodeForgetReceipt,
  ),
  ingest: method(
    'Ingest',
    bulk.encodeIngest,
    bulk.decodeIngest,
    bulk.encodeIngestAck,
    bulk.decodeIngestAck,
    'both',
  ),
  scan: method(
    'Scan',
    bulk.encodeScan,
    bulk.decodeScan,
    bulk.encodeScanPage,
    bulk.decodeScanPage,
    'answers',
  ),
  backup: method(
    'Backup',
    requests.encodeEmpty,
    requests.decodeEmpty,
    backup.encodeBackupMessage,
    backup.decodeBackupMessage,
    'answers',
  ),
} as const;
