/** The messages of a streamed backup in proto/sutra/storage.proto, by hand, as requests.ts and responses.ts have the others. */

import type { BackupChunk } from '../storage/storage.js';
import type { WireReader } from './reader.js';
import { WireWriter } from './writer.js';

export interface BackupMessage extends BackupChunk {
  /** CRC-32 of `bytes`. */
  readonly crc: number;
}

export function encodeBackupMessage({ info, offset, bytes, crc }: BackupMessage): Buffer {
  const w = new WireWriter();
  w.uint64(1, info.sequence);
  w.string(2, info.digest);
  w.uint64(3, info.concepts);
  w.uint64(4, info.edges);
  w.uint64(5, info.vectors);
  w.uint64(6, info.bytes);
  w.uint64(7, offset);
  w.bytes(8, bytes);
  w.uint32(9, crc);
  return w.finish();
}

export function decodeBackupMessage(r: WireReader): BackupMessage {
  const info = { sequence: 0, digest: '', concepts: 0, edges: 0, vectors: 0, bytes: 0 };
  let offset = 0;
  let bytes: Buffer = Buffer.alloc(0);
  let crc = 0;
  for (let field = r.next(); field !== 0; field = r.next()) {
    switch (field) {
      case 1:
        info.sequence = r.uint64('sequence');
        break;
      case 2:
        info.digest = r.string('digest');
        break;
      case 3:
        info.concepts = r.uint64('concepts');
        break;
      case 4:
        info.edges = r.uint64('edges');
        break;
      case 5:
        info.vectors = r.uint64('vectors');
        break;
      case 6:
        info.bytes = r.uint64('total_bytes');
        break;
      case 7:
        offset = r.uint64('offset');
        break;
      case 8:
        bytes = r.bytes('data');
        break;
      case 9:
        crc = r.uint32('crc32');
        break;
      default:
        r.skip();
    }
  }
  return { info, offset, bytes, crc };
}
