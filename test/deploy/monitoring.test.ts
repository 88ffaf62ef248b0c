/**
 * The alert rules and the dashboard against a server that runs: every metric, label and code that an expression names is
 * exported; Debian's promtool takes the rules; and a real Prometheus scrapes the server and answers every expression.
 */

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Exposition } from '../support/exposition.js';
import { PROJECT_ROOT, startServe, temporaryDirectory, type Serving } from '../support/fixture.js';

const run = promisify(execFile);
/** Where scripts/test-tools.sh puts what is not installed. */
const TOOLS = join(PROJECT_ROOT, 'node_modules/.cache/sutra-test-tools/usr/bin');
const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:${TOOLS}` };
const ALERTS = join(PROJECT_ROOT, 'deploy/prometheus/alerts.yml');
const DASHBOARD = join(PROJECT_ROOT, 'deploy/grafana/sutra.json');

let serving: Serving;
let metrics = '';
let exported: Exposition;

beforeAll(async () => {
  serving = await startServe(['--metrics-port', '0', '--json']);
  metrics = (JSON.parse(serving.stdout) as { metrics_address: string }).metrics_address;
  exported = new Exposition(await (await fetch(`http://${metrics}/metrics`)).text());
});
afterAll(async () => {
  expect(await serving.stop()).toBe(0);
});

/** As written; a folded block is one line to Prometheus. */
function alertExpressions(): string[] {
  const text = readFileSync(ALERTS, 'utf8');
  return [...text.matchAll(/^ {8}expr: (?:>-\n((?: {10}.*\n)+)|(.+)\n)/gm)].map((match) =>
    (match[1] ?? match[2] ?? '').replace(/\s+/g, ' ').trim(),
  );
}

interface Panel {
  readonly targets?: readonly { readonly expr: string }[];
}

function dashboardExpressions(): string[] {
  const { panels } = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as { panels: Panel[] };
  return panels.flatMap(({ targets = [] }) =>
    // What Grafana puts in.
    targets.map(({ expr }) =>
      expr.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.*'),
    ),
  );
}

const expressions = [...alertExpressions(), ...dashboardExpressions()];

test('there are as many as there seem to be', () => {
  expect(alertExpressions()).toHaveLength(
    readFileSync(ALERTS, 'utf8').split('- alert:').length - 1,
  );
  expect(dashboardExpressions().length).toBeGreaterThan(40);
});

test('every section of OPERATIONS that an alert names is there', () => {
  const page = readFileSync(join(PROJECT_ROOT, 'docs/OPERATIONS.md'), 'utf8');
  const headings = [...page.matchAll(/^#+ (.*)$/gm)].map(([, text = '']) =>
    text.replaceAll('`', ''),
  );
  const named = [...readFileSync(ALERTS, 'utf8').matchAll(/\(OPERATIONS, ([^)]+)\)/g)];
  expect(named.length).toBeGreaterThan(4);
  for (const [, section = ''] of named) expect(headings).toContain(section);
});

test.each(expressions)('%s names what is exported', (expression) => {
  const selectors = [
    ...expression.matchAll(/\b((?:sutra|grpc|process|nodejs|up)(?:_\w+)?)\b(?:\{([^}]*)\})?/g),
  ].filter(([, name]) => !/^grpc_(method|code|service|type)$/.test(name ?? ''));
  expect(selectors.length).toBeGreaterThan(0);
  for (const [, name = '', inner = ''] of selectors) {
    // Prometheus makes this one itself.
    if (name === 'up') continue;
    const samples = exported.all(name);
    expect(samples.length, name).toBeGreaterThan(0);
    for (const [, label = '', operator = '', value = ''] of inner.matchAll(
      /(\w+)(=~|!=|=|!~)"([^"]*)"/g,
    )) {
      // Prometheus adds these two to what it scrapes.
      if (label === 'instance' || label === 'job') continue;
      const values = samples.map((sample) => sample.labels[label]);
      const wanted = operator.endsWith('~') ? value.split('|') : [value];
      for (const one of wanted) expect(values, `${name} ${label}`).toContain(one);
    }
  }
  for (const [, list = ''] of expression.matchAll(/\bby \(([^)]*)\)/g)) {
    for (const label of list.split(',').map((one) => one.trim())) {
      if (label === 'instance') continue;
      const has = selectors.some(([, name = '']) =>
        exported.all(name).some((sample) => label in sample.labels),
      );
      expect(has, label).toBe(true);
    }
  }
});

async function tool(name: string, args: readonly string[]): Promise<string> {
  try {
    const { stdout, stderr } = await run(name, args, { timeout: 60_000, env });
    return stdout + stderr;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new Error(`${name} is not there; scripts/test-tools.sh gets it`, { cause: error });
  }
}

test('promtool takes the rules and the configuration', async () => {
  expect(await tool('promtool', ['check', 'rules', ALERTS])).toContain('SUCCESS');
  const config = join(PROJECT_ROOT, 'deploy/prometheus/prometheus.yml');
  expect(await tool('promtool', ['check', 'config', config])).toContain('SUCCESS');
});

test('promtool finds nothing to say of the metrics', async () => {
  const text = await (await fetch(`http://${metrics}/metrics`)).text();
  const directory = temporaryDirectory('promtool');
  const file = join(directory, 'metrics');
  writeFileSync(file, text);
  // Its linter reads stdin; what prom-client itself exports is not ours to name.
  const check = `promtool check metrics < '${file}' 2>&1; echo "ended with $?"`;
  const { stdout } = await run('sh', ['-c', check], { env });
  const ours = stdout.split('\n').filter((line) => /^(sutra|grpc)_/.test(line));
  expect(ours).toEqual([]);
  // 3: it has something to say, of metrics that are not ours.
  expect(stdout).toMatch(/ended with [03]$/m);
}, 60_000);

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
  await new Promise((resolve) => server.close(resolve));
  return port;
}

interface QueryAnswer {
  readonly status: string;
  readonly data?: { readonly result: readonly { readonly value: [number, string] }[] };
}

test('a real Prometheus scrapes the server, and answers every expression', async () => {
  await tool('prometheus', ['--version']);
  const directory = temporaryDirectory('prometheus');
  const config = join(directory, 'prometheus.yml');
  copyFileSync(ALERTS, join(directory, 'alerts.yml'));
  const example = readFileSync(join(PROJECT_ROOT, 'deploy/prometheus/prometheus.yml'), 'utf8');
  writeFileSync(config, example.replace('localhost:9464', metrics).replaceAll('15s', '1s'));
  const port = await freePort();
  const own = `127.0.0.1:${port}`;
  const args = [
    `--config.file=${config}`,
    `--storage.tsdb.path=${join(directory, 'data')}`,
    `--web.listen-address=${own}`,
  ];
  const child: ChildProcess = spawn('prometheus', args, { stdio: 'ignore', env });
  try {
    const ask = async (expression: string): Promise<QueryAnswer | null> => {
      const query = new URLSearchParams({ query: expression });
      const answer = await fetch(`http://${own}/api/v1/query?${query.toString()}`).catch(
        () => null,
      );
      // While it starts it says in plain words that it is not ready.
      if (answer === null || answer.status === 503) return null;
      return (await answer.json()) as QueryAnswer;
    };
    for (;;) {
      const up = await ask('up{job="sutra"}');
      if (up?.data?.result[0]?.value[1] === '1') break;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect((await ask('sutra_ready'))?.data?.result[0]?.value[1]).toBe('1');
    for (const expression of expressions) {
      expect((await ask(expression))?.status, expression).toBe('success');
    }
    const rules = await fetch(`http://${own}/api/v1/rules`);
    const text = await rules.text();
    expect(text).toContain('SutraNotReady');
    expect(text).not.toContain('"health":"err"');
  } finally {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }
}, 60_000);
