// Writes oclif.manifest.json: the flags, arguments and help of every built command, so that start-up loads only the
// command that runs. Part of the build.

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Plugin } from '@oclif/core/config';
import { settings } from '@oclif/core/settings';

settings.enableAutoTranspile = false;
const root = fileURLToPath(new URL('../', import.meta.url));
const plugin = new Plugin({
  root,
  isRoot: true,
  ignoreManifest: true,
  errorOnManifestCreate: true,
});
await plugin.load();
writeFileSync(
  new URL('../oclif.manifest.json', import.meta.url),
  `${JSON.stringify(plugin.manifest, null, 2)}\n`,
);
process.stdout.write(
  `oclif.manifest.json: ${Object.keys(plugin.manifest.commands).length} commands\n`,
);
