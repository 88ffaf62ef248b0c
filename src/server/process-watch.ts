/**
 * What the process uses: CPU, memory, event loop, disk. Most is read when somebody asks; only the delay of the event loop must
 * be watched all along: a timer that fires so many times a second notes how late it is. (perf_hooks' monitorEventLoopDelay does
 * that, too, but forgets what it saw when it is reset, and the interval during which it was; counts that only grow serve
 * any number of readers.)
 */

import { readFile, statfs } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import { LatencyRecorder } from '../latency.js';
import type { ServerStats } from '../storage/storage.js';

const TICK_MS = 50;

export type ProcessStats = Pick<
  ServerStats,
  | 'nodeVersion'
  | 'pid'
  | 'cpuUserUs'
  | 'cpuSystemUs'
  | 'residentBytes'
  | 'heapUsedBytes'
  | 'heapTotalBytes'
  | 'externalBytes'
  | 'loopActiveUs'
  | 'loopIdleUs'
  | 'loopDelay'
  | 'diskReadBytes'
  | 'diskWrittenBytes'
  | 'diskFreeBytes'
  | 'diskTotalBytes'
>;

export class ProcessWatch {
  private readonly delays = new LatencyRecorder();
  private readonly timer: NodeJS.Timeout;
  private tickedMs = performance.now();

  /** directory: a path on the file system whose space is reported; absent: none is. */
  constructor(private readonly directory: string | undefined) {
    this.timer = setInterval(() => {
      const now = performance.now();
      // Timers keep whole milliseconds, so one may even come a little early.
      this.delays.record(Math.max(0, now - this.tickedMs - TICK_MS) * 1000);
      this.tickedMs = now;
    }, TICK_MS).unref();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  async stats(): Promise<ProcessStats> {
    const [disk, space] = await Promise.all([diskBytes(), this.space()]);
    const cpu = process.cpuUsage();
    const memory = process.memoryUsage();
    const loop = performance.eventLoopUtilization();
    return {
      nodeVersion: process.version,
      pid: process.pid,
      cpuUserUs: cpu.user,
      cpuSystemUs: cpu.system,
      residentBytes: memory.rss,
      heapUsedBytes: memory.heapUsed,
      heapTotalBytes: memory.heapTotal,
      externalBytes: memory.external,
      loopActiveUs: Math.round(loop.active * 1000),
      loopIdleUs: Math.round(loop.idle * 1000),
      loopDelay: this.delays.histogram(),
      ...disk,
      ...space,
    };
  }

  private async space(): Promise<Pick<ProcessStats, 'diskFreeBytes' | 'diskTotalBytes'>> {
    if (this.directory === undefined) return { diskFreeBytes: 0, diskTotalBytes: 0 };
    try {
      const { bavail, blocks, bsize } = await statfs(this.directory);
      return { diskFreeBytes: bavail * bsize, diskTotalBytes: blocks * bsize };
    } catch {
      // A file system that does not say is no reason to refuse all other figures.
      return { diskFreeBytes: 0, diskTotalBytes: 0 };
    }
  }
}

/** From and to the disk, by all threads of this process; zeros where the system does not tell. */
async function diskBytes(): Promise<Pick<ProcessStats, 'diskReadBytes' | 'diskWrittenBytes'>> {
  let text = '';
  try {
    text = await readFile('/proc/self/io', 'latin1');
  } catch {
    // Not Linux, or a kernel without accounting.
  }
  return {
    diskReadBytes: Number(/^read_bytes: (\d+)$/m.exec(text)?.[1] ?? 0),
    diskWrittenBytes: Number(/^write_bytes: (\d+)$/m.exec(text)?.[1] ?? 0),
  };
}
