/**
 * A simulated disk: a Disk in memory that knows what a power cut could leave of it. It stands for a file system that
 * promises no more than POSIX does:
 *
 *  - A write is in the page cache until the file is synced. A crash keeps any subset of its 512-byte sectors.
 *  - Size and truncation are metadata: a crash keeps those of any prefix of what was done since the last sync.
 *  - Names (create, link, rename, unlink) are kept in the order in which they were made, up to any point since the last
 *    sync of their directory. Syncing a file does not make its name durable.
 *  - A failed sync leaves what it should have written in the cache, marked clean: no later sync writes it (fsyncgate).
 *
 * Every operation that changes something is counted and can be made to fail; `capacityBytes` makes the disk full. Nothing is
 * random here: a crash asks a `Choose` for every decision, which is a seeded generator or an enumeration of all states.
 * The async forms do their work a microtask after they are called, or, with
 * `holdAsync` set, when what it gives has resolved.
 */

import type { Disk, DiskFile, FileIdentity, OpenMode } from '#sutra/engine/disk';

export const SECTOR_BYTES = 512;

/** Unsynced changes of one file beyond this are written back by the kernel; bounds a file that is never synced. */
const WRITE_BACK_AFTER = 24;

/** Picks one of `options` (0..options-1); `options` is at least 1. */
export type Choose = (options: number) => number;

export type OperationKind =
  | 'create'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'rename'
  | 'link'
  | 'unlink'
  | 'mkdir'
  | 'syncDirectory';

export interface Operation {
  /** Counts from 1, over operations that change something. */
  readonly index: number;
  readonly kind: OperationKind;
  readonly path: string;
}

/** What happens to an operation: nothing special, an error with that code, or (a write) half of it is taken. */
export type Verdict = null | 'EIO' | 'ENOSPC' | 'short';

type Pending =
  | { readonly kind: 'write'; readonly at: number; readonly bytes: Uint8Array; doomed: boolean }
  | { readonly kind: 'truncate'; readonly size: number; doomed: boolean };

class Inode {
  cached: Uint8Array = new Uint8Array(0);
  size = 0;
  /** What is on the platter for sure, and what was done since. */
  durable: Uint8Array = new Uint8Array(0);
  pending: Pending[] = [];
  lock: SimFile | null = null;

  constructor(readonly number: number) {}

  bytes(): Uint8Array {
    return this.cached.subarray(0, this.size);
  }

  resize(size: number): void {
    if (size > this.cached.length) {
      const grown = new Uint8Array(Math.max(size, this.cached.length * 2, 4096));
      grown.set(this.bytes());
      this.cached = grown;
    } else if (size < this.size) {
      this.cached.fill(0, size, this.size);
    }
    this.size = size;
  }

  write(at: number, bytes: Uint8Array): void {
    if (at + bytes.length > this.size) this.resize(at + bytes.length);
    this.cached.set(bytes, at);
    this.pending.push({ kind: 'write', at, bytes: bytes.slice(), doomed: false });
    while (this.pending.length > WRITE_BACK_AFTER) {
      const oldest = this.pending.shift();
      if (oldest !== undefined) this.durable = applyPending(this.durable, oldest);
    }
  }

  truncate(size: number): void {
    this.resize(size);
    this.pending.push({ kind: 'truncate', size, doomed: false });
  }

  /** Everything that no failed sync has lost reaches the platter. */
  sync(): void {
    const doomed = this.pending.filter((p) => p.doomed);
    if (doomed.length === 0) {
      this.durable = this.bytes().slice();
      this.pending = [];
      return;
    }
    let image = this.durable;
    for (const p of this.pending) if (!p.doomed) image = applyPending(image, p);
    this.durable = image;
    this.pending = doomed;
  }

  failSync(): void {
    for (const p of this.pending) p.doomed = true;
  }

  /** What a crash leaves of it. */
  crash(choose: Choose): Uint8Array {
    const { pending } = this;
    if (pending.length === 0) return this.durable;
    const metadata = choose(pending.length + 1);
    let size = this.durable.length;
    for (let i = 0; i < metadata; i++) {
      const p = pending[i];
      if (p?.kind === 'truncate') size = p.size;
      else if (p !== undefined) size = Math.max(size, p.at + p.bytes.length);
    }
    let longest = Math.max(size, this.durable.length);
    for (const p of pending)
      if (p.kind === 'write') longest = Math.max(longest, p.at + p.bytes.length);
    const image = new Uint8Array(longest);
    image.set(this.durable);
    for (let i = 0; i < pending.length; i++) {
      const p = pending[i];
      if (p === undefined) continue;
      if (p.kind === 'truncate') {
        if (i < metadata) image.fill(0, p.size);
        continue;
      }
      for (let from = 0; from < p.bytes.length;) {
        const to = Math.min(p.bytes.length, from + SECTOR_BYTES - ((p.at + from) % SECTOR_BYTES));
        if (choose(2) === 1) image.set(p.bytes.subarray(from, to), p.at + from);
        from = to;
      }
    }
    return image.slice(0, size);
  }

  /** How many states `crash` can give, at most. */
  states(): number {
    if (this.pending.length === 0) return 1;
    let states = this.pending.length + 1;
    for (const p of this.pending) {
      if (p.kind !== 'write') continue;
      const first = Math.floor(p.at / SECTOR_BYTES);
      const last = Math.floor((p.at + p.bytes.length - 1) / SECTOR_BYTES);
      states *= 2 ** (last - first + 1);
    }
    return states;
  }
}

function applyPending(image: Uint8Array, p: Pending): Uint8Array {
  const size = p.kind === 'truncate' ? p.size : Math.max(image.length, p.at + p.bytes.length);
  const next = new Uint8Array(size);
  next.set(image.subarray(0, size));
  if (p.kind === 'write') next.set(p.bytes, p.at);
  return next;
}

/** One change of a directory: the name now means that inode, or nothing. A rename is one change of two names. */
type NameChange = readonly (readonly [name: string, inode: Inode | null])[];

class Directory {
  readonly names = new Map<string, Inode>();
  durableNames = new Map<string, Inode>();
  pending: NameChange[] = [];
  /** Whether the directory itself survives a crash. */
  isDurable = false;

  constructor(readonly number: number) {}

  change(change: NameChange): void {
    applyNames(this.names, change);
    this.pending.push(change);
  }

  sync(): void {
    this.durableNames = new Map(this.names);
    this.pending = [];
  }

  crash(choose: Choose): Map<string, Inode> {
    const names = new Map(this.durableNames);
    const kept = choose(this.pending.length + 1);
    for (const change of this.pending.slice(0, kept)) applyNames(names, change);
    return names;
  }
}

function applyNames(names: Map<string, Inode>, change: NameChange): void {
  for (const [name, inode] of change) {
    if (inode === null) names.delete(name);
    else names.set(name, inode);
  }
}

function split(path: string): { directory: string; name: string } {
  const at = path.lastIndexOf('/');
  return { directory: at <= 0 ? '/' : path.slice(0, at), name: path.slice(at + 1) };
}

function posixError(code: string, syscall: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: simulated, ${syscall} '${path}'`), {
    code,
    syscall,
    path,
  });
}

class SimFile implements DiskFile {
  private closed = false;
  private running = 0;

  constructor(
    private readonly disk: SimDisk,
    readonly path: string,
    readonly inode: Inode,
    private readonly writable: boolean,
  ) {
    disk.openFiles.add(this);
  }

  identity(): FileIdentity {
    this.requireOpen();
    return { size: this.inode.size, inode: this.inode.number, device: 1 };
  }

  read(target: Uint8Array, offset: number, length: number, position: number): number {
    this.requireOpen();
    this.disk.countRead(this.path);
    const bytes = this.inode.bytes().subarray(position, position + length);
    target.set(bytes, offset);
    return bytes.length;
  }

  write(source: Uint8Array, offset: number, length: number, position: number): number {
    this.requireWritable('write');
    const verdict = this.disk.begin('write', this.path);
    let taken = length;
    if (verdict === 'short') taken = length >>> 1;
    else if (verdict !== null) {
      // An error tells nothing about how much was taken.
      this.store(source, offset, length >>> 1, position);
      throw posixError(verdict, 'write', this.path);
    }
    const growth = position + taken - this.inode.size;
    if (growth > 0 && growth > this.disk.freeBytes) {
      taken -= growth - this.disk.freeBytes;
      if (taken <= 0) throw posixError('ENOSPC', 'write', this.path);
    }
    return this.store(source, offset, taken, position);
  }

  private store(source: Uint8Array, offset: number, length: number, position: number): number {
    const growth = Math.max(0, position + length - this.inode.size);
    if (growth > this.disk.freeBytes) return 0;
    if (length > 0) this.inode.write(position, source.subarray(offset, offset + length));
    return length;
  }

  async writeAsync(
    source: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<number> {
    this.running++;
    try {
      await this.disk.held('write', this.path);
      return this.write(source, offset, length, position);
    } finally {
      this.running--;
    }
  }

  datasync(): void {
    this.requireWritable('fdatasync');
    const verdict = this.disk.begin('sync', this.path);
    if (verdict !== null && verdict !== 'short') {
      this.inode.failSync();
      throw posixError(verdict, 'fdatasync', this.path);
    }
    this.inode.sync();
  }

  async datasyncAsync(): Promise<void> {
    this.running++;
    try {
      await this.disk.held('sync', this.path);
      this.datasync();
    } finally {
      this.running--;
    }
  }

  sync(): void {
    this.datasync();
  }

  truncate(size: number): void {
    this.requireWritable('ftruncate');
    this.disk.beginOrThrow('truncate', this.path);
    this.inode.truncate(size);
  }

  map(): null {
    return null;
  }

  tryLock(): boolean {
    this.requireOpen();
    if (this.inode.lock !== null && this.inode.lock !== this) return false;
    this.inode.lock = this;
    return true;
  }

  isLockedElsewhere(): boolean {
    return this.inode.lock !== null && this.inode.lock !== this;
  }

  close(): void {
    if (this.closed) return;
    if (this.running > 0) throw posixError('EBUSY', 'close', this.path);
    this.closed = true;
    this.disk.openFiles.delete(this);
    if (this.inode.lock === this) this.inode.lock = null;
  }

  private requireOpen(): void {
    if (this.closed) throw posixError('EBADF', 'use after close', this.path);
  }

  private requireWritable(syscall: string): void {
    this.requireOpen();
    if (!this.writable) throw posixError('EBADF', syscall, this.path);
  }
}

export class SimDisk implements Disk {
  /** Asked before every operation that changes something; it may also look at the disk, which is as before it. */
  onOperation: (operation: Operation) => Verdict = () => null;
  /** Told of every read; throw to fail it. */
  onRead: (index: number, path: string) => void = () => undefined;
  capacityBytes = Infinity;
  /** Asked by each async operation when it is called: what it is to wait for before it does anything. */
  holdAsync: (kind: OperationKind, path: string) => Promise<void> | null = () => null;
  /** Operations that changed something, or failed to. */
  operations = 0;
  reads = 0;
  readonly openFiles = new Set<SimFile>();
  private readonly directories = new Map<string, Directory>();
  private inodes = 0;

  constructor() {
    const root = new Directory(++this.inodes);
    root.isDurable = true;
    this.directories.set('/', root);
  }

  /** Bytes that the live files hold. */
  get usedBytes(): number {
    const seen = new Set<Inode>();
    for (const { names } of this.directories.values())
      for (const inode of names.values()) seen.add(inode);
    let total = 0;
    for (const inode of seen) total += inode.size;
    return total;
  }

  get freeBytes(): number {
    return this.capacityBytes === Infinity ? Infinity : this.capacityBytes - this.usedBytes;
  }

  // --- what tests do with it ---

  /**
   * The disk after a power cut now; this one stays as it is. `chooseFor` decides for single files by another Choose: one
   * that is never synced would drown an enumeration of the others.
   */
  crash(choose: Choose, chooseFor: (name: string) => Choose = () => choose): SimDisk {
    const after = new SimDisk();
    const images = new Map<Inode, Inode>();
    for (const [path, directory] of this.directories) {
      if (path === '/') continue;
      if (!directory.isDurable && choose(2) === 0) continue;
      // Parents come first: they were made first.
      if (!after.directories.has(split(path).directory)) continue;
      const copy = new Directory(++after.inodes);
      copy.isDurable = true;
      for (const [name, inode] of directory.crash(choose)) {
        let image = images.get(inode);
        if (image === undefined) {
          image = after.fileOf(inode.crash(chooseFor(name)));
          images.set(inode, image);
        }
        copy.names.set(name, image);
      }
      copy.sync();
      after.directories.set(path, copy);
    }
    return after;
  }

  /** An upper bound of the number of different states that `crash` can give, leaving out what `without` names. */
  crashStates(without: string): number {
    let states = 1;
    const seen = new Set<Inode>();
    for (const [path, directory] of this.directories) {
      if (path === '/') continue;
      if (!directory.isDurable) states *= 2;
      states *= directory.pending.length + 1;
      for (const [name, inode] of directory.durableNames) if (name !== without) seen.add(inode);
      for (const change of directory.pending) {
        for (const [name, inode] of change) if (inode !== null && name !== without) seen.add(inode);
      }
    }
    for (const inode of seen) states *= inode.states();
    return states;
  }

  /** The disk after its process was killed: everything that was written, and no locks. */
  killed(): SimDisk {
    const after = new SimDisk();
    const images = new Map<Inode, Inode>();
    for (const [path, directory] of this.directories) {
      if (path === '/') continue;
      const copy = new Directory(++after.inodes);
      copy.isDurable = true;
      for (const [name, inode] of directory.names) {
        let image = images.get(inode);
        if (image === undefined) {
          image = after.fileOf(inode.bytes().slice());
          images.set(inode, image);
        }
        copy.names.set(name, image);
      }
      copy.sync();
      after.directories.set(path, copy);
    }
    return after;
  }

  /** A file's bytes, a copy. */
  bytesOf(path: string): Uint8Array {
    return this.find(path, 'open').bytes().slice();
  }

  /** Puts bytes in place of a file's, durable; creates it when missing. */
  put(path: string, bytes: Uint8Array): void {
    const { directory, name } = split(path);
    const parent = this.directoryOf(directory, 'open');
    parent.names.set(name, this.fileOf(bytes));
    parent.sync();
  }

  private fileOf(bytes: Uint8Array): Inode {
    const inode = new Inode(++this.inodes);
    inode.cached = bytes.slice();
    inode.size = bytes.length;
    inode.durable = inode.cached.slice();
    return inode;
  }

  // --- for SimFile ---

  async held(kind: OperationKind, path: string): Promise<void> {
    await this.holdAsync(kind, path);
  }

  countRead(path: string): void {
    this.onRead(++this.reads, path);
  }

  begin(kind: OperationKind, path: string): Verdict {
    return this.onOperation({ index: ++this.operations, kind, path });
  }

  beginOrThrow(kind: OperationKind, path: string): void {
    const verdict = this.begin(kind, path);
    if (verdict !== null && verdict !== 'short') throw posixError(verdict, kind, path);
  }

  // --- Disk ---

  open(path: string, mode: OpenMode): DiskFile {
    if (this.directories.has(path)) throw posixError('EISDIR', 'open', path);
    const { directory, name } = split(path);
    const parent = this.directoryOf(directory, 'open');
    let inode = parent.names.get(name);
    if (inode === undefined) {
      if (mode === 'read' || mode === 'update') throw posixError('ENOENT', 'open', path);
      this.beginOrThrow('create', path);
      inode = new Inode(++this.inodes);
      parent.change([[name, inode]]);
    } else if (mode === 'create') {
      throw posixError('EEXIST', 'open', path);
    }
    return new SimFile(this, path, inode, mode !== 'read');
  }

  stat(path: string): (FileIdentity & { readonly isDirectory: boolean }) | null {
    const directory = this.directories.get(path);
    if (directory !== undefined) {
      return { size: 0, inode: directory.number, device: 1, isDirectory: true };
    }
    const { directory: parent, name } = split(path);
    const inode = this.directories.get(parent)?.names.get(name);
    if (inode === undefined) return null;
    return { size: inode.size, inode: inode.number, device: 1, isDirectory: false };
  }

  list(directory: string): string[] {
    return [...this.directoryOf(directory, 'scandir').names.keys()].sort();
  }

  makeDirectory(path: string): void {
    if (this.directories.has(path)) return;
    const { directory } = split(path);
    if (!this.directories.has(directory)) this.makeDirectory(directory);
    this.beginOrThrow('mkdir', path);
    this.directories.set(path, new Directory(++this.inodes));
  }

  rename(from: string, to: string): void {
    const inode = this.find(from, 'rename');
    const source = split(from);
    const target = split(to);
    if (source.directory !== target.directory) throw posixError('EXDEV', 'rename', from);
    this.beginOrThrow('rename', to);
    const directory = this.directoryOf(source.directory, 'rename');
    // Two names of one file: rename does nothing.
    if (directory.names.get(target.name) === inode) return;
    directory.change([
      [target.name, inode],
      [source.name, null],
    ]);
  }

  link(existing: string, to: string): void {
    const inode = this.find(existing, 'link');
    const { directory, name } = split(to);
    const parent = this.directoryOf(directory, 'link');
    if (parent.names.has(name)) throw posixError('EEXIST', 'link', to);
    this.beginOrThrow('link', to);
    parent.change([[name, inode]]);
  }

  unlink(path: string): void {
    this.find(path, 'unlink');
    this.beginOrThrow('unlink', path);
    const { directory, name } = split(path);
    this.directoryOf(directory, 'unlink').change([[name, null]]);
  }

  async unlinkAsync(path: string): Promise<void> {
    await this.held('unlink', path);
    this.unlink(path);
  }

  syncDirectory(path: string): void {
    const directory = this.directoryOf(path, 'fsync');
    this.beginOrThrow('syncDirectory', path);
    directory.sync();
    // The names of directories are entries of their parent.
    for (const [child, entry] of this.directories) {
      if (child !== '/' && split(child).directory === path) entry.isDurable = true;
    }
  }

  async syncDirectoryAsync(path: string): Promise<void> {
    await this.held('syncDirectory', path);
    this.syncDirectory(path);
  }

  private directoryOf(path: string, syscall: string): Directory {
    const directory = this.directories.get(path);
    if (directory === undefined) throw posixError('ENOENT', syscall, path);
    return directory;
  }

  private find(path: string, syscall: string): Inode {
    const { directory, name } = split(path);
    const inode = this.directories.get(directory)?.names.get(name);
    if (inode === undefined) throw posixError('ENOENT', syscall, path);
    return inode;
  }
}

/** Runs `visit` for every sequence of choices there is, at most `limit`; returns how many. */
export function everyChoice(limit: number, visit: (choose: Choose) => void): number {
  const taken: number[] = [];
  const options: number[] = [];
  for (let runs = 0; ;) {
    let depth = 0;
    visit((count) => {
      if (depth === taken.length) {
        taken.push(0);
        options.push(count);
      }
      return taken[depth++] ?? 0;
    });
    if (++runs === limit) return runs;
    // The next sequence in lexical order; what stands behind the one that changed is chosen anew.
    for (;;) {
      const last = taken.pop();
      const count = options.pop();
      if (last === undefined || count === undefined) return runs;
      if (last + 1 < count) {
        taken.push(last + 1);
        options.push(count);
        break;
      }
    }
  }
}

/** A Choose from random numbers in [0, 1). Now and then all or nothing, which random bits hardly ever give. */
export function randomChoice(random: () => number): Choose {
  const style = random();
  if (style < 0.1) return () => 0;
  if (style < 0.2) return (options) => options - 1;
  return (options) => Math.min(options - 1, Math.floor(random() * options));
}
