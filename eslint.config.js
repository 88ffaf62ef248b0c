/**
 * Lint rules. The type-aware promise rules are the point: a promise that nobody awaits is a lost durability error. The
 * rest is tuned to find mistakes, not to argue about taste; layout belongs to prettier, import arrows to
 * dependency-cruiser (.dependency-cruiser.cjs).
 */

import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** The engine reaches the file system and FFI through one file each, so that tests can put a simulated disk beneath. */
const FILE_SYSTEM = ['node:fs', 'fs', 'node:fs/promises', 'fs/promises'].map((name) => ({
  name,
  message: 'The engine reaches files through the Disk seam; only node-disk.ts imports node:fs.',
}));
const FFI = {
  name: 'koffi',
  message: 'Only src/engine/libc.ts imports koffi.',
};

const TYPESCRIPT = ['**/*.ts', '**/*.tsx', 'scripts/**/*.mjs'];

export default tseslint.config(
  {
    ignores: ['**/dist/**', '**/build/**', '**/node_modules/**', 'coverage/**', 'bench/results/**'],
  },
  {
    linterOptions: { reportUnusedDisableDirectives: 'error' },
  },
  js.configs.recommended,
  {
    files: TYPESCRIPT,
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/return-await': ['error', 'in-try-catch'],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/no-import-type-side-effects': 'error',
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', caughtErrors: 'all' },
      ],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unnecessary-condition': [
        'error',
        { allowConstantLoopConditions: 'only-allowed-literals' },
      ],
      // An async method without await is how a class meets a promise interface and turns throws into rejections.
      '@typescript-eslint/require-await': 'off',
      // Both argue about shape, and found no mistake here.
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      '@typescript-eslint/unified-signatures': 'off',
      eqeqeq: 'error',
      'no-var': 'error',
      'prefer-const': 'error',
      'no-duplicate-imports': ['error', { allowSeparateTypeImports: true }],
    },
  },
  {
    files: ['scripts/**/*.mjs', '**/*.js', '**/*.cjs'],
    languageOptions: {
      globals: { process: 'readonly', console: 'readonly', module: 'writable', URL: 'readonly' },
    },
  },
  {
    // oclif turns what a command prints into --json; only commands and the dashboard own the terminal.
    files: ['src/engine/**/*.ts', 'src/storage/**/*.ts', 'src/wire/**/*.ts', 'src/server/**/*.ts'],
    rules: { 'no-console': 'error' },
  },
  {
    files: ['src/engine/**/*.ts'],
    rules: {
      // In hot loops over typed arrays an index is proved by the loop, and `?? 0` would cost a branch.
      '@typescript-eslint/no-non-null-assertion': 'off',
      'no-restricted-imports': ['error', { paths: [...FILE_SYSTEM, FFI] }],
      'no-restricted-properties': [
        'error',
        ...['stdout', 'stderr', 'stdin', 'exit'].map((property) => ({
          object: 'process',
          property,
          message:
            'The engine has no terminal and never ends the process; take a logger by constructor.',
        })),
      ],
    },
  },
  {
    files: ['src/engine/node-disk.ts'],
    rules: { 'no-restricted-imports': ['error', { paths: [FFI] }] },
  },
  {
    files: ['src/engine/libc.ts'],
    rules: { 'no-restricted-imports': ['error', { paths: FILE_SYSTEM }] },
  },
);
