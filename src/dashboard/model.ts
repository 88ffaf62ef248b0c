/** What the dashboard knows: plain data. How it changes is in reduce.ts, what is shown of it in view.ts. */

import type { HealthAnswer, StorageStats } from '../storage/storage.js';

export interface Sample {
  /** Milliseconds since 1970, by the clock of this machine. */
  readonly atMs: number;
  readonly stats: StorageStats;
}

export const SORTS = ['rate', 'errors', 'p99', 'name'] as const;
export type Sort = (typeof SORTS)[number];

export const INTERVALS_MS = [500, 1000, 2000, 5000, 10_000] as const;

export interface Lost {
  readonly sinceMs: number;
  readonly atMs: number;
  readonly message: string;
}

export interface DashboardState {
  readonly address: string;
  readonly columns: number;
  readonly rows: number;
  readonly intervalMs: number;
  readonly paused: boolean;
  readonly sort: Sort;
  readonly page: 'overview' | 'histogram' | 'help';
  /** The histogram of the last half minute, or since the server's start. */
  readonly scope: 'recent' | 'all';
  /** The call that the cursor is on. */
  readonly selected: string | null;
  /** Oldest first; all of one run of the server. */
  readonly history: readonly Sample[];
  readonly health: HealthAnswer | null;
  /** The server does not answer. */
  readonly lost: Lost | null;
  /** Until when to say that the server was restarted. */
  readonly restartedUntilMs: number;
}

export type Key =
  'quit' | 'interrupt' | 'pause' | 'sort' | 'up' | 'down' | 'open' | 'back' | 'help' | 'scope';

export type Action =
  | {
      readonly type: 'sample';
      readonly atMs: number;
      readonly stats: StorageStats;
      readonly health: HealthAnswer;
    }
  | { readonly type: 'lost'; readonly atMs: number; readonly message: string }
  | { readonly type: 'resize'; readonly columns: number; readonly rows: number }
  | { readonly type: 'interval'; readonly step: 1 | -1 }
  | { readonly type: 'key'; readonly key: Key };

export function initialState(
  given: Pick<DashboardState, 'address' | 'columns' | 'rows' | 'intervalMs'>,
): DashboardState {
  return {
    ...given,
    paused: false,
    sort: 'rate',
    page: 'overview',
    scope: 'recent',
    selected: null,
    history: [],
    health: null,
    lost: null,
    restartedUntilMs: 0,
  };
}
