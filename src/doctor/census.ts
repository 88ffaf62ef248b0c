/**
 * What a store holds, looked at item by item: contents that say the same, hubs, islands, associations to nothing, embeddings that
 * do not differ. Fed with the pages of a scan for as long as there is time; of a scan that did not come to its end it says what
 * it saw and judges only what a part can show. Memory is bounded by MAX_CONCEPTS.
 */

import { createHash } from 'node:crypto';
import type { ScanPage } from '../storage/storage.js';
import { counted, critical, good, note, warning, type Finding } from './finding.js';

/** Beyond so many the rest is not looked at: some 300 bytes each are kept. */
export const MAX_CONCEPTS = 2_000_000;
/** Embeddings that are kept, and how many numbers of them at most (64 MiB). */
const MAX_VECTORS = 20_000;
const MAX_VECTOR_NUMBERS = 16 * 1024 * 1024;
const SHOWN = 3;
const MIN_HUB = 10_000;

export interface KeptVector {
  readonly id: string;
  /** Of length one. */
  readonly vector: Float32Array;
}

export class Census {
  /** All of the store was seen. */
  complete = false;
  concepts = 0;
  associations = 0;
  newestUs = 0;
  /** Embeddings seen; `kept` are those that are held on to. */
  vectors = 0;
  readonly kept: KeptVector[] = [];
  private readonly index = new Map<string, number>();
  private readonly names: string[] = [];
  /** By a digest of the content without case, spaces and punctuation: the first concept with it, and how many there are. */
  private readonly contents = new Map<string, { readonly first: string; count: number }>();
  private readonly duplicates = new Map<string, { readonly first: string; count: number }>();
  private degrees = new Uint32Array(1024);
  private parents = new Uint32Array(1024);
  private dangling = 0;
  private danglingExample = '';

  /** False: it holds as much as it can. */
  add(page: ScanPage): boolean {
    for (const concept of page.concepts) {
      if (this.concepts >= MAX_CONCEPTS) return false;
      this.addConcept(concept.id, concept.content, concept.updatedUs, concept.embedding);
    }
    for (const { source, target } of page.associations) this.addAssociation(source, target);
    return true;
  }

  /** Associations of which the concepts were not reached: for their hubs only. */
  addBeyond(page: ScanPage): boolean {
    for (const { source, target } of page.associations) {
      if (this.names.length >= MAX_CONCEPTS) return false;
      this.associations++;
      this.count(this.slotOf(source), this.slotOf(target));
    }
    return true;
  }

  private slotOf(id: string): number {
    const known = this.index.get(id);
    if (known !== undefined) return known;
    const slot = this.names.push(id) - 1;
    this.grow(slot + 1);
    this.parents[slot] = slot;
    this.index.set(id, slot);
    return slot;
  }

  private count(from: number, to: number): void {
    this.degrees[from] = (this.degrees[from] ?? 0) + 1;
    if (from !== to) this.degrees[to] = (this.degrees[to] ?? 0) + 1;
  }

  private addConcept(id: string, content: string, updatedUs: number, embedding?: Float32Array) {
    this.concepts++;
    this.slotOf(id);
    this.newestUs = Math.max(this.newestUs, updatedUs);
    const said = content
      .normalize('NFKC')
      .toLowerCase()
      .replace(/[\p{P}\s]+/gu, ' ')
      .trim();
    if (said !== '') {
      const key = createHash('md5').update(said).digest('base64');
      const known = this.contents.get(key);
      if (known === undefined) this.contents.set(key, { first: id, count: 1 });
      else {
        known.count++;
        this.duplicates.set(key, known);
      }
    }
    if (embedding !== undefined) this.addVector(id, embedding);
  }

  /** Reservoir sampling (algorithm R), so that the kept ones are of the whole scan. */
  private addVector(id: string, embedding: Float32Array): void {
    const n = this.vectors++;
    const limit = Math.min(MAX_VECTORS, Math.floor(MAX_VECTOR_NUMBERS / embedding.length));
    const at = n < limit ? n : Math.floor(Math.random() * (n + 1));
    if (at >= limit) return;
    const norm = Math.sqrt(embedding.reduce((sum, value) => sum + value * value, 0));
    this.kept[at] = { id, vector: embedding.map((value) => value / norm) };
  }

  private addAssociation(source: string, target: string): void {
    this.associations++;
    const from = this.index.get(source);
    const to = this.index.get(target);
    if (from === undefined || to === undefined) {
      this.dangling++;
      this.danglingExample = `${source} -> ${target}`;
      return;
    }
    this.count(from, to);
    const a = this.rootOf(from);
    const b = this.rootOf(to);
    if (a !== b) this.parents[a] = b;
  }

  /** Union-find with path halving. */
  private rootOf(slot: number): number {
    const { parents } = this;
    let at = slot;
    for (;;) {
      const parent = parents[at] ?? at;
      if (parent === at) return at;
      const grand = parents[parent] ?? parent;
      parents[at] = grand;
      at = grand;
    }
  }

  private grow(count: number): void {
    if (count <= this.degrees.length) return;
    const degrees = new Uint32Array(this.degrees.length * 2);
    degrees.set(this.degrees);
    this.degrees = degrees;
    const parents = new Uint32Array(this.parents.length * 2);
    parents.set(this.parents);
    this.parents = parents;
  }

  // --- findings ---

  findings(nowMs: number): Finding[] {
    const findings = [this.clock(nowMs), this.sameContents(), this.spread()];
    if (this.complete || this.associations > 0) findings.push(this.hubs());
    if (this.complete) findings.push(this.danglers(), this.islands());
    return findings.filter((finding) => finding !== null);
  }

  private clock(nowMs: number): Finding | null {
    if (this.concepts === 0) return null;
    const aheadS = this.newestUs / 1e6 - nowMs / 1000;
    if (aheadS < 60) return good('times', 'no concept is from the future');
    return warning(
      'times',
      `the newest concept was written ${counted(Math.round(aheadS), 'second')} from now`,
      'The clock was turned back, or was wrong: set it by NTP. The order of writes does not depend on it.',
    );
  }

  private sameContents(): Finding {
    const check = 'duplicates';
    let surplus = 0;
    for (const { count } of this.duplicates.values()) surplus += count - 1;
    const many = [...this.duplicates.values()].sort((a, b) => b.count - a.count).slice(0, SHOWN);
    const examples = many.map(({ first, count }) => `${quoted(first)} ${count} times`).join(', ');
    const saying = surplus === 1 ? 'concept says' : 'concepts say';
    const what = `${surplus.toLocaleString('en-US')} ${saying} what another one says: ${examples}`;
    if (surplus === 0) return good(check, 'no two concepts say the same');
    const remedy = 'Learn the same thing under the same id; forget what is there twice.';
    // A few are nobody's fault.
    return surplus * 20 > this.concepts ? warning(check, what, remedy) : note(check, what, remedy);
  }

  private hubs(): Finding {
    const check = 'supernodes';
    const slots = Array.from(this.degrees.subarray(0, this.names.length).keys());
    const top = slots.reduce(
      (best, slot) => ((this.degrees[slot] ?? 0) > (this.degrees[best] ?? 0) ? slot : best),
      0,
    );
    const most = this.degrees[top] ?? 0;
    const name = quoted(this.names[top] ?? '');
    if (most < MIN_HUB) {
      return good(
        check,
        most === 0 ? 'none' : `none: at most ${counted(most, 'association')}, at ${name}`,
      );
    }
    const hubs = slots.filter((slot) => (this.degrees[slot] ?? 0) >= MIN_HUB).length;
    return warning(
      check,
      `${counted(hubs, 'concept')} of ${MIN_HUB.toLocaleString('en-US')} associations or more; ${name} has ${most.toLocaleString('en-US')}`,
      'Traversals through it are slow and say little: ask with --type, --limit and --direction, or split it.',
    );
  }

  private danglers(): Finding {
    if (this.dangling === 0) return good('dangling', 'every association has both its concepts');
    return critical(
      'dangling',
      `${counted(this.dangling, 'association')} to a concept that is not there: ${quoted(this.danglingExample)}`,
      'This must not be: run `sutra verify`.',
    );
  }

  private islands(): Finding {
    const check = 'islands';
    const sizes = new Map<number, number>();
    let lonely = 0;
    for (let slot = 0; slot < this.concepts; slot++) {
      if ((this.degrees[slot] ?? 0) === 0) lonely++;
      const root = this.rootOf(slot);
      sizes.set(root, (sizes.get(root) ?? 0) + 1);
    }
    if (this.concepts === 0) return good(check, 'the store is empty');
    const largest = Math.max(0, ...topSizes(sizes));
    const share = Math.round((largest / this.concepts) * 100);
    const what =
      `${counted(sizes.size, 'part')} without a way between them; the largest has ${share}% of the concepts, ` +
      `${counted(lonely, 'concept')} ${lonely === 1 ? 'has' : 'have'} no association at all`;
    if (sizes.size === 1) return good(check, 'every concept can be reached from every other');
    return note(check, what, 'Paths between parts are not found: link what belongs together.');
  }

  private spread(): Finding | null {
    const check = 'vectors';
    if (this.kept.length < 2) return null;
    const size = this.kept[0]?.vector.length ?? 0;
    // The mean of unit vectors has length 1 when they are all the same, and 0 when they point everywhere.
    const mean = new Float64Array(size);
    const squares = new Float64Array(size);
    for (const { vector } of this.kept) {
      for (let i = 0; i < size; i++) {
        const value = vector[i] ?? 0;
        mean[i] = (mean[i] ?? 0) + value / this.kept.length;
        squares[i] = (squares[i] ?? 0) + (value * value) / this.kept.length;
      }
    }
    let length = 0;
    let still = 0;
    for (let i = 0; i < size; i++) {
      const at = mean[i] ?? 0;
      length += at * at;
      if ((squares[i] ?? 0) - at * at < 1e-9) still++;
    }
    const alike = `mean similarity of ${counted(this.kept.length, 'embedding')} to each other ${length.toFixed(2)}`;
    const remedy =
      'Search cannot tell them apart: look at the model that made them, and at what it was given.';
    if (length > 0.98) return warning(check, `they are all nearly the same: ${alike}`, remedy);
    if (still > size / 4) {
      return warning(
        check,
        `${counted(still, 'number')} of ${size} never change: ${alike}`,
        remedy,
      );
    }
    return good(check, `they differ: ${alike}`);
  }
}

/** Without spreading a large map into arguments. */
function topSizes(sizes: ReadonlyMap<number, number>): number[] {
  let top = 0;
  for (const size of sizes.values()) top = Math.max(top, size);
  return [top];
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 59)}…` : text);
}
