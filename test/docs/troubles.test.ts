/**
 * The troubleshooting entries of OPERATIONS: each trouble is made, the entry's commands are typed in, and what the entry says to read
 * is in what they print.
 */

import { copyFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, describe, expect, test } from 'vitest';

import { SmallDisk } from '../support/small-disk.js';
import { certificate, FULL_TOKEN, READ_TOKEN } from '../support/secrets.js';
import { blocksOf, Desk, linesOf, type Background } from './page.js';

interface Trouble {
  /** Makes it, with a store in ./knowledge that knows a dog; the server it is about, if there is one. */
  readonly make: (desk: Desk) => Promise<Background | null>;
  /** What each of the entry's commands ends with; absent: 0. */
  readonly codes?: readonly number[];
  /** What the entry says to read, that its commands print. */
  readonly reads: readonly string[];
  /** What it names beside that: what is to be done, or what is printed in a worse case. */
  readonly names?: readonly string[];
}

/** Where none can be mounted, what a full disk shows is only what one with room shows. */
const SMALL_DISK = SmallDisk.mount();
afterAll(() => {
  if (typeof SMALL_DISK !== 'string') SMALL_DISK.unmount();
});

const LISTENING = /listening on 127\.0\.0\.1:(\d+)/;

const serve = (desk: Desk, args = ''): Promise<Background> =>
  desk.start(
    `sutra serve --storage knowledge --host 127.0.0.1 --port 0 --log-level warn ${args}`,
    LISTENING,
  );
const served = (desk: Desk): Promise<Background> => serve(desk);

const TROUBLES: Readonly<Record<string, Trouble>> = {
  'port-in-use': {
    make: served,
    codes: [1, 0],
    reads: ['in use by another process', 'LISTEN'],
    names: ['is held by', 'permission denied', 'damaged'],
  },
  held: { make: served, codes: [7, 0, 0], reads: ['is held by'] },
  unreachable: {
    make: async () => Promise.resolve(null),
    codes: [3, 0, 1, 0],
    reads: ['ECONNREFUSED'],
    names: ['ss', 'LISTEN', 'embedded'],
  },
  'not-allowed': {
    make: async (desk) => {
      await desk.shell(
        `umask 077; echo ${FULL_TOKEN} > token; echo ${READ_TOKEN} > read-token; ` +
          'cp token shared-token; chmod 644 shared-token',
      );
      return serve(desk, '--token-file token --read-token-file read-token');
    },
    codes: [6, 6, 6, 0],
    reads: ['needs a token', 'read-only token', 'has mode'],
    names: ['permission denied'],
  },
  tls: {
    make: async (desk) => {
      copyFileSync(certificate('authority.pem'), join(desk.directory, 'authority.pem'));
      copyFileSync(certificate('other-authority.pem'), join(desk.directory, 'other-authority.pem'));
      const [cert, key] = [certificate('server.pem'), certificate('server.key')];
      return serve(desk, `--tls-cert '${cert}' --tls-key '${key}'`);
    },
    codes: [3, 3, 0],
    reads: ['Failed to connect', 'certificate', 'days to go'],
    names: ['doctor', 'certificates were read again'],
  },
  'disk-full': {
    make: async (desk) => {
      if (typeof SMALL_DISK === 'string') return serve(desk);
      const { path } = SMALL_DISK;
      await desk.shell(`mv knowledge '${path}/'; ln -s '${path}/knowledge' knowledge`);
      const server = await serve(desk);
      const port = await server.shows(LISTENING);
      SMALL_DISK.fill(0);
      // What the log has allocated already it still fills.
      const learn = `head -c 900000 /dev/zero | tr '\\0' x | sutra learn cat - --server 127.0.0.1:${port}`;
      await desk.shell(`while ${learn}; do :; done`);
      return server;
    },
    ...(typeof SMALL_DISK === 'string'
      ? {
          reads: ['disk full', 'storage.dat size', 'no'],
          names: ['stats', 'healthy', 'yes', 'the disk is full'],
        }
      : {
          codes: [0, 5, 0],
          reads: ['the disk is full', 'disk full', 'yes', 'storage.dat size'],
          names: ['stats', 'healthy', 'no'],
        }),
  },
  'refused-writes': {
    make: async (desk) => serve(desk, '--max-memory 1'),
    codes: [1, 0],
    reads: ['pending size', 'disk full', 'dropped'],
  },
  'failed-disk': {
    make: async () => Promise.resolve(null),
    reads: ['is whole'],
    names: ['I/O error', 'verify'],
  },
  'torn-tail': {
    make: async (desk) => {
      const server = await serve(desk);
      const port = await server.shows(LISTENING);
      await desk.shell(`sutra learn wolf "a wild animal" --server 127.0.0.1:${port}`);
      await server.stop('SIGKILL');
      await desk.shell(
        'printf "half a group of writes" >> "$(ls knowledge/wal-*.log | tail -n 1)"',
      );
      return null;
    },
    reads: ['torn tail', '.torn'],
    names: ['verify'],
  },
  damaged: {
    make: async (desk) => {
      await desk.shell('sutra flush');
      const path = join(desk.directory, 'knowledge');
      expect(readdirSync(path)).toContain('storage.dat');
      // The header: whoever opens it sees that.
      writeFileSync(join(path, 'storage.dat'), Buffer.alloc(64, 0xff), { flag: 'r+' });
      return null;
    },
    codes: [5, 5, 5],
    reads: ['at offset'],
  },
  checkpoint: { make: served, reads: ['checkpoint'], names: ['stats', 'recovery gives'] },
  memory: {
    make: served,
    reads: ['resident memory', 'heap', 'index memory', 'writes in memory'],
  },
  'write-latency': {
    make: served,
    reads: ['sync p50', 'sync p99', 'sync latency', 'written', 'group commits'],
    names: ['doctor'],
  },
  latency: {
    make: served,
    reads: ['p99', 'time=', 'event loop late p99', 'calls waiting'],
    names: ['ping'],
  },
  'slow-queries': {
    make: async (desk) => {
      const server = await serve(desk);
      const port = await server.shows(LISTENING);
      await desk.shell(`sutra path dog dog --server 127.0.0.1:${port}`);
      return server;
    },
    reads: ['pending', 'FindPath', 'p99', 'supernodes'],
    names: ['doctor'],
  },
  'vector-search': {
    make: async (desk) => {
      await desk.shell(
        'for i in 1 2 3; do echo "[1, $i, 3]" > e.json; sutra learn "v$i" x --embedding e.json; done',
      );
      return serve(desk);
    },
    reads: ['indexed', 'vectors', 'to be indexed', 'they differ', 'recall'],
    names: ['doctor'],
  },
  'slow-start': {
    make: served,
    reads: ['write log size', 'checkpoint at writes'],
    names: ['flush'],
  },
};

const entries = blocksOf('docs/OPERATIONS.md')
  .filter(({ how }) => how.startsWith('trouble '))
  .map((block) => ({ name: block.how.slice('trouble '.length), block }));

test('every entry has its trouble, and every trouble its entry', () => {
  expect(entries.map(({ name }) => name).sort()).toEqual(Object.keys(TROUBLES).sort());
});

describe('When something is wrong', () => {
  // They wait more than they work.
  test.concurrent.each(entries)(
    '$name',
    async ({ name, block }) => {
      const trouble = TROUBLES[name];
      if (trouble === undefined) throw new Error(`no such trouble: ${name}`);
      const desk = new Desk();
      await desk.shell('sutra learn dog "a domestic animal"');
      const server = await trouble.make(desk);
      // Nothing listens on port 1.
      const port = (await server?.shows(LISTENING)) ?? '1';
      const lines = linesOf(block).map((line) =>
        line
          .replaceAll('localhost:50051', `127.0.0.1:${port}`)
          .replaceAll('localhost 50051', `127.0.0.1 ${port}`)
          .replaceAll(':50051', `:${port}`)
          .replaceAll('--port 50051', `--port ${port} --host 127.0.0.1`),
      );
      const printed = [];
      for (const line of lines) printed.push(await desk.type(line));
      await server?.stop();

      const shown = printed.map(({ code, text }, i) => `$ ${lines[i] ?? ''}\n${text}[${code}]`);
      const all = shown.join('\n');
      expect(
        printed.map(({ code }) => code),
        all,
      ).toEqual(trouble.codes ?? lines.map(() => 0));
      for (const phrase of trouble.reads) expect(all).toContain(phrase);

      // And the entry says no more than that.
      const spans = [...block.after.matchAll(/`([^`]+)`/g)]
        .map(([, span = '']) => span.replaceAll(/\s+/g, ' '))
        .filter((span) => !/^--|^(sutra|grpcurl) /.test(span));
      const known = [...trouble.reads, ...(trouble.names ?? [])];
      expect([...new Set(spans)].sort()).toEqual([...new Set(known)].sort());
    },
    180_000,
  );
});
