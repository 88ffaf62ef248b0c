/**
 * Seeded histories of writes, and what they must come to: an oracle over plain Maps that also knows which slot each
 * concept gets (free ones first-in first-out, then a new one), and a canonical text of a state, from the oracle and from a
 * store, to compare the two in full.
 */

import { ParsedId, parseId } from '#sutra/engine/format/id';
import { OUT } from '#sutra/engine/graph/graph-view';
import { ConceptRecord } from '#sutra/engine/snapshot/snapshot-source';
import type { State } from '#sutra/engine/state';
import type { Store } from '#sutra/engine/store';

export interface Learn {
  readonly kind: 'learn';
  readonly id: string;
  readonly content: string;
  readonly strength: number;
  readonly confidence: number;
  readonly embedding: readonly number[] | null;
}

export interface Associate {
  readonly kind: 'associate';
  readonly source: string;
  readonly target: string;
  readonly type: number;
  readonly confidence: number;
}

export type Command =
  | Learn
  | Associate
  | { readonly kind: 'forget'; readonly id: string }
  | {
      readonly kind: 'unlink';
      readonly source: string;
      readonly target: string;
      readonly type: number | null;
    };

/** One call: one command, or a batch that is in whole or not at all. */
export interface Call {
  readonly commands: readonly Command[];
  readonly isBatch: boolean;
  readonly timeUs: number;
}

interface Concept {
  readonly slot: number;
  readonly name: string | null;
  readonly content: string;
  readonly strength: number;
  readonly confidence: number;
  readonly createdUs: number;
  readonly updatedUs: number;
  readonly embedding: readonly number[] | null;
}

interface Edge {
  readonly source: string;
  readonly target: string;
  readonly type: number;
  readonly confidence: number;
  readonly createdUs: number;
}

const parsed = new ParsedId();

/** 32 hex digits, and the name where the id is one. */
function keyOf(id: string): { key: string; name: string | null } {
  parseId(id, parsed);
  const key = [parsed.k0, parsed.k1, parsed.k2, parsed.k3]
    .map((word) => word.toString(16).padStart(8, '0'))
    .join('');
  return { key, name: parsed.nameLength === 0 ? null : id };
}

export class HistoryModel {
  sequence = 0;
  slotCount = 0;
  readonly concepts = new Map<string, Concept>();
  readonly edges = new Map<string, Edge>();
  private free: number[] = [];

  clone(): HistoryModel {
    const copy = new HistoryModel();
    copy.sequence = this.sequence;
    copy.slotCount = this.slotCount;
    for (const [key, concept] of this.concepts) copy.concepts.set(key, concept);
    for (const [key, edge] of this.edges) copy.edges.set(key, edge);
    copy.free = [...this.free];
    return copy;
  }

  /** An id for a key: its name when it has one. */
  idOf(key: string): string {
    return this.concepts.get(key)?.name ?? hexId(key);
  }

  applyCall(call: Call): void {
    for (const command of call.commands) this.apply(command, call.timeUs);
  }

  private apply(command: Command, timeUs: number): void {
    this.sequence++;
    if (command.kind === 'learn') {
      const { key, name } = keyOf(command.id);
      const old = this.concepts.get(key);
      this.concepts.set(key, {
        slot: old?.slot ?? this.free.shift() ?? this.slotCount++,
        name: old?.name ?? name,
        content: command.content,
        strength: Math.fround(command.strength),
        confidence: Math.fround(command.confidence),
        createdUs: old?.createdUs ?? timeUs,
        updatedUs: timeUs,
        embedding:
          command.embedding === null
            ? (old?.embedding ?? null)
            : [...Array.from(command.embedding)],
      });
    } else if (command.kind === 'associate') {
      const source = keyOf(command.source).key;
      const target = keyOf(command.target).key;
      const edge = `${source} ${target} ${command.type}`;
      this.edges.set(edge, {
        source,
        target,
        type: command.type,
        confidence: Math.fround(command.confidence),
        createdUs: this.edges.get(edge)?.createdUs ?? timeUs,
      });
    } else if (command.kind === 'forget') {
      const { key } = keyOf(command.id);
      const old = this.concepts.get(key);
      if (old === undefined) throw new Error(`forgets ${command.id}, which is not there`);
      this.concepts.delete(key);
      this.free.push(old.slot);
      for (const [at, edge] of this.edges) {
        if (edge.source === key || edge.target === key) this.edges.delete(at);
      }
    } else {
      const source = keyOf(command.source).key;
      const target = keyOf(command.target).key;
      for (const [at, edge] of this.edges) {
        if (edge.source !== source || edge.target !== target) continue;
        if (command.type === null || edge.type === command.type) this.edges.delete(at);
      }
    }
  }

  /** `withTimes` false: for a store whose clock was not ours. */
  dump(withTimes = true): string {
    const lines: string[] = [`sequence ${this.sequence} slots ${this.slotCount}`];
    for (const [key, c] of this.concepts) lines.push(conceptLine(key, c, withTimes));
    for (const edge of this.edges.values()) lines.push(edgeLine(edge, withTimes));
    return lines.sort().join('\n');
  }
}

function hexId(key: string): string {
  return key.endsWith('0'.repeat(16)) ? key.slice(0, 16) : key;
}

function conceptLine(key: string, c: Concept, withTimes: boolean): string {
  const { slot, name, content, strength, confidence, embedding } = c;
  const vector = embedding === null ? '' : embedding.map(Math.fround).join(' ');
  const times = withTimes ? [c.createdUs, c.updatedUs] : [];
  const values = [slot, name, content, strength, confidence, vector, ...times];
  return `concept ${key} ${JSON.stringify(values)}`;
}

function edgeLine(edge: Edge, withTimes: boolean): string {
  const { source, target, type, confidence, createdUs } = edge;
  return `edge ${source} ${target} ${type} ${confidence} ${withTimes ? createdUs : ''}`;
}

/** The same text of a store's state, by a full scan. */
export function dumpState(state: State, withTimes = true): string {
  const { levels } = state;
  const lines: string[] = [`sequence ${state.sequence} slots ${state.slotCount}`];
  const record = new ConceptRecord();
  const cursor = state.openCursor();
  const keys = new Map<number, string>();
  for (let slot = 0; slot < state.slotCount; slot++) {
    if (!levels.readConcept(slot, record)) continue;
    const key = [record.k0, record.k1, record.k2, record.k3]
      .map((word) => word.toString(16).padStart(8, '0'))
      .join('');
    keys.set(slot, key);
    const id = levels.id(slot);
    const vector = record.hasVector ? new Float32Array(levels.dimension) : null;
    if (vector !== null) levels.readVector(slot, vector);
    lines.push(
      conceptLine(
        key,
        {
          slot,
          name: id === hexId(key) ? null : id,
          content: Buffer.from(levels.readContent(slot)).toString('utf8'),
          strength: record.strength,
          confidence: record.confidence,
          createdUs: record.createdUs,
          updatedUs: record.updatedUs,
          embedding: vector === null ? null : Array.from(vector),
        },
        withTimes,
      ),
    );
  }
  for (const [slot, source] of keys) {
    cursor.start(slot, OUT, null);
    for (let n = cursor.fill(); n > 0; n = cursor.fill()) {
      for (let i = 0; i < n; i++) {
        const other = cursor.slots[i] ?? 0;
        const type = cursor.types[i] ?? 0;
        const found = levels.findEdge(slot, other, type);
        lines.push(
          edgeLine(
            {
              source,
              target: keys.get(other) ?? `slot ${other}`,
              type,
              confidence: cursor.confidences[i] ?? 0,
              createdUs: found ? levels.edgeCreatedUs() : -1,
            },
            withTimes,
          ),
        );
      }
    }
  }
  return lines.sort().join('\n');
}

/** Makes calls that a store in the model's state accepts. */
export class HistoryMaker {
  constructor(
    private readonly random: () => number,
    /** How many different names there are: the fewer, the more is forgotten, learned again and reused. */
    private readonly names = 24,
    private readonly longestContent = 3000,
  ) {}

  /** The next call; the caller applies it to the model. */
  next(model: HistoryModel, timeUs: number): Call {
    const draw = this.random();
    if (draw < 0.14) {
      const ahead = model.clone();
      const learns: Command[] = [];
      const links: Command[] = [];
      const add = (command: Command, list: Command[]): void => {
        list.push(command);
        ahead.applyCall({ commands: [command], isBatch: false, timeUs });
      };
      for (let n = 1 + this.below(5); n > 0; n--) add(this.learn(), learns);
      for (let n = this.below(5); n > 0; n--) add(this.associate(ahead), links);
      return { commands: [...learns, ...links], isBatch: true, timeUs };
    }
    return { commands: [this.single(model, draw)], isBatch: false, timeUs };
  }

  private single(model: HistoryModel, draw: number): Command {
    if (model.concepts.size < 2 || draw < 0.5) return this.learn();
    if (draw < 0.8) return this.associate(model);
    const edges = [...model.edges.values()];
    if (draw < 0.88 && edges.length > 0) {
      const edge = edges[this.below(edges.length)];
      if (edge !== undefined) {
        return {
          kind: 'unlink',
          source: model.idOf(edge.source),
          target: model.idOf(edge.target),
          type: this.random() < 0.3 ? null : edge.type,
        };
      }
    }
    return { kind: 'forget', id: this.known(model) };
  }

  private learn(): Command {
    const { key, name } = keyOf(`name ${this.below(this.names)}`);
    // By its bare key now and then, also before the name is known, which is then adopted later.
    const byKey = this.random() < 0.15;
    return {
      kind: 'learn',
      id: byKey || name === null ? hexId(key) : name,
      content: this.content(),
      strength: this.random() * 4,
      confidence: this.random(),
      embedding: this.random() < 0.25 ? Array.from({ length: 4 }, () => this.random() - 0.5) : null,
    };
  }

  private associate(model: HistoryModel): Command {
    return {
      kind: 'associate',
      source: this.known(model),
      target: this.known(model),
      type: this.below(3),
      confidence: this.random(),
    };
  }

  /** The id of some concept: its name, or (also where it has one) its key. */
  private known(model: HistoryModel): string {
    const keys = [...model.concepts.keys()];
    const key = keys[this.below(keys.length)] ?? '';
    return this.random() < 0.2 ? hexId(key) : model.idOf(key);
  }

  private content(): string {
    const draw = this.random();
    if (draw < 0.1) return '';
    const length = draw < 0.9 ? this.below(80) : this.below(this.longestContent);
    return String.fromCharCode(97 + this.below(26)).repeat(length);
  }

  private below(n: number): number {
    return Math.min(n - 1, Math.floor(this.random() * n));
  }
}

/** Makes a call of a store. Resolves with the last sequence it took. */
export async function perform(store: Store, call: Call): Promise<number> {
  const { commits } = store;
  if (call.isBatch) {
    const learns: Learn[] = [];
    const links: Associate[] = [];
    for (const command of call.commands) {
      if (command.kind === 'learn') learns.push(command);
      else if (command.kind === 'associate') links.push(command);
    }
    const { firstSequence, count } = await commits.batch(learns, links);
    return firstSequence + count - 1;
  }
  const [command] = call.commands;
  if (command === undefined) throw new Error('an empty call');
  if (command.kind === 'learn') return (await commits.learn(command)).firstSequence;
  if (command.kind === 'associate') return (await commits.associate(command)).firstSequence;
  const gone =
    command.kind === 'forget'
      ? await commits.forgetConcept(command.id)
      : await commits.forgetAssociation(command.source, command.target, command.type);
  if (gone === null) throw new Error(`${JSON.stringify(command)} found nothing`);
  return gone.sequence;
}

/** Whether a call waits for the applied state, and so cannot be made in a burst without losing its place. */
export function waitsForState(call: Call): boolean {
  return call.commands.some((command) => command.kind === 'unlink');
}
