import { Code, ConnectError } from "@connectrpc/connect";

/** The maximum number of bytes that the calls of all connections hold. */
const maxBytes = 640 * 1024 * 1024;

/**
 * A connection may hold at most this fraction of the bytes that no connection holds. A single connection gets up to
 * 128 MiB: a quarter of the other 512 MiB. However many connections hold their maximum, the next one still gets a
 * share.
 */
const share = 1 / 4;

/**
 * An answer of up to this size is not counted, and neither is the first chunk of a message: over HTTP/2, each fits into
 * one frame.
 */
export const uncountedBytes = 16 * 1024;

let heldByAll = 0;
const heldBy = new WeakMap<object, number>();

/**
 * The memory that one call holds: the received part of an incomplete request, or an answer that the client has not
 * read. Without a limit, the many calls of a single HTTP/2 connection could use all memory.
 */
export class ConnectionMemory {
  readonly #connection: object | undefined;
  #bytes = 0;

  /** @param connection an HTTP/2 session or an HTTP/1.1 socket; undefined if it is already closed */
  constructor(connection: object | undefined) {
    this.#connection = connection;
  }

  /** @returns false, without holding the bytes, if the connection's calls would hold too much */
  hold(bytes: number): boolean {
    if (this.#connection === undefined) return true;
    const held = heldBy.get(this.#connection) ?? 0;
    if (held + bytes > share * (maxBytes - heldByAll - bytes)) return false;
    this.#count(bytes);
    return true;
  }

  /** Releases the given number of bytes, by default all. */
  release(bytes = this.#bytes): void {
    this.#count(-bytes);
  }

  /** The number of bytes that the call holds now. */
  get bytes(): number {
    return this.#bytes;
  }

  #count(bytes: number): void {
    if (this.#connection === undefined || bytes === 0) return;
    heldBy.set(this.#connection, (heldBy.get(this.#connection) ?? 0) + bytes);
    heldByAll += bytes;
    this.#bytes += bytes;
  }
}

export function memoryLimitError(): ConnectError {
  const message = "the calls of this connection use too much memory: send fewer large messages at a time";
  return new ConnectError(message, Code.ResourceExhausted);
}
