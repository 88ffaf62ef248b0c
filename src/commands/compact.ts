import { CheckProgress, chooseDirectory } from '../cli/check-report.js';
import { noteLogger } from '../cli/note-logger.js';
import { byteSize } from '../cli/progress.js';
import { StoreCommand } from '../cli/store-command.js';
import { safeLine } from '../cli/text.js';
import type { Compaction } from '../storage/backups.js';

export default class Compact extends StoreCommand {
  static override summary = 'Give back the space of what was forgotten and replaced; offline.';

  static override description =
    'Works on a store that nobody writes to (exit 7 when somebody does). Writes storage.dat anew without free slots, ' +
    'verifies it, puts it in place, and then removes storage.dat.prev and the log behind it. State, sequence and digest stay. It ' +
    'needs as much space again as the new storage.dat while it runs. Ended at any moment, the store is what it was.';

  static override examples = ['<%= config.bin %> compact --storage ./knowledge'];

  async run() {
    const { flags } = await this.parse(Compact);
    const directory = chooseDirectory(flags, 'compact');
    const progress = new CheckProgress('compact:');
    const { compactStore } = await import('../storage/backups.js');
    const compaction = await compactStore(
      directory,
      progress.update,
      noteLogger(flags.json),
    ).finally(() => {
      progress.end();
    });
    const document = compactDocument(directory, compaction);
    this.answer(flags.json, document, () => compactText(document));
    return document;
  }
}

export function compactDocument(directory: string, compaction: Compaction | null) {
  return {
    storage: directory,
    before_bytes: compaction?.beforeBytes ?? 0,
    after_bytes: compaction?.afterBytes ?? 0,
    freed_slots: compaction?.freedSlots ?? 0,
    sequence: compaction?.sequence ?? 0,
    digest: compaction?.digest ?? null,
    concepts: compaction?.concepts ?? 0,
    edges: compaction?.edges ?? 0,
    vectors: compaction?.vectors ?? 0,
  };
}

function compactText(document: ReturnType<typeof compactDocument>): string {
  const {
    storage,
    before_bytes: before,
    after_bytes: after,
    digest,
    freed_slots: freed,
  } = document;
  const place = safeLine(storage);
  if (digest === null) return `${place} holds nothing yet`;
  return [
    `${place} compacted: ${byteSize(before)} before, ${byteSize(after)} now; ${freed} free slots went`,
    `  sequence ${document.sequence}, digest ${digest}`,
    `  ${document.concepts} concepts, ${document.edges} edges, ${document.vectors} vectors`,
  ].join('\n');
}
