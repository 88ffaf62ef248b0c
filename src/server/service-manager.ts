/**
 * What a service manager is told, after sd_notify(3): that the server accepts calls, that it drains, and, as often as the
 * manager's watchdog asks, that its event loop turns. Only when NOTIFY_SOCKET is set; otherwise every call does nothing.
 *
 * The socket is a unix datagram socket, which Node does not have, so it is the C library's through koffi, which the store
 * loads for its lock anyhow. (The alternative, one `systemd-notify` process per message, needs NotifyAccess=all and starts a
 * process every few seconds for ever.) A socket per message, as systemd's own implementation does: nothing to keep open, and a
 * manager that restarted is found again. Linux only.
 */

import { closeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';

import type * as Koffi from 'koffi';

import type { ServerLogger } from './logger.js';

const AF_UNIX = 1;
/** SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, as on all of Node's Linux architectures but MIPS. */
const SOCKET_TYPE = 2 | 0o4000 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
/** struct sockaddr_un: two bytes of family, then the path. */
const PATH_LIMIT = 108;

export interface ServiceManager {
  /** Calls are accepted; `status` is one line for `systemctl status`. Begins the watchdog's messages. */
  ready(status: string): void;
  /** No more calls are accepted, and the process will end. */
  stopping(): void;
}

type Environment = Readonly<Record<string, string | undefined>>;

export function serviceManager(
  logger: ServerLogger,
  env: Environment = process.env,
): ServiceManager {
  const socket = env['NOTIFY_SOCKET'] ?? '';
  if (socket === '') return { ready: () => undefined, stopping: () => undefined };
  const notify = notifier(socket, logger);
  return {
    ready(status) {
      notify(`READY=1\nSTATUS=${status}`);
      const everyMs = watchdogMs(env);
      // The timer holds nothing open, and goes on during a drain: draining is not hanging.
      if (everyMs > 0) setInterval(() => notify('WATCHDOG=1'), everyMs).unref();
    },
    stopping() {
      notify('STOPPING=1\nSTATUS=draining');
    },
  };
}

/** Half of what the manager allows, as sd_watchdog_enabled(3) advises; 0: it does not watch this process. */
function watchdogMs(env: Environment): number {
  const micros = Number(env['WATCHDOG_USEC'] ?? '');
  const pid = env['WATCHDOG_PID'] ?? '';
  if (!Number.isSafeInteger(micros) || micros <= 0) return 0;
  if (pid !== '' && pid !== String(process.pid)) return 0;
  return Math.max(1, Math.floor(micros / 2000));
}

/** Sends one message; a failure is logged, once, and never ends the server: the manager then acts by its own timeouts. */
function notifier(socket: string, logger: ServerLogger): (message: string) => void {
  let send: ((message: string) => void) | undefined;
  let told = false;
  return (message) => {
    try {
      send ??= bind(socketAddress(socket));
      send(message);
    } catch (error) {
      if (told) return;
      told = true;
      const why = error instanceof Error ? error.message : String(error);
      logger.warn(`cannot notify the service manager at ${socket}: ${why}`);
    }
  };
}

/** struct sockaddr_un. A leading @ stands for the zero byte of an abstract name, which has no zero at its end. */
function socketAddress(socket: string): Uint8Array {
  const abstract = socket.startsWith('@');
  if (!abstract && !socket.startsWith('/')) {
    throw new Error('expected an absolute path, or @ and an abstract name');
  }
  const name = Buffer.from(abstract ? `\0${socket.slice(1)}` : `${socket}\0`, 'utf8');
  if (name.length > PATH_LIMIT) throw new Error(`longer than ${PATH_LIMIT} bytes`);
  const address = Buffer.alloc(2 + name.length);
  new DataView(address.buffer, address.byteOffset).setUint16(0, AF_UNIX, true);
  address.set(name, 2);
  return address;
}

function bind(address: Uint8Array): (message: string) => void {
  if (process.platform !== 'linux') throw new Error(`not supported on ${process.platform}`);
  const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;
  const library = koffi.load(null);
  const open: (family: number, type: number, protocol: number) => number = library.func(
    'int socket(int family, int type, int protocol)',
  );
  const sendTo: (
    fd: number,
    bytes: Uint8Array,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: number,
  ) => number = library.func(
    'int64_t sendto(int fd, const void* bytes, size_t length, int flags, const void* address, uint32_t address_length)',
  );
  const failure = (call: string): Error => {
    return new Error(`${getSystemErrorName(-koffi.errno())}: ${call} failed`);
  };
  return (message) => {
    const bytes = Buffer.from(message, 'utf8');
    const fd = open(AF_UNIX, SOCKET_TYPE, 0);
    if (fd < 0) throw failure('socket');
    try {
      const sent = sendTo(fd, bytes, bytes.length, MSG_NOSIGNAL, address, address.length);
      if (sent !== bytes.length) throw failure('sendto');
    } finally {
      closeSync(fd);
    }
  };
}
