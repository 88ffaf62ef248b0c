/**
 * What a process that was killed in the middle of a checkpoint, a compaction, a migration or a restore leaves beside a store: a
 * file that never got its name, and so never counted. The next one that holds the lock removes it, and says what was cut
 * short, since that is how whoever started it learns that it did not take effect.
 */

import { join } from 'node:path';

import type { Environment } from './environment.js';
import { isOldStore } from './migration/migrate.js';
import { PREVIOUS_NAME, RESTORE_NAME, TEMP_NAME } from './recovery.js';
import { INDEX_TEMP_NAME } from './vector/index-file.js';

/** Removes what an interrupted checkpoint, tail rewrite or restore left. The caller holds the lock. */
export function removeLeftovers(directory: string, environment: Environment): void {
  const { disk, logger } = environment;
  for (const name of disk.list(directory)) {
    if (name === RESTORE_NAME || name === TEMP_NAME) {
      const what =
        name === RESTORE_NAME
          ? 'a restore'
          : isOldStore(disk, directory)
            ? 'a migration'
            : 'a checkpoint or compaction';
      disk.unlink(join(directory, name));
      logger.warn(
        `${directory}: ${what} was interrupted before it took effect; this is as it was`,
        {
          event: 'interrupted',
          what,
          file: name,
        },
      );
    } else if (
      name === INDEX_TEMP_NAME ||
      name === `${PREVIOUS_NAME}.tmp` ||
      /^wal-\d{10}\.log\.tmp$/.test(name)
    ) {
      disk.unlink(join(directory, name));
    }
  }
}
