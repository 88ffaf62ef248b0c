/**
 * A writer that is made to be killed: `node writer.mjs DIRECTORY CALLS THRESHOLD`. Opens the store, makes the calls of the file
 * (one JSON document per line: a call of test/support/history.ts) with up to 64 under way, and prints the sequence of each
 * acknowledged call on a line of its own. Its stdout is a file, so that what it printed is there when it is killed.
 */

import console from 'node:console';
import { readFileSync, writeSync } from 'node:fs';
import process from 'node:process';

import { nodeEnvironment } from '#sutra/engine/environment';
import { ConcurrentStorage } from '#sutra/storage/embedded';

const MOST_UNDER_WAY = 64;

const [directory = '', callsPath = '', threshold = ''] = process.argv.slice(2);
const calls = readFileSync(callsPath, 'utf8').trim().split('\n');

// Whoever started it holds the other end.
process.stdin.resume().once('end', () => process.exit());

let clockUs = 0;
const storage = await ConcurrentStorage.open(directory, {
  threshold: Number(threshold),
  environment: { ...nodeEnvironment(), nowUs: () => clockUs },
});
void storage.failed.then((error) => {
  console.error(error);
  process.exit(1);
});

/** @param {import('../support/history.js').Call} call */
async function perform({ commands, isBatch }) {
  if (isBatch) {
    /** @type {import('#sutra/storage/storage').ConceptInput[]} */
    const concepts = [];
    /** @type {import('#sutra/storage/storage').AssociationInput[]} */
    const associations = [];
    for (const command of commands) {
      if (command.kind === 'learn') {
        concepts.push(conceptOf(command));
      } else if (command.kind === 'associate') {
        associations.push(command);
      }
    }
    const { firstSequence, count } = await storage.learnBatch({ concepts, associations });
    return firstSequence + count - 1;
  }
  const [command] = commands;
  if (command === undefined) throw new Error('an empty call');
  switch (command.kind) {
    case 'learn':
      return (await storage.learnConcept(conceptOf(command))).sequence;
    case 'associate':
      return (await storage.learnAssociation(command)).sequence;
    case 'forget':
      return (await storage.forgetConcept(command.id)).sequence;
    case 'unlink': {
      const { source, target, type } = command;
      return (await storage.forgetAssociation(source, target, type ?? undefined)).sequence;
    }
  }
}

/** @param {import('../support/history.js').Learn} command */
function conceptOf({ id, content, strength, confidence, embedding }) {
  const concept = { id, content, strength, confidence };
  return embedding === null ? concept : { ...concept, embedding };
}

/** @type {Set<Promise<void>>} */
const underWay = new Set();
for (const line of calls) {
  /** @type {import('../support/history.js').Call} */
  const call = JSON.parse(line);
  const waits = call.commands.some(({ kind }) => kind === 'unlink');
  while (underWay.size > 0 && (waits || underWay.size >= MOST_UNDER_WAY)) {
    await Promise.race(underWay);
  }
  clockUs = call.timeUs;
  const done = perform(call).then((sequence) => {
    writeSync(1, `${sequence}\n`);
    underWay.delete(done);
  });
  underWay.add(done);
  if (waits) await done;
}
await Promise.all(underWay);
// It was meant to be killed before this; stdin keeps it waiting for that.
