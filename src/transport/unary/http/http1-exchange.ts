import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { ContextValues } from "@connectrpc/connect";
import { errorFromAbortedRequest } from "./abort-reasons.ts";
import { type AnyBodyRead, BodyRead } from "./body-read.ts";
import { ConnectionMemory, memoryLimitError, uncountedBytes } from "./connection-memory.ts";
import type { Answer, BodyReader, Exchange } from "./exchange.ts";

/** An HTTP/1.1 request and its answer. */
export class Http1Exchange implements Exchange {
  readonly requestMethod: string;
  readonly requestHeaders: IncomingHttpHeaders;
  readonly url: string;
  readonly createContextValues: (() => ContextValues) | undefined;
  onDisconnect: ((reason: unknown) => void) | undefined;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #memory: ConnectionMemory;
  #bodyRead: AnyBodyRead | undefined;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    url: string,
    createContextValues: (() => ContextValues) | undefined,
  ) {
    this.requestMethod = request.method ?? "";
    this.requestHeaders = request.headers;
    this.url = url;
    this.createContextValues = createContextValues;
    this.#request = request;
    this.#response = response;
    this.#memory = new ConnectionMemory(request.socket);
    // The call and its read fail at "close", with the reason that Node keeps in request.errored.
    request.on("error", ignore);
    response.on("close", () => this.#onClose());
  }

  read<Result>(reader: BodyReader<Result>): Promise<Result> {
    const request = this.#request;
    const memory = this.#memory;
    const bodyRead = new BodyRead(reader);
    this.#bodyRead = bodyRead;
    if (request.destroyed) bodyRead.fail(errorFromAbortedRequest(request));
    let isFirst = true;
    // The listeners must not refer to the exchange: Node keeps a request until the next one on its connection.
    request.on("data", (chunk: Uint8Array) => {
      if (!bodyRead.isOpen) return;
      // Counted twice, because the buffer that collects the chunks doubles its capacity when it is full.
      if (!isFirst && !memory.hold(2 * chunk.byteLength)) bodyRead.fail(memoryLimitError());
      isFirst = false;
      bodyRead.add(chunk);
    });
    request.on("end", () => bodyRead.end());
    return bodyRead.result;
  }

  cancelRead(reason: unknown): void {
    this.#bodyRead?.fail(reason);
  }

  respond({ status, headers, body }: Answer): void {
    const response = this.#response;
    if (response.destroyed) return;
    this.#memory.release();
    if (body !== undefined && body.byteLength > uncountedBytes && !this.#memory.hold(body.byteLength)) {
      this.abort();
      return;
    }
    try {
      response.writeHead(status, headers);
      // After the answer, Node discards the rest of the request's body.
      response.end(body);
    } catch {
      this.abort();
    }
  }

  abort(): void {
    this.#response.destroy();
  }

  #onClose(): void {
    this.#memory.release();
    if (this.#response.writableFinished) return;
    const reason = errorFromAbortedRequest(this.#request);
    this.#bodyRead?.fail(reason);
    this.onDisconnect?.(reason);
  }
}

function ignore(): void {}
