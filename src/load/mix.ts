/** Which calls a load is made of, in percent, and the choice of the next one. */

import { refuse } from '../storage/settings.js';

export const LOAD_CALLS = ['learn', 'link', 'query', 'neighbors', 'path', 'search'] as const;
export type LoadCall = (typeof LOAD_CALLS)[number];

/** Percent by call; only calls that come up, 100 in all. */
export type Mix = ReadonlyMap<LoadCall, number>;

export const DEFAULT_MIX = 'query=60,neighbors=20,path=10,learn=10';

export function isLoadCall(name: string): name is LoadCall {
  return LOAD_CALLS.some((call) => call === name);
}

export function parseMix(text: string, source: string): Mix {
  const mix = new Map<LoadCall, number>();
  let sum = 0;
  for (const part of text.split(',')) {
    const [, name = '', digits = ''] = /^\s*([a-z]+)=(\d{1,3})\s*$/.exec(part) ?? [];
    if (!isLoadCall(name)) {
      throw refuse(source, part, `CALL=PERCENT with one of ${LOAD_CALLS.join(', ')}`);
    }
    if (mix.has(name)) throw refuse(source, text, `each call once; ${name} stands twice`);
    const percent = Number(digits);
    sum += percent;
    if (percent > 0) mix.set(name, percent);
  }
  if (sum !== 100) throw refuse(source, text, `100 percent in all, not ${sum}`);
  return mix;
}

/** A call by chance, as often as the mix says; `chance` is in [0, 1). */
export function chooseCall(mix: Mix, chance: number): LoadCall {
  let rest = chance * 100;
  let last: LoadCall = 'query';
  for (const [call, percent] of mix) {
    last = call;
    rest -= percent;
    if (rest < 0) break;
  }
  return last;
}
