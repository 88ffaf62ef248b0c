/**
 * Slot -> four words (concept row, head of the out list, head of the in list, flags), direct-mapped in small pages that come
 * into being when a slot in them is first touched: no hashing, no rehash, memory in proportion to what was touched.
 */

/** 256 slots a page: 4 KiB. */
const PAGE_SHIFT = 8;
const PAGE_MASK = (1 << PAGE_SHIFT) - 1;

export const ENTRY_WORDS = 4;
export const CONCEPT_ROW = 0;
export const OUT_HEAD = 1;
export const IN_HEAD = 2;
export const FLAGS = 3;

/** Above every slot. */
export const NO_SLOT = 0xffff_ffff;

/** Everything that lower levels say of this slot is void: its concept was forgotten here (and the slot perhaps reused). */
export const HIDES_LOWER = 1;
/** Some association at this slot overrides or deletes one of a lower level, so lower ones must be looked up here. */
export const OVERRIDES_EDGES = 2;

export class SlotMap {
  private readonly pages: (Uint32Array | undefined)[] = [];
  private pageCount = 0;

  get bytes(): number {
    return this.pageCount * (PAGE_MASK + 1) * ENTRY_WORDS * 4;
  }

  /** The page that holds the slot, or undefined when nothing in it was touched. Index with `entry(slot) + field`. */
  page(slot: number): Uint32Array | undefined {
    return this.pages[slot >>> PAGE_SHIFT];
  }

  /** The page that holds the slot, made when missing. */
  touch(slot: number): Uint32Array {
    const index = slot >>> PAGE_SHIFT;
    const page = this.pages[index];
    if (page !== undefined) return page;
    // Filled in order, so that the array of pages stays a dense one.
    while (this.pages.length <= index) this.pages.push(undefined);
    const made = new Uint32Array((PAGE_MASK + 1) * ENTRY_WORDS);
    this.pages[index] = made;
    this.pageCount++;
    return made;
  }

  get(slot: number, field: number): number {
    const page = this.pages[slot >>> PAGE_SHIFT];
    return page === undefined ? 0 : page[(slot & PAGE_MASK) * ENTRY_WORDS + field]!;
  }
}

/** Index of the slot's word 0 in its page. */
export function entry(slot: number): number {
  return (slot & PAGE_MASK) * ENTRY_WORDS;
}
