/** Counts the calls under way, and lets none in any more once it is shut: what a drain waits for. */

export class CallGate {
  private open = true;
  private inside = 0;
  private whenEmpty: (() => void) | null = null;

  get count(): number {
    return this.inside;
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
