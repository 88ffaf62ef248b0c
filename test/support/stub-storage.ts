/** A model whose methods a test may replace, to have calls that wait, fail or look at what they were given. */

import type { Storage } from '#sutra/storage/storage';
import { ModelStorage } from './model-storage.js';

export function stubStorage(replaced: Partial<Storage>): Storage {
  return Object.assign(new ModelStorage(), replaced);
}

/** A promise to be settled by hand. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
}

export function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
