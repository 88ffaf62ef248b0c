/**
 * Refuses writes before the process dies of them: above a limit of memory of its own (mapped files do not count: the
 * system takes those back when it needs to), or when the JavaScript heap is nearly full. Reads go on, and writes do
 * again once both are below.
 */

import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';
import type { ServerLogger } from './logger.js';

const INTERVAL_MS = 250;
/** Writes go on once this share of the limit is not used any more: not at the limit itself, or they would flutter. */
const RESUME_SHARE = 0.95;
const HEAP_SHARE = 0.9;
const PAGE_BYTES = 4096;
const MIB = 1024 * 1024;

/** Four fifths of what this machine, or the container, has. */
export function defaultMemoryLimit(): number {
  const constrained = process.constrainedMemory();
  const total = totalmem();
  return Math.floor((constrained > 0 && constrained < total ? constrained : total) * 0.8);
}

export interface MemoryWatch {
  stop(): void;
}

/** `shed` gets a reason when writes are to be refused, and null when they are not any more. */
export function watchMemory(
  limitBytes: number,
  shed: (reason: string | null) => void,
  logger: ServerLogger,
): MemoryWatch {
  let shedding = false;
  const look = (): void => {
    const used = ownMemory();
    const heap = getHeapStatistics();
    const share = shedding ? RESUME_SHARE : 1;
    const heapLimit = heap.heap_size_limit * HEAP_SHARE;
    const over = used > limitBytes * share || heap.used_heap_size > heapLimit * share;
    if (over === shedding) return;
    shedding = over;
    const figures =
      `${Math.round(used / MIB)} MiB of memory in use, at most ${Math.round(limitBytes / MIB)} MiB; ` +
      `heap ${Math.round(heap.used_heap_size / MIB)} of ${Math.round(heapLimit / MIB)} MiB`;
    shed(over ? `writes are refused until memory is free again: ${figures}` : null);
    if (over) logger.warn(`writes are refused: ${figures}`);
    else logger.info(`writes are taken again: ${figures}`);
  };
  look();
  const timer = setInterval(look, INTERVAL_MS).unref();
  return { stop: () => clearInterval(timer) };
}

/** Resident and not backed by a file; where the system does not tell that, all that is resident. */
function ownMemory(): number {
  try {
    // /proc/self/statm: size, resident, shared ... in pages.
    const [, resident, shared] = readFileSync('/proc/self/statm', 'latin1').split(' ').map(Number);
    if (resident !== undefined && shared !== undefined) return (resident - shared) * PAGE_BYTES;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
  }
  return process.memoryUsage.rss();
}
