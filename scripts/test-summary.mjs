/**
 * Sums vitest's JSON reports into one line, `N passed, N failed`, the last thing CI prints. Exits 1 when a test or a
 * test file failed, when a report is missing, or when a report holds no tests at all.
 *
 *     node scripts/test-summary.mjs REPORT.json...
 */

import { readFileSync } from 'node:fs';

/** @typedef {{name: string, status: string, assertionResults: {status: string, fullName: string}[]}} FileResult */

let passed = 0;
let failed = 0;
let complete = true;

for (const path of process.argv.slice(2)) {
  const files = readReport(path);
  if (files === null) {
    complete = false;
    continue;
  }
  let tests = 0;
  let notRun = 0;
  for (const file of files) {
    let failedHere = 0;
    for (const { status, fullName } of file.assertionResults) {
      tests++;
      if (status === 'passed') passed++;
      else if (status === 'failed') {
        failedHere++;
        console.log(`failed: ${file.name}: ${fullName}`);
      } else notRun++;
    }
    // A file that could not be loaded, or whose hooks failed, has no failing test of its own: count the file.
    if (file.status === 'failed' && failedHere === 0) {
      failedHere = 1;
      console.log(`failed: ${file.name}`);
    }
    failed += failedHere;
  }
  if (notRun > 0) console.log(`${path}: ${notRun} tests did not run (skipped, pending or todo)`);
  if (tests === 0) {
    console.log(`${path}: no tests ran`);
    complete = false;
  }
}

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = complete && failed === 0 && passed > 0 ? 0 : 1;

/**
 * @param {string} path
 * @returns {FileResult[] | null}
 */
function readReport(path) {
  try {
    /** @type {unknown} */
    const report = JSON.parse(readFileSync(path, 'utf8'));
    return /** @type {{testResults: FileResult[]}} */ (report).testResults;
  } catch (error) {
    console.log(`no report: ${error instanceof Error ? error.message : String(error)}`);
    return null;
  }
}
