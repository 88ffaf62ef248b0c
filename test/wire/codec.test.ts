/**
 * The hand-written codec against the .proto: for every message, random values, both directions, so that the two cannot
 * drift apart; and the field numbers of interface.md, written down here once more, against the .proto.
 */

import { join } from 'node:path';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { DecodeFailure, METHODS } from '#sutra/wire/methods';
import { FloatSink, WireReader } from '#sutra/wire/reader';
import { WireWriter } from '#sutra/wire/writer';
import { PROJECT_ROOT } from '../support/fixture.js';

const root = new protobuf.Root();
root.resolvePath = (_origin, target) => join(PROJECT_ROOT, 'proto', target);
root.loadSync('sutra/storage.proto', { keepCase: true });
root.resolveAll();

const service = root.lookupService('sutra.storage.StorageService');

/** The contract as interface.md has it: method, request fields, response fields. */
const NINE: Record<string, [string[], string[]]> = {
  LearnConcept: [
    [
      'concept_id string 1',
      'content string 2',
      'embedding repeated float 3',
      'strength float 4',
      'confidence float 5',
    ],
    ['sequence uint64 1'],
  ],
  QueryConcept: [
    ['concept_id string 1'],
    [
      'found bool 1',
      'concept_id string 2',
      'content string 3',
      'strength float 4',
      'confidence float 5',
    ],
  ],
  LearnAssociation: [
    ['source_id string 1', 'target_id string 2', 'assoc_type uint32 3', 'confidence float 4'],
    ['sequence uint64 1'],
  ],
  GetNeighbors: [['concept_id string 1'], ['neighbor_ids repeated string 1']],
  FindPath: [
    ['start_id string 1', 'end_id string 2', 'max_depth uint32 3'],
    ['found bool 1', 'path repeated string 2'],
  ],
  VectorSearch: [
    ['query_vector repeated float 1', 'k uint32 2', 'ef_search uint32 3'],
    ['results repeated VectorMatch 1'],
  ],
  GetStats: [
    [],
    [
      'concepts uint64 1',
      'edges uint64 2',
      'written uint64 3',
      'dropped uint64 4',
      'pending uint64 5',
      'reconciliations uint64 6',
      'uptime_seconds uint64 7',
    ],
  ],
  Flush: [[], ['success bool 1']],
  HealthCheck: [[], ['healthy bool 1', 'status string 2', 'uptime_seconds uint64 3']],
};

function fieldsOf(type: protobuf.Type): string[] {
  return type.fieldsArray.map(
    (field) => `${field.name} ${field.repeated ? 'repeated ' : ''}${field.type} ${field.id}`,
  );
}

describe('the .proto keeps the contract', () => {
  test.each(Object.entries(NINE))('%s', (name, [request, response]) => {
    const method = service.methods[name];
    expect(fieldsOf(method?.resolvedRequestType ?? fail(name))).toEqual(
      expect.arrayContaining(request),
    );
    expect(fieldsOf(method?.resolvedResponseType ?? fail(name))).toEqual(
      expect.arrayContaining(response),
    );
  });

  test('messages and presence', () => {
    expect(service.methods['GetStats']?.requestType).toBe('StatsRequest');
    expect(service.methods['GetStats']?.responseType).toBe('StatsResponse');
    expect(fieldsOf(root.lookupType('sutra.storage.VectorMatch'))).toEqual([
      'concept_id string 1',
      'similarity float 2',
      'content string 3',
    ]);
    const optional = (type: string): string[] =>
      root
        .lookupType(`sutra.storage.${type}`)
        .fieldsArray.filter((field) => field.hasPresence && field.resolvedType === null)
        .map((field) => field.name);
    expect(optional('LearnConceptRequest')).toEqual([
      'strength',
      'confidence',
      'created_us',
      'updated_us',
    ]);
    expect(optional('LearnAssociationRequest')).toEqual(['confidence', 'created_us']);
  });

  test('the codec knows every method', () => {
    expect(Object.values(METHODS).map(({ name }) => name)).toEqual(
      expect.arrayContaining(Object.keys(service.methods)),
    );
  });
});

type Plain = Record<string, unknown>;

/** Renames ours to the proto's; a field left out here would be left out of the comparison, so the test counts them. */
function renamed(names: Record<string, string>) {
  return (ours: object): Plain =>
    Object.fromEntries(
      Object.entries(ours).map(([key, value]: [string, unknown]) => [
        names[key] ?? key,
        value instanceof Float32Array ? Array.from(value) : value,
      ]),
    );
}

const text = fc.string({ unit: 'binary', maxLength: 40 }).map((s) => s.toWellFormed());
const float = fc.float({ noNaN: true });
const uint32 = fc.oneof(fc.constantFrom(0, 1, 127, 128, 0x7fffffff, 0xffffffff), fc.nat());
const uint64 = fc.oneof(fc.constantFrom(0, 1, 2 ** 32, 2 ** 53 - 1), fc.maxSafeNat());
const floats = fc.array(float, { minLength: 1, maxLength: 20 }).map((a) => Float32Array.from(a));
const direction = fc.constantFrom('both', 'out', 'in');
const way = fc.constantFrom('out', 'in');
const NUMBERS: Record<string, number> = {
  both: 0,
  out: 1,
  in: 2,
  hops: 0,
  confidence: 1,
  all: 0,
  concepts: 1,
  associations: 2,
};
const numbered = (plain: Plain, ...names: string[]): Plain => {
  const copy = { ...plain };
  for (const name of names) copy[name] = NUMBERS[String(copy[name])];
  return copy;
};

const histogram = fc.record({ counts: fc.array(uint64, { maxLength: 80 }), sumUs: uint64 });

/** camelCase fields as snake_case, all the way down. */
function snakeCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCase);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]: [string, unknown]) => [
      key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      snakeCase(inner),
    ]),
  );
}

const concept = fc.record(
  {
    id: text,
    content: text,
    embedding: floats,
    strength: float,
    confidence: float,
    createdUs: uint64,
    updatedUs: uint64,
  },
  { requiredKeys: ['id', 'content'] },
);
const conceptNames = renamed({
  id: 'concept_id',
  createdUs: 'created_us',
  updatedUs: 'updated_us',
});
const association = fc.record(
  { source: text, target: text, type: uint32, confidence: float, createdUs: uint64 },
  { requiredKeys: ['source', 'target', 'type'] },
);
const associationNames = renamed({
  source: 'source_id',
  target: 'target_id',
  type: 'assoc_type',
  createdUs: 'created_us',
});
const scannedConcept = fc.record(
  {
    id: text,
    content: text,
    strength: float,
    confidence: float,
    createdUs: uint64,
    updatedUs: uint64,
    embedding: floats,
  },
  { requiredKeys: ['id', 'content', 'strength', 'confidence', 'createdUs', 'updatedUs'] },
);
const scannedConceptNames = renamed({
  id: 'concept_id',
  createdUs: 'created_us',
  updatedUs: 'updated_us',
});
const scannedAssociation = fc.record({
  source: text,
  target: text,
  type: uint32,
  confidence: float,
  createdUs: uint64,
});
const scannedAssociationNames = renamed({
  source: 'source_id',
  target: 'target_id',
  type: 'assoc_type',
  createdUs: 'created_us',
});
const pathNames = renamed({
  start: 'start_id',
  end: 'end_id',
  maxDepth: 'max_depth',
});
const stepNames = renamed({ from: 'from_id', to: 'to_id' });
const filled = text.filter((s) => s !== '');

interface Case {
  readonly ours: fc.Arbitrary<unknown>;
  readonly toProto: (ours: never) => Plain;
}

function messageCase<T>(ours: fc.Arbitrary<T>, toProto: (ours: T) => Plain): Case {
  return { ours, toProto };
}

const EMPTY = messageCase(fc.constant({}), () => ({}));
const SEQUENCE = messageCase(fc.record({ sequence: uint64 }), renamed({}));
const FORGOTTEN = messageCase(
  fc.record({ found: fc.boolean(), sequence: uint64, associations: uint64 }),
  renamed({}),
);

const CASES: Record<keyof typeof METHODS, [request: Case, response: Case]> = {
  learnConcept: [messageCase(concept, conceptNames), SEQUENCE],
  learnAssociation: [messageCase(association, associationNames), SEQUENCE],
  queryConcept: [
    messageCase(
      fc.record({ id: text, withEmbedding: fc.boolean(), withoutContent: fc.boolean() }),
      renamed({
        id: 'concept_id',
        withEmbedding: 'with_embedding',
        withoutContent: 'without_content',
      }),
    ),
    messageCase(
      fc.record(
        {
          found: fc.boolean(),
          id: text,
          content: text,
          strength: float,
          confidence: float,
          createdUs: uint64,
          updatedUs: uint64,
          dimension: uint32,
          embedding: floats,
        },
        {
          requiredKeys: [
            'found',
            'id',
            'content',
            'strength',
            'confidence',
            'createdUs',
            'updatedUs',
            'dimension',
          ],
        },
      ),
      renamed({ id: 'concept_id', createdUs: 'created_us', updatedUs: 'updated_us' }),
    ),
  ],
  getNeighbors: [
    messageCase(
      fc.record({
        id: text,
        direction,
        types: fc.array(uint32),
        limit: uint32,
        parallel: fc.boolean(),
      }),
      (ours) => numbered(renamed({ id: 'concept_id' })(ours), 'direction'),
    ),
    messageCase(
      fc.record({
        known: fc.boolean(),
        id: text,
        neighbors: fc.array(
          fc.record({ id: text, type: uint32, confidence: float, direction: way }),
          { maxLength: 5 },
        ),
      }),
      ({ known, id, neighbors }) => ({
        neighbor_ids: neighbors.map((neighbor) => neighbor.id),
        known,
        neighbors: neighbors.map((neighbor) =>
          numbered(renamed({ id: 'concept_id' })(neighbor), 'direction'),
        ),
        concept_id: id,
      }),
    ),
  ],
  findPath: [
    messageCase(
      fc.record({
        start: text,
        end: text,
        maxDepth: uint32,
        direction,
        types: fc.array(uint32),
        by: fc.constantFrom('hops', 'confidence'),
      }),
      (ours) => numbered(pathNames(ours), 'direction', 'by'),
    ),
    messageCase(
      fc.record({
        found: fc.boolean(),
        path: fc.array(text, { maxLength: 5 }),
        steps: fc.array(
          fc.record({ from: text, to: text, type: uint32, confidence: float, direction: way }),
          { maxLength: 5 },
        ),
        confidence: fc.double({ noNaN: true }),
      }),
      (ours) => ({
        ...ours,
        steps: ours.steps.map((step) => numbered(stepNames(step), 'direction')),
      }),
    ),
  ],
  vectorSearch: [
    messageCase(
      fc.record(
        {
          query: floats,
          k: uint32,
          efSearch: uint32,
          minSimilarity: float,
          within: fc.record({ id: filled, hops: uint32 }),
          withContent: fc.boolean(),
        },
        { requiredKeys: ['query', 'k', 'efSearch', 'withContent'] },
      ),
      ({ within, ...request }) => ({
        ...renamed({
          query: 'query_vector',
          efSearch: 'ef_search',
          minSimilarity: 'min_similarity',
          withContent: 'with_content',
        })(request),
        within_id: within?.id ?? '',
        within_hops: within?.hops ?? 0,
      }),
    ),
    messageCase(
      fc.array(
        fc.record(
          { id: text, similarity: float, content: text },
          { requiredKeys: ['id', 'similarity'] },
        ),
        { maxLength: 5 },
      ),
      (matches) => ({ results: matches.map(renamed({ id: 'concept_id' })) }),
    ),
  ],
  getStats: [
    EMPTY,
    messageCase(
      fc.record({
        concepts: uint64,
        edges: uint64,
        written: uint64,
        dropped: uint64,
        pending: uint64,
        reconciliations: uint64,
        uptimeSeconds: uint64,
        sequence: uint64,
        snapshotSequence: uint64,
        vectors: uint64,
        dimension: uint32,
        walBytes: uint64,
        snapshotBytes: uint64,
        checkpoints: uint64,
        indexed: uint64,
        vectorPrecision: text,
        indexBytes: uint64,
        indexFileBytes: uint64,
        indexQueued: uint64,
        groupCommits: uint64,
        committedBytes: uint64,
        pendingBytes: uint64,
        pendingLimitBytes: uint64,
        memtableWrites: uint64,
        memtableThreshold: uint64,
        walThresholdBytes: uint64,
        walDiskBytes: uint64,
        epoch: uint64,
        uuid: text,
        durability: text,
        readOnly: fc.boolean(),
        diskFull: fc.boolean(),
        syncLatency: histogram,
        latencyBoundsUs: fc.array(uint64, { maxLength: 100 }),
        checkpoint: fc.record({
          running: fc.boolean(),
          writtenBytes: uint64,
          expectedBytes: uint64,
          runningUs: uint64,
          lastDurationUs: uint64,
          lastEndUs: uint64,
          failures: uint64,
          lastError: text,
        }),
        server: fc.record({
          version: text,
          nodeVersion: text,
          pid: uint64,
          startUs: uint64,
          draining: fc.boolean(),
          connections: uint64,
          connectionsAccepted: uint64,
          connectionsRefused: uint64,
          callsWaiting: uint64,
          cpuUserUs: uint64,
          cpuSystemUs: uint64,
          residentBytes: uint64,
          heapUsedBytes: uint64,
          heapTotalBytes: uint64,
          externalBytes: uint64,
          loopActiveUs: uint64,
          loopIdleUs: uint64,
          diskReadBytes: uint64,
          diskWrittenBytes: uint64,
          networkReceivedBytes: uint64,
          networkSentBytes: uint64,
          diskFreeBytes: uint64,
          diskTotalBytes: uint64,
          loopDelay: histogram,
          calls: fc.array(
            fc.record({
              method: text,
              started: uint64,
              inFlight: uint64,
              type: text,
              received: uint64,
              sent: uint64,
              handled: fc.array(fc.record({ code: uint32, count: uint64 }), { maxLength: 3 }),
              latency: histogram,
            }),
            { maxLength: 3 },
          ),
        }),
      }),
      (stats) => snakeCase(stats) as Plain,
    ),
  ],
  flush: [EMPTY, messageCase(fc.record({ success: fc.boolean() }), renamed({}))],
  healthCheck: [
    EMPTY,
    messageCase(
      fc.record({ healthy: fc.boolean(), status: text, uptimeSeconds: uint64 }),
      renamed({ uptimeSeconds: 'uptime_seconds' }),
    ),
  ],
  learnBatch: [
    messageCase(
      fc.record({
        concepts: fc.array(
          concept.chain((c) => filled.map((id) => ({ ...c, id }))),
          { maxLength: 5 },
        ),
        associations: fc.array(
          association.chain((a) =>
            fc.tuple(filled, filled).map(([source, target]) => ({ ...a, source, target })),
          ),
          { maxLength: 5 },
        ),
      }),
      ({ concepts, associations }) => ({
        concepts: concepts.map(conceptNames),
        associations: associations.map(associationNames),
      }),
    ),
    messageCase(
      fc.record({ firstSequence: uint64, count: uint64 }),
      renamed({ firstSequence: 'first_sequence' }),
    ),
  ],
  forgetConcept: [messageCase(fc.record({ id: text }), renamed({ id: 'concept_id' })), FORGOTTEN],
  forgetAssociation: [
    messageCase(
      fc.record(
        { source: text, target: text, type: uint32 },
        { requiredKeys: ['source', 'target'] },
      ),
      associationNames,
    ),
    FORGOTTEN,
  ],
  ingest: [
    messageCase(
      fc.array(fc.oneof(fc.record({ concept }), fc.record({ association })), { maxLength: 5 }),
      (items) => ({
        items: items.map((item) =>
          'concept' in item
            ? { concept: conceptNames(item.concept) }
            : { association: associationNames(item.association) },
        ),
      }),
    ),
    messageCase(
      fc.record({
        firstIndex: uint64,
        received: uint64,
        accepted: uint64,
        firstSequence: uint64,
        lastSequence: uint64,
        errors: fc.array(
          fc.record({
            index: uint64,
            code: fc.constantFrom('NAME_COLLISION', 'UNKNOWN_CONCEPT', 'INVALID_ARGUMENT'),
            message: text,
            violations: fc.array(fc.record({ field: text, description: text }), { maxLength: 3 }),
          }),
          { maxLength: 5 },
        ),
      }),
      renamed({
        firstIndex: 'first_index',
        firstSequence: 'first_sequence',
        lastSequence: 'last_sequence',
      }),
    ),
  ],
  scan: [
    messageCase(
      fc.record({
        kinds: fc.constantFrom('all', 'concepts', 'associations'),
        withEmbeddings: fc.boolean(),
        pageItems: uint32,
        resume: text,
      }),
      ({ withEmbeddings, ...ours }) => ({
        ...numbered(renamed({ pageItems: 'page_items' })(ours), 'kinds'),
        without_embeddings: !withEmbeddings,
      }),
    ),
    messageCase(
      fc.record({
        sequence: uint64,
        digest: text,
        conceptCount: uint64,
        associationCount: uint64,
        concepts: fc.array(scannedConcept, { maxLength: 5 }),
        associations: fc.array(scannedAssociation, { maxLength: 5 }),
        resume: fc.option(filled),
      }),
      ({ resume, concepts, associations, ...ours }) => ({
        ...renamed({ conceptCount: 'concept_count', associationCount: 'association_count' })(ours),
        resume: resume ?? '',
        concepts: concepts.map(scannedConceptNames),
        associations: associations.map(scannedAssociationNames),
      }),
    ),
  ],
  backup: [
    EMPTY,
    messageCase(
      fc.record({
        info: fc.record({
          sequence: uint64,
          digest: text,
          concepts: uint64,
          edges: uint64,
          vectors: uint64,
          bytes: uint64,
        }),
        offset: uint64,
        bytes: fc.uint8Array({ minLength: 1, maxLength: 50 }).map((bytes) => Buffer.from(bytes)),
        crc: uint32,
      }),
      ({ info, offset, bytes, crc }) => ({
        ...renamed({ bytes: 'total_bytes' })(info),
        offset,
        data: bytes,
        crc32: crc,
      }),
    ),
  ],
};

interface Codec {
  encode: (value: never) => Buffer;
  decode: (bytes: Buffer) => unknown;
}

function compare(type: protobuf.Type, { ours, toProto }: Case, { encode, decode }: Codec): void {
  const seen = new Set<string>();
  fc.assert(
    fc.property(ours, (value) => {
      const plain = toProto(value as never);
      for (const name of Object.keys(plain)) seen.add(name);
      // Ours, read by the .proto.
      const read = type.toObject(type.decode(encode(value as never)), {
        longs: Number,
        arrays: true,
      });
      expect(comparable(type, read)).toEqual(comparable(type, plain));
      // The .proto's, read by ours.
      const bytes = Buffer.from(type.encode(type.fromObject(plain)).finish());
      expect(decode(bytes)).toEqual(value);
      // And byte for byte the same where fields stand in order.
      expect(decode(encode(value as never))).toEqual(value);
    }),
    { numRuns: 200 },
  );
  expect([...seen].sort()).toEqual(Object.keys(type.fields).sort());
}

/** With defaults filled in and typed arrays as plain ones, so that presence alone decides nothing but where it is kept. */
function comparable(type: protobuf.Type, plain: Plain): Plain {
  const result: Plain = {};
  for (const field of type.fieldsArray) {
    const value = plain[field.name];
    const nested = field.resolve().resolvedType;
    if (field.repeated) {
      const items = Array.from((value ?? []) as ArrayLike<unknown>);
      result[field.name] =
        nested instanceof protobuf.Type
          ? items.map((item) => comparable(nested, item as Plain))
          : items;
    } else if (nested instanceof protobuf.Type && value !== undefined) {
      result[field.name] = comparable(nested, value as Plain);
    } else if (value !== undefined || field.hasPresence) {
      result[field.name] = value;
    } else if (nested instanceof protobuf.Enum || field.type === 'uint64') {
      result[field.name] = 0;
    } else {
      result[field.name] = field.typeDefault as unknown;
    }
  }
  return result;
}

describe('the codec agrees with the .proto on', () => {
  for (const [key, [request, response]] of Object.entries(CASES)) {
    const method = METHODS[key as keyof typeof METHODS];
    const described = service.methods[method.name];
    test(`${method.name}: request`, () => {
      compare(described?.resolvedRequestType ?? fail(key), request, {
        encode: method.encodeRequest,
        decode: method.decodeRequest,
      });
    });
    test(`${method.name}: response`, () => {
      compare(described?.resolvedResponseType ?? fail(key), response, {
        encode: method.encodeResponse,
        decode: method.decodeResponse,
      });
    });
  }
});

const learn = METHODS.learnConcept;

function refusal(decoded: unknown): { fields: string[]; message: string } {
  expect(decoded).toBeInstanceOf(DecodeFailure);
  if (!(decoded instanceof DecodeFailure)) throw new Error('unreachable');
  expect(decoded.error.code).toBe('INVALID_ARGUMENT');
  const { violations, message } = decoded.error;
  return { fields: violations.map(({ field }) => field), message };
}

/** Bytes written field by field. */
function written(write: (writer: protobuf.Writer) => void): Buffer {
  const writer = protobuf.Writer.create();
  write(writer);
  return Buffer.from(writer.finish());
}

describe('decoding', () => {
  test('takes embeddings packed, unpacked, and mixed', () => {
    const bytes = written((w) => {
      w.uint32((3 << 3) | 5).float(1);
      w.uint32((3 << 3) | 2).bytes(Buffer.from(Float32Array.of(2, 3).buffer));
      w.uint32((1 << 3) | 2).string('x');
      w.uint32((3 << 3) | 5).float(4);
      w.uint32((3 << 3) | 2).bytes(Buffer.alloc(0));
    });
    expect(learn.decodeRequest(bytes)).toEqual({
      id: 'x',
      content: '',
      embedding: Float32Array.of(1, 2, 3, 4),
    });
  });

  test('reads packed floats from any alignment', () => {
    for (let pad = 0; pad < 8; pad++) {
      const bytes = written((w) => {
        w.uint32((1 << 3) | 2).string('i'.repeat(pad + 1));
        w.uint32((3 << 3) | 2).bytes(Buffer.from(Float32Array.of(1.5, -2.25).buffer));
      });
      const framed = Buffer.concat([Buffer.alloc(pad), bytes]).subarray(pad);
      expect(learn.decodeRequest(framed)).toMatchObject({ embedding: Float32Array.of(1.5, -2.25) });
    }
  });

  test('an empty embedding is none', () => {
    const bytes = written((w) => w.uint32((3 << 3) | 2).bytes(Buffer.alloc(0)));
    expect(learn.decodeRequest(bytes)).toEqual({ id: '', content: '' });
  });

  test('skips unknown fields of every wire type, and lets the last of two count', () => {
    const bytes = written((w) => {
      w.uint32((99 << 3) | 0).uint64(2 ** 40);
      w.uint32((98 << 3) | 1).fixed64(7);
      w.uint32((97 << 3) | 2).string('later');
      w.uint32((96 << 3) | 5).fixed32(7);
      w.uint32((1 << 3) | 2).string('first');
      w.uint32((1 << 3) | 2).string('second');
      w.uint32((4 << 3) | 5).float(1);
      w.uint32((4 << 3) | 5).float(0);
    });
    expect(learn.decodeRequest(bytes)).toEqual({ id: 'second', content: '', strength: 0 });
  });

  test('a wrong wire type, a cut and a bad length name the field', () => {
    const wrong = written((w) => w.uint32((1 << 3) | 0).uint32(5));
    expect(refusal(learn.decodeRequest(wrong)).fields).toEqual(['concept_id']);
    const cut = written((w) => w.uint32((2 << 3) | 2).string('content')).subarray(0, 5);
    expect(refusal(learn.decodeRequest(cut)).fields).toEqual(['content']);
    const odd = written((w) => w.uint32((3 << 3) | 2).bytes(Buffer.alloc(5)));
    expect(refusal(learn.decodeRequest(odd)).fields).toEqual(['embedding']);
    const group = written((w) => w.uint32((50 << 3) | 3));
    expect(refusal(learn.decodeRequest(group)).fields).toEqual(['request']);
    expect(refusal(learn.decodeRequest(Buffer.of(0, 0))).fields).toEqual(['request']);
    const endless = Buffer.alloc(12, 0xff);
    expect(refusal(learn.decodeRequest(endless)).fields).toEqual(['request']);
  });

  test('what is not UTF-8 is refused by name; U+FFFD itself is fine', () => {
    for (const bad of [
      [0xff],
      [0xc3],
      [0xed, 0xa0, 0x80],
      [0xc0, 0xaf],
      [0xf4, 0x90, 0x80, 0x80],
    ]) {
      const bytes = written((w) => {
        w.uint32((1 << 3) | 2).bytes(Buffer.from(bad));
        w.uint32((2 << 3) | 2).bytes(Buffer.from([0x61, ...bad]));
      });
      expect(refusal(learn.decodeRequest(bytes)).fields).toEqual(['concept_id', 'content']);
    }
    const bytes = written((w) => w.uint32((1 << 3) | 2).string('a\uFFFDb'));
    expect(learn.decodeRequest(bytes)).toMatchObject({ id: 'a\uFFFDb' });
  });

  test('in a batch, problems are told with their place, and a nested message keeps to its bytes', () => {
    const bytes = written((w) => {
      w.uint32((1 << 3) | 2).fork();
      w.uint32((1 << 3) | 2).string('fine');
      w.ldelim();
      w.uint32((1 << 3) | 2).fork();
      w.uint32((1 << 3) | 2).bytes(Buffer.of(0xff));
      w.ldelim();
      w.uint32((2 << 3) | 2).fork();
      w.uint32((1 << 3) | 2).string('source');
      w.ldelim();
    });
    expect(refusal(METHODS.learnBatch.decodeRequest(bytes)).fields).toEqual([
      'concepts[1].concept_id',
      'associations[0].target_id',
    ]);
    // The inner string claims 5 bytes; only 1 is left of its message, though the outer one goes on.
    const overrun = Buffer.from([0x0a, 3, 0x0a, 5, 0x61, 0x62, 0x63, 0x64, 0x65]);
    expect(refusal(METHODS.learnBatch.decodeRequest(overrun)).fields).toEqual([
      'concepts[0].concept_id',
    ]);
  });

  test('a flood of empty elements is given up early', () => {
    const flood = Buffer.alloc(2_000_000);
    for (let i = 0; i < flood.length; i += 2) flood[i] = 0x0a;
    const { fields } = refusal(METHODS.learnBatch.decodeRequest(flood));
    expect(fields.length).toBe(101);
  });

  test('unknown enum values and endless type lists are refused', () => {
    const enumerated = written((w) => w.uint32((2 << 3) | 0).uint32(9));
    expect(refusal(METHODS.getNeighbors.decodeRequest(enumerated)).fields).toEqual(['direction']);
    const many = written((w) => w.uint32((3 << 3) | 2).bytes(Buffer.alloc(70_000)));
    expect(refusal(METHODS.getNeighbors.decodeRequest(many)).fields).toEqual(['types']);
    const unpacked = written((w) => {
      w.uint32((3 << 3) | 0).uint32(7);
      w.uint32((3 << 3) | 2).fork();
      w.uint32(300).uint32(65_535);
      w.ldelim();
    });
    expect(METHODS.getNeighbors.decodeRequest(unpacked)).toMatchObject({ types: [7, 300, 65_535] });
  });

  test('no bytes whatever make it throw, and every refusal is INVALID_ARGUMENT', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...Object.values(METHODS)),
        fc.uint8Array({ maxLength: 64 }),
        (method, bytes) => {
          const decoded: unknown = method.decodeRequest(Buffer.from(bytes));
          if (decoded instanceof DecodeFailure) expect(decoded.error.code).toBe('INVALID_ARGUMENT');
        },
      ),
      { numRuns: 5_000 },
    );
  });

  test('nor do bytes that were a message until one of them changed', () => {
    const whole = METHODS.learnBatch.encodeRequest({
      concepts: [{ id: 'one', content: 'text', embedding: [1, 2, 3], strength: 1 }],
      associations: [{ source: 'one', target: 'two', type: 300, confidence: 0.5 }],
    });
    for (let i = 0; i < whole.length; i++) {
      for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
        const bytes = Buffer.from(whole);
        bytes[i] = value;
        const decoded: unknown = METHODS.learnBatch.decodeRequest(bytes);
        if (decoded instanceof DecodeFailure) expect(decoded.error.code).toBe('INVALID_ARGUMENT');
      }
      const cut: unknown = METHODS.learnBatch.decodeRequest(whole.subarray(0, i));
      if (cut instanceof DecodeFailure) expect(cut.error.code).toBe('INVALID_ARGUMENT');
    }
  });
});

test('floats collected one by one keep their bits', () => {
  const values = Float32Array.from({ length: 5000 }, (_, i) => Math.fround(Math.sin(i)));
  const sink = new FloatSink();
  for (const value of values) sink.push(value);
  expect(sink.finish()).toEqual(values);
});

test('doubles and floats keep infinities, NaN and -0', () => {
  const w = new WireWriter();
  w.float(1, NaN);
  w.float(2, -0);
  w.double(3, -Infinity);
  w.float(4, 0);
  const r = new WireReader(w.finish());
  expect([r.next(), r.float('')]).toEqual([1, NaN]);
  expect([r.next(), r.float('')]).toEqual([2, -0]);
  expect([r.next(), r.double('')]).toEqual([3, -Infinity]);
  expect(r.next()).toBe(0);
});

function fail(name: string): never {
  throw new Error(`the .proto has no ${name}`);
}
