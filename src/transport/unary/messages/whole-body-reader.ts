import { Code, ConnectError } from "@connectrpc/connect";
import type { BodyReader } from "../http/exchange.ts";
import { messageGrewTooLarge, messageTooLarge, ReceivedBytes } from "./received-bytes.ts";

/** Reads a body that consists of one message without an envelope, as in a unary call over Connect. */
export class WholeBodyReader implements BodyReader<Uint8Array> {
  readonly #maxBytes: number;
  /** The Content-Length; undefined if the header is missing or invalid. */
  readonly #expected: number | undefined;
  readonly #received = new ReceivedBytes();

  /**
   * @param maxBytes the maximum size of the body
   * @throws ConnectError if the Content-Length exceeds maxBytes
   */
  constructor(maxBytes: number, contentLength: string | null) {
    const length = Number.parseInt(contentLength ?? "", 10);
    this.#maxBytes = maxBytes;
    this.#expected = Number.isSafeInteger(length) && length >= 0 ? length : undefined;
    if (this.#expected !== undefined && length > maxBytes) throw messageTooLarge(length, maxBytes);
  }

  add(chunk: Uint8Array): boolean {
    this.#received.add(chunk);
    const { length } = this.#received;
    if (this.#expected === undefined) {
      if (length > this.#maxBytes) throw messageGrewTooLarge(this.#maxBytes);
    } else if (length > this.#expected) {
      throw this.#lengthMismatch();
    }
    return false;
  }

  /** @throws ConnectError if the body is shorter than its Content-Length */
  result(): Uint8Array {
    if (this.#expected !== undefined && this.#received.length < this.#expected) throw this.#lengthMismatch();
    return this.#received.bytes;
  }

  #lengthMismatch(): ConnectError {
    const message = `protocol error: promised ${this.#expected} bytes, received ${this.#received.length}`;
    return new ConnectError(message, Code.InvalidArgument);
  }
}
