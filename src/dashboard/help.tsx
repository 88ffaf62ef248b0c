/** What the keys do and what the figures mean. */

import { Line, Title, Toned } from './theme.js';

const KEYS: readonly (readonly [string, string])[] = [
  ['q, Ctrl-C', 'leave'],
  ['p, space', 'pause: figures stand still, and the server is not asked'],
  ['s', 'sort the calls by rate, errors, p99 or name'],
  ['up, down', 'choose a call'],
  ['enter', 'its histogram; there t: of the last 30 s, or since the start'],
  ['+, -', 'ask less often, more often'],
  ['esc', 'back'],
];

const FIGURES: readonly (readonly [string, string])[] = [
  ['rates', 'of the last 5 s; a trend has one mark for each interval'],
  ['errors', 'share of the last 30 s that ended with anything but OK'],
  ['p50 p95 p99', 'of the last 30 s, in the server: from request to answer'],
  ['memtable', 'how far it is filled; once full, a checkpoint begins'],
  ['refused', 'writes refused for overload: more than the disk takes'],
  ['loop busy', 'how much the serving thread worked: 100% is saturated'],
];

export function Help({ width }: { width: number }) {
  return (
    <>
      <Title text="KEYS" width={width} />
      {KEYS.map(([key, what]) => (
        <Entry key={key} name={key} what={what} />
      ))}
      <Line />
      <Title text="FIGURES" width={width} />
      {FIGURES.map(([key, what]) => (
        <Entry key={key} name={key} what={what} />
      ))}
    </>
  );
}

function Entry({ name, what }: { name: string; what: string }) {
  return (
    <Line>
      <Toned tone="strong">{`  ${name}`.padEnd(15)}</Toned>
      {what}
    </Line>
  );
}
