/** An open storage.dat as the chunks of a backup, read a piece at a time with turns for others in between. */

import { Digest } from '../engine/format/digest.js';
import { readExactly, type SnapshotFile } from '../engine/snapshot/snapshot-file.js';
import type { BackupChunk, BackupInfo, CallOptions } from './storage.js';
import { throwIfAborted } from './validation.js';

const CHUNK_BYTES = 256 * 1024;

/** Closes the file when it ends or is left. @throws DAMAGED when the file cannot be read to its end */
export async function* backupChunks(
  { file, header }: SnapshotFile,
  options: CallOptions,
  pacing: { pause(): Promise<void> },
): AsyncGenerator<BackupChunk, void, undefined> {
  const digest = new Digest();
  digest.lanes.set(header.digest);
  const { fileBytes } = header;
  const info: BackupInfo = {
    sequence: header.sequence,
    digest: digest.toString(),
    concepts: header.conceptCount,
    edges: header.edgeCount,
    vectors: header.vectorCount,
    bytes: fileBytes,
  };
  try {
    for (let offset = 0; offset < fileBytes; offset += CHUNK_BYTES) {
      throwIfAborted(options.signal);
      // Each its own bytes: whoever sends them may still hold the last one.
      const bytes = new Uint8Array(Math.min(CHUNK_BYTES, fileBytes - offset));
      readExactly(file, bytes, bytes.length, offset);
      yield { info, offset, bytes };
      await pacing.pause();
    }
  } finally {
    file.close();
  }
}
