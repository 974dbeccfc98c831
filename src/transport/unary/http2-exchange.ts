import {
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { Code, ConnectError, type ContextValues } from "@connectrpc/connect";
import { ConnectionMemory } from "./connection-memory.ts";
import type { Answer, BodyReader, Exchange } from "./exchange.ts";
import { errorFromResetCode } from "./gone-peer.ts";
import { lingerMs } from "./unread-body.ts";

/** A request of HTTP/2, without Node's compatibility layer. */
export class Http2Exchange implements Exchange {
  readonly requestMethod: string;
  readonly requestHeaders: IncomingHttpHeaders;
  readonly url: string;
  readonly createContextValues: () => ContextValues;
  onGone: ((reason: unknown) => void) | undefined;
  readonly #stream: ServerHttp2Stream;
  /** Made for what is large enough to count. */
  #memory: ConnectionMemory | undefined;
  #stopReading: ((reason: unknown) => void) | undefined;
  /** Let go of as soon as it wants nothing more, with what it has read. */
  #reader: BodyReader | undefined;
  #isFirstChunk = true;
  #isRead = false;

  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    url: string,
    createContextValues: () => ContextValues,
  ) {
    this.requestMethod = headers[":method"] ?? "";
    this.requestHeaders = headers;
    this.url = url;
    this.createContextValues = createContextValues;
    this.#stream = stream;
    // Whoever waits is told at "close".
    stream.on("error", ignore);
    stream.on("close", () => this.#leave());
  }

  read(reader: BodyReader): Promise<void> {
    const stream = this.#stream;
    this.#reader = reader;
    return new Promise((resolve, reject) => {
      if (stream.destroyed) reject(errorFromResetCode(stream.rstCode));
      this.#stopReading = reject;
      stream.on("data", (chunk: Uint8Array) => {
        try {
          if (this.#takesEnough(chunk)) resolve();
        } catch (error) {
          this.#reader = undefined;
          reject(error);
        }
      });
      stream.on("end", () => {
        this.#isRead = true;
        resolve();
      });
    });
  }

  interruptReading(reason: unknown): void {
    this.#reader = undefined;
    this.#stopReading?.(reason);
  }

  respond({ status, headers, body, trailers }: Answer): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    if (!this.#isRead) this.#discardRest();
    this.#memory?.release();
    if (body !== undefined && body.byteLength > freeBytes && !this.#hold(body.byteLength)) {
      // RESOURCE_EXHAUSTED to gRPC.
      stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
      return;
    }
    try {
      if (trailers === undefined) {
        stream.respond(toHttp2(headers, status));
      } else {
        const sent = toHttp2(trailers);
        stream.on("wantTrailers", () => {
          if (!stream.closed) stream.sendTrailers(sent);
        });
        stream.respond(toHttp2(headers, status), withTrailers);
      }
      stream.end(body);
    } catch {
      this.abort();
    }
  }

  abort(): void {
    this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  }

  /** The client gets some time to finish, for what it has not sent at a reset, some count as memory in use for ever. */
  #discardRest(): void {
    const stream = this.#stream;
    stream.resume();
    stream.once("finish", () => {
      if (this.#isRead) return;
      // RFC 9113, section 8.1
      const linger = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), lingerMs).unref();
      stream.once("close", () => clearTimeout(linger));
    });
  }

  /**
   * @returns whether the reader has enough with this
   * @throws ConnectError
   */
  #takesEnough(chunk: Uint8Array): boolean {
    const reader = this.#reader;
    if (reader === undefined) return false;
    // Twice, for the buffer that it goes to doubles when it is full.
    if (!this.#isFirstChunk && !this.#hold(2 * chunk.byteLength)) throw tooMuchHeld();
    this.#isFirstChunk = false;
    const isEnough = reader.add(chunk);
    if (isEnough) this.#reader = undefined;
    return isEnough;
  }

  /** @returns false if it is too much for the connection */
  #hold(bytes: number): boolean {
    this.#memory ??= new ConnectionMemory(this.#stream.session);
    return this.#memory.hold(bytes);
  }

  #leave(): void {
    this.#memory?.release();
    if (this.onGone === undefined && this.#isRead) return;
    const reason = errorFromResetCode(this.#stream.rstCode);
    this.#stopReading?.(reason);
    this.onGone?.(reason);
  }
}

/** An answer of this size, and the first part of a request, are not counted: they are as large as a frame. */
const freeBytes = 16 * 1024;

/** HTTP/2 has none of the headers that speak of a connection. */
function toHttp2(headers: OutgoingHttpHeaders, status?: number): OutgoingHttpHeaders {
  const converted: OutgoingHttpHeaders = status === undefined ? {} : { ":status": status };
  for (const name in headers) {
    if (!connectionHeaders.has(name)) converted[name] = headers[name];
  }
  return converted;
}

const connectionHeaders: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
]);

const withTrailers = { waitForTrailers: true };

function tooMuchHeld(): ConnectError {
  const message = "the calls of this connection hold too much memory: send fewer large ones at a time";
  return new ConnectError(message, Code.ResourceExhausted);
}

function ignore(): void {}
