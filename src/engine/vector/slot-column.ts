/** A uint32 for each of some slots, in pages. */

const PAGE_SHIFT = 12;
const PAGE_MASK = (1 << PAGE_SHIFT) - 1;

interface Page {
  readonly values: Uint32Array;
  readonly present: Uint8Array;
}

export class SlotColumn {
  size = 0;
  private readonly pages: (Page | undefined)[] = [];

  has(slot: number): boolean {
    return this.pages[slot >>> PAGE_SHIFT]?.present[slot & PAGE_MASK] === 1;
  }

  set(slot: number, value: number): void {
    const page = (this.pages[slot >>> PAGE_SHIFT] ??= {
      values: new Uint32Array(1 << PAGE_SHIFT),
      present: new Uint8Array(1 << PAGE_SHIFT),
    });
    const at = slot & PAGE_MASK;
    this.size += 1 - page.present[at]!;
    page.present[at] = 1;
    page.values[at] = value;
  }

  delete(slot: number): boolean {
    const page = this.pages[slot >>> PAGE_SHIFT];
    const at = slot & PAGE_MASK;
    if (page?.present[at] !== 1) return false;
    page.present[at] = 0;
    this.size--;
    return true;
  }

  /** Slot, value, slot, value: ascending by slot. */
  toPairs(): Uint32Array {
    const pairs = new Uint32Array(2 * this.size);
    let count = 0;
    this.pages.forEach((page, index) => {
      if (page === undefined) return;
      for (let at = 0; at <= PAGE_MASK; at++) {
        if (page.present[at] !== 1) continue;
        pairs[count++] = (index << PAGE_SHIFT) + at;
        pairs[count++] = page.values[at]!;
      }
    });
    return pairs;
  }
}
