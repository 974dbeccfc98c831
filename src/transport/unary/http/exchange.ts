import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";
import type { ContextValues } from "@connectrpc/connect";

/** What is sent back: everything at once, for a unary call has one message. */
export interface Answer {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  readonly body?: Uint8Array | undefined;
  /** Sent after the body, if there are any. */
  readonly trailers?: OutgoingHttpHeaders | undefined;
}

/** Takes a request's body as it comes. */
export interface BodyReader<Result> {
  /**
   * @returns whether enough was read, so that nothing further is of interest
   * @throws ConnectError if it is not to be read further
   */
  add(chunk: Uint8Array): boolean;
  /**
   * What was read; asked for once, when enough was read, or at the body's end.
   *
   * @throws ConnectError if it is not what it should be
   */
  result(): Result | Promise<Result>;
}

/** A request and its answer, whichever version of HTTP carries them. */
export interface Exchange {
  /** The HTTP method. */
  readonly requestMethod: string;
  /** The request's headers as Node has them; over HTTP/2, pseudo-headers are among them. */
  readonly requestHeaders: IncomingHttpHeaders;
  /** Absolute. */
  readonly url: string;
  /** As the adapter's user wants them for this request; may throw whatever that throws. */
  readonly createContextValues: () => ContextValues;
  /** Told at most once, with the reason, when the peer is gone before it was answered. */
  onGone: ((reason: unknown) => void) | undefined;
  /**
   * Gives the body to a reader, up to its end or until the reader has enough.
   *
   * @throws what the reader throws, or the reason if the peer goes away
   */
  read<Result>(reader: BodyReader<Result>): Promise<Result>;
  /** Makes the read in progress throw the reason. */
  cancelRead(reason: unknown): void;
  /**
   * Sends the answer; what is left of the request's body is discarded. Does nothing if the peer is gone, and aborts if
   * a header cannot be sent.
   */
  respond(answer: Answer): void;
  /** Breaks off without an answer. */
  abort(): void;
}
