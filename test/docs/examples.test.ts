/**
 * The examples in the documents, run as a reader would: every block of a page, in order, in one fresh directory (page.ts says
 * what the fences mean). And of OPERATIONS, which people read when they have no time, every command: one that nothing runs
 * fails here.
 */

import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { certificate } from '../support/secrets.js';
import { oldFile } from '../support/version2-file.js';
import { blocksOf, Desk, linesOf, spansOf, type Background, type Block } from './page.js';

const OPERATIONS = 'docs/OPERATIONS.md';

/** Commands that need another machine than this, by how they begin, and where what they do is shown. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'npm install -g ./sutra-': 'into the system; test/packaging/package.test.ts into a prefix',
  'cd "$(npm root -g)/sutra/deploy/systemd"': 'where that was installed',
  'cp sutra.sysusers': 'makes a user of the system; test/server/service-manager.test.ts reads it',
  'install -D -m 0640 -g sutra sutra.env':
    'for that user; test/server/service-manager.test.ts reads it',
  'cp sutra.service': 'needs systemd as the first process; its parser reads the unit in tests',
  systemctl: 'needs systemd as the first process',
  journalctl: 'needs systemd as the first process',
  'systemd-sysusers': 'makes a user of the system',
  docker: 'needs a daemon; scripts/prove-image.sh builds and runs the image without one',
  grpcurl: 'is not packaged; test/server/server.test.ts asks reflection the same',
};

/** Commands in sentences that stand in no block, and how each is run, in a directory with a store in ./knowledge. */
const IN_SENTENCES: Readonly<Record<string, (desk: Desk, command: string) => Promise<void>>> = {
  'cp -a knowledge /elsewhere/': async (desk, command) => {
    await desk.shell(`mkdir elsewhere; ${command.replace('/elsewhere/', 'elsewhere/')}`);
    expect(await desk.shell('sutra query dog --storage elsewhere/knowledge')).toContain('animal');
  },
  'sutra migrate --salvage': async (desk, command) => {
    expect(await desk.shell(command)).toContain('of today’s version already');
  },
  'sutra repair --accept-loss': async (desk, command) => {
    expect(await desk.shell(command)).toContain('nothing to repair');
  },
  'sutra search --embedding FILE': async (desk, command) => {
    await desk.shell('echo "[1, 2, 3]" > FILE; sutra learn cat "a small one" --embedding FILE');
    expect(await desk.shell(command)).toMatch(/^cat\t1\t/m);
  },
  'sutra serve --help': async (desk, command) => {
    expect(await desk.shell(command)).toContain('SUTRA_SERVE_TLS_CERT');
  },
  'sutra stats --watch': watched,
  'sutra stats --watch --json': watched,
};

async function watched(desk: Desk, command: string): Promise<void> {
  const watching = await desk.start(command, /concepts|written/);
  expect(await watching.stop('SIGINT'), watching.text).toBe(130);
}

/** What only takes longer, or expects more of the machine, than a test should. */
const SMALLER: readonly (readonly [string, string])[] = [
  ['--rate 2000', '--rate 50 --concepts 200 --warm-up 0'],
  ['--duration 5m', '--duration 1'],
  ['query.p99=5ms,learn.p99=50ms', 'query.p99=10s,learn.p99=10s'],
  ['errors=0,rate=2000', 'errors=0,rate=1'],
];

const LISTENING = /listening on (?:127\.0\.0\.1|localhost|0\.0\.0\.0):(\d+)/;

/** Runs a page's blocks. */
class Reader {
  readonly desk = new Desk();
  private server: Background | null = null;
  private port = '';
  private metricsPort = '';

  constructor() {
    const { directory } = this.desk;
    copyFileSync(certificate('server.pem'), join(directory, 'cert.pem'));
    copyFileSync(certificate('server.key'), join(directory, 'key.pem'));
    copyFileSync(certificate('authority.pem'), join(directory, 'authority.pem'));
  }

  /** What the page's blocks printed. */
  async read(page: string): Promise<string[]> {
    const printed: string[] = [];
    for (const block of blocksOf(page)) {
      const { language, how } = block;
      if (language === 'js') printed.push(await this.desk.program(await this.beside(block)));
      else if (language === 'sh' && !how.startsWith('trouble '))
        printed.push(await this.shell(block));
    }
    await this.stop();
    return printed;
  }

  async stop(): Promise<void> {
    if (this.server !== null) expect(await this.server.stop(), this.server.text).toBe(0);
    this.server = null;
  }

  private async shell(block: Block): Promise<string> {
    switch (block.how) {
      case '':
        await this.stop();
        return this.desk.shell(this.here(block.code));
      case 'serve': {
        await this.stop();
        const [line = '', ...others] = linesOf(block);
        expect(others).toEqual([]);
        await this.serve(line);
        return '';
      }
      case 'terminal':
        return this.desk.terminal(await this.beside(block), /healthy/);
      case 'old-store': {
        await this.stop();
        const old = join(this.desk.directory, 'old');
        mkdirSync(old);
        const concepts = [{ id: 'ab'.repeat(8), content: 'of old' }];
        writeFileSync(join(old, 'storage.dat'), oldFile({ concepts }));
        return this.desk.shell(block.code.replaceAll('/var/lib/sutra/knowledge', old));
      }
      case 'server':
      case 'client': {
        const code = await this.beside(block);
        if (!code.includes('staging:50051')) return this.desk.shell(code);
        // Another server, whose store is empty.
        const staging = await this.desk.start(
          'sutra serve --host 127.0.0.1 --port 0 --storage staging',
          LISTENING,
        );
        const port = await staging.shows(LISTENING);
        const smaller = SMALLER.reduce((text, [from, to]) => {
          expect(text).toContain(from);
          return text.replace(from, to);
        }, code);
        const out = await this.desk.shell(smaller.replaceAll('staging:50051', `127.0.0.1:${port}`));
        expect(await staging.stop(), staging.text).toBe(0);
        return out;
      }
      default:
        throw new Error(`a fence says \`sh ${block.how}\`, which page.ts does not know`);
    }
  }

  private async serve(command: string): Promise<void> {
    const own = this.here(command)
      .replace('--port 50051', '')
      .replace('--metrics-port 9464', '--metrics-port 0')
      .replace('sutra serve', 'sutra serve --port 0');
    const local = own.includes('--host') ? own : `${own} --host 127.0.0.1`;
    this.server = await this.desk.start(local, LISTENING);
    this.port = await this.server.shows(LISTENING);
    if (own.includes('--metrics-port')) {
      this.metricsPort = await this.server.shows(/metrics +127\.0\.0\.1:(\d+)/);
    }
  }

  /** The block's code beside a server: the one that runs, or one of the page's store. */
  private async beside({ code, how, language }: Block): Promise<string> {
    if (language === 'js' && !how.includes('server') && this.server === null) return code;
    if (this.server === null) await this.serve('sutra serve');
    return this.here(code)
      .replaceAll(/\b(?:localhost|db\.example):50051/g, `127.0.0.1:${this.port}`)
      .replaceAll('localhost:9464', `localhost:${this.metricsPort}`);
  }

  private here(code: string): string {
    return code.replaceAll('/var/lib/sutra/knowledge', join(this.desk.directory, 'knowledge'));
  }
}

test('the README’s first minutes, embedded and served', async () => {
  const [shell, search, embedded, copied, served, remote] = await new Reader().read('README.md');
  expect(shell).toContain('Socrates, a philosopher of Athens');
  expect(shell).toContain('2 hops');
  expect(search).toMatch(/^mortal\t0\.9\d+\tWhat will die$/m);
  expect(embedded).toBe('plato -> aristotle\naristotle\n');
  expect(copied).toMatch(/^\d+ accepted, 0 refused$/m);
  expect(served).toContain('diogenes');
  expect(served).toContain('2 hops');
  expect(remote).toContain('socrates');
}, 120_000);

test('the commands of OPERATIONS', async () => {
  const reader = new Reader();
  const printed = (await reader.read(OPERATIONS)).join('\n');
  for (const expected of [
    /"concepts":1/,
    /^score \d+ of 100/m,
    /requests|CALLS/,
    /^limit query\.p99=10s held: \d+$/m,
    /a domestic animal/,
    /migrated from version 2: 1 concepts/,
    /nothing to repair/,
    /^ready$/m,
    /^sutra_ready 1$/m,
    /event loop late p99/,
  ]) {
    expect(printed).toMatch(expected);
  }
  expect(JSON.parse(await reader.desk.shell('cat bench.json'))).toMatchObject({ pass: true });
}, 300_000);

test('OPERATIONS has no command that nothing runs, in its sentences neither', async () => {
  const blocks = blocksOf(OPERATIONS);
  const isElsewhere = (command: string): boolean =>
    Object.keys(ELSEWHERE).some((start) => command.startsWith(start));

  const untried = blocks
    .filter(({ language }) => language === 'console')
    .flatMap((block) => linesOf(block))
    .flatMap((line) => line.split(/; | && /))
    .filter((command) => !isElsewhere(command));
  expect(untried).toEqual([]);
  // What is no `sh` and no `console` block is no command.
  expect(
    blocks.map(({ language }) => language).filter((one) => !/^(sh|console)$/.test(one)),
  ).toEqual([]);

  const tried = blocks.filter(({ language }) => language === 'sh').flatMap(linesOf);
  const programs = new Set(tried.concat(Object.keys(ELSEWHERE)).map((line) => line.split(' ')[0]));
  const commands = spansOf(OPERATIONS).filter((span) => {
    const [program = '', ...rest] = span.split(' ');
    // The name of a program alone is a word.
    return programs.has(program) && rest.length > 0;
  });
  expect(commands.length).toBeGreaterThan(5);
  const left = commands.filter(
    (command) =>
      !isElsewhere(command) &&
      !tried.some((line) => line === command || line.startsWith(`${command} `)),
  );
  expect(left.sort()).toEqual(Object.keys(IN_SENTENCES).sort());

  const desk = new Desk();
  await desk.shell('sutra learn dog "a domestic animal"');
  for (const command of left) await IN_SENTENCES[command]?.(desk, command);
}, 120_000);
