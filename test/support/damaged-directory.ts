/** A store directory on a real disk with both snapshots and two segments, to be damaged by the tests of commands. */

import { closeSync, openSync, readSync, writeSync } from 'node:fs';

import { ConcurrentStorage } from '#sutra/storage/embedded';

import { temporaryPath } from './fixture.js';

/** 40 writes, with checkpoints at 10, 20 and 30: the segments 3 (for storage.dat.prev) and 4 are there. Closed. */
export async function makeStoreDirectory(): Promise<string> {
  const directory = temporaryPath();
  const storage = await ConcurrentStorage.open(directory);
  await storage.learnConcept({ id: 'hub', content: 'in the middle', embedding: [1, 2, 3] });
  for (let write = 2; write <= 40; write++) {
    if (write % 4 === 0 && write < 40) {
      await storage.learnAssociation({ source: `c${write - 1}`, target: 'hub', type: 1 });
    } else {
      await storage.learnConcept({ id: `c${write}`, content: `number ${write}` });
    }
    if (write % 10 === 0 && write < 40) await storage.flush();
  }
  await storage.close();
  return directory;
}

export function flipByte(path: string, offset: number): void {
  const file = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, offset);
  byte[0] = (byte[0] ?? 0) ^ 0x40;
  writeSync(file, byte, 0, 1, offset);
  closeSync(file);
}
