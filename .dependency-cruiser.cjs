/**
 * The import arrows, as docs/ARCHITECTURE.md draws them: commands -> cli, storage -> engine -> format; server -> storage,
 * wire. Arrows go down only, there is no cycle, and no file that nothing reaches.
 */

/** Leaf files at the top of src that every room may use. */
const LEAVES = '^src/(errors|latency|version)\\.ts$';

/** What a room may import of src: everything else of src is forbidden to it. */
function room(name, path, allowed, comment) {
  return {
    name,
    comment,
    severity: 'error',
    from: { path },
    to: { path: '^src/', pathNot: [LEAVES, ...allowed] },
  };
}

/**
 * Files that are started rather than imported: the library, bin/run loads cli/main, oclif loads commands by path, worker
 * threads open by URL.
 */
const ENTRIES = '^src/index\\.ts$|^src/cli/main\\.ts$|^src/commands/|^src/engine/[^.]*worker\\.ts$';

module.exports = {
  forbidden: [
    {
      name: 'latency-is-a-leaf',
      comment: 'Every layer may use src/latency.ts, so it uses none.',
      severity: 'error',
      from: { path: '^src/latency\\.ts$' },
      to: {},
    },
    {
      name: 'errors-is-a-leaf',
      comment: 'Every layer may use src/errors.ts, so it uses none.',
      severity: 'error',
      from: { path: '^src/errors\\.ts$' },
      to: {},
    },
    room(
      'format-is-bytes-only',
      '^src/engine/format/',
      ['^src/engine/format/'],
      'engine/format: errors and format, no I/O, no policy.',
    ),
    room(
      'engine-knows-nothing-above',
      '^src/engine/(?!format/)',
      ['^src/engine/'],
      'The engine imports itself and the error table.',
    ),
    room(
      'wire-is-a-codec',
      '^src/wire/',
      ['^src/wire/', '^src/storage/storage\\.ts$'],
      'wire translates messages of the contract to the types of the Storage interface.',
    ),
    room(
      'formats-are-codecs',
      '^src/formats/',
      ['^src/formats/', '^src/storage/storage\\.ts$', '^src/engine/format/'],
      'formats translates files to the types of the Storage interface and back.',
    ),
    room(
      'storage-arrows',
      '^src/storage/',
      ['^src/storage/', '^src/formats/', '^src/engine/', '^src/wire/'],
      'storage -> formats, engine, wire.',
    ),
    room(
      'server-arrows',
      '^src/server/',
      ['^src/server/', '^src/storage/', '^src/wire/'],
      'The server is thin over Storage.',
    ),
    room(
      'cli-arrows',
      '^src/cli/',
      ['^src/cli/', '^src/storage/', '^src/formats/'],
      'cli -> storage, formats.',
    ),
    room(
      'command-arrows',
      '^src/commands/(?!(serve|top|doctor|bench)\\.ts$)',
      ['^src/commands/', '^src/cli/', '^src/storage/', '^src/formats/'],
      'commands -> cli, storage, formats.',
    ),
    room(
      'dashboard-arrows',
      '^src/dashboard/',
      ['^src/dashboard/', '^src/cli/text\\.ts$', '^src/storage/'],
      'dashboard -> storage, and the text that is safe to show.',
    ),
    room('doctor-arrows', '^src/doctor/', ['^src/doctor/', '^src/storage/'], 'doctor -> storage.'),
    room('load-arrows', '^src/load/', ['^src/load/', '^src/storage/'], 'load -> storage.'),
    room(
      'bench-command-arrows',
      '^src/commands/bench\\.ts$',
      ['^src/cli/', '^src/storage/', '^src/load/'],
      'Only `bench` loads a store.',
    ),
    room(
      'doctor-command-arrows',
      '^src/commands/doctor\\.ts$',
      ['^src/cli/', '^src/storage/', '^src/doctor/'],
      'Only `doctor` examines.',
    ),
    room(
      'top-arrows',
      '^src/commands/top\\.ts$',
      ['^src/cli/', '^src/storage/', '^src/dashboard/'],
      'Only `top` draws the dashboard.',
    ),
    room(
      'serve-arrows',
      '^src/commands/serve\\.ts$',
      ['^src/cli/', '^src/storage/', '^src/server/'],
      'Only `serve` starts a server.',
    ),
    room(
      'library-arrows',
      '^src/index\\.ts$',
      ['^src/storage/'],
      'The library is the doorway and nothing beneath it.',
    ),
    {
      name: 'ink-for-the-dashboard',
      comment: 'react and ink take long to load: only `sutra top` does, when it runs.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/dashboard/' },
      to: { path: 'node_modules/(ink|react)/' },
    },
    {
      name: 'dashboard-loads-lazily',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/dashboard/' },
      to: { path: '^src/dashboard/', dynamic: false },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-dead-files',
      comment: 'Every file is reached from the library, a command or a worker.',
      severity: 'error',
      from: { path: ENTRIES },
      to: { path: '^src/', pathNot: ENTRIES, reachable: false },
    },
    {
      name: 'no-dev-dependencies-in-src',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown', 'undetermined'] },
    },
    {
      name: 'resolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.build.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
