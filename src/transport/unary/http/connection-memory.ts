import { Code, ConnectError } from "@connectrpc/connect";

/** How many bytes the calls of all connections may hold. */
const maxBytes = 640 * 1024 * 1024;

/**
 * A connection may hold this part of what all others leave free. A single one gets up to 128 MiB; and however many hold
 * all they can, there is something left for the next one.
 */
const share = 1 / 4;

/** The first part of a request, and an answer of this size, are not counted: they are as large as a frame. */
export const freeBytes = 16 * 1024;

let heldByAll = 0;
const heldBy = new WeakMap<object, number>();

/**
 * What one call holds of its connection's share of memory: parts of a request that is not complete, or an answer that
 * is not taken. Without a bound, the many calls of a single connection of HTTP/2 could take all there is.
 */
export class ConnectionMemory {
  readonly #connection: object | undefined;
  #bytes = 0;

  /** @param connection a session of HTTP/2, or a socket of HTTP/1.1; undefined if it is closed already */
  constructor(connection: object | undefined) {
    this.#connection = connection;
  }

  /** @returns false if the connection's calls hold too much already */
  hold(bytes: number): boolean {
    if (this.#connection === undefined) return true;
    const held = heldBy.get(this.#connection) ?? 0;
    if (held + bytes > share * (maxBytes - heldByAll - bytes)) return false;
    this.#count(bytes);
    return true;
  }

  /** Gives back some of it, or everything. */
  release(bytes = this.#bytes): void {
    this.#count(-bytes);
  }

  /** What is held at this moment. */
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

export function tooMuchHeld(): ConnectError {
  const message = "the calls of this connection hold too much memory: send fewer large ones at a time";
  return new ConnectError(message, Code.ResourceExhausted);
}
