/** `sutra top` on a terminal: polls, keeps the state, and renders it, until somebody quits. */

import { render } from 'ink';
import type { Storage } from '../storage/storage.js';
import { App } from './app.js';
import { initialState, type Action } from './model.js';
import { Painter } from './painter.js';
import { Poller } from './poller.js';
import { reduce } from './reduce.js';
import type { Look } from './theme.js';

export interface DashboardOptions {
  readonly address: string;
  readonly connect: () => Promise<Storage>;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly look: Look;
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  /** Ends it from outside. */
  readonly signal: AbortSignal;
}

/** Resolves when it was quit, with whether that was by Ctrl-C; the terminal is then as it was. */
export async function runDashboard(options: DashboardOptions): Promise<'quit' | 'interrupt'> {
  const { address, connect, intervalMs, timeoutMs, look, stdin, stdout, signal } = options;
  const painter = new Painter(stdout);
  // Whatever ends the process, a terminal without a cursor is not left behind.
  const leave = (): void => {
    painter.leave();
  };
  process.once('exit', leave);

  let state = initialState({ address, columns: painter.columns, rows: painter.rows, intervalMs });
  let ended: 'quit' | 'interrupt' = 'quit';
  const onAction = (action: Action): void => {
    if (action.type === 'key' && (action.key === 'quit' || action.key === 'interrupt')) {
      ended = action.key;
      poller.stop();
      return;
    }
    const before = state;
    state = reduce(state, action);
    if (state === before) return;
    ink.rerender(screen());
    const sooner = state.intervalMs < before.intervalMs;
    if (sooner || (before.paused && !state.paused)) poller.wake();
  };
  const screen = () => <App state={state} look={look} onAction={onAction} />;
  const poller = new Poller({
    connect,
    timeoutMs,
    onAnswer: (stats, health) => {
      onAction({ type: 'sample', atMs: Date.now(), stats, health });
    },
    onFailure: (message) => {
      onAction({ type: 'lost', atMs: Date.now(), message });
    },
  });
  const onResize = (): void => {
    painter.forget();
    onAction({ type: 'resize', columns: painter.columns, rows: painter.rows });
  };
  const onAbort = (): void => {
    ended = 'interrupt';
    poller.stop();
  };

  painter.enter();
  const ink = render(screen(), {
    // What ink uses of a stream is what a painter has.
    stdout: painter as unknown as NodeJS.WriteStream,
    stdin,
    // Whole frames, without the escape sequences that move the cursor: moving is the painter's.
    debug: true,
    exitOnCtrlC: false,
    patchConsole: false,
  });
  stdout.on('resize', onResize);
  signal.addEventListener('abort', onAbort);
  try {
    await poller.run(() => (state.paused ? null : state.intervalMs));
  } finally {
    signal.removeEventListener('abort', onAbort);
    stdout.off('resize', onResize);
    // First: what ink writes at its end is no frame.
    painter.leave();
    ink.unmount();
    process.off('exit', leave);
  }
  return ended;
}
