/**
 * sutra.storage.StorageService over a Storage: decode, call, encode, and nothing else. Each request arrives in the form the
 * storage takes (wire/requests.ts) and is validated there, so that a server answers exactly as its storage does.
 */

import { crc32 } from 'node:zlib';

import {
  Metadata,
  status,
  type ServiceDefinition,
  type StatusObject,
  type UntypedServiceImplementation,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import { SutraError } from '../errors.js';
import type { BackupChunk, CallOptions, ServerStats, Storage } from '../storage/storage.js';
import type { BackupMessage } from '../wire/backup.js';
import { DecodeFailure, METHODS, type Method } from '../wire/methods.js';
import { CODE_TRAILER, DETAILS_TRAILER, HINT_TRAILER, encodeError } from '../wire/status.js';
import { CallContext, type CancellableCall } from './call-context.js';
import type { CallCounter, CallCounts } from './call-counts.js';
import type { CallGate } from './call-gate.js';
import type { ServerLogger } from './logger.js';
import type { SlowCalls } from './slow-calls.js';
import { receiveRequests, sendAnswers, type Outgoing } from './streams.js';

export interface Service {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

const NO_OPTIONS: CallOptions = {};

export interface ServiceOptions {
  readonly gate: CallGate;
  readonly counts: CallCounts;
  readonly slow: SlowCalls;
  readonly logger: ServerLogger;
  /** What the server adds to the storage's statistics. */
  readonly serverStats: () => Promise<ServerStats>;
  /** A stream whose client takes or sends nothing for so long is ended. */
  readonly streamIdleMs: number;
}

export function createService(storage: Storage, options: ServiceOptions): Service {
  const { gate, counts, slow, logger, serverStats, streamIdleMs } = options;
  const definition: Record<string, ServiceDefinition[string]> = {};
  const implementation: UntypedServiceImplementation = {};

  function serve<Request, Response>(
    method: Method<Request, Response>,
    run: (request: Request, context: CallContext) => Promise<Response>,
  ): void {
    const { name } = method;
    definition[name] = definitionOf(method);
    const counter = counts.of(name);
    implementation[name] = (
      call: ServerUnaryCall<Request | DecodeFailure, Response>,
      callback: sendUnaryData<Response>,
    ): void => {
      const startMs = performance.now();
      counter.begin();
      const ended = (code: number): void => {
        const ms = performance.now() - startMs;
        counter.end(code, ms);
        if (ms >= slow.limitMs) slow.note(name, code, ms, call);
      };
      const refuse = (error: unknown): void => {
        const told = statusOf(error, name, logger);
        callback(told);
        ended(told.code);
      };
      if (!gate.enter()) {
        refuse(new SutraError('UNAVAILABLE', 'the server is draining and takes no new calls'));
        return;
      }
      answer(call, run).then(
        (response) => {
          callback(null, response);
          ended(status.OK);
          gate.leave();
        },
        (error: unknown) => {
          refuse(error);
          gate.leave();
        },
      );
    };
  }

  /** A write, which is in the queue for the log in the turn that it comes in: an AbortSignal would be made for nothing. */
  function serveWrite<Request, Response>(
    method: Method<Request, Response>,
    run: (request: Request) => Promise<Response>,
  ): void {
    serve(method, (request, context) => {
      context.requireCaller();
      return run(request);
    });
  }

  /** One request, a stream of answers. */
  function serveAnswers<Request, Response>(
    method: Method<Request, Response>,
    run: (request: Request, options: CallOptions) => AsyncIterable<Response>,
  ): void {
    const { name } = method;
    definition[name] = definitionOf(method);
    const counter = counts.of(name, 'server_stream');
    implementation[name] = (
      call: ServerWritableStream<Request | DecodeFailure, Response>,
    ): void => {
      stream(call, counter, (signal) => {
        const { request } = call;
        if (request instanceof DecodeFailure) throw request.error;
        return run(request, { signal });
      });
    };
  }

  /** A stream each way. */
  function serveBoth<Request, Response>(
    method: Method<Request, Response>,
    run: (requests: AsyncIterable<Request>, options: CallOptions) => AsyncIterable<Response>,
  ): void {
    const { name } = method;
    definition[name] = definitionOf(method);
    const counter = counts.of(name, 'bidi_stream');
    const received = (): void => {
      counter.received++;
    };
    implementation[name] = (call: ServerDuplexStream<Request | DecodeFailure, Response>): void => {
      stream(call, counter, (signal) =>
        run(receiveRequests(call, signal, gate.closing, streamIdleMs, received), { signal }),
      );
    };
  }

  /** Runs a stream inside the gate, to its end. What its client's deadline does comes as a cancellation. */
  function stream<Response>(
    call: Outgoing<Response> & CancellableCall,
    counter: CallCounter,
    answers: (signal: AbortSignal) => AsyncIterable<Response>,
  ): void {
    const startMs = performance.now();
    counter.begin();
    const told = (error: unknown): StatusObject => statusOf(error, counter.method, logger);
    if (!gate.enter()) {
      const draining = told(
        new SutraError('UNAVAILABLE', 'the server is draining and takes no new calls'),
      );
      call.emit('error', draining);
      counter.end(draining.code, performance.now() - startMs);
      return;
    }
    const controller = new AbortController();
    call.on('cancelled', () => {
      controller.abort(new SutraError('CANCELLED', 'the client cancelled the call or went away'));
    });
    const { signal } = controller;
    const sent = sendAnswers(
      call,
      () => counted(answers(signal), counter),
      signal,
      streamIdleMs,
      told,
    );
    const leave = (code: number): void => {
      counter.end(code, performance.now() - startMs);
      gate.leave();
    };
    sent.then(leave, () => {
      leave(status.INTERNAL);
    });
  }

  serveWrite(METHODS.learnConcept, (concept) => storage.learnConcept(concept));
  serveWrite(METHODS.learnAssociation, (association) => storage.learnAssociation(association));
  serveWrite(METHODS.learnBatch, (batch) => storage.learnBatch(batch));
  serveWrite(METHODS.forgetConcept, ({ id }) => storage.forgetConcept(id));
  serveWrite(METHODS.forgetAssociation, ({ source, target, type }) =>
    storage.forgetAssociation(source, target, type),
  );
  // A point read is done before anything could cancel it.
  serve(METHODS.queryConcept, async ({ id, withEmbedding, withoutContent }) => {
    const concept = await storage.queryConcept(id, withEmbedding ? { withEmbedding } : NO_OPTIONS);
    return withoutContent ? { ...concept, content: '' } : concept;
  });
  serve(METHODS.getNeighbors, ({ id, direction, types, limit, parallel }, context) =>
    storage.getNeighbors(id, { direction, types, limit, parallel, ...bounds(context) }),
  );
  serve(METHODS.findPath, ({ start, end, maxDepth, direction, types, by }, context) =>
    storage.findPath(start, end, { maxDepth, direction, types, by, ...bounds(context) }),
  );
  serve(METHODS.vectorSearch, ({ query, ...options }, context) =>
    storage.vectorSearch(query, { ...options, ...bounds(context) }),
  );
  serve(METHODS.getStats, async () => {
    const [stats, server] = await Promise.all([storage.stats(), serverStats()]);
    return { ...stats, server };
  });
  serve(METHODS.healthCheck, () => storage.healthCheck());
  serve(METHODS.flush, async (_request, context) => {
    await storage.flush(context);
    return { success: true };
  });
  serveBoth(METHODS.ingest, (items, options) => storage.ingest(items, options));
  serveAnswers(METHODS.scan, ({ kinds, withEmbeddings, pageItems, resume }, options) =>
    storage.scan({
      kinds,
      withEmbeddings,
      pageItems,
      ...(resume === '' ? {} : { resume }),
      ...options,
    }),
  );
  serveAnswers(METHODS.backup, (_request, options) => withChecksums(storage.backup(options)));
  return { definition, implementation };
}

/** The way from disk to disk is long; each chunk says what it should be. */
async function* withChecksums(
  chunks: AsyncIterable<BackupChunk>,
): AsyncGenerator<BackupMessage, void, undefined> {
  for await (const chunk of chunks) yield { ...chunk, crc: crc32(chunk.bytes) };
}

function definitionOf<Request, Response>(
  method: Method<Request, Response>,
): ServiceDefinition[string] {
  return {
    path: method.path,
    originalName: method.name,
    requestStream: method.form === 'both',
    responseStream: method.form !== 'unary',
    requestSerialize: method.encodeRequest,
    requestDeserialize: method.decodeRequest,
    responseSerialize: method.encodeResponse,
    responseDeserialize: method.decodeResponse,
  };
}

async function* counted<T>(answers: AsyncIterable<T>, counter: CallCounter): AsyncIterable<T> {
  for await (const answer of answers) {
    counter.sent++;
    yield answer;
  }
}

/** Rejects with whatever was thrown, synchronously or not. */
async function answer<Request, Response>(
  call: ServerUnaryCall<Request | DecodeFailure, Response>,
  run: (request: Request, context: CallContext) => Promise<Response>,
): Promise<Response> {
  const { request } = call;
  if (request instanceof DecodeFailure) throw request.error;
  const context = new CallContext(call);
  try {
    return await run(request, context);
  } finally {
    context.isOver = true;
  }
}

function bounds(context: CallContext): CallOptions {
  const { signal, timeoutMs } = context;
  return timeoutMs === undefined ? { signal } : { signal, timeoutMs };
}

/** An error as a gRPC status with its trailers. What is not a SutraError is a bug: logged whole, told in general terms. */
function statusOf(error: unknown, name: string, logger: ServerLogger): StatusObject {
  let told: SutraError;
  if (error instanceof SutraError) {
    told = error;
    if (error.code === 'INTERNAL') logger.error(`${name} failed: ${error.message}`, error);
  } else {
    logger.error(`${name} failed unexpectedly`, error);
    told = new SutraError('INTERNAL', `${name} failed unexpectedly; the server's log says more`);
  }
  const trailers = encodeError(told);
  const metadata = new Metadata();
  metadata.set(CODE_TRAILER, trailers.code);
  metadata.set(HINT_TRAILER, trailers.hint);
  if (trailers.details !== null) metadata.set(DETAILS_TRAILER, trailers.details);
  return { code: status[told.status], details: trailers.message, metadata };
}
