/**
 * Tests import the built code (`#sutra/*` is dist/), loaded by Node itself and not transformed, so that worker threads
 * and child processes run the same files that are shipped. `npm test` builds first.
 */

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Forks, not threads: tests map files, take kernel locks and start servers.
    pool: 'forks',
    // One more than the two cores of CI: a third of the time tests wait for processes, disks and clocks.
    maxWorkers: 3,
    // Bounds a hang; no test decides anything by time.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
    reporters: ['default'],
    server: { deps: { external: [/\/dist\//] } },
  },
});
