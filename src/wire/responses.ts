/**
 * The responses of proto/sutra/storage.proto, by hand, as requests.ts has the requests: encoders for the server, decoders for
 * the remote backend, in the types of the Storage interface.
 */

import type {
  BatchReceipt,
  ConceptAnswer,
  ForgetReceipt,
  HealthAnswer,
  Neighbor,
  NeighborsAnswer,
  PathAnswer,
  PathStep,
  VectorMatch,
  WriteReceipt,
} from '../storage/storage.js';
import { FloatSink, type WireReader } from './reader.js';
import { DIRECTIONS } from './requests.js';
import { WireWriter } from './writer.js';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export interface FlushAnswer {
  readonly success: boolean;
}

/** LearnConceptResponse and LearnAssociationResponse are alike. */
export function encodeWriteReceipt(receipt: WriteReceipt): Buffer {
  const w = new WireWriter();
  w.uint64(1, receipt.sequence);
  return w.finish();
}

export function decodeWriteReceipt(r: WireReader): WriteReceipt {
  let sequence = 0;
  for (let field = r.next(); field !== 0; field = r.next()) {
    if (field === 1) sequence = r.uint64('sequence');
    else r.skip();
  }
  return { sequence };
}

export function encodeLearnBatchAnswer(receipt: BatchReceipt): Buffer {
  const w = new WireWriter();
  w.uint64(1, receipt.firstSequence);
  w.uint64(2, receipt.count);
  return w.finish();
}

export function decodeLearnBatchAnswer(r: WireReader): BatchReceipt {
  let firstSequence = 0;
  let count = 0;
  for (let field = r.next(); field !== 0; field = r.next()) {
    if (field === 1) firstSequence = r.uint64('first_sequence');
    else if (field === 2) count = r.uint64('count');
    else r.skip();
  }
  return { firstSequence, count };
}

/** ForgetConceptResponse and ForgetAssociationResponse are alike. */
export function encodeForgetReceipt(receipt: ForgetReceipt): Buffer {
  const w = new WireWriter();
  w.bool(1, receipt.found);
  w.uint64(2, receipt.sequence);
  w.uint64(3, receipt.associations);
  return w.finish();
}

export function decodeForgetReceipt(r: WireReader): ForgetReceipt {
  const receipt: Mutable<ForgetReceipt> = { found: false, sequence: 0, associations: 0 };
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        receipt.found = r.bool('found');
        break;
      case 2:
        receipt.sequence = r.uint64('sequence');
        break;
      case 3:
        receipt.associations = r.uint64('associations');
        break;
      default:
        r.skip();
    }
  }
  return receipt;
}

export function encodeConceptAnswer(answer: ConceptAnswer): Buffer {
  const w = new WireWriter();
  w.bool(1, answer.found);
  w.string(2, answer.id);
  w.string(3, answer.content);
  w.float(4, answer.strength);
  w.float(5, answer.confidence);
  w.uint64(6, answer.createdUs);
  w.uint64(7, answer.updatedUs);
  w.uint32(8, answer.dimension);
  if (answer.embedding !== undefined) w.floats(9, answer.embedding);
  return w.finish();
}

export function decodeConceptAnswer(r: WireReader): ConceptAnswer {
  const answer: Mutable<ConceptAnswer> = {
    found: false,
    id: '',
    content: '',
    strength: 0,
    confidence: 0,
    createdUs: 0,
    updatedUs: 0,
    dimension: 0,
  };
  let embedding: FloatSink | undefined;
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        answer.found = r.bool('found');
        break;
      case 2:
        answer.id = r.string('concept_id');
        break;
      case 3:
        answer.content = r.string('content');
        break;
      case 4:
        answer.strength = r.float('strength');
        break;
      case 5:
        answer.confidence = r.float('confidence');
        break;
      case 6:
        answer.createdUs = r.uint64('created_us');
        break;
      case 7:
        answer.updatedUs = r.uint64('updated_us');
        break;
      case 8:
        answer.dimension = r.uint32('dimension');
        break;
      case 9:
        r.floats('embedding', (embedding ??= new FloatSink()));
        break;
      default:
        r.skip();
    }
  }
  if (embedding !== undefined) answer.embedding = embedding.finish();
  return answer;
}

export function encodeNeighborsAnswer(answer: NeighborsAnswer): Buffer {
  const w = new WireWriter();
  // Old clients read neighbor_ids alone, so the ids are there twice.
  for (const neighbor of answer.neighbors) w.element(1, neighbor.id);
  w.bool(2, answer.known);
  for (const neighbor of answer.neighbors) {
    w.open(3);
    w.string(1, neighbor.id);
    w.uint32(2, neighbor.type);
    w.float(3, neighbor.confidence);
    w.uint32(4, DIRECTIONS.indexOf(neighbor.direction));
    w.close();
  }
  w.string(4, answer.id);
  return w.finish();
}

export function decodeNeighborsAnswer(r: WireReader): NeighborsAnswer {
  const neighbors: Neighbor[] = [];
  let known = false;
  let id = '';
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 2:
        known = r.bool('known');
        break;
      case 3: {
        const outer = r.open('neighbors');
        neighbors.push(readNeighbor(r));
        r.close(outer);
        break;
      }
      case 4:
        id = r.string('concept_id');
        break;
      default:
        // neighbor_ids, too: neighbors says the same.
        r.skip();
    }
  }
  return { known, id, neighbors };
}

function readNeighbor(r: WireReader): Neighbor {
  const neighbor: Mutable<Neighbor> = { id: '', type: 0, confidence: 0, direction: 'out' };
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        neighbor.id = r.string('concept_id');
        break;
      case 2:
        neighbor.type = r.uint32('type');
        break;
      case 3:
        neighbor.confidence = r.float('confidence');
        break;
      case 4:
        neighbor.direction = r.enumeration('direction', DIRECTIONS) === 'in' ? 'in' : 'out';
        break;
      default:
        r.skip();
    }
  }
  return neighbor;
}

export function encodePathAnswer(answer: PathAnswer): Buffer {
  const w = new WireWriter();
  w.bool(1, answer.found);
  for (const id of answer.path) w.element(2, id);
  for (const step of answer.steps) {
    w.open(3);
    w.string(1, step.from);
    w.string(2, step.to);
    w.uint32(3, step.type);
    w.float(4, step.confidence);
    w.uint32(5, DIRECTIONS.indexOf(step.direction));
    w.close();
  }
  w.double(4, answer.confidence);
  return w.finish();
}

export function decodePathAnswer(r: WireReader): PathAnswer {
  const path: string[] = [];
  const steps: PathStep[] = [];
  let found = false;
  let confidence = 0;
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        found = r.bool('found');
        break;
      case 2:
        path.push(r.string('path'));
        break;
      case 3: {
        const outer = r.open('steps');
        steps.push(readStep(r));
        r.close(outer);
        break;
      }
      case 4:
        confidence = r.double('confidence');
        break;
      default:
        r.skip();
    }
  }
  return { found, path, steps, confidence };
}

function readStep(r: WireReader): PathStep {
  const step: Mutable<PathStep> = { from: '', to: '', type: 0, confidence: 0, direction: 'out' };
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        step.from = r.string('from_id');
        break;
      case 2:
        step.to = r.string('to_id');
        break;
      case 3:
        step.type = r.uint32('type');
        break;
      case 4:
        step.confidence = r.float('confidence');
        break;
      case 5:
        step.direction = r.enumeration('direction', DIRECTIONS) === 'in' ? 'in' : 'out';
        break;
      default:
        r.skip();
    }
  }
  return step;
}

export function encodeSearchAnswer(matches: readonly VectorMatch[]): Buffer {
  const w = new WireWriter();
  for (const match of matches) {
    w.open(1);
    w.string(1, match.id);
    w.float(2, match.similarity);
    if (match.content !== undefined) w.element(3, match.content);
    w.close();
  }
  return w.finish();
}

export function decodeSearchAnswer(r: WireReader): VectorMatch[] {
  const matches: VectorMatch[] = [];
  for (let field = r.next(); field !== 0; field = r.next()) {
    if (field === 1) {
      const outer = r.open('results');
      matches.push(readMatch(r));
      r.close(outer);
    } else {
      r.skip();
    }
  }
  return matches;
}

function readMatch(r: WireReader): VectorMatch {
  const match: Mutable<VectorMatch> = { id: '', similarity: 0 };
  for (let field = r.next(); field !== 0; field = r.next()) {
    if (field === 1) match.id = r.string('concept_id');
    else if (field === 2) match.similarity = r.float('similarity');
    else if (field === 3) match.content = r.string('content');
    else r.skip();
  }
  return match;
}

export function encodeFlushAnswer(answer: FlushAnswer): Buffer {
  const w = new WireWriter();
  w.bool(1, answer.success);
  return w.finish();
}

export function decodeFlushAnswer(r: WireReader): FlushAnswer {
  let success = false;
  for (let field = r.next(); field !== 0; field = r.next()) {
    if (field === 1) success = r.bool('success');
    else r.skip();
  }
  return { success };
}

export function encodeHealthAnswer(answer: HealthAnswer): Buffer {
  const w = new WireWriter();
  w.bool(1, answer.healthy);
  w.string(2, answer.status);
  w.uint64(3, answer.uptimeSeconds);
  return w.finish();
}

export function decodeHealthAnswer(r: WireReader): HealthAnswer {
  const answer: Mutable<HealthAnswer> = { healthy: false, status: '', uptimeSeconds: 0 };
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        answer.healthy = r.bool('healthy');
        break;
      case 2:
        answer.status = r.string('status');
        break;
      case 3:
        answer.uptimeSeconds = r.uint64('uptime_seconds');
        break;
      default:
        r.skip();
    }
  }
  return answer;
}
