/**
 * Where the bytes of a snapshot's columns are in memory. Mapped: one window over the whole file when it is small, else one
 * per column, so that no view reaches 2 GiB. Where the disk cannot map: one zeroed buffer per column, which the operating
 * system backs with memory only as blocks are loaded into it.
 *
 * Invariant: a window starts at a block boundary and ends at one or where the body ends, so that it holds whole blocks. After
 * `close()` no array over a window may be read: over a mapping, that ends the process.
 */

import type { DiskFile, Mapping } from '../disk.js';
import {
  BLOCK_BYTES,
  SECTION_SHAPES,
  sectionOf,
  type Section,
  type SectionKind,
} from '../format/snapshot-format.js';
import type { SnapshotFile } from './snapshot-file.js';

interface Window {
  readonly start: number;
  readonly buffer: ArrayBuffer;
  /** null: a buffer of our own, to be loaded. */
  readonly mapping: Mapping | null;
}

export class Windows {
  private mapped: Window[] = [];
  private buffers: Window[] = [];
  private readonly ofKind = new Map<SectionKind, Window>();
  /** The body of the file from its first byte, contents and vectors too; null where only columns are in memory. */
  whole: ArrayBuffer | null = null;

  /** `wholeFileBelow`: files shorter than this are mapped in one piece. */
  constructor(snapshot: SnapshotFile, wholeFileBelow: number) {
    try {
      this.openAll(snapshot, wholeFileBelow);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Whether blocks must be loaded before they can be read. */
  get needsLoading(): boolean {
    return this.buffers.length > 0;
  }

  /** The memory of a section: its buffer and where the section starts in it. */
  locate(section: Section, kind: SectionKind): { buffer: ArrayBuffer; byteOffset: number } {
    const window = this.ofKind.get(kind);
    if (window === undefined) return { buffer: new ArrayBuffer(0), byteOffset: 0 };
    return { buffer: window.buffer, byteOffset: section.offset - window.start };
  }

  /** Copies a block to every buffer that has it: neighbouring sections share blocks. */
  load(block: number, bytes: Uint8Array): void {
    const position = block * BLOCK_BYTES;
    for (const { start, buffer } of this.buffers) {
      const at = position - start;
      if (at >= 0 && at < buffer.byteLength) new Uint8Array(buffer).set(bytes, at);
    }
  }

  close(): void {
    const { mapped } = this;
    this.whole = null;
    this.mapped = [];
    this.buffers = [];
    this.ofKind.clear();
    for (const { mapping } of mapped) mapping?.unmap();
  }

  private openAll({ file, header, bodyEnd }: SnapshotFile, wholeFileBelow: number): void {
    const whole = bodyEnd < wholeFileBelow ? this.map(file, 0, bodyEnd) : null;
    this.whole = whole === null ? null : whole.buffer;
    for (const { kind, isMapped } of SECTION_SHAPES) {
      const section = sectionOf(header, kind);
      if (!isMapped || section.byteLength === 0) continue;
      const { start, end } = blocksAround(section, bodyEnd);
      this.ofKind.set(
        kind,
        whole ?? this.map(file, start, end - start) ?? this.allocate(start, end - start),
      );
    }
  }

  private map(file: DiskFile, start: number, length: number): Window | null {
    const mapping = file.map(start, length);
    if (mapping === null) return null;
    const window: Window = { start, buffer: mapping.buffer, mapping };
    this.mapped.push(window);
    return window;
  }

  private allocate(start: number, length: number): Window {
    const window: Window = { start, buffer: new ArrayBuffer(length), mapping: null };
    this.buffers.push(window);
    return window;
  }
}

/** The blocks that hold a section, as a byte range. */
function blocksAround(section: Section, bodyEnd: number): { start: number; end: number } {
  const start = Math.floor(section.offset / BLOCK_BYTES) * BLOCK_BYTES;
  const end = Math.ceil((section.offset + section.byteLength) / BLOCK_BYTES) * BLOCK_BYTES;
  return { start, end: Math.min(end, bodyEnd) };
}
