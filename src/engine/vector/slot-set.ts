/** A set of slots as bits. It grows in pages as slots come, so that no step of it is long. */

/** Slots a page: 8 KiB of bits. */
const PAGE_SHIFT = 16;
const PAGE_MASK = (1 << PAGE_SHIFT) - 1;

export class SlotSet {
  size = 0;
  private readonly pages: (Uint32Array | undefined)[] = [];

  has(slot: number): boolean {
    const page = this.pages[slot >>> PAGE_SHIFT];
    const at = slot & PAGE_MASK;
    return page !== undefined && (page[at >>> 5]! & (1 << (at & 31))) !== 0;
  }

  /** False when it was there. */
  add(slot: number): boolean {
    const at = slot & PAGE_MASK;
    const page = (this.pages[slot >>> PAGE_SHIFT] ??= new Uint32Array(1 << (PAGE_SHIFT - 5)));
    const bit = 1 << (at & 31);
    if ((page[at >>> 5]! & bit) !== 0) return false;
    page[at >>> 5]! |= bit;
    this.size++;
    return true;
  }

  /** False when it was not there. */
  delete(slot: number): boolean {
    if (!this.has(slot)) return false;
    const at = slot & PAGE_MASK;
    const page = this.pages[slot >>> PAGE_SHIFT]!;
    page[at >>> 5]! &= ~(1 << (at & 31));
    this.size--;
    return true;
  }
}
