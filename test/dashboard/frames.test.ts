/**
 * The dashboard's frames as text, held against the committed ones in golden/. A frame has exactly the terminal's rows, and
 * no line is wider than it. `npx vitest run test/dashboard -u` writes them anew: look at them before committing.
 */

import { render as renderInk } from 'ink';
import { render } from 'ink-testing-library';
import { createElement } from 'react';
import { describe, expect, test } from 'vitest';

import { App } from '#sutra/dashboard/app';
import { ASCII, UNICODE } from '#sutra/dashboard/bars';
import type { Action, DashboardState } from '#sutra/dashboard/model';
import { initialState } from '#sutra/dashboard/model';
import { Painter } from '#sutra/dashboard/painter';
import { displayWidth } from '#sutra/cli/text';
import { polled, run, sample, START_MS } from './samples.js';

const PLAIN = { colour: false, glyphs: UNICODE };

/** At any size: ink-testing-library's terminal is 100 columns wide. */
function frameOf(state: DashboardState, look = PLAIN): string {
  let frame = '';
  const painter = new Painter({ columns: state.columns, rows: state.rows, write: () => true });
  painter.write = (text) => {
    frame = text;
    return true;
  };
  const app = createElement(App, { state, look, onAction: () => undefined });
  const { stdin } = render(app);
  const ink = renderInk(app, {
    stdout: painter as unknown as NodeJS.WriteStream,
    stdin: stdin as unknown as NodeJS.ReadStream,
    debug: true,
    patchConsole: false,
  });
  const last = frame;
  ink.unmount();
  return last.replace(/\n$/, '');
}

const key = (name: Extract<Action, { type: 'key' }>['key']): Action => ({ type: 'key', key: name });
const LOST =
  'no sutra server answers at db1.example:50051: Error: connect ECONNREFUSED 10.0.0.7:50051.';

const CASES: Record<string, () => DashboardState> = {
  'overview-80x24': () => polled(80, 24),
  'overview-132x43': () => polled(132, 43),
  'first-answer': () => polled(80, 24, 1),
  connecting: () =>
    initialState({ address: 'db1.example', columns: 80, rows: 24, intervalMs: 500 }),
  'cursor-and-sort': () => run(polled(80, 24), key('sort'), key('down'), key('down')),
  histogram: () => run(polled(80, 24), key('down'), key('open')),
  'histogram-since-start-120x40': () => run(polled(120, 40), key('open'), key('scope')),
  help: () => run(polled(80, 24), key('help')),
  paused: () => run(polled(80, 24), key('pause'), sample(41)),
  'no-answer': () =>
    run(
      polled(80, 24),
      { type: 'lost', atMs: START_MS + 41_000, message: LOST },
      { type: 'lost', atMs: START_MS + 53_000, message: LOST },
    ),
  'disk-full': () =>
    run(polled(80, 24), {
      ...(sample(41, { diskFull: true, dropped: 1300 }) as Extract<Action, { type: 'sample' }>),
      health: { healthy: false, status: 'read-only: the disk is full', uptimeSeconds: 1 },
    }),
  'too-small': () => polled(79, 24),
};

describe('frames', () => {
  test.each(Object.entries(CASES))('%s', async (name, make) => {
    const state = make();
    const frame = frameOf(state);
    const lines = frame.split('\n');
    if (name !== 'too-small') expect(lines).toHaveLength(state.rows);
    for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(state.columns);
    await expect(`${frame}\n`).toMatchFileSnapshot(`golden/${name}.txt`);
  });

  test('without UTF-8 there is nothing but ASCII', () => {
    for (const make of Object.values(CASES)) {
      expect(frameOf(make(), { colour: false, glyphs: ASCII })).toMatch(/^[\x20-\x7e\n]*$/);
    }
  });

  test('a hostile status drives no terminal', () => {
    const hostile = run(polled(80, 24), {
      ...(sample(41) as Extract<Action, { type: 'sample' }>),
      health: { healthy: false, status: 'a\x1b[2Jb\nc', uptimeSeconds: 1 },
    });
    expect(frameOf(hostile)).not.toContain('\x1b');
    expect(frameOf(hostile).split('\n')).toHaveLength(24);
  });
});

test('keys become actions', () => {
  const actions: Action[] = [];
  const onAction = (action: Action): void => {
    actions.push(action);
  };
  const { stdin, lastFrame, rerender } = render(
    createElement(App, { state: polled(80, 24), look: PLAIN, onAction }),
  );
  expect(lastFrame()).toContain('QueryConcept');
  for (const typed of [
    'q',
    'p ',
    's',
    'j',
    '\x1b[A',
    '\x1b[B',
    '\r',
    '?',
    't',
    '+',
    '-',
    'x',
    '\x03',
  ]) {
    stdin.write(typed);
    rerender(createElement(App, { state: polled(80, 24), look: PLAIN, onAction }));
  }
  expect(actions.map((action) => (action.type === 'key' ? action.key : action))).toEqual([
    ...['quit', 'pause', 'pause', 'sort', 'down', 'up', 'down', 'open', 'help', 'scope'],
    { type: 'interval', step: 1 },
    { type: 'interval', step: -1 },
    'interrupt',
  ]);
});
