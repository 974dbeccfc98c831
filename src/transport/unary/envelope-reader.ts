import { Code, ConnectError } from "@connectrpc/connect";
import { compressedFlag, type EnvelopedMessage } from "@connectrpc/connect/protocol";
import type { BodyReader } from "./exchange.ts";
import { messageTooLarge } from "./read-limit.ts";
import { ReceivedBytes } from "./received-bytes.ts";

/** One byte of flags, and the length in four bytes. */
export const prefixBytes = 5;

interface EnvelopeReaderOptions {
  /** How large what an envelope holds may be. */
  readonly maxBytes: number;
  /** Marks envelopes that hold no message. */
  readonly skippedFlag: number;
  /** Is given each envelope as soon as it is complete. @throws if nothing further is to be read */
  take(envelope: EnvelopedMessage): void;
}

/**
 * Reads what the body of a unary call over gRPC and gRPC-Web should hold: one message in an envelope. It reads on up
 * to the second one, to tell that there is one too many.
 */
export class EnvelopeReader implements BodyReader {
  readonly #options: EnvelopeReaderOptions;
  #taken = 0;
  #error: unknown;
  /** What has come of the next envelope. */
  #received = new ReceivedBytes();
  /** How many bytes it takes to get further. */
  #wanted = prefixBytes;

  constructor(options: EnvelopeReaderOptions) {
    this.#options = options;
  }

  add(chunk: Uint8Array): boolean {
    this.#received.add(chunk);
    let envelopes: EnvelopedMessage[] = [];
    try {
      envelopes = this.#split();
    } catch (error) {
      // If something is wrong with the message that was taken before, that is told instead.
      if (this.#taken === 0) throw error;
      this.#error = error;
    }
    this.#taken += envelopes.length;
    for (const envelope of envelopes) this.#options.take(envelope);
    return this.#taken === 2 || this.#error !== undefined;
  }

  /** @throws ConnectError for what is wrong behind the message */
  expectEnd(): void {
    if (this.#error !== undefined) throw this.#error;
    if (this.#received.length === 0) return;
    throw new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument);
  }

  /** Those that are complete now, up to the second one of all. */
  #split(): EnvelopedMessage[] {
    const envelopes: EnvelopedMessage[] = [];
    while (this.#received.length >= this.#wanted && this.#taken + envelopes.length < 2) {
      const envelope = this.#next();
      if (envelope === undefined) break;
      if (!this.#isSkipped(envelope)) envelopes.push(envelope);
    }
    return envelopes;
  }

  /** @returns undefined if it is not complete */
  #next(): EnvelopedMessage | undefined {
    const { bytes } = this.#received;
    const length = messageLength(bytes);
    if (length > this.#options.maxBytes) throw messageTooLarge(length, this.#options.maxBytes);
    this.#wanted = prefixBytes + length;
    if (bytes.byteLength < this.#wanted) return undefined;
    const envelope = { flags: bytes[0] ?? 0, data: bytes.subarray(prefixBytes, this.#wanted) };
    this.#received = new ReceivedBytes();
    if (bytes.byteLength > this.#wanted) this.#received.add(bytes.subarray(this.#wanted));
    this.#wanted = prefixBytes;
    return envelope;
  }

  /** A compressed one is not, for whether it can be unpacked is to be seen. */
  #isSkipped({ flags }: EnvelopedMessage): boolean {
    return (flags & this.#options.skippedFlag) !== 0 && (flags & compressedFlag) === 0;
  }
}

/** Big-endian, behind the flags; a DataView costs more than the four bytes. */
function messageLength(prefix: Uint8Array): number {
  const byte = (index: number) => prefix[index] ?? 0;
  return ((byte(1) << 24) | (byte(2) << 16) | (byte(3) << 8) | byte(4)) >>> 0;
}
