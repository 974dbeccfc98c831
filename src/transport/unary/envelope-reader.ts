import { Code, ConnectError } from "@connectrpc/connect";
import { compressedFlag, type EnvelopedMessage } from "@connectrpc/connect/protocol";
import type { BodyReader } from "./exchange.ts";
import { messageTooLarge } from "./read-limit.ts";
import { ReceivedBytes } from "./received-bytes.ts";

/** One byte of flags, and the length in four bytes. */
const prefixBytes = 5;

/**
 * Reads what the body of a unary call over gRPC and gRPC-Web should hold: one message in an envelope. It reads on up
 * to the second one, to tell that there is one too many.
 */
export class EnvelopeReader implements BodyReader {
  readonly messages: EnvelopedMessage[] = [];
  readonly #maxBytes: number;
  readonly #skippedFlag: number;
  /** What has come of the next envelope. */
  #received = new ReceivedBytes();
  /** How many bytes it takes to get further. */
  #wanted = prefixBytes;

  /**
   * @param maxBytes how large a message may be
   * @param skippedFlag marks envelopes that hold no message
   */
  constructor(maxBytes: number, skippedFlag = 0) {
    this.#maxBytes = maxBytes;
    this.#skippedFlag = skippedFlag;
  }

  add(chunk: Uint8Array): boolean {
    this.#received.add(chunk);
    while (this.#received.length >= this.#wanted && this.messages.length < 2) {
      const { bytes } = this.#received;
      const length = messageLength(bytes);
      if (length > this.#maxBytes) throw messageTooLarge(length, this.#maxBytes);
      this.#wanted = prefixBytes + length;
      if (bytes.byteLength < this.#wanted) break;
      this.#take({ flags: bytes[0] ?? 0, data: bytes.subarray(prefixBytes, this.#wanted) });
      this.#received = new ReceivedBytes();
      if (bytes.byteLength > this.#wanted) this.#received.add(bytes.subarray(this.#wanted));
      this.#wanted = prefixBytes;
    }
    return this.messages.length === 2;
  }

  /** @throws ConnectError if the body ended in the middle of an envelope */
  expectEnd(): void {
    if (this.#received.length === 0) return;
    throw new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument);
  }

  #take(envelope: EnvelopedMessage): void {
    const isSkipped = (envelope.flags & this.#skippedFlag) !== 0 && (envelope.flags & compressedFlag) === 0;
    if (!isSkipped) this.messages.push(envelope);
  }
}

/** Big-endian, behind the flags; a DataView costs more than the four bytes. */
function messageLength(prefix: Uint8Array): number {
  const byte = (index: number) => prefix[index] ?? 0;
  return ((byte(1) << 24) | (byte(2) << 16) | (byte(3) << 8) | byte(4)) >>> 0;
}
