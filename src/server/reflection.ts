/**
 * Server reflection, v1 and v1alpha, so that `grpcurl -plaintext localhost:50051 list` and `describe` work without the .proto.
 * The files are found from this module, so it works wherever the package is installed.
 */

import { fileURLToPath } from 'node:url';
import { loadSync } from '@grpc/proto-loader';
import type { Server } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { protoPath as healthProtoPath } from 'grpc-health-check';

/** The package's proto directory, seen from dist/server. */
const PROTO_DIRECTORY = fileURLToPath(new URL('../../proto/', import.meta.url));

/** Both versions' one method. */
export const REFLECTION_PATHS = [
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
] as const;

export function addReflection(server: Server): void {
  const definition = loadSync(['sutra/storage.proto', healthProtoPath], {
    keepCase: true,
    includeDirs: [PROTO_DIRECTORY],
  });
  new ReflectionService(definition).addToServer(server);
}
