/** How many of the ten nearest embeddings the index finds, against comparing all of them one by one. */

import type { Storage } from '../storage/storage.js';
import { counted, good, note, warning, type Finding } from './finding.js';
import type { Census, KeptVector } from './census.js';

const QUERIES = 20;
const K = 10;
const ENOUGH = 0.95;
/** Similarities of full-precision vectors; equal ones may come in any order. */
const EPSILON = 1e-4;

/** Null: there are no embeddings to search. */
export async function checkRecall(
  storage: Storage,
  census: Census,
  timeoutMs: number,
): Promise<Finding | null> {
  const check = 'recall';
  const { kept } = census;
  if (kept.length < 2) return null;
  if (!census.complete || kept.length < census.vectors) {
    const why = `not measured: more than ${counted(kept.length, 'embedding')}`;
    return note(check, why, '`npm run bench -- vectors` measures it on data of that size.');
  }
  const step = Math.max(1, Math.floor(kept.length / QUERIES));
  const queries = kept.filter((_, i) => i % step === 0).slice(0, QUERIES);
  let found = 0;
  let wanted = 0;
  for (const { vector } of queries) {
    const floor = similarities(kept, vector)[Math.min(K, kept.length) - 1] ?? 1;
    const matches = await storage.vectorSearch(vector, { k: K, timeoutMs });
    wanted += Math.min(K, kept.length);
    found += matches.filter(({ similarity }) => similarity >= floor - EPSILON).length;
  }
  const recall = found / wanted;
  const what = `the index finds ${Math.round(recall * 1000) / 10}% of the ${K} nearest, by ${queries.length} searches`;
  const remedy = 'Search with a larger --ef; should that not help, embeddings hardly differ.';
  return recall < ENOUGH ? warning(check, what, remedy) : good(check, what);
}

/** Of one unit vector to all of them, best first. */
function similarities(kept: readonly KeptVector[], query: Float32Array): Float64Array {
  const all = new Float64Array(kept.length);
  for (let row = 0; row < kept.length; row++) {
    const vector = kept[row]?.vector ?? query;
    let sum = 0;
    for (let i = 0; i < query.length; i++) sum += (query[i] ?? 0) * (vector[i] ?? 0);
    all[row] = sum;
  }
  return all.sort().reverse();
}
