/**
 * Rows of a fixed number of 32-bit words in pages, so that growing never copies and never holds the event loop. A row's
 * fields are read through the page's three views. Row 0 is never handed out: 0 means none.
 */

/** 4,096 rows a page. */
const PAGE_SHIFT = 12;
const PAGE_MASK = (1 << PAGE_SHIFT) - 1;

export class PagedRows {
  private readonly u32Pages: Uint32Array[] = [];
  private readonly f32Pages: Float32Array[] = [];
  private readonly f64Pages: Float64Array[] = [];
  /** Rows handed out, row 0 included. */
  length = 1;

  /** `stride` words a row; even, so that float64 fields at even words are aligned. */
  constructor(private readonly stride: number) {
    this.addPage();
  }

  get bytes(): number {
    return this.u32Pages.length * this.stride * 4 * (PAGE_MASK + 1);
  }

  private addPage(): void {
    const buffer = new ArrayBuffer((PAGE_MASK + 1) * this.stride * 4);
    this.u32Pages.push(new Uint32Array(buffer));
    this.f32Pages.push(new Float32Array(buffer));
    this.f64Pages.push(new Float64Array(buffer));
  }

  /** A fresh row, all zero. */
  add(): number {
    const row = this.length++;
    if (row >>> PAGE_SHIFT === this.u32Pages.length) this.addPage();
    return row;
  }

  /** The page of a row, for several fields at once with `base(row)`. */
  u32(row: number): Uint32Array {
    return this.u32Pages[row >>> PAGE_SHIFT]!;
  }
  f32(row: number): Float32Array {
    return this.f32Pages[row >>> PAGE_SHIFT]!;
  }
  /** Indexed by word / 2. */
  f64(row: number): Float64Array {
    return this.f64Pages[row >>> PAGE_SHIFT]!;
  }
  /** Index of the row's word 0 in its page. */
  base(row: number): number {
    return (row & PAGE_MASK) * this.stride;
  }
}
