/** Counts the calls under way, and lets none in any more once it is shut: what a drain waits for. */

export class CallGate {
  private open = true;
  private readonly shutting = new AbortController();
  private inside = 0;
  private whenEmpty: (() => void) | null = null;

  get count(): number {
    return this.inside;
  }

  /** Aborted when it is shut: what could go on for ever ends then. */
  get closing(): AbortSignal {
    return this.shutting.signal;
  }

  /** False when shut. Each true is paired with one leave(). */
  enter(): boolean {
    if (!this.open) return false;
    this.inside++;
    return true;
  }

  leave(): void {
    this.inside--;
    if (this.inside === 0) this.whenEmpty?.();
  }

  shut(): void {
    this.open = false;
    this.shutting.abort();
  }

  /** Resolves when the last call inside has left, or after timeoutMs; true when none is left. */
  async emptied(timeoutMs: number): Promise<boolean> {
    if (this.inside > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.whenEmpty = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.whenEmpty = null;
    }
    return this.inside === 0;
  }
}
