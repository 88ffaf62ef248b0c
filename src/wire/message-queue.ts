/**
 * The messages of one direction of a gRPC stream, one at a time, for whoever takes them at its own pace: grpc-js reads sixteen
 * ahead, whatever their size, and this lets it read `window` of them, so that what is not taken stays with the sender, held
 * back by HTTP/2's flow control.
 *
 * Invariant: messages that were read and not taken, and reads that were granted, are together at most `window`.
 */

import type { Readable } from 'node:stream';

export class MessageQueue<Message> {
  private readonly messages: Message[] = [];
  private ended = false;
  private failure: Error | null = null;
  private wake: (() => void) | null = null;
  private grants: number;
  /** A read that the stream asked for and that was not granted yet. */
  private held: (() => void) | null = null;

  /** Takes the stream over: nobody else reads it. Messages are objects that the stream's own codec made. */
  constructor(stream: Readable, window: number) {
    this.grants = window;
    const read = stream._read.bind(stream);
    stream._read = (size) => {
      if (this.grants > 0) {
        this.grants--;
        read(size);
      } else {
        this.held = () => {
          read(size);
        };
      }
    };
    stream.on('data', (message: Message) => {
      this.messages.push(message);
      this.notify();
    });
    stream.on('end', () => {
      this.ended = true;
      this.notify();
    });
    stream.on('error', (error: Error) => {
      this.fail(error);
    });
    stream.on('close', () => {
      this.ended = true;
      this.notify();
    });
  }

  /** What `next` rejects with once the messages that are here are taken; the first such error counts. */
  fail(error: Error): void {
    this.failure ??= error;
    this.notify();
  }

  /** The next message, or null at the end. Not to be called again before it has settled. */
  async next(): Promise<Message | null> {
    for (;;) {
      const message = this.messages.shift();
      if (message !== undefined) {
        this.grant();
        return message;
      }
      if (this.failure !== null) throw this.failure;
      if (this.ended) return null;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  private notify(): void {
    const { wake } = this;
    this.wake = null;
    wake?.();
  }

  private grant(): void {
    const { held } = this;
    this.held = null;
    if (held === null) this.grants++;
    else held();
  }
}
