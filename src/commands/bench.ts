/**
 * `sutra bench`: load on a server or a directory, measured and held against limits. What a load does is load/; this file
 * refuses a store with data in it, takes a directory away again that was not there before, and prints.
 */

import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { counted } from '../cli/counts.js';
import { consentFlag, integer, repeatedSetting, setting } from '../cli/flags.js';
import { terminationSignal } from '../cli/interrupt.js';
import { createProgress, duration, type Progress } from '../cli/progress.js';
import { shortTime, table } from '../cli/render.js';
import { styled, type Screen } from '../cli/screen.js';
import { StoreCommand, type StoreSelection } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import { EXIT, SutraError } from '../errors.js';
import { LATENCY_BOUNDS_US, latencyQuantileUs } from '../latency.js';
import { maxAssociations } from '../load/graph.js';
import { judge, NO_ERRORS, parseLimit, quantileOf, type Verdict } from '../load/limits.js';
import { callsOf, errorsOf, type CallMeter } from '../load/meter.js';
import { DEFAULT_MIX, parseMix } from '../load/mix.js';
import {
  runLoad,
  type LoadPlan,
  type LoadReport,
  type LoadWatch,
  type Phase,
} from '../load/run.js';
import { formatAddress } from '../storage/address.js';
import { chooseStore, type StoreChoice } from '../storage/open.js';
import { parseTimeoutMs, parseVectorDim, refuse } from '../storage/settings.js';
import type { StorageStats } from '../storage/storage.js';
import { MAX_CONTENT_BYTES } from '../storage/validation.js';

const DEFAULT_CONCURRENCY = 16;
const DEFAULT_DURATION_MS = 10_000;
const DEFAULT_WARM_UP_MS = 2_000;
const DEFAULT_CONCEPTS = 10_000;
const ASSOCIATIONS_PER_CONCEPT = 5;
const DEFAULT_CONTENT_BYTES = 100;
const DEFAULT_NEW = 100_000;
const DEFAULT_DIMENSION = 128;
const MAX_CONCEPTS = 10_000_000;
const MAX_ASSOCIATIONS = 50_000_000;
const MAX_RATE = 1_000_000;
const MAX_CONCURRENCY = 10_000;
/** A day; longer is a mistake in the unit. */
const MAX_DURATION_MS = 86_400_000;

function parseDurationMs(text: string, source: string): number {
  const ms = parseTimeoutMs(text, source);
  if (ms > MAX_DURATION_MS) throw refuse(source, text, 'at most a day');
  return ms;
}

/** The warm-up may be left out. */
function parseWarmUpMs(text: string, source: string): number {
  return /^0(ms|s|m)?$/.test(text) ? 0 : parseDurationMs(text, source);
}

export default class Bench extends StoreCommand {
  static override summary =
    'Put a load on a store or a server, measure it, and hold it against limits.';

  static override description =
    'Learns a graph, asks for it in the mix that --mix says, checks every answer against what was learned, and forgets all of ' +
    'it again. With --concurrency each call begins when the one before is answered; with --rate calls begin on time however ' +
    'slow answers are, and latency counts from when a call was meant to begin, so that a stall is charged for all that it ' +
    'held up. A wrong answer is an error. Ends with 1 when a --limit does not hold; without one on errors, there must be none. ' +
    'All ids begin with `bench-` and eight hex digits. A store that holds data is refused; a directory that was not there is ' +
    'gone at the end. Ctrl-C ends the load, forgets, and tells what was measured.';

  static override examples = [
    '<%= config.bin %> bench --storage /tmp/new-directory',
    'A server at 2,000 calls a second, with limits:\n<%= config.bin %> bench --server localhost:50051 --rate 2000 --duration 1m --limit query.p99=5ms,learn.p99=50ms',
    'As fast as 64 callers get answers, most of them writes:\n<%= config.bin %> bench --server localhost:50051 --concurrency 64 --mix learn=50,link=30,query=20 --limit rate=5000',
    'Searches among a million embeddings:\n<%= config.bin %> bench --storage ./try --mix search=100 --concepts 1000000 --associations 0 --dimension 768',
  ];

  static override flags = {
    mix: setting('mix', parseMix, {
      summary: 'Percent by call, 100 in all, of learn, link, query, neighbors, path and search.',
      helpValue: 'CALL=N,...',
      env: 'SUTRA_BENCH_MIX',
      defaultHelp: DEFAULT_MIX,
    }),
    rate: setting('rate', integer(1, MAX_RATE), {
      summary: 'Begin so many calls a second, whether answers come or not.',
      helpValue: 'N',
      env: 'SUTRA_BENCH_RATE',
    }),
    concurrency: setting('concurrency', integer(1, MAX_CONCURRENCY), {
      summary: 'Keep so many calls under way. A server takes 100 at once over a connection.',
      helpValue: 'N',
      env: 'SUTRA_BENCH_CONCURRENCY',
      defaultHelp: `${DEFAULT_CONCURRENCY} without --rate`,
    }),
    duration: setting('duration', parseDurationMs, {
      summary: 'How long to measure.',
      helpValue: 'TIME',
      env: 'SUTRA_BENCH_DURATION',
      defaultHelp: '10s',
    }),
    'warm-up': setting('warm-up', parseWarmUpMs, {
      summary: 'How long to run before that; 0: not at all.',
      helpValue: 'TIME',
      env: 'SUTRA_BENCH_WARM_UP',
      defaultHelp: '2s',
    }),
    concepts: setting('concepts', integer(3, MAX_CONCEPTS), {
      summary: 'Concepts to learn before.',
      helpValue: 'N',
      env: 'SUTRA_BENCH_CONCEPTS',
      defaultHelp: String(DEFAULT_CONCEPTS),
    }),
    associations: setting('associations', integer(0, MAX_ASSOCIATIONS), {
      summary: 'Associations to learn between them before.',
      helpValue: 'N',
      env: 'SUTRA_BENCH_ASSOCIATIONS',
      defaultHelp: `${ASSOCIATIONS_PER_CONCEPT} for each concept`,
    }),
    'content-bytes': setting('content-bytes', integer(1, MAX_CONTENT_BYTES), {
      summary: 'Length of a content; it is never shorter than its id.',
      helpValue: 'N',
      env: 'SUTRA_BENCH_CONTENT_BYTES',
      defaultHelp: String(DEFAULT_CONTENT_BYTES),
    }),
    dimension: setting('dimension', parseVectorDim, {
      summary: 'Length of embeddings, which are learned when --mix has search.',
      helpValue: 'N',
      env: 'SUTRA_BENCH_DIMENSION',
      defaultHelp: `the store’s own, else ${DEFAULT_DIMENSION}`,
    }),
    new: setting('new', integer(1, MAX_CONCEPTS), {
      summary:
        'New concepts that learn learns, and associations that link does, before it learns them again.',
      helpValue: 'N',
      env: 'SUTRA_BENCH_NEW',
      defaultHelp: String(DEFAULT_NEW),
    }),
    limit: repeatedSetting('limit', parseLimit, {
      summary:
        'What must hold: [CALL.]p50, p90, p99, p99.9 or max=TIME; [CALL.]errors=N at most; [CALL.]rate=N answers a second at ' +
        'least (within 1 %). May be repeated.',
      helpValue: 'LIMIT',
      env: 'SUTRA_BENCH_LIMIT',
      defaultHelp: NO_ERRORS.text,
    }),
    'beside-data': consentFlag(
      'Also on a store that holds data: beside it, and it is left alone. The load slows down whoever else uses the store.',
    ),
  };

  async run() {
    const { flags } = await this.parse(Bench);
    const choice = chooseStore(flags);
    const besideData = flags['beside-data'];
    const plan = planOf(flags);
    const before = await this.look(choice, flags);
    checkStore(before, plan, besideData, flags.dimension !== undefined);
    const made = before === null && choice.mode === 'embedded' ? await absence(choice.path) : null;
    const signal = terminationSignal();
    const watch = new BenchWatch(signal);
    let report: LoadReport;
    // Once it is open the store is empty and ours alone; before, somebody else may have made one there.
    let opened = false as boolean;
    try {
      report = await this.withStorage(flags, { access: 'create' }, async (storage, call) => {
        const stats = await storage.stats(call);
        checkStore(stats, plan, besideData, flags.dimension !== undefined);
        opened = stats.concepts === 0;
        const own = plan.mix.has('search') ? (flags.dimension ?? stats.dimension) : 0;
        const dimension = own === 0 && plan.mix.has('search') ? DEFAULT_DIMENSION : own;
        const full = { ...plan, size: { ...plan.size, dimension } };
        return runLoad(storage, full, call, watch);
      });
    } finally {
      watch.end();
      if (opened && made !== null && choice.mode === 'embedded') await takeAway(choice.path, made);
    }
    const document = benchDocument(choice, plan, report);
    const text = flags.json ? '' : await benchText(this.screen, report, document);
    this.answer(flags.json, document, () => text);
    if (report.interrupted) process.exitCode = EXIT.INTERRUPTED;
    else if (!document.pass) process.exitCode = EXIT.FAILED;
    return document;
  }

  /** What the store holds, without changing anything; null: there is none yet. */
  private async look(choice: StoreChoice, flags: StoreSelection): Promise<StorageStats | null> {
    try {
      return await this.withStorage(flags, { access: 'read' }, (storage, call) =>
        storage.stats(call),
      );
    } catch (error) {
      const isNew =
        choice.mode === 'embedded' &&
        error instanceof SutraError &&
        (error.code === 'NO_SUCH_DIRECTORY' || error.code === 'NOT_A_STORE');
      if (!isNew) throw error;
      return null;
    }
  }
}

interface BenchFlags {
  readonly mix?: LoadPlan['mix'] | undefined;
  readonly rate?: number | undefined;
  readonly concurrency?: number | undefined;
  readonly duration?: number | undefined;
  readonly 'warm-up'?: number | undefined;
  readonly concepts?: number | undefined;
  readonly associations?: number | undefined;
  readonly 'content-bytes'?: number | undefined;
  readonly new?: number | undefined;
  readonly limit?: LoadPlan['limits'][number][][] | undefined;
}

/** The plan, but for the dimension, which is the store's. */
function planOf(flags: BenchFlags): LoadPlan {
  const { rate, concurrency } = flags;
  if (rate !== undefined && concurrency !== undefined) {
    throw usage('--rate and --concurrency are two ways to pace calls; give one');
  }
  const mix = flags.mix ?? parseMix(DEFAULT_MIX, '--mix');
  const concepts = flags.concepts ?? DEFAULT_CONCEPTS;
  const room = maxAssociations(concepts);
  const associations = flags.associations ?? Math.min(room, concepts * ASSOCIATIONS_PER_CONCEPT);
  if (associations > room) {
    throw usage(`--associations: ${concepts} concepts have room for at most ${room}`);
  }
  const given = flags.limit?.flat() ?? [];
  for (const { call, text } of given) {
    if (call !== null && !mix.has(call)) throw usage(`--limit ${text}: --mix has no ${call}`);
  }
  const limits = given.some(({ kind }) => kind === 'errors') ? given : [...given, NO_ERRORS];
  return {
    mix,
    pace: rate === undefined ? { concurrency: concurrency ?? DEFAULT_CONCURRENCY } : { rate },
    durationMs: flags.duration ?? DEFAULT_DURATION_MS,
    warmUpMs: flags['warm-up'] ?? DEFAULT_WARM_UP_MS,
    size: {
      concepts,
      associations,
      contentBytes: flags['content-bytes'] ?? DEFAULT_CONTENT_BYTES,
      dimension: 0,
    },
    maxNew: flags.new ?? DEFAULT_NEW,
    limits,
  };
}

function usage(message: string): SutraError {
  return new SutraError('INVALID_ARGUMENT', message, { hint: 'See `sutra bench --help`.' });
}

function checkStore(
  stats: StorageStats | null,
  { mix }: LoadPlan,
  besideData: boolean,
  hasDimension: boolean,
): void {
  if (stats === null || stats.concepts === 0) return;
  if (!besideData) {
    throw new SutraError(
      'ALREADY_THERE',
      `the store holds ${counted(stats.concepts, 'concept')}; a load is put on an empty one`,
      {
        hint:
          'Name a new directory, or a server for trying out. With --beside-data the load runs on this store: it learns ' +
          'under ids of its own and forgets them at the end.',
      },
    );
  }
  // The first embedding decides the length of all: until the end nobody else could learn one of another.
  if (mix.has('search') && stats.dimension === 0 && !hasDimension) {
    throw usage('--mix has search and the store has no embeddings: say their --dimension');
  }
}

/** What is to go when the store that is made here goes. */
type Absence = 'directory' | 'contents';

/** Null: there is something, which may not be ours to take away. */
async function absence(path: string): Promise<Absence | null> {
  try {
    return (await readdir(path)).length === 0 ? 'contents' : null;
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    return missing ? 'directory' : null;
  }
}

async function takeAway(path: string, made: Absence): Promise<void> {
  if (made === 'directory') {
    await rm(path, { recursive: true, force: true });
    return;
  }
  for (const name of await readdir(path)) await rm(join(path, name), { recursive: true });
}

const UNITS: Record<Phase, string> = {
  preparing: 'concepts and associations',
  'warming up': 'calls',
  measuring: 'calls',
  'cleaning up': 'concepts',
};

/** A bar for each phase. */
class BenchWatch implements LoadWatch {
  private bar: Progress | null = null;
  private phase: Phase | null = null;

  constructor(readonly signal: AbortSignal) {}

  readonly begin = (prefix: string): void => {
    this.signal.addEventListener('abort', () => {
      const line = `stopping; once more leaves the concepts ${prefix}* behind`;
      if (this.bar === null) process.stderr.write(`${line}\n`);
      else this.bar.note(line);
    });
  };

  readonly progress = (phase: Phase, done: number, total: number): void => {
    if (phase !== this.phase) {
      this.bar?.abandon();
      this.phase = phase;
      this.bar = createProgress({ label: phase, unit: UNITS[phase], total });
    }
    this.bar?.setTotal(total);
    this.bar?.update(done);
  };

  end(): void {
    this.bar?.abandon();
  }
}

function measurementOf(meters: readonly CallMeter[], elapsedMs: number) {
  const answered = callsOf(meters);
  const us = (quantile: number): number | null => {
    const value = quantileOf(meters, quantile);
    return value === null ? null : Math.round(value);
  };
  return {
    answered,
    errors: errorsOf(meters),
    rate: elapsedMs === 0 ? 0 : Number(((answered * 1000) / elapsedMs).toFixed(1)),
    p50_us: us(0.5),
    p90_us: us(0.9),
    p99_us: us(0.99),
    p999_us: us(0.999),
    max_us: us(1),
  };
}

/** How late calls began: held up by this process, or by the machine that it runs on. */
function lateUs({ late }: LoadReport): number | null {
  const us = latencyQuantileUs(late, 0.99);
  return us === null ? null : Math.round(us);
}

function verdictDocument({ limit, pass, measured }: Verdict) {
  const digits = limit.kind === 'rate' ? 1 : 0;
  return {
    limit: limit.text,
    pass,
    measured: measured === null ? null : Number(measured.toFixed(digits)),
  };
}

function benchDocument(choice: StoreChoice, plan: LoadPlan, report: LoadReport) {
  const { meters, elapsedMs, cleanUp, interrupted } = report;
  const limits = plan.limits.map((limit) => judge(limit, meters, elapsedMs * 1000));
  const whole = report.gaveUp === null && cleanUp.failure === null;
  return {
    pass: whole && limits.every(({ pass }) => pass),
    interrupted,
    gave_up: report.gaveUp,
    ...(choice.mode === 'server'
      ? { server: formatAddress(choice.address.host, choice.address.port) }
      : { storage: choice.path }),
    prefix: report.prefix,
    plan: {
      mix: Object.fromEntries(plan.mix),
      ...plan.pace,
      duration_us: plan.durationMs * 1000,
      warm_up_us: plan.warmUpMs * 1000,
      concepts: plan.size.concepts,
      associations: plan.size.associations,
      content_bytes: plan.size.contentBytes,
      new: plan.maxNew,
    },
    ...('rate' in plan.pace ? { began_late_p99_us: lateUs(report) } : {}),
    preload_us: Math.round(report.preloadMs * 1000),
    elapsed_us: Math.round(elapsedMs * 1000),
    ...measurementOf([...meters.values()], elapsedMs),
    calls: [...meters].map(([call, meter]) => ({
      call,
      ...measurementOf([meter], elapsedMs),
      error_codes: Object.fromEntries(meter.errors),
      ...(call === 'search' ? { missed: meter.missed } : {}),
      latency_counts: meter.histogram().counts,
    })),
    latency_bounds_us: LATENCY_BOUNDS_US,
    limits: limits.map(verdictDocument),
    examples: report.examples,
    clean_up: {
      us: Math.round(cleanUp.ms * 1000),
      concepts: cleanUp.concepts,
      associations: cleanUp.associations,
      left: cleanUp.left,
      failure: cleanUp.failure,
    },
  };
}

type BenchDocument = ReturnType<typeof benchDocument>;
type Measurement = ReturnType<typeof measurementOf>;

async function benchText(
  screen: Screen,
  report: LoadReport,
  document: BenchDocument,
): Promise<string> {
  const time = (us: number | null): string =>
    us === null ? '-' : screen.drawing ? shortTime(us) : String(us);
  const count = (value: number): string =>
    screen.drawing ? Math.round(value).toLocaleString('en-US') : String(value);
  const row = (name: string, one: Measurement): string[] => [
    name,
    ...[one.answered, one.errors, one.rate].map(count),
    ...[one.p50_us, one.p90_us, one.p99_us, one.p999_us, one.max_us].map(time),
  ];
  const rows = document.calls.map((one) => row(one.call, one));
  if (rows.length > 1) rows.push(row('all', document));
  const heads = ['answered', 'errors', 'a second', 'p50', 'p90', 'p99', 'p99.9', 'max'];
  const lines = [
    await table(
      screen,
      [{ head: 'call' }, ...heads.map((head) => ({ head, align: 'right' }) as const)],
      rows,
    ),
  ];
  for (const { call, error_codes: codes } of document.calls) {
    for (const [code, times] of Object.entries(codes)) {
      lines.push(`${call}: ${code} ${counted(times, 'time')}`);
    }
  }
  for (const example of report.examples)
    lines.push(styled(screen, 'dim', `  ${safeLine(example)}`));
  for (const one of document.calls) {
    if ((one.missed ?? 0) > 0) {
      lines.push(
        `search: ${counted(one.missed ?? 0, 'answer')} without the very concept asked for`,
      );
    }
  }
  const { clean_up: cleanUp } = document;
  for (const { limit, pass, measured } of document.limits) {
    const word = styled(screen, pass ? 'green' : 'red', pass ? 'held' : 'not held');
    const isTime = /(p50|p90|p99|p99\.9|max)=/.test(limit);
    const got = measured === null || isTime ? time(measured) : count(measured);
    lines.push(`limit ${limit} ${word}: ${got}`);
  }
  const late = document.began_late_p99_us ?? null;
  if (late !== null) lines.push(`calls began late by p99 ${time(late)}, which counts`);
  if (report.gaveUp !== null) lines.push(`ended early: ${report.gaveUp}`);
  if (report.interrupted) {
    lines.push(`interrupted after ${duration(report.elapsedMs / 1000)} of measuring`);
  }
  lines.push(
    cleanUp.failure === null
      ? `forgot ${counted(cleanUp.concepts, 'concept')} and ${counted(cleanUp.associations, 'association')} again`
      : `could not clean up: ${safeLine(cleanUp.failure)}; up to ${counted(cleanUp.left, 'concept')} ${report.prefix}* are left`,
    styled(screen, document.pass ? 'green' : 'red', document.pass ? 'pass' : 'fail'),
  );
  return lines.join('\n');
}
