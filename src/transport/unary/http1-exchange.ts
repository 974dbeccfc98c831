import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { ContextValues } from "@connectrpc/connect";
import type { Answer, BodyReader, Exchange } from "./exchange.ts";
import { errorFromAbortedRequest } from "./gone-peer.ts";

/** A request of HTTP/1.1. */
export class Http1Exchange implements Exchange {
  readonly requestMethod: string;
  readonly requestHeaders: IncomingHttpHeaders;
  readonly url: string;
  readonly createContextValues: () => ContextValues;
  onGone: ((reason: unknown) => void) | undefined;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  #stopReading: ((reason: unknown) => void) | undefined;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    url: string,
    createContextValues: () => ContextValues,
  ) {
    this.requestMethod = request.method ?? "";
    this.requestHeaders = request.headers;
    this.url = url;
    this.createContextValues = createContextValues;
    this.#request = request;
    this.#response = response;
    // Whoever waits is told at "close". Without a listener, Node would keep the reason to itself.
    request.on("error", ignore);
    response.on("close", () => this.#leave());
  }

  read(reader: BodyReader): Promise<void> {
    const request = this.#request;
    return new Promise((resolve, reject) => {
      if (request.destroyed) reject(errorFromAbortedRequest(request));
      this.#stopReading = reject;
      let isEnough = false;
      request.on("data", (chunk: Uint8Array) => {
        if (isEnough) return;
        try {
          isEnough = reader.add(chunk);
          if (isEnough) resolve();
        } catch (error) {
          isEnough = true;
          reject(error);
        }
      });
      request.on("end", resolve);
    });
  }

  interruptReading(reason: unknown): void {
    this.#stopReading?.(reason);
  }

  respond({ status, headers, body }: Answer): void {
    const response = this.#response;
    if (response.destroyed) return;
    try {
      response.writeHead(status, headers);
      // What is left of the request's body is discarded by Node then.
      response.end(body);
    } catch {
      this.abort();
    }
  }

  abort(): void {
    this.#response.destroy();
  }

  #leave(): void {
    if (this.#response.writableFinished) return;
    const reason = errorFromAbortedRequest(this.#request);
    this.#stopReading?.(reason);
    this.onGone?.(reason);
  }
}

function ignore(): void {}
