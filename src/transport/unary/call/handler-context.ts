import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { ContextValues, HandlerContext } from "@connectrpc/connect";
import type { UnaryCall } from "./unary-call.ts";

/** A handler's view of its call. All properties are read from the call on access. */
export class UnaryHandlerContext implements HandlerContext {
  readonly #call: UnaryCall;

  /** @throws any error of the adapter's option `contextValues` */
  constructor(call: UnaryCall) {
    call.createValues();
    this.#call = call;
  }

  get values(): ContextValues {
    return this.#call.values;
  }

  get method(): DescMethod {
    return this.#call.method.spec.method;
  }

  get service(): DescService {
    return this.#call.method.spec.method.parent;
  }

  get protocolName(): string {
    return this.#call.protocolName;
  }

  get requestMethod(): string {
    return this.#call.exchange.requestMethod;
  }

  get url(): string {
    return this.#call.exchange.url;
  }

  get timeoutMs(): () => number | undefined {
    return this.#call.timeoutMs;
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }

  get requestHeader(): Headers {
    return this.#call.requestHeader;
  }

  get responseHeader(): Headers {
    return this.#call.responseHeader;
  }

  get responseTrailer(): Headers {
    return this.#call.responseTrailer;
  }

  /** Calls a function when the signal would abort, without creating it. */
  onAbort(listener: (reason: unknown) => void): void {
    this.#call.onAbort(listener);
  }
}
