/** The library's public face: the doorway, its two backends, and the errors they throw. */

export * from './storage/storage.js';
export { ConcurrentStorage, type EmbeddedOptions, type Opened } from './storage/embedded.js';
export { StorageClient, type ClientTls, type StorageClientOptions } from './storage/remote.js';
export type { ConnectionSettings } from './storage/secrets.js';
export {
  chooseStore,
  getStorageBackend,
  openStorage,
  type OpenOptions,
  type StoreChoice,
} from './storage/open.js';
export {
  ERRORS,
  SutraError,
  toSutraError,
  type ErrorCode,
  type FieldViolation,
  type StatusName,
} from './errors.js';
