/**
 * compose.yaml and what it mounts, as YAML (read by Debian's python3-yaml), against the rest of the repository. There is no
 * daemon where these tests run: this shows that the parts fit, not that they start. scripts/prove-image.sh has docker-compose read it.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

import { PROJECT_ROOT } from '../support/fixture.js';

const DEPLOY = join(PROJECT_ROOT, 'deploy');

function yaml(path: string): unknown {
  const program = 'import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))';
  const args = ['-c', program, join(DEPLOY, path)];
  return JSON.parse(execFileSync('/usr/bin/python3', args, { encoding: 'utf8' }));
}

interface Service {
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes: readonly string[];
  readonly ports?: readonly string[];
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly network_mode?: string;
}

const compose = yaml('compose.yaml') as {
  services: Record<'sutra' | 'prometheus' | 'grafana', Service>;
  volumes: Record<string, null>;
};
const { sutra, prometheus, grafana } = compose.services;

describe('compose.yaml', () => {
  test('every image has a version, and what is built is there', () => {
    for (const { image } of [prometheus, grafana]) expect(image).toMatch(/:v?\d+\.\d+\.\d+$/);
    expect(existsSync(join(DEPLOY, sutra.build?.context ?? '', 'package.json'))).toBe(true);
    expect(existsSync(join(PROJECT_ROOT, sutra.build?.dockerfile ?? ''))).toBe(true);
  });

  test('every mount is of a file that is there, read-only, or of a volume that is declared', () => {
    const mounts = Object.values(compose.services).flatMap(({ volumes }) => volumes);
    expect(mounts.length).toBeGreaterThan(6);
    for (const mount of mounts) {
      const [source = '', target = '', mode] = mount.split(':');
      expect(target).toMatch(/^\//);
      if (source.startsWith('.')) {
        expect(existsSync(join(DEPLOY, source)), source).toBe(true);
        expect(mode).toBe('ro');
      } else {
        expect(Object.keys(compose.volumes)).toContain(source);
      }
    }
  });

  test('the store is in the image’s volume, and its variables are known to `serve`', () => {
    const dockerfile = readFileSync(join(DEPLOY, 'docker', 'Dockerfile'), 'utf8');
    expect(sutra.volumes).toEqual(['store:/var/lib/sutra']);
    expect(dockerfile).toContain('VOLUME /var/lib/sutra');
    const { commands } = JSON.parse(
      readFileSync(join(PROJECT_ROOT, 'oclif.manifest.json'), 'utf8'),
    ) as { commands: Record<string, { flags: Record<string, { env?: string }> }> };
    const known = Object.values(commands['serve']?.flags ?? {}).map(({ env }) => env);
    for (const name of Object.keys(sutra.environment ?? {})) expect(known).toContain(name);
    expect(sutra).toMatchObject({ read_only: true, cap_drop: ['ALL'] });
  });

  test('nothing is published beyond this machine', () => {
    const ports = Object.values(compose.services).flatMap(({ ports: list = [] }) => list);
    expect(ports).toEqual(
      expect.arrayContaining([
        '127.0.0.1:50051:50051',
        '127.0.0.1:9090:9090',
        '127.0.0.1:3000:3000',
      ]),
    );
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  test('Prometheus scrapes the port that sutra answers on, in one network, and Grafana asks it', () => {
    const config = yaml('prometheus/prometheus.yml') as {
      scrape_configs: { static_configs: { targets: string[] }[] }[];
    };
    const [target] = config.scrape_configs[0]?.static_configs[0]?.targets ?? [];
    expect(prometheus.network_mode).toBe('service:sutra');
    expect(target).toBe(`localhost:${sutra.environment?.['SUTRA_METRICS_PORT'] ?? ''}`);
    const sources = yaml('docker/grafana-datasource.yaml') as {
      datasources: { url: string; type: string }[];
    };
    expect(sources.datasources).toMatchObject([{ url: 'http://sutra:9090', type: 'prometheus' }]);
    const boards = yaml('docker/grafana-dashboards.yaml') as {
      providers: { options: { path: string } }[];
    };
    const path = boards.providers[0]?.options.path ?? '';
    expect(grafana.volumes).toContain(`./grafana:${path}:ro`);
  });
});
