/** The file of --type-map: names of association types with their numbers, read before and written behind an import. */

import { readFile, rename, writeFile } from 'node:fs/promises';
import { SutraError } from '../errors.js';
import { parseTypeMap, TypeNames } from '../formats/type-names.js';
import { setting, text } from './flags.js';

export const typeMapFlag = setting('type-map', text('the path of a file'), {
  summary: 'Names of association types and their numbers, a JSON object: {"knows": 5, "likes": 6}.',
  helpValue: 'FILE',
});

/** `mayBeMissing`: a file that is not there is an empty map, to be written. */
export async function readTypeNames(
  path: string | undefined,
  mayBeMissing: boolean,
): Promise<TypeNames> {
  if (path === undefined) return new TypeNames();
  try {
    return new TypeNames(parseTypeMap(await readFile(path, 'utf8'), `--type-map ${path}`));
  } catch (error) {
    if (error instanceof SutraError) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code === 'ENOENT' && mayBeMissing) return new TypeNames(new Map());
    const denied = code === 'EACCES' || code === 'EPERM';
    throw new SutraError(
      denied ? 'NOT_PERMITTED' : 'INVALID_ARGUMENT',
      `--type-map ${path}: cannot be read (${code === '' ? String(error) : code})`,
      { cause: error, ...(denied ? {} : { hint: 'Name a type map that can be read.' }) },
    );
  }
}

/** Writes the map when names were added to it: whole or not at all, and before anything is learned by a new number. */
export async function saveTypeNames(path: string | undefined, types: TypeNames): Promise<void> {
  if (path === undefined || !types.changed) return;
  types.changed = false;
  const temporary = `${path}.${process.pid}.part`;
  try {
    await writeFile(temporary, types.toJson());
    await rename(temporary, path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new SutraError('NOT_PERMITTED', `--type-map ${path}: cannot be written (${code})`, {
      hint: 'Name a file in a directory that can be written.',
      cause: error,
    });
  }
}
