import { Code, ConnectError } from "@connectrpc/connect";

/** Collects bytes that arrive in chunks. The first chunk is not copied, because most messages arrive in one chunk. */
export class ReceivedBytes {
  length = 0;
  /** Starts with the received bytes; unused capacity may follow. */
  #buffer: Uint8Array = empty;

  add(chunk: Uint8Array): void {
    const length = this.length + chunk.byteLength;
    if (this.length === 0) {
      this.#buffer = chunk;
    } else {
      if (length > this.#buffer.byteLength) this.#grow(length);
      this.#buffer.set(chunk, this.length);
    }
    this.length = length;
  }

  /** Starts over with a new buffer. Bytes that were returned before stay unchanged. */
  clear(): void {
    this.length = 0;
    this.#buffer = empty;
  }

  /** All received bytes, without a copy. */
  get bytes(): Uint8Array {
    return this.length === this.#buffer.byteLength ? this.#buffer : this.#buffer.subarray(0, this.length);
  }

  /** At least doubles the capacity. A list of chunks of one byte each would take a hundred times as much memory. */
  #grow(length: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#buffer.byteLength));
    grown.set(this.bytes);
    this.#buffer = grown;
  }
}

const empty = new Uint8Array();

/** The error for a message whose size is known before it is read. */
export function messageTooLarge(bytes: number, maxBytes: number): ConnectError {
  const message = `message size ${bytes} is larger than configured readMaxBytes ${maxBytes}`;
  return new ConnectError(message, Code.ResourceExhausted);
}

/** The error for a message that exceeds the limit while it is read. */
export function messageGrewTooLarge(maxBytes: number): ConnectError {
  const message = `message size is larger than configured readMaxBytes ${maxBytes}`;
  return new ConnectError(message, Code.ResourceExhausted);
}
