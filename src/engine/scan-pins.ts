/**
 * Snapshots that scans hold on to while checkpoints replace storage.dat: an open handle keeps the old file's bytes, so a scan
 * costs disk space and no memory. What an interrupted scan held is kept a while for it to be resumed, a few at most.
 *
 * Invariant: each snapshot in the table is held once, however many scans read it; `close` gives all of them back, after
 * which no scan may step.
 */

import type { Environment } from './environment.js';
import type { Snapshot } from './snapshot/snapshot.js';

/** How long an interrupted scan can be resumed when storage.dat was replaced meanwhile. */
export const RESUME_MS = 60_000;
/** Snapshots kept for scans that may come back; the one that waits longest goes first. */
const MAX_WAITING = 4;

interface Pin {
  scans: number;
  interrupted: boolean;
  /** Ends the waiting; null while it is in use. */
  cancel: (() => void) | null;
}

export class ScanPins {
  private readonly pins = new Map<Snapshot, Pin>();

  constructor(private readonly environment: Environment) {}

  /** One more scan reads it. Each `take` is paired with one `leave`. */
  take(snapshot: Snapshot): void {
    let pin = this.pins.get(snapshot);
    if (pin === undefined) {
      snapshot.retain();
      pin = { scans: 0, interrupted: false, cancel: null };
      this.pins.set(snapshot, pin);
    }
    pin.cancel?.();
    pin.cancel = null;
    pin.scans++;
  }

  /** A snapshot that is held for a scan and is the one asked for. */
  find(matches: (snapshot: Snapshot) => boolean): Snapshot | null {
    for (const snapshot of this.pins.keys()) if (matches(snapshot)) return snapshot;
    return null;
  }

  leave(snapshot: Snapshot, finished: boolean): void {
    const pin = this.pins.get(snapshot);
    // All were given back when the store closed.
    if (pin === undefined) return;
    pin.scans--;
    if (!finished) pin.interrupted = true;
    if (pin.scans > 0) return;
    if (!pin.interrupted) {
      this.drop(snapshot);
      return;
    }
    // Behind all others in the table's order, which is that of waiting.
    this.pins.delete(snapshot);
    this.pins.set(snapshot, pin);
    pin.cancel = this.environment.schedule(RESUME_MS, () => {
      this.drop(snapshot);
    });
    const waiting = [...this.pins].filter(([, { cancel }]) => cancel !== null);
    for (const [oldest] of waiting.slice(0, Math.max(0, waiting.length - MAX_WAITING))) {
      this.drop(oldest);
    }
  }

  close(): void {
    for (const snapshot of [...this.pins.keys()]) this.drop(snapshot);
  }

  private drop(snapshot: Snapshot): void {
    this.pins.get(snapshot)?.cancel?.();
    this.pins.delete(snapshot);
    snapshot.release();
  }
}
