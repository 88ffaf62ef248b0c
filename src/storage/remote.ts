/**
 * The remote backend: the Storage interface over one gRPC channel to a sutra server. Requests are checked here with the same
 * functions the embedded backend uses, so that a mistake costs no round trip and reads the same; what the server refuses
 * comes back as the SutraError it threw (wire/status.ts). The channel connects at the first call and again by itself.
 */

import { isIP } from 'node:net';
import { checkServerIdentity } from 'node:tls';
import { crc32 } from 'node:zlib';

import {
  Client,
  Metadata,
  credentials,
  status as grpcStatus,
  type ChannelCredentials,
  type CallOptions as GrpcCallOptions,
  type ChannelOptions,
  type ServiceError,
} from '@grpc/grpc-js';
import { SutraError, invalidField, isErrorCode, toSutraError, type ErrorCode } from '../errors.js';
import { METHODS, type Method } from '../wire/methods.js';
import { CODE_TRAILER, DETAILS_TRAILER, HINT_TRAILER, decodeDetails } from '../wire/status.js';
import { formatAddress, isLoopbackHost, parseAddress } from './address.js';
import { ingestChunks, mergedAck, screenChunk } from './ingest.js';
import { takeAnswers } from './remote-stream.js';
import type {
  AssociationInput,
  BackupChunk,
  BackupInfo,
  BatchInput,
  BatchReceipt,
  CallOptions,
  ConceptAnswer,
  ConceptInput,
  ForgetReceipt,
  HealthAnswer,
  IngestAck,
  IngestItem,
  IngestOptions,
  IngestSource,
  NeighborOptions,
  NeighborsAnswer,
  PathAnswer,
  PathOptions,
  QueryOptions,
  ScanOptions,
  ScanPage,
  SearchOptions,
  Storage,
  StorageStats,
  VectorMatch,
  WriteReceipt,
} from './storage.js';
import {
  MAX_BATCH_BYTES,
  abortError,
  checkAssociation,
  checkBatch,
  checkCall,
  checkConcept,
  checkForgetAssociation,
  checkIngest,
  checkNeighbors,
  checkPath,
  checkQuery,
  checkScan,
  checkSearch,
  throwIfAborted,
} from './validation.js';

const DEFAULT_TIMEOUT_MS = 5_000;
/** Timers and grpc-timeout count milliseconds in 31 bits; 24 days and more is no deadline. */
const LONGEST_TIMEOUT_MS = 0x7fff_ffff;
/** The neighbours of a hub with a million associations are some 80 MiB; beyond this an answer is refused. */
const DEFAULT_MAX_RESPONSE_BYTES = 256 * 1024 * 1024;

/** PEM texts. */
export interface ClientTls {
  /** Authorities that the server's certificate may come from; absent: those that Node trusts. */
  readonly ca?: string;
  /** What a server with mTLS asks for: a certificate and its key. */
  readonly cert?: string;
  readonly key?: string;
  /** The name in the server's certificate, where it is not the host that is dialled. */
  readonly serverName?: string;
}

/** Acknowledgements are small, and at most a few are under way. */
const ACKS_AHEAD = 16;
/** Pages of a scan that are read and not taken. */
const READ_AHEAD = 2;

export interface StorageClientOptions {
  /** Speak TLS; true: with what Node trusts. Absent: plaintext. */
  readonly tls?: boolean | ClientTls;
  /** Sent with every call. In plaintext only to this machine: anything else is refused with INVALID_ARGUMENT. */
  readonly token?: string;

  /** Milliseconds until DEADLINE_EXCEEDED, for every call but flush, which has no deadline of its own. Default 5,000. */
  readonly timeoutMs?: number;
  /** Largest answer that is taken; default 256 MiB. */
  readonly maxResponseBytes?: number;
}

/**
 * Told to servers that are reached by an IP address: TLS knows names only (RFC 6066, 3), and the newest Node refuses an address
 * there. The certificate is held against the address all the same.
 */
const NO_NAME = 'address.invalid';

/** What a status means that came without a sutra-code: not from the service, but from the transport or something between. */
const TRANSPORT_CODES: ReadonlyMap<number, ErrorCode> = new Map([
  [grpcStatus.DEADLINE_EXCEEDED, 'DEADLINE_EXCEEDED'],
  [grpcStatus.RESOURCE_EXHAUSTED, 'TOO_LARGE'],
  [grpcStatus.INVALID_ARGUMENT, 'INVALID_ARGUMENT'],
  [grpcStatus.NOT_FOUND, 'UNKNOWN_CONCEPT'],
  [grpcStatus.PERMISSION_DENIED, 'NOT_PERMITTED'],
  [grpcStatus.UNAUTHENTICATED, 'UNAUTHENTICATED'],
  [grpcStatus.UNIMPLEMENTED, 'UNIMPLEMENTED'],
  [grpcStatus.DATA_LOSS, 'DAMAGED'],
  // The server ended the call without an answer, as it does at the end of a drain.
  [grpcStatus.CANCELLED, 'UNAVAILABLE'],
]);

export class StorageClient implements Storage {
  readonly mode = 'server';
  /** HOST:PORT */
  readonly address: string;
  private readonly client: Client;
  private readonly timeoutMs: number;
  private readonly secure: boolean;
  private readonly authorization: string | null;
  private closing: Promise<void> | null = null;
  private inFlight = 0;
  private whenIdle: (() => void) | null = null;
  private readonly streams = new Set<{ cancel(): void }>();

  /** address: HOST:PORT, [IPV6]:PORT, or a host alone for port 50051. Connects at the first call. */
  constructor(address: string, options: StorageClientOptions = {}) {
    const { host, port } = parseAddress(address, 'address');
    checkCall(options);
    this.address = formatAddress(host, port);
    this.timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const { tls = false, token } = options;
    this.secure = tls !== false;
    if (token !== undefined) checkToken(token, host, this.secure);
    this.authorization = token === undefined ? null : `Bearer ${token}`;
    const serverName = typeof tls === 'object' ? tls.serverName : undefined;
    const verified = serverName ?? host;
    const channel: ChannelOptions = {
      'grpc.max_receive_message_length': options.maxResponseBytes ?? DEFAULT_MAX_RESPONSE_BYTES,
      'grpc.max_send_message_length': -1,
      // A dead peer is noticed even by calls without a deadline.
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      // A restarted server is found again soon; the default waits up to two minutes.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.min_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 2_000,
      // This client's connection is its own, so that close() closes it.
      'grpc.use_local_subchannel_pool': 1,
      // The store is named by its address: no TXT look-ups, and no proxy that the environment means for the web.
      'grpc.service_config_disable_resolution': 1,
      'grpc.enable_http_proxy': 0,
      ...(serverName === undefined ? {} : { 'grpc.default_authority': serverName }),
      ...(this.secure
        ? { 'grpc.ssl_target_name_override': isIP(verified) === 0 ? verified : NO_NAME }
        : {}),
    };
    // With its scheme, so that no host is taken for one (`unix:50051`).
    this.client = new Client(`dns:${this.address}`, channelCredentials(tls, verified), channel);
  }

  async learnConcept(concept: ConceptInput, options: CallOptions = {}): Promise<WriteReceipt> {
    this.requireOpen();
    checkConcept(concept, options);
    return this.call(METHODS.learnConcept, concept, options);
  }

  async learnAssociation(
    association: AssociationInput,
    options: CallOptions = {},
  ): Promise<WriteReceipt> {
    this.requireOpen();
    checkAssociation(association, options);
    return this.call(METHODS.learnAssociation, association, options);
  }

  async learnBatch(batch: BatchInput, options: CallOptions = {}): Promise<BatchReceipt> {
    this.requireOpen();
    checkBatch(batch, options);
    return this.call(METHODS.learnBatch, batch, options);
  }

  async forgetConcept(id: string, options: CallOptions = {}): Promise<ForgetReceipt> {
    this.requireOpen();
    checkQuery(id, options);
    return this.call(METHODS.forgetConcept, { id }, options);
  }

  async forgetAssociation(
    source: string,
    target: string,
    type?: number,
    options: CallOptions = {},
  ): Promise<ForgetReceipt> {
    this.requireOpen();
    checkForgetAssociation(source, target, type, options);
    const request = type === undefined ? { source, target } : { source, target, type };
    return this.call(METHODS.forgetAssociation, request, options);
  }

  async queryConcept(id: string, options: QueryOptions = {}): Promise<ConceptAnswer> {
    this.requireOpen();
    checkQuery(id, options);
    const withEmbedding = options.withEmbedding === true;
    const request = { id, withEmbedding, withoutContent: false };
    return this.call(METHODS.queryConcept, request, options);
  }

  async contains(id: string, options: CallOptions = {}): Promise<boolean> {
    this.requireOpen();
    checkQuery(id, options);
    const request = { id, withEmbedding: false, withoutContent: true };
    return (await this.call(METHODS.queryConcept, request, options)).found;
  }

  async getNeighbors(id: string, options: NeighborOptions = {}): Promise<NeighborsAnswer> {
    this.requireOpen();
    checkNeighbors(id, options);
    const { direction = 'both', types = [], limit = 0, parallel = false } = options;
    return this.call(METHODS.getNeighbors, { id, direction, types, limit, parallel }, options);
  }

  async findPath(start: string, end: string, options: PathOptions = {}): Promise<PathAnswer> {
    this.requireOpen();
    checkPath(start, end, options);
    const { maxDepth = 0, direction = 'both', types = [], by = 'hops' } = options;
    const request = { start, end, maxDepth, direction, types, by };
    return this.call(METHODS.findPath, request, options);
  }

  async vectorSearch(
    query: Float32Array | readonly number[],
    options: SearchOptions = {},
  ): Promise<VectorMatch[]> {
    this.requireOpen();
    checkSearch(query, options);
    const { k = 0, efSearch = 0, minSimilarity, within, withContent = false } = options;
    const request = {
      query,
      k,
      efSearch,
      withContent,
      ...(minSimilarity === undefined ? {} : { minSimilarity }),
      ...(within === undefined ? {} : { within }),
    };
    return this.call(METHODS.vectorSearch, request, options);
  }

  /** `timeoutMs` is how long an acknowledgement may take; by default as long as it likes. */
  async *ingest(
    items: IngestSource,
    options: IngestOptions = {},
  ): AsyncGenerator<IngestAck, void, undefined> {
    this.requireOpen();
    checkIngest(options);
    const { signal, timeoutMs: idleMs = Infinity } = options;
    throwIfAborted(signal);
    const { path, encodeRequest, decodeResponse } = METHODS.ingest;
    const call = this.client.makeBidiStreamRequest(
      path,
      (bytes: Buffer) => bytes,
      decodeResponse,
      this.metadata(),
    );
    const answers = takeAnswers<IngestAck>(call, { readAhead: ACKS_AHEAD, idleMs, signal });
    // Answers come in the order of the chunks, so each is asked for behind the one before.
    let before: Promise<unknown> = Promise.resolve();
    const submit = async (chunk: readonly IngestItem[], firstIndex: number): Promise<IngestAck> => {
      const { valid, indexes, errors } = screenChunk(chunk, firstIndex);
      const bytes = encodeRequest(valid);
      if (bytes.length > MAX_BATCH_BYTES) {
        const description = `a chunk of ${valid.length} items is ${bytes.length} bytes`;
        throw new SutraError('TOO_LARGE', `${description}, expected at most ${MAX_BATCH_BYTES}`);
      }
      call.write(bytes);
      const answer = before.then(() => answers.next());
      before = answer;
      const { done, value } = await answer;
      if (done === true) throw this.lost('the stream ended before its last acknowledgement');
      return mergedAck(value, indexes, errors, firstIndex, chunk.length);
    };
    async function* acknowledgements(): AsyncGenerator<IngestAck, void, undefined> {
      yield* ingestChunks(items, options, submit);
      call.end();
      // The stream's own end: OK, or an error that came behind the last acknowledgement.
      await answers.next();
    }
    try {
      yield* this.stream(acknowledgements(), call, options);
    } finally {
      // Does nothing where the stream is at its end.
      call.cancel();
    }
  }

  /** `timeoutMs` is how long the next page may take; by default as long as it likes. */
  async *scan(options: ScanOptions = {}): AsyncGenerator<ScanPage, void, undefined> {
    this.requireOpen();
    checkScan(options);
    const { kinds = 'all', withEmbeddings = true, pageItems = 0, resume = '' } = options;
    if (options.resume === '') throw invalidField('resume', 'got an empty token');
    yield* this.answers(METHODS.scan, { kinds, withEmbeddings, pageItems, resume }, options);
  }

  /** `timeoutMs` is how long the next chunk may take; by default as long as it likes. */
  async *backup(options: CallOptions = {}): AsyncGenerator<BackupChunk, void, undefined> {
    this.requireOpen();
    checkCall(options);
    let info: BackupInfo | null = null;
    let offset = 0;
    for await (const message of this.answers(METHODS.backup, {}, options)) {
      info ??= message.info;
      const { bytes } = message;
      if (message.offset !== offset || crc32(bytes) !== message.crc) {
        throw new SutraError('DAMAGED', `the backup came garbled at offset ${offset}`);
      }
      offset += bytes.length;
      yield { info, offset: message.offset, bytes };
    }
    if (info?.bytes !== offset) {
      const expected = info === null ? 'a backup' : `${info.bytes}`;
      throw new SutraError(
        'DAMAGED',
        `the backup ended after ${offset} bytes, expected ${expected}`,
      );
    }
  }

  async stats(options: CallOptions = {}): Promise<StorageStats> {
    this.requireOpen();
    checkCall(options);
    return this.call(METHODS.getStats, {}, options);
  }

  async flush(options: CallOptions = {}): Promise<void> {
    this.requireOpen();
    checkCall(options);
    const { success } = await this.call(METHODS.flush, {}, options, Infinity);
    if (!success) throw new SutraError('INTERNAL', `${this.address} answered a flush with failure`);
  }

  async healthCheck(options: CallOptions = {}): Promise<HealthAnswer> {
    this.requireOpen();
    checkCall(options);
    return this.call(METHODS.healthCheck, {}, options);
  }

  /** Lets the calls under way finish, ends streams, then closes the connection. */
  close(): Promise<void> {
    if (this.closing !== null) return this.closing;
    this.closing = new Promise<void>((resolve) => {
      if (this.inFlight === 0) resolve();
      else this.whenIdle = resolve;
    }).then(() => this.client.close());
    for (const stream of this.streams) stream.cancel();
    return this.closing;
  }

  private requireOpen(): void {
    if (this.closing !== null) throw this.closedError();
  }

  private closedError(): SutraError {
    return new SutraError('CLOSED', `the client of ${this.address} has been closed`);
  }

  private async call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    options: CallOptions,
    defaultTimeoutMs = this.timeoutMs,
  ): Promise<Response> {
    const { signal, timeoutMs = defaultTimeoutMs } = options;
    throwIfAborted(signal);
    const callOptions: GrpcCallOptions =
      timeoutMs < LONGEST_TIMEOUT_MS ? { deadline: Date.now() + timeoutMs } : {};
    this.inFlight++;
    try {
      return await new Promise<Response>((resolve, reject) => {
        const call = this.client.makeUnaryRequest(
          method.path,
          method.encodeRequest,
          method.decodeResponse,
          request,
          this.metadata(),
          callOptions,
          (error, response) => {
            signal?.removeEventListener('abort', cancel);
            if (error !== null) reject(this.errorOf(error, signal, timeoutMs));
            else if (response === undefined) reject(this.lost('an empty answer'));
            else resolve(response);
          },
        );
        const cancel = (): void => call.cancel();
        signal?.addEventListener('abort', cancel, { once: true });
      });
    } catch (error) {
      throw toSutraError(error);
    } finally {
      this.inFlight--;
      if (this.inFlight === 0) this.whenIdle?.();
    }
  }

  private metadata(): Metadata {
    const metadata = new Metadata();
    if (this.authorization !== null) metadata.set('authorization', this.authorization);
    return metadata;
  }

  /** The answers of a stream as they are taken; the call is cancelled when they are left, or late. */
  private async *answers<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    options: CallOptions,
  ): AsyncGenerator<Response, void, undefined> {
    const { signal, timeoutMs: idleMs = Infinity } = options;
    throwIfAborted(signal);
    const call = this.client.makeServerStreamRequest(
      method.path,
      method.encodeRequest,
      method.decodeResponse,
      request,
      this.metadata(),
    );
    yield* this.stream(takeAnswers(call, { readAhead: READ_AHEAD, idleMs, signal }), call, options);
  }

  /** A stream under way: close() ends it, and its errors become ours. */
  private async *stream<Response>(
    answers: AsyncGenerator<Response, void, undefined>,
    call: { cancel(): void },
    { signal, timeoutMs = Infinity }: CallOptions,
  ): AsyncGenerator<Response, void, undefined> {
    this.streams.add(call);
    try {
      yield* answers;
    } catch (error) {
      if (this.closing !== null) throw this.closedError();
      throw isServiceError(error) ? this.errorOf(error, signal, timeoutMs) : toSutraError(error);
    } finally {
      this.streams.delete(call);
    }
  }

  /** The error as the server threw it, or, when it never got that far, as the transport tells it. */
  private errorOf(
    error: ServiceError,
    signal: AbortSignal | undefined,
    timeoutMs: number,
  ): SutraError {
    const code = error.metadata.get(CODE_TRAILER)[0];
    if (isErrorCode(code)) {
      const hint = error.metadata.get(HINT_TRAILER)[0];
      const details = error.metadata.get(DETAILS_TRAILER)[0];
      return new SutraError(code, error.details, {
        violations: Buffer.isBuffer(details) ? decodeDetails(details) : [],
        ...(Buffer.isBuffer(hint) ? { hint: hint.toString('utf8') } : {}),
      });
    }
    if (signal?.aborted === true) return abortError(signal);
    const known = TRANSPORT_CODES.get(error.code);
    // A code that only a newer server knows.
    if (typeof code === 'string') return new SutraError(known ?? 'INTERNAL', error.details);
    if (known === undefined) return this.lost(error.details, error);
    if (known === 'DEADLINE_EXCEEDED') {
      return new SutraError(known, `no answer from ${this.address} within ${timeoutMs} ms`, {
        cause: error,
      });
    }
    return new SutraError(known, `${this.address}: ${error.details}`, { cause: error });
  }

  private lost(details: string, cause?: unknown): SutraError {
    // grpc-js ends the text with a note on name resolution, which is mostly empty.
    const why = details.replace(/\s*Resolution note:\s*$/, '');
    return new SutraError('UNREACHABLE', `no sutra server answers at ${this.address}: ${why}`, {
      cause,
      ...connectHint(why, this.secure),
    });
  }
}

/** A token is worth as much as what it opens: it never leaves this machine in the clear. */
function checkToken(token: string, host: string, secure: boolean): void {
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new SutraError('INVALID_ARGUMENT', 'token: expected printable ASCII without spaces');
  }
  if (!secure && !isLoopbackHost(host)) {
    throw new SutraError(
      'INVALID_ARGUMENT',
      `token: it would go to ${host} in the clear, and is not sent`,
      { hint: 'Use TLS: --tls-ca FILE names the authority of the server’s certificate.' },
    );
  }
}

/** `verified`: the name or the address that the certificate must be for. */
function channelCredentials(tls: boolean | ClientTls, verified: string): ChannelCredentials {
  if (tls === false) return credentials.createInsecure();
  const { ca, cert, key }: ClientTls = tls === true ? {} : tls;
  if ((cert === undefined) !== (key === undefined)) {
    throw new SutraError('INVALID_ARGUMENT', 'tls: a certificate and its key go together');
  }
  try {
    return credentials.createSsl(
      ca === undefined ? null : Buffer.from(ca),
      key === undefined ? null : Buffer.from(key),
      cert === undefined ? null : Buffer.from(cert),
      isIP(verified) === 0
        ? {}
        : { checkServerIdentity: (_name, presented) => checkServerIdentity(verified, presented) },
    );
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new SutraError('INVALID_ARGUMENT', `tls: certificate and key cannot be used: ${why}`, {
      hint: 'Give PEM files, and the key that belongs to the certificate, without a passphrase.',
      cause: error,
    });
  }
}

/** What a failed connection most likely means, from the words of node:tls. */
function connectHint(why: string, secure: boolean): { hint?: string } {
  if (!secure) {
    return /ECONNRESET|Connection dropped|closed/i.test(why)
      ? {
          hint: 'If the server speaks TLS, say so: --tls, or --tls-ca FILE for an authority of your own.',
        }
      : {};
  }
  if (/wrong version number|packet length too long/i.test(why)) {
    return { hint: 'The server does not speak TLS there; leave --tls away, or mend the server.' };
  }
  if (/altname/i.test(why)) {
    return {
      hint: 'The certificate is for another name: dial that, or give it with --tls-server-name.',
    };
  }
  if (/expired|not yet valid/i.test(why)) {
    return { hint: 'Give the server a certificate that is valid now, and look at both clocks.' };
  }
  if (/self.signed|issuer|unable to (?:verify|get)/i.test(why)) {
    return { hint: 'Name the authority of the server’s certificate with --tls-ca FILE.' };
  }
  if (/alert|certificate|ECONNRESET|closed/i.test(why)) {
    return { hint: 'The server may want a certificate of the client: --tls-cert and --tls-key.' };
  }
  return {};
}

/** What grpc-js rejects with; anything else is an error of ours. */
function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'metadata' in error && error.metadata instanceof Metadata;
}
