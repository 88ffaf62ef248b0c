/** The library's public face. */
export * from './storage/storage.js';
export { SutraError, type ErrorCode, type FieldViolation } from './errors.js';
