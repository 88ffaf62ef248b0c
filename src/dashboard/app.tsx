/** The whole screen, for one state: exactly as many lines as the terminal has rows. */

import { Box, useInput } from 'ink';
import { Calls } from './calls.js';
import { Header, Summary } from './header.js';
import { Help } from './help.js';
import { Histogram } from './histogram.js';
import type { Action, DashboardState, Key } from './model.js';
import { PANEL_LINES, Panels } from './panels.js';
import { Line, Theme, Toned, useLook, type Look } from './theme.js';

export const LEAST_COLUMNS = 80;
export const LEAST_ROWS = 24;
/** Wider than this, lines would be hard to follow with the eye. */
const WIDEST = 160;

export interface AppProps {
  readonly state: DashboardState;
  readonly look: Look;
  readonly onAction: (action: Action) => void;
}

export function App({ state, look, onAction }: AppProps) {
  useInput((input, key) => {
    // Keys that were pressed faster than they were read come in one piece.
    for (const typed of input.length > 1 ? input : [input]) {
      const action = actionOf(typed, key);
      if (action !== null) onAction(action);
    }
  });
  return (
    <Theme value={look}>
      <Box flexDirection="column" width={state.columns}>
        <Screen state={state} />
      </Box>
    </Theme>
  );
}

function Screen({ state }: { state: DashboardState }) {
  const { columns, rows, page } = state;
  if (columns < LEAST_COLUMNS || rows < LEAST_ROWS) {
    return (
      <>
        <Line>{`${columns}x${rows} is too small:`}</Line>
        <Line>{`sutra top needs ${LEAST_COLUMNS}x${LEAST_ROWS}.`}</Line>
        <Line>q leaves</Line>
      </>
    );
  }
  const width = Math.min(WIDEST, columns) - 1;
  // Header, summary and footer, and a blank line above and below the body.
  const body = rows - 5;
  return (
    <Box flexDirection="column" height={rows} paddingLeft={1}>
      <Header state={state} width={width - 1} />
      <Summary state={state} width={width - 1} />
      <Line />
      <Box flexDirection="column" height={body}>
        <Body page={page} state={state} width={width - 1} lines={body} />
      </Box>
      <Line />
      <Footer state={state} />
    </Box>
  );
}

function Body({
  page,
  state,
  width,
  lines,
}: {
  page: DashboardState['page'];
  state: DashboardState;
  width: number;
  lines: number;
}) {
  if (page === 'help') return <Help width={width} />;
  if (page === 'histogram') return <Histogram state={state} width={width} lines={lines} />;
  return (
    <>
      <Calls state={state} width={width} lines={lines - PANEL_LINES - 1} />
      <Panels state={state} width={width} />
    </>
  );
}

function Footer({ state }: { state: DashboardState }) {
  const { glyphs } = useLook();
  const { page, paused, sort, scope, intervalMs } = state;
  const keys: (readonly [string, string])[] =
    page === 'overview'
      ? [
          ['q', 'quit'],
          ['p', paused ? 'go on' : 'pause'],
          ['s', `sort: ${sort}`],
          [glyphs.arrows, 'choose'],
          ['enter', 'histogram'],
          ['+-', `${intervalMs / 1000} s`],
          ['?', 'help'],
        ]
      : page === 'histogram'
        ? [
            ['q', 'quit'],
            ['p', paused ? 'go on' : 'pause'],
            ['t', scope === 'all' ? 'last 30 s' : 'since the start'],
            [glyphs.arrows, 'other call'],
            ['esc', 'back'],
          ]
        : [
            ['q', 'quit'],
            ['esc', 'back'],
          ];
  return (
    <Line>
      {keys.map(([key, what], i) => (
        <Toned key={key} tone="dim">
          {i === 0 ? '' : '  '}
          <Toned tone="strong">{key}</Toned> {what}
        </Toned>
      ))}
    </Line>
  );
}

interface Pressed {
  readonly upArrow: boolean;
  readonly downArrow: boolean;
  readonly return: boolean;
  readonly escape: boolean;
  readonly ctrl: boolean;
}

const LETTERS: Readonly<Record<string, Key>> = {
  q: 'quit',
  p: 'pause',
  ' ': 'pause',
  s: 'sort',
  k: 'up',
  j: 'down',
  h: 'open',
  t: 'scope',
  '?': 'help',
};

function actionOf(input: string, pressed: Pressed): Action | null {
  if (pressed.ctrl) return input === 'c' ? { type: 'key', key: 'interrupt' } : null;
  if (input === '+' || input === '=') return { type: 'interval', step: 1 };
  if (input === '-') return { type: 'interval', step: -1 };
  const key = pressed.upArrow
    ? 'up'
    : pressed.downArrow
      ? 'down'
      : pressed.return
        ? 'open'
        : pressed.escape
          ? 'back'
          : LETTERS[input];
  return key === undefined ? null : { type: 'key', key };
}
