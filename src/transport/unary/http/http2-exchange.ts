import {
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import type { ContextValues } from "@connectrpc/connect";
import { errorFromResetCode } from "./abort-reasons.ts";
import { type AnyBodyRead, BodyRead } from "./body-read.ts";
import { ConnectionMemory, memoryLimitError, uncountedBytes } from "./connection-memory.ts";
import type { Answer, BodyReader, Exchange } from "./exchange.ts";
import { lingerMs } from "./unread-body.ts";

const exchangeOf = Symbol("exchange");

/**
 * A stream, with its exchange while it is open. Node keeps a closed stream until the next full garbage collection, so
 * the exchange is removed when the stream closes. This halves the time for garbage collection.
 */
interface ServedStream extends ServerHttp2Stream {
  [exchangeOf]?: Http2Exchange | undefined;
}

/** An HTTP/2 request and its answer, without Node's compatibility layer. */
export class Http2Exchange implements Exchange {
  readonly requestMethod: string;
  readonly requestHeaders: IncomingHttpHeaders;
  readonly url: string;
  readonly createContextValues: (() => ContextValues) | undefined;
  onDisconnect: ((reason: unknown) => void) | undefined;
  readonly #stream: ServedStream;
  /** Created for the first chunk or answer that is counted. */
  #memory: ConnectionMemory | undefined;
  /** Set only while the body is read: it holds the message, and V8 may keep an exchange for longer than its call. */
  #bodyRead: AnyBodyRead | undefined;
  #trailers: OutgoingHttpHeaders | undefined;
  #isFirstChunk = true;
  #isRead = false;

  constructor(
    stream: ServedStream,
    headers: IncomingHttpHeaders,
    url: string,
    createContextValues: (() => ContextValues) | undefined,
  ) {
    this.requestMethod = headers[":method"] ?? "";
    this.requestHeaders = headers;
    this.url = url;
    this.createContextValues = createContextValues;
    this.#stream = stream;
    stream[exchangeOf] = this;
    // The call and its read fail at "close". Without a listener, Node would throw the error.
    stream.on("error", ignore);
    stream.on("close", onClose);
  }

  read<Result>(reader: BodyReader<Result>): Promise<Result> {
    const stream = this.#stream;
    const bodyRead = new BodyRead(reader);
    this.#bodyRead = bodyRead;
    if (stream.destroyed) bodyRead.fail(errorFromResetCode(stream.rstCode));
    stream.on("data", onData);
    stream.on("end", onEnd);
    return bodyRead.result;
  }

  cancelRead(reason: unknown): void {
    this.#bodyRead?.fail(reason);
  }

  respond({ status, headers, body, trailers }: Answer): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    if (!this.#isRead) this.#discardRest();
    this.#memory?.release();
    if (body !== undefined && body.byteLength > uncountedBytes && !this.#hold(body.byteLength)) {
      // gRPC clients map this code to RESOURCE_EXHAUSTED.
      stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
      return;
    }
    try {
      if (trailers === undefined) {
        stream.respond(toRawHeaders(status, headers));
      } else {
        this.#trailers = withoutConnectionHeaders(trailers);
        stream.on("wantTrailers", onWantTrailers);
        stream.respond(toRawHeaders(status, headers), withTrailers);
      }
      stream.end(body);
    } catch {
      this.abort();
    }
  }

  abort(): void {
    this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  }

  receive(chunk: Uint8Array): void {
    const bodyRead = this.#bodyRead;
    if (!bodyRead?.isOpen) return;
    // Counted twice, because the buffer that collects the chunks doubles its capacity when it is full.
    if (!this.#isFirstChunk && !this.#hold(2 * chunk.byteLength)) bodyRead.fail(memoryLimitError());
    this.#isFirstChunk = false;
    bodyRead.add(chunk);
    if (!bodyRead.isOpen) this.#bodyRead = undefined;
  }

  endRead(): void {
    this.#isRead = true;
    this.#bodyRead?.end();
    this.#bodyRead = undefined;
  }

  sendTrailers(): void {
    if (!this.#stream.closed) this.#stream.sendTrailers(this.#trailers ?? {});
  }

  /** Called when the stream is closed. */
  leave(): void {
    this.#memory?.release();
    if (this.onDisconnect === undefined && this.#isRead) return;
    const reason = errorFromResetCode(this.#stream.rstCode);
    this.#bodyRead?.fail(reason);
    this.onDisconnect?.(reason);
  }

  /**
   * Discards the rest of the request's body. Gives the client time to finish before the stream is reset: after a
   * reset, some clients never release the memory of unsent data.
   */
  #discardRest(): void {
    const stream = this.#stream;
    stream.resume();
    stream.once("finish", () => {
      if (this.#isRead) return;
      // The code NO_ERROR asks the client to stop sending: RFC 9113, section 8.1.
      const linger = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), lingerMs).unref();
      stream.once("close", () => clearTimeout(linger));
    });
  }

  /** @returns false if the connection's calls would hold too much */
  #hold(bytes: number): boolean {
    this.#memory ??= new ConnectionMemory(this.#stream.session);
    return this.#memory.hold(bytes);
  }
}

function onData(this: ServedStream, chunk: Uint8Array): void {
  this[exchangeOf]?.receive(chunk);
}

function onEnd(this: ServedStream): void {
  this[exchangeOf]?.endRead();
}

function onWantTrailers(this: ServedStream): void {
  this[exchangeOf]?.sendTrailers();
}

function onClose(this: ServedStream): void {
  this[exchangeOf]?.leave();
  this[exchangeOf] = undefined;
}

/** Returns names and values in turn. Node copies an object into a dictionary, and keeps it with the closed stream. */
function toRawHeaders(status: number, headers: OutgoingHttpHeaders): string[] {
  const raw = [":status", String(status)];
  for (const name in headers) {
    const value = headers[name];
    if (value === undefined || connectionHeaders.has(name)) continue;
    if (Array.isArray(value)) for (const item of value) raw.push(name, item);
    else raw.push(name, String(value));
  }
  return raw;
}

function withoutConnectionHeaders(headers: OutgoingHttpHeaders): OutgoingHttpHeaders {
  const allowed: OutgoingHttpHeaders = {};
  for (const name in headers) {
    if (!connectionHeaders.has(name)) allowed[name] = headers[name];
  }
  return allowed;
}

/** HTTP/2 forbids the connection-specific headers: RFC 9113, section 8.2.2. */
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

function ignore(): void {}
