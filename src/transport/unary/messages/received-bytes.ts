import { Code, ConnectError } from "@connectrpc/connect";

/** Bytes that come in chunks. The first one is not copied, for most messages come in one. */
export class ReceivedBytes {
  length = 0;
  /** What has come is at its start; there may be room behind. */
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

  /** Begins anew; what it gave out stays as it is. */
  clear(): void {
    this.length = 0;
    this.#buffer = empty;
  }

  /** All that has come, without a copy. */
  get bytes(): Uint8Array {
    return this.length === this.#buffer.byteLength ? this.#buffer : this.#buffer.subarray(0, this.length);
  }

  /** At least doubles it: a list of the chunks would take a hundred times as much memory if each is a single byte. */
  #grow(length: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#buffer.byteLength));
    grown.set(this.bytes);
    this.#buffer = grown;
  }
}

const empty = new Uint8Array();

/** A message whose length is known beforehand. */
export function messageTooLarge(bytes: number, maxBytes: number): ConnectError {
  const message = `message size ${bytes} is larger than configured readMaxBytes ${maxBytes}`;
  return new ConnectError(message, Code.ResourceExhausted);
}

/** A message that turned out to be too large while it was read. */
export function messageGrewTooLarge(maxBytes: number): ConnectError {
  const message = `message size is larger than configured readMaxBytes ${maxBytes}`;
  return new ConnectError(message, Code.ResourceExhausted);
}
