/**
 * How what the dashboard knows changes: one pure function. Samples are the server's own counters as they came; every figure on
 * the screen is a difference of two of them (view.ts), so nothing drifts and nothing is lost between two polls. A server that
 * was restarted counts from zero: its history begins anew.
 */

import type { StorageStats } from '../storage/storage.js';
import { INTERVALS_MS, SORTS, type Action, type DashboardState, type Key } from './model.js';
import { callRows } from './view.js';

/** Enough for the widest sparkline, and for the longest window at the shortest interval. */
const HISTORY_LIMIT = 128;
const RESTART_NOTICE_MS = 30_000;

export function reduce(state: DashboardState, action: Action): DashboardState {
  switch (action.type) {
    case 'sample':
      return state.paused ? state : withSample(state, action);
    case 'lost': {
      if (state.paused) return state;
      const { atMs, message } = action;
      return { ...state, lost: { sinceMs: state.lost?.sinceMs ?? atMs, atMs, message } };
    }
    case 'resize':
      return { ...state, columns: action.columns, rows: action.rows };
    case 'interval':
      return { ...state, intervalMs: nextInterval(state.intervalMs, action.step) };
    case 'key':
      return withKey(state, action.key);
  }
}

function withSample(
  state: DashboardState,
  { atMs, stats, health }: Extract<Action, { type: 'sample' }>,
): DashboardState {
  const before = state.history.at(-1)?.stats;
  const restarted = before !== undefined && startOf(before) !== startOf(stats);
  const kept = restarted ? [] : state.history.slice(1 - HISTORY_LIMIT);
  return {
    ...state,
    history: [...kept, { atMs, stats }],
    health,
    lost: null,
    restartedUntilMs: restarted ? atMs + RESTART_NOTICE_MS : state.restartedUntilMs,
  };
}

/** What tells one run of a server from the next. */
function startOf(stats: StorageStats): string {
  return `${stats.epoch} ${stats.server?.pid ?? 0} ${stats.server?.startUs ?? 0}`;
}

function withKey(state: DashboardState, key: Key): DashboardState {
  switch (key) {
    case 'pause':
      return { ...state, paused: !state.paused };
    case 'sort':
      return { ...state, sort: SORTS[(SORTS.indexOf(state.sort) + 1) % SORTS.length] ?? 'rate' };
    case 'up':
    case 'down':
      return { ...state, selected: neighbour(state, key === 'up' ? -1 : 1) };
    case 'open': {
      const selected = state.selected ?? neighbour(state, 1);
      return selected === null ? state : { ...state, selected, page: 'histogram' };
    }
    case 'scope':
      return { ...state, scope: state.scope === 'recent' ? 'all' : 'recent' };
    case 'help':
      return { ...state, page: state.page === 'help' ? 'overview' : 'help' };
    case 'back':
      return state.page === 'overview'
        ? { ...state, selected: null }
        : { ...state, page: 'overview' };
    case 'quit':
    case 'interrupt':
      return state;
  }
}

/** The call above or below the cursor, in the order of the table; the first without a cursor. */
function neighbour(state: DashboardState, step: 1 | -1): string | null {
  const methods = callRows(state).map(({ method }) => method);
  const at = state.selected === null ? -1 : methods.indexOf(state.selected);
  const next = at < 0 ? 0 : Math.min(methods.length - 1, Math.max(0, at + step));
  return methods[next] ?? null;
}

function nextInterval(intervalMs: number, step: 1 | -1): number {
  const longer = INTERVALS_MS.find((ms) => ms > intervalMs) ?? intervalMs;
  const shorter = INTERVALS_MS.findLast((ms) => ms < intervalMs) ?? intervalMs;
  return step > 0 ? longer : shorter;
}
