import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";
import type { ContextValues } from "@connectrpc/connect";

/** The complete answer to a request. It is sent at once, because a unary call has a single message. */
export interface Answer {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  readonly body?: Uint8Array | undefined;
  /** Sent after the body. */
  readonly trailers?: OutgoingHttpHeaders | undefined;
}

/** Receives the chunks of a request's body. */
export interface BodyReader<Result> {
  /**
   * @returns true if the reader needs no further chunks
   * @throws ConnectError if the body is invalid or too large; then nothing further is read
   */
  add(chunk: Uint8Array): boolean;
  /**
   * Returns what was read. Called once, at the end of the body or as soon as the reader needs no further chunks.
   *
   * @throws ConnectError if the body is invalid or incomplete
   */
  result(): Result | Promise<Result>;
}

/** A request and its answer, over HTTP/1.1 or HTTP/2. */
export interface Exchange {
  /** The HTTP method. */
  readonly requestMethod: string;
  /** The request's headers in Node's format. Over HTTP/2, they include pseudo-headers. */
  readonly requestHeaders: IncomingHttpHeaders;
  /** The absolute URL of the request. */
  readonly url: string;
  /** Calls the adapter's option `contextValues` for this request; undefined without the option. */
  readonly createContextValues: (() => ContextValues) | undefined;
  /** Called at most once, with the reason, if the peer closes the connection or the stream before the answer. */
  onDisconnect: ((reason: unknown) => void) | undefined;
  /**
   * Passes the body to a reader, until the body ends or the reader needs no further chunks.
   *
   * @throws any error of the reader, or the reason if the peer disconnects or the read is cancelled
   */
  read<Result>(reader: BodyReader<Result>): Promise<Result>;
  /** Rejects the pending read with the reason. */
  cancelRead(reason: unknown): void;
  /**
   * Sends the answer and discards the rest of the request's body. Does nothing if the peer has disconnected. Aborts
   * if a header is invalid, or if the connection's calls would hold too much memory.
   */
  respond(answer: Answer): void;
  /** Resets the HTTP/2 stream, or closes the HTTP/1.1 connection, without an answer. */
  abort(): void;
}
