import { Code, ConnectError } from "@connectrpc/connect";
import { compressedFlag, type EnvelopedMessage } from "@connectrpc/connect/protocol";
import { messageLength, prefixBytes } from "./envelope.ts";
import { messageTooLarge } from "./read-limit.ts";
import { ReceivedBytes } from "./received-bytes.ts";

/** How many compressed envelopes without a message are unpacked, to find damaged ones. A body may hold any number. */
const maxUnpackedWithoutMessage = 100;

/**
 * Reads what the body of a unary call over gRPC and gRPC-Web should hold: one message in an envelope. It reads on up
 * to the second one, to tell that there is one too many.
 */
export abstract class EnvelopeReader {
  protected readonly maxBytes: number;
  protected readonly skippedFlag: number;
  #taken = 0;
  #messages = 0;
  #takenWithoutMessage = 0;
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
    // All before any is taken: what is wrong with the envelopes of a chunk is told before what is wrong in them.
    const envelopes: EnvelopedMessage[] = [];
    while (this.#messages < 2) {
      const envelope = this.#nextToTake();
      if (envelope === undefined) break;
      envelopes.push(envelope);
    }
    for (const envelope of envelopes) this.#take(envelope);
    return this.#messages === 2 || this.#error !== undefined;
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

  #nextToTake(): EnvelopedMessage | undefined {
    for (let envelope = this.#next(); envelope !== undefined; envelope = this.#next()) {
      if ((envelope.flags & this.skippedFlag) === 0) {
        this.#messages += 1;
        return envelope;
      }
      // A compressed one may turn out to be damaged.
      const isCompressed = (envelope.flags & compressedFlag) !== 0;
      if (isCompressed && this.#takenWithoutMessage < maxUnpackedWithoutMessage) {
        this.#takenWithoutMessage += 1;
        return envelope;
      }
    }
    return undefined;
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
}
