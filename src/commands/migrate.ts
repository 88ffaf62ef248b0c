import { CheckProgress, chooseDirectory } from '../cli/check-report.js';
import { consentFlag } from '../cli/flags.js';
import { noteLogger } from '../cli/note-logger.js';
import { byteSize } from '../cli/progress.js';
import { StoreCommand } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import { MAX_LISTED, migrateStore, type BadItem, type Migrated } from '../storage/maintenance.js';

/** So many of what was left out are printed for people; --json has more. */
const MAX_LINES = 50;

export default class Migrate extends StoreCommand {
  static override summary = 'Bring a storage.dat of version 2 over, and keep the old file.';

  static override description =
    '`serve` and every writing command do the same by themselves, and reading commands read the old file in place; this ' +
    'command does it without anything else. The old file stays beside the new one as storage.dat.v2. An association that was ' +
    'stored in both directions becomes one, of type semantic, in the direction that comes first in the file; times are ' +
    'those of the file. A damaged file is refused and left as it is: --salvage takes what is whole and lists the rest.';

  static override examples = [
    '<%= config.bin %> migrate --storage ./knowledge',
    '<%= config.bin %> migrate --storage ./knowledge --salvage --json',
  ];

  static override flags = {
    salvage: consentFlag('Take what is whole of a damaged file, and list what is left out.'),
  };

  async run() {
    const { flags } = await this.parse(Migrate);
    const directory = chooseDirectory(flags, 'migrate');
    const progress = new CheckProgress('migrate:');
    const logger = noteLogger(flags.json);
    const migrated = await migrateStore(directory, flags.salvage, progress.update, logger).finally(
      () => {
        progress.end();
      },
    );
    const document = migrateDocument(migrated);
    this.answer(flags.json, document, () => migrateLines(directory, migrated).join('\n'));
    return document;
  }
}

export function migrateDocument({ migration, keptAs, left, leftCount }: Migrated) {
  return {
    migrated: migration !== null,
    ...(migration === null
      ? {}
      : {
          concepts: migration.concepts,
          edges: migration.edges,
          vectors: migration.vectors,
          sequence: migration.sequence,
          digest: migration.digest,
          collapsed: migration.collapsed,
          old_bytes: migration.oldBytes,
          new_bytes: migration.newBytes,
        }),
    ...(keptAs === null ? {} : { kept_as: keptAs }),
    left_out: leftCount,
    left: left.map(({ kind, index, offset, what }) => ({
      kind,
      ...(index === null ? {} : { index }),
      offset,
      what,
    })),
  };
}

function migrateLines(directory: string, migrated: Migrated): string[] {
  const { migration, left, leftCount } = migrated;
  const place = safeLine(directory);
  if (migration === null) {
    const kept =
      migrated.keptAs === null ? '' : `; the file of version 2 is kept as ${migrated.keptAs}`;
    return [`${place} is of today’s version already; nothing was changed${kept}`];
  }
  const { concepts, edges, vectors, collapsed, oldBytes, newBytes, keptAs, digest } = migration;
  const lines = [
    `${place} migrated from version 2: ${concepts} concepts, ${edges} associations, ${vectors} vectors`,
    `  ${collapsed} records said again what others had said`,
    `  digest ${digest}; ${byteSize(oldBytes)} before, ${byteSize(newBytes)} now`,
    `  the old file is kept as ${keptAs}`,
  ];
  if (leftCount > 0) {
    lines.push(
      `  left out, because not whole: ${leftCount}`,
      ...left.slice(0, MAX_LINES).map((item) => `    ${itemLine(item)}`),
    );
    if (leftCount > MAX_LINES) {
      lines.push(
        `    and ${leftCount - MAX_LINES} more; --json lists the first ${MAX_LISTED}, and all of ` +
          `them are in ${keptAs}`,
      );
    }
  }
  return lines;
}

function itemLine({ kind, index, offset, what }: BadItem): string {
  const name = index === null ? kind : `${kind} ${index}`;
  return `${name}, offset ${offset}: ${safeLine(what)}`;
}
