import { Code, ConnectError } from "@connectrpc/connect";
import type { BodyReader } from "../http/exchange.ts";
import { messageGrewTooLarge, messageTooLarge, ReceivedBytes } from "./received-bytes.ts";

/** Reads a body that is one message, as that of a unary call over Connect. */
export class WholeBodyReader implements BodyReader<Uint8Array> {
  readonly #maxBytes: number;
  /** What Content-Length promises; undefined if it promises nothing. */
  readonly #promised: number | undefined;
  readonly #received = new ReceivedBytes();

  /**
   * @param maxBytes how large the body may be
   * @throws ConnectError if the Content-Length is more than that
   */
  constructor(maxBytes: number, contentLength: string | null) {
    const length = Number.parseInt(contentLength ?? "", 10);
    this.#maxBytes = maxBytes;
    this.#promised = Number.isSafeInteger(length) && length >= 0 ? length : undefined;
    if (this.#promised !== undefined && length > maxBytes) throw messageTooLarge(length, maxBytes);
  }

  add(chunk: Uint8Array): boolean {
    this.#received.add(chunk);
    const { length } = this.#received;
    if (this.#promised === undefined) {
      if (length > this.#maxBytes) throw messageGrewTooLarge(this.#maxBytes);
    } else if (length > this.#promised) {
      throw this.#brokenPromise();
    }
    return false;
  }

  /** @throws ConnectError if less came than was promised */
  result(): Uint8Array {
    if (this.#promised !== undefined && this.#received.length < this.#promised) throw this.#brokenPromise();
    return this.#received.bytes;
  }

  #brokenPromise(): ConnectError {
    const message = `protocol error: promised ${this.#promised} bytes, received ${this.#received.length}`;
    return new ConnectError(message, Code.InvalidArgument);
  }
}
