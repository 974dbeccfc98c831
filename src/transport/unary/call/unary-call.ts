import type { OutgoingHttpHeaders } from "node:http";
import { Code, ConnectError, type ContextValues, createContextValues } from "@connectrpc/connect";
import type { Exchange } from "../http/exchange.ts";
import { toNodeHeaders, toWebHeaders } from "../http/node-headers.ts";
import { maxTimerMs } from "./long-deadline.ts";
import type { UnaryMethod } from "./unary-methods.ts";

interface UnaryCallInit {
  readonly method: UnaryMethod;
  readonly exchange: Exchange;
  readonly protocolName: string;
  /** The caller's timeout; undefined without a deadline. */
  readonly timeoutMs: number | undefined;
  /** The initial headers of the answer, with names in lower case. */
  readonly responseHeaders: OutgoingHttpHeaders;
  readonly responseTrailers: OutgoingHttpHeaders;
}

/**
 * The state of a call, from its headers until it is answered or its peer disconnects. Properties that handlers seldom
 * use, such as the signal, are created on first access.
 */
export class UnaryCall {
  readonly method: UnaryMethod;
  readonly exchange: Exchange;
  readonly protocolName: string;
  /** Returns the time left until the deadline; undefined without a deadline. */
  readonly timeoutMs: () => number | undefined;
  readonly #timeoutMs: number | undefined;
  readonly #responseHeaders: OutgoingHttpHeaders;
  readonly #responseTrailers: OutgoingHttpHeaders;
  #values: ContextValues | undefined;
  #requestHeader: Headers | undefined;
  #responseHeader: Headers | undefined;
  #responseTrailer: Headers | undefined;
  #controller: AbortController | undefined;
  #abortListener: ((reason: unknown) => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #ended = false;
  #reason: unknown;

  constructor(init: UnaryCallInit) {
    this.method = init.method;
    this.exchange = init.exchange;
    this.protocolName = init.protocolName;
    this.timeoutMs = init.timeoutMs === undefined ? noTimeout : countDown(init.timeoutMs);
    this.#timeoutMs = init.timeoutMs;
    this.#responseHeaders = init.responseHeaders;
    this.#responseTrailers = init.responseTrailers;
    this.exchange.onDisconnect = (reason) => this.end(reason);
  }

  /** Whether the call was answered, failed or timed out, or its peer disconnected. */
  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Calls the adapter's option `contextValues`, if it is set.
   *
   * @throws any error of the option
   */
  createValues(): void {
    this.#values ??= this.exchange.createContextValues?.();
  }

  get values(): ContextValues {
    this.#values ??= createContextValues();
    return this.#values;
  }

  get requestHeader(): Headers {
    this.#requestHeader ??= toWebHeaders(this.exchange.requestHeaders);
    return this.#requestHeader;
  }

  get responseHeader(): Headers {
    this.#responseHeader ??= newHeaders(this.#responseHeaders);
    return this.#responseHeader;
  }

  get responseTrailer(): Headers {
    this.#responseTrailer ??= newHeaders(this.#responseTrailers);
    return this.#responseTrailer;
  }

  /** Aborted when the deadline passes, the peer disconnects, the server shuts down, or the call is answered. */
  get signal(): AbortSignal {
    this.#controller ??= this.#createController();
    return this.#controller.signal;
  }

  /** Calls a function with the reason when the signal would abort. Creates the signal only for a `shutdownSignal`. */
  onAbort(listener: (reason: unknown) => void): void {
    const earlier = this.#abortListener;
    if (this.#ended) {
      listener(this.#reason ?? completed);
    } else if (this.method.options.shutdownSignal !== undefined) {
      const { signal } = this;
      if (signal.aborted) listener(signal.reason);
      else signal.addEventListener("abort", () => listener(signal.reason), { once: true });
    } else if (earlier === undefined) {
      this.#abortListener = listener;
    } else {
      this.#abortListener = (reason) => {
        earlier(reason);
        listener(reason);
      };
    }
  }

  /** The headers of the answer in Node's format. */
  get responseHeaders(): OutgoingHttpHeaders {
    return this.#responseHeader === undefined ? this.#responseHeaders : toNodeHeaders(this.#responseHeader);
  }

  get responseTrailers(): OutgoingHttpHeaders {
    return this.#responseTrailer === undefined
      ? this.#responseTrailers
      : toNodeHeaders(this.#responseTrailer);
  }

  /** Whether a handler or an interceptor may have set trailers. */
  get hasResponseTrailer(): boolean {
    return this.#responseTrailer !== undefined;
  }

  /**
   * Starts the timer of the deadline, if there is one and it is not too long for a timer.
   *
   * @param expire called with DEADLINE_EXCEEDED if the deadline passes before the call ends
   */
  startTimer(expire: (error: ConnectError) => void): void {
    if (this.#timeoutMs === undefined || this.#timeoutMs > maxTimerMs) return;
    const end = () => {
      const error = new ConnectError("the operation timed out", Code.DeadlineExceeded);
      if (this.end(error)) expire(error);
    };
    if (this.#timeoutMs <= 0) end();
    else this.#timer = setTimeout(end, this.#timeoutMs);
  }

  /**
   * Ends the call and aborts its signal. Only code that gets true may answer the call.
   *
   * @param reason why the call failed; undefined if it succeeded
   * @returns false if the call has already ended
   */
  end(reason?: unknown): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    this.#reason = reason;
    this.exchange.onDisconnect = undefined;
    clearTimeout(this.#timer);
    this.#controller?.abort(reason ?? completed);
    this.#abortListener?.(reason ?? completed);
    this.#abortListener = undefined;
    return true;
  }

  #createController(): AbortController {
    const controller = new AbortController();
    if (this.#ended) controller.abort(this.#reason ?? completed);
    else linkSignal(controller, this.method.options.shutdownSignal);
    return controller;
  }
}

/** Shared by all calls, because creating a DOMException is expensive. */
const completed = new DOMException("This operation was aborted", "AbortError");

function noTimeout(): undefined {}

function countDown(timeoutMs: number): () => number {
  const deadline = Math.trunc(Date.now() + timeoutMs);
  return () => deadline - Date.now();
}

function newHeaders(headers: OutgoingHttpHeaders): Headers {
  const created = new Headers();
  for (const name in headers) created.set(name, String(headers[name]));
  return created;
}

function linkSignal(controller: AbortController, shutdown: AbortSignal | undefined): void {
  if (shutdown === undefined) return;
  const abort = () => controller.abort(shutdown.reason);
  if (shutdown.aborted) abort();
  shutdown.addEventListener("abort", abort, { once: true, signal: controller.signal });
}
