/**
 * grpc.health.v1.Health: Check, Watch and List for "" and the storage service, which are well together or not at all. The
 * messages are those of the grpc-health-check package; the implementation is not, because a drain must be able to end the
 * watches (an open one would hold it until its timeout), and because the answer comes from the store itself.
 * https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 */

import {
  status,
  type ServiceDefinition,
  type ServerUnaryCall,
  type ServerWritableStream,
  type UntypedServiceImplementation,
  type sendUnaryData,
} from '@grpc/grpc-js';
import { service } from 'grpc-health-check';
import type { Storage } from '../storage/storage.js';
import { SERVICE_NAME } from '../wire/methods.js';

export const HEALTH_SERVICE_NAME = 'grpc.health.v1.Health';
/** The health of a store is looked at this often while someone watches it. */
const POLL_INTERVAL_MS = 1_000;

const SERVICES: ReadonlySet<string> = new Set(['', SERVICE_NAME]);

type ServingStatus = 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';

interface HealthRequest {
  readonly service: string;
}

interface HealthResponse {
  readonly status: ServingStatus;
}

interface HealthList {
  readonly statuses: Readonly<Record<string, HealthResponse>>;
}

type Watch = ServerWritableStream<HealthRequest, HealthResponse>;

export class Health {
  readonly definition: ServiceDefinition = service;
  private readonly storage: Storage;
  private readonly watches = new Set<Watch>();
  /** Told to the watches last. */
  private told: ServingStatus = 'SERVING';
  private draining = false;
  private poll: NodeJS.Timeout | null = null;

  constructor(storage: Storage) {
    this.storage = storage;
  }

  get implementation(): UntypedServiceImplementation {
    return {
      check: (
        call: ServerUnaryCall<HealthRequest, HealthResponse>,
        callback: sendUnaryData<HealthResponse>,
      ) => {
        if (!SERVICES.has(call.request.service)) {
          callback({ code: status.NOT_FOUND, details: 'no such service' });
          return;
        }
        void this.current().then((now) => callback(null, { status: now }));
      },
      watch: (call: Watch) => {
        void this.watch(call);
      },
      list: (_call: ServerUnaryCall<unknown, HealthList>, callback: sendUnaryData<HealthList>) => {
        void this.current().then((now) => {
          const statuses = Object.fromEntries(
            Array.from(SERVICES, (name) => [name, { status: now }] as const),
          );
          callback(null, { statuses });
        });
      },
    };
  }

  /** From now on NOT_SERVING; every watch is told. */
  drain(): void {
    this.draining = true;
    this.tell('NOT_SERVING');
  }

  /** Ends the watches, which would otherwise keep their connections open. */
  close(): void {
    if (this.poll !== null) clearInterval(this.poll);
    this.poll = null;
    for (const watch of this.watches) watch.end();
    this.watches.clear();
  }

  /** Never rejects: a store that cannot say how it is does not serve. */
  private async current(): Promise<ServingStatus> {
    if (this.draining) return 'NOT_SERVING';
    try {
      const { healthy } = await this.storage.healthCheck();
      // A drain may have begun meanwhile.
      return healthy && !this.isDraining() ? 'SERVING' : 'NOT_SERVING';
    } catch {
      return 'NOT_SERVING';
    }
  }

  private isDraining(): boolean {
    return this.draining;
  }

  private async watch(call: Watch): Promise<void> {
    const leave = (): void => {
      this.watches.delete(call);
      if (this.watches.size === 0 && this.poll !== null) {
        clearInterval(this.poll);
        this.poll = null;
      }
    };
    call.on('cancelled', leave);
    call.on('error', leave);
    if (!SERVICES.has(call.request.service)) {
      // The protocol keeps such a watch open, for a service that may come; none will here, but drain ends it too.
      this.watches.add(call);
      call.write({ status: 'SERVICE_UNKNOWN' });
      return;
    }
    const now = await this.current();
    if (call.cancelled) return;
    this.tell(now);
    call.write({ status: now });
    this.watches.add(call);
    this.poll ??= setInterval(() => {
      void this.current().then((status) => this.tell(status));
    }, POLL_INTERVAL_MS).unref();
  }

  private tell(now: ServingStatus): void {
    if (now === this.told) return;
    this.told = now;
    for (const watch of this.watches) {
      if (SERVICES.has(watch.request.service)) watch.write({ status: now });
    }
  }
}
