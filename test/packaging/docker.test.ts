/**
 * The Dockerfile, instruction by instruction, against the facts of the package. There is no daemon and no registry of images
 * where these tests run, so this shows that what it names exists and fits. scripts/prove-image.sh builds it, and runs it.
 */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

import { PROJECT_ROOT, runSutra } from '../support/fixture.js';

const read = (path: string): string => readFileSync(join(PROJECT_ROOT, path), 'utf8');

interface Instruction {
  readonly name: string;
  readonly rest: string;
}

function instructionsOf(text: string): Instruction[] {
  const lines = text
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .join('\n')
    .replace(/\\\n\s*/g, '');
  return lines
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const space = line.indexOf(' ');
      return { name: line.slice(0, space), rest: line.slice(space + 1).trim() };
    });
}

const instructions = instructionsOf(read('deploy/docker/Dockerfile'));
const lastFrom = instructions.findLastIndex(({ name }) => name === 'FROM');
const final = instructions.slice(lastFrom);
const one = (name: string): string => {
  const found = final.filter((instruction) => instruction.name === name);
  expect(found, name).toHaveLength(1);
  return found[0]?.rest ?? '';
};
const facts = JSON.parse(read('package.json')) as { engines: { node: string } };
const manifest = JSON.parse(read('oclif.manifest.json')) as {
  commands: Record<string, { flags: Record<string, { env?: string }> }>;
};

describe('Dockerfile', () => {
  test('every instruction is one that Docker knows', () => {
    const known =
      /^(FROM|RUN|COPY|WORKDIR|ENV|USER|VOLUME|EXPOSE|HEALTHCHECK|STOPSIGNAL|ENTRYPOINT|CMD)$/;
    for (const { name } of instructions) expect(name).toMatch(known);
  });

  test('stages are on a Node that package.json allows', () => {
    const [, least = ''] = />=(\d+)/.exec(facts.engines.node) ?? [];
    const images = instructions.filter(({ name }) => name === 'FROM').map(({ rest }) => rest);
    expect(images).toHaveLength(2);
    for (const image of images) {
      const [, major = '0'] = /^node:(\d+)-bookworm-slim( AS build)?$/.exec(image) ?? [];
      expect(Number(major)).toBeGreaterThan(Number(least));
    }
  });

  test('what it copies is there, and .dockerignore lets it in', () => {
    const allowed = read('.dockerignore')
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    const copied = instructions
      .filter(({ name, rest }) => name === 'COPY' && !rest.startsWith('--from'))
      .flatMap(({ rest }) => rest.split(/\s+/).slice(0, -1));
    expect(copied.length).toBeGreaterThan(5);
    for (const path of copied) {
      expect(existsSync(join(PROJECT_ROOT, path)), path).toBe(true);
      expect(allowed).toContain(path);
    }
    // All that the binary needs at run time is in the last stage.
    const there = final.map(({ rest }) => rest).join('\n');
    for (const part of [
      'bin',
      'proto',
      'dist',
      'node_modules',
      'oclif.manifest.json',
      'package.json',
    ]) {
      expect(there).toContain(part);
    }
  });

  test('runs as nobody in particular, stops as serve expects, on serve’s port', () => {
    expect(one('USER')).toMatch(/^[1-9]\d+:[1-9]\d+$/);
    expect(one('STOPSIGNAL')).toBe('SIGTERM');
    expect(one('EXPOSE')).toBe('50051');
    expect(one('VOLUME')).toBe('/var/lib/sutra');
    expect(one('ENV')).toContain('SUTRA_STORAGE_PATH=/var/lib/sutra/');
    expect(JSON.parse(one('ENTRYPOINT'))).toEqual(['sutra']);
    expect(JSON.parse(one('CMD'))).toEqual(['serve']);
  });

  test('its variables are known ones, and its health check is a command line that parses', async () => {
    const known = new Set(
      Object.values(manifest.commands).flatMap(({ flags }) =>
        Object.values(flags).map(({ env }) => env),
      ),
    );
    for (const name of ['SUTRA_STORAGE_MODE', 'SUTRA_STORAGE_SERVER']) known.add(name);
    const env = Object.fromEntries(
      [...one('ENV').matchAll(/(\w+)=(\S+)/g)].map(([, name = '', value = '']) => [name, value]),
    );
    const ours = Object.keys(env).filter((name) => name.startsWith('SUTRA_'));
    expect(ours).toHaveLength(3);
    for (const name of ours) expect(known).toContain(name);

    const [, command = ''] = /CMD (\[.*\])$/.exec(one('HEALTHCHECK')) ?? [];
    const [binary, ...args] = JSON.parse(command) as string[];
    expect(binary).toBe('sutra');
    // Nobody serves on that port: 3, not the 2 of a flag that is not there.
    const result = await runSutra(args, { env: { ...env, SUTRA_STORAGE_SERVER: '127.0.0.1:1' } });
    expect(result.code).toBe(3);
  });
});
