import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { ContextValues, HandlerContext } from "@connectrpc/connect";
import { type HasCall, ofCall, theCall } from "./of-call.ts";
import type { UnaryCall } from "./unary-call.ts";

/** What a handler is told about its call. */
export class UnaryHandlerContext implements HandlerContext, HasCall {
  readonly method: DescMethod;
  readonly service: DescService;
  readonly protocolName: string;
  readonly requestMethod: string;
  readonly url: string;
  readonly values: ContextValues;
  readonly timeoutMs: () => number | undefined;
  declare readonly signal: AbortSignal;
  declare readonly requestHeader: Headers;
  declare readonly responseHeader: Headers;
  declare readonly responseTrailer: Headers;
  readonly [theCall]: UnaryCall;

  constructor(call: UnaryCall) {
    const { method } = call.method.spec;
    this.method = method;
    this.service = method.parent;
    this.protocolName = call.protocolName;
    this.requestMethod = call.exchange.requestMethod;
    this.url = call.exchange.url;
    this.values = call.values;
    this.timeoutMs = call.timeoutMs;
    this[theCall] = call;
    Object.defineProperty(this, "signal", signal);
    Object.defineProperty(this, "requestHeader", requestHeader);
    Object.defineProperty(this, "responseHeader", responseHeader);
    Object.defineProperty(this, "responseTrailer", responseTrailer);
  }
}

const signal = ofCall((call) => call.signal);
const requestHeader = ofCall((call) => call.requestHeader);
const responseHeader = ofCall((call) => call.responseHeader);
const responseTrailer = ofCall((call) => call.responseTrailer);
