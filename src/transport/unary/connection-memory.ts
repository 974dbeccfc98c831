import type { Http2Session } from "node:http2";

/** How many bytes the calls of one connection may hold: 16 requests, or 32 answers, of 4 MiB. */
const maxBytes = 128 * 1024 * 1024;

const held = new WeakMap<Http2Session, number>();

/**
 * What one call holds of its connection's share of memory: parts of a request that is not complete, or an answer that
 * is not taken. Without a bound, the many calls of a single connection of HTTP/2 could take all there is.
 */
export class ConnectionMemory {
  readonly #session: Http2Session | undefined;
  #bytes = 0;

  constructor(session: Http2Session | undefined) {
    this.#session = session;
  }

  /** @returns false if the connection's calls hold too much already */
  hold(bytes: number): boolean {
    if (this.#session === undefined) return true;
    const total = (held.get(this.#session) ?? 0) + bytes;
    if (total > maxBytes) return false;
    held.set(this.#session, total);
    this.#bytes += bytes;
    return true;
  }

  /** Gives everything back. */
  release(): void {
    if (this.#session === undefined || this.#bytes === 0) return;
    held.set(this.#session, (held.get(this.#session) ?? 0) - this.#bytes);
    this.#bytes = 0;
  }
}
