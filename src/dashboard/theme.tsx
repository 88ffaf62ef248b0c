/** How the dashboard looks: which glyphs, and a colour for each kind of thing, or none at all. */

import { Text } from 'ink';
import { createContext, useContext, type ReactNode } from 'react';
import { UNICODE, type Glyphs } from './bars.js';

export interface Look {
  readonly colour: boolean;
  readonly glyphs: Glyphs;
}

export const Theme = createContext<Look>({ colour: false, glyphs: UNICODE });

export function useLook(): Look {
  return useContext(Theme);
}

export type Tone =
  'plain' | 'dim' | 'strong' | 'title' | 'trend' | 'good' | 'warn' | 'bad' | 'cursor';

const TONES: Record<
  Tone,
  { color?: string; bold?: boolean; dimColor?: boolean; inverse?: boolean }
> = {
  plain: {},
  dim: { dimColor: true },
  strong: { bold: true },
  title: { bold: true, color: 'cyan' },
  trend: { color: 'cyan' },
  good: { color: 'green' },
  warn: { color: 'yellow' },
  bad: { bold: true, color: 'red' },
  cursor: { inverse: true },
};

/** A piece of a line. Without colour, weight and dimness go too: some terminals show them as colours. */
export function Toned({ tone = 'plain', children }: { tone?: Tone; children: ReactNode }) {
  const { colour } = useLook();
  return <Text {...(colour ? TONES[tone] : {})}>{children}</Text>;
}

/** One line of the screen, cut rather than wrapped when it is too long. */
export function Line({ children }: { children?: ReactNode }) {
  return <Text wrap="truncate-end">{children ?? ' '}</Text>;
}

/** `CALLS ─────────` across the screen. */
export function Title({ text, width }: { text: string; width: number }) {
  const { glyphs } = useLook();
  return (
    <Line>
      <Toned tone="title">{text}</Toned>{' '}
      <Toned tone="dim">{glyphs.rule.repeat(Math.max(0, width - text.length - 1))}</Toned>
    </Line>
  );
}
