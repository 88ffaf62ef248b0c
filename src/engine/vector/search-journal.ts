/**
 * The slots whose vectors changed while searches were under way, in order, so that each search can tell what changed since it
 * began. Places count from the store's opening. What lies before the oldest search under way is let go of, so it is as
 * long as one search sees changes, however long searches overlap each other.
 */

/** Fewer are not worth the moving. */
const TRIM = 1024;

export class SearchJournal {
  private slots: number[] = [];
  /** Place of the first. */
  private start = 0;
  /** Where those under way began, ascending. */
  private readonly begins: number[] = [];

  /** How many changes it holds. */
  get length(): number {
    return this.slots.length;
  }

  push(slot: number): void {
    if (this.begins.length > 0) this.slots.push(slot);
  }

  /** Returns where this search begins. Each `begin` is paired with one `end` of what it returned. */
  begin(): number {
    const begin = this.start + this.slots.length;
    this.begins.push(begin);
    return begin;
  }

  end(begin: number): void {
    const { begins, slots } = this;
    begins.splice(begins.indexOf(begin), 1);
    const unused = (begins[0] ?? this.start + slots.length) - this.start;
    if (unused < slots.length && unused < Math.max(TRIM, slots.length / 2)) return;
    this.slots = slots.slice(unused);
    this.start += unused;
  }

  hasChanged(begin: number): boolean {
    return this.start + this.slots.length > begin;
  }

  /** Whether one of `among` changed since. */
  hasChangedAmong(among: Uint32Array, begin: number): boolean {
    const { slots, start } = this;
    const wanted = new Set(among);
    for (let i = begin - start; i < slots.length; i++) if (wanted.has(slots[i]!)) return true;
    return false;
  }
}
