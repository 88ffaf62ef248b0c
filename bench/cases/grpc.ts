/**
 * The served store beside a no-op grpc-js server that takes and gives the same messages through the same codec, both driven by
 * the same client; server and client are processes of their own. The servers print their port and end when stdin does.
 */

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import {
  Server,
  ServerCredentials,
  type MethodDefinition,
  type sendUnaryData,
  type ServerUnaryCall,
} from '@grpc/grpc-js';
import { startServer } from '#sutra/server/server';
import { ConcurrentStorage } from '#sutra/storage/embedded';
import { StorageClient } from '#sutra/storage/remote';
import type { ConceptAnswer, ConceptInput, IngestItem, WriteReceipt } from '#sutra/storage/storage';
import { METHODS, type Method } from '#sutra/wire/methods';
import { latencies, verify, windowed, type Latencies } from '../measure.js';
import { contentOf, hexId, Random } from '../workload.js';

export async function grpcServer(parameters: { readonly directory: string }): Promise<unknown> {
  const storage = await ConcurrentStorage.open(parameters.directory);
  // As `sutra serve` does; what is measured is a server that has been up for a while.
  storage.verifyInBackground();
  while (!storage.isVerified) await sleep(20);
  const server = await startServer(storage, { host: '127.0.0.1', port: 0 });
  await untilStdinEnds(server.port);
  await server.drain(1000);
  await storage.close({ cancelCheckpoint: true });
  return {};
}

/** Answers queries with a concept and writes with a receipt, and knows nothing. */
export async function grpcNoop(_parameters: unknown): Promise<unknown> {
  const server = new Server();
  const content = contentOf(0);
  const answer: ConceptAnswer = {
    found: true,
    id: hexId(0),
    content,
    strength: 1,
    confidence: 1,
    createdUs: 1_700_000_000_000_000,
    updatedUs: 1_700_000_000_000_000,
    dimension: 0,
  };
  const receipt: WriteReceipt = { sequence: 1 };
  server.addService(
    {
      queryConcept: definitionOf(METHODS.queryConcept),
      learnConcept: definitionOf(METHODS.learnConcept),
    },
    {
      queryConcept: (_call: ServerUnaryCall<unknown, unknown>, reply: sendUnaryData<unknown>) => {
        reply(null, answer);
      },
      learnConcept: (_call: ServerUnaryCall<unknown, unknown>, reply: sendUnaryData<unknown>) => {
        reply(null, receipt);
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  await untilStdinEnds(port);
  server.forceShutdown();
  return {};
}

function definitionOf<Request, Response>(
  method: Method<Request, Response>,
): MethodDefinition<unknown, Response> {
  return {
    path: method.path,
    requestStream: false,
    responseStream: false,
    requestSerialize: () => Buffer.alloc(0),
    requestDeserialize: method.decodeRequest,
    responseSerialize: method.encodeResponse,
    responseDeserialize: method.decodeResponse,
  };
}

async function untilStdinEnds(port: number): Promise<void> {
  process.stdout.write(`${JSON.stringify({ port })}\n`);
  process.stdin.resume();
  await once(process.stdin, 'end');
}

export interface GrpcFigures {
  /** Of calls one after another. Milliseconds. */
  readonly readMs: Latencies;
  readonly readsPerSecond: number;
  readonly writeMs: Latencies;
  readonly writesPerSecond: number;
  readonly batchedPerSecond: number | null;
  /** Concepts through one Ingest stream. */
  readonly ingestedPerSecond: number | null;
}

export async function grpcClient(parameters: {
  readonly port: number;
  readonly concepts: number;
  readonly calls: number;
  readonly window: number;
  /** First index of concepts that are not there yet, and how many to learn in batches; 0: the server takes no batches. */
  readonly firstNew: number;
  readonly batched: number;
  readonly checked: boolean;
}): Promise<GrpcFigures> {
  const { port, concepts, calls, window, firstNew, batched, checked } = parameters;
  const client = new StorageClient(`127.0.0.1:${port}`, { timeoutMs: 60_000 });
  const random = new Random(11);
  const asked = Array.from({ length: calls }, () => random.below(concepts));
  const ids = asked.map(hexId);
  const read = async (n: number): Promise<void> => {
    const { content } = await client.queryConcept(ids[n] ?? '');
    if (checked) verify(content === contentOf(asked[n] ?? 0), `content of ${asked[n]}`);
    else verify(content.length === 60, 'a content');
  };
  let next = firstNew;
  const write = async (): Promise<void> => {
    const i = next++;
    await client.learnConcept({ id: hexId(i), content: contentOf(i) });
  };

  for (let n = 0; n < calls; n++) await read(n);
  const readMs = await eachTimed(calls, read);
  const readsPerSecond = await rate(calls * 2, window, (n) => read(n % calls));
  const writeMs = await eachTimed(calls, write);
  const writesPerSecond = await rate(calls * 2, window, write);

  let batchedPerSecond: number | null = null;
  let ingestedPerSecond: number | null = null;
  if (batched > 0) {
    const size = 1000;
    const names = Array.from({ length: batched }, (_, n) => hexId(next + n));
    const seconds = await timed(() =>
      windowed(batched / size, 4, async (batch) => {
        const list: ConceptInput[] = [];
        for (let n = batch * size; n < (batch + 1) * size; n++) {
          list.push({ id: names[n] ?? '', content: contentOf(next + n) });
        }
        const { count } = await client.learnBatch({ concepts: list });
        verify(count === size, `${count} of ${size} learned`);
      }),
    );
    batchedPerSecond = batched / seconds;
    next += batched;
    const chunks = function* (first: number): Generator<IngestItem[]> {
      for (let at = 0; at < batched; at += size) {
        const chunk: IngestItem[] = [];
        for (let n = first + at; n < first + at + size; n++) {
          chunk.push({ concept: { id: hexId(n), content: contentOf(n) } });
        }
        yield chunk;
      }
    };
    let accepted = 0;
    const ingestSeconds = await timed(async () => {
      for await (const ack of client.ingest(chunks(next))) accepted += ack.accepted;
    });
    verify(accepted === batched, `${accepted} of ${batched} ingested`);
    ingestedPerSecond = batched / ingestSeconds;
    next += batched;
  }
  if (checked) {
    const stats = await client.stats();
    verify(stats.written === next - firstNew, `${stats.written} of ${next - firstNew} written`);
    const last = await client.queryConcept(hexId(next - 1));
    verify(last.content === contentOf(next - 1), 'the last write is readable');
  }
  await client.close();
  return {
    readMs,
    readsPerSecond,
    writeMs,
    writesPerSecond,
    batchedPerSecond,
    ingestedPerSecond,
  };
}

async function eachTimed(count: number, call: (n: number) => Promise<void>): Promise<Latencies> {
  const took: number[] = [];
  for (let n = 0; n < count; n++) {
    const start = performance.now();
    await call(n);
    took.push(performance.now() - start);
  }
  return latencies(took);
}

async function rate(
  count: number,
  window: number,
  call: (n: number) => Promise<void>,
): Promise<number> {
  return count / (await timed(() => windowed(count, window, call)));
}

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}
