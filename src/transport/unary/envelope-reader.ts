import { Code, ConnectError } from "@connectrpc/connect";
import { compressedFlag, type EnvelopedMessage } from "@connectrpc/connect/protocol";
import { messageLength, prefixBytes } from "./envelope.ts";
import { messageTooLarge } from "./read-limit.ts";
import { ReceivedBytes } from "./received-bytes.ts";

/**
 * Reads what the body of a unary call over gRPC and gRPC-Web should hold: one message in an envelope. It reads on up
 * to the second one, to tell that there is one too many.
 */
export abstract class EnvelopeReader {
  protected readonly maxBytes: number;
  protected readonly skippedFlag: number;
  #taken = 0;
  #error: unknown;
  /** What has come of the next envelope. */
  readonly #received = new ReceivedBytes();
  /** How many bytes it takes to get further. */
  #wanted = prefixBytes;

  /**
   * @param maxBytes how large what an envelope holds may be
   * @param skippedFlag marks envelopes that hold no message
   */
  constructor(maxBytes: number, skippedFlag: number) {
    this.maxBytes = maxBytes;
    this.skippedFlag = skippedFlag;
  }

  /** Is given each envelope as soon as it is complete. @throws if nothing further is to be read */
  protected abstract take(envelope: EnvelopedMessage): void;

  add(chunk: Uint8Array): boolean {
    this.#received.add(chunk);
    // Both before either is taken: what is wrong with the envelopes of a chunk is told before what is wrong in them.
    const first = this.#nextMessage();
    const second = first === undefined || this.#taken === 1 ? undefined : this.#nextMessage();
    if (first) this.#take(first);
    if (second) this.#take(second);
    return this.#taken === 2 || this.#error !== undefined;
  }

  /** @throws ConnectError for what is wrong behind the message */
  expectEnd(): void {
    if (this.#error !== undefined) throw this.#error;
    if (this.#received.length === 0) return;
    throw new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument);
  }

  #take(envelope: EnvelopedMessage): void {
    this.#taken += 1;
    this.take(envelope);
  }

  #nextMessage(): EnvelopedMessage | undefined {
    let envelope = this.#next();
    while (envelope !== undefined && this.#isSkipped(envelope)) envelope = this.#next();
    return envelope;
  }

  /** @returns undefined if it is not complete, or cannot be read */
  #next(): EnvelopedMessage | undefined {
    if (this.#received.length < this.#wanted) return undefined;
    const { bytes } = this.#received;
    const length = messageLength(bytes, 0);
    if (length > this.maxBytes) {
      const error = messageTooLarge(length, this.maxBytes);
      if (this.#taken === 0) throw error;
      // If something is wrong with the message that was taken before, that is told instead.
      this.#error = error;
      return undefined;
    }
    this.#wanted = prefixBytes + length;
    if (bytes.byteLength < this.#wanted) return undefined;
    const data = bytes.subarray(prefixBytes, this.#wanted);
    this.#received.clear();
    if (bytes.byteLength > this.#wanted) this.#received.add(bytes.subarray(this.#wanted));
    this.#wanted = prefixBytes;
    return { flags: bytes[0] ?? 0, data };
  }

  /** A compressed one is not, for whether it can be unpacked is to be seen. */
  #isSkipped({ flags }: EnvelopedMessage): boolean {
    return (flags & this.skippedFlag) !== 0 && (flags & compressedFlag) === 0;
  }
}
